//! Manifests and indexes: whatever is accepted keeps its bytes, hashes to its digest, and is one thing only.
#![no_main]

use larder_core::{Digest, Document, Manifest, MediaType, Selection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let carriers = [
        None,
        Some(MediaType::OCI_MANIFEST),
        Some(MediaType::OCI_INDEX),
        Some(MediaType::DOCKER_MANIFEST),
        Some(MediaType::DOCKER_INDEX),
    ];
    for declared in &carriers {
        let Ok(document) = Document::parse(raw, declared.as_ref()) else { continue };
        assert_eq!(&**document.raw(), raw);
        assert_eq!(document.digest(), Digest::of(raw));
        document.manifest().children();
        document.manifest().subject();
        match document.manifest() {
            Manifest::Index(index) => {
                assert!(document.media_type().is_index());
                let all = index.select(&Selection::All).expect("everything is always there");
                assert_eq!(all.len(), index.manifests.len());
            }
            Manifest::Image(_) | Manifest::Artifact(_) => assert!(document.media_type().is_manifest()),
        }
    }
});

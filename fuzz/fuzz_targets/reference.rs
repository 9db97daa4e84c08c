//! References and digests: what is accepted prints as something that is accepted again and means the same.
#![no_main]

use larder_core::{Digest, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let printed = reference.to_string();
        let again: Reference = printed.parse().expect("what larder prints, larder reads");
        assert_eq!(again, reference, "{printed}");
        assert!(
            reference.repository().as_str().split('/').all(|part| !part.is_empty() && part != ".."),
            "{printed}"
        );
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});

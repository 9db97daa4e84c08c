//! Names, documents, and the index files that other tools read.

use crate::world::{World, put_image, put_json, put_named, reference};
use larder_core::{Classify as _, Descriptor, Digest, Document, Kind, Manifest, MediaType};
use larder_store::{BlobKind, Error};
use std::fs;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_name_remembers_when_what_happened() {
    let world = World::new();
    let store = world.open();
    let name = reference("example.com/a/b:1");
    assert!(store.name(&name).unwrap().is_none());
    let image = put_named(&store, "example.com/a/b:1", &[b"x"]);
    let first = store.name(&name).unwrap().unwrap();
    assert_eq!(first.descriptor, image.descriptor);
    assert!(!first.pinned);

    world.pass(10);
    assert!(store.confirm_name(&name).unwrap());
    world.pass(10);
    store.touch(&[image.descriptor.digest]).unwrap();
    let later = store.name(&name).unwrap().unwrap();
    assert_eq!(later.updated, first.updated);
    assert_eq!(later.checked, first.updated + Duration::from_secs(10));
    assert_eq!(later.last_used, first.updated + Duration::from_secs(20));

    world.pass(10);
    store.set_name(&name, &image.descriptor).unwrap();
    let same = store.name(&name).unwrap().unwrap();
    assert_eq!(same.updated, first.updated, "the meaning did not change");
    assert_eq!(same.checked, first.updated + Duration::from_secs(30));

    let other = put_named(&store, "example.com/a/b:1", &[b"y"]);
    let moved = store.name(&name).unwrap().unwrap();
    assert_eq!(moved.descriptor, other.descriptor);
    assert_eq!(moved.updated, first.updated + Duration::from_secs(30));
    assert!(store.names_of(&image.descriptor.digest).unwrap().is_empty());
    assert_eq!(store.names_of(&other.descriptor.digest).unwrap(), std::slice::from_ref(&name));

    assert!(store.pin(&name, true).unwrap());
    assert!(store.name(&name).unwrap().unwrap().pinned);
    assert!(store.remove_name(&name).unwrap());
    assert!(!store.remove_name(&name).unwrap());
    assert!(!store.pin(&name, true).unwrap());
    assert!(!store.confirm_name(&name).unwrap());
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn a_name_cannot_stand_for_nothing() {
    let world = World::new();
    let store = world.open();
    let nothing = Descriptor::new(MediaType::OCI_MANIFEST, Digest::of(b"nothing"), 7);
    let error = store.set_name(&reference("a:1"), &nothing).unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error}");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn names_survive_and_are_seen_by_others() {
    let world = World::new();
    let (store, other) = (world.open(), world.open());
    put_named(&store, "a:1", &[b"x"]);
    put_named(&store, "a:2", &[b"y"]);
    let names: Vec<_> = other.names().unwrap().into_iter().map(|name| name.reference.familiar()).collect();
    assert_eq!(names, ["a:1", "a:2"]);
    drop((store, other));
    assert_eq!(world.open().names().unwrap().len(), 2);
}

#[test]
fn the_index_is_written_once_per_flush() {
    let world = World::new();
    let store = world.open();
    let read = || fs::read_to_string(world.home.join("index.json")).unwrap();
    let before = read();
    let image = put_named(&store, "a:1", &[b"x"]);
    put_named(&store, "b:1", &[b"x"]);
    assert_eq!(read(), before, "set_name must not cost in proportion to the store");
    store.flush().unwrap();
    let index: serde_json::Value = serde_json::from_str(&read()).unwrap();
    assert_eq!(index["schemaVersion"], 2);
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for (entry, name) in entries.iter().zip(["docker.io/library/a:1", "docker.io/library/b:1"]) {
        assert_eq!(entry["digest"], image.descriptor.digest.to_string());
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], name);
        assert_eq!(entry["annotations"]["io.containerd.image.name"], name);
    }
    let yaml = fs::read_to_string(world.home.join("index.yaml")).unwrap();
    assert!(yaml.contains("- name: \"docker.io/library/a:1\"\n"), "{yaml}");
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(world.home.join(name)).unwrap().ino()
    };
    let unchanged = inode("index.json");
    store.confirm_name(&reference("a:1")).unwrap();
    store.flush().unwrap();
    assert_eq!(inode("index.json"), unchanged, "nothing changed, nothing is written");
}

#[test]
fn other_tools_read_the_store() {
    let world = World::new();
    let store = world.open();
    let name = "docker.io/library/x:1";
    put_named(&store, name, &[b"hello", b"world"]);
    put_named(&store, "registry.example.com:5000/team/y:2", &[b"other"]);
    let digest = store.name(&reference(name)).unwrap().unwrap().descriptor.digest;
    put_named(&store, &format!("docker.io/library/x@{digest}"), &[b"hello", b"world"]);
    store.flush().unwrap();
    let layout = format!("{}:{name}", world.home.display());

    let inspected = run("skopeo", &["inspect", &format!("oci:{layout}")]);
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], digest.to_string());
    assert_eq!(inspected["Layers"].as_array().unwrap().len(), 2);
    let ported = format!("oci:{}:registry.example.com:5000/team/y:2", world.home.display());
    run("skopeo", &["inspect", &ported]);

    let bundles = tempfile::tempdir().unwrap();
    let bundle = bundles.path().join("bundle");
    run("umoci", &["unpack", "--image", &layout, bundle.to_str().unwrap()]);
    assert_eq!(fs::read(bundle.join("rootfs/file0")).unwrap(), b"hello");
    assert_eq!(fs::read(bundle.join("rootfs/file1")).unwrap(), b"world");
    assert!(store.verify(&mut |_| {}).unwrap().is_clean(), "reading must not change the store");
}

/// Standard output of a tool that must be there.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("cannot run {program} ({error}): install it, for example with `apt-get install {program}`")
    });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn documents_come_back_as_they_were() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    // No media type inside: what it is was said by whoever carried it.
    let raw = br#"{"schemaVersion":2, "manifests":[]}"#.to_vec();
    let document = Document::parse(raw, Some(&MediaType::DOCKER_INDEX)).unwrap();
    store.put_document(&document, &lease).unwrap();
    let again = store.document(&document.digest()).unwrap().unwrap();
    assert_eq!(again.raw(), document.raw());
    assert_eq!(again.media_type(), &MediaType::DOCKER_INDEX);
    assert!(matches!(again.manifest(), Manifest::Index(_)));
    assert!(store.document(&Digest::of(b"nothing")).unwrap().is_none());

    let config = store.put(b"{\"not\":\"a manifest\"}", BlobKind::Config, &lease).unwrap();
    assert_eq!(store.document(config.digest()).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn attached_artifacts_are_listed_and_live_as_long_as_their_subject() {
    let world = World::new();
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"x"]);
    let lease = store.lease("test").unwrap();
    let empty = Descriptor::of(MediaType::OCI_EMPTY, b"{}");
    store.put(b"{}", BlobKind::Config, &lease).unwrap();
    let signature = put_json(
        &store,
        &lease,
        &serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/x.signature",
            "config": empty, "layers": [empty], "subject": image.descriptor, "annotations": {"by": "me"},
        }),
    );
    let unrelated = put_image(&store, &lease, &[b"unrelated"]);
    drop(lease);
    store.gc(&larder_store::GcPlan::new(&crate::world::never_mounted)).unwrap();
    assert!(!store.contains(&unrelated.descriptor.digest).unwrap());
    let attached = store.referrers(&image.descriptor.digest).unwrap();
    assert_eq!(attached.len(), 1);
    assert_eq!(attached[0].digest, signature.digest());
    assert_eq!(attached[0].artifact_type.as_deref(), Some("application/x.signature"));
    assert_eq!(attached[0].annotations["by"], "me");
    assert!(store.contains(&empty.digest).unwrap());

    store.remove_name(&reference("a:1")).unwrap();
    store.gc(&larder_store::GcPlan::new(&crate::world::never_mounted)).unwrap();
    assert!(store.referrers(&image.descriptor.digest).unwrap().is_empty());
    assert_eq!(store.stats().unwrap().blobs, 0);
}

#[test]
fn a_manifest_that_came_as_a_plain_blob_keeps_its_children() {
    let world = World::new();
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"x"]);
    let raw = store.read(&image.descriptor.digest, u64::MAX).unwrap().unwrap();
    // As after a power cut that took the rows, but not the files.
    store.quarantine(&image.descriptor.digest).unwrap();
    world.sql(true).execute_batch("DELETE FROM edges").unwrap();
    fs::write(world.blob_path(&image.descriptor.digest), &raw).unwrap();
    let lease = store.lease("test").unwrap();
    let found = store.begin(&image.descriptor.digest, None, &lease).unwrap();
    assert!(matches!(found, larder_store::Begin::Exists(_)));
    drop(lease);
    store.gc(&larder_store::GcPlan::new(&crate::world::never_mounted)).unwrap();
    assert_eq!(store.missing(&image.digests()).unwrap(), []);
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn verdicts_live_with_their_blobs() {
    let world = World::new();
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"x"]);
    let digest = image.descriptor.digest;
    assert_eq!(store.admitted(&digest).unwrap(), None);
    assert_eq!(store.admit(&digest, "signed by me").unwrap().digest(), &digest);
    assert_eq!(store.admitted(&digest).unwrap().unwrap().digest(), &digest);
    assert!(matches!(store.admit(&Digest::of(b"nothing"), "").unwrap_err(), Error::Absent { .. }));
    store.remove_name(&reference("a:1")).unwrap();
    store.gc(&larder_store::GcPlan::new(&crate::world::never_mounted)).unwrap();
    assert_eq!(store.admitted(&digest).unwrap(), None);
}

//! Bytes that come before their digest is known.

use crate::world::{World, never_mounted, noise, put_json};
use larder_core::{Algorithm, Classify as _, Descriptor, Digest, Hasher, Kind, MediaType, RepositoryName};
use larder_store::{Error, GcPlan, HeldKind, OpenUpload, Store, Upload};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

fn repository() -> RepositoryName {
    "localhost/team/app".parse().unwrap()
}

fn open(store: &Store, id: &str) -> Upload {
    match store.upload(&repository(), id).unwrap() {
        OpenUpload::Open(upload) => upload,
        other => panic!("expected an upload, found {other:?}"),
    }
}

fn only_file(world: &World) -> PathBuf {
    let files = world.files("uploads");
    assert_eq!(files.len(), 1, "{files:?}");
    world.home.join("uploads").join(&files[0])
}

#[test]
fn an_upload_goes_on_in_any_process_and_ends_as_a_blob() {
    let world = World::new();
    let (store, other) = (world.open(), world.open());
    let content = noise(1, 900_000);
    let digest = Digest::of(&content);
    let mut upload = store.create_upload(&repository()).unwrap();
    let id = upload.id().to_owned();
    upload.write(&content[..300_000]).unwrap();
    drop(upload);
    // Each handle has hashed another part of it.
    let mut upload = open(&other, &id);
    assert_eq!(upload.offset(), 300_000);
    upload.write(&content[300_000..600_000]).unwrap();
    drop(upload);
    drop(open(&store, &id));
    let mut upload = open(&store, &id);
    assert_eq!((upload.id(), upload.offset()), (id.as_str(), 600_000));
    upload.write(&content[600_000..]).unwrap();
    assert_eq!(fs::metadata(only_file(&world)).unwrap().permissions().mode() & 0o777, 0o600);

    let lease = store.lease("push").unwrap();
    let blob = upload.commit(&digest, &lease).unwrap();
    assert_eq!((blob.digest(), blob.size()), (&digest, 900_000));
    assert!(world.files("uploads").is_empty());
    store.hold(&repository(), &digest, HeldKind::Blob).unwrap();
    drop(lease);
    store.gc(&GcPlan::new(&never_mounted)).unwrap();
    assert_eq!(world.open().read(&digest, u64::MAX).unwrap().unwrap(), content);
    assert!(matches!(store.upload(&repository(), &id).unwrap(), OpenUpload::Absent));
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn wrong_bytes_are_deleted_and_nothing_is_stored() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let mut upload = store.create_upload(&repository()).unwrap();
    upload.write(b"what came").unwrap();
    let id = upload.id().to_owned();
    let promised = Digest::of(b"what was promised");
    let error = upload.commit(&promised, &lease).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { digest, actual, .. }
        if *digest == promised && **actual == Digest::of(b"what came")));
    assert!(world.files("uploads").is_empty() && world.files("blobs/sha256").is_empty());
    assert!(!store.contains(&promised).unwrap());
    assert!(matches!(store.upload(&repository(), &id).unwrap(), OpenUpload::Absent));
}

#[test]
fn sha512_is_checked_too() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let content = noise(2, 300_000);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&content);
    let digest = hasher.finish();
    for good in [false, true] {
        let mut upload = store.create_upload(&repository()).unwrap();
        upload.write(&content[..200_000]).unwrap();
        upload.write(&content[if good { 200_000 } else { 200_001 }..]).unwrap();
        assert_eq!(upload.commit(&digest, &lease).is_ok(), good);
        assert_eq!(store.contains(&digest).unwrap(), good);
    }
    assert_eq!(store.read(&digest, u64::MAX).unwrap().unwrap(), content);
}

#[test]
fn an_upload_has_one_writer_at_a_time() {
    let world = World::new();
    let (store, other) = (world.open(), world.open());
    let upload = store.create_upload(&repository()).unwrap();
    let id = upload.id().to_owned();
    for handle in [&store, &other] {
        assert!(matches!(handle.upload(&repository(), &id).unwrap(), OpenUpload::Busy));
    }
    drop(upload);
    drop(open(&other, &id));
    open(&store, &id).cancel().unwrap();
    assert!(matches!(other.upload(&repository(), &id).unwrap(), OpenUpload::Absent));
    assert!(world.files("uploads").is_empty());
}

#[test]
fn ids_cannot_be_guessed_and_lead_nowhere_else() {
    let world = World::new();
    let store = world.open();
    let ids: HashSet<String> =
        (0..50).map(|_| store.create_upload(&repository()).unwrap().id().to_owned()).collect();
    assert_eq!(ids.len(), 50);
    assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    let id = ids.iter().next().unwrap();
    let elsewhere: RepositoryName = "localhost/team/other".parse().unwrap();
    assert!(matches!(store.upload(&elsewhere, id).unwrap(), OpenUpload::Absent));
    fs::write(world.home.join("uploads/x"), b"x").unwrap();
    for hostile in [
        "",
        "x",
        ".",
        "..",
        "../larder.db",
        "/etc/passwd",
        &id.to_uppercase(),
        &format!("{id}0"),
        "\0",
        &"a".repeat(31),
    ] {
        assert!(matches!(store.upload(&repository(), hostile).unwrap(), OpenUpload::Absent), "{hostile:?}");
    }
    assert_eq!(world.files("uploads").len(), 51);
}

#[test]
fn more_than_the_limit_is_refused_and_the_rest_stays() {
    let world = World::new();
    let store = world.open();
    let mut upload = store.create_upload(&repository()).unwrap();
    upload.set_limit(10);
    upload.write(b"12345").unwrap();
    let error = upload.write(b"678901").unwrap_err();
    assert!(matches!(error, Error::UploadTooLarge { limit: 10, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
    upload.write(b"67890").unwrap();
    let lease = store.lease("push").unwrap();
    upload.commit(&Digest::of(b"1234567890"), &lease).unwrap();
}

#[test]
fn what_is_there_already_is_taken_and_a_damaged_one_replaced() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let digest = Digest::of(b"content");
    let send = || {
        let mut upload = store.create_upload(&repository()).unwrap();
        upload.write(b"content").unwrap();
        upload.commit(&digest, &lease).unwrap()
    };
    send();
    let first = fs::metadata(world.blob_path(&digest)).unwrap().modified().unwrap();
    send();
    assert_eq!(fs::metadata(world.blob_path(&digest)).unwrap().modified().unwrap(), first);
    fs::write(world.blob_path(&digest), b"cont").unwrap();
    send();
    assert_eq!(store.read(&digest, 99).unwrap().unwrap(), b"content");
    assert_eq!(world.files("quarantine").len(), 1);
    let empty = store.create_upload(&repository()).unwrap().commit(&Digest::of(b""), &lease).unwrap();
    assert_eq!(empty.size(), 0);
}

#[test]
fn a_manifest_says_what_uploaded_blobs_are() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let send = |content: &[u8]| {
        let mut upload = store.create_upload(&repository()).unwrap();
        upload.write(content).unwrap();
        upload.commit(&Digest::of(content), &lease).unwrap();
    };
    send(b"{}");
    send(b"layer");
    assert_eq!(store.stats().unwrap().layers, 0);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": Descriptor::of(MediaType::OCI_CONFIG, b"{}"),
        "layers": [Descriptor::of(MediaType::OCI_LAYER, b"layer")],
    });
    put_json(&store, &lease, &manifest);
    let stats = store.stats().unwrap();
    assert_eq!((stats.manifests, stats.layers, stats.blobs), (1, 1, 3));
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn uploads_that_nobody_goes_on_with_are_collected() {
    let world = World::new();
    let store = world.open();
    let mut busy = store.create_upload(&repository()).unwrap();
    busy.write(b"busy").unwrap();
    let busy_file = only_file(&world);
    let mut idle = store.create_upload(&repository()).unwrap();
    idle.write(b"idle").unwrap();
    let id = idle.id().to_owned();
    drop(idle);
    let old = SystemTime::now() - Duration::from_secs(7_200);
    for file in world.files("uploads") {
        let file = fs::File::options().write(true).open(world.home.join("uploads").join(file)).unwrap();
        file.set_modified(old).unwrap();
    }
    drop(store.create_upload(&repository()).unwrap());
    let keep = GcPlan::new(&never_mounted);
    assert_eq!(store.gc(&keep).unwrap().uploads, 0);
    let hour = GcPlan { remove_partials_older_than: Some(Duration::from_secs(3_600)), ..keep };
    let report = store.gc(&hour).unwrap();
    assert_eq!((report.uploads, report.upload_bytes, report.freed_bytes), (1, 4, 4));
    assert!(matches!(store.upload(&repository(), &id).unwrap(), OpenUpload::Absent));
    assert!(busy_file.exists(), "somebody is writing it");
    assert_eq!(world.files("uploads").len(), 2);
}

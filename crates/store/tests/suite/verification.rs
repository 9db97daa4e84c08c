//! Every kind of damage is found.

use crate::world::{World, put_json, put_named, reference};
use larder_core::{Descriptor, Digest, MediaType};
use larder_store::{Area, BeginDerived, BlobKind, Damaged, DerivedKey, Store, VerifyReport};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

fn verify(store: &Store) -> VerifyReport {
    store.verify(&mut |_| {}).unwrap()
}

/// One of everything.
fn populate(world: &World) -> Store {
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"first layer", b"second layer"]);
    put_named(&store, "b:1", &[b"first layer", b"third layer"]);
    store.pin(&reference("b:1"), true).unwrap();
    store.admit(&image.descriptor.digest, "test").unwrap();
    let lease = store.lease("test").unwrap();
    let empty = Descriptor::of(MediaType::OCI_EMPTY, b"{}");
    store.put(b"{}", BlobKind::Config, &lease).unwrap();
    put_json(
        &store,
        &lease,
        &serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "x/y",
            "config": empty, "layers": [], "subject": image.descriptor,
        }),
    );
    let index = put_json(
        &store,
        &lease,
        &serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [image.descriptor],
        }),
    );
    store.set_name(&reference("multi:1"), &index.descriptor()).unwrap();
    for (area, name) in [(Area::Layers, "a.tar"), (Area::Disks, "a.erofs")] {
        let BeginDerived::Build(building) = store.begin_derived(&DerivedKey::new(area, name)).unwrap() else {
            panic!()
        };
        fs::write(building.path(), b"derived content").unwrap();
        building.commit(15, Some(Digest::of(b"derived content"))).unwrap();
        store.use_derived(&DerivedKey::new(area, name), &image.descriptor.digest).unwrap();
    }
    store.flush().unwrap();
    store
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

#[test]
fn a_healthy_store_is_clean() {
    let world = World::new();
    let store = populate(&world);
    let mut seen = Vec::new();
    let report = store.verify(&mut |digest| seen.push(*digest)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.blobs, seen.len() as u64);
    assert_eq!(report.blobs, world.files("blobs/sha256").len() as u64);
    assert_eq!(report.derived, 2);
    assert!(report.bytes > 30);
}

#[test]
fn one_flipped_bit_in_any_file_is_found() {
    let world = World::new();
    let store = populate(&world);
    let mut flipped = 0;
    for path in files_below(&world.home) {
        let name = path.file_name().unwrap().to_str().unwrap();
        // The database has its own tests; the locks are empty.
        if name.starts_with("larder.db") || fs::metadata(&path).unwrap().len() == 0 {
            continue;
        }
        let length = fs::metadata(&path).unwrap().len();
        for (at, bit) in [(0, 0), (length / 2, 3), (length - 1, 7)] {
            flip(&path, at, bit);
            let report = verify(&store);
            assert!(!report.is_clean(), "bit {bit} of byte {at} of {path:?}");
            let about = &report.damage[0].what;
            match about {
                Damaged::Blob(digest) => assert_eq!(world.blob_path(digest), path),
                Damaged::Derived(key) => {
                    assert_eq!(world.home.join(key.area.as_str()).join(&key.name), path);
                }
                Damaged::File(file) => assert_eq!(*file, path),
            }
            flip(&path, at, bit);
            flipped += 1;
        }
    }
    assert!(flipped >= 3 * 13, "{flipped}");
    assert!(verify(&store).is_clean());
}

/// Changes of rows that leave the database itself intact.
#[test]
fn rows_are_compared_with_documents_and_files() {
    for (number, change) in [
        "UPDATE blobs SET size = size + 1 WHERE kind = 2",
        "DELETE FROM edges WHERE relation = 0",
        "DELETE FROM edges WHERE relation = 1",
        "INSERT INTO edges SELECT child, parent, 0 FROM edges LIMIT 1",
        "UPDATE blobs SET media_type = 'application/vnd.oci.image.index.v1+json' WHERE kind = 0",
        "UPDATE blobs SET kind = 3 WHERE kind = 0",
        "UPDATE names SET descriptor = replace(descriptor, 'oci', 'xyz')",
        "UPDATE names SET reference = 'docker.io/library/other:1' WHERE reference LIKE '%a:1'",
        "UPDATE names SET pinned = 1 - pinned",
        "UPDATE names SET digest = (SELECT digest FROM blobs WHERE kind = 1)",
        "DELETE FROM names WHERE reference LIKE '%a:1'",
        "DELETE FROM blobs WHERE kind = 0",
        "UPDATE derived SET checksum = (SELECT digest FROM blobs LIMIT 1)",
        "UPDATE derived SET name = 'x' || name",
        "UPDATE verdicts SET digest = x'01' || zeroblob(32)",
    ]
    .iter()
    .enumerate()
    {
        let world = World::new();
        let store = populate(&world);
        let database = world.sql(true);
        assert!(database.execute(change, []).unwrap() > 0, "{change}");
        let report = verify(&store);
        assert!(!report.is_clean(), "{number}: {change}");
    }
}

#[test]
fn missing_and_foreign_files_are_found() {
    let world = World::new();
    let store = populate(&world);
    for path in files_below(&world.home) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("larder.db") || fs::metadata(&path).unwrap().len() == 0 {
            continue;
        }
        let aside = world.home.join("rw/aside");
        fs::rename(&path, &aside).unwrap();
        assert!(!verify(&store).is_clean(), "{path:?} is missing");
        fs::rename(&aside, &path).unwrap();
    }
    fs::write(world.home.join("blobs/sha256/README"), b"x").unwrap();
    assert_eq!(verify(&store).damage.len(), 1);
    fs::remove_file(world.home.join("blobs/sha256/README")).unwrap();
    assert!(verify(&store).is_clean());
}

#[test]
fn damage_names_the_images_and_heals_by_fetching_again() {
    let world = World::new();
    let store = populate(&world);
    let name = store.name(&reference("a:1")).unwrap().unwrap();
    let document = store.document(&name.descriptor.digest).unwrap().unwrap();
    let shared = document.manifest().children()[1].digest;
    let content = store.read(&shared, u64::MAX).unwrap().unwrap();
    flip(&world.blob_path(&shared), 600, 0);
    let report = verify(&store);
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].what, Damaged::Blob(shared));
    let names: Vec<_> = report.damage[0].part_of.iter().map(|name| name.familiar()).collect();
    assert_eq!(names, ["a:1", "b:1", "multi:1"]);

    let aside = store.quarantine(&shared).unwrap();
    assert!(aside.starts_with(world.home.join("quarantine")) && aside.exists());
    assert!(!store.contains(&shared).unwrap());
    let lease = store.lease("repair").unwrap();
    store.put(&content, BlobKind::Layer, &lease).unwrap();
    assert!(verify(&store).is_clean());

    // A manifest: its children must survive a collection until it is back.
    let digest = name.descriptor.digest;
    store.quarantine(&digest).unwrap();
    assert!(verify(&store).damage.iter().any(|damage| damage.what == Damaged::Blob(digest)));
    store.gc(&larder_store::GcPlan::new(&|_| false)).unwrap();
    assert!(store.contains(&shared).unwrap());
    store.put_document(&document, &lease).unwrap();
    assert!(verify(&store).is_clean());
}

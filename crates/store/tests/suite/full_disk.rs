//! A full disk: a passing condition that leaves nothing half-done.

use crate::world::{World, never_mounted, noise, put_named};
use larder_core::{Classify as _, Digest, Kind};
use larder_store::{Begin, BlobKind, Error, GcPlan, OpenUpload};
use std::fs;
use std::path::{Path, PathBuf};

/// A file system of 6 MiB, gone with the value.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn mount(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, c"size=6m,mode=0700")
            .expect("this test mounts a small tmpfs: run it as root");
        Self(path.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn an_upload_survives_a_full_disk() {
    let world = World::new();
    let _disk = Small::mount(&world.home);
    let store = world.open();
    let repository = "localhost/a".parse().unwrap();
    let ballast = world.home.join("rw/ballast");
    fs::write(&ballast, noise(9, 3 << 20)).unwrap();
    let content = noise(10, 4 << 20);
    let mut upload = store.create_upload(&repository).unwrap();
    let id = upload.id().to_owned();
    let error = content
        .chunks(300_000)
        .find_map(|piece| upload.write(piece).err())
        .expect("the disk is smaller than the upload");
    assert_eq!(error.kind(), Kind::Unavailable, "{}", larder_core::report(&error));
    assert!(!error.hints().is_empty());
    let reached = upload.offset();
    assert_eq!(reached % 300_000, 0, "what did not fit counts in full or not at all");
    let path = world.home.join("uploads").join(&world.files("uploads")[0]);
    assert_eq!(fs::metadata(path).unwrap().len(), reached);
    drop(upload);
    fs::remove_file(ballast).unwrap();
    let OpenUpload::Open(mut upload) = world.open().upload(&repository, &id).unwrap() else { panic!() };
    assert_eq!(upload.offset(), reached);
    upload.write(&content[reached as usize..]).unwrap();
    let lease = store.lease("push").unwrap();
    upload.commit(&Digest::of(&content), &lease).unwrap();
}

#[test]
fn a_full_disk_passes() {
    let world = World::new();
    let _disk = Small::mount(&world.home);
    let store = world.open();
    let kept = put_named(&store, "a:1", &[b"small"]);
    let ballast = world.home.join("rw/ballast");
    let content = noise(7, 4 << 20);
    let digest = Digest::of(&content);
    fs::write(&ballast, noise(8, 2 << 20)).unwrap();

    let lease = store.lease("pull").unwrap();
    let Begin::Ingest(mut ingest) = store.begin(&digest, Some(4 << 20), &lease).unwrap() else { panic!() };
    let error = content
        .chunks(64 << 10)
        .find_map(|piece| ingest.write(piece).err())
        .expect("the disk is smaller than the blob");
    let reached = ingest.offset();
    drop(ingest);
    assert_eq!(error.kind(), Kind::Unavailable, "{}", larder_core::report(&error));
    assert!(matches!(error, Error::Io { .. }) && !error.hints().is_empty());
    assert_eq!(world.files("blobs/sha256").len(), 3, "only the small image");
    assert_eq!(fs::metadata(world.part_path(&digest)).unwrap().len(), reached);
    assert!(reached > 1 << 20);

    // Not a byte is left: the database cannot grow either, and what is there stays readable.
    let filler = world.home.join("rw/filler");
    fill(&filler);
    for attempt in 0..400 {
        match store.put(&noise(1_000 + attempt, 5_000), BlobKind::Other, &lease) {
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{}", larder_core::report(&error)),
            Ok(_) => panic!("there is no room for this"),
        }
    }
    assert!(store.read(&kept.config, u64::MAX).unwrap().is_some());
    assert_eq!(world.files("blobs/sha256").len(), 3);
    let mut index = 0;
    let flushed = loop {
        index += 1;
        match store.set_name(&format!("n:{index}").parse().unwrap(), &kept.descriptor) {
            Err(error) => break Err(error),
            Ok(()) if index > 5_000 => break store.flush(),
            Ok(()) => {}
        }
    };
    assert_eq!(flushed.unwrap_err().kind(), Kind::Unavailable);

    // Room again: everything goes on where it stopped.
    fs::remove_file(filler).unwrap();
    fs::remove_file(ballast).unwrap();
    let Begin::Ingest(mut ingest) = store.begin(&digest, Some(4 << 20), &lease).unwrap() else { panic!() };
    assert_eq!(ingest.offset(), reached);
    ingest.replay(&mut |_| {}).unwrap();
    ingest.write(&content[reached as usize..]).unwrap();
    ingest.commit(BlobKind::Layer).unwrap();
    store.flush().unwrap();
    store.gc(&GcPlan::new(&never_mounted)).unwrap();
    let report = store.verify(&mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
    drop(store);
    assert!(world.open().contains(&digest).unwrap());
}

pub(crate) fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}

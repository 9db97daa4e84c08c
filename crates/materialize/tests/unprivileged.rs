//! What an ordinary user can do.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use larder_core::{Classify as _, Compression, Kind};
use larder_materialize::{
    Access, ErofsDriver, ImageSource, LayerSource, Materializer as _, Owner, UnpackOptions, unpack,
};
use larder_rootfs::Limits;
use larder_store::BlobKind;
use larder_testkit::{Family, Image, ImageBuilder, ListedKind, Listing, Member, TarBuilder};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

const NOBODY: u32 = 65534;

fn image() -> Image {
    let tar = TarBuilder::new()
        .member(&Member::directory("closed").mode(0o555).owner(1, 1))
        .member(&Member::file("closed/f", b"x").mode(0o400).owner(0, 0))
        .member(
            &Member::file("capable", b"x")
                .xattr("security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        )
        .member(&Member::file("trusted", b"x").xattr("trusted.t", b"1").xattr("user.u", b"2"))
        .char_device("null", 1, 3)
        .hard_link("null-too", "null")
        .fifo("pipe")
        .build();
    ImageBuilder::new(1).tar(tar, Compression::Gzip).build()
}

#[test]
fn unpacking_needs_no_root_and_mounting_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = scratch.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let home = scratch.path().join("user");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let done = Command::new(program)
        .args(["--exact", "child", "--nocapture"])
        .env("LARDER_TEST_HOME", &home)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let listing = Listing::of(&home.join("out")).unwrap();
    assert!(listing.entries.values().all(|listed| (listed.uid, listed.gid) == (NOBODY, NOBODY)), "{listing}");
    assert_eq!((listing.get("closed").unwrap().mode, listing.get("closed/f").unwrap().mode), (0o555, 0o400));
    assert_eq!(listing.get("pipe").unwrap().kind, ListedKind::Fifo);
    assert_eq!(listing.get("trusted").unwrap().xattrs.len(), 1);
    assert!(listing.get("null").is_none() && listing.get("null-too").is_none());
}

#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how this test program talks to itself")]
    let Some(home) = std::env::var_os("LARDER_TEST_HOME").map(PathBuf::from) else { return };
    let store = support::open_store(&home.join("store"));
    let lease = store.lease("test").unwrap();
    let built = image();
    for (_, bytes) in &built.blobs {
        store.put(bytes, BlobKind::Layer, &lease).unwrap();
    }
    store.put(built.raw(), BlobKind::Manifest, &lease).unwrap();
    let admitted = store.admit(&built.digest(), "test").unwrap();
    let layers = built.layers.iter().map(|layer| LayerSource {
        blob: layer.digest,
        media_type: layer.media_type(Family::Oci),
        diff_id: layer.diff_id,
    });
    let image = ImageSource { manifest: built.digest(), layers: layers.collect() };
    let limits = Limits::default();
    let attempt = |owner, name: &str| {
        unpack(&store, &image, &admitted, &home.join(name), &limits, &UnpackOptions { owner })
    };
    let report = attempt(Owner::Ignore, "out").unwrap();
    let skipped = report.skipped.join("\n");
    for part in [
        "device of null: ",
        "device of null-too: ",
        "attribute security.capability of capable: ",
        "attribute trusted.t of trusted: ",
    ] {
        assert!(skipped.contains(part), "{part}: {skipped}");
    }
    assert_eq!((report.entries, report.skipped.len()), (5, 4), "{skipped}");
    let error = attempt(Owner::Keep, "kept").unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(!home.join("kept").exists());
    let driver = ErofsDriver::new(store.clone(), limits.clone());
    let rootfs = driver.prepare(&image, &admitted).unwrap();
    let error = driver.mount(&rootfs, &home.join("m"), Access::ReadOnly).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert!(error.hints()[0].contains("unpack"), "{:?}", error.hints());
    assert!(store.mounts().unwrap().is_empty() && !home.join("m").exists());
}

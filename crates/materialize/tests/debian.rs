//! A real root file system: what other tools make of it.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use larder_core::Compression;
use larder_testkit::{Ignore, ImageBuilder, Listing, Member, TarBuilder, Tmpfs, tools};
use std::process::Command;
use support::World;

const NOTHING: Ignore = Ignore {
    mtime: false,
    directory_mtime: false,
    nanoseconds: false,
    owner: false,
    xattrs: false,
    root: false,
};

#[test]
fn debian_is_the_same_for_everybody() {
    tools::require(&["mmdebstrap", "umoci", "tar"]).unwrap();
    let world = World::new();
    // Large trees come and go faster in memory.
    let room = Tmpfs::mount(4 << 30).unwrap();
    let tar = room.path().join("debian.tar");
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=essential", "bookworm"])
        .arg(&tar)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let base = std::fs::read(&tar).unwrap();

    let extracted = room.path().join("tar");
    std::fs::create_dir(&extracted).unwrap();
    let done = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .args([tar.as_os_str(), "-C".as_ref(), extracted.as_os_str()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let image = world.put(&ImageBuilder::new(1).tar(base.clone(), Compression::Zstd).build());
    let listing = world.assert_agreement(&image, NOTHING);
    assert!(listing.entries.len() > 3000, "{} entries", listing.entries.len());
    Listing::of(&extracted).unwrap().assert_same(&listing, Ignore { directory_mtime: true, ..NOTHING });

    let top = TarBuilder::new()
        .whiteout("usr/share/doc")
        .whiteout("etc/passwd")
        .file("etc/hostname", b"changed\n")
        .member(&Member::directory("var/cache").mode(0o700).owner(33, 33))
        .opaque("var/cache")
        .file("var/cache/new", b"new")
        .file("var/lib/dpkg/implicit", b"keeps its parent as it is")
        .symlink("srv", "var/cache")
        .file("lib/through-a-link", b"usr-merge")
        .build();
    let built = ImageBuilder::new(2).tar(base, Compression::Gzip).tar(top, Compression::Gzip).build();
    built.write_layout(&room.path().join("layout"), Some("debian")).unwrap();
    let umoci = tools::Umoci::open(&room.path().join("layout")).unwrap();
    let rootfs = umoci.unpack("debian", &room.path().join("bundle")).unwrap();
    let image = world.put(&built);
    world.unpack(&image, "merged").unwrap();
    let merged = Listing::of(&world.path("merged")).unwrap();
    let theirs = Listing::of(&rootfs).unwrap();
    theirs.assert_same(&merged, Ignore { directory_mtime: true, ..NOTHING });
}

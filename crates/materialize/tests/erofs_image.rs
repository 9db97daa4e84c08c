//! EROFS images as the kernel and erofs-utils see them.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use larder_rootfs::encode::{EncodeError, ErofsDevice, ErofsOptions, ErofsSummary, erofs};
use larder_rootfs::{Layer, Limits, Tree};
use larder_testkit::{Ignore, Listing, Member, Random, TarBuilder, tools};
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOTHING: Ignore = Ignore {
    mtime: false,
    directory_mtime: false,
    nanoseconds: false,
    owner: false,
    xattrs: false,
    root: false,
};

fn tree_of(tar: &[u8]) -> Tree {
    let layer = Layer::read(&mut Cursor::new(tar), &Limits::default()).unwrap();
    let mut tree = Tree::new();
    tree.apply(&layer, 0).unwrap();
    tree
}

fn encode(tar: &[u8], options: &ErofsOptions) -> (Vec<u8>, ErofsSummary) {
    let mut out = Vec::new();
    let devices = [ErofsDevice { size_bytes: tar.len() as u64, digest: None }];
    let mut read = |_, offset: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&tar[offset as usize..][..buffer.len()]);
        Ok(())
    };
    let summary = erofs(&tree_of(tar), &devices, options, &mut read, &mut out).unwrap();
    assert_eq!(summary.size_bytes, out.len() as u64);
    (out, summary)
}

struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, device: Option<&Path>, dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        let options = device.map_or_else(String::new, |device| format!("device={}", device.display()));
        let options = CString::new(options).unwrap();
        rustix::mount::mount(image, dir, "erofs", MountFlags::RDONLY, &*options).unwrap();
        Self(dir.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// What GNU tar makes of the same bytes.
fn extracted(tar: &Path, dir: &Path) -> Listing {
    std::fs::create_dir(dir).unwrap();
    let done = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .args([tar.as_os_str(), "-C".as_ref(), dir.as_os_str()])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Listing::of(dir).unwrap()
}

fn mixed(random: &mut Random) -> Vec<u8> {
    let mut tar = TarBuilder::new().member(&Member::directory("./").mode(0o755).mtime(1_650_000_000, 0));
    for number in 0..120 {
        let directory = format!("d{}", number % 7);
        if number < 7 {
            tar = tar.member(
                &Member::directory(&directory)
                    .mode(0o700 + number)
                    .mtime(1_600_000_000 + i64::from(number), number),
            );
        }
        let size = *random.pick(&[0, 1, 100, 400, 511, 512, 513, 4000, 4095, 4096, 4097, 9000, 70_000]);
        let name = format!("{directory}/{}{number}", "n".repeat(random.below(100) as usize));
        let mut member =
            Member::file(&name, random.bytes(size)).mode(0o600 + number).owner(u64::from(number) * 1000, 5);
        if random.one_in(3) {
            member = member.mtime(1_700_000_000, 987_654_321);
        }
        if random.one_in(3) {
            let value = random.bytes(random.clone().below(600) as usize);
            member = member.xattr("user.large", value).xattr("trusted.small", b"x");
        }
        tar = tar.member(&member);
        if random.one_in(5) {
            tar = tar.hard_link(format!("{directory}/h{number}"), &name);
        }
        if random.one_in(5) {
            tar = tar.symlink(format!("{directory}/s{number}"), "t".repeat(1 + random.below(4000) as usize));
        }
    }
    tar.fifo("pipe").char_device("c", 4095, 0xf_ffff).block_device("b", 8, 1).build()
}

#[test]
fn the_kernel_reads_every_shape() {
    for seed in 0..3 {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let tar = mixed(&mut Random::new(seed));
        std::fs::write(at("tar"), &tar).unwrap();
        let expected = extracted(&at("tar"), &at("extracted"));
        for block_bits in 9..=12 {
            for inline_data in [false, true] {
                if block_bits > 9 && !inline_data {
                    continue;
                }
                let name = format!("{block_bits}-{inline_data}");
                let options = ErofsOptions { block_bits, inline_data, copy_limit_bytes: u64::MAX };
                let (image, summary) = encode(&tar, &options);
                std::fs::write(at(&name), &image).unwrap();
                let device = at("tar");
                let mounted =
                    Mounted::new(&at(&name), (!inline_data).then_some(&device), &at(&format!("m{name}")));
                // GNU tar forgets the times of directories that it writes into later.
                expected.assert_same(
                    &Listing::of(&mounted.0).unwrap(),
                    Ignore { directory_mtime: true, ..NOTHING },
                );
                let names = expected.entries.values().filter(|listed| listed.same_as.is_none()).count();
                assert_eq!(summary.inodes, names as u64);
                if !inline_data {
                    assert_eq!(summary.copied_bytes, 0, "tar content is aligned");
                }
            }
        }
    }
}

#[test]
fn unaligned_content_is_copied_into_an_index() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let tar = TarBuilder::new()
        .sparse("crooked", 70_000, &[(100, b"a"), (33_333, b"b")])
        .sparse("aligned", 1 << 20, &[(8192, &[1; 512]), (65536, &[2; 4096])])
        .sparse("huge", 1 << 40, &[(1 << 39, &[3; 512])])
        .build();
    std::fs::write(at("tar"), &tar).unwrap();
    let limits = Limits { bytes: 1 << 41, ..Limits::default() };
    let layer = Layer::read(&mut Cursor::new(&tar), &limits).unwrap();
    let mut tree = Tree::new();
    tree.apply(&layer, 0).unwrap();
    let devices = [ErofsDevice { size_bytes: tar.len() as u64, digest: None }];
    let mut read = |_, offset: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&tar[offset as usize..][..buffer.len()]);
        Ok(())
    };
    let mut image = Vec::new();
    let summary = erofs(&tree, &devices, &ErofsOptions::index(), &mut read, &mut image).unwrap();
    assert!(summary.copied_bytes > 0 && image.len() < 16 << 20, "{summary:?}");
    std::fs::write(at("image"), &image).unwrap();
    let mounted = Mounted::new(&at("image"), Some(&at("tar")), &at("m"));
    let mut crooked = vec![0; 70_000];
    (crooked[100], crooked[33_333]) = (b'a', b'b');
    assert!(std::fs::read(mounted.0.join("crooked")).unwrap() == crooked);
    let mut aligned = vec![0; 1 << 20];
    aligned[8192..8704].fill(1);
    aligned[65536..69632].fill(2);
    assert!(std::fs::read(mounted.0.join("aligned")).unwrap() == aligned);
    let huge = std::fs::File::open(mounted.0.join("huge")).unwrap();
    let mut some = [9; 1536];
    std::os::unix::fs::FileExt::read_exact_at(&huge, &mut some, (1 << 39) - 512).unwrap();
    assert_eq!((some[511], some[512], some[1023], some[1024]), (0, 3, 3, 0));

    let refused = ErofsOptions { copy_limit_bytes: 1024, ..ErofsOptions::index() };
    let error = erofs(&tree, &devices, &refused, &mut read, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, EncodeError::TooLarge { .. }), "{error}");
}

#[test]
fn erofs_utils_accept_a_full_image() {
    tools::require(&["fsck.erofs"]).unwrap();
    for seed in 0..3 {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let tar = mixed(&mut Random::new(seed));
        std::fs::write(at("tar"), &tar).unwrap();
        let expected = extracted(&at("tar"), &at("extracted"));
        std::fs::write(at("image"), encode(&tar, &ErofsOptions::full()).0).unwrap();
        let check = Command::new("fsck.erofs")
            .arg("-d3")
            .arg(format!("--extract={}", at("checked").display()))
            .arg("--preserve")
            .arg(at("image"))
            .output()
            .unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
        assert!(
            check.status.success() && said.contains("Extracted filesystem successfully"),
            "{}: {said}",
            check.status
        );
        let mut expected_plain = expected.clone();
        let mut found = Listing::of(&at("checked")).unwrap();
        for listed in expected_plain.entries.values_mut().chain(found.entries.values_mut()) {
            // It extracts no hard links.
            (listed.links, listed.same_as) = (1, None);
        }
        expected_plain.assert_same(&found, Ignore { xattrs: true, mtime: true, ..NOTHING });
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let tar = mixed(&mut Random::new(9));
    for options in [ErofsOptions::index(), ErofsOptions::full()] {
        let (first, summary) = encode(&tar, &options);
        let (second, again) = encode(&tar, &options);
        assert!(first == second);
        assert_eq!(summary, again);
        let builder = TarBuilder::new().member(&Member::directory("./").mode(0o700)).build();
        assert_ne!(encode(&builder, &options).1.uuid, summary.uuid);
    }
}

#[test]
fn content_outside_of_the_devices_is_refused() {
    let tar = TarBuilder::new().file("f", [1; 5000]).build();
    let mut read = |_, _, _: &mut [u8]| Ok(());
    for devices in [&[][..], &[ErofsDevice { size_bytes: 1024, digest: None }]] {
        let error =
            erofs(&tree_of(&tar), devices, &ErofsOptions::index(), &mut read, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, EncodeError::Content { path } if path == "f"), "{error}");
    }
}

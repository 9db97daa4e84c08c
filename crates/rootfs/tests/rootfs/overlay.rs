//! One layer for overlayfs.

use crate::tar::{Head, Tar, names};
use larder_rootfs::{Limits, Namespace, Shape, Tree};

fn overlay(tar: Tar, namespace: Namespace) -> (Vec<String>, Shape) {
    let (tree, shape) = Tree::overlay(&tar.layer(), 3, namespace, &Limits::default()).unwrap();
    (names(&tree), shape)
}

fn paths(shape: &Shape) -> Vec<&str> {
    shape.synthesised.iter().map(|path| std::str::from_utf8(path).unwrap()).collect()
}

#[test]
fn marks() {
    let tar = || {
        Tar::new()
            .file("a/.wh.gone", "")
            .directory("d")
            .file("d/new", "")
            .file("d/.wh..wh..opq", "")
            .file(".wh.again", "")
            .file("again/x", "")
            .file("new", "")
            .file(".wh.new", "")
    };
    let (trusted, shape) = overlay(tar(), Namespace::Trusted);
    assert_eq!(
        trusted,
        [
            "drwxr-xr-x a",
            "c--------- a/gone",
            "drwxr-xr-x again trusted.overlay.opaque=y",
            "-rw-r--r-- again/x",
            "drwxr-xr-x d trusted.overlay.opaque=y",
            "-rw-r--r-- d/new",
            "-rw-r--r-- new",
        ]
    );
    assert_eq!(paths(&shape), ["", "a"]);
    assert_eq!((shape.whiteouts, shape.irregular), (4, None));
    let (user, _) = overlay(tar(), Namespace::User);
    assert_eq!(user, trusted.iter().map(|line| line.replace("trusted.", "user.")).collect::<Vec<_>>());
}

#[test]
fn what_is_described_is_not_synthesised() {
    let (_, shape) = overlay(Tar::new().directory("./").file("a/b/c", "").directory("a/b"), Namespace::User);
    assert_eq!(paths(&shape), ["a"]);
    let (_, shape) = overlay(Tar::new().file("o/.wh..wh..opq", "").file("o/p/q", ""), Namespace::User);
    assert_eq!(paths(&shape), ["", "o"]);
}

#[test]
fn layers_that_need_what_is_below() {
    let cases = [
        ("b", Tar::new().hard_link("b", "lower")),
        ("s/x", Tar::new().symlink("s", "d").file("s/x", "")),
        ("s/x", Tar::new().symlink("s", "d").file("s/.wh.x", "")),
        ("d", Tar::new().symlink("d", "x").directory("d")),
        ("z", Tar::new().head(Head::new(b'3', "z").device(0, 0))),
    ];
    for (path, tar) in cases {
        let (_, shape) = overlay(tar, Namespace::User);
        assert_eq!(*shape.irregular.unwrap().path, *path.as_bytes());
    }
    let (lines, shape) =
        overlay(Tar::new().file("a", "").hard_link("b", "a").symlink("s", "a"), Namespace::User);
    assert_eq!((lines.len(), shape.irregular), (3, None));
    // A file hides all that was below it, so a whiteout there has nothing left to do.
    let (lines, _) = overlay(Tar::new().file("f/.wh.x", "").file("f", ""), Namespace::User);
    assert_eq!(lines, ["-rw-r--r-- f"]);
}

#[test]
fn deep_paths_are_bounded() {
    let tar = (0..10).fold(Tar::new(), |tar, i| {
        tar.pax(&[("path", &format!("{i}/{}f", "d/".repeat(1000)))]).file("x", "")
    });
    let limits = Limits { metadata_bytes: 1 << 20, ..Limits::default() };
    let error = Tree::overlay(&tar.layer(), 0, Namespace::User, &limits).unwrap_err();
    assert!(error.to_string().contains("bytes of paths"), "{error}");
}

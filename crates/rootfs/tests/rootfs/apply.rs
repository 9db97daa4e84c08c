//! Layers over layers.

use crate::tar::{Head, Tar, apply, names};
use larder_core::Classify as _;
use larder_rootfs::{Body, Content, Entry, Error, Kind, Layer, Limits, Meta, Time, Tree, listing};

fn links(tree: &Tree, path: &str) -> u32 {
    tree.node(tree.lookup(path.as_bytes()).unwrap()).links
}

/// Which layer and where a file's content is.
fn origin(tree: &Tree, path: &str) -> (u16, u64) {
    match tree.node(tree.lookup(path.as_bytes()).unwrap()).kind {
        Kind::File(content) => (content.extents[0].source, content.extents[0].len),
        kind => panic!("{path}: {kind:?}"),
    }
}

#[test]
fn children_are_sorted_and_links_counted() {
    let tree = apply([Tar::new()
        .file("d/b", "")
        .file("d/a", "")
        .directory("d/a-directory")
        .directory("d/B")
        .hard_link("x", "d/a")
        .hard_link("y", "x")])
    .unwrap();
    let directory = tree.lookup(b"d").unwrap();
    let children: Vec<_> = tree.children(directory).map(|(name, _)| name).collect();
    assert_eq!(children, [&b"B"[..], b"a", b"a-directory", b"b"]);
    assert_eq!((links(&tree, "d"), links(&tree, "d/a"), links(&tree, "d/b"), links(&tree, "")), (4, 3, 1, 3));
    assert_eq!(tree.lookup(b"x"), tree.lookup(b"./d//a/"));
    assert_eq!(tree.len(), 6);
    assert_eq!(
        names(&tree),
        [
            "drwxr-xr-x d",
            "drwxr-xr-x d/B",
            "-rw-r--r-- d/a",
            "drwxr-xr-x d/a-directory",
            "-rw-r--r-- d/b",
            "hrw-r--r-- x link to d/a",
            "hrw-r--r-- y link to d/a",
        ]
    );
}

#[test]
fn the_last_entry_of_a_path_wins() {
    let tree = apply([
        Tar::new().file("a", "1").file("b", "1").file("d/x", "").symlink("s", "t"),
        Tar::new().file("a", "22").file("a", "333").symlink("b", "q").file("d", "now a file").directory("s"),
    ])
    .unwrap();
    assert_eq!(names(&tree), ["-rw-r--r-- a", "lrw-r--r-- b -> q", "-rw-r--r-- d", "drwxr-xr-x s"]);
    assert_eq!(origin(&tree, "a"), (1, 3));
    assert_eq!(tree.len(), 5);
}

#[test]
fn a_directory_over_a_directory_keeps_its_content() {
    let tree = apply([
        Tar::new().directory("d").file("d/x", ""),
        Tar::new().head(Head::new(b'5', "d").mode(0o1777)),
    ])
    .unwrap();
    assert_eq!(names(&tree), ["drwxrwxrwt d", "-rw-r--r-- d/x"]);
}

/// T5: layers leave out parents that they did not change.
#[test]
fn missing_parents() {
    let tree = apply([
        Tar::new().head(Head::new(b'5', "tmp").mode(0o1777).raw(108, "0000005\0")),
        Tar::new().file("tmp/a/b", ""),
    ])
    .unwrap();
    let text = listing(&tree);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "drwxr-xr-x 0/0 0 0.000000000 .",
            "drwxrwxrwt 5/0 0 1000.000000000 tmp",
            "drwxr-xr-x 0/0 0 0.000000000 tmp/a",
            "-rw-r--r-- 0/0 0 1000.000000000 tmp/a/b",
        ]
    );
}

/// T6: the root has attributes like any directory.
#[test]
fn the_root() {
    for name in [".", "./", "/", "//", "././"] {
        let tree =
            apply([Tar::new().head(Head::new(b'5', name).mode(0o555)), Tar::new().file("a", "")]).unwrap();
        assert_eq!(tree.node(tree.root()).meta.mode, 0o555, "{name}");
    }
}

/// T1: an opaque directory hides what is below, not what is beside it, wherever it stands.
#[test]
fn opaque_directories() {
    let lower = || Tar::new().file("d/old", "").file("d/e/old", "").file("keep", "");
    let opaque = |tar: Tar| tar.file("d/.wh..wh..opq", "");
    for tar in [
        opaque(Tar::new().directory("d")).file("d/new", "").file("d/e/new", ""),
        opaque(Tar::new().directory("d").file("d/new", "").file("d/e/new", "")),
        opaque(Tar::new().file("d/e/new", "").directory("d")).file("d/new", ""),
    ] {
        let tree = apply([lower(), tar]).unwrap();
        assert_eq!(
            names(&tree),
            ["drwxr-xr-x d", "drwxr-xr-x d/e", "-rw-r--r-- d/e/new", "-rw-r--r-- d/new", "-rw-r--r-- keep"]
        );
    }
    let tree = apply([lower(), Tar::new().file(".wh..wh..opq", "").file("new", "")]).unwrap();
    assert_eq!(names(&tree), ["-rw-r--r-- new"]);
}

/// T2, T3: a whiteout hides what is below, not the new thing of the same name.
#[test]
fn whiteouts() {
    let lower = || Tar::new().file("f", "").directory("d").file("d/old", "").file("keep", "");
    let cases: [(Tar, &[&str]); 7] = [
        (Tar::new().file(".wh.f", "").file(".wh.d", ""), &["-rw-r--r-- keep"]),
        (
            Tar::new().file(".wh.nothing", "").file("d/.wh.old", "").file(".wh.f", ""),
            &["drwxr-xr-x d", "-rw-r--r-- keep"],
        ),
        (
            Tar::new().file(".wh.d", "").directory("d").file("d/new", ""),
            &["drwxr-xr-x d", "-rw-r--r-- d/new", "-rw-r--r-- f", "-rw-r--r-- keep"],
        ),
        (
            Tar::new().directory("d").file("d/new", "").file(".wh.d", ""),
            &["drwxr-xr-x d", "-rw-r--r-- d/new", "-rw-r--r-- f", "-rw-r--r-- keep"],
        ),
        (
            Tar::new().file("f", "").file(".wh.f", ""),
            &["drwxr-xr-x d", "-rw-r--r-- d/old", "-rw-r--r-- f", "-rw-r--r-- keep"],
        ),
        (
            Tar::new().file(".wh.f", "").directory("f").file("f/x", ""),
            &["drwxr-xr-x d", "-rw-r--r-- d/old", "drwxr-xr-x f", "-rw-r--r-- f/x", "-rw-r--r-- keep"],
        ),
        (Tar::new().file(".wh.d", "").file("d", "").file(".wh.f", ""), &["-rw-r--r-- d", "-rw-r--r-- keep"]),
    ];
    for (number, (tar, expected)) in cases.into_iter().enumerate() {
        assert_eq!(names(&apply([lower(), tar]).unwrap()), expected, "{number}");
    }
}

/// The order inside a layer must not decide whose attributes a directory has.
#[test]
fn a_hidden_directory_starts_anew() {
    let lower = || Tar::new().head(Head::new(b'5', "d").mode(0o700)).head(Head::new(b'5', "d/e").mode(0o700));
    for tar in
        [Tar::new().file(".wh.d", "").file("d/e/new", ""), Tar::new().file("d/e/new", "").file(".wh.d", "")]
    {
        let tree = apply([lower(), tar]).unwrap();
        assert_eq!(names(&tree), ["drwxr-xr-x d", "drwxr-xr-x d/e", "-rw-r--r-- d/e/new"]);
    }
    for tar in [
        Tar::new().file("d/.wh..wh..opq", "").file("d/e/new", ""),
        Tar::new().file("d/e/new", "").file("d/.wh..wh..opq", ""),
    ] {
        let tree = apply([lower(), tar]).unwrap();
        assert_eq!(names(&tree), ["drwx------ d", "drwxr-xr-x d/e", "-rw-r--r-- d/e/new"]);
    }
}

/// What Docker writes when a directory takes the place of a symbolic link: the target keeps its content.
#[test]
fn an_opaque_directory_over_a_symlink() {
    let tree = apply([
        Tar::new().file("run/x", "").symlink("var/run", "/run"),
        Tar::new().directory("var/run").file("var/run/.wh..wh..opq", "").file("var/run/y", ""),
    ])
    .unwrap();
    assert_eq!(
        names(&tree),
        [
            "drwxr-xr-x run",
            "-rw-r--r-- run/x",
            "drwxr-xr-x var",
            "drwxr-xr-x var/run",
            "-rw-r--r-- var/run/y"
        ]
    );
}

/// T8, CVE-2021-32760, CVE-2026-33056, CVE-2026-85731: links among the parents never lead out.
#[test]
fn symlinked_parents_stay_inside() {
    let cases: [(Tar, &str); 9] = [
        (Tar::new().symlink("a", "/etc").file("a/passwd", "x"), "etc/passwd"),
        (Tar::new().symlink("a", "../../../../etc").file("a/passwd", "x"), "etc/passwd"),
        (Tar::new().symlink("a", "b").symlink("b", "..").file("a/x", "x"), "x"),
        (Tar::new().symlink("d/a", "..").symlink("d/b", "a/..").file("d/b/x", "x"), "x"),
        (Tar::new().directory("usr/lib").symlink("lib", "usr/lib").file("lib/x", "x"), "usr/lib/x"),
        (Tar::new().symlink("d/lib", "../usr/lib").file("d/lib/deep/x", "x"), "usr/lib/deep/x"),
        (Tar::new().symlink("a", "/").file("a/a/a/x", "x"), "x"),
        (Tar::new().symlink("a", "./b/.//c").file("a/x", "x"), "b/c/x"),
        (Tar::new().symlink("a", "/proc/self/root/etc").file("a/x", "x"), "proc/self/root/etc/x"),
    ];
    for (number, (tar, path)) in cases.into_iter().enumerate() {
        let tree = apply([tar]).unwrap();
        assert_eq!(origin(&tree, path), (0, 1), "{number}");
    }
    // The last component is not followed: the link itself is replaced, and what it led to is left alone.
    let canary =
        || Tar::new().head(Head::new(b'5', "etc").mode(0o700)).symlink("a", "etc").symlink("b", "etc");
    let tree = apply([canary(), Tar::new().head(Head::new(b'5', "a").mode(0o777)).file("b", "x")]).unwrap();
    assert_eq!(names(&tree), ["drwxrwxrwx a", "-rw-r--r-- b", "drwx------ etc"]);
    let tree = apply([canary().directory("a")]).unwrap();
    assert_eq!(names(&tree), ["drwxr-xr-x a", "lrw-r--r-- b -> etc", "drwx------ etc"]);
    for tar in [
        Tar::new().symlink("a", "a").file("a/x", ""),
        Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", ""),
        Tar::new().file("a", "").file("a/x", ""),
        Tar::new().head(Head::new(b'6', "a")).file("a/x", ""),
    ] {
        assert!(matches!(apply([tar]).unwrap_err(), Error::Apply { .. }));
    }
    // What a lower layer brought gives way, as it would under an overlay.
    let tree = apply([Tar::new().file("a", ""), Tar::new().file("a/x", "")]).unwrap();
    assert_eq!(names(&tree), ["drwxr-xr-x a", "-rw-r--r-- a/x"]);
}

/// T7, CVE-2026-50163: hard links name a file of the image, and share it.
#[test]
fn hard_links() {
    let cases: [(Tar, &[&str]); 6] = [
        (Tar::new().file("a", "x").hard_link("b", "./a"), &["-rw-r--r-- a", "hrw-r--r-- b link to a"]),
        (
            Tar::new().symlink("a", "/etc/shadow").hard_link("b", "a"),
            &["lrw-r--r-- a -> /etc/shadow", "hrw-r--r-- b link to a -> /etc/shadow"],
        ),
        (
            Tar::new().file("d/a", "x").symlink("s", "d").hard_link("s/b", "/s/a"),
            &["drwxr-xr-x d", "-rw-r--r-- d/a", "hrw-r--r-- d/b link to d/a", "lrw-r--r-- s -> d"],
        ),
        (Tar::new().file("a", "x").hard_link("a", "a"), &["-rw-r--r-- a"]),
        (
            Tar::new().file("a", "x").hard_link("b", "a").hard_link("b", "a"),
            &["-rw-r--r-- a", "hrw-r--r-- b link to a"],
        ),
        (
            Tar::new().file("a", "x").file("d/y", "").hard_link("d", "a"),
            &["-rw-r--r-- a", "hrw-r--r-- d link to a"],
        ),
    ];
    for (number, (tar, expected)) in cases.into_iter().enumerate() {
        // Only the first target is repeated in the listing.
        let found: Vec<_> = names(&apply([tar]).unwrap());
        let expected: Vec<_> = expected.iter().map(|line| line.replace(" -> /etc/shadow", "")).collect();
        let found: Vec<_> = found.iter().map(|line| line.replace(" -> /etc/shadow", "")).collect();
        assert_eq!(found, expected, "{number}");
    }
    for tar in [
        Tar::new().hard_link("b", "a"),
        Tar::new().hard_link("b", "/etc/passwd"),
        Tar::new().hard_link("b", "Cargo.toml"),
        Tar::new().symlink("e", "/etc").hard_link("b", "e/passwd"),
        Tar::new().directory("d").hard_link("b", "d"),
        Tar::new().file("d/a", "").hard_link("d", "d/a"),
        Tar::new().hard_link("b", "b"),
        Tar::new().hard_link("b", "a").file("a", ""),
    ] {
        let error = apply([tar]).unwrap_err();
        assert!(matches!(error, Error::HardLink { .. }), "{error}");
    }
}

/// T7: names of one file part when one of them is written again.
#[test]
fn hard_links_across_layers() {
    let tree = apply([
        Tar::new().file("a", "1").hard_link("b", "a"),
        Tar::new().file("a", "22").hard_link("c", "b").file(".wh.b", ""),
        Tar::new().hard_link("d", "c"),
    ])
    .unwrap();
    assert_eq!(names(&tree), ["-rw-r--r-- a", "-rw-r--r-- c", "hrw-r--r-- d link to c"]);
    assert_eq!((origin(&tree, "a"), origin(&tree, "c")), ((1, 2), (0, 1)));
    assert_eq!((links(&tree, "c"), tree.len()), (2, 3));
}

#[test]
fn removed_things_leave_nothing() {
    let mut tree = Tree::new();
    let full = (0..50).fold(Tar::new(), |tar, i| tar.file(format!("d/{}/{i}", i % 7), "x")).layer();
    let empty = Tar::new().file(".wh.d", "").layer();
    for _ in 0..50 {
        tree.apply(&full, 0).unwrap();
        assert_eq!(tree.len(), 59);
        tree.apply(&empty, 0).unwrap();
        assert_eq!((tree.len(), links(&tree, "")), (1, 2));
    }
    assert_eq!(tree.bound(), 59, "nodes are used again");
}

#[test]
fn resolving_paths_of_the_image() {
    let tree = apply([Tar::new()
        .file("usr/lib/os-release", "x")
        .symlink("etc/os-release", "../usr/lib/os-release")
        .symlink("absolute", "/etc/os-release")
        .symlink("loop", "loop")
        .symlink("out", "../../../../../../etc/passwd")
        .symlink("dangling", "nowhere/x")])
    .unwrap();
    let file = tree.lookup(b"usr/lib/os-release");
    assert!(file.is_some());
    for path in ["etc/os-release", "/absolute", "usr/../etc/os-release", "usr/lib/os-release"] {
        assert_eq!(tree.resolve(path.as_bytes()), file, "{path}");
    }
    for path in ["loop", "loop/x", "out", "dangling", "dangling/..", "etc/os-release/x", "nothing"] {
        assert_eq!(tree.resolve(path.as_bytes()), None, "{path}");
    }
    assert_eq!(tree.resolve(b"/.."), Some(tree.root()));
    assert_ne!(tree.lookup(b"etc/os-release"), file);
}

#[test]
fn deep_paths() {
    let path = "d/".repeat(2000) + "f";
    let tree =
        apply([Tar::new().pax(&[("path", &path)]).file("x", ""), Tar::new().file(".wh.d", "").file("e", "")]);
    assert_eq!(tree.unwrap().len(), 2);
    let tree = apply([Tar::new().pax(&[("path", &path)]).file("x", "")]).unwrap();
    assert_eq!((tree.len(), tree.lookup(path.as_bytes()).is_some()), (2002, true));
    assert_eq!(listing(&tree).lines().count(), 2002);
}

#[test]
fn limits_of_a_tree() {
    let limits = Limits { entries: 10, path: 100, ..Limits::default() };
    let many = (0..10).fold(Tar::new(), |tar, i| tar.file(format!("f{i}"), ""));
    let deep = Tar::new().symlink("s", "x/".repeat(30)).symlink("x/x/s", "y/".repeat(30)).file("s/z", "");
    for (expected, tar) in [("files of an image", many), ("files of an image", deep.clone())] {
        let error = Tree::with_limits(&limits).apply(&tar.layer(), 0).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let limits = Limits { path: 61, ..Limits::default() };
    let error = Tree::with_limits(&limits).apply(&deep.layer(), 0).unwrap_err();
    assert!(error.to_string().contains("bytes of a path"), "{error}");
}

#[test]
fn a_hundred_thousand_files_take_little_memory() {
    let entry = |number: u64| Entry {
        path: format!("usr/lib/node_modules/{}/module-{number}.js", number / 1000).into_bytes().into(),
        meta: Meta {
            mode: 0o644,
            mtime: Time { secs: 1_700_000_000 + number as i64, nanos: 0 },
            ..Meta::default()
        },
        body: Body::File(Content::whole(700, 0, 512 + number * 1536)),
    };
    let layer = Layer::new((0..100_000).map(entry), 100_000 * 1536);
    assert!(layer.memory() < 2_000_000, "{}", layer.memory());
    let mut tree = Tree::new();
    tree.apply(&layer, 0).unwrap();
    assert_eq!(tree.len(), 100_000 + 100 + 4);
    assert!(tree.memory() < 9_000_000, "{}", tree.memory());
}

#[test]
fn memory_is_bounded_over_all_layers() {
    let limits = Limits { metadata_bytes: 100_000, ..Limits::default() };
    let mut tree = Tree::with_limits(&limits);
    // Each layer hides what the one before brought: the files do not add up, but the names do.
    let error = (0..100).find_map(|number| {
        let names = (0..50).fold(Tar::new(), |tar, i| tar.file(format!("d/{number}-{i}"), ""));
        tree.apply(&names.file("d/.wh..wh..opq", "").layer(), 0).err()
    });
    let error = error.unwrap();
    assert!(error.to_string().contains("names and attributes of an image"), "{error}");
    assert!(error.hints()[0].contains("`max_metadata`"), "{:?}", error.hints());
    assert!(tree.memory() < 120_000, "{}", tree.memory());
}

/// Every link of a chain can double the way; the walk is bounded.
#[test]
fn chains_of_symlinks_are_bounded() {
    let mut tar = Tar::new().symlink("l0", ".");
    for i in 1..30 {
        tar = tar.symlink(format!("l{i}"), format!("l{}/", i - 1).repeat(2));
    }
    let start = std::time::Instant::now();
    assert!(apply([tar.file("l29/x", "")]).is_err());
    let target = "./".repeat(2000);
    let mut tar = Tar::new();
    for i in 0..39 {
        tar = tar.pax(&[("linkpath", &format!("{target}{}", i + 1))]).symlink(i.to_string(), "");
    }
    for i in 0..2000 {
        tar = tar.file(format!("0/{i}"), "");
    }
    assert!(apply([tar]).is_err());
    assert!(start.elapsed().as_secs() < 30);
}

#[test]
fn hiding_again_and_again_is_bounded() {
    let full = (0..20_000).fold(Tar::new(), |tar, i| tar.file(format!("d/{i}"), ""));
    let tar = (0..10_000).fold(full, |tar, _| tar.file(".wh.d", "").file("d/.wh..wh..opq", ""));
    assert!(matches!(apply([tar]).unwrap_err(), Error::Limit { .. }));
}

#[test]
fn entries_that_no_scan_makes() {
    for path in [&b".."[..], b"a/..", b".", b"a/.", b"a\0b"] {
        let entry = Entry { path: path.into(), meta: Meta::default(), body: Body::File(Content::default()) };
        let error = Tree::new().apply(&Layer::new(vec![entry], 0), 0).unwrap_err();
        assert!(matches!(error, Error::Apply { .. }), "{error}");
    }
}

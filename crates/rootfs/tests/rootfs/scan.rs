//! Archives as they come, and as they must not be.

use crate::tar::{Head, Tar, scan, short};
use larder_rootfs::{Body, Content, Entry, Error, Extent, Layer, Limits, Scanner, Time, listing_of_layer};
use std::io::Cursor;

fn list(tar: Tar) -> Vec<String> {
    listing_of_layer(&tar.layer()).lines().map(short).collect()
}

fn only(tar: Tar) -> Entry {
    let layer = tar.layer();
    let [entry] = &layer.entries().collect::<Vec<_>>()[..] else { panic!("{layer:?}") };
    entry.clone()
}

fn content(tar: Tar) -> Content {
    match only(tar).body {
        Body::File(content) => content,
        body => panic!("{body:?}"),
    }
}

fn regions(content: &Content) -> Vec<(u64, u64, u64)> {
    content.extents.iter().map(|extent| (extent.at, extent.offset, extent.len)).collect()
}

#[test]
fn all_types() {
    let tar = Tar::new()
        .directory("./")
        .directory("./d/")
        .head(Head::new(0, "old").size(3))
        .data("abc")
        .head(Head::new(0, "old-directory/"))
        .head(Head::new(b'7', "contiguous").size(1))
        .data("x")
        .symlink("/absolute//link", "../../etc/passwd")
        .hard_link("hard", "./d/../d".replace("../d", "x"))
        .head(Head::new(b'3', "null").device(1, 3))
        .head(Head::new(b'4', "loop").device(7, 0))
        .head(Head::new(b'6', "pipe").mode(0o7777));
    assert_eq!(
        list(tar),
        [
            "drwxr-xr-x .",
            "drwxr-xr-x d",
            "-rw-r--r-- old",
            "drw-r--r-- old-directory",
            "-rw-r--r-- contiguous",
            "lrw-r--r-- absolute/link -> ../../etc/passwd",
            "hrw-r--r-- hard link to d/x",
            "crw-r--r-- null",
            "brw-r--r-- loop",
            "prwsrwsrwt pipe",
        ]
    );
}

#[test]
fn content_is_found_where_it_lies() {
    let tar = Tar::new().file("a", "1").file("b", [7; 600]).file("c", "").file("d", [1; 512]);
    let bytes = tar.clone().end();
    let layer = tar.layer();
    assert_eq!(layer.size(), bytes.len() as u64);
    let expected = [
        vec![Extent { at: 0, source: 0, offset: 512, len: 1 }],
        vec![Extent { at: 0, source: 0, offset: 1536, len: 600 }],
        vec![],
        vec![Extent { at: 0, source: 0, offset: 3584, len: 512 }],
    ];
    for (entry, expected) in layer.entries().zip(expected) {
        let Body::File(content) = &entry.body else { panic!() };
        assert_eq!(*content.extents, *expected);
        assert_eq!(content.size, expected.iter().map(|extent| extent.len).sum::<u64>());
    }
}

#[test]
fn names_of_every_format() {
    let long = ["d".repeat(200), "e".repeat(200), "f".repeat(100)].join("/");
    let tar = Tar::new()
        .head(Head::new(b'0', "name").raw(345, "prefix/dir"))
        .head(Head::new(b'0', "n".repeat(100)).raw(345, "p".repeat(155)))
        .head(Head::new(b'0', "gnu").gnu().raw(345, "12345670123"))
        .long(b'L', &long)
        .head(Head::new(b'0', "ignored").gnu().raw(345, "x"))
        .long(b'K', "k".repeat(300))
        .long(b'L', "link")
        .head(Head::new(b'2', "ignored").link("ignored"))
        .pax(&[("path", &long), ("linkpath", "t")])
        .head(Head::new(b'2', "ignored").link("ignored"))
        .file(b"not\xffutf-8\n".as_slice(), "");
    assert_eq!(
        list(tar),
        [
            "-rw-r--r-- prefix/dir/name".to_owned(),
            format!("-rw-r--r-- {}/{}", "p".repeat(155), "n".repeat(100)),
            "-rw-r--r-- gnu".to_owned(),
            format!("-rw-r--r-- {long}"),
            format!("lrw-r--r-- link -> {}", "k".repeat(300)),
            format!("lrw-r--r-- {long} -> t"),
            "-rw-r--r-- not\\377utf-8\\012".to_owned(),
        ]
    );
}

#[test]
fn attributes_of_every_format() {
    let entry =
        only(Tar::new().head(Head::new(b'6', "f").mode(0o4751).raw(108, "0001750\0").raw(116, "0000144\0")));
    assert_eq!((entry.meta.mode, entry.meta.uid, entry.meta.gid), (0o4751, 1000, 100));
    assert_eq!(entry.meta.mtime, Time { secs: 1000, nanos: 0 });
    let binary =
        Head::new(b'6', "f").raw(108, b"\x80\0\0\0\xff\0\0\0").raw(116, b"\xff\xff\xff\xff\xff\xff\xff\xfe");
    let entry = only(Tar::new().head(binary.raw(136, [0xff; 12])));
    assert_eq!((entry.meta.uid, entry.meta.gid), (0xff00_0000, u32::MAX - 1));
    assert_eq!(entry.meta.mtime, Time { secs: -1, nanos: 0 });
    let records: &[(&str, &[u8])] = &[
        ("uid", b"123456789"),
        ("gid", b"4000000000"),
        ("mtime", b"-12.25"),
        ("atime", b"junk"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02=\n\0"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("LIBARCHIVE.xattr.user.overlay.redirect", b"eQ=="),
        ("LIBARCHIVE.xattr.user.b", b"AQID"),
        ("LIBARCHIVE.xattr.user.c", b"AQ"),
    ];
    let entry = only(Tar::new().records(b'x', records).head(Head::new(b'5', "d")));
    assert_eq!((entry.meta.uid, entry.meta.gid), (123_456_789, 4_000_000_000));
    assert_eq!(entry.meta.mtime, Time { secs: -13, nanos: 750_000_000 });
    let xattrs: Vec<_> = entry.meta.xattrs.iter().map(|xattr| (&*xattr.name, &*xattr.value)).collect();
    assert_eq!(
        xattrs,
        [
            (&b"security.capability"[..], &b"\x01\0\0\x02=\n\0"[..]),
            (b"user.b", &[1, 2, 3]),
            (b"user.c", &[1]),
        ]
    );
}

#[test]
fn extended_headers_count_for_one_member() {
    let tar = Tar::new().pax(&[("path", "long"), ("uid", "7")]).file("a", "x").file("b", "y");
    let layer = tar.layer();
    assert_eq!(
        layer.entries().map(|entry| (entry.path.to_vec(), entry.meta.uid)).collect::<Vec<_>>(),
        [(b"long".to_vec(), 7), (b"b".to_vec(), 0)]
    );
}

#[test]
fn global_headers_are_ignored() {
    let tar = Tar::new().records(b'g', &[("comment", b"0123"), ("uid", b"7")]).file("a", "x");
    assert_eq!(only(tar).meta.uid, 0);
}

#[test]
fn whiteouts() {
    let tar = Tar::new()
        .file(".wh.a", "")
        .file("d/.wh..b", "some data")
        .file("d/.wh..wh..opq", "")
        .file(".wh..wh..opq", "")
        .hard_link("d/.wh.c", ".wh..wh.aufs")
        .directory("d/.wh.dir/")
        .file("d/.wh..wh.aufs", "")
        .directory(".wh..wh.plnk/")
        .file(".wh..wh.plnk/1.2", "x");
    assert_eq!(
        list(tar),
        [
            "w--------- a",
            "w--------- d/.b",
            "o--------- d",
            "o--------- .",
            "w--------- d/c",
            "w--------- d/dir"
        ]
    );
}

#[test]
fn sparse_files() {
    // Old GNU: four regions in the header, more in extension blocks.
    let region = |at: u64, len: u64| format!("{at:011o}\0{len:011o}\0");
    let head = Head::new(b'S', "s").gnu().raw(483, format!("{:011o}\0", 1 << 30));
    let mut extension = [0; 512];
    extension[..24].copy_from_slice(region(40960, 512).as_bytes());
    extension[24..48].copy_from_slice(region(1 << 30, 0).as_bytes());
    let map: String =
        [(0, 512), (4096, 1024), (16384, 512), (20480, 512)].map(|(at, len)| region(at, len)).concat();
    let tar = Tar::new().head(head.size(3072).raw(386, &map).raw(482, [1])).data(extension).data([1; 3072]);
    let old = content(tar);
    assert_eq!(old.size, 1 << 30);
    assert_eq!(
        regions(&old),
        [(0, 1024, 512), (4096, 1536, 1024), (16384, 2560, 512), (20480, 3072, 512), (40960, 3584, 512)]
    );

    // pax 0.0, 0.1, 1.0: the same two regions.
    let version_0_0 = Tar::new().pax(&[
        ("GNU.sparse.size", "10000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "512"),
        ("GNU.sparse.offset", "8192"),
        ("GNU.sparse.numbytes", "100"),
    ]);
    let version_0_1 = Tar::new().pax(&[
        ("GNU.sparse.size", "10000"),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.map", "0,512,8192,100"),
    ]);
    for tar in [version_0_0, version_0_1] {
        let start = tar.0.len() as u64 + 512;
        let content = content(tar.file("s", [1; 612]));
        assert_eq!(
            (content.size, regions(&content)),
            (10000, vec![(0, start, 512), (8192, start + 512, 100)])
        );
    }
    let tar = Tar::new().pax(&[
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "real/name"),
        ("GNU.sparse.realsize", "10000"),
    ]);
    let start = tar.0.len() as u64 + 512;
    let mut data = b"2\n0\n512\n8192\n100\n".to_vec();
    data.resize(512, 0);
    data.resize(512 + 612, 1);
    let tar = tar.file("dir/GNUSparseFile.1/name", data).file("after", "x");
    let layer = tar.layer();
    let entries: Vec<_> = layer.entries().collect();
    let Body::File(content) = &entries[0].body else { panic!() };
    assert_eq!(*entries[0].path, *b"real/name");
    assert_eq!(
        (content.size, regions(content)),
        (10000, vec![(0, start + 512, 512), (8192, start + 1024, 100)])
    );
    assert_eq!(*entries[1].path, *b"after");
}

#[test]
fn the_end() {
    let one = Tar::new().file("a", "x");
    let bytes = one.clone().0;
    // Without an end marker, with half of one, with padding, with anything behind it.
    for tail in [vec![], vec![0; 512], vec![0; 10240], [vec![0; 1024], vec![7; 100], one.0].concat()] {
        let bytes = [bytes.clone(), tail].concat();
        let layer = scan(&bytes).unwrap();
        assert_eq!((layer.entries().len(), layer.size()), (1, bytes.len() as u64));
    }
    assert_eq!(scan(b"").unwrap().entries().len(), 0);
    assert_eq!(scan(&[0; 10]).unwrap_err().to_string(), "malformed tar at byte 10: it ends early");
    for cut in [1, 511, 512] {
        assert!(scan(&bytes[..cut]).is_err(), "{cut}");
    }
    // The padding of the last file may be missing, all or in part; its content may not.
    for cut in [513, 600, 1023] {
        assert_eq!(scan(&bytes[..cut]).unwrap().size(), cut as u64);
    }
    let long = Tar::new().file("a", [1; 700]).0;
    assert!(scan(&long[..512 + 699]).is_err());
    assert!(scan(&long[..512 + 700]).is_ok());
    assert!(scan(&Tar::new().pax(&[("path", "a")]).end()).is_err());
    assert!(scan(&Tar::new().pax(&[("path", "a")]).0).is_err());
}

/// Refused, each for its own reason.
#[test]
fn malformed_and_ambiguous() {
    let region = |at: u64, len: u64| format!("{at:011o}\0{len:011o}\0");
    let sparse =
        |map: &str| Head::new(b'S', "s").gnu().size(512).raw(483, format!("{:011o}\0", 4096)).raw(386, map);
    let with_map =
        |map| Tar::new().pax(&[("GNU.sparse.size", "10000"), ("GNU.sparse.map", map)]).file("s", [1; 512]);
    let mut wrong_sum = Tar::new().file("a", "");
    wrong_sum.0[0] = b'b';
    let lone = Tar(vec![0; 512]).file("a", "");
    let cases = [
        ("checksum", wrong_sum),
        ("checksum", Tar(vec![b'x'; 512])),
        ("something follows a single block of zeros", lone),
        // Paths.
        ("must not go up", Tar::new().file("../a", "")),
        ("must not go up", Tar::new().file("a/..", "")),
        ("must not go up", Tar::new().file("a/../b", "")),
        ("must not go up", Tar::new().file("/..", "")),
        ("must not go up", Tar::new().hard_link("a", "../b")),
        ("must not go up", Tar::new().pax(&[("path", "../../etc/passwd")]).file("a", "")),
        ("must not go up", Tar::new().file("a/.wh./../b", "")),
        ("no name", Tar::new().file("", "")),
        ("root", Tar::new().symlink(".", "/etc")),
        ("root", Tar::new().symlink("./", "/etc")),
        ("root", Tar::new().symlink("/", "/etc")),
        ("root", Tar::new().symlink("//", "/etc")),
        ("must not go up", Tar::new().symlink("foo/..", "/etc")),
        ("directory", Tar::new().file("./", "")),
        ("hard link to the root", Tar::new().hard_link("a", "/")),
        ("1 to 4095", Tar::new().symlink("a", "")),
        ("1 to 4095", Tar::new().pax(&[("linkpath", &"x".repeat(4096))]).symlink("a", "x")),
        ("255 bytes", Tar::new().pax(&[("path", &"x".repeat(256))]).file("a", "")),
        ("longer than the limit", Tar::new().pax(&[("path", &"abc/".repeat(1025))]).directory("a")),
        ("NUL", Tar::new().records(b'x', &[("path", b"a\0b")]).file("a", "")),
        ("empty", Tar::new().records(b'x', &[("path", b"")]).file("a", "")),
        ("a whiteout of nothing", Tar::new().file("d/.wh.", "")),
        ("a whiteout of nothing", Tar::new().file("d/.wh..", "")),
        ("a whiteout of nothing", Tar::new().file("d/.wh...", "")),
        ("no directory can", Tar::new().file("d/.wh.x/y", "")),
        // Sizes that readers see differently.
        ("not a file but has a size", Tar::new().head(Head::new(b'5', "d").size(512)).data([0; 512])),
        ("not a file but has a size", Tar::new().head(Head::new(b'2', "d").link("x").size(5)).data("x")),
        ("not a file but has a size", Tar::new().head(Head::new(b'3', "d").size(5)).data("x")),
        ("not a file but has a size", Tar::new().head(Head::new(0, "d/").size(5)).data("x")),
        ("not a file but has a size", Tar::new().pax(&[("size", "512")]).hard_link("a", "b").data([1; 512])),
        ("name of a directory", Tar::new().file("a/", "x")),
        ("blank", Tar::new().head(Head::new(b'0', "a").raw(124, "            "))),
        ("negative", Tar::new().head(Head::new(b'0', "a").raw(124, [0xff; 12]))),
        ("not a number", Tar::new().head(Head::new(b'0', "a").raw(124, "\x000000000010\0"))),
        ("not a number", Tar::new().head(Head::new(b'0', "a").raw(124, "000000009000"))),
        ("not a number", Tar::new().head(Head::new(b'6', "a").raw(136, "yesterday..."))),
        ("out of range", Tar::new().pax(&[("uid", "4294967296")]).file("a", "")),
        ("number", Tar::new().pax(&[("size", "-1")]).file("a", "")),
        ("number", Tar::new().pax(&[("size", "0x10")]).file("a", "")),
        ("number", Tar::new().pax(&[("size", "")]).file("a", "")),
        ("same path, link or size", Tar::new().records(b'g', &[("size", b"1024")]).file("a", "")),
        ("same path, link or size", Tar::new().records(b'g', &[("path", b"x")]).file("a", "")),
        ("sparse", Tar::new().records(b'g', &[("GNU.sparse.major", b"1")]).file("a", "")),
        ("follows another", Tar::new().pax(&[("size", "0")]).pax(&[("uid", "1")]).file("a", "")),
        ("disagree", Tar::new().long(b'L', "b").pax(&[("path", "c")]).file("a", "")),
        ("disagree", Tar::new().pax(&[("linkpath", "c")]).long(b'K', "b").symlink("a", "x")),
        ("type is not known", Tar::new().head(Head::new(b'Z', "a"))),
        ("type is not known", Tar::new().head(Head::new(b'X', "a"))),
        ("type is not known", Tar::new().head(Head::new(b'V', "volume"))),
        ("type is not known", Tar::new().head(Head::new(b'M', "continued"))),
        // Sparse.
        ("not that of GNU", Tar::new().head(sparse(&region(0, 512)).raw(257, "ustar\x0000")).data([1; 512])),
        (
            "not that of GNU",
            Tar::new().pax(&[("size", "1024")]).head(sparse(&region(0, 512))).data([1; 1024]),
        ),
        (
            "not in order",
            Tar::new().head(sparse(&[region(1024, 256), region(0, 256)].concat())).data([1; 512]),
        ),
        ("beyond the file", Tar::new().head(sparse(&region(4000, 512))).data([1; 512])),
        ("less data", Tar::new().head(sparse(&region(0, 100))).data([1; 512])),
        ("more data", Tar::new().head(sparse(&region(0, 513))).data([1; 512])),
        ("ambiguous", Tar::new().head(sparse(&region(0, 512)).raw(482, [1])).data([0; 512]).data([1; 512])),
        ("last block", with_map("0,100,512,412")),
        ("incomplete", with_map("0,512,1024")),
        ("number", with_map("0,x")),
        ("not known", Tar::new().pax(&[("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")]).file("a", "")),
        ("not known", Tar::new().pax(&[("GNU.sparse.name", "other")]).file("a", "")),
        ("no size", Tar::new().pax(&[("GNU.sparse.map", "0,512")]).file("a", [1; 512])),
        (
            "two sizes",
            Tar::new()
                .pax(&[("GNU.sparse.size", "1"), ("GNU.sparse.realsize", "2"), ("GNU.sparse.map", "0,1")])
                .file("a", "x"),
        ),
        (
            "sparse in two ways",
            Tar::new().pax(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,9")]).head(sparse("")),
        ),
        (
            "cut off",
            Tar::new()
                .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")])
                .file("a", ""),
        ),
    ];
    for (number, (expected, tar)) in cases.into_iter().enumerate() {
        let tar = if expected == "cut off" { tar.data([b'1'; 512]) } else { tar };
        match scan(&tar.end()) {
            Err(error @ (Error::Archive { .. } | Error::Member { .. })) => {
                assert!(error.to_string().contains(expected), "{number}: {expected:?}, not {error}");
            }
            other => panic!("{number}: {expected:?}, not {other:?}"),
        }
    }
}

/// CVE-2025-62518 and its relatives: an archive inside of a file that one parser skips and another reads.
#[test]
fn a_hidden_archive_stays_hidden() {
    let inner = Tar::new().file("smuggled", "evil").0;
    let size = inner.len().to_string();
    // The header says 0, the extended header says how long it is.
    let tar =
        Tar::new().pax(&[("size", &size)]).head(Head::new(b'0', "outer.tar")).data(&inner).file("after", "");
    assert_eq!(list(tar), ["-rw-r--r-- outer.tar", "-rw-r--r-- after"]);
    // The other way round: what the header counts as content is the next member.
    let tar =
        Tar::new().pax(&[("size", "0")]).head(Head::new(b'0', "empty").size(inner.len() as u64)).data(&inner);
    assert_eq!(list(tar), ["-rw-r--r-- empty", "-rw-r--r-- smuggled"]);
    // The size is that of the file, not that of the long name between.
    let tar =
        Tar::new().pax(&[("size", &size)]).long(b'L', "outer.tar").head(Head::new(b'0', "x")).data(&inner);
    assert_eq!(list(tar), ["-rw-r--r-- outer.tar"]);
    // A hard link may say how large its target is; nothing follows it.
    let tar = Tar::new().file("a", "x").head(Head::new(b'1', "b").link("a").size(512)).file("c", "");
    assert_eq!(list(tar), ["-rw-r--r-- a", "hrw-r--r-- b link to a", "-rw-r--r-- c"]);
}

#[test]
fn limits() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    let xattr = |length| Tar::new().pax(&[("SCHILY.xattr.user.x", &"v".repeat(length))]).file("a", "");
    let many = (0..11).fold(Tar::new(), |tar, i| tar.file(format!("f{i}"), ""));
    let huge = Tar::new().head(Head::new(b'0', "a").raw(124, b"\x80\0\0\0\x10\0\0\0\0\0\0\0"));
    let hole =
        Tar::new().pax(&[("GNU.sparse.size", "1125899906842624"), ("GNU.sparse.map", "0,1")]).file("a", "x");
    let bomb = Tar::new()
        .pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")])
        .file("a", format!("{}\n{}", u64::MAX / 4, " ".repeat(600)));
    let cases = [
        ("members", limits(|limits| limits.entries = 10), many.clone()),
        ("bytes of a layer", limits(|limits| limits.bytes = 5000), many.clone()),
        ("bytes of a layer", Limits::default(), huge),
        ("bytes of the sparse", Limits::default(), hole),
        ("larger than the limit", Limits::default(), bomb),
        ("extended header", limits(|limits| limits.pax_bytes = 100), xattr(100)),
        ("extended attributes are larger", limits(|limits| limits.xattr_bytes = 105), xattr(100)),
        ("names and attributes", limits(|limits| limits.metadata_bytes = 20), many),
        ("extended header", Limits::default(), Tar::new().head(Head::new(b'L', "x").size(1 << 30))),
        ("extended header", Limits::default(), Tar::new().head(Head::new(b'x', "x").size(1 << 30))),
    ];
    for (number, (expected, limits, tar)) in cases.into_iter().enumerate() {
        let mut scanner = Scanner::new(limits);
        let error = scanner.feed(&tar.end()).unwrap_err();
        assert!(error.to_string().contains(expected), "{number}: {expected:?}, not {error}");
        assert!(scanner.feed(&[0; 512]).is_err(), "a failed scanner goes on");
    }
}

/// Names in falling order are the worst case for a sorted list.
#[test]
fn many_attributes_are_read_in_little_time() {
    let names: Vec<String> = (0..20_000).rev().map(|i| format!("SCHILY.xattr.u.{i:05}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let tar = Tar::new().records(b'x', &records).file("a", "").end();
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(scan(&tar).unwrap().entries().next().unwrap().meta.xattrs.len(), 20_000);
    }
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn the_size_of_the_pieces_does_not_matter() {
    let tar = Tar::new()
        .pax(&[("path", &"long/".repeat(150)), ("uid", "77")])
        .directory("x")
        .file("a", [5; 1300])
        .long(b'L', "y".repeat(200))
        .file("x", [0; 512])
        .symlink("s", "t")
        .end();
    let whole = scan(&tar).unwrap();
    for size in [1, 7, 511, 512, 513, 1000, 4096] {
        let mut scanner = Scanner::new(Limits::default());
        for piece in tar.chunks(size) {
            scanner.feed(piece).unwrap();
        }
        assert_eq!(scanner.finish().unwrap(), whole, "{size}");
    }
}

#[test]
fn a_tar_on_disk_is_read_without_its_content() {
    struct Counting(Cursor<Vec<u8>>, usize);
    impl std::io::Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1 += count;
            Ok(count)
        }
    }
    impl std::io::Seek for Counting {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    let tar =
        Tar::new().file("large", vec![1; 10 << 20]).file("b", "x").file("larger", vec![1; 20 << 20]).end();
    let whole = scan(&tar).unwrap();
    let mut reader = Counting(Cursor::new(tar.clone()), 0);
    assert_eq!(Layer::read(&mut reader, &Limits::default()).unwrap(), whole);
    assert!(reader.1 < 1 << 20, "{} bytes read", reader.1);
    let cut = tar[..tar.len() - 2000].to_vec();
    assert!(Layer::read(&mut Cursor::new(cut), &Limits::default()).is_err());
}

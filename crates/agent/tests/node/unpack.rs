//! Layers are unpacked while they arrive. Needs root.

use crate::conversation::{Node, header};
use larder_agent::{Code, PackedLayer, Reply, Request, Unpack};
use larder_core::{Compression, Digest};
use larder_testkit::{Layer, Member, TarBuilder, eventually};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn order(directory: &Path, layers: &[&Layer]) -> Unpack {
    let layer = |layer: &&Layer| PackedLayer { blob: layer.digest, diff_id: layer.diff_id };
    let directory = directory.join("layers").display().to_string();
    Unpack { directory, lowers: Vec::new(), layers: layers.iter().map(layer).collect() }
}

fn begin(node: &mut Node, order: Unpack) {
    node.say(&Request::Unpack(order));
    assert_eq!(node.answer().read(), Reply::Unpacking);
}

fn send(node: &mut Node, layer: &Layer) {
    node.send(Digest::of(&layer.blob), &layer.blob, 0).existed();
}

fn unpacked(node: &mut Node) -> Vec<PathBuf> {
    node.say(&Request::Await);
    match node.answer().read() {
        Reply::Unpacked(unpacked) => unpacked.directories.into_iter().map(PathBuf::from).collect(),
        other => panic!("{other:?}"),
    }
}

fn refusal(node: &mut Node) -> Code {
    node.say(&Request::Await);
    node.answer().failure().code
}

fn layer(tar: TarBuilder) -> Layer {
    Layer::new(tar.build(), Compression::Gzip)
}

#[test]
fn layers_become_directories_while_they_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(&directory.path().join("spool"));
    let bottom =
        layer(TarBuilder::new().directory("a/").file("a/first", vec![1; 3 << 20]).whiteout("a/never"));
    let top =
        layer(TarBuilder::new().whiteout("a/first").opaque("b").hard_link("a/y", "a/x").file("b/new", "n"));
    let top_fixed =
        layer(TarBuilder::new().whiteout("a/first").opaque("b").file("a/x", "x").hard_link("a/y", "a/x"));
    // One arrived before it is asked for.
    send(&mut node, &top_fixed);
    begin(&mut node, order(directory.path(), &[&bottom, &top_fixed]));
    let (half, digest) = (bottom.blob.len() / 2, Digest::of(&bottom.blob));
    node.say(&Request::Blob(header(digest, bottom.blob.len(), 0)));
    node.say(&Request::Data(&bottom.blob[..half]));
    let place = std::fs::read_dir(directory.path().join("layers")).unwrap().flatten().next().unwrap().path();
    eventually("it does not wait for the end", Duration::from_secs(30), || {
        place.join("0/a/first").exists().then_some(())
    });
    node.say(&Request::Data(&bottom.blob[half..]));
    node.say(&Request::End);
    node.answer().existed();
    let directories = unpacked(&mut node);
    assert_eq!(std::fs::metadata(directories[0].join("a/first")).unwrap().len(), 3 << 20);
    assert!(!directories[0].join("a/never").exists(), "there is nothing to hide below the lowest");
    let hidden = std::fs::symlink_metadata(directories[1].join("a/first")).unwrap();
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
    assert_eq!(std::fs::metadata(directories[1].join("a/y")).unwrap().nlink(), 2);
    assert_eq!(directories[1].parent(), Some(place.as_path()));
    // Others take their place; these need a file of another layer.
    begin(&mut node, order(directory.path(), &[&bottom, &top]));
    send(&mut node, &top);
    assert_eq!(refusal(&mut node), Code::Irregular);
    assert!(node.close());
    assert_eq!(std::fs::read_dir(directory.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn nothing_counts_that_is_not_what_it_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(&directory.path().join("spool"));
    let good = layer(TarBuilder::new().file("a", "a"));
    let mut wrong = order(directory.path(), &[&good]);
    wrong.layers[0].diff_id = Digest::of(b"another");
    begin(&mut node, wrong);
    send(&mut node, &good);
    assert_eq!(refusal(&mut node), Code::WrongBytes);
    // Not sent at all.
    let other = layer(TarBuilder::new().file("b", "b"));
    begin(&mut node, order(directory.path(), &[&good, &other]));
    assert_eq!(refusal(&mut node), Code::Absent);
    // Sent, and not what its name says.
    begin(&mut node, order(directory.path(), &[&other]));
    let digest = Digest::of(&other.blob);
    let failure = node.send(digest, &vec![0; other.blob.len()], 0).failure();
    assert_eq!(failure.code, Code::WrongBytes);
    assert!(matches!(refusal(&mut node), Code::Absent | Code::WrongBytes));
    // The blobs are not held any longer.
    assert_eq!(node.release(&[Digest::of(&good.blob)]).kept, 0);
    assert!(node.close());
}

#[test]
fn what_containerd_would_do_in_another_way_is_left_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(&directory.path().join("spool"));
    let base = layer(TarBuilder::new().file("base", ""));
    let set_group = Member::directory("a/").mode(0o2755);
    let acl = Member::directory("a/").xattr("system.posix_acl_default", b"\x02\x00\x00\x00");
    let bottoms = [
        TarBuilder::new().file("a", "1").whiteout("a"),
        TarBuilder::new().file("d/x", "1").whiteout("d"),
        TarBuilder::new().file("d/e/f", "1").opaque("d"),
        TarBuilder::new().member(&set_group).file("a/implicit/file", "1"),
        TarBuilder::new().member(&acl),
        TarBuilder::new().member(&Member::directory("a/").xattr("user.a", "1")).directory("a/"),
    ];
    for (number, tar) in bottoms.into_iter().enumerate() {
        let bottom = layer(tar);
        begin(&mut node, order(directory.path(), &[&bottom, &base]));
        send(&mut node, &bottom);
        send(&mut node, &base);
        assert_eq!(refusal(&mut node), Code::Irregular, "{number}");
    }
    // A mark that comes before what it could hide hides nothing of its own layer.
    let fine = layer(TarBuilder::new().whiteout("a").file("a/x", "1").opaque("b").file("b/x", "1"));
    begin(&mut node, order(directory.path(), &[&fine]));
    send(&mut node, &fine);
    assert!(unpacked(&mut node)[0].join("b/x").exists());
}

#[test]
fn nothing_is_written_outside() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    let tars = [
        TarBuilder::new().symlink("link", target).file("link/file", "x"),
        TarBuilder::new().symlink("link", target).directory("link/").file("link/file", "x"),
        TarBuilder::new().symlink("a", "../../outside").hard_link("b", "a").file("b/file", "x"),
        TarBuilder::new().hard_link("stolen", "../../../../../etc/passwd"),
        TarBuilder::new().file("file", "1").file("file", "2"),
        TarBuilder::new().whiteout("file").file("file", "2"),
        TarBuilder::new().char_device("device", 0, 0),
    ];
    let mut node = Node::open(&directory.path().join("spool"));
    let base = layer(TarBuilder::new().file("base", ""));
    send(&mut node, &base);
    for (number, tar) in tars.into_iter().enumerate() {
        let layer = layer(tar);
        begin(&mut node, order(directory.path(), &[&base, &layer]));
        send(&mut node, &layer);
        let code = refusal(&mut node);
        assert!(matches!(code, Code::Irregular | Code::WrongBytes), "{number}: {code:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{number}");
    }
    // A name that leads out is none; one from the root is inside.
    let up = layer(TarBuilder::new().file("../up", "x").file("../../up", "x").file("../../../up", "x"));
    begin(&mut node, order(directory.path(), &[&up]));
    send(&mut node, &up);
    assert_eq!(refusal(&mut node), Code::WrongBytes);
    let found = std::process::Command::new("find").arg(directory.path()).args(["-name", "up"]).output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "");
    let absolute = layer(TarBuilder::new().file("/larder-absolute", "x"));
    begin(&mut node, order(directory.path(), &[&absolute]));
    send(&mut node, &absolute);
    assert!(unpacked(&mut node)[0].join("larder-absolute").exists());
    assert!(!Path::new("/larder-absolute").exists());
}

#[test]
fn what_a_killed_session_was_unpacking_goes_with_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool");
    let mut node = Node::open(&spool);
    let layer = layer(TarBuilder::new().directory("deep/").file("deep/file", "x"));
    send(&mut node, &layer);
    begin(&mut node, order(directory.path(), &[&layer]));
    let left = unpacked(&mut node).remove(0);
    node.kill();
    assert!(left.join("deep/file").exists());
    let mut node = Node::open(&spool);
    begin(&mut node, order(directory.path(), &[&layer]));
    assert_ne!(unpacked(&mut node)[0], left);
    eventually("what was left is gone", Duration::from_secs(60), || {
        (std::fs::read_dir(directory.path().join("layers")).unwrap().count() == 1).then_some(())
    });
    assert!(!left.exists());
}

#[test]
fn trees_of_files_come_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(&directory.path().join("spool"));
    for seed in 0..20 {
        let mut random = larder_testkit::Random::new(seed);
        let layers: Vec<Layer> =
            (0..2).map(|_| Layer::tree(&mut random, 5, 200_000, Compression::Gzip)).collect();
        begin(&mut node, order(directory.path(), &layers.iter().collect::<Vec<_>>()));
        layers.iter().for_each(|layer| send(&mut node, layer));
        for (directory, layer) in unpacked(&mut node).iter().zip(&layers) {
            // GNU tar looks at everything that it knows of its entries.
            let tar = directory.parent().unwrap().join("tar");
            std::fs::write(&tar, &layer.tar).unwrap();
            let mut compare = std::process::Command::new("tar");
            let compared =
                compare.arg("--compare").arg("-C").arg(directory).arg("-f").arg(&tar).output().unwrap();
            assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
        }
    }
}

//! Layers that larder unpacks on a node are what containerd would have made of them.

use super::{World, assert_runs, assert_whole, leftovers};
use larder_core::Compression;
use larder_testkit::nodes::{Engine, Node, Plan};
use larder_testkit::{Image, ImageBuilder, Member, TarBuilder, busybox, eventually};
use std::time::Duration;

const ROOT: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs";

#[test]
fn snapshots_are_what_containerd_makes_of_the_same_image() {
    same_snapshots(&Engine::Containerd);
}

#[test]
fn snapshots_are_what_the_newest_containerd_makes_of_the_same_image() {
    if let Some(programs) = super::first::newest_containerd() {
        same_snapshots(&Engine::ContainerdIn(programs));
    }
}

fn same_snapshots(engine: &Engine) {
    let world = World::new(&[Plan::new("ours", engine.clone()), Plan::new("theirs", engine.clone())]);
    let (ours, theirs) = (&world.fleet[0], &world.fleet[1]);
    let image = peculiar(700);
    let name = world.add(&image, "peculiar:1");
    world.delivered(&[&name, "--node", "ours", "--method", "agent"]);
    world.delivered(&[&name, "--node", "theirs", "--method", "thin"]);
    assert_eq!(made_by_larder(ours), 4, "larder unpacked it");
    assert_eq!(made_by_larder(theirs), 0);
    let (ours_have, theirs_have) = (trees(ours), trees(theirs));
    assert_eq!(ours_have.len(), 4);
    for (number, (ours, theirs)) in ours_have.iter().zip(&theirs_have).enumerate() {
        assert!(ours.lines().count() > 3, "an empty layer: {ours}");
        assert_eq!(ours, theirs, "layer {number}");
    }
    assert_runs(ours, &name, &image);
    assert_eq!(leftovers(ours), [""; 0]);
    assert_eq!(places(ours), 0);
    // Of an image on the same layers only what is new is unpacked, on top of what is there.
    let update = layers(700).tar(top(b"more"), Compression::Gzip).build();
    let name = world.add(&update, "peculiar:2");
    world.delivered(&[&name, "--node", "ours", "--method", "agent"]);
    world.delivered(&[&name, "--node", "theirs", "--method", "thin"]);
    assert_eq!(made_by_larder(ours), 5);
    assert_eq!(trees(ours), trees(theirs));
    assert_runs(ours, &name, &update);
}

#[test]
fn garbage_collection_takes_the_snapshots_with_the_image_and_not_before() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    let (kept, gone) = (peculiar(710), super::image(711, 3, 100_000));
    let kept_name = world.add(&kept, "kept:1");
    let gone_name = world.add(&gone, "gone:1");
    world.delivered(&[&kept_name, &gone_name, "--node", "worker-1", "--method", "agent"]);
    assert_eq!(made_by_larder(node), 8 - 1, "both begin with the same layer");
    let names: Vec<String> = super::names(node).into_iter().filter(|name| name.contains("/gone")).collect();
    let remove = ["images", "rm", "--sync"];
    node.ctr(remove.into_iter().map(str::to_owned).chain(names)).unwrap();
    assert_whole(node, &kept_name, &kept);
    assert_runs(node, &kept_name, &kept);
    assert_eq!(snapshots(node).len(), 4, "those of the other image are gone: {:?}", snapshots(node));
}

#[test]
fn a_layer_that_needs_those_below_is_left_to_containerd() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    let below = TarBuilder::new().directory("real/").symlink("link", "real").build();
    let through_link = TarBuilder::new().file("link/file", "through a link of the layer below").build();
    let twice = TarBuilder::new().file("twice", "one").file("twice", "two").build();
    for (seed, top) in [(720, through_link), (721, twice)] {
        let image = ImageBuilder::new(seed)
            .layer(busybox(Compression::Gzip).unwrap())
            .tar(below.clone(), Compression::Gzip)
            .tar(top, Compression::Gzip)
            .build();
        let name = world.add(&image, &format!("irregular-{seed}:1"));
        world.delivered(&[&name, "--node", "worker-1", "--method", "agent"]);
        assert_runs(node, &name, &image);
        assert_eq!(made_by_larder(node), 0);
        assert_eq!(leftovers(node), [""; 0]);
    }
}

#[test]
fn a_sender_that_is_killed_leaves_no_snapshot_that_is_not_whole() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    world.prime();
    let before = snapshots(node).len();
    for round in 0..4 {
        let image = super::image(730 + round, 4, 1_000_000);
        let name = world.add(&image, &format!("killed-{round}:1"));
        link.rate(Some(8 << 20));
        let sent = link.sent();
        let args = [&name, "--node", "worker-1", "--method", "agent"];
        let sender = world.delivery(&args).spawn().unwrap();
        eventually("the blobs flow", Duration::from_secs(60), || {
            (link.sent() - sent > 900_000 + round * 1_100_000).then_some(())
        });
        sender.kill().unwrap();
        link.rate(None);
        world.delivered(&args);
        assert_runs(node, &name, &image);
        assert_eq!(leftovers(node), [""; 0]);
        assert_eq!(places(node), 0, "layers that were being unpacked are gone");
    }
    let now = snapshots(node);
    assert_eq!(now.len() - before, 4 * 4, "all begin with the same layer: {now:?}");
    assert!(now.iter().all(|key| key.starts_with("sha256:")), "{now:?}");
}

/// Everything that a layer can have, and that a layer can do to those below.
fn peculiar(seed: u64) -> Image {
    layers(seed).tar(top(b"top"), Compression::Gzip).build()
}

fn layers(seed: u64) -> ImageBuilder {
    let bottom = TarBuilder::new()
        .member(&Member::directory("keep/").mode(0o2750).owner(5, 6).mtime(1_000_000_000, 0))
        .member(&Member::file("keep/a", "a").mode(0o4711).owner(1000, 1001).mtime(1_100_000_000, 500_000_000))
        .file("linked", "twice")
        .hard_link("keep/again", "linked")
        // What its own entry says counts.
        .member(&Member {
            link: b"keep/a".into(),
            xattrs: vec![("user.shape".into(), b"round".into())],
            ..Member::new(b'1', "keep/differs").mode(0o640).owner(7, 8).mtime(1_200_000_000, 0)
        })
        .symlink("to-link", "keep/a")
        .hard_link("linked-link", "to-link")
        .member(&Member::file("attributes", "x").xattr("user.color", "blue").xattr("trusted.mark", "m"))
        .member(&Member::directory("marked/").xattr("user.size", "large").mode(0o1777))
        .file("gone", "away")
        .file("replaced", "old")
        .directory("hidden/")
        .file("hidden/below", "hidden")
        .directory("closed/")
        .file("closed/inside", "hidden, too")
        .symlink("link", "/keep/a")
        .symlink("dangling", "../../nowhere")
        .fifo("pipe")
        .char_device("null", 1, 3)
        .block_device("disk", 7, 0)
        .file("empty", "")
        .sparse("sparse", 1 << 20, &[(4096, b"data"), (1 << 19, b"more")])
        .whiteout("never/was")
        .build();
    let middle = TarBuilder::new()
        .whiteout("gone")
        .whiteout("hidden")
        .file("replaced", vec![b'n'; 300_000])
        .directory("closed/")
        .opaque("closed")
        .file("closed/new", "seen")
        // Their directories are those of the layer below, which this one says nothing of.
        .file("keep/b", "b")
        .file("marked/c", "c")
        .build();
    ImageBuilder::new(seed)
        .layer(busybox(Compression::Gzip).unwrap())
        .tar(bottom, Compression::Gzip)
        .tar(middle, Compression::Zstd)
}

fn top(content: &[u8]) -> Vec<u8> {
    let name = "n".repeat(120);
    TarBuilder::new()
        .directory("./")
        .file("deep/er/than/described", content)
        .hard_link("deep/link", "deep/er/than/described")
        .file(format!("keep/{name}"), "a long name")
        .file("large", vec![7; 5 << 20])
        .build()
}

/// Snapshots, by their keys.
fn snapshots(node: &Node) -> Vec<String> {
    let listed = node.ctr(["snapshots", "ls"]).unwrap().text();
    listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// How many snapshots larder made: it takes a label from them, while those that containerd makes never change.
fn made_by_larder(node: &Node) -> usize {
    let changed = |key: &&String| {
        let snapshot = node.ctr(["snapshots", "info", key]).unwrap().json().unwrap();
        assert!(snapshot["Labels"]["containerd.io/gc.root"].is_null(), "{key} would never be collected");
        snapshot["Created"] != snapshot["Updated"]
    };
    snapshots(node).iter().filter(changed).count()
}

/// Layers that are being unpacked.
fn places(node: &Node) -> usize {
    std::fs::read_dir(node.file(format!("{ROOT}/larder-node"))).map_or(0, Iterator::count)
}

/// What the directories of all snapshots contain, the oldest first: names, kinds, modes, owners, sizes, times, links, attributes and
/// content. A directory that no layer describes, and a whiteout, have the time at which containerd made them.
fn trees(node: &Node) -> Vec<String> {
    let script = "cd $1/snapshots || exit; for n in $(ls | sort -n); do echo '= '; cd $n/fs || exit; { \
        find . ! -type d ! -type c -printf '%p %y %m %U:%G %n %l %s %T@\\n'; \
        find . -type d -printf '%p %y %m %U:%G\\n'; find . -type c -printf '%p %y %m\\n'; \
        find . -path ./closed -printf '%p %T@\\n'; \
        find . -type c -exec stat -c '%n %t:%T' {} +; find . -type f -exec sha256sum {} +; } | sort; \
        find . -printf '%p\\n' | sort | while read -r f; do getfattr -h -d -m - \"$f\"; done; cd ../..; done";
    let said = node.run(["sh", "-c", script, "sh", ROOT]).unwrap().text();
    said.split("= \n").skip(1).map(str::to_owned).collect()
}

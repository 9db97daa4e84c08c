//! The first delivery: by every method, under every kind of name.

use super::{METHODS, World, assert_runs, assert_whole, image, leftovers, names};
use larder_core::Compression;
use larder_testkit::nodes::{Engine, Plan};
use larder_testkit::{Family, ImageBuilder, IndexBuilder, busybox};

#[test]
fn an_image_is_there_and_runs_by_every_method() {
    let plans: Vec<Plan> = (1..=3).map(|at| Plan::new(&format!("worker-{at}"), Engine::Containerd)).collect();
    let world = World::new(&plans);
    for (seed, method) in (100..).zip(METHODS) {
        let image = image(seed, 2, 300_000);
        let name = world.add(&image, &format!("team/{method}:1"));
        let nodes = world.delivered(&[&name, "--node", "all", "--method", method]);
        assert_eq!(nodes.len(), 3);
        for (said, node) in nodes.iter().zip(world.fleet.nodes()) {
            assert_eq!(said["images"][0]["state"], "delivered", "{said}");
            assert_eq!(said["images"][0]["digest"], image.digest().to_string());
            assert_runs(node, &name, &image);
            assert_eq!(leftovers(node), [""; 0], "{method}");
        }
    }
}

#[test]
fn names_are_the_original_ones() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    let (one, two, three) = (image(110, 1, 1000), image(111, 1, 1000), image(112, 1, 1000));
    let tagged = world.add(&one, "deep/er/team/app:v1.2.3");
    let (host, _) = tagged.split_once('/').unwrap();
    assert!(host.contains(':'), "a registry with a port");
    let by_digest = format!("{host}/two@{}", two.digest());
    let by_both = format!("{host}/three:x@{}", three.digest());
    two.push(&world.registry, "two", Some("t"));
    three.push(&world.registry, "three", Some("x"));
    // The store does not have the last two yet.
    world.delivered(&[&tagged, &by_digest, &by_both, "--node", "worker-1"]);
    let names = names(node);
    assert!(names.contains(&tagged), "{names:?}");
    // The kubelet looks for images by these names.
    for digest_name in [
        format!("{host}/deep/er/team/app@{}", one.digest()),
        by_digest,
        format!("{host}/three@{}", three.digest()),
    ] {
        assert!(names.contains(&digest_name), "{digest_name}: {names:?}");
    }
    assert_runs(node, &tagged, &one);
    assert_whole(node, &format!("{host}/three@{}", three.digest()), &three);

    // A tag that moves, moves on the node.
    let moved = world.add(&two, "deep/er/team/app:v1.2.3");
    world.delivered(&[&moved, "--node", "worker-1"]);
    assert_runs(node, &moved, &two);
}

#[test]
fn an_index_keeps_its_digest_and_brings_only_the_platform_that_is_asked_for() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    world.prime();
    let ours = image(120, 1, 100_000);
    let foreign =
        ImageBuilder::new(121).platform("linux/s390x").random_layers(1, 3_000_000, Compression::Gzip).build();
    let index = IndexBuilder::new(Family::Oci).image(&ours).image(&foreign).absent("linux/ppc64le").build();
    for method in METHODS {
        let name = world.add(&index, &format!("multi/{method}:1"));
        let before = world.sent();
        world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        assert_runs(node, &name, &index);
        let sent = world.sent() - before;
        assert!(sent < 2_000_000 + ours.size(), "{method}: {sent} bytes, those of another platform too");
    }
}

#[test]
fn a_node_of_the_newest_containerd_is_no_different() {
    let Some(programs) = newest_containerd() else {
        // `cargo xtask bench pull --containerd-suite sid` fetches one.
        return;
    };
    let world = World::new(&[Plan::new("new", Engine::ContainerdIn(programs))]);
    let node = &world.fleet[0];
    for (seed, method) in (130..).zip(METHODS) {
        let (first, second) = (
            image(seed, 1, 200_000),
            ImageBuilder::new(seed + 10)
                .layer(busybox(Compression::Gzip).unwrap())
                .random_layers(1, 100_000, Compression::Zstd)
                .build(),
        );
        let name = world.add(&first, &format!("new/{method}:1"));
        world.delivered(&[&name, "--node", "new", "--method", method]);
        assert_runs(node, &name, &first);
        // An index of which only this platform is known.
        let second = IndexBuilder::new(Family::Oci).image(&second).absent("linux/ppc64le").build();
        let name = world.add(&second, &format!("new/{method}:1"));
        world.delivered(&[&name, "--node", "new", "--method", method, "--snapshotter", "native"]);
        let check = ["images", "check", "--snapshotter", "native"];
        let checked = node.ctr(check.iter().chain(&[format!("name=={name}").as_str()])).unwrap().text();
        assert!(
            checked.contains(&second.digest().to_string()) && checked.trim_end().ends_with("true"),
            "{checked}"
        );
        let packed = IndexBuilder::new(Family::Oci).image(&image(seed + 20, 1, 1000)).absent("linux/ppc64le");
        let packed = packed.build();
        let name = world.add(&packed, &format!("new/{method}:2"));
        world.delivered(&[&name, "--node", "new", "--method", method, "--no-unpack"]);
        let checked = node.ctr(["images", "check", &format!("name=={name}")]).unwrap().text();
        assert!(checked.contains(" complete ("), "{method}: {checked}");
        assert_eq!(leftovers(node), [""; 0], "{method}");
    }
}

/// Where the benchmarks keep the containerd of another Debian suite, if they fetched one.
pub(super) fn newest_containerd() -> Option<std::path::PathBuf> {
    let test = std::env::current_exe().ok()?;
    let found = test.ancestors().map(|directory| directory.join("bench/containerd-sid/bin"));
    found.into_iter().find(|directory| directory.join("containerd").exists())
}

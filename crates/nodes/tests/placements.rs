//! Archives of tools on real nodes: sent, hashed there, installed, taken back.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use larder_core::Digest;
use larder_nodes::{
    Error, Fleet, Installation, Inventory, Node, Placement, PlacementOptions, PlacementReport, SshOptions,
    State,
};
use larder_testkit::nodes::{Engine, Fleet as Machines, Link, Plan};
use larder_testkit::{Process, Random, tools};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Some megabytes that do not compress, in an archive `tool-VERSION-amd64.tar.zst` with `bin/tool` and `bin/helper`.
fn placement(directory: &Path, version: &str, files: &[&str], noise: usize) -> Arc<Placement> {
    let tree = directory.join(version);
    std::fs::create_dir_all(tree.join("bin")).unwrap();
    for name in files {
        let path = tree.join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho {name} {version}\nexit 0\n")).unwrap();
    }
    std::fs::write(tree.join("bin/.data"), Random::new(noise as u64).bytes(noise)).unwrap();
    let archive = directory.join(format!("tool-{version}-amd64.tar.zst"));
    let script = "chmod 755 bin/*; tar --zstd -cf \"$1\" bin";
    Process::new(tools::find("sh").unwrap())
        .directory(&tree)
        .args(["-ec", script, "sh"])
        .arg(&archive)
        .run()
        .unwrap();
    let bytes = std::fs::read(&archive).unwrap();
    let digest = Digest::of(&bytes);
    Arc::new(Placement {
        title: format!("tool {version} amd64"),
        size: bytes.len() as u64,
        digest,
        source: archive,
        directory: "/usr/local/src/tool".into(),
        file_name: format!("tool-{version}-amd64.tar.zst"),
        installation: Some(Installation {
            base: "/usr/local/lib/larder/tool".into(),
            key: format!("{version}-{}", digest.short()),
            pairs: vec![("bin".into(), "/usr/local/bin".into())],
        }),
    })
}

fn sent_only(placement: &Arc<Placement>) -> Arc<Placement> {
    Arc::new(Placement { installation: None, ..Placement::clone(placement) })
}

fn fleet(inventory: &Path) -> Fleet {
    let nodes: Vec<Node> = Inventory::read(inventory).unwrap().nodes().to_vec();
    let options = SshOptions {
        known_hosts: Vec::new(),
        connect_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        runtime_dir: "/tmp".into(),
        home: None,
    };
    Fleet::new(options, nodes).unwrap()
}

fn place(fleet: &Fleet, placements: &[&Arc<Placement>]) -> Vec<PlacementReport> {
    let placements: Vec<Arc<Placement>> = placements.iter().map(|placement| (*placement).clone()).collect();
    let options = PlacementOptions { jobs: 10, attempts: 4, limit: None, progress: larder_core::silent() };
    run(fleet.place(|_| placements.clone(), &options))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

fn says(machine: &larder_testkit::nodes::Node, program: &str) -> String {
    machine.run([program]).unwrap().text().trim().to_owned()
}

#[test]
fn what_is_there_is_hashed_there_and_only_what_differs_is_sent() {
    let machines = Machines::start(2, &Engine::None).unwrap();
    let fleet = fleet(&machines.inventory());
    let tool = sent_only(&placement(&machines.directory(), "1.0", &["tool"], 3_000_000));
    for report in place(&fleet, &[&tool]) {
        assert_eq!(report.sent, tool.size, "{:?}", report.outcome);
        assert!(!report.outcome.unwrap()[0].was_there);
    }
    let path = "/usr/local/src/tool/tool-1.0-amd64.tar.zst";
    let spoilt = machines[0].file(path);
    // The same size says nothing.
    let mut bytes = std::fs::read(&spoilt).unwrap();
    assert_eq!(Digest::of(&bytes), tool.digest);
    bytes[1000] ^= 1;
    std::fs::write(&spoilt, bytes).unwrap();
    let reports = place(&fleet, &[&tool]);
    assert_eq!((reports[0].sent, reports[1].sent), (tool.size, 0));
    assert_eq!(Digest::of(&std::fs::read(machines[0].file(path)).unwrap()), tool.digest);
    let beside = std::fs::read_dir(spoilt.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "nothing is left of the transfer");
    for (_, architecture) in run(fleet.architectures(4)) {
        let expected = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        assert_eq!(architecture.unwrap(), expected);
    }
}

#[test]
fn a_cut_transfer_goes_on_at_the_byte() {
    let machines = Machines::start(1, &Engine::None).unwrap();
    let link = Link::to(&machines[0]).unwrap();
    machines.write_inventory(&link.entry(&machines[0])).unwrap();
    let fleet = fleet(&machines.inventory());
    let tool = sent_only(&placement(&machines.directory(), "1.0", &["tool"], 6_000_000));
    link.cut_at_each(&[2_000_000, 4_000_000]);
    let report = place(&fleet, &[&tool]).remove(0);
    assert!(report.outcome.is_ok(), "{:?}", report.outcome);
    assert!(report.attempts > 1 && link.cuts() > 0, "{} attempts, {} cuts", report.attempts, link.cuts());
    // What was on its way when the connection broke is sent again, and nothing else.
    assert!(link.sent() < tool.size + 3_500_000, "{} of {}", link.sent(), tool.size);
    let path = machines[0].file("/usr/local/src/tool/tool-1.0-amd64.tar.zst");
    assert_eq!(Digest::of(&std::fs::read(path).unwrap()), tool.digest);
}

#[test]
fn versions_are_switched_at_once_and_the_one_before_comes_back() {
    let machines = Machines::start(1, &Engine::None).unwrap();
    let fleet = fleet(&machines.inventory());
    let node = &machines[0];
    let old = placement(&machines.directory(), "1.0", &["tool", "gone"], 1000);
    let new = placement(&machines.directory(), "2.0", &["tool", "helper"], 1000);
    // Somebody put one there by hand before.
    let by_hand = "printf '#!/bin/sh\\necho by hand\\n' > /usr/local/bin/tool; chmod 755 /usr/local/bin/tool";
    node.run(["sh", "-c", by_hand]).unwrap();
    let installed = |reports: Vec<PlacementReport>| {
        let outcome = reports.into_iter().next().unwrap().outcome.unwrap();
        outcome[0].installed.clone().unwrap()
    };
    assert_eq!(installed(place(&fleet, &[&old])).state, State::Installed);
    assert_eq!(
        (says(node, "/usr/local/bin/tool"), says(node, "/usr/local/bin/gone")),
        ("tool 1.0".into(), "gone 1.0".into())
    );
    assert_eq!(installed(place(&fleet, &[&old])).state, State::Present);
    let second = installed(place(&fleet, &[&new]));
    assert_eq!(
        (says(node, "/usr/local/bin/tool"), says(node, "/usr/local/bin/helper")),
        ("tool 2.0".into(), "helper 2.0".into())
    );
    assert!(second.previous.unwrap().starts_with("1.0-"));
    assert!(
        std::fs::symlink_metadata(node.file("/usr/local/bin/gone")).is_err(),
        "a name of the old version only"
    );
    let back =
        || run(fleet.roll_back(&["/usr/local/lib/larder/tool".to_owned()], 1)).remove(0).1.unwrap().remove(0);
    assert!(back().current.unwrap().starts_with("1.0-"));
    assert_eq!(
        (says(node, "/usr/local/bin/tool"), says(node, "/usr/local/bin/gone")),
        ("tool 1.0".into(), "gone 1.0".into())
    );
    assert!(back().current.unwrap().starts_with("2.0-"));
    assert_eq!(says(node, "/usr/local/bin/tool"), "tool 2.0");
}

#[test]
fn what_was_there_before_larder_comes_back() {
    let machines = Machines::start(1, &Engine::None).unwrap();
    let fleet = fleet(&machines.inventory());
    let node = &machines[0];
    let by_hand = "printf '#!/bin/sh\\necho by hand\\n' > /usr/local/bin/tool; chmod 755 /usr/local/bin/tool";
    node.run(["sh", "-c", by_hand]).unwrap();
    let base = ["/usr/local/lib/larder/tool".to_owned()];
    let nothing = run(fleet.roll_back(&base, 1)).remove(0).1;
    assert!(matches!(nothing, Err(Error::Unsupported { .. })), "{nothing:?}");
    place(&fleet, &[&placement(&machines.directory(), "1.0", &["tool", "more"], 1000)])
        .remove(0)
        .outcome
        .unwrap();
    assert_eq!(says(node, "/usr/local/bin/tool"), "tool 1.0");
    let returned = run(fleet.roll_back(&base, 1)).remove(0).1.unwrap().remove(0);
    assert_eq!((returned.current, says(node, "/usr/local/bin/tool")), (None, "by hand".to_owned()));
    assert!(std::fs::symlink_metadata(node.file("/usr/local/bin/more")).is_err());
}

#[test]
fn a_node_without_zstd_gets_the_archive_inflated() {
    let machines = Machines::start(1, &Engine::None).unwrap();
    let fleet = fleet(&machines.inventory());
    let node = &machines[0];
    hide_zstd(node);
    place(&fleet, &[&placement(&machines.directory(), "1.0", &["tool"], 2_000_000)])
        .remove(0)
        .outcome
        .unwrap();
    assert_eq!(says(node, "/usr/local/bin/tool"), "tool 1.0");
}

/// Takes zstd away from a node.
fn hide_zstd(machine: &larder_testkit::nodes::Node) {
    let script = "for at in /usr/bin/zstd /bin/zstd; do [ -e $at ] && rm -f $at; done; ! command -v zstd";
    machine.run(["sh", "-c", script]).unwrap();
}

#[test]
fn one_full_node_fails_and_the_others_do_not() {
    let plans = [Plan::new("small", Engine::None).disk(24 << 20), Plan::new("large", Engine::None)];
    let machines = Machines::with(&plans).unwrap();
    let fleet = fleet(&machines.inventory());
    let tool = sent_only(&placement(&machines.directory(), "1.0", &["tool"], 12_000_000));
    let reports = place(&fleet, &[&tool]);
    assert!(matches!(reports[0].outcome, Err(Error::Full { .. })), "{:?}", reports[0].outcome);
    assert!(reports[1].outcome.is_ok(), "{:?}", reports[1].outcome);
}

//! The index: many at once, broken files, pins, clean-up.

use crate::world::{World, from_file, order, program};
use larder_core::{Classify as _, Digest, Kind};
use larder_packages::{CleanPolicy, Error, Wish};
use larder_testkit::{Fault, Rule};
use std::time::Duration;

fn wish(text: &str) -> Wish {
    text.parse().unwrap()
}

#[test]
fn parallel_users_of_one_store_lose_no_entries_and_fetch_nothing_twice() {
    let world = World::plain();
    let paths: Vec<String> =
        (0..6).map(|at| world.publish_kubectl(&format!("1.33.{at}"), &program(at, 200_000))).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            for at in 0..6 {
                let world = &world;
                scope.spawn(move || world.add(&format!("kubectl@1.33.{at}")).unwrap());
            }
        }
    });
    assert_eq!(world.packages().list().unwrap().len(), 6);
    for path in paths {
        assert_eq!(world.server.count("GET", &path), 1, "{path}");
    }
    assert!(world.parts().is_empty());
}

#[test]
fn a_broken_entry_is_taken_out_and_the_others_stay() {
    let world = World::plain();
    for at in 0..3 {
        world.publish_kubectl(&format!("1.33.{at}"), &program(at, 1000));
        world.add(&format!("kubectl@1.33.{at}")).unwrap();
    }
    let index = world.store().join("packages/index.yaml");
    let text = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, text.replacen("architecture: amd64", "architecture: 7", 1)).unwrap();
    assert_eq!(world.packages().list().unwrap().len(), 2);
    assert!(world.warned("was broken"));
    world.warnings.lock().unwrap().clear();
    assert_eq!(world.packages().list().unwrap().len(), 2);
    assert!(world.warnings.lock().unwrap().is_empty());
    // A file that was torn in two is no index at all; it is kept for people.
    std::fs::write(&index, &text[..text.len() / 2]).unwrap();
    let left = world.packages().list().unwrap().len();
    assert!(left < 3 && world.warned("was broken"), "{left}");
    let set_aside = std::fs::read_dir(world.store().join("quarantine")).unwrap().count();
    assert_eq!(set_aside, 2);
}

#[test]
fn an_entry_without_its_archive_goes_by_itself() {
    let world = World::plain();
    world.publish_kubectl("1.33.4", &program(1, 1000));
    let added = world.add("kubectl@1.33.4").unwrap();
    std::fs::write(&added.archive, b"short").unwrap();
    assert!(world.packages().list().unwrap().is_empty());
    assert!(world.warned("its archive has 5 bytes"));
    let again = world.add("kubectl@1.33.4").unwrap();
    assert_eq!((again.up_to_date, again.entry.digest), (false, added.entry.digest));
}

#[test]
fn damage_that_keeps_the_size_is_found_by_hash() {
    let world = World::plain();
    world.publish_kubectl("1.33.4", &program(1, 1000));
    let added = world.add("kubectl@1.33.4").unwrap();
    assert_eq!(world.packages().verify().unwrap().sound, 1);
    let mut bytes = std::fs::read(&added.archive).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&added.archive, bytes).unwrap();
    let verified = world.packages().verify().unwrap();
    assert_eq!((verified.sound, verified.damaged.len()), (0, 1));
    assert!(!added.archive.exists() && world.packages().list().unwrap().is_empty());
}

#[test]
fn a_release_that_changes_after_it_was_seen_is_refused() {
    let world = World::plain();
    world.publish_kubectl("1.33.4", &program(1, 1000));
    world.add("kubectl@1.33.4").unwrap();
    world.packages().remove(&wish("kubectl@1.33.4"), None, false).unwrap();
    world.publish_kubectl("1.33.4", &program(2, 1000));
    let error = world.add("kubectl@1.33.4").unwrap_err();
    assert!(matches!(error, Error::Contradiction { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Corrupt);
    world.packages().remove(&wish("kubectl@1.33.4"), None, true).unwrap();
    assert_eq!(world.add("kubectl@1.33.4").unwrap().entry.upstream, Digest::of(&program(2, 1000)));
}

#[test]
fn pins_of_the_user_have_the_last_word() {
    let mut world = World::plain();
    let file = world.path("pins.yaml");
    let pin = |hash: &str| format!("pins: {{ kubectl: {{ v1.33.4: {{ amd64: '{hash}' }} }} }}");
    std::fs::write(&file, pin(&Digest::of(b"something else").hex())).unwrap();
    world.settings.pins.read(&file).unwrap();
    let path = world.publish_kubectl("1.33.4", &program(1, 1000));
    let error = world.add("kubectl@1.33.4").unwrap_err();
    assert!(
        matches!(error, Error::Contradiction { .. }) && error.to_string().contains("pins.yaml"),
        "{error}"
    );
    assert_eq!(world.server.count("GET", &path), 0, "it is known before a byte is fetched");
    std::fs::write(&file, pin(&Digest::of(&program(1, 1000)).hex())).unwrap();
    world.settings.pins.read(&file).unwrap();
    // A mirror without checksums will do.
    world.server.fault(Rule::on("GET", "*.sha256").fault(Fault::Status(404)));
    let added = world.add("kubectl@1.33.4").unwrap();
    assert!(added.entry.verified[0].ends_with("pins.yaml"), "{:?}", added.entry.verified);
}

#[test]
fn clean_up_goes_by_age_and_by_last_use_and_leaves_pinned_ones() {
    let world = World::plain();
    let day = Duration::from_secs(24 * 3600);
    for at in 0..4 {
        world.publish_kubectl(&format!("1.33.{at}"), &program(at, 1000));
        world.add(&format!("kubectl@1.33.{at}")).unwrap();
        *world.now.lock().unwrap() += 10 * day;
    }
    let packages = world.packages();
    packages.set_pinned(&wish("kubectl@1.33.1"), None, true).unwrap();
    world.add("kubectl@1.33.0").unwrap();
    let left = || -> Vec<String> {
        packages.list().unwrap().iter().map(|entry| entry.version.to_string()).collect()
    };
    let unused = CleanPolicy { unused_for: Some(15 * day), dry_run: true, ..CleanPolicy::default() };
    let would = packages.clean(&unused).unwrap();
    assert_eq!((would.packages.len(), left().len()), (1, 4));
    let gone = packages.clean(&CleanPolicy { dry_run: false, ..unused }).unwrap();
    assert_eq!((gone.packages[0].version.as_str(), gone.freed), ("1.33.2", gone.packages[0].size));
    assert_eq!(left(), ["1.33.0", "1.33.1", "1.33.3"]);
    packages.clean(&CleanPolicy { older_than: Some(15 * day), ..CleanPolicy::default() }).unwrap();
    assert_eq!(left(), ["1.33.1", "1.33.3"]);
    let stats = packages.stats().unwrap();
    assert_eq!((stats.packages, stats.names, stats.pinned), (2, 1, 1));
}

#[test]
fn what_nothing_refers_to_goes_once_it_is_old() {
    let world = World::plain();
    let path = world.publish_kubectl("1.33.4", &program(1, 3_000_000));
    world.server.fault(Rule::on("GET", &path).first(1).fault(Fault::Reset(2_000_000)));
    world.server.fault(Rule::on("GET", &path).from(2).fault(Fault::Status(503)));
    world.add("kubectl@1.33.4").unwrap_err();
    let packages = world.packages();
    let orphan = world.store().join("packages/kubectl/kubectl-1.0.0-amd64.tar.zst");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, b"nobody's").unwrap();
    assert_eq!(packages.clean(&CleanPolicy::default()).unwrap().freed, 0, "all of it is young");
    assert!(packages.stats().unwrap().partial_size > 0);
    *world.now.lock().unwrap() += Duration::from_secs(8 * 24 * 3600);
    let cleaned = packages.clean(&CleanPolicy::default()).unwrap();
    assert_eq!(cleaned.orphans, std::slice::from_ref(&orphan));
    assert!(!orphan.exists() && world.parts().is_empty() && cleaned.freed > 1_000_000);
}

#[test]
fn a_checksum_on_the_command_line_is_compared_with_what_is_there() {
    let world = World::plain();
    world.publish_kubectl("1.33.4", &program(1, 1000));
    world.add("kubectl@1.33.4").unwrap();
    let error =
        world.add_with("kubectl@1.33.4", |order| order.checksum = Some(Digest::of(b"x"))).unwrap_err();
    assert!(matches!(error, Error::Contradiction { .. }), "{error}");
    assert_eq!(order("kubectl@1.33.4").wish, wish("kubectl@v1.33.4"));
}

#[test]
fn a_file_for_what_is_here_has_to_be_the_same() {
    let world = World::plain();
    let content = program(1, 1000);
    world.publish_kubectl("1.33.4", &content);
    let added = world.add("kubectl@1.33.4").unwrap();
    let (same, other) = (world.path("same"), world.path("other"));
    std::fs::write(&same, &content).unwrap();
    std::fs::write(&other, program(2, 1000)).unwrap();
    assert!(world.add_with("kubectl@1.33.4", from_file(&same)).unwrap().up_to_date);
    let error = world.add_with("kubectl@1.33.4", from_file(&other)).unwrap_err();
    assert!(matches!(error, Error::Contradiction { .. }), "{error}");
    assert_eq!(world.packages().list().unwrap()[0].digest, added.entry.digest);
}

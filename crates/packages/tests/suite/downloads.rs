//! What happens on the way: cuts, stalls, short and wrong bytes, web pages, redirects.

use crate::world::{World, noise, program};
use larder_core::{Classify as _, Digest, Kind};
use larder_packages::Error;
use larder_testkit::{Fault, Rule};

const SIZE: usize = 3_000_000;

#[test]
fn any_number_of_cuts_costs_one_range_each() {
    let world = World::plain();
    let content = program(1, SIZE);
    let path = world.publish_kubectl("1.33.4", &content);
    let resets = world.server.fault(Rule::on("GET", &path).first(3).fault(Fault::Reset(700_000)));
    let added = world.add("kubectl@1.33.4").unwrap();
    assert_eq!((added.entry.upstream, resets.count()), (Digest::of(&content), 3));
    let asked = world.server.requests_to("GET", &path);
    assert!(asked[1..].iter().all(|request| request.header("if-range").is_some()));
    let sent: u64 = asked.iter().map(|request| request.sent).sum();
    assert!(sent < 4_000_000, "{sent}");
}

#[test]
fn an_interrupted_download_is_continued_by_the_next_run() {
    let world = World::plain();
    let content = program(1, SIZE);
    let path = world.publish_kubectl("1.33.4", &content);
    world.server.fault(Rule::on("GET", &path).first(1).fault(Fault::Reset(2_000_000)));
    world.server.fault(Rule::on("GET", &path).from(2).fault(Fault::Status(503)));
    let error = world.add("kubectl@1.33.4").unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(world.parts().len(), 1);
    world.server.clear_faults();
    world.server.clear_log();
    world.add("kubectl@1.33.4").unwrap();
    let asked = world.server.requests_to("GET", &path);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].range().is_some() && asked[0].sent < 1_600_000, "{:?}", asked[0]);
}

#[test]
fn a_part_of_another_version_is_never_used() {
    let world = World::plain();
    let path = world.publish_kubectl("1.33.4", &program(1, SIZE));
    world.server.fault(Rule::on("GET", &path).first(1).fault(Fault::Reset(2_000_000)));
    world.server.fault(Rule::on("GET", &path).from(2).fault(Fault::Status(503)));
    world.add("kubectl@1.33.4").unwrap_err();
    world.server.clear_faults();
    let other = program(2, SIZE);
    let path = world.publish_kubectl("1.33.5", &other);
    assert_eq!(world.add("kubectl@1.33.5").unwrap().entry.upstream, Digest::of(&other));
    assert!(world.server.requests_to("GET", &path)[0].range().is_none());
}

#[test]
fn a_part_that_was_spoilt_is_dropped_and_fetched_from_the_first_byte() {
    let world = World::plain();
    let content = program(1, SIZE);
    let path = world.publish_kubectl("1.33.4", &content);
    world.server.fault(Rule::on("GET", &path).first(1).fault(Fault::Reset(2_000_000)));
    world.server.fault(Rule::on("GET", &path).from(2).fault(Fault::Status(503)));
    world.add("kubectl@1.33.4").unwrap_err();
    world.server.clear_faults();
    let part = world.parts().remove(0);
    let length = part.metadata().unwrap().len();
    std::fs::write(&part, noise(9, length as usize)).unwrap();
    let added = world.add("kubectl@1.33.4").unwrap();
    assert_eq!(added.entry.upstream, Digest::of(&content));
    assert!(world.warned("starting again"));
}

#[test]
fn a_server_without_ranges_serves_too() {
    let world = World::plain();
    let content = program(1, SIZE);
    let path = world.publish_kubectl("1.33.4", &content);
    world.server.fault(Rule::on("GET", &path).first(1).fault(Fault::Reset(700_000)));
    world.server.fault(Rule::on("GET", &path).fault(Fault::IgnoreRange));
    assert_eq!(world.add("kubectl@1.33.4").unwrap().entry.upstream, Digest::of(&content));
}

#[test]
fn bytes_that_are_not_those_of_the_checksum_are_not_kept() {
    for fault in [Fault::WrongByte(1_000_000), Fault::ShortBody(100), Fault::LongBody(100)] {
        let world = World::plain();
        let path = world.publish_kubectl("1.33.4", &program(1, SIZE));
        world.server.fault(Rule::on("GET", &path).fault(fault.clone()));
        let error = world.add("kubectl@1.33.4").unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{fault:?}: {error}");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(world.parts().is_empty() && world.packages().list().unwrap().is_empty(), "{fault:?}");
        world.server.clear_faults();
        world.add("kubectl@1.33.4").unwrap();
    }
}

#[test]
fn a_web_page_is_neither_a_tool_nor_a_checksum() {
    let world = World::plain();
    let path = world.publish_kubectl("1.33.4", &program(1, 1000));
    for place in [path.clone(), format!("{path}.sha256")] {
        world.server.fault(Rule::on("GET", &place).fault(Fault::Html));
        let error = world.add("kubectl@1.33.4").unwrap_err();
        assert!(larder_core::report(&error).contains("web page"), "{error}");
        assert!(world.parts().is_empty());
        world.server.clear_faults();
    }
}

#[test]
fn redirects_are_followed_and_the_original_url_is_asked_again() {
    let world = World::plain();
    let content = program(1, SIZE);
    let path = world.publish_kubectl("1.33.4", &content);
    let storage = world.server.put_file("storage/signed", content.clone());
    let hops =
        world.server.fault(Rule::on("GET", &path).fault(Fault::Redirect { status: 302, location: storage }));
    world.server.fault(Rule::on("GET", "/files/storage/signed").first(2).fault(Fault::Reset(900_000)));
    assert_eq!(world.add("kubectl@1.33.4").unwrap().entry.upstream, Digest::of(&content));
    assert_eq!(hops.count(), 3);
    let looped = world.publish_kubectl("1.33.5", &content);
    world.server.fault(Rule::on("GET", &looped).fault(Fault::RedirectChain(u32::MAX)));
    assert_eq!(world.add("kubectl@1.33.5").unwrap_err().kind(), Kind::Denied);
}

#[test]
fn what_has_no_checksum_is_not_taken_from_a_server() {
    let world = World::plain();
    let path = world.publish_kubectl("1.33.4", &program(1, 1000));
    let name = format!("{}.sha256", path.strip_prefix("/files/").unwrap());
    world.server.remove_file(&name);
    let error = world.add("kubectl@1.33.4").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    world.server.put_file(&name, format!("{}  somebody-else\n", "a".repeat(64)));
    assert!(matches!(world.add("kubectl@1.33.4"), Err(Error::NoChecksum { .. })));
    let digest = Digest::of(&program(1, 1000));
    // Who knows the hash needs nobody's list, but a list that is there has to make sense.
    world.server.remove_file(&name);
    let added = world.add_with("kubectl@1.33.4", |order| order.checksum = Some(digest)).unwrap();
    assert_eq!(added.entry.verified, ["sha256 by the command line"]);
}

#[test]
fn a_file_that_is_too_large_is_not_downloaded() {
    let mut world = World::plain();
    world.settings.max_download = 100_000;
    let path = world.publish_kubectl("1.33.4", &program(1, SIZE));
    assert_eq!(world.add("kubectl@1.33.4").unwrap_err().kind(), Kind::Invalid);
    world.server.fault(Rule::on("GET", &path).fault(Fault::EndlessBody));
    assert_eq!(world.add("kubectl@1.33.4").unwrap_err().kind(), Kind::Invalid);
}

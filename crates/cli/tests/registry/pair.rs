//! Two servers on one store are one registry.

use crate::raw::{blob, is_served, manifest, noise, open, push, push_manifest};
use larder_core::{Compression, Digest};
use larder_testkit::{Home, ImageBuilder, RawRequest};

#[test]
fn what_one_takes_the_other_gives() {
    let home = Home::new().unwrap();
    let (one, two) = (home.serve(["--offline"]).unwrap(), home.serve(["--offline"]).unwrap());
    let image = ImageBuilder::new(1).random_layers(2, 300_000, Compression::None).build();
    push(&one, "team/app", &image, "1");
    assert!(is_served(&manifest(&two, "team/app", "1").send(), &image.descriptor.digest));
    for (descriptor, _) in &image.blobs {
        assert!(is_served(&blob(&two, "team/app", &descriptor.digest).send(), &descriptor.digest));
    }
    // A tag that moves there has moved here.
    let next = ImageBuilder::new(2).random_layers(1, 10_000, Compression::None).build();
    push(&two, "team/app", &next, "1");
    assert!(is_served(&manifest(&one, "team/app", "1").send(), &next.descriptor.digest));
    let deleted = RawRequest::new("DELETE", &one.url("/v2/team/app/manifests/1")).send();
    assert_eq!(deleted.status, 202);
    assert_eq!(manifest(&two, "team/app", "1").send().status, 404);
}

#[test]
fn an_upload_begun_at_one_is_continued_at_the_other() {
    let home = Home::new().unwrap();
    let (one, two) = (home.serve(["--offline"]).unwrap(), home.serve(["--offline"]).unwrap());
    let content = noise(3, 3_000_000);
    let digest = Digest::of(&content);
    let begun = open(&one, "team/app").unwrap();
    let there = |url: &str| url.replace(&one.host(), &two.host());
    let mut at = 0;
    let mut here = true;
    // Each server reads what the other has written meanwhile, and hashes it.
    for end in [700_000, 1_500_000, 2_000_000, 2_999_999] {
        let url = if here { begun.clone() } else { there(&begun) };
        let chunk = RawRequest::new("PATCH", &url).header("Content-Range", &format!("{at}-{}", end - 1));
        let answer = chunk.body(&content[at..end]).send();
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.header("range"), Some(format!("0-{}", end - 1).as_str()));
        (at, here) = (end, !here);
    }
    let put = format!("{}?digest={digest}", there(&begun));
    assert_eq!(RawRequest::new("PUT", &put).body(&content[at..]).send().status, 201);
    for server in [&one, &two] {
        assert!(is_served(&blob(server, "team/app", &digest).send(), &digest));
    }
    assert_eq!(RawRequest::get(&begun).send().status, 404);
}

#[test]
fn both_may_push_the_same_at_once() {
    let home = Home::new().unwrap();
    let servers = [home.serve(["--offline"]).unwrap(), home.serve(["--offline"]).unwrap()];
    let image = ImageBuilder::new(5).random_layers(3, 400_000, Compression::None).build();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (server, image) = (&servers[number % 2], &image);
            scope.spawn(move || push(server, &format!("team/app{}", number % 3), image, "1"));
        }
    });
    for server in &servers {
        for number in 0..3 {
            let repository = format!("team/app{number}");
            assert!(is_served(&manifest(server, &repository, "1").send(), &image.descriptor.digest));
            assert_eq!(push_manifest(server, &repository, &image, "again").status, 201);
        }
    }
    drop(servers);
    home.run(["verify"]).success();
}

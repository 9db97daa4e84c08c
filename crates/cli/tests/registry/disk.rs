//! A full disk.

use crate::raw::{blob, files, is_served, manifest, noise, open, push, push_blob, push_manifest, stored};
use larder_core::{Compression, Digest};
use larder_testkit::{Home, ImageBuilder, RawRequest, RawResponse, Serve, Tmpfs, eventually};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: u64 = 1 << 20;

struct Full {
    // Declared, thus dropped, before what it writes to.
    server: Serve,
    home: Home,
    disk: Tmpfs,
}

fn full() -> Full {
    let disk = Tmpfs::mount(128 * MIB).unwrap();
    let home = Home::with_store_at(&disk.path().join("store")).unwrap();
    let server = home.serve(["--offline"]).unwrap();
    Full { server, home, disk }
}

/// The server writes by itself, too (its log, its database), perhaps just now.
fn fill(disk: &Tmpfs, left: u64) -> PathBuf {
    eventually("the disk is full", Duration::from_secs(10), || disk.fill(left).ok())
}

#[track_caller]
fn says_full(answer: &RawResponse, home: &Home) {
    assert_eq!(answer.status, 507, "{}", answer.text());
    assert!(answer.text().contains("\"STORAGE_FULL\""), "{}", answer.text());
    assert!(!answer.text().contains(&*home.store().to_string_lossy()), "{}", answer.text());
}

/// Files of uploads and unfinished blobs that have bytes.
fn leftovers(store: &Path) -> Vec<String> {
    let unfinished = ["uploads", "ingest"].iter().flat_map(|area| files(&store.join(area)));
    unfinished
        .filter(|file| file.metadata().is_ok_and(|meta| meta.len() > 0))
        .map(|file| file.display().to_string())
        .collect()
}

#[test]
fn a_push_that_does_not_fit_is_refused_and_leaves_nothing() {
    let Full { server, home, disk } = full();
    let kept = ImageBuilder::new(1).random_layers(2, 300_000, Compression::None).build();
    push(&server, "app", &kept, "1");
    let ballast = fill(&disk, 3 * MIB);
    let before = disk.free().unwrap();

    let large = noise(2, 12 << 20);
    says_full(&push_blob(&server, "app", &large), &home);
    // In chunks, and at once.
    let url = open(&server, "app").unwrap();
    says_full(&RawRequest::new("PATCH", &url).body(large.clone()).send(), &home);
    let whole = server.url(&format!("/v2/app/blobs/uploads/?digest={}", Digest::of(&large)));
    says_full(&RawRequest::new("POST", &whole).body(large.clone()).send(), &home);

    assert!(!stored(home.store(), &Digest::of(&large)).exists());
    assert_eq!(leftovers(home.store()), [""; 0]);
    // Database pages and lines of the log may have come.
    assert!(before - disk.free().unwrap() < MIB, "{before} bytes were free, {}", disk.free().unwrap());

    // What fits is taken, what is there is served.
    let small = ImageBuilder::new(3).random_layers(1, 10_000, Compression::None).build();
    push(&server, "app", &small, "small");
    for layer in &kept.layers {
        assert!(is_served(&blob(&server, "app", &layer.digest).send(), &layer.digest));
    }
    assert!(is_served(&manifest(&server, "app", "1").send(), &kept.descriptor.digest));

    // With room again, everything is taken again, by the same process.
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(push_blob(&server, "app", &large).status, 201);
    drop(server);
    home.run(["verify"]).success();
}

#[test]
fn to_the_last_page_a_push_is_taken_whole_or_refused() {
    let Full { server, home, disk } = full();
    let kept = ImageBuilder::new(4).random_layers(1, 200_000, Compression::None).build();
    push(&server, "app", &kept, "1");
    let (mut taken, mut refused) = (0, 0);
    for pages in 0..48 {
        let image = ImageBuilder::new(100 + pages).random_layers(1, 20_000, Compression::None).build();
        let ballast = fill(&disk, pages * 4096);
        let tag = format!("t{pages}");
        let fits = image.blobs.iter().all(|(descriptor, content)| {
            let answer = push_blob(&server, "app", content);
            if answer.status == 201 {
                let again = blob(&server, "app", &descriptor.digest).send();
                assert!(is_served(&again, &descriptor.digest), "{}", again.text());
            } else {
                says_full(&answer, &home);
            }
            answer.status == 201
        });
        if fits {
            let answer = push_manifest(&server, "app", &image, &tag);
            if answer.status == 201 {
                taken += 1;
                assert!(is_served(&manifest(&server, "app", &tag).send(), &image.descriptor.digest));
            } else {
                refused += 1;
                says_full(&answer, &home);
                assert_eq!(manifest(&server, "app", &tag).send().status, 404);
            }
        } else {
            refused += 1;
        }
        // However full it is, what is there can be read.
        assert!(is_served(&manifest(&server, "app", "1").send(), &kept.descriptor.digest));
        let layer = &kept.layers[0].digest;
        assert!(is_served(&blob(&server, "app", layer).send(), layer));
        assert_eq!(leftovers(home.store()), [""; 0], "with {pages} pages left");
        std::fs::remove_file(ballast).unwrap();
        push(&server, "app", &image, &tag);
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: the sweep missed the edge");
    drop(server);
    home.run(["verify"]).success();
}

//! Stored bytes that change under a running server. Whatever is done to a file, no client gets a whole answer with wrong
//! bytes in it.

use crate::raw::{blob, is_served, manifest, push, stored};
use larder_core::{Compression, Digest};
use larder_testkit::{FaultRegistry, Home, Image, ImageBuilder, RawResponse, Serve, eventually};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// What may happen to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    FlipFirst,
    FlipLast,
    Shorter,
    Empty,
    Longer,
    /// Zeros from the middle on, with the times of the file set back to what they were.
    ZeroedInSecret,
    /// Another file of the same length in its place.
    Swapped,
    Deleted,
}

const ALL: [Damage; 8] = [
    Damage::FlipFirst,
    Damage::FlipLast,
    Damage::Shorter,
    Damage::Empty,
    Damage::Longer,
    Damage::ZeroedInSecret,
    Damage::Swapped,
    Damage::Deleted,
];

impl Damage {
    fn strike(self, path: &Path) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let size = file.metadata().unwrap().len();
        let flip = |at: u64| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        };
        match self {
            Self::FlipFirst => flip(0),
            Self::FlipLast => flip(size - 1),
            Self::Shorter => file.set_len(size - 1).unwrap(),
            Self::Empty => file.set_len(0).unwrap(),
            Self::Longer => {
                let mut file = &file;
                file.seek(SeekFrom::End(0)).unwrap();
                file.write_all(b"more").unwrap();
            }
            Self::ZeroedInSecret => {
                let before = file.metadata().unwrap();
                let half = vec![0; (size - size / 2) as usize];
                file.write_all_at(&half, size / 2).unwrap();
                file.set_modified(before.modified().unwrap()).unwrap();
            }
            Self::Swapped => {
                let other = path.with_extension("other");
                std::fs::write(&other, vec![7; size as usize]).unwrap();
                std::fs::rename(other, path).unwrap();
            }
            Self::Deleted => std::fs::remove_file(path).unwrap(),
        }
    }
}

/// One large layer, one small one.
fn image(seed: u64) -> Image {
    let small =
        larder_testkit::Layer::random(&mut larder_testkit::Random::new(seed), 5_000, Compression::None);
    ImageBuilder::new(seed).random_layers(1, 700_000, Compression::None).layer(small).build()
}

/// Everything that can be read of an image, and what it hashes to.
fn parts(image: &Image) -> Vec<(Digest, bool)> {
    let blobs = image.blobs.iter().map(|(descriptor, _)| (descriptor.digest, false));
    blobs.chain([(image.descriptor.digest, true)]).collect()
}

fn read(server: &Serve, repository: &str, digest: &Digest, is_manifest: bool) -> RawResponse {
    let request = match is_manifest {
        true => manifest(server, repository, &digest.to_string()),
        false => blob(server, repository, digest),
    };
    request.send()
}

/// What comes from an upstream reaches the client before it has its place in the store.
fn is_stored(home: &Home, digest: &Digest) {
    let file = stored(home.store(), digest);
    eventually("it is stored", Duration::from_secs(20), || file.exists().then_some(()));
}

#[test]
fn what_changed_on_the_disk_is_not_served() {
    for (seed, damage) in (0..).zip(ALL) {
        for served_before in [false, true] {
            let home = Home::new().unwrap();
            let image = image(seed);
            {
                let server = home.serve(["--offline"]).unwrap();
                push(&server, "app", &image, "1");
            }
            // A new process trusts nothing of what the last one knew.
            let server = home.serve(["--offline"]).unwrap();
            for (digest, is_manifest) in parts(&image) {
                if served_before {
                    assert!(is_served(&read(&server, "app", &digest, is_manifest), &digest));
                }
                damage.strike(&stored(home.store(), &digest));
                for attempt in 0..3 {
                    let answer = read(&server, "app", &digest, is_manifest);
                    let served = is_served(&answer, &digest);
                    // Manifests are kept in memory, verified; that is as good as the file.
                    let remembered = is_manifest && served_before;
                    assert!(!served || remembered, "{damage:?} of {digest} went unnoticed");
                    let refused = answer.status == 404 || answer.status >= 500;
                    // Found while sending: the answer breaks off, perhaps before its head has left.
                    let cut = attempt == 0 && matches!(answer.status, 0 | 200);
                    assert!(refused || cut || remembered, "{damage:?}: {} {}", answer.status, answer.text());
                }
            }
        }
    }
}

#[test]
fn damage_between_push_and_pull_is_not_served_either() {
    for (seed, damage) in (20..).zip(ALL) {
        let home = Home::new().unwrap();
        let image = image(seed);
        let server = home.serve(["--offline"]).unwrap();
        push(&server, "app", &image, "1");
        for layer in &image.layers {
            damage.strike(&stored(home.store(), &layer.digest));
            assert!(!is_served(&read(&server, "app", &layer.digest, false), &layer.digest), "{damage:?}");
            // It can be pushed again.
            let answer = crate::raw::push_blob(&server, "app", &layer.blob);
            assert_eq!(answer.status, 201, "{damage:?}: {}", answer.text());
            assert!(is_served(&read(&server, "app", &layer.digest, false), &layer.digest), "{damage:?}");
        }
    }
}

#[test]
fn what_has_an_upstream_is_healed_from_there() {
    for (seed, damage) in (40..).zip(ALL) {
        let upstream = FaultRegistry::start();
        let image = image(seed);
        image.push(&upstream, "app", Some("1"));
        let home = Home::new().unwrap();
        let option = format!("{}={}", upstream.host(), upstream.url(""));
        let repository = format!("{}/app", upstream.host());
        {
            let server = home.serve(["--upstream", &option]).unwrap();
            for (digest, is_manifest) in parts(&image) {
                assert!(is_served(&read(&server, &repository, &digest, is_manifest), &digest));
                is_stored(&home, &digest);
            }
        }
        let server = home.serve(["--upstream", &option]).unwrap();
        for (digest, is_manifest) in parts(&image) {
            damage.strike(&stored(home.store(), &digest));
            // The first answer may break off at its end, when the damage is found; the client asks again.
            let answers = [0; 2].map(|_| read(&server, &repository, &digest, is_manifest));
            let said = answers.each_ref().map(|answer| (answer.status, answer.end));
            let [_, healed] = answers.map(|answer| is_served(&answer, &digest));
            assert!(healed, "{damage:?} of {digest} was not healed: {said:?}\n{}", server.log());
            is_stored(&home, &digest);
        }
        drop(server);
        home.run(["verify"]).success();
    }
}

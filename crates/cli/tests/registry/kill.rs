//! A server that is killed under pushes and pulls; `cargo xtask soak serve` does it 500 times.

use crate::raw::{files, is_served};
use larder_core::{Compression, Digest};
use larder_testkit::{Home, Image, ImageBuilder, Random, RawRequest, RawResponse};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, SystemTime};

const KILLS: u32 = 10;

/// What clients share.
#[derive(Default)]
struct World {
    server: RwLock<Option<SocketAddr>>,
    over: AtomicBool,
    /// Everything that was answered with 201: blobs, and tags with what they stand for.
    blobs: Mutex<Vec<Digest>>,
    tags: Mutex<Vec<(String, Digest)>>,
    served: AtomicU32,
}

impl World {
    /// `None`: nobody was there, or it died before it answered.
    fn ask(&self, method: &str, path: &str, body: Vec<u8>, media_type: Option<&str>) -> Option<RawResponse> {
        let server = (*self.server.read().unwrap())?;
        let request = RawRequest::new(method, &format!("http://{server}{path}")).body(body);
        let request = match media_type {
            Some(media_type) => request.header("Content-Type", media_type),
            None => request,
        };
        request.limit(Duration::from_secs(20)).try_send().ok().filter(|answer| answer.status > 0)
    }

    fn push_blob(&self, digest: &Digest, content: &[u8], in_chunks: bool) -> Option<()> {
        let begun = self.ask("POST", "/v2/app/blobs/uploads/", Vec::new(), None)?;
        let path = begun.header("location")?.to_owned();
        let mut rest = content;
        while in_chunks && rest.len() > 100_000 {
            let (chunk, left) = rest.split_at(100_000);
            if self.ask("PATCH", &path, chunk.to_vec(), None)?.status != 202 {
                return None;
            }
            rest = left;
        }
        let answer = self.ask("PUT", &format!("{path}?digest={digest}"), rest.to_vec(), None)?;
        (answer.status == 201).then(|| self.blobs.lock().unwrap().push(*digest))
    }

    fn push(&self, image: &Image, tag: &str, in_chunks: bool) -> Option<()> {
        for (descriptor, content) in &image.blobs {
            self.push_blob(&descriptor.digest, content, in_chunks)?;
        }
        let (descriptor, raw) = image.documents.last()?;
        let path = format!("/v2/app/manifests/{tag}");
        let answer = self.ask("PUT", &path, raw.to_vec(), Some(descriptor.media_type.as_str()))?;
        (answer.status == 201).then(|| self.tags.lock().unwrap().push((tag.to_owned(), descriptor.digest)))
    }

    fn pushing(&self, number: u64) {
        let mut random = Random::new(number);
        while !self.over.load(Ordering::Relaxed) {
            let seed = random.next_u64();
            let size = random.within(1_000..1_500_000) as usize;
            let image = ImageBuilder::new(seed).random_layers(2, size, Compression::None).build();
            if self.push(&image, &format!("t{seed:x}"), random.one_in(3)).is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn pulling(&self, number: u64) {
        let mut random = Random::new(number);
        while !self.over.load(Ordering::Relaxed) {
            let known = self.blobs.lock().unwrap().clone();
            if known.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let digest = random.pick(&known);
            if let Some(answer) = self.ask("GET", &format!("/v2/app/blobs/{digest}"), Vec::new(), None)
                && is_served(&answer, digest)
            {
                self.served.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn has_done_enough(&self) -> bool {
        self.tags.lock().unwrap().len() > 3 && self.served.load(Ordering::Relaxed) > 10
    }

    /// Everything that was acknowledged is there, and right.
    fn nothing_is_lost(&self) {
        for digest in self.blobs.lock().unwrap().iter() {
            let answer = self.ask("GET", &format!("/v2/app/blobs/{digest}"), Vec::new(), None).unwrap();
            assert!(is_served(&answer, digest), "an acknowledged blob is lost: {}", answer.text());
        }
        for (tag, digest) in self.tags.lock().unwrap().iter() {
            let answer = self.ask("GET", &format!("/v2/app/manifests/{tag}"), Vec::new(), None).unwrap();
            assert!(is_served(&answer, digest), "an acknowledged tag is lost: {}", answer.text());
        }
    }
}

#[test]
fn no_acknowledged_push_is_lost_and_no_wrong_byte_is_served() {
    let home = Home::new().unwrap();
    let world = World::default();
    let mut random = Random::new(90);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let world = &world;
            scope.spawn(move || world.pushing(number));
        }
        for number in 10..13 {
            let world = &world;
            scope.spawn(move || world.pulling(number));
        }
        let mut kills = 0;
        // Where everything is slow, it takes more lives to get something done.
        while kills < KILLS || kills < 10 * KILLS && !world.has_done_enough() {
            let server = home.serve(["--offline", "--log", "none"]).unwrap();
            *world.server.write().unwrap() = Some(server.address());
            std::thread::sleep(Duration::from_millis(random.within(50..600)));
            server.kill().unwrap();
            *world.server.write().unwrap() = None;
            kills += 1;
        }
        world.over.store(true, Ordering::Relaxed);
    });
    assert!(world.has_done_enough(), "the server never lived long enough");

    let server = home.serve(["--offline", "--log", "none"]).unwrap();
    *world.server.write().unwrap() = Some(server.address());
    world.nothing_is_lost();
    home.run(["verify"]).success();
    home.run(["audit", "verify"]).success();

    // What was begun and never ended may be gone on with for a while; once it is old, a collection leaves nothing of it.
    let long_ago = SystemTime::now() - Duration::from_secs(90 * 24 * 3600);
    let unfinished = || ["uploads", "ingest"].map(|area| files(&home.store().join(area))).concat();
    for file in unfinished() {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(long_ago).unwrap();
    }
    home.run(["gc"]).success();
    assert_eq!(unfinished(), Vec::<std::path::PathBuf>::new());
    world.nothing_is_lost();
    drop(server);
    home.run(["gc"]).success();
    assert_eq!(files(&home.store().join("leases")), Vec::<std::path::PathBuf>::new());
}

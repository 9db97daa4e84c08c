//! Clients that push and pull, remember every acknowledgement, and do not mind that nobody answers.

use anyhow::{Context, Result, bail, ensure};
use larder_core::{Compression, Digest};
use larder_testkit::{Image, ImageBuilder, Random, RawEnd, RawRequest, RawResponse};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What all clients know.
pub(super) struct Clients {
    seed: u64,
    server: Mutex<Option<SocketAddr>>,
    over: AtomicBool,
    memory: Mutex<Memory>,
    pulled: AtomicU64,
    cut: AtomicU64,
    resumed: AtomicU64,
    deleted: AtomicU64,
}

#[derive(Default)]
struct Memory {
    /// Acknowledged blobs, and how many of them were looked at.
    blobs: Vec<Digest>,
    blobs_seen: usize,
    /// Tags that are pushed once.
    tags: Vec<(String, Digest)>,
    tags_seen: usize,
    /// Tags that move: what was acknowledged last, and what was sent after that without an answer.
    moving: BTreeMap<String, (Option<Digest>, Vec<Digest>)>,
    /// Tags whose deletion was acknowledged.
    deleted: Vec<String>,
    complaint: Option<String>,
}

impl Clients {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            server: Mutex::default(),
            over: AtomicBool::new(false),
            memory: Mutex::default(),
            pulled: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
        }
    }

    /// Where the server is now, if it is.
    pub(super) fn serve(&self, server: Option<SocketAddr>) {
        *lock(&self.server) = server;
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// What a client saw that must not be.
    pub(super) fn complaint(&self) -> Result<()> {
        match &lock(&self.memory).complaint {
            Some(complaint) => bail!("{complaint}"),
            None => Ok(()),
        }
    }

    pub(super) fn counts(&self) -> String {
        let memory = lock(&self.memory);
        format!(
            "{} blobs and {} manifests acknowledged, {} deletions, {} uploads gone on with, {} answers right, {} cut off",
            memory.blobs.len(),
            memory.tags.len(),
            self.deleted.load(Ordering::Relaxed),
            self.resumed.load(Ordering::Relaxed),
            self.pulled.load(Ordering::Relaxed),
            self.cut.load(Ordering::Relaxed),
        )
    }

    /// Pushes one image after another until the end.
    pub(super) fn push(&self, number: u64) {
        let mut random = Random::new(self.seed ^ number);
        while !self.over.load(Ordering::Relaxed) {
            let most = if random.one_in(12) { 3_000_000 } else { 60_000 };
            let (seed, size) = (random.next_u64(), random.within(500..most) as usize);
            let image = ImageBuilder::new(seed).random_layers(2, size, Compression::None).build();
            if self.push_image(&image, number, seed, &mut random).is_none() {
                // Nobody is there, or it died meanwhile.
                std::thread::sleep(Duration::from_millis(3));
            }
        }
    }

    fn push_image(&self, image: &Image, number: u64, seed: u64, random: &mut Random) -> Option<()> {
        for (blob, content) in &image.blobs {
            self.push_blob(&blob.digest, content, random.one_in(3))?;
            lock(&self.memory).blobs.push(blob.digest);
        }
        let digest = image.descriptor.digest;
        let tag = format!("t{seed:x}");
        self.push_manifest(image, &tag)?;
        lock(&self.memory).tags.push((tag, digest));
        let tag = format!("moving{number}");
        lock(&self.memory).moving.entry(tag.clone()).or_default().1.push(digest);
        self.push_manifest(image, &tag)?;
        lock(&self.memory).moving.insert(tag, (Some(digest), Vec::new()));
        if random.one_in(8) {
            let tag = format!("gone{seed:x}");
            self.push_manifest(image, &tag)?;
            let answer = self.ask(&RawRequest::new("DELETE", &path(&format!("manifests/{tag}"))))?;
            self.expect(answer.status == 202, || format!("a tag cannot be deleted: {}", answer.text()));
            lock(&self.memory).deleted.push(tag);
            self.deleted.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    fn push_manifest(&self, image: &Image, tag: &str) -> Option<()> {
        let (descriptor, raw) = image.documents.last()?;
        let put = RawRequest::new("PUT", &path(&format!("manifests/{tag}")));
        let put = put.header("Content-Type", descriptor.media_type.as_str()).body(raw.to_vec());
        let answer = self.ask(&put)?;
        self.expect(answer.status == 201, || format!("a manifest is refused: {}", answer.text()));
        Some(())
    }

    /// In one request, or in chunks that are gone on with where the server says, whoever it is by then.
    fn push_blob(&self, digest: &Digest, content: &[u8], in_chunks: bool) -> Option<()> {
        let begun = self.ask(&RawRequest::new("POST", &path("blobs/uploads/")))?;
        let upload = begun.header("location")?.to_owned();
        let mut at = 0;
        let mut patience = 1000;
        while in_chunks && content.len() - at > CHUNK {
            let chunk = content[at..at + CHUNK].to_vec();
            let range = format!("{at}-{}", at + CHUNK - 1);
            match self.ask(&RawRequest::new("PATCH", &upload).header("Content-Range", &range).body(chunk)) {
                Some(answer) if answer.status == 202 => at += CHUNK,
                _ => {
                    patience -= 1;
                    if patience == 0 || self.over.load(Ordering::Relaxed) {
                        return None;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                    let Some(state) = self.ask(&RawRequest::new("GET", &upload)) else { continue };
                    // Its file may not have reached the directory yet when the last server died before the first chunk.
                    if state.status == 404 && at == 0 {
                        return None;
                    }
                    let reached =
                        state.header("range").and_then(|range| range.split_once('-')?.1.parse().ok());
                    let reached = reached.map_or(0, |last: usize| if last == 0 { 0 } else { last + 1 });
                    self.expect(state.status == 204 || state.status == 409, || {
                        format!("an upload that had {at} bytes is lost: {} {}", state.status, state.text())
                    });
                    if state.status == 204 {
                        self.expect(reached >= at, || {
                            format!("{reached} of {at} acknowledged bytes are left")
                        });
                        self.resumed.fetch_add(1, Ordering::Relaxed);
                        at = reached.min(content.len());
                    }
                }
            }
        }
        let joint = if upload.contains('?') { '&' } else { '?' };
        let put =
            RawRequest::new("PUT", &format!("{upload}{joint}digest={digest}")).body(content[at..].to_vec());
        let answer = self.ask(&put)?;
        self.expect(answer.status == 201, || format!("a blob is refused: {}", answer.text()));
        Some(())
    }

    /// Pulls what was acknowledged, at random, until the end.
    pub(super) fn pull(&self, number: u64) {
        let mut random = Random::new(self.seed ^ number << 32);
        while !self.over.load(Ordering::Relaxed) {
            let chosen = {
                let memory = lock(&self.memory);
                let count = memory.blobs.len() as u64;
                memory.blobs.get(random.below(count) as usize).copied()
            };
            let answer = chosen.and_then(|digest| {
                let answer = self.ask(&RawRequest::get(&path(&format!("blobs/{digest}"))))?;
                Some((digest, answer))
            });
            match answer {
                None => std::thread::sleep(Duration::from_millis(3)),
                Some((digest, answer)) if answer.end == RawEnd::Complete => {
                    self.expect(answer.status == 200 && Digest::of(&answer.body) == digest, || {
                        format!("{digest}: status {}, {} bytes, wrong", answer.status, answer.body.len())
                    });
                    self.pulled.fetch_add(1, Ordering::Relaxed);
                }
                Some(_) => drop(self.cut.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// Reads everything that was acknowledged since the last look, or ever.
    pub(super) fn check(&self, server: SocketAddr, everything: bool) -> Result<()> {
        let (blobs, tags, moving, deleted) = {
            let mut memory = lock(&self.memory);
            if everything {
                (memory.blobs_seen, memory.tags_seen) = (0, 0);
            }
            let blobs = memory.blobs[memory.blobs_seen..].to_vec();
            let tags = memory.tags[memory.tags_seen..].to_vec();
            (memory.blobs_seen, memory.tags_seen) = (memory.blobs.len(), memory.tags.len());
            (blobs, tags, memory.moving.clone(), memory.deleted.clone())
        };
        let get = |rest: &str| -> Result<RawResponse> {
            let request = RawRequest::get(&format!("http://{server}{}", path(rest)));
            request.try_send().context("the server is gone")
        };
        for digest in blobs {
            let answer = get(&format!("blobs/{digest}"))?;
            let right = answer.status == 200 && Digest::of(&answer.body) == digest;
            ensure!(
                right,
                "the blob {digest} was acknowledged and is lost: {} {:?}",
                answer.status,
                answer.end
            );
        }
        for (tag, digest) in tags {
            let answer = get(&format!("manifests/{tag}"))?;
            let right = answer.status == 200 && Digest::of(&answer.body) == digest;
            ensure!(right, "the tag {tag} was acknowledged and is lost: {} {}", answer.status, answer.text());
        }
        for (tag, (acknowledged, sent)) in moving {
            let answer = get(&format!("manifests/{tag}"))?;
            let found = (answer.status == 200).then(|| Digest::of(&answer.body));
            let right = found == acknowledged || found.is_some_and(|found| sent.contains(&found));
            ensure!(right, "{tag} stands for {found:?}; acknowledged {acknowledged:?}, then sent {sent:?}");
        }
        for tag in deleted {
            let answer = get(&format!("manifests/{tag}"))?;
            ensure!(answer.status == 404, "the tag {tag} was deleted and is back: {}", answer.status);
        }
        Ok(())
    }

    /// `None`: nobody was there, or it was killed before the whole head of the answer had come. The URL has no host.
    fn ask(&self, request: &RawRequest) -> Option<RawResponse> {
        let server = (*lock(&self.server))?;
        let answer =
            request.clone().at(&server.to_string()).limit(Duration::from_secs(30)).try_send().ok()?;
        (answer.status > 0).then_some(answer)
    }

    fn expect(&self, right: bool, complaint: impl FnOnce() -> String) {
        if !right {
            lock(&self.memory).complaint.get_or_insert_with(complaint);
        }
    }
}

fn path(rest: &str) -> String {
    format!("/v2/soak/app/{rest}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CHUNK: usize = 40_000;

//! What is served: blobs of two sizes and many small images, the same for every server.

use anyhow::{Context, Result, ensure};
use larder_core::{Compression, Digest, Hasher};
use larder_testkit::{Image, ImageBuilder, Random, RawRequest};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The repository it is in.
pub(super) const REPOSITORY: &str = "bench/app";

pub(super) struct Content {
    pub(super) small: Vec<Digest>,
    pub(super) large: Digest,
    pub(super) images: Vec<Image>,
    seed: u64,
}

impl Content {
    pub(super) fn new() -> Self {
        let seed = 1;
        let small = (0..SMALLS).map(|number| Digest::of(&small(seed, number))).collect();
        let large = Digest::of(&large(seed));
        let images = (0..IMAGES)
            .map(|number| ImageBuilder::new(number).random_layers(6, 1024, Compression::None).build())
            .collect();
        Self { small, large, images, seed }
    }

    pub(super) fn push(&self, server: SocketAddr) -> Result<()> {
        for (number, digest) in (0..).zip(&self.small) {
            push_blob(server, digest, small(self.seed, number))?;
        }
        push_blob(server, &self.large, large(self.seed))?;
        for (number, image) in self.images.iter().enumerate() {
            push_image(server, image, &number.to_string())?;
        }
        Ok(())
    }

    /// Reads everything once and hashes it: what is measured afterwards is right, and in the page cache.
    pub(super) fn check(&self, server: SocketAddr) -> Result<()> {
        for digest in self.small.iter().chain([&self.large]) {
            let path = blob_path(digest);
            ensure!(hash(server, &path)? == *digest, "{server}{path} is not what it should be");
        }
        for (number, image) in self.images.iter().enumerate() {
            let path = tag_path(&number.to_string());
            ensure!(hash(server, &path)? == image.descriptor.digest, "{server}{path} is not what was pushed");
        }
        Ok(())
    }
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("/v2/{REPOSITORY}/blobs/{digest}")
}

pub(super) fn tag_path(tag: &str) -> String {
    format!("/v2/{REPOSITORY}/manifests/{tag}")
}

pub(super) fn push_image(server: SocketAddr, image: &Image, tag: &str) -> Result<()> {
    for (descriptor, content) in &image.blobs {
        push_blob(server, &descriptor.digest, content.to_vec())?;
    }
    let (descriptor, raw) = image.documents.last().context("an image without manifest")?;
    let put = RawRequest::new("PUT", &format!("http://{server}{}", tag_path(tag)));
    let put = put.header("Content-Type", descriptor.media_type.as_str()).body(raw.to_vec()).send();
    ensure!(put.status == 201, "the manifest was not taken: {} {}", put.status, put.text());
    Ok(())
}

pub(super) fn push_blob(server: SocketAddr, digest: &Digest, content: Vec<u8>) -> Result<()> {
    let begun = RawRequest::new("POST", &format!("http://{server}/v2/{REPOSITORY}/blobs/uploads/")).send();
    let location = begun.header("location").context("no place to upload to")?;
    let path = location.find("/v2/").map(|at| &location[at..]).context("a strange place to upload to")?;
    let joint = if path.contains('?') { '&' } else { '?' };
    let put = RawRequest::new("PUT", &format!("http://{server}{path}{joint}digest={digest}"));
    let put = put.header("Content-Type", "application/octet-stream").body(content).send();
    ensure!(put.status == 201, "the blob was not taken: {} {}", put.status, put.text());
    Ok(())
}

/// What the body of a GET hashes to.
pub(super) fn hash(server: SocketAddr, path: &str) -> Result<Digest> {
    let mut stream = TcpStream::connect(server)?;
    let accept = "application/vnd.oci.image.manifest.v1+json";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: registry\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    let start = loop {
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let count = stream.read(&mut buffer[filled..])?;
        ensure!(count > 0, "{path}: no answer");
        filled += count;
    };
    ensure!(buffer.starts_with(b"HTTP/1.1 200 "), "{path}: {}", String::from_utf8_lossy(&buffer[..start]));
    let mut hasher = Hasher::new(larder_core::Algorithm::Sha256);
    hasher.update(&buffer[start..filled]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..count]);
    }
}

fn small(seed: u64, number: u64) -> Vec<u8> {
    bytes(seed + 1000 + number, SMALL)
}

fn large(seed: u64) -> Vec<u8> {
    bytes(seed, LARGE)
}

pub(super) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Random::new(seed).fill(&mut bytes);
    bytes
}

const SMALLS: u64 = 64;
const SMALL: usize = 1_000_000;
const LARGE: usize = 500_000_000;
const IMAGES: u64 = 100;

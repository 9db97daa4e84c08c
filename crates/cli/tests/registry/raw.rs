//! Pushing and pulling by bare requests: nothing retries, nothing is hidden.

use larder_core::Digest;
use larder_testkit::{Image, Random, RawEnd, RawRequest, RawResponse, Serve};
use std::path::{Path, PathBuf};

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Random::new(seed).fill(&mut bytes);
    bytes
}

/// Opens an upload; the URL to go on with.
pub(crate) fn open(server: &Serve, repository: &str) -> Result<String, RawResponse> {
    let answer = RawRequest::new("POST", &server.url(&format!("/v2/{repository}/blobs/uploads/"))).send();
    match answer.header("location") {
        Some(location) if answer.status == 202 => Ok(server.url(location)),
        _ => Err(answer),
    }
}

/// Pushes a blob by POST and PUT; the last answer.
pub(crate) fn push_blob(server: &Serve, repository: &str, content: &[u8]) -> RawResponse {
    let url = match open(server, repository) {
        Ok(url) => url,
        Err(answer) => return answer,
    };
    RawRequest::new("PUT", &format!("{url}?digest={}", Digest::of(content))).body(content).send()
}

/// Pushes the root of an image; what it needs is there.
pub(crate) fn push_manifest(server: &Serve, repository: &str, image: &Image, tag: &str) -> RawResponse {
    let (descriptor, raw) = image.documents.last().unwrap();
    RawRequest::new("PUT", &server.url(&format!("/v2/{repository}/manifests/{tag}")))
        .header("Content-Type", descriptor.media_type.as_str())
        .body(raw.to_vec())
        .send()
}

/// Pushes an image with everything below it; insists that all of it is taken.
#[track_caller]
pub(crate) fn push(server: &Serve, repository: &str, image: &Image, tag: &str) {
    for (_, content) in &image.blobs {
        let answer = push_blob(server, repository, content);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let answer = push_manifest(server, repository, image, tag);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

pub(crate) fn blob(server: &Serve, repository: &str, digest: &Digest) -> RawRequest {
    RawRequest::get(&server.url(&format!("/v2/{repository}/blobs/{digest}")))
}

pub(crate) fn manifest(server: &Serve, repository: &str, selector: &str) -> RawRequest {
    RawRequest::get(&server.url(&format!("/v2/{repository}/manifests/{selector}")))
}

/// Whether this is a whole answer of 200 with the right bytes. A whole one with wrong bytes is the end of the test.
#[track_caller]
pub(crate) fn is_served(answer: &RawResponse, digest: &Digest) -> bool {
    let whole = answer.status == 200 && answer.end == RawEnd::Complete;
    assert!(!whole || Digest::of(&answer.body) == *digest, "a whole answer with wrong bytes for {digest}");
    whole
}

/// All files below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The stored file of a blob.
pub(crate) fn stored(store: &Path, digest: &Digest) -> PathBuf {
    store.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

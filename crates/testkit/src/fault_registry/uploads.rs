//! The push side for blobs: in one piece, in chunks, resumed, mounted.

use super::content::digest_as;
use super::http::{Head, Wire};
use super::reply::Reply;
use super::server::{Shared, State};
use larder_core::Digest;
use std::io;

/// How far to read the request's body, and what to do there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interruption {
    pub(crate) after: u64,
    pub(crate) stall: bool,
}

/// `None` where the interruption struck.
pub(crate) async fn upload(
    wire: &mut Wire,
    shared: &Shared,
    head: &Head,
    repository: &str,
    id: &str,
    interruption: Option<Interruption>,
) -> io::Result<Option<Reply>> {
    let known = |state: &mut State| {
        let upload = state.content.uploads.get(id).filter(|upload| upload.repository == repository);
        upload.map(|upload| upload.bytes.len())
    };
    let Some(have) = shared.with(known) else {
        wire.drain().await?;
        return Ok(Some(Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")));
    };
    if head.parameter("_state").as_deref() != Some(signature(id).as_str()) {
        // As strict as the reference implementation: the Location is to be used as it was given.
        wire.drain().await?;
        return Ok(Some(Reply::error(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")));
    }
    match head.method.as_str() {
        "GET" | "HEAD" => Ok(Some(progress(shared, head, repository, id, 204))),
        "DELETE" => {
            shared.with(|state| state.content.uploads.remove(id));
            Ok(Some(Reply::new(204)))
        }
        "PATCH" | "PUT" => {
            let range = head.header("content-range").map(|range| range.trim_start_matches("bytes "));
            let start = range.and_then(|range| range.split_once('-')?.0.trim().parse::<usize>().ok());
            if range.is_some() && start != Some(have) {
                wire.drain().await?;
                return Ok(Some(progress(shared, head, repository, id, 416)));
            }
            if !receive(wire, shared, id, interruption).await? {
                return Ok(None);
            }
            if head.method == "PATCH" {
                return Ok(Some(progress(shared, head, repository, id, 202)));
            }
            Ok(Some(shared.with(|state| finish(state, head, repository, id))))
        }
        _ => Ok(Some(Reply::error(405, "UNSUPPORTED", "the operation is unsupported"))),
    }
}

/// POST: begins an upload, takes a whole blob, or mounts one.
pub(crate) async fn begin(
    wire: &mut Wire,
    shared: &Shared,
    head: &Head,
    repository: &str,
    may_pull: impl Fn(&str) -> bool,
    interruption: Option<Interruption>,
) -> io::Result<Option<Reply>> {
    if head.method != "POST" {
        return Ok(Some(Reply::error(405, "UNSUPPORTED", "the operation is unsupported")));
    }
    let mount = head.parameter("mount").and_then(|digest| digest.parse::<Digest>().ok());
    if let (Some(digest), Some(from)) = (mount, head.parameter("from")) {
        let bytes = shared.with(|state| state.content.blob(&from, &digest)).filter(|_| may_pull(&from));
        if let Some(bytes) = bytes {
            shared.with(|state| state.content.put_blob(repository, digest, bytes));
            return Ok(Some(created(repository, &digest)));
        }
    }
    let id = shared.with(|state| state.content.begin_upload(repository));
    if head.parameter("digest").is_some() {
        if !receive(wire, shared, &id, interruption).await? {
            return Ok(None);
        }
        return Ok(Some(shared.with(|state| finish(state, head, repository, &id))));
    }
    wire.drain().await?;
    Ok(Some(progress(shared, head, repository, &id, 202)))
}

/// Appends the body; false where the interruption struck. What arrived before an interruption is kept.
async fn receive(
    wire: &mut Wire,
    shared: &Shared,
    id: &str,
    interruption: Option<Interruption>,
) -> io::Result<bool> {
    let mut left = interruption.map(|interruption| interruption.after);
    loop {
        if left == Some(0) {
            return Ok(false);
        }
        let Some(mut piece) = wire.body().await? else { return Ok(interruption.is_none()) };
        if let Some(left) = &mut left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        shared.with(|state| {
            if let Some(upload) = state.content.uploads.get_mut(id) {
                upload.bytes.extend_from_slice(&piece);
            }
        });
    }
}

fn finish(state: &mut State, head: &Head, repository: &str, id: &str) -> Reply {
    let invalid = || Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    let Some(digest) = head.parameter("digest").and_then(|digest| digest.parse::<Digest>().ok()) else {
        return invalid();
    };
    let Some(upload) = state.content.uploads.remove(id) else {
        return Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    if digest_as(digest.algorithm(), &upload.bytes) != digest {
        return invalid();
    }
    state.content.put_blob(repository, digest, upload.bytes.into());
    created(repository, &digest)
}

fn created(repository: &str, digest: &Digest) -> Reply {
    Reply::new(201)
        .with("Location", format!("/v2/{repository}/blobs/{digest}"))
        .with("Docker-Content-Digest", digest.to_string())
}

/// How far an upload is.
fn progress(shared: &Shared, head: &Head, repository: &str, id: &str, status: u16) -> Reply {
    let (len, relative) = shared.with(|state| {
        let len = state.content.uploads.get(id).map_or(0, |upload| upload.bytes.len());
        (len, state.relative_locations)
    });
    let host = head.header("host").unwrap_or_default();
    let origin = if relative { String::new() } else { format!("http://{host}") };
    Reply::new(status)
        .with("Location", format!("{origin}/v2/{repository}/blobs/uploads/{id}?_state={}", signature(id)))
        // The last byte's number; the reference implementation says 0-0 for none too.
        .with("Range", format!("0-{}", len.saturating_sub(1)))
        .with("Docker-Upload-UUID", id)
}

fn signature(id: &str) -> String {
    Digest::of(id.as_bytes()).short()
}

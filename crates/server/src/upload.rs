//! Blobs, in (distribution-spec, "Pushing blobs").

use crate::answer::{Answer, Outcome, Refusal, UPLOAD_ID, is_full};
use crate::call::{Call, Target, blocking, digest};
use crate::manifest::refuse_foreign;
use crate::server::Shared;
use crate::{Action, Asked, Decision};
use bytes::Bytes;
use http::{StatusCode, header};
use larder_core::{Digest, RepositoryName};
use larder_store::{HeldKind, OpenUpload, Upload};

/// `POST`: mounts a blob of another repository, takes a whole blob at once, or opens a session.
pub(crate) async fn post(call: &mut Call, target: &Target) -> Outcome {
    refuse_foreign(target)?;
    if let Some(text) = call.query.value("mount") {
        let digest = digest(text)?;
        if let Some(answer) = mount(call, target, digest).await? {
            return Ok(answer);
        }
    }
    if call.query.algorithm().is_some_and(|algorithm| algorithm.is_err()) {
        return Err(Refusal::invalid("DIGEST_INVALID", "digests are sha256 or sha512"));
    }
    let wanted = call.query.value("digest").map(digest).transpose()?;
    let (store, name) = (call.shared.store.clone(), target.name.clone());
    let upload = blocking(move || store.create_upload(&name)).await?;
    match wanted {
        Some(wanted) => finish(call, target, upload, wanted).await,
        None => Ok(session(call, target, upload.id(), upload.offset(), StatusCode::ACCEPTED)),
    }
}

/// `PATCH`: the next chunk, or a stream of any length.
pub(crate) async fn patch(call: &mut Call, target: &Target, id: &str) -> Outcome {
    let upload = open(call, target, id).await?;
    let upload = check_range(call, target, upload)?;
    let (upload, received) = receive(call, upload).await?;
    let (id, offset) = (upload.id().to_owned(), upload.offset());
    drop(upload);
    Ok(session(call, target, &id, offset, StatusCode::ACCEPTED).noting(|note| note.received = received))
}

/// `PUT`: the last chunk, if any, and the name.
pub(crate) async fn put(call: &mut Call, target: &Target, id: &str) -> Outcome {
    let Some(text) = call.query.value("digest") else {
        return Err(Refusal::invalid("DIGEST_INVALID", "the digest is missing: ?digest=sha256:…"));
    };
    let wanted = digest(text)?;
    let upload = open(call, target, id).await?;
    let upload = check_range(call, target, upload)?;
    finish(call, target, upload, wanted).await
}

/// `GET`: how far it got.
pub(crate) async fn get(call: &Call, target: &Target, id: &str) -> Outcome {
    let upload = open(call, target, id).await?;
    Ok(session(call, target, upload.id(), upload.offset(), StatusCode::NO_CONTENT))
}

/// `DELETE`: gives it up.
pub(crate) async fn delete(call: &Call, target: &Target, id: &str) -> Outcome {
    let upload = open(call, target, id).await?;
    blocking(move || upload.cancel()).await?;
    Ok(Answer::new(StatusCode::NO_CONTENT))
}

/// Takes over a blob that the caller may read in another repository. `None`: an ordinary upload it is.
async fn mount(call: &Call, target: &Target, digest: Digest) -> Result<Option<Answer>, Box<Refusal>> {
    let sources = match call.query.value("from") {
        Some(from) => call.shared.naming.resolve(from, None).into_iter().collect(),
        // "If the `from` parameter is omitted, the registry MAY automatically mount from any repository the client has read
        // access to" (distribution-spec, "Mounting a blob from another repository").
        None => call.shared.store.holders(&digest, HOLDERS)?,
    };
    for source in sources {
        if !may_read(call, &source).await {
            continue;
        }
        let (store, name) = (call.shared.store.clone(), target.name.clone());
        let mounted = blocking(move || {
            let lease = store.lease("mount")?;
            lease.add(&[digest])?;
            if !store.holds(&source, &digest)? || store.blob(&digest)?.is_none() {
                return Ok(false);
            }
            store.hold(&name, &digest, HeldKind::Blob)?;
            Ok(true)
        })
        .await?;
        if mounted {
            return Ok(Some(created(call, target, &digest)));
        }
    }
    Ok(None)
}

/// Whoever may not read there learns nothing: it is as if the blob were not there.
async fn may_read(call: &Call, source: &RepositoryName) -> bool {
    let path = source.to_string();
    // Grants of tokens spell repositories as clients do.
    let from = call.query.value("from").unwrap_or_else(|| call.shared.naming.written(&path));
    let asked = Asked { repository: Some(source), path: Some(from), action: Action::Pull };
    if call.shared.access.decide(&call.caller, &asked) != Decision::Allowed {
        return false;
    }
    match call.shared.upstream(source) {
        Some(upstream) => upstream.authorize(source, None, &call.caller).await.is_ok(),
        None => true,
    }
}

async fn open(call: &Call, target: &Target, id: &str) -> Result<Upload, Box<Refusal>> {
    let (store, name, id) = (call.shared.store.clone(), target.name.clone(), id.to_owned());
    match blocking(move || store.upload(&name, &id)).await? {
        OpenUpload::Open(upload) => Ok(upload),
        OpenUpload::Absent => Err(Refusal::absent("BLOB_UPLOAD_UNKNOWN", "there is no such upload")),
        OpenUpload::Busy => Err(Refusal::new(
            StatusCode::CONFLICT,
            "BLOB_UPLOAD_INVALID",
            "another request is writing to this upload",
        )),
    }
}

/// A chunk must start where the last one ended; a client that lost count learns where that is.
fn check_range(call: &Call, target: &Target, upload: Upload) -> Result<Upload, Box<Refusal>> {
    let Some(text) = call.header(&header::CONTENT_RANGE) else { return Ok(upload) };
    let text = text.trim().strip_prefix("bytes ").unwrap_or(text.trim());
    let numbers = text.split('/').next().and_then(|range| range.split_once('-'));
    let numbers = numbers.and_then(|(first, last)| {
        Some((first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?))
    });
    let length = call.header(&header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    let fits = numbers.is_some_and(|(first, last)| {
        let announced = last.checked_sub(first).and_then(|distance| distance.checked_add(1));
        let whole = length.is_none_or(|length| announced == Some(length) || length == 0 && last <= first);
        first == upload.offset() && last >= first.saturating_sub(1) && whole
    });
    if fits {
        return Ok(upload);
    }
    let message = format!("the next byte of this upload is {}", upload.offset());
    let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
    Err(refusal
        .header(header::LOCATION, &call.link(target, &format!("blobs/uploads/{}", upload.id())))
        .header(header::RANGE, &progress(upload.offset()))
        .header(UPLOAD_ID, upload.id()))
}

async fn finish(call: &mut Call, target: &Target, upload: Upload, wanted: Digest) -> Outcome {
    let (upload, received) = receive(call, upload).await?;
    let (shared, name) = (call.shared.clone(), target.name.clone());
    let outcome = blocking(move || {
        let id = upload.id().to_owned();
        let outcome = keep(&shared, &name, upload, &wanted);
        if let Err(error) = &outcome
            && is_full(error)
            && let Ok(OpenUpload::Open(upload)) = shared.store.upload(&name, &id)
        {
            make_room(upload);
        }
        outcome
    })
    .await?;
    if let Err(actual) = outcome {
        let message = format!("the blob hashes to {actual}, not to {wanted}");
        return Err(Refusal::invalid("DIGEST_INVALID", message));
    }
    Ok(created(call, target, &wanted).noting(|note| note.received = received))
}

/// Everything durable before anybody is told. The inner error is what the bytes hash to instead.
fn keep(
    shared: &Shared,
    name: &RepositoryName,
    upload: Upload,
    wanted: &Digest,
) -> Result<Result<(), Box<Digest>>, larder_store::Error> {
    let lease = shared.store.lease("upload")?;
    let blob = match upload.commit(wanted, &lease) {
        Ok(blob) => blob,
        Err(larder_store::Error::Corrupt { actual, .. }) => return Ok(Err(actual)),
        Err(error) => return Err(error),
    };
    shared.store.hold(name, wanted, HeldKind::Blob)?;
    shared.proofs.trust(&blob);
    Ok(Ok(()))
}

/// Writes the body of the request. While one part is hashed and written, the next is received; what arrived stays also if the
/// client does not come to its end.
async fn receive(call: &mut Call, upload: Upload) -> Result<(Upload, u64), Box<Refusal>> {
    let limit = call.shared.settings.blob_limit;
    let room = limit.saturating_sub(upload.offset());
    let too_large = || {
        let message = format!("a blob may have at most {limit} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", message)
    };
    let announced = call.header(&header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > room) {
        return Err(too_large());
    }
    let mut writer = Writer { upload: Some(upload), running: None, waiting: Vec::new(), size: 0 };
    let mut received = 0;
    let outcome = loop {
        let piece = match call.next_piece().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break Ok(()),
            Err(refusal) => break Err(refusal),
        };
        received += piece.len() as u64;
        if received > room {
            break Err(too_large());
        }
        writer.take(piece).await?;
    };
    let upload = writer.finish().await?;
    outcome.map(|()| (upload, received))
}

/// Collects pieces and has them written a part at a time, one part behind the network.
struct Writer {
    /// Here while nothing is being written.
    upload: Option<Upload>,
    running: Option<Running>,
    waiting: Vec<Bytes>,
    size: usize,
}

type Running = tokio::task::JoinHandle<Result<Upload, larder_store::Error>>;

impl Writer {
    async fn take(&mut self, piece: Bytes) -> Result<(), Box<Refusal>> {
        self.size += piece.len();
        self.waiting.push(piece);
        if self.size >= PART { self.start().await } else { Ok(()) }
    }

    async fn start(&mut self) -> Result<(), Box<Refusal>> {
        let mut upload = self.settle().await?;
        let pieces = std::mem::take(&mut self.waiting);
        self.size = 0;
        self.running = Some(tokio::task::spawn_blocking(move || {
            for piece in pieces {
                if let Err(error) = upload.write(&piece) {
                    if is_full(&error) {
                        make_room(upload);
                    }
                    return Err(error);
                }
            }
            Ok(upload)
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<Upload, Box<Refusal>> {
        let lost = || {
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the server failed")
                .because("the writer of an upload is gone")
        };
        if let Some(running) = self.running.take() {
            return Ok(running.await.map_err(|_| lost())??);
        }
        self.upload.take().ok_or_else(lost)
    }

    async fn finish(mut self) -> Result<Upload, Box<Refusal>> {
        if !self.waiting.is_empty() {
            self.start().await?;
        }
        self.settle().await
    }
}

/// On a full disk half a blob helps nobody, and is in the way of those that would fit. What cannot be removed either is left to
/// the next collection.
fn make_room(upload: Upload) {
    let _ = upload.cancel();
}

fn session(call: &Call, target: &Target, id: &str, offset: u64, status: StatusCode) -> Answer {
    let answer = Answer::new(status)
        .header(header::LOCATION, call.link(target, &format!("blobs/uploads/{id}")))
        .header(header::RANGE, progress(offset))
        .header(UPLOAD_ID, id);
    if status == StatusCode::NO_CONTENT { answer } else { answer.length(0) }
}

fn created(call: &Call, target: &Target, digest: &Digest) -> Answer {
    Answer::new(StatusCode::CREATED)
        .header(header::LOCATION, call.link(target, &format!("blobs/{digest}")))
        .digest(digest)
        .length(0)
}

/// `0-LAST`, inclusive as in the specification; nothing at all is `0-0`, as every client knows it.
fn progress(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

/// Repositories that are tried for a blob that may come from anywhere.
const HOLDERS: usize = 16;
/// What is written at once.
const PART: usize = 1 << 20;

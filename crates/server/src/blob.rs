//! Blobs, out (distribution-spec, "Pulling blobs" and "Deleting Blobs").

use crate::answer::{Answer, Outcome, Refusal};
use crate::body::Body;
use crate::call::{Call, Target, blocking, digest};
use crate::condition::{self, Conditions, Verdict};
use crate::source::Source;
use crate::{Bringing, Freshness};
use http::{StatusCode, header};
use larder_core::Digest;

/// `GET` and `HEAD` of a blob, whole or a range of it.
pub(crate) async fn get(call: &Call, target: &Target, text: &str) -> Outcome {
    let digest = digest(text)?;
    call.authorize(target, None, "BLOB_UNKNOWN").await?;
    let Found { source, size, freshness } = find(call, target, &digest).await?;
    let answer = Answer::ok()
        .digest(&digest)
        .header(header::ETAG, format!("\"{digest}\""))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "max-age=31536000, immutable")
        .noting(|note| note.freshness = freshness);
    match Conditions::of(&call.headers).verdict(&digest) {
        Verdict::Perform => {}
        Verdict::Unchanged => return Ok(Answer { status: StatusCode::NOT_MODIFIED, ..answer }),
        Verdict::Failed => return Err(condition::failed()),
    }
    let answer = answer.header(header::CONTENT_TYPE, "application/octet-stream");
    let range = range(call, &digest, size);
    let (start, end) = match range {
        Range::All => (0, size),
        Range::Part(start, end) => (start, end),
        Range::Unsatisfiable => {
            let refusal = Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                "the range lies outside of the blob",
            );
            return Err(refusal.header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let mut answer = answer.length(end - start);
    if range != Range::All {
        answer.status = StatusCode::PARTIAL_CONTENT;
        answer = answer.header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
    }
    if let Some(source) = source {
        answer.body = Body::file(source, start, end, call.stretches.clone());
    }
    Ok(answer)
}

/// `DELETE` of a blob: from this repository, whoever else has it.
pub(crate) async fn delete(call: &Call, target: &Target, text: &str) -> Outcome {
    let digest = digest(text)?;
    call.authorize(target, None, "BLOB_UNKNOWN").await?;
    let (store, name) = (call.shared.store.clone(), target.name.clone());
    if !blocking(move || store.release(&name, &digest)).await? {
        return Err(unknown(&digest));
    }
    Ok(Answer::new(StatusCode::ACCEPTED).noting(|note| note.digest = Some(digest)).length(0))
}

/// A blob that may be read here.
struct Found {
    /// `None` for `HEAD`, which needs none and must not have one fetched.
    source: Option<Source>,
    size: u64,
    freshness: Option<Freshness>,
}

async fn find(call: &Call, target: &Target, digest: &Digest) -> Result<Found, Box<Refusal>> {
    let shared = &call.shared;
    let upstream = shared.upstream(&target.name);
    if shared.store.holds(&target.name, digest)? {
        let freshness = upstream.map(|_| Freshness::Fresh);
        match stored(call, digest).await {
            Ok(Some(found)) => return Ok(Found { freshness, ..found }),
            // A damaged blob was set aside; where it came from it can be had again.
            Err(refusal) if upstream.is_none() => return Err(refusal),
            Ok(None) | Err(_) => {}
        }
    }
    let Some(upstream) = upstream else { return Err(unknown(digest)) };
    let freshness = Some(Freshness::Fetched);
    let refuse = |trouble| call.refuse(&trouble, target, "BLOB_UNKNOWN");
    if call.is_head() {
        let size = upstream.blob_size(&target.name, digest, &call.caller).await.map_err(refuse)?;
        return Ok(Found { source: None, size, freshness: Some(Freshness::Confirmed) });
    }
    match upstream.blob(&target.name, digest, &call.caller).await.map_err(refuse)? {
        Bringing::Here => {
            let found = stored(call, digest).await?;
            found.map(|found| Found { freshness, ..found }).ok_or_else(|| unknown(digest))
        }
        Bringing::Coming { follower, size } => {
            let source = Source::coming(follower).map_err(|error| {
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the storage failed")
                    .because(error.to_string())
            })?;
            Ok(Found { source: Some(source), size, freshness })
        }
    }
}

async fn stored(call: &Call, digest: &Digest) -> Result<Option<Found>, Box<Refusal>> {
    let shared = &call.shared;
    let opened = shared.store.blob(digest).and_then(|blob| {
        let Some(blob) = blob else { return Ok(None) };
        let source = if call.is_head() { None } else { Some(shared.proofs.open(&blob)?) };
        Ok(Some(Found { source, size: blob.size(), freshness: None }))
    });
    if let Err(larder_store::Error::Damaged { .. }) = &opened {
        // Best effort: what counts is that it is not served.
        let (store, digest) = (shared.store.clone(), *digest);
        let _ = blocking(move || store.quarantine(&digest)).await;
    }
    Ok(opened?)
}

fn unknown(digest: &Digest) -> Box<Refusal> {
    Refusal::absent("BLOB_UNKNOWN", format!("this repository has no blob {digest}"))
}

/// What of a blob is wanted (RFC 9110 §14.2). Several ranges at once are answered with everything, as the RFC allows.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    All,
    /// From, and up to but not including.
    Part(u64, u64),
    Unsatisfiable,
}

fn range(call: &Call, digest: &Digest, size: u64) -> Range {
    // RFC 9110 §14.2: for GET only.
    let Some(text) = call.header(&header::RANGE).filter(|_| !call.is_head()) else { return Range::All };
    // RFC 9110 §13.1.5: another version than the client's is sent whole.
    if call.header(&header::IF_RANGE).is_some_and(|tag| tag.trim_matches('"') != digest.to_string()) {
        return Range::All;
    }
    parse_range(text, size)
}

fn parse_range(text: &str, size: u64) -> Range {
    let Some(set) = text.trim().strip_prefix("bytes=") else { return Range::All };
    let Some((first, last)) = set.trim().split_once('-') else { return Range::All };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Larger than any file is still a number.
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    match (digits(first), digits(last)) {
        // RFC 9110 §14.2 leaves the choice between ignoring and refusing.
        (true, true) if number(first) > number(last) => Range::Unsatisfiable,
        (true, true) if number(first) < size => {
            Range::Part(number(first), number(last).saturating_add(1).min(size))
        }
        (true, false) if last.is_empty() && number(first) < size => Range::Part(number(first), size),
        (false, true) if first.is_empty() && number(last) > 0 && size > 0 => {
            Range::Part(size.saturating_sub(number(last)), size)
        }
        (true, true) | (false, true) if !set.contains(',') && (digits(first) || first.is_empty()) => {
            Range::Unsatisfiable
        }
        (true, false) if last.is_empty() => Range::Unsatisfiable,
        _ => Range::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let cases = [
            ("bytes=0-0", Range::Part(0, 1)),
            ("bytes=2-5", Range::Part(2, 6)),
            ("bytes=5-", Range::Part(5, 10)),
            ("bytes=-3", Range::Part(7, 10)),
            ("bytes=-30", Range::Part(0, 10)),
            ("bytes=8-99", Range::Part(8, 10)),
            ("bytes=9-99999999999999999999999999", Range::Part(9, 10)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=10-20", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-2", Range::Unsatisfiable),
            ("bytes=0-1,4-5", Range::All),
            ("bytes=a-b", Range::All),
            ("items=0-1", Range::All),
            ("bytes=", Range::All),
            ("bytes=-", Range::All),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Range::Unsatisfiable);
    }
}

//! “Pushing a blob in chunks”, its status, and “Cancel a blob upload”.

use super::reply::Reply;
use super::trial::{Trial, closing, sha512};
use super::{Case, must, own, should};
use anyhow::{Context as _, Result, ensure};
use larder_core::Digest;
use std::time::{Duration, Instant};

pub(super) const CASES: &[Case] = &[
    must(
        "chunked/post",
        CHUNKS,
        "The post request MUST include the following header: `Content-Length: 0`.",
        post,
    ),
    should(
        "chunked/minimum",
        CHUNKS,
        "If the registry has a minimum chunk size, the `POST` response SHOULD include … `OCI-Chunk-Min-Length: <size>`.",
        minimum,
    ),
    must(
        "chunked/patch",
        CHUNKS,
        "The response for each successful chunk upload MUST be `202 Accepted`, and MUST have the following headers: `Location`, `Range: 0-<end-of-range>`.",
        patch,
    ),
    must(
        "chunked/final-patch",
        CHUNKS,
        "The response to a successful closing of the session MUST be `201 Created`, and MUST contain … `Location: <blob-location>` (the last chunk came in a PATCH).",
        final_patch,
    ),
    must(
        "chunked/final-put",
        CHUNKS,
        "The response to a successful closing of the session MUST be `201 Created`, and MUST contain … `Location: <blob-location>` (the last chunk comes in the PUT).",
        final_put,
    ),
    must(
        "chunked/out-of-order",
        CHUNKS,
        "If a chunk is uploaded out of order, the registry MUST respond with a `416 Requested Range Not Satisfiable` code.",
        out_of_order,
    ),
    must("chunked/first-at-zero", CHUNKS, "The first chunk's range MUST begin with `0`.", first_at_zero),
    must(
        "chunked/final-out-of-order",
        CHUNKS,
        "If the final chunk is uploaded out of order, the registry MUST respond with a `416 Requested Range Not Satisfiable` code.",
        final_out_of_order,
    ),
    must(
        "chunked/status",
        STATUS,
        "The response to an active upload `<blob-push-location>` MUST be a `204 No Content` response code, and MUST have the following headers: `Location`, `Range: 0-<end-of-range>`.",
        status,
    ),
    must(
        "chunked/resume",
        STATUS,
        "The following chunk upload SHOULD use the `<blob-push-location>` provided in the response.",
        resume,
    ),
    must(
        "chunked/resume-after-a-cut",
        "Resumable Push",
        "The registry notifies the build server that the upload has already been partially attempted. The build server responds by only sending the remaining data.",
        resume_after_a_cut,
    ),
    own(
        "chunked/status-of-none",
        STATUS,
        "The status of an upload without bytes is a range, too: `0-0`.",
        status_of_none,
    ),
    must(
        "chunked/closed-by-put",
        CHUNKS,
        "Regardless of how the final chunk is uploaded, the session MUST be closed with a `PUT` request.",
        closed_by_put,
    ),
    own(
        "chunked/stream",
        CHUNKS,
        "A PATCH may have the whole blob and neither length nor range, as Docker sends it.",
        stream,
    ),
    own(
        "chunked/patches-append",
        CHUNKS,
        "A PATCH without `Content-Range` goes where the last one ended.",
        patches_append,
    ),
    should(
        "chunked/wrong-digest",
        "Pushing blobs",
        "In each implementation, if the client provided digest is invalid …, the registry SHOULD respond with a response code `400 Bad Request`.",
        wrong_digest,
    ),
    must(
        "chunked/malformed-range",
        CHUNKS,
        "It MUST match the following regular expression: `^[0-9]+-[0-9]+$`",
        malformed_range,
    ),
    must(
        "chunked/range-and-length",
        CHUNKS,
        "The `<range>` refers to the byte range of the chunk, and MUST be inclusive on both ends. The `<length>` is the content-length, in bytes, of the current chunk.",
        range_and_length,
    ),
    own("chunked/sha512", CHUNKS, "Chunks add up to a SHA-512 digest, too.", sha512_in_chunks),
    should(
        "chunked/cancel",
        CANCEL,
        "If successful, the response SHOULD be a `204 No Content` response code.",
        cancel,
    ),
    own(
        "chunked/cancelled-is-gone",
        CANCEL,
        "What was cancelled is unknown from then on.",
        cancelled_is_gone,
    ),
];

const CHUNKS: &str = "Pushing a blob in chunks";
const STATUS: &str = "Pushing a blob in chunks (status)";
const CANCEL: &str = "Cancel a blob upload";

/// Sends one chunk from byte `first`.
fn send_chunk(t: &Trial<'_>, location: &str, first: usize, chunk: &[u8]) -> Reply {
    let range = format!("{first}-{}", (first + chunk.len()).saturating_sub(1));
    let request = t.request("PATCH", location).header("Content-Type", "application/octet-stream");
    t.send(&request.header("Content-Range", &range).body(chunk))
}

fn close(t: &Trial<'_>, location: &str, digest: &Digest) -> Reply {
    t.send(&t.request("PUT", &closing(location, digest)))
}

/// Opens an upload; the smallest chunk it wants, at least 1000 bytes.
fn open(t: &Trial<'_>) -> Result<(String, usize)> {
    let begun = t.send(&t.here("POST", "blobs/uploads/").header("Content-Length", "0"));
    let location = t.location(begun.is(202)?)?;
    let minimum = begun.header("OCI-Chunk-Min-Length").map_or(Ok(0), str::parse::<usize>);
    Ok((location, minimum.context("OCI-Chunk-Min-Length is a number")?.max(1000)))
}

fn post(t: &Trial<'_>) -> Result<()> {
    let begun = t.send(&t.here("POST", "blobs/uploads/").header("Content-Length", "0"));
    begun.is(202)?.has("Location")?;
    Ok(())
}

fn minimum(t: &Trial<'_>) -> Result<()> {
    let (location, minimum) = open(t)?;
    let content = t.bytes(minimum * 2);
    let patched = send_chunk(t, &location, 0, &content[..minimum]);
    patched.is(202).context("a chunk of the announced minimum")?;
    Ok(())
}

fn patch(t: &Trial<'_>) -> Result<()> {
    let (mut location, size) = open(t)?;
    let content = t.bytes(size * 3);
    for (at, chunk) in content.chunks(size).enumerate() {
        let patched = send_chunk(t, &location, at * size, chunk);
        patched.is(202)?.says("Range", format!("0-{}", (at + 1) * size - 1))?;
        location = t.location(&patched)?;
    }
    Ok(())
}

fn final_patch(t: &Trial<'_>) -> Result<()> {
    let (mut location, size) = open(t)?;
    let content = t.bytes(size * 3 - 5);
    for (at, chunk) in content.chunks(size).enumerate() {
        location = t.location(send_chunk(t, &location, at * size, chunk).is(202)?)?;
    }
    let closed = close(t, &location, &Digest::of(&content));
    t.leads_to(closed.is(201)?, &content)
}

fn final_put(t: &Trial<'_>) -> Result<()> {
    for with_range in [true, false] {
        let (location, size) = open(t)?;
        let content = t.bytes(size * 2 - 5);
        let location = t.location(send_chunk(t, &location, 0, &content[..size]).is(202)?)?;
        let mut request = t.request("PUT", &closing(&location, Digest::of(&content))).body(&content[size..]);
        if with_range {
            request = request.header("Content-Range", &format!("{size}-{}", content.len() - 1));
        }
        t.leads_to(t.send(&request).is(201)?, &content)?;
    }
    Ok(())
}

fn out_of_order(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let content = t.bytes(size * 3);
    let location = t.location(send_chunk(t, &location, 0, &content[..size]).is(202)?)?;
    // A gap, the same again, an overlap.
    for first in [size * 2, 0, size - 1] {
        send_chunk(t, &location, first, &content[first..first + size]).is(416)?;
    }
    Ok(())
}

fn first_at_zero(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    send_chunk(t, &location, 1, &t.bytes(size)).is(416)?;
    Ok(())
}

fn final_out_of_order(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let content = t.bytes(size * 2);
    let digest = Digest::of(&content);
    let location = t.location(send_chunk(t, &location, 0, &content[..size]).is(202)?)?;
    let put = t.request("PUT", &closing(&location, digest)).body(&content[size..]);
    let late = format!("{}-{}", size + 1, 2 * size);
    t.send(&put.clone().header("Content-Range", &late)).is(416)?;
    t.head(&format!("blobs/{digest}")).is(404)?;
    let right = format!("{size}-{}", 2 * size - 1);
    t.send(&put.header("Content-Range", &right)).is(201).context("the session after the 416")?;
    Ok(())
}

fn status(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let location = t.location(send_chunk(t, &location, 0, &t.bytes(size)).is(202)?)?;
    let status = t.send(&t.request("GET", &location));
    status.is(204)?.says("Range", format!("0-{}", size - 1))?.has("Location")?;
    Ok(())
}

fn resume(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let content = t.bytes(size * 3);
    let location = t.location(send_chunk(t, &location, 0, &content[..size]).is(202)?)?;
    send_chunk(t, &location, size * 2, &content[size * 2..]).is(416)?;
    let status = t.send(&t.request("GET", &location));
    let location = t.location(status.is(204)?.says("Range", format!("0-{}", size - 1))?)?;
    let location = t.location(send_chunk(t, &location, size, &content[size..]).is(202)?)?;
    t.leads_to(close(t, &location, &Digest::of(&content)).is(201)?, &content)
}

fn resume_after_a_cut(t: &Trial<'_>) -> Result<()> {
    let (location, _) = open(t)?;
    let content = t.bytes(2 << 20);
    let digest = Digest::of(&content);
    // The client announces everything, sends half, and is gone.
    let cut = t.request("PATCH", &location).header("Content-Length", &content.len().to_string());
    let answer = cut.body(&content[..1 << 20]).limit(Duration::from_millis(300)).send();
    ensure!(!(200..300).contains(&answer.status), "half of a chunk was taken for it: {}", answer.status);
    // The server may need a moment to notice.
    let start = Instant::now();
    let status = loop {
        let status = t.send(&t.request("GET", &location));
        if matches!(status.status(), 204 | 404) || start.elapsed() > Duration::from_secs(20) {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    status.is(204).context("the upload cannot be continued")?;
    let range = status.has("Range")?;
    let last: usize =
        range.strip_prefix("0-").and_then(|last| last.parse().ok()).context("Range: 0-<end-of-range>")?;
    ensure!(last < 1 << 20, "Range: {range} after {} bytes", 1 << 20);
    // `0-0` is either no byte or one; a client that sends the first byte again finds out.
    let mut first = if last == 0 { 0 } else { last + 1 };
    let mut patched = send_chunk(t, &t.location(&status)?, first, &content[first..]);
    if patched.status() == 416 && first == 0 {
        first = 1;
        patched = send_chunk(t, &t.location(&status)?, first, &content[first..]);
    }
    let location = t.location(patched.is(202)?)?;
    t.leads_to(close(t, &location, &digest).is(201)?, &content)
}

fn status_of_none(t: &Trial<'_>) -> Result<()> {
    let (location, _) = open(t)?;
    t.send(&t.request("GET", &location)).is(204)?.says("Range", "0-0")?;
    Ok(())
}

fn closed_by_put(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let content = t.bytes(size);
    let digest = Digest::of(&content);
    let location = t.location(send_chunk(t, &location, 0, &content).is(202)?)?;
    let rest = format!("blobs/{digest}");
    t.get(&rest).is(404).context("before the PUT")?;
    close(t, &location, &digest).is(201)?;
    t.get(&rest).is(200)?.holds(&content)?;
    Ok(())
}

fn stream(t: &Trial<'_>) -> Result<()> {
    let (location, _) = open(t)?;
    let content = t.bytes(200_000);
    let request = t.request("PATCH", &location).header("Transfer-Encoding", "chunked").body(content.clone());
    let patched = t.send(&request);
    patched.is(202)?.says("Range", "0-199999")?;
    let closed = close(t, &t.location(&patched)?, &Digest::of(&content));
    t.leads_to(closed.is(201)?, &content)
}

fn patches_append(t: &Trial<'_>) -> Result<()> {
    let (mut location, size) = open(t)?;
    let content = t.bytes(size * 3);
    for chunk in content.chunks(size) {
        let patched = t.send(&t.request("PATCH", &location).body(chunk));
        location = t.location(patched.is(202)?)?;
    }
    t.leads_to(close(t, &location, &Digest::of(&content)).is(201)?, &content)
}

fn wrong_digest(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let (content, claimed) = (t.bytes(size), Digest::of(&t.bytes(size)));
    let location = t.location(send_chunk(t, &location, 0, &content).is(202)?)?;
    close(t, &location, &claimed).refused(&[400], &["DIGEST_INVALID", "BLOB_UPLOAD_INVALID"])?;
    for digest in [claimed, Digest::of(&content)] {
        t.head(&format!("blobs/{digest}")).is(404)?;
    }
    Ok(())
}

fn malformed_range(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let content = t.bytes(size);
    let endless = format!("0-{}", "9".repeat(40));
    for range in ["x-y", "-1", "5", "0-", "9-0", "0-1-2", "", "0 - 9", &endless] {
        let request = t.request("PATCH", &location).header("Content-Range", range).body(content.clone());
        t.send(&request).refused(&[400, 416], UPLOAD_CODES)?;
    }
    // None of it counts.
    let patched = send_chunk(t, &location, 0, &content);
    patched.is(202)?.says("Range", format!("0-{}", size - 1))?;
    Ok(())
}

fn range_and_length(t: &Trial<'_>) -> Result<()> {
    for (last, length) in [(999, 1500), (1499, 1000)] {
        let (location, _) = open(t)?;
        let content = t.bytes(length);
        let range = format!("0-{last}");
        let request = t.request("PATCH", &location).header("Content-Range", &range).body(content.clone());
        t.send(&request).refused(&[400, 416], UPLOAD_CODES)?;
        t.head(&format!("blobs/{}", Digest::of(&content))).is(404)?;
    }
    Ok(())
}

fn sha512_in_chunks(t: &Trial<'_>) -> Result<()> {
    let (mut location, size) = open(t)?;
    let content = t.bytes(size * 2 + 7);
    for (at, chunk) in content.chunks(size).enumerate() {
        location = t.location(send_chunk(t, &location, at * size, chunk).is(202)?)?;
    }
    let digest = sha512(&content);
    let closed = close(t, &location, &digest);
    closed.is(201)?.says("Docker-Content-Digest", digest)?;
    t.leads_to(&closed, &content)
}

fn cancel(t: &Trial<'_>) -> Result<()> {
    let fresh = t.begin(&t.repository)?;
    t.send(&t.request("DELETE", &fresh).header("Content-Length", "0")).is(204)?;
    let (location, size) = open(t)?;
    let location = t.location(send_chunk(t, &location, 0, &t.bytes(size)).is(202)?)?;
    t.send(&t.request("DELETE", &location)).is(204)?;
    Ok(())
}

fn cancelled_is_gone(t: &Trial<'_>) -> Result<()> {
    let (location, size) = open(t)?;
    let content = t.bytes(size);
    let location = t.location(send_chunk(t, &location, 0, &content).is(202)?)?;
    t.send(&t.request("DELETE", &location)).is(204)?;
    let codes = ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"];
    t.send(&t.request("GET", &location)).refused(&[404], &codes)?;
    t.send(&t.request("DELETE", &location)).refused(&[404], &codes)?;
    send_chunk(t, &location, size, &content).refused(&[404], &codes)?;
    close(t, &location, &Digest::of(&content)).refused(&[404], &codes)?;
    Ok(())
}

const UPLOAD_CODES: &[&str] = &["BLOB_UPLOAD_INVALID", "SIZE_INVALID"];

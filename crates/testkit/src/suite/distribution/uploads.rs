//! “Pushing a blob monolithically”: POST then PUT, and a single POST.

use super::trial::{Trial, closing, sha512};
use super::{Case, must, own, should};
use anyhow::{Result, ensure};
use larder_core::Digest;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    must(
        "uploads/post",
        POST_PUT,
        "Upon success, the response MUST have a code of `202 Accepted`, and MUST include the following header: `Location: <blob-push-location>`.",
        post,
    ),
    must(
        "uploads/session-is-unique",
        POST_PUT,
        "The `<blob-push-location>` MUST contain a UUID representing a unique session ID for the upload to follow.",
        session_is_unique,
    ),
    must(
        "uploads/put",
        POST_PUT,
        "Upon successful completion of the request, the response MUST have code `201 Created` and MUST have the following header: `Location: <blob-location>` … being a pullable blob URL.",
        put,
    ),
    own(
        "uploads/put-digest-header",
        POST_PUT,
        "The answer names the digest in `Docker-Content-Digest`.",
        put_digest_header,
    ),
    own(
        "uploads/put-in-pieces",
        POST_PUT,
        "The body may come without a length, in chunks of HTTP.",
        put_in_pieces,
    ),
    own(
        "uploads/empty-and-large",
        POST_PUT,
        "A blob of no bytes is a blob, and so is one of 12 MB.",
        empty_and_large,
    ),
    must(
        "uploads/again",
        "Layer Upload De-duplication",
        "If process A and B upload the same layer at the same time, both operations will proceed and the first to complete will be stored in the registry.",
        again,
    ),
    should(
        "uploads/wrong-digest",
        PUSHING,
        "If the client provided digest is invalid …, the registry SHOULD respond with a response code `400 Bad Request`.",
        wrong_digest,
    ),
    should(
        "uploads/malformed-digest",
        PUSHING,
        "If the client provided digest is invalid …, the registry SHOULD respond with a response code `400 Bad Request`.",
        malformed_digest,
    ),
    should(
        "uploads/unsupported-algorithm",
        PUSHING,
        "If the client provided digest … uses an unsupported algorithm, the registry SHOULD respond with a response code `400 Bad Request`.",
        unsupported_algorithm,
    ),
    must(
        "uploads/without-digest",
        "Pushing a blob in chunks",
        "The closing `PUT` request MUST include the `<digest>` of the whole blob … as a query parameter.",
        without_digest,
    ),
    must("uploads/unknown-session", "Endpoints", "end-5, end-6, end-13, end-14: `404`", unknown_session),
    own(
        "uploads/session-of-another-repository",
        POST_PUT,
        "A session belongs to the repository it was opened for.",
        session_of_another_repository,
    ),
    own(
        "uploads/session-ends",
        POST_PUT,
        "A session that was closed is gone, whichever way it went.",
        session_ends,
    ),
    must(
        "uploads/single-post",
        SINGLE,
        "Successful completion of the request MUST return a `201 Created` and MUST include the following header: `Location: <blob-location>`.",
        single_post,
    ),
    own(
        "uploads/single-post-supported",
        SINGLE,
        "“Registries MAY support pushing blobs using a single POST request”; we do.",
        single_post_supported,
    ),
    must(
        "uploads/single-post-wrong-digest",
        SINGLE,
        "Likewise, the `<digest>` MUST match the blob's digest.",
        single_post_wrong_digest,
    ),
    must(
        "uploads/content-length",
        SINGLE,
        "The `Content-Length` header MUST match the blob's actual content length.",
        content_length,
    ),
    should(
        "uploads/digest-algorithm",
        "Pushing a blob in chunks",
        "When pushing a blob with a digest algorithm other than `sha256`, the post request SHOULD include the `digest-algorithm` parameter.",
        digest_algorithm,
    ),
    own(
        "uploads/unknown-digest-algorithm",
        "Endpoints",
        "end-4c: `404`/`400`, or another algorithm in the end.",
        unknown_digest_algorithm,
    ),
    own(
        "uploads/sha512-unannounced",
        "Pushing a blob monolithically",
        "A SHA-512 digest is accepted though the POST did not announce it, as published clients do.",
        sha512_unannounced,
    ),
];

const POST_PUT: &str = "POST then PUT";
const PUSHING: &str = "Pushing blobs";
const SINGLE: &str = "Single POST";
const DIGEST_CODES: &[&str] = &["DIGEST_INVALID", "UNSUPPORTED", "BLOB_UPLOAD_INVALID"];

fn post(t: &Trial<'_>) -> Result<()> {
    let begun = t.send(&t.here("POST", "blobs/uploads/"));
    let location = t.location(begun.is(202)?)?;
    ensure!(location.starts_with('/') || location.starts_with("http"), "Location: {location}");
    Ok(())
}

fn session_is_unique(t: &Trial<'_>) -> Result<()> {
    let mut locations: Vec<String> = (0..20).map(|_| t.begin(&t.repository)).collect::<Result<_>>()?;
    locations.sort();
    locations.dedup();
    ensure!(locations.len() == 20, "20 sessions have {} locations", locations.len());
    Ok(())
}

fn put(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(3000);
    let put = t.push_blob_as(&t.repository, &content, &Digest::of(&content))?;
    t.leads_to(&put, &content)
}

fn put_digest_header(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(30);
    let digest = Digest::of(&content);
    t.push_blob_as(&t.repository, &content, &digest)?.says("Docker-Content-Digest", digest)?;
    Ok(())
}

fn put_in_pieces(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(100_000);
    let digest = Digest::of(&content);
    let location = closing(&t.begin(&t.repository)?, digest);
    let put = t.request("PUT", &location).header("Transfer-Encoding", "chunked").body(content.clone());
    t.send(&put).is(201)?;
    t.get(&format!("blobs/{digest}")).is(200)?.holds(&content)?;
    Ok(())
}

fn empty_and_large(t: &Trial<'_>) -> Result<()> {
    for length in [0, 12 << 20] {
        let (digest, content) = t.new_blob(length)?;
        t.get(&format!("blobs/{digest}")).is(200)?.holds(&content)?;
    }
    Ok(())
}

fn again(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(5000);
    let digest = Digest::of(&content);
    let (first, second) = (t.begin(&t.repository)?, t.begin(&t.repository)?);
    for location in [first, second, t.begin(&t.repository)?] {
        t.send(&t.request("PUT", &closing(&location, digest)).body(content.clone())).is(201)?;
    }
    t.get(&format!("blobs/{digest}")).is(200)?.holds(&content)?;
    Ok(())
}

fn wrong_digest(t: &Trial<'_>) -> Result<()> {
    let (content, claimed) = (t.bytes(500), Digest::of(&t.bytes(500)));
    let location = closing(&t.begin(&t.repository)?, claimed);
    t.send(&t.request("PUT", &location).body(content.clone())).refused(&[400], DIGEST_CODES)?;
    for digest in [claimed, Digest::of(&content)] {
        t.head(&format!("blobs/{digest}")).is(404)?;
    }
    Ok(())
}

fn malformed_digest(t: &Trial<'_>) -> Result<()> {
    let hex = Digest::of(b"x").hex();
    for digest in
        ["sha256:short", "nonsense", "", &format!("sha256:{}", hex.to_uppercase()), &format!("sha256:{hex}0")]
    {
        let location = closing(&t.begin(&t.repository)?, digest);
        t.send(&t.request("PUT", &location).body("x")).refused(&[400], DIGEST_CODES)?;
    }
    Ok(())
}

fn unsupported_algorithm(t: &Trial<'_>) -> Result<()> {
    // The MD5 and CRC of "x", as true as they can be.
    for digest in [
        "md5:9dd4e461268c8034f5c8564e155c67a6",
        "crc32:8cdc1683",
        "sha256+b64:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    ] {
        let digest = digest.replace('+', "%2B");
        let location = closing(&t.begin(&t.repository)?, &digest);
        t.send(&t.request("PUT", &location).body("x")).refused(&[400], DIGEST_CODES)?;
        let single = t.here("POST", &format!("blobs/uploads/?digest={digest}")).body("x");
        t.send(&single).refused(&[400], DIGEST_CODES)?;
    }
    Ok(())
}

fn without_digest(t: &Trial<'_>) -> Result<()> {
    let location = t.begin(&t.repository)?;
    t.send(&t.request("PUT", &location).body("x")).refused(&[400], DIGEST_CODES)?;
    Ok(())
}

fn unknown_session(t: &Trial<'_>) -> Result<()> {
    t.new_blob(1)?;
    let digest = Digest::of(b"x");
    let codes = ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"];
    for id in ["00000000-0000-4000-8000-000000000000", "nothing", "..%2f..%2fetc%2fpasswd", "%00", "-"] {
        for method in ["PATCH", "GET", "DELETE", "PUT"] {
            let rest = match method {
                "PUT" => format!("blobs/uploads/{id}?digest={digest}"),
                _ => format!("blobs/uploads/{id}"),
            };
            let mut request = t.here(method, &rest);
            if matches!(method, "PUT" | "PATCH") {
                request = request.body("x");
            }
            // Malformed names of sessions may be refused as such.
            let statuses: &[u16] = if id.contains('%') { &[400, 404] } else { &[404] };
            let found = t.send(&request);
            found.is_one_of(statuses)?;
            if id.contains("0000") {
                found.refused(statuses, &codes)?;
            }
        }
    }
    Ok(())
}

fn session_of_another_repository(t: &Trial<'_>) -> Result<()> {
    let other = t.other();
    t.push_blob(&other, b"there")?;
    let location = t.begin(&t.repository)?;
    let moved = location.replacen(&format!("/v2/{}/", t.repository), &format!("/v2/{other}/"), 1);
    ensure!(moved != location, "the location {location} does not name its repository");
    let content = t.bytes(10);
    let put = t.request("PUT", &closing(&moved, Digest::of(&content))).body(content.clone());
    t.send(&put).refused(&[404], &["BLOB_UPLOAD_UNKNOWN"])?;
    t.send(&t.request("GET", &moved)).is(404)?;
    t.send(&t.within("HEAD", &other, &format!("blobs/{}", Digest::of(&content)))).is(404)?;
    Ok(())
}

fn session_ends(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(10);
    let location = t.begin(&t.repository)?;
    t.send(&t.request("PUT", &closing(&location, Digest::of(&content))).body(content)).is(201)?;
    t.send(&t.request("GET", &location)).is(404)?;
    t.send(&t.request("PATCH", &location).body("more")).is(404)?;
    t.send(&t.request("DELETE", &location)).is(404)?;
    Ok(())
}

fn single_post(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(512);
    let digest = Digest::of(&content);
    let request = t.here("POST", &format!("blobs/uploads/?digest={digest}"));
    let request = request.header("Content-Type", "application/octet-stream").body(content.clone());
    let posted = t.send(&request);
    if posted.is_one_of(&[201, 202])?.status() == 201 {
        return t.leads_to(&posted, &content);
    }
    // Registries that do not support it SHOULD return 202 and a Location, and clients SHOULD proceed with a PUT.
    let put = t.request("PUT", &closing(&t.location(&posted)?, digest)).body(content.clone());
    t.leads_to(t.send(&put).is(201)?, &content)
}

fn single_post_supported(t: &Trial<'_>) -> Result<()> {
    for length in [0, 512] {
        let content = t.bytes(length);
        let digest = Digest::of(&content);
        let posted =
            t.send(&t.here("POST", &format!("blobs/uploads/?digest={digest}")).body(content.clone()));
        posted.is(201)?.says("Docker-Content-Digest", digest)?;
        t.leads_to(&posted, &content)?;
    }
    let content = t.bytes(700);
    let digest = sha512(&content);
    let posted = t.send(&t.here("POST", &format!("blobs/uploads/?digest={digest}")).body(content.clone()));
    t.leads_to(posted.is(201)?, &content)
}

fn single_post_wrong_digest(t: &Trial<'_>) -> Result<()> {
    let (content, claimed) = (t.bytes(512), Digest::of(&t.bytes(512)));
    let posted = t.send(&t.here("POST", &format!("blobs/uploads/?digest={claimed}")).body(content.clone()));
    // 202: a registry without this way to push has not looked at the body.
    if posted.is_one_of(&[400, 202])?.status() == 400 {
        posted.refused(&[400], DIGEST_CODES)?;
    }
    for digest in [claimed, Digest::of(&content)] {
        t.head(&format!("blobs/{digest}")).is(404)?;
    }
    Ok(())
}

/// Less comes than was announced, and then nothing: what came is nobody's blob.
fn content_length(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(512);
    let digest = Digest::of(&content);
    let location = closing(&t.begin(&t.repository)?, digest);
    for request in [t.here("POST", &format!("blobs/uploads/?digest={digest}")), t.request("PUT", &location)] {
        let request = request.header("Content-Length", "513").body(content.clone());
        let answer = request.limit(Duration::from_millis(300)).send();
        ensure!(
            answer.status == 0 || (400..500).contains(&answer.status),
            "{} for 512 of 513 bytes",
            answer.status
        );
    }
    t.head(&format!("blobs/{digest}")).is(404)?;
    Ok(())
}

fn digest_algorithm(t: &Trial<'_>) -> Result<()> {
    for (algorithm, chunk) in [("sha512", 700), ("sha256", 300)] {
        let content = t.bytes(chunk * 2);
        let digest = if algorithm == "sha512" { sha512(&content) } else { Digest::of(&content) };
        let begun = t.send(&t.here("POST", &format!("blobs/uploads/?digest-algorithm={algorithm}")));
        let patch = t.request("PATCH", &t.location(begun.is(202)?)?).body(&content[..chunk]);
        let patched = t.send(&patch.header("Content-Range", &format!("0-{}", chunk - 1)));
        let location = closing(&t.location(patched.is(202)?)?, digest);
        let put = t.send(&t.request("PUT", &location).body(&content[chunk..]));
        put.is(201)?.says("Docker-Content-Digest", digest)?;
        t.get(&format!("blobs/{digest}")).is(200)?.holds(&content)?;
    }
    Ok(())
}

fn unknown_digest_algorithm(t: &Trial<'_>) -> Result<()> {
    for algorithm in ["md5", "", "..", "sha256%00"] {
        let begun = t.send(&t.here("POST", &format!("blobs/uploads/?digest-algorithm={algorithm}")));
        begun.refused(&[400, 404, 202], DIGEST_CODES)?;
    }
    Ok(())
}

fn sha512_unannounced(t: &Trial<'_>) -> Result<()> {
    for length in [0, 100_000] {
        let content = t.bytes(length);
        let digest = sha512(&content);
        let put = t.push_blob_as(&t.repository, &content, &digest)?;
        put.says("Docker-Content-Digest", digest)?;
        t.leads_to(&put, &content)?;
    }
    let content = t.bytes(1000);
    let location = closing(&t.begin(&t.repository)?, sha512(&t.bytes(1000)));
    t.send(&t.request("PUT", &location).body(content)).refused(&[400], DIGEST_CODES)?;
    Ok(())
}

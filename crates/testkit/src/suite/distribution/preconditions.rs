//! Conditional requests. The specification leaves them to RFC 9110: “Where this specification does not define specific behavior,
//! implementations SHOULD follow the HTTP semantics defined in RFC 9110.”

use super::document::Document;
use super::trial::Trial;
use super::{Case, must, own};
use anyhow::{Result, ensure};

pub(super) const CASES: &[Case] = &[
    own(
        "preconditions/etag",
        "RFC 9110 §8.8.3",
        "Manifests and blobs have a strong ETag: content-addressed bytes are the best validator there is.",
        etag,
    ),
    must(
        "preconditions/if-none-match",
        "RFC 9110 §13.1.2",
        "If the condition is false, the origin server MUST respond with the 304 (Not Modified) status code if the request method is GET or HEAD.",
        if_none_match,
    ),
    must(
        "preconditions/if-none-match-weakly",
        "RFC 9110 §13.1.2",
        "A recipient MUST use the weak comparison function when comparing entity tags for If-None-Match.",
        if_none_match_weakly,
    ),
    must(
        "preconditions/not-modified-headers",
        "RFC 9110 §15.4.5",
        "The server generating a 304 response MUST generate any of the following header fields that would have been sent in a 200: Content-Location, Date, ETag, Vary, Cache-Control, Expires.",
        not_modified_headers,
    ),
    must(
        "preconditions/if-match",
        "RFC 9110 §13.2.1, §13.1.1",
        "A recipient cache or origin server MUST evaluate received request preconditions … MUST NOT perform the requested method if the condition evaluates to false.",
        if_match,
    ),
    own(
        "preconditions/push-if-unchanged",
        "Referrers Tag Schema",
        "“Clients MAY use a conditional HTTP push for registries that support ETag conditions to avoid conflicts with other clients.”",
        push_if_unchanged,
    ),
    own(
        "preconditions/push-if-absent",
        "RFC 9110 §13.1.2",
        "`If-None-Match: *` keeps a push from moving a tag that is there.",
        push_if_absent,
    ),
    must(
        "preconditions/missing-stays-missing",
        "RFC 9110 §13.2.1",
        "A server MUST ignore all received preconditions if its response to the same request without those conditions … would have been a status code other than a 2xx or 412.",
        missing_stays_missing,
    ),
];

fn etag(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    let (digest, _) = t.new_blob(9)?;
    for rest in ["manifests/1".into(), format!("manifests/{}", image.digest()), format!("blobs/{digest}")] {
        let found = t.head(&rest);
        let tag = found.is(200)?.has("ETag")?;
        ensure!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{rest} has the ETag {tag}");
    }
    Ok(())
}

/// Paths that have an ETag, with it.
fn tagged(t: &Trial<'_>) -> Result<Vec<(String, String)>> {
    let image = t.new_image("1")?;
    let (digest, _) = t.new_blob(9)?;
    let paths = ["manifests/1".into(), format!("manifests/{}", image.digest()), format!("blobs/{digest}")];
    let tag = |rest: String| Some((rest.clone(), t.head(&rest).header("ETag")?.to_owned()));
    Ok(paths.into_iter().filter_map(tag).collect())
}

fn if_none_match(t: &Trial<'_>) -> Result<()> {
    for (rest, tag) in tagged(t)? {
        for method in ["GET", "HEAD"] {
            for value in [tag.clone(), format!("\"other\", {tag}"), "*".to_owned()] {
                let found = t.send(&t.here(method, &rest).header("If-None-Match", &value));
                ensure!(found.is(304)?.body().is_empty(), "{} has a body", found.describe());
            }
            t.send(&t.here(method, &rest).header("If-None-Match", "\"other\"")).is(200)?;
        }
    }
    Ok(())
}

fn if_none_match_weakly(t: &Trial<'_>) -> Result<()> {
    for (rest, tag) in tagged(t)? {
        t.send(&t.here("GET", &rest).header("If-None-Match", &format!("W/{tag}"))).is(304)?;
    }
    Ok(())
}

fn not_modified_headers(t: &Trial<'_>) -> Result<()> {
    for (rest, tag) in tagged(t)? {
        let whole = t.get(&rest);
        let unchanged = t.send(&t.here("GET", &rest).header("If-None-Match", &tag));
        unchanged.is(304)?;
        for name in ["Content-Location", "ETag", "Vary", "Cache-Control", "Expires"] {
            let (of_whole, of_unchanged) = (whole.header(name), unchanged.header(name));
            ensure!(
                of_whole == of_unchanged,
                "{name} is {of_whole:?} with 200 and {of_unchanged:?} with 304"
            );
        }
    }
    Ok(())
}

fn if_match(t: &Trial<'_>) -> Result<()> {
    for (rest, tag) in tagged(t)? {
        t.send(&t.here("GET", &rest).header("If-Match", &tag)).is(200)?;
        t.send(&t.here("GET", &rest).header("If-Match", "*")).is(200)?;
        t.send(&t.here("GET", &rest).header("If-Match", "\"other\"")).is(412)?;
    }
    Ok(())
}

fn push_if_unchanged(t: &Trial<'_>) -> Result<()> {
    let (first, second) = (t.new_image("1")?, Document::image(t, &t.repository)?);
    let push = |tag: &str| {
        let request = t.here("PUT", "manifests/1").header("Content-Type", second.media_type);
        t.send(&request.header("If-Match", tag).body(second.bytes.clone()))
    };
    let tag = t.head("manifests/1").has("ETag")?.to_owned();
    push("\"other\"").is(412)?;
    t.get("manifests/1").is(200)?.holds(&first.bytes)?;
    push(&tag).is(201)?;
    t.get("manifests/1").is(200)?.holds(&second.bytes)?;
    Ok(())
}

fn push_if_absent(t: &Trial<'_>) -> Result<()> {
    let (first, second) = (Document::image(t, &t.repository)?, Document::image(t, &t.repository)?);
    let push = |document: &Document| {
        let request = t.here("PUT", "manifests/1").header("Content-Type", document.media_type);
        t.send(&request.header("If-None-Match", "*").body(document.bytes.clone()))
    };
    push(&first).is(201)?;
    push(&second).is(412)?;
    t.get("manifests/1").is(200)?.holds(&first.bytes)?;
    Ok(())
}

fn missing_stays_missing(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    let digest = larder_core::Digest::of(&t.bytes(9));
    for rest in ["manifests/none".to_owned(), format!("blobs/{digest}")] {
        t.send(&t.here("GET", &rest).header("If-None-Match", "*")).is(404)?;
    }
    Ok(())
}

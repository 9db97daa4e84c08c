//! “Content Management”: deleting tags, manifests and blobs.

use super::document::Document;
use super::reply::Reply;
use super::trial::{Trial, sha512};
use super::{Case, must, own};
use anyhow::{Result, ensure};
use larder_core::Digest;

pub(super) const CASES: &[Case] = &[
    must(
        "deletes/tag",
        TAGS,
        "Upon success, the registry MUST respond with a `202 Accepted` code. If tag deletion is disabled, … either a `400 Bad Request` or a `405 Method Not Allowed`.",
        tag,
    ),
    own(
        "deletes/tag-supported",
        "Content Management",
        "“Registries MAY implement deletion”; we delete tags.",
        tag_supported,
    ),
    must(
        "deletes/tag-is-gone",
        TAGS,
        "Once deleted, a `GET` to `/v2/<name>/manifests/<tag>` will return a 404.",
        tag_is_gone,
    ),
    own("deletes/tag-alone", TAGS, "A tag goes alone: the manifest and its other tags stay.", tag_alone),
    must("deletes/unknown-tag", "Endpoints", "end-9: `404`/`400`/`405`", unknown_tag),
    must(
        "deletes/manifest",
        MANIFESTS,
        "Upon success, the registry MUST respond with a `202 Accepted` code. If manifest deletion is disabled, … either a `400 Bad Request` or a `405 Method Not Allowed`.",
        manifest,
    ),
    must(
        "deletes/manifest-is-gone",
        MANIFESTS,
        "Once deleted, a `GET` to `/v2/<name>/manifests/<digest>` and any tag pointing to that digest will return a 404.",
        manifest_is_gone,
    ),
    must(
        "deletes/unknown-repository",
        MANIFESTS,
        "If the repository does not exist, the response MUST return `404 Not Found`.",
        unknown_repository,
    ),
    must("deletes/unknown-manifest", "Endpoints", "end-9: `404`/`400`/`405`", unknown_manifest),
    own("deletes/manifest-elsewhere", MANIFESTS, "What is deleted here stays there.", manifest_elsewhere),
    own("deletes/manifest-again", MANIFESTS, "What was deleted can be pushed again.", manifest_again),
    own(
        "deletes/manifest-by-sha512",
        MANIFESTS,
        "A manifest pushed under its SHA-512 digest is deleted by it.",
        manifest_by_sha512,
    ),
    must("deletes/blob", BLOBS, "Upon success, the registry MUST respond with code `202 Accepted`.", blob),
    own(
        "deletes/blob-is-gone",
        BLOBS,
        "Once deleted, a blob is gone at once, for GET, HEAD and mounts.",
        blob_is_gone,
    ),
    must(
        "deletes/unknown-blob",
        BLOBS,
        "If the blob is not found, a `404 Not Found` code MUST be returned.",
        unknown_blob,
    ),
    own(
        "deletes/blob-elsewhere",
        "CVE-2026-35172",
        "A blob deleted here stays there, and being read there does not bring it back here.",
        blob_elsewhere,
    ),
    own(
        "deletes/blob-again",
        BLOBS,
        "A blob that was deleted can be pushed again, and is not mistaken for known.",
        blob_again,
    ),
    own("deletes/malformed", "Endpoints", "Digests that are none are refused with 400 or 404.", malformed),
];

const TAGS: &str = "Deleting tags";
const MANIFESTS: &str = "Deleting Manifests";
const BLOBS: &str = "Deleting Blobs";

fn delete(t: &Trial<'_>, rest: &str) -> Reply {
    t.send(&t.here("DELETE", rest))
}

/// Deletes; false where the registry says that it never does.
fn deleted(t: &Trial<'_>, rest: &str) -> Result<bool> {
    Ok(delete(t, rest).is_one_of(&[202, 400, 405])?.status() == 202)
}

fn tag(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    deleted(t, "manifests/1")?;
    Ok(())
}

fn tag_supported(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    delete(t, "manifests/1").is(202)?;
    Ok(())
}

fn tag_is_gone(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    t.new_image("2")?;
    if deleted(t, "manifests/1")? {
        t.get("manifests/1").refused(&[404], &["MANIFEST_UNKNOWN"])?;
        t.head("manifests/1").is(404)?;
        let list = t.get("tags/list");
        ensure!(list.is(200)?.json()?["tags"] == serde_json::json!(["2"]), "{}", list.describe());
    }
    Ok(())
}

fn tag_alone(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    t.push(&t.repository, "2", &image)?;
    delete(t, "manifests/1").is(202)?;
    t.get("manifests/2").is(200)?.holds(&image.bytes)?;
    t.get(&format!("manifests/{}", image.digest())).is(200)?.holds(&image.bytes)?;
    delete(t, "manifests/2").is(202)?;
    t.get(&format!("manifests/{}", image.digest())).is(200)?.holds(&image.bytes)?;
    Ok(())
}

fn unknown_tag(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    delete(t, "manifests/none").is_one_of(&[404, 400, 405])?;
    Ok(())
}

fn manifest(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    deleted(t, &format!("manifests/{}", image.digest()))?;
    Ok(())
}

fn manifest_is_gone(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    t.push(&t.repository, "2", &image)?;
    let kept = t.new_image("3")?;
    if deleted(t, &format!("manifests/{}", image.digest()))? {
        for selector in ["1".to_owned(), "2".to_owned(), image.digest().to_string()] {
            t.get(&format!("manifests/{selector}")).refused(&[404], &["MANIFEST_UNKNOWN"])?;
            t.head(&format!("manifests/{selector}")).is(404)?;
        }
        let list = t.get("tags/list");
        ensure!(list.is(200)?.json()?["tags"] == serde_json::json!(["3"]), "{}", list.describe());
        delete(t, &format!("manifests/{}", image.digest())).is(404)?;
    }
    t.get("manifests/3").is(200)?.holds(&kept.bytes)?;
    Ok(())
}

fn unknown_repository(t: &Trial<'_>) -> Result<()> {
    let digest = Digest::of(&t.bytes(9));
    let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"];
    delete(t, &format!("manifests/{digest}")).refused(&[404], &codes)?;
    delete(t, &format!("blobs/{digest}")).refused(&[404], &codes)?;
    Ok(())
}

fn unknown_manifest(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    delete(t, &format!("manifests/{}", Digest::of(&t.bytes(9)))).is_one_of(&[404, 400, 405])?;
    Ok(())
}

fn manifest_elsewhere(t: &Trial<'_>) -> Result<()> {
    let (other, image) = (t.other(), t.new_image("1")?);
    for blob in ["config", "layers"] {
        let document: serde_json::Value = serde_json::from_slice(&image.bytes)?;
        let descriptor = if blob == "config" { &document["config"] } else { &document["layers"][0] };
        let query =
            format!("?mount={}&from={}", descriptor["digest"].as_str().unwrap_or_default(), t.repository);
        t.send(&t.within("POST", &other, &format!("blobs/uploads/{query}"))).is(201)?;
    }
    t.push(&other, "1", &image)?;
    let rest = format!("manifests/{}", image.digest());
    delete(t, &rest).is(202)?;
    t.get(&rest).is(404)?;
    for rest in [&rest, "manifests/1"] {
        t.send(&t.within("GET", &other, rest)).is(200)?.holds(&image.bytes)?;
    }
    Ok(())
}

fn manifest_again(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    delete(t, &format!("manifests/{}", image.digest())).is(202)?;
    t.push(&t.repository, "1", &image)?;
    t.get("manifests/1").is(200)?.holds(&image.bytes)?;
    t.get(&format!("manifests/{}", image.digest())).is(200)?.holds(&image.bytes)?;
    Ok(())
}

fn manifest_by_sha512(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let rest = format!("manifests/{}", sha512(&image.bytes));
    t.push(&t.repository, &sha512(&image.bytes).to_string(), &image)?;
    delete(t, &rest).is(202)?;
    t.get(&rest).is(404)?;
    Ok(())
}

fn blob(t: &Trial<'_>) -> Result<()> {
    let (digest, _) = t.new_blob(10)?;
    deleted(t, &format!("blobs/{digest}"))?;
    Ok(())
}

fn blob_is_gone(t: &Trial<'_>) -> Result<()> {
    let (digest, _) = t.new_blob(10)?;
    let rest = format!("blobs/{digest}");
    delete(t, &rest).is(202)?;
    t.get(&rest).refused(&[404], &["BLOB_UNKNOWN"])?;
    t.head(&rest).is(404)?;
    let query = format!("?mount={digest}&from={}", t.repository);
    t.send(&t.within("POST", &t.other(), &format!("blobs/uploads/{query}"))).is(202)?;
    delete(t, &rest).is(404)?;
    Ok(())
}

fn unknown_blob(t: &Trial<'_>) -> Result<()> {
    t.new_blob(10)?;
    for digest in [Digest::of(&t.bytes(9)), sha512(&t.bytes(9))] {
        delete(t, &format!("blobs/{digest}")).refused(&[404], &["BLOB_UNKNOWN"])?;
    }
    Ok(())
}

fn blob_elsewhere(t: &Trial<'_>) -> Result<()> {
    let (other, (digest, content)) = (t.other(), t.new_blob(500)?);
    t.push_blob(&other, &content)?;
    let rest = format!("blobs/{digest}");
    delete(t, &rest).is(202)?;
    for _ in 0..2 {
        t.send(&t.within("GET", &other, &rest)).is(200)?.holds(&content)?;
        t.get(&rest).is(404)?;
        t.head(&rest).is(404)?;
    }
    Ok(())
}

fn blob_again(t: &Trial<'_>) -> Result<()> {
    let (digest, content) = t.new_blob(500)?;
    let rest = format!("blobs/{digest}");
    t.get(&rest).is(200)?;
    delete(t, &rest).is(202)?;
    t.push_blob(&t.repository, &content)?;
    t.get(&rest).is(200)?.holds(&content)?;
    Ok(())
}

fn malformed(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    for digest in ["sha256:short", "sha256:..%2f..%2f", "md5:9dd4e461268c8034f5c8564e155c67a6", "nonsense"] {
        delete(t, &format!("blobs/{digest}")).is_one_of(&[400, 404])?;
    }
    delete(t, "manifests/sha256:short").is_one_of(&[400, 404])?;
    t.get("manifests/1").is(200)?;
    Ok(())
}

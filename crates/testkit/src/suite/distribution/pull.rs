//! “Pull”: manifests, blobs, and whether they are there.

use super::document::{Document, INDEX, MANIFEST};
use super::trial::{Trial, sha512};
use super::{Case, must, own, should};
use anyhow::{Result, ensure};
use larder_core::Digest;

pub(super) const CASES: &[Case] = &[
    must(
        "pull/manifest-by-tag",
        MANIFESTS,
        "A GET request to an existing manifest URL MUST provide the expected manifest, with a response code that MUST be `200 OK`.",
        manifest_by_tag,
    ),
    must(
        "pull/manifest-by-digest",
        MANIFESTS,
        "`<tag-or-digest>` MUST be either (a) the digest of the manifest or (b) a tag.",
        manifest_by_digest,
    ),
    must(
        "pull/manifest-digest-header",
        MANIFESTS,
        "A successful response MUST contain the digest of the uploaded blob in the header `Docker-Content-Digest`.",
        manifest_digest_header,
    ),
    should(
        "pull/manifest-content-type",
        MANIFESTS,
        "The `Content-Type` header SHOULD match what the client pushed as the manifest's `Content-Type`.",
        manifest_content_type,
    ),
    should(
        "pull/manifest-content-type-parameters",
        MANIFESTS,
        "The registry SHOULD NOT include parameters on the `Content-Type` header.",
        manifest_content_type_parameters,
    ),
    own(
        "pull/manifest-any-accept",
        MANIFESTS,
        "Whatever a client accepts, a digest never stands for other bytes.",
        manifest_any_accept,
    ),
    must(
        "pull/manifest-unknown",
        MANIFESTS,
        "If the manifest is not found in the repository, the response code MUST be `404 Not Found`.",
        manifest_unknown,
    ),
    must(
        "pull/repository-unknown",
        "Pushing Manifests",
        "An attempt to pull a nonexistent repository MUST return response code `404 Not Found`.",
        repository_unknown,
    ),
    own(
        "pull/blob-is-no-manifest",
        MANIFESTS,
        "A blob that nobody pushed as a manifest is not served as one.",
        blob_is_no_manifest,
    ),
    must(
        "pull/blob",
        BLOBS,
        "A GET request to an existing blob URL MUST provide the expected blob, with a response code that MUST be `200 OK`.",
        blob,
    ),
    must(
        "pull/blob-digest-header",
        BLOBS,
        "A successful response MUST contain the digest of the uploaded blob in the header `Docker-Content-Digest`. If present, the value of this header MUST be a digest matching that of the response body.",
        blob_digest_header,
    ),
    own(
        "pull/blob-by-sha512",
        BLOBS,
        "A blob pushed under a SHA-512 digest is served under it, and named by it.",
        blob_by_sha512,
    ),
    must(
        "pull/blob-unknown",
        BLOBS,
        "If the blob is not found in the repository, the response code MUST be `404 Not Found`.",
        blob_unknown,
    ),
    must(
        "pull/blob-of-another-repository",
        BLOBS,
        "If the blob is not found *in the repository*, the response code MUST be `404 Not Found`.",
        blob_of_another_repository,
    ),
    must(
        "pull/manifest-of-another-repository",
        MANIFESTS,
        "If the manifest is not found *in the repository*, the response code MUST be `404 Not Found`.",
        manifest_of_another_repository,
    ),
    must(
        "pull/head-manifest",
        EXISTS,
        "A HEAD request to an existing blob or manifest URL MUST return `200 OK`. A successful response MUST contain the digest … in `Docker-Content-Digest` … MUST contain the size in bytes … in `Content-Length`.",
        head_manifest,
    ),
    must(
        "pull/head-blob",
        EXISTS,
        "A HEAD request to an existing blob or manifest URL MUST return `200 OK`. A successful response MUST contain the digest … in `Docker-Content-Digest` … MUST contain the size in bytes … in `Content-Length`.",
        head_blob,
    ),
    must(
        "pull/head-unknown",
        EXISTS,
        "If the blob or manifest is not found in the repository, the response code MUST be `404 Not Found`.",
        head_unknown,
    ),
    should(
        "pull/head-as-get",
        "RFC 9110 §9.3.2",
        "The server SHOULD send the same header fields in response to a HEAD request as it would have sent if the request method had been GET.",
        head_as_get,
    ),
    own(
        "pull/malformed-digest",
        MANIFESTS,
        "A digest that is none is refused with 400 or 404, never taken for a path or an algorithm.",
        malformed_digest,
    ),
];

const MANIFESTS: &str = "Pulling manifests";
const BLOBS: &str = "Pulling blobs";
const EXISTS: &str = "Checking if content exists in the registry";

fn manifest_by_tag(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("v1.0_final")?;
    t.get("manifests/v1.0_final").is(200)?.holds(&image.bytes)?;
    Ok(())
}

fn manifest_by_digest(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let rest = format!("manifests/{}", image.digest());
    t.push(&t.repository, &image.digest().to_string(), &image)?;
    t.get(&rest).is(200)?.holds(&image.bytes)?;
    Ok(())
}

fn manifest_digest_header(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    for selector in ["1".to_owned(), image.digest().to_string()] {
        t.get(&format!("manifests/{selector}")).is(200)?.says("Docker-Content-Digest", image.digest())?;
    }
    Ok(())
}

fn manifest_content_type(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("image")?;
    let index = Document::index(t, &[image.descriptor()], &serde_json::json!({}));
    t.push(&t.repository, "index", &index)?;
    for (tag, document, media_type) in [("image", image, MANIFEST), ("index", index, INDEX)] {
        for selector in [tag.to_owned(), document.digest().to_string()] {
            let found = t.get(&format!("manifests/{selector}"));
            let found = found.is(200)?.has("Content-Type")?;
            let bare = found.split(';').next().unwrap_or_default().trim();
            ensure!(bare == media_type, "{selector} was pushed as {media_type} and is served as {found}");
        }
    }
    Ok(())
}

fn manifest_content_type_parameters(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    t.get("manifests/1").is(200)?.says("Content-Type", MANIFEST)?;
    Ok(())
}

fn manifest_any_accept(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    let index = Document::index(t, &[image.descriptor()], &serde_json::json!({}));
    t.push(&t.repository, "2", &index)?;
    for document in [&image, &index] {
        let path = format!("/v2/{}/manifests/{}", t.repository, document.digest());
        t.send(&t.request("GET", &path)).is(200)?.holds(&document.bytes)?;
        for accept in [
            "*/*",
            "application/json",
            "application/*",
            MANIFEST,
            INDEX,
            "text/html",
            "",
            "application/xml;q=0",
        ] {
            let found = t.send(&t.request("GET", &path).header("Accept", accept));
            if found.is_one_of(&[200, 404, 406])?.status() == 200 {
                found.holds(&document.bytes)?;
            }
        }
    }
    Ok(())
}

fn manifest_unknown(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    for selector in
        ["nothing".to_owned(), Digest::of(&t.bytes(9)).to_string(), sha512(&t.bytes(9)).to_string()]
    {
        t.get(&format!("manifests/{selector}")).refused(&[404], &["MANIFEST_UNKNOWN"])?;
    }
    Ok(())
}

fn repository_unknown(t: &Trial<'_>) -> Result<()> {
    let digest = Digest::of(&t.bytes(9));
    let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"];
    for rest in ["manifests/latest".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}")] {
        t.get(&rest).refused(&[404], &codes)?;
    }
    Ok(())
}

fn blob_is_no_manifest(t: &Trial<'_>) -> Result<()> {
    for length in [0, 100, 12 << 20] {
        let (digest, _) = t.new_blob(length)?;
        t.get(&format!("manifests/{digest}")).refused(&[404], &["MANIFEST_UNKNOWN"])?;
    }
    Ok(())
}

fn blob(t: &Trial<'_>) -> Result<()> {
    for length in [0, 1, 1000, 300_000] {
        let (digest, content) = t.new_blob(length)?;
        let found = t.get(&format!("blobs/{digest}"));
        found.is(200)?.holds(&content)?.says("Content-Length", length)?;
    }
    Ok(())
}

fn blob_digest_header(t: &Trial<'_>) -> Result<()> {
    let (digest, _) = t.new_blob(100)?;
    t.get(&format!("blobs/{digest}")).is(200)?.says("Docker-Content-Digest", digest)?;
    Ok(())
}

fn blob_by_sha512(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(5000);
    let digest = sha512(&content);
    t.push_blob_as(&t.repository, &content, &digest)?;
    let rest = format!("blobs/{digest}");
    t.get(&rest).is(200)?.holds(&content)?.says("Docker-Content-Digest", digest)?;
    t.head(&rest).is(200)?.says("Docker-Content-Digest", digest)?.says("Content-Length", 5000)?;
    Ok(())
}

fn blob_unknown(t: &Trial<'_>) -> Result<()> {
    t.new_blob(1)?;
    for digest in [Digest::of(&t.bytes(9)), sha512(&t.bytes(9))] {
        t.get(&format!("blobs/{digest}")).refused(&[404], &["BLOB_UNKNOWN"])?;
    }
    Ok(())
}

fn blob_of_another_repository(t: &Trial<'_>) -> Result<()> {
    t.new_blob(1)?;
    let digest = t.push_blob(&t.other(), &t.bytes(100))?;
    let rest = format!("blobs/{digest}");
    t.get(&rest).refused(&[404], &["BLOB_UNKNOWN"])?;
    t.head(&rest).is(404)?;
    Ok(())
}

fn manifest_of_another_repository(t: &Trial<'_>) -> Result<()> {
    t.new_image("mine")?;
    let other = t.other();
    let image = Document::image(t, &other)?;
    t.push(&other, "theirs", &image)?;
    for selector in ["theirs".to_owned(), image.digest().to_string()] {
        t.get(&format!("manifests/{selector}")).refused(&[404], &["MANIFEST_UNKNOWN"])?;
    }
    Ok(())
}

fn head_manifest(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    for selector in ["1".to_owned(), image.digest().to_string()] {
        let found = t.head(&format!("manifests/{selector}"));
        found.is(200)?.says("Docker-Content-Digest", image.digest())?;
        found.says("Content-Length", image.bytes.len())?.says("Content-Type", MANIFEST)?;
    }
    Ok(())
}

fn head_blob(t: &Trial<'_>) -> Result<()> {
    for length in [0, 777] {
        let (digest, _) = t.new_blob(length)?;
        let found = t.head(&format!("blobs/{digest}"));
        found.is(200)?.says("Docker-Content-Digest", digest)?.says("Content-Length", length)?;
    }
    Ok(())
}

fn head_unknown(t: &Trial<'_>) -> Result<()> {
    let digest = Digest::of(&t.bytes(9));
    let all = ["manifests/none".to_owned(), format!("manifests/{digest}"), format!("blobs/{digest}")];
    for rest in &all {
        t.head(rest).is(404)?;
    }
    t.new_image("1")?;
    for rest in &all {
        t.head(rest).is(404)?;
    }
    Ok(())
}

fn head_as_get(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    let (digest, _) = t.new_blob(50)?;
    for rest in ["manifests/1".to_owned(), format!("manifests/{}", image.digest()), format!("blobs/{digest}")]
    {
        let (head, get) = (t.head(&rest), t.get(&rest));
        for name in ["Content-Type", "Content-Length", "ETag", "Docker-Content-Digest", "Accept-Ranges"] {
            let (of_head, of_get) = (head.header(name), get.header(name));
            ensure!(of_head == of_get, "{rest}: {name} is {of_head:?} for HEAD and {of_get:?} for GET");
        }
    }
    Ok(())
}

fn malformed_digest(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    let hex = "a".repeat(64);
    let upper = "A".repeat(64);
    let malformed = [
        "sha256:baddigeststring".to_owned(),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}a"),
        format!("sha256:{upper}"),
        format!("SHA256:{hex}"),
        format!("md5:{hex}"),
        format!("sha512:{hex}"),
        format!("sha256::{hex}"),
        format!("sha256:{}", "g".repeat(64)),
        "sha256:".to_owned(),
        ":".to_owned(),
        "sha256:..%2f..%2fetc".to_owned(),
        "sha256:%00".to_owned(),
    ];
    let codes = [
        "DIGEST_INVALID",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "BLOB_UNKNOWN",
        "NAME_INVALID",
        "UNSUPPORTED",
    ];
    for digest in &malformed {
        for resource in ["manifests", "blobs"] {
            t.get(&format!("{resource}/{digest}")).refused(&[400, 404], &codes)?;
            t.head(&format!("{resource}/{digest}")).is_one_of(&[400, 404])?;
        }
    }
    Ok(())
}

//! “Pushing Manifests”, under tags and digests.

use super::document::{CONFIG, Document, INDEX, LAYER, MANIFEST, configuration, describe};
use super::trial::{Trial, sha512};
use super::{Case, must, own, should};
use anyhow::{Context as _, Result, ensure};
use larder_core::Digest;
use serde_json::json;

pub(super) const CASES: &[Case] = &[
    must(
        "manifests/put-by-tag",
        SECTION,
        "Upon a successful upload, the registry MUST return response code `201 Created`, and MUST have the following header: `Location: <location>` … a pullable manifest URL.",
        put_by_tag,
    ),
    must(
        "manifests/put-by-digest",
        SECTION,
        "`<name>` is the namespace of the repository, and the `<tag-or-digest>` MUST be either a) a digest or b) a tag.",
        put_by_digest,
    ),
    must(
        "manifests/digest-header",
        SECTION,
        "The Docker-Content-Digest header returns the digest of the uploaded blob, and MUST be equal to the client provided digest.",
        digest_header,
    ),
    must(
        "manifests/exact-bytes",
        SECTION,
        "The registry MUST store the manifest in the exact byte representation provided by the client.",
        exact_bytes,
    ),
    must(
        "manifests/tag-moves",
        SECTION,
        "A tag is a pointer to a manifest: the next push moves it, the former manifest stays.",
        tag_moves,
    ),
    should(
        "manifests/wrong-digest",
        SECTION,
        "If the client provided digest is invalid or uses an unsupported algorithm, the registry SHOULD respond with a response code `400 Bad Request`.",
        wrong_digest,
    ),
    should(
        "manifests/malformed-digest",
        SECTION,
        "If the client provided digest is invalid or uses an unsupported algorithm, the registry SHOULD respond with a response code `400 Bad Request`.",
        malformed_digest,
    ),
    own(
        "manifests/sha512",
        SECTION,
        "A manifest pushed under its SHA-512 digest is served under it, and named by it.",
        by_sha512,
    ),
    should(
        "manifests/content-type-parameters",
        SECTION,
        "The registry SHOULD ignore parameters on the `Content-Type` header.",
        content_type_parameters,
    ),
    must(
        "manifests/without-media-type",
        SECTION,
        "All manifests SHOULD include a `mediaType` field: it may be absent, and the `Content-Type` decides.",
        without_media_type,
    ),
    own(
        "manifests/media-type-mismatch",
        SECTION,
        "“If a manifest includes a `mediaType` field, clients MUST set the `Content-Type` header to the value specified”; those that do not are refused.",
        media_type_mismatch,
    ),
    own(
        "manifests/two-kinds-at-once",
        "CVE-2021-41190",
        "A document that is an image and an index at once is neither.",
        two_kinds_at_once,
    ),
    own(
        "manifests/not-a-manifest",
        SECTION,
        "What is not a manifest is refused as MANIFEST_INVALID.",
        not_a_manifest,
    ),
    own(
        "manifests/malformed-descriptors",
        SECTION,
        "Descriptors whose digests or sizes are none are refused.",
        malformed_descriptors,
    ),
    must(
        "manifests/missing-blob",
        "Push",
        "A registry MAY reject a manifest … with descriptors in other fields that reference a manifest or blob that does not exist. When a manifest is rejected for this reason, it MUST result in one or more `MANIFEST_BLOB_UNKNOWN` errors.",
        missing_blob,
    ),
    should(
        "manifests/four-megabytes",
        SECTION,
        "Client and registry implementations SHOULD expect to be able to support manifest pushes of at least 4 megabytes.",
        four_megabytes,
    ),
    should(
        "manifests/too-large",
        SECTION,
        "A registry SHOULD enforce some limit … SHOULD respond to a request to push a manifest over this limit with a response code `413 Payload Too Large`.",
        too_large,
    ),
    own(
        "manifests/tag-parameters",
        SECTION,
        "“When pushing a manifest by digest, the registry MAY support … `tag` query parameters”; we do.",
        tag_parameters,
    ),
    should(
        "manifests/ten-tags",
        SECTION,
        "It SHOULD support pushing at least 10 tags per request.",
        ten_tags,
    ),
    must(
        "manifests/tags-are-named",
        SECTION,
        "It MUST include an `OCI-Tag` response header … for each accepted tag.",
        tags_are_named,
    ),
    own(
        "manifests/many-tags",
        SECTION,
        "Too many tags are refused with 414 (or 431), or all are set; never some of them.",
        many_tags,
    ),
    own(
        "manifests/malformed-tags",
        SECTION,
        "A malformed `tag` parameter is refused, and no tag is set.",
        malformed_tags,
    ),
];

const SECTION: &str = "Pushing Manifests";
const DIGEST_CODES: &[&str] = &["DIGEST_INVALID", "MANIFEST_INVALID", "UNSUPPORTED"];
const INVALID: &[&str] = &["MANIFEST_INVALID", "DIGEST_INVALID", "SIZE_INVALID", "UNSUPPORTED"];

fn put_by_tag(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let put = t.push(&t.repository, "latest", &image)?;
    t.leads_to(&put, &image.bytes)?;
    for selector in ["latest".to_owned(), image.digest().to_string()] {
        t.get(&format!("manifests/{selector}")).is(200)?.holds(&image.bytes)?;
    }
    Ok(())
}

fn put_by_digest(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let put = t.push(&t.repository, &image.digest().to_string(), &image)?;
    t.leads_to(&put, &image.bytes)
}

fn digest_header(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    for selector in ["1".to_owned(), image.digest().to_string()] {
        t.push(&t.repository, &selector, &image)?.says("Docker-Content-Digest", image.digest())?;
    }
    Ok(())
}

fn exact_bytes(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let text = String::from_utf8(image.bytes).context("JSON is text")?;
    let spaced = text.replace(',', " ,\r\n\t").replacen('{', "{ ", 1) + "\n\n";
    let escaped = text.replacen("\"schemaVersion\"", "\"\\u0073chemaVersion\"", 1);
    let unknown = text.replacen('{', r#"{"z-unknown":[1.50,1e3,"\u00e9é",null],"#, 1);
    for (tag, bytes) in [("spaced", spaced), ("escaped", escaped), ("unknown", unknown)] {
        let document = Document { media_type: MANIFEST, bytes: bytes.into_bytes() };
        t.push(&t.repository, tag, &document)?;
        t.get(&format!("manifests/{tag}")).is(200)?.holds(&document.bytes)?;
        t.get(&format!("manifests/{}", document.digest())).is(200)?.holds(&document.bytes)?;
    }
    Ok(())
}

fn tag_moves(t: &Trial<'_>) -> Result<()> {
    let (first, second) = (t.new_image("1")?, t.new_image("1")?);
    t.get("manifests/1").is(200)?.holds(&second.bytes)?;
    t.get(&format!("manifests/{}", first.digest())).is(200)?.holds(&first.bytes)?;
    Ok(())
}

fn wrong_digest(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let mut other = image.clone();
    other.bytes.extend(b"  ");
    t.put(&t.repository, &image.digest().to_string(), &other).refused(&[400], DIGEST_CODES)?;
    for digest in [image.digest(), other.digest()] {
        t.get(&format!("manifests/{digest}")).is(404)?;
    }
    Ok(())
}

fn malformed_digest(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let hex = image.digest().hex();
    for digest in
        ["sha256:baddigeststring", &format!("sha256:{}", hex.to_uppercase()), &format!("md5:{}", &hex[..32])]
    {
        t.put(&t.repository, digest, &image).refused(&[400], DIGEST_CODES)?;
    }
    Ok(())
}

fn by_sha512(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let digest = sha512(&image.bytes);
    let put = t.push(&t.repository, &digest.to_string(), &image)?;
    put.says("Docker-Content-Digest", digest)?;
    t.leads_to(&put, &image.bytes)?;
    let rest = format!("manifests/{digest}");
    t.get(&rest).is(200)?.holds(&image.bytes)?.says("Docker-Content-Digest", digest)?;
    t.head(&rest).is(200)?.says("Docker-Content-Digest", digest)?;
    let mut other = image;
    other.bytes.push(b'\n');
    t.put(&t.repository, &digest.to_string(), &other).refused(&[400], DIGEST_CODES)?;
    Ok(())
}

fn content_type_parameters(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let request = t.here("PUT", "manifests/1").header("Content-Type", &format!("{MANIFEST}; charset=utf-8"));
    t.send(&request.body(image.bytes.clone())).is(201)?;
    t.get("manifests/1").is(200)?.holds(&image.bytes)?.says("Content-Type", MANIFEST)?;
    Ok(())
}

fn without_media_type(t: &Trial<'_>) -> Result<()> {
    let (config, layer) = (configuration(t), t.bytes(100));
    t.push_blob(&t.repository, &config)?;
    t.push_blob(&t.repository, &layer)?;
    let image = json!({ "schemaVersion": 2, "config": describe(CONFIG, &config), "layers": [describe(LAYER, &layer)] });
    let image = Document::new(MANIFEST, &image);
    t.push(&t.repository, "image", &image)?;
    let index = Document::new(INDEX, &json!({ "schemaVersion": 2, "manifests": [image.descriptor()] }));
    t.push(&t.repository, "index", &index)?;
    t.get("manifests/image").is(200)?.holds(&image.bytes)?.says("Content-Type", MANIFEST)?;
    t.get("manifests/index").is(200)?.holds(&index.bytes)?.says("Content-Type", INDEX)?;
    Ok(())
}

fn media_type_mismatch(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let disguised = Document { media_type: INDEX, bytes: image.bytes.clone() };
    t.put(&t.repository, "1", &disguised).refused(&[400], &["MANIFEST_INVALID"])?;
    t.get("manifests/1").is(404)?;
    t.get(&format!("manifests/{}", image.digest())).is(404)?;
    // Without the field there is the shape.
    let shape = json!({ "schemaVersion": 2, "manifests": [] });
    t.put(&t.repository, "1", &Document::new(MANIFEST, &shape)).refused(&[400], &["MANIFEST_INVALID"])?;
    Ok(())
}

fn two_kinds_at_once(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("whole")?;
    for media_type in [MANIFEST, INDEX] {
        let fields = json!({ "mediaType": media_type, "manifests": [image.descriptor()] });
        let mut both = Document::image_with(t, &t.repository, &fields)?;
        both.media_type = media_type;
        t.put(&t.repository, "both", &both).refused(&[400], &["MANIFEST_INVALID"])?;
    }
    t.get("manifests/both").is(404)?;
    Ok(())
}

fn not_a_manifest(t: &Trial<'_>) -> Result<()> {
    t.new_image("whole")?;
    let deep = "[".repeat(200_000);
    let config_twice =
        format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{}},"config":{{}}}}"#);
    for text in [
        "",
        "x",
        "{}",
        "[]",
        "null",
        "{\"schemaVersion\":2",
        "\u{feff}{}",
        &deep,
        &config_twice,
        "{\"schemaVersion\":\"2\"}",
    ] {
        let document = Document { media_type: MANIFEST, bytes: text.into() };
        t.put(&t.repository, "1", &document).refused(&[400], &["MANIFEST_INVALID"])?;
    }
    t.put(&t.repository, "1", &Document { media_type: MANIFEST, bytes: vec![0xff, 0xfe] })
        .refused(&[400], INVALID)?;
    t.get("manifests/1").is(404)?;
    Ok(())
}

fn malformed_descriptors(t: &Trial<'_>) -> Result<()> {
    let (config, layer) = (configuration(t), t.bytes(100));
    t.push_blob(&t.repository, &config)?;
    t.push_blob(&t.repository, &layer)?;
    for (field, wrong) in [
        ("digest", json!("sha256:../../../../etc/passwd")),
        ("digest", json!("sha256:short")),
        ("digest", json!(7)),
        ("size", json!(-1)),
        ("size", json!("100")),
        ("size", json!(1e300)),
    ] {
        let mut descriptor = describe(LAYER, &layer);
        descriptor[field] = wrong;
        let image = Document::manifest(&describe(CONFIG, &config), &[descriptor], &json!({}));
        t.put(&t.repository, "1", &image).refused(&[400], INVALID)?;
    }
    t.get("manifests/1").is(404)?;
    Ok(())
}

fn missing_blob(t: &Trial<'_>) -> Result<()> {
    let (config, layer) = (configuration(t), t.bytes(100));
    t.push_blob(&t.repository, &config)?;
    let image = Document::manifest(&describe(CONFIG, &config), &[describe(LAYER, &layer)], &json!({}));
    let put = t.put(&t.repository, "1", &image);
    if put.status() == 201 {
        t.leads_to(&put, &image.bytes)?;
        return Ok(());
    }
    ensure!((400..500).contains(&put.status()), "{}", put.describe());
    let codes: Vec<_> = put.json()?["errors"].as_array().cloned().unwrap_or_default();
    let named = !codes.is_empty() && codes.iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN");
    ensure!(named, "{}", put.describe());
    t.get("manifests/1").is(404)?;
    // With the blob, the same push succeeds.
    t.push_blob(&t.repository, &layer)?;
    t.push(&t.repository, "1", &image)?;
    Ok(())
}

/// An image whose manifest has about this many bytes.
fn padded(t: &Trial<'_>, bytes: usize) -> Result<Document> {
    let padding = "x".repeat(bytes - 1000);
    Document::image_with(t, &t.repository, &json!({ "annotations": { "padding": padding } }))
}

fn four_megabytes(t: &Trial<'_>) -> Result<()> {
    let image = padded(t, 4 << 20)?;
    t.push(&t.repository, "large", &image)?;
    t.get("manifests/large").is(200)?.holds(&image.bytes)?;
    Ok(())
}

fn too_large(t: &Trial<'_>) -> Result<()> {
    let image = padded(t, 24 << 20)?;
    let request = t.here("PUT", "manifests/large").header("Content-Type", MANIFEST).body(image.bytes);
    t.send(&request).refused(&[413], &["SIZE_INVALID", "MANIFEST_INVALID", "UNSUPPORTED"])?;
    t.send(&request.header("Transfer-Encoding", "chunked"))
        .refused(&[413], &["SIZE_INVALID", "MANIFEST_INVALID", "UNSUPPORTED"])?;
    t.get("manifests/large").is(404)?;
    Ok(())
}

/// Pushes by digest with these `tag` parameters.
fn put_tagged(t: &Trial<'_>, image: &Document, tags: &[String]) -> super::reply::Reply {
    let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
    t.put(&t.repository, &format!("{}?{}", image.digest(), query.join("&")), image)
}

fn tag_parameters(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let put = put_tagged(t, &image, &["1.2.3".into(), "1.2".into(), "latest".into()]);
    t.leads_to(put.is(201)?, &image.bytes)?;
    for tag in ["1.2.3", "1.2", "latest"] {
        t.get(&format!("manifests/{tag}")).is(200)?.holds(&image.bytes)?;
    }
    let digest = sha512(&image.bytes);
    let put = t.put(&t.repository, &format!("{digest}?tag=512"), &image);
    put.is(201)?.says("Docker-Content-Digest", digest)?;
    t.get("manifests/512").is(200)?.holds(&image.bytes)?;
    Ok(())
}

fn ten_tags(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let tags: Vec<String> = (0..10).map(|at| format!("tag-{at}")).collect();
    put_tagged(t, &image, &tags).is(201)?;
    for tag in &tags {
        t.head(&format!("manifests/{tag}")).is(200)?.says("Docker-Content-Digest", image.digest())?;
    }
    Ok(())
}

fn tags_are_named(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let tags = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let put = put_tagged(t, &image, &tags);
    let mut named = put.is(201)?.list("OCI-Tag");
    named.sort();
    ensure!(named == tags, "{} with OCI-Tag: {named:?}", put.describe());
    Ok(())
}

fn many_tags(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let tags: Vec<String> = (0..500).map(|at| format!("many-{at}")).collect();
    let put = put_tagged(t, &image, &tags);
    let expected = if put.is_one_of(&[201, 400, 414, 431])?.status() == 201 { 200 } else { 404 };
    for tag in ["many-0", "many-499"] {
        t.head(&format!("manifests/{tag}")).is(expected)?;
    }
    Ok(())
}

fn malformed_tags(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    for wrong in ["-x", ".x", "a%2Fb", "", &Digest::of(b"x").to_string()] {
        let codes = ["MANIFEST_INVALID", "NAME_INVALID", "TAG_INVALID", "UNSUPPORTED"];
        put_tagged(t, &image, &["good".into(), wrong.into()]).refused(&[400], &codes)?;
    }
    t.head("manifests/good").is(404)?;
    Ok(())
}

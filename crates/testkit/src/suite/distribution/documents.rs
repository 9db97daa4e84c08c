//! What a registry has to take, whatever it thinks of it: indexes, artifacts, subjects, unknown fields.

use super::document::{CONFIG, Document, EMPTY, INDEX, LAYER, MANIFEST, configuration, describe, merged};
use super::trial::{Trial, sha512};
use super::{Case, must, own};
use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_core::Digest;
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    must(
        "documents/index",
        DEFINITIONS,
        "A manifest may reference other manifests and blobs in a repository via descriptors.",
        index,
    ),
    own("documents/nested-index", DEFINITIONS, "An index may hold indexes.", nested_index),
    own("documents/empty-index", DEFINITIONS, "An index may hold nothing.", empty_index),
    own(
        "documents/sparse-index",
        "Push",
        "An index is taken though some of its platforms are not here.",
        sparse_index,
    ),
    must("documents/no-layers", MANIFESTS, "However, the list of blobs MAY be empty.", no_layers),
    must(
        "documents/artifact",
        DEFINITIONS,
        "The specification is designed to be agnostic of content types: an artifact with the empty configuration and layers of any type.",
        artifact,
    ),
    own(
        "documents/artifact-without-layers",
        DEFINITIONS,
        "An artifact whose one layer is the empty one.",
        artifact_without_layers,
    ),
    own(
        "documents/artifact-index",
        DEFINITIONS,
        "An index may have an artifactType, and hold artifacts.",
        artifact_index,
    ),
    own("documents/data", "image-spec, descriptor", "Descriptors may embed their content in `data`.", data),
    own(
        "documents/non-distributable",
        "image-spec, layer",
        "Layers that must not be distributed are named by a manifest and are nowhere in the registry.",
        non_distributable,
    ),
    must(
        "documents/custom-fields",
        MANIFESTS,
        "The registry MUST store the manifest in the exact byte representation provided by the client (fields nobody specified).",
        custom_fields,
    ),
    own(
        "documents/docker",
        "Definitions (legacy manifests)",
        "Docker's manifests and manifest lists are taken as they are.",
        docker,
    ),
    own("documents/sha512", "Digests", "Manifests may name blobs and manifests by SHA-512.", by_sha512),
    own(
        "documents/large-annotations",
        MANIFESTS,
        "A manifest of some hundred annotations of 10 kB each is taken.",
        large_annotations,
    ),
    must(
        "documents/subject-header",
        SUBJECT,
        "When processing a request for an image manifest with the `subject` field, a registry … MUST respond with the response header `OCI-Subject: <subject digest>`.",
        subject_header,
    ),
    own(
        "documents/subject-header-of-an-index",
        SUBJECT,
        "An index with a subject is answered with `OCI-Subject`, too.",
        subject_header_of_an_index,
    ),
    own(
        "documents/no-subject-header",
        SUBJECT,
        "A manifest without subject is answered without `OCI-Subject`.",
        no_subject_header,
    ),
    must(
        "documents/missing-subject",
        "Push",
        "A registry MUST initially accept an otherwise valid manifest with a `subject` field that references a manifest that does not exist in the repository.",
        missing_subject,
    ),
];

const DEFINITIONS: &str = "Definitions";
const MANIFESTS: &str = "Pushing Manifests";
const SUBJECT: &str = "Pushing Manifests with Subject";

/// Pushes under a tag, and insists that tag and digest give the same bytes of the same type.
fn round_trip(t: &Trial<'_>, tag: &str, document: &Document) -> Result<()> {
    t.push(&t.repository, tag, document)?;
    for selector in [tag.to_owned(), document.digest().to_string()] {
        let found = t.get(&format!("manifests/{selector}"));
        found.is(200)?.holds(&document.bytes)?.says("Content-Type", document.media_type)?;
    }
    Ok(())
}

fn platform(document: &Document, architecture: &str) -> Value {
    merged(document.descriptor(), &json!({ "platform": { "os": "linux", "architecture": architecture } }))
}

/// An index of two new images that are here.
fn pair(t: &Trial<'_>, fields: &Value) -> Result<Document> {
    let images = ["amd64", "arm64"].map(|architecture| {
        let image = Document::image(t, &t.repository)?;
        t.push(&t.repository, &image.digest().to_string(), &image)?;
        Ok(platform(&image, architecture))
    });
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(Document::index(t, &images, fields))
}

fn index(t: &Trial<'_>) -> Result<()> {
    round_trip(t, "index", &pair(t, &json!({}))?)
}

fn nested_index(t: &Trial<'_>) -> Result<()> {
    let (first, second) = (pair(t, &json!({}))?, pair(t, &json!({}))?);
    for inner in [&first, &second] {
        t.push(&t.repository, &inner.digest().to_string(), inner)?;
    }
    let outer = Document::index(t, &[first.descriptor(), second.descriptor()], &json!({}));
    round_trip(t, "outer", &outer)
}

fn empty_index(t: &Trial<'_>) -> Result<()> {
    round_trip(t, "empty", &Document::index(t, &[], &json!({})))
}

fn sparse_index(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("amd64")?;
    let absent = describe(MANIFEST, &t.bytes(1024));
    let sparse = Document::index(t, &[platform(&image, "amd64"), absent.clone()], &json!({}));
    round_trip(t, "sparse", &sparse)?;
    let digest = absent["digest"].as_str().unwrap_or_default();
    t.get(&format!("manifests/{digest}")).refused(&[404], &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

fn no_layers(t: &Trial<'_>) -> Result<()> {
    let config = configuration(t);
    t.push_blob(&t.repository, &config)?;
    round_trip(t, "none", &Document::manifest(&describe(CONFIG, &config), &[], &json!({})))
}

fn artifact(t: &Trial<'_>) -> Result<()> {
    let fields = json!({ "artifactType": "application/vnd.example.sbom" });
    round_trip(t, "artifact", &Document::artifact(t, &t.repository, &fields)?)
}

fn artifact_without_layers(t: &Trial<'_>) -> Result<()> {
    t.push_blob(&t.repository, b"{}")?;
    let empty = describe(EMPTY, b"{}");
    let fields = json!({ "artifactType": "application/vnd.example.nothing", "annotations": { "n": t.nonce().to_string() } });
    round_trip(t, "nothing", &Document::manifest(&empty, std::slice::from_ref(&empty), &fields))
}

fn artifact_index(t: &Trial<'_>) -> Result<()> {
    let artifact = Document::artifact(t, &t.repository, &json!({ "artifactType": "text/x-inner" }))?;
    t.push(&t.repository, &artifact.digest().to_string(), &artifact)?;
    let fields = json!({ "artifactType": "text/x-outer" });
    round_trip(t, "outer", &Document::index(t, &[artifact.descriptor()], &fields))
}

fn data(t: &Trial<'_>) -> Result<()> {
    let (config, layer) = (configuration(t), t.bytes(100));
    t.push_blob(&t.repository, &config)?;
    t.push_blob(&t.repository, &layer)?;
    let embed = |media_type: &str, content: &[u8]| {
        merged(describe(media_type, content), &json!({ "data": STANDARD.encode(content) }))
    };
    round_trip(t, "data", &Document::manifest(&embed(CONFIG, &config), &[embed(LAYER, &layer)], &json!({})))
}

fn non_distributable(t: &Trial<'_>) -> Result<()> {
    let (config, layer) = (configuration(t), t.bytes(100));
    t.push_blob(&t.repository, &config)?;
    t.push_blob(&t.repository, &layer)?;
    let foreign = |media_type: &str| {
        let url = "https://store.example.com/layer";
        merged(describe(media_type, &t.bytes(50)), &json!({ "urls": [url] }))
    };
    let layers = [
        foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        foreign("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        describe(LAYER, &layer),
    ];
    let image = Document::manifest(&describe(CONFIG, &config), &layers, &json!({}));
    round_trip(t, "foreign", &image)?;
    let digest = layers[0]["digest"].as_str().unwrap_or_default();
    t.get(&format!("blobs/{digest}")).is(404)?;
    Ok(())
}

fn custom_fields(t: &Trial<'_>) -> Result<()> {
    let custom = json!({ "org.example.custom": { "a": [1, { "b": null }] }, "x": t.nonce() });
    let image = Document::image_with(t, &t.repository, &custom)?;
    round_trip(t, "image", &image)?;
    let descriptor = merged(image.descriptor(), &custom);
    round_trip(t, "index", &Document::index(t, &[descriptor], &custom))
}

fn docker(t: &Trial<'_>) -> Result<()> {
    const IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    let (config, layer) = (configuration(t), t.bytes(100));
    t.push_blob(&t.repository, &config)?;
    t.push_blob(&t.repository, &layer)?;
    let image = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": describe("application/vnd.docker.container.image.v1+json", &config),
        "layers": [describe("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)],
    });
    let image = Document::new(IMAGE, &image);
    round_trip(t, "image", &image)?;
    let list = json!({ "schemaVersion": 2, "mediaType": LIST, "manifests": [platform(&image, "amd64")] });
    round_trip(t, "list", &Document::new(LIST, &list))
}

fn by_sha512(t: &Trial<'_>) -> Result<()> {
    let (config, layer) = (configuration(t), t.bytes(100));
    let named = |media_type: &str, content: &[u8]| {
        merged(describe(media_type, content), &json!({ "digest": sha512(content).to_string() }))
    };
    for content in [&config, &layer] {
        t.push_blob_as(&t.repository, content, &sha512(content))?;
    }
    let image = Document::manifest(&named(CONFIG, &config), &[named(LAYER, &layer)], &json!({}));
    t.push(&t.repository, &sha512(&image.bytes).to_string(), &image)?;
    let index = Document::index(t, &[named(MANIFEST, &image.bytes)], &json!({}));
    round_trip(t, "index", &index)
}

fn large_annotations(t: &Trial<'_>) -> Result<()> {
    let annotations: serde_json::Map<String, Value> =
        (0..390).map(|at| (format!("large-annotation-{at}"), json!("A".repeat(10_000)))).collect();
    round_trip(t, "large", &Document::image_with(t, &t.repository, &json!({ "annotations": annotations }))?)
}

fn subject_header(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("subject")?;
    let fields = json!({ "subject": subject.descriptor() });
    for selector in [None, Some("tagged")] {
        let artifact = Document::artifact(t, &t.repository, &fields)?;
        let selector = selector.map_or_else(|| artifact.digest().to_string(), str::to_owned);
        t.push(&t.repository, &selector, &artifact)?.says("OCI-Subject", subject.digest())?;
    }
    Ok(())
}

fn subject_header_of_an_index(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("subject")?;
    let index = Document::index(t, &[], &json!({ "subject": subject.descriptor() }));
    t.push(&t.repository, "index", &index)?.says("OCI-Subject", subject.digest())?;
    ensure!(index.media_type == INDEX, "an index");
    Ok(())
}

fn no_subject_header(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let put = t.push(&t.repository, "1", &image)?;
    ensure!(put.header("OCI-Subject").is_none(), "{} with OCI-Subject", put.describe());
    Ok(())
}

fn missing_subject(t: &Trial<'_>) -> Result<()> {
    let subject = Document::image(t, &t.repository)?;
    let artifact = Document::artifact(t, &t.repository, &json!({ "subject": subject.descriptor() }))?;
    t.push(&t.repository, "first", &artifact)?;
    t.get(&format!("manifests/{}", subject.digest())).is(404)?;
    t.push(&t.repository, "then", &subject)?;
    let referrers = t.get(&format!("referrers/{}", subject.digest()));
    // Registries without the referrers API have the tag schema, which is the client's business.
    if referrers.status() == 200 {
        let found = referrers.json()?["manifests"][0]["digest"].clone();
        ensure!(found == artifact.digest().to_string(), "{}", referrers.describe());
    }
    ensure!(Digest::of(&artifact.bytes) == artifact.digest(), "the artifact changed");
    Ok(())
}

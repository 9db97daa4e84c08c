//! “Listing Referrers”, and what is left of the tag schema.

use super::document::{Document, INDEX, MANIFEST, configuration, describe};
use super::reply::Reply;
use super::trial::{Trial, sha512};
use super::{Case, must, own, should};
use anyhow::{Context as _, Result, ensure};
use larder_core::Digest;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = &[
    must(
        "referrers/list",
        SECTION,
        "Assuming a repository is found, this request MUST return a `200 OK` response code. After the referrers API is enabled, Registries MUST include all newly pushed image manifests with a valid `subject` field.",
        list,
    ),
    must(
        "referrers/never-404",
        SECTION,
        "If the registry supports the referrers API, the registry MUST NOT return a `404 Not Found` to a referrers API requests.",
        never_404,
    ),
    must(
        "referrers/malformed-digest",
        SECTION,
        "If the request is invalid, such as a `<digest>` with an invalid syntax, a `400 Bad Request` MUST be returned.",
        malformed_digest,
    ),
    must(
        "referrers/body",
        SECTION,
        "Upon success, the response MUST be a JSON body with an image index containing a list of descriptors.",
        body,
    ),
    must(
        "referrers/content-type",
        SECTION,
        "The `Content-Type` header MUST be set to `application/vnd.oci.image.index.v1+json`.",
        content_type,
    ),
    must(
        "referrers/same-repository",
        SECTION,
        "Each descriptor is of an image manifest or index in the same `<name>` namespace with a `subject` field that specifies the value of `<digest>`.",
        same_repository,
    ),
    must(
        "referrers/artifact-type",
        SECTION,
        "The descriptors MUST include an `artifactType` field that is set to the value of the `artifactType` in the image manifest or index, if present.",
        artifact_type,
    ),
    must(
        "referrers/artifact-type-of-the-config",
        SECTION,
        "If the `artifactType` is empty or missing in the image manifest, the value of `artifactType` MUST be set to the config descriptor `mediaType` value.",
        artifact_type_of_the_config,
    ),
    must(
        "referrers/artifact-type-of-an-index",
        SECTION,
        "If the `artifactType` is empty or missing in an index, the `artifactType` MUST be omitted.",
        artifact_type_of_an_index,
    ),
    must(
        "referrers/annotations",
        SECTION,
        "The descriptors MUST include annotations from the image manifest or index.",
        annotations,
    ),
    must(
        "referrers/empty",
        SECTION,
        "If a query results in no matching referrers, an empty manifest list MUST be returned.",
        empty,
    ),
    must(
        "referrers/many",
        SECTION,
        "A `Link` header MUST be included in the response when the descriptor list cannot be returned in a single manifest … with the Relation Type `rel=\"next\"`.",
        many,
    ),
    should("referrers/filter", SECTION, "The registry SHOULD support filtering on `artifactType`.", filter),
    must(
        "referrers/filters-applied",
        SECTION,
        "If filtering is requested and applied, the response MUST include a header `OCI-Filters-Applied: artifactType`.",
        filters_applied,
    ),
    own(
        "referrers/once",
        SECTION,
        "However often a referrer is pushed, under however many tags, it is listed once.",
        once,
    ),
    own("referrers/of-sha512", SECTION, "A subject may be named by its SHA-512 digest.", of_sha512),
    own("referrers/deleted", SECTION, "A referrer that is deleted is listed no more.", deleted),
    own(
        "referrers/of-the-deleted",
        SECTION,
        "A subject that is deleted keeps its referrers.",
        of_the_deleted,
    ),
    must(
        "referrers/tag-schema-kept",
        "Referrers Tag Schema",
        "This tag should return an image index matching the expected response of the referrers API. Maintaining the content of this tag is the responsibility of clients.",
        tag_schema_kept,
    ),
    must(
        "referrers/tag-schema-included",
        "Enabling the Referrers API",
        "Registries MUST include preexisting image manifests that are listed in an image index tagged with the referrers tag schema and have a valid `subject` field.",
        tag_schema_included,
    ),
];

const SECTION: &str = "Listing Referrers";

fn ask(t: &Trial<'_>, digest: &Digest, query: &str) -> Reply {
    t.get(&format!("referrers/{digest}{query}"))
}

fn manifests(reply: &Reply) -> Result<Vec<Value>> {
    let body = reply.is(200)?.json()?;
    Ok(body["manifests"].as_array().with_context(|| reply.describe())?.clone())
}

/// The descriptor of this document in the answer.
fn found(reply: &Reply, document: &Document) -> Result<Value> {
    let digest = document.digest().to_string();
    let one = |descriptor: &Value| descriptor["digest"] == *digest;
    manifests(reply)?
        .into_iter()
        .find(one)
        .with_context(|| format!("{digest} is not in {}", reply.describe()))
}

/// Pushes an artifact by digest.
fn attach(t: &Trial<'_>, subject: &Document, artifact_type: &str) -> Result<Document> {
    let fields = json!({
        "subject": subject.descriptor(),
        "artifactType": artifact_type,
        "annotations": { "org.example.of": artifact_type, "org.example.é": "ü \"quoted\"" },
    });
    let artifact = Document::artifact(t, &t.repository, &fields)?;
    t.push(&t.repository, &artifact.digest().to_string(), &artifact)?;
    Ok(artifact)
}

fn list(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "text/x-one")?;
    let answer = ask(t, &subject.digest(), "");
    let descriptor = found(&answer, &artifact)?;
    ensure!(
        descriptor["mediaType"] == MANIFEST && descriptor["size"] == artifact.bytes.len(),
        "{descriptor}"
    );
    ensure!(manifests(&answer)?.len() == 1, "{}", answer.describe());
    Ok(())
}

fn never_404(t: &Trial<'_>) -> Result<()> {
    ask(t, &Digest::of(&t.bytes(9)), "").is(200).context("in a repository nobody pushed to")?;
    t.new_image("1")?;
    ask(t, &Digest::of(&t.bytes(9)), "").is(200)?;
    ask(t, &sha512(&t.bytes(9)), "").is(200)?;
    Ok(())
}

fn malformed_digest(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    let hex = "a".repeat(64);
    for digest in
        ["sha256:short", "latest", &format!("sha256:{}", hex.to_uppercase()), &format!("sha256:{hex}0")]
    {
        let codes = ["DIGEST_INVALID", "MANIFEST_INVALID", "UNSUPPORTED"];
        t.get(&format!("referrers/{digest}")).refused(&[400], &codes)?;
    }
    Ok(())
}

fn body(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    attach(t, &subject, "text/x-one")?;
    let answer = ask(t, &subject.digest(), "");
    let body = answer.is(200)?.json()?;
    ensure!(body["schemaVersion"] == 2 && body["mediaType"] == INDEX, "{}", answer.describe());
    Ok(())
}

fn content_type(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    for query in ["", "?artifactType=text/x-none"] {
        ask(t, &subject.digest(), query).is(200)?.says("Content-Type", INDEX)?;
    }
    Ok(())
}

fn same_repository(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let mine = attach(t, &subject, "text/x-mine")?;
    let (other, fields) = (t.other(), json!({ "subject": subject.descriptor() }));
    let theirs = Document::artifact(t, &other, &fields)?;
    t.push(&other, "theirs", &theirs)?;
    for (repository, expected) in [(t.repository.clone(), mine), (other, theirs)] {
        let answer = t.send(&t.within("GET", &repository, &format!("referrers/{}", subject.digest())));
        found(&answer, &expected)?;
        ensure!(manifests(&answer)?.len() == 1, "{}", answer.describe());
    }
    Ok(())
}

fn artifact_type(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "application/vnd.example.sbom+json")?;
    let fields = json!({ "subject": subject.descriptor(), "artifactType": "text/x-index" });
    let index = Document::index(t, &[], &fields);
    t.push(&t.repository, "index", &index)?;
    let answer = ask(t, &subject.digest(), "");
    let descriptor = found(&answer, &artifact)?;
    ensure!(descriptor["artifactType"] == "application/vnd.example.sbom+json", "{descriptor}");
    let descriptor = found(&answer, &index)?;
    ensure!(descriptor["artifactType"] == "text/x-index" && descriptor["mediaType"] == INDEX, "{descriptor}");
    Ok(())
}

fn artifact_type_of_the_config(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    for fields in [json!({}), json!({ "artifactType": "" })] {
        let (config, media_type) = (configuration(t), "application/vnd.example.config+json");
        t.push_blob(&t.repository, &config)?;
        let fields = super::document::merged(fields, &json!({ "subject": subject.descriptor() }));
        let artifact = Document::manifest(&describe(media_type, &config), &[], &fields);
        t.push(&t.repository, &artifact.digest().to_string(), &artifact)?;
        let descriptor = found(&ask(t, &subject.digest(), ""), &artifact)?;
        ensure!(descriptor["artifactType"] == media_type, "{descriptor}");
    }
    Ok(())
}

fn artifact_type_of_an_index(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    for fields in [json!({}), json!({ "artifactType": "" })] {
        let fields = super::document::merged(fields, &json!({ "subject": subject.descriptor() }));
        let index = Document::index(t, &[], &fields);
        t.push(&t.repository, &index.digest().to_string(), &index)?;
        let descriptor = found(&ask(t, &subject.digest(), ""), &index)?;
        ensure!(descriptor.get("artifactType").is_none(), "{descriptor}");
    }
    Ok(())
}

fn annotations(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "text/x-one")?;
    let descriptor = found(&ask(t, &subject.digest(), ""), &artifact)?;
    let expected = json!({ "org.example.of": "text/x-one", "org.example.é": "ü \"quoted\"" });
    ensure!(descriptor["annotations"] == expected, "{descriptor}");
    let index = Document::index(t, &[], &json!({ "subject": subject.descriptor() }));
    t.push(&t.repository, "index", &index)?;
    let descriptor = found(&ask(t, &subject.digest(), ""), &index)?;
    ensure!(descriptor["annotations"]["test.larder.nonce"].is_string(), "{descriptor}");
    Ok(())
}

fn empty(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    attach(t, &subject, "text/x-one")?;
    for (digest, query) in [(Digest::of(&t.bytes(9)), ""), (subject.digest(), "?artifactType=text/x-none")] {
        let answer = ask(t, &digest, query);
        let filtered = answer.header("OCI-Filters-Applied").is_some();
        ensure!(manifests(&answer)?.is_empty() || (!query.is_empty() && !filtered), "{}", answer.describe());
    }
    Ok(())
}

/// Enough annotations to exceed what fits into one manifest (4 MiB).
fn many(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    t.push_blob(&t.repository, b"{}")?;
    let empty = describe(super::document::EMPTY, b"{}");
    let mut expected = BTreeSet::new();
    for at in 0..90 {
        let annotations =
            json!({ "n": at.to_string(), "padding": "x".repeat(60_000), "nonce": t.nonce().to_string() });
        let fields = json!({ "subject": subject.descriptor(), "artifactType": "text/x-many", "annotations": annotations });
        let artifact = Document::manifest(&empty, std::slice::from_ref(&empty), &fields);
        t.push(&t.repository, &artifact.digest().to_string(), &artifact)?;
        expected.insert(artifact.digest().to_string());
    }
    for query in ["", "?artifactType=text%2Fx-many"] {
        let mut next = Some(format!("/v2/{}/referrers/{}{query}", t.repository, subject.digest()));
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        while let Some(location) = next {
            let answer = t.send(&t.request("GET", &location));
            for descriptor in manifests(&answer)? {
                seen.insert(descriptor["digest"].as_str().unwrap_or_default().to_owned());
                count += 1;
            }
            next = answer.next_page()?;
            ensure!(count < 1000, "there is always a next page");
        }
        ensure!(
            seen == expected && count == expected.len(),
            "{count} descriptors, {} of them different",
            seen.len()
        );
    }
    Ok(())
}

fn filter(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let one = attach(t, &subject, "application/vnd.example.one+json")?;
    attach(t, &subject, "text/x-two")?;
    for query in [
        "?artifactType=application/vnd.example.one%2Bjson",
        "?artifactType=application%2Fvnd.example.one%2Bjson",
    ] {
        let answer = ask(t, &subject.digest(), query);
        found(&answer, &one)?;
        ensure!(manifests(&answer)?.len() == 1, "{}", answer.describe());
    }
    Ok(())
}

fn filters_applied(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let one = attach(t, &subject, "text/x-one")?;
    let two = attach(t, &subject, "text/x-two")?;
    for query in ["?artifactType=text/x-one", "?artifactType=text/x-none"] {
        let answer = ask(t, &subject.digest(), query);
        if manifests(&answer)?.len() < 2 {
            answer.says("OCI-Filters-Applied", "artifactType")?;
        }
    }
    let all = ask(t, &subject.digest(), "");
    ensure!(all.header("OCI-Filters-Applied").is_none(), "{} with OCI-Filters-Applied", all.describe());
    found(&all, &one)?;
    found(&all, &two)?;
    Ok(())
}

fn once(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "text/x-one")?;
    for selector in ["tagged".to_owned(), "again".to_owned(), artifact.digest().to_string()] {
        t.push(&t.repository, &selector, &artifact)?;
    }
    let found = manifests(&ask(t, &subject.digest(), ""))?;
    ensure!(found.len() == 1, "{found:?}");
    Ok(())
}

fn of_sha512(t: &Trial<'_>) -> Result<()> {
    let subject = Document::image(t, &t.repository)?;
    let digest = sha512(&subject.bytes);
    t.push(&t.repository, &digest.to_string(), &subject)?;
    let descriptor =
        json!({ "mediaType": MANIFEST, "digest": digest.to_string(), "size": subject.bytes.len() });
    let artifact = Document::artifact(t, &t.repository, &json!({ "subject": descriptor }))?;
    t.push(&t.repository, "artifact", &artifact)?.says("OCI-Subject", digest)?;
    found(&ask(t, &digest, ""), &artifact)?;
    Ok(())
}

fn deleted(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let (gone, kept) = (attach(t, &subject, "text/x-gone")?, attach(t, &subject, "text/x-kept")?);
    t.send(&t.here("DELETE", &format!("manifests/{}", gone.digest()))).is(202)?;
    let answer = ask(t, &subject.digest(), "");
    found(&answer, &kept)?;
    ensure!(manifests(&answer)?.len() == 1, "{}", answer.describe());
    Ok(())
}

fn of_the_deleted(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "text/x-one")?;
    t.send(&t.here("DELETE", &format!("manifests/{}", subject.digest()))).is(202)?;
    found(&ask(t, &subject.digest(), ""), &artifact)?;
    Ok(())
}

/// What a client without the referrers API does: it keeps an index under `sha256-HEX`.
fn fallback(t: &Trial<'_>, subject: &Document, artifact: &Document) -> Result<(String, Document)> {
    let index = Document::index(t, &[artifact.descriptor()], &json!({}));
    let tag = subject.digest().to_string().replace(':', "-");
    t.push(&t.repository, &tag, &index)?;
    Ok((tag, index))
}

fn tag_schema_kept(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "text/x-one")?;
    let (tag, index) = fallback(t, &subject, &artifact)?;
    t.get(&format!("manifests/{tag}")).is(200)?.holds(&index.bytes)?;
    Ok(())
}

fn tag_schema_included(t: &Trial<'_>) -> Result<()> {
    let subject = t.new_image("1")?;
    let artifact = attach(t, &subject, "text/x-one")?;
    fallback(t, &subject, &artifact)?;
    let answer = ask(t, &subject.digest(), "");
    found(&answer, &artifact)?;
    ensure!(manifests(&answer)?.len() == 1, "{}", answer.describe());
    Ok(())
}

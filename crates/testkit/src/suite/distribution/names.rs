//! Names of repositories and tags: what they may be, and what is refused.

use super::document::Document;
use super::trial::Trial;
use super::{Case, must, own};
use anyhow::{Context as _, Result, ensure};
use larder_core::Digest;

pub(super) const CASES: &[Case] = &[
    must(
        "names/repositories",
        "Pulling manifests",
        "`<name>` MUST match `[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(\\/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*`",
        repositories,
    ),
    must(
        "names/malformed-repositories",
        "Pulling manifests",
        "Throughout this document, `<name>` MUST match the following regular expression: others are refused.",
        malformed_repositories,
    ),
    own(
        "names/endless-repositories",
        "Pulling manifests",
        "A name of 5,000 characters is refused, and nothing else happens.",
        endless_repositories,
    ),
    own(
        "names/like-the-api",
        "Endpoints",
        "A repository may be called `manifests`, `blobs`, `tags` or `v2`.",
        like_the_api,
    ),
    must(
        "names/tags",
        "Pulling manifests",
        "`<tag-or-digest>` as a tag MUST be at most 128 characters in length and MUST match `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.",
        tags,
    ),
    must(
        "names/malformed-tags",
        "Pulling manifests",
        "The `<tag-or-digest>` MUST NOT be in any other format.",
        malformed_tags,
    ),
    own(
        "names/tags-differ-by-case",
        "Pulling manifests",
        "`Latest` and `latest` are two tags.",
        tags_differ_by_case,
    ),
];

fn repositories(t: &Trial<'_>) -> Result<()> {
    let deep = "a/b/c/d/e/f/g/h/i/j";
    let long = format!("long/{}", "x".repeat(150));
    for name in ["0", "a", "a.b", "a_b", "a__b", "a-b", "a---b", "a.b_c__d-e--f", "x86.64/0/9z", deep, &long]
    {
        let repository = format!("{}/{name}", t.repository);
        let image = Document::image(t, &repository).with_context(|| name.to_owned())?;
        t.push(&repository, "1", &image).with_context(|| name.to_owned())?;
        t.send(&t.within("GET", &repository, "manifests/1")).is(200)?.holds(&image.bytes)?;
        let list = t.send(&t.within("GET", &repository, "tags/list"));
        let list = list.is(200)?.json()?;
        ensure!(list["name"] == repository, "{list}");
    }
    // A single component, too. (With a dot or port it could be the name of a registry to servers of several.)
    let single = format!("{}-single", t.prefix());
    let image = Document::image(t, &single)?;
    t.push(&single, "1", &image)?;
    Ok(())
}

fn malformed_repositories(t: &Trial<'_>) -> Result<()> {
    let digest = Digest::of(b"x");
    let prefix = t.prefix();
    for name in [
        "UPPER",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a.",
        "_a",
        "a._b",
        "a%20b",
        "a%2Fb%2F..",
        "ä",
        "a+b",
        "a@b",
        "a:b",
        "%2e%2e",
    ] {
        let repository = format!("{prefix}/{name}");
        let codes = ["NAME_INVALID", "NAME_UNKNOWN"];
        for (method, rest) in [
            ("GET", "tags/list".to_owned()),
            ("GET", "manifests/latest".to_owned()),
            ("GET", format!("blobs/{digest}")),
            ("POST", "blobs/uploads/".to_owned()),
            ("PUT", "manifests/latest".to_owned()),
            ("DELETE", "manifests/latest".to_owned()),
        ] {
            let mut request = t.within(method, &repository, &rest);
            if method == "PUT" {
                request = request.header("Content-Type", super::document::MANIFEST).body("{}");
            }
            let found = t.send(&request);
            let statuses: &[u16] = if name == "%2e%2e" { &[400, 404, 405] } else { &[400, 404] };
            found.is_one_of(statuses)?;
            if found.status() == 400 {
                found.refused(&[400], &codes)?;
            }
        }
    }
    Ok(())
}

fn endless_repositories(t: &Trial<'_>) -> Result<()> {
    for name in ["x".repeat(5000), vec!["x"; 2500].join("/")] {
        let found = t.send(&t.request("POST", &format!("/v2/{}/{name}/blobs/uploads/", t.prefix())));
        found.refused(&[400, 404, 414, 431], &["NAME_INVALID", "NAME_UNKNOWN"])?;
    }
    Ok(())
}

fn like_the_api(t: &Trial<'_>) -> Result<()> {
    for name in ["manifests", "blobs/uploads", "tags/list", "v2", "referrers", "blobs", "tags"] {
        let repository = format!("{}/{name}", t.repository);
        let image = Document::image(t, &repository).with_context(|| name.to_owned())?;
        t.push(&repository, "1", &image).with_context(|| name.to_owned())?;
        t.send(&t.within("GET", &repository, "manifests/1")).is(200)?.holds(&image.bytes)?;
        let list = t.send(&t.within("GET", &repository, "tags/list"));
        ensure!(list.is(200)?.json()?["name"] == repository, "{}", list.describe());
    }
    Ok(())
}

fn tags(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    let longest = format!("_{}", "x".repeat(127));
    for tag in
        ["0", "_", "_a", "A", "v1.2.3-rc.1_build", "a..b", "a--b", "a__b", "a.", "a-", "sha256-abc", &longest]
    {
        t.push(&t.repository, tag, &image).with_context(|| tag.to_owned())?;
        t.get(&format!("manifests/{tag}")).is(200)?.holds(&image.bytes)?;
    }
    Ok(())
}

fn malformed_tags(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    let long = "x".repeat(129);
    let codes = [
        "MANIFEST_INVALID",
        "TAG_INVALID",
        "NAME_INVALID",
        "DIGEST_INVALID",
        "MANIFEST_UNKNOWN",
        "UNSUPPORTED",
        "NAME_UNKNOWN",
    ];
    for tag in [".a", "-a", "a%20b", "a+b", "a@b", "a:b", "%C3%A4", "a%00", "%2e%2e", &long] {
        t.put(&t.repository, tag, &image).refused(&[400, 404], &codes)?;
        t.get(&format!("manifests/{tag}")).refused(&[400, 404], &codes)?;
    }
    let list = t.get("tags/list");
    ensure!(list.is(200)?.json()?["tags"] == serde_json::json!(["1"]), "{}", list.describe());
    Ok(())
}

fn tags_differ_by_case(t: &Trial<'_>) -> Result<()> {
    let (lower, upper) = (t.new_image("latest")?, t.new_image("Latest")?);
    t.get("manifests/latest").is(200)?.holds(&lower.bytes)?;
    t.get("manifests/Latest").is(200)?.holds(&upper.bytes)?;
    Ok(())
}

//! “Listing Tags”, and `_catalog`, which the specification left behind and everybody still asks for.

use super::document::Document;
use super::reply::Reply;
use super::trial::Trial;
use super::{Case, must, own};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    must(
        "tags/list",
        SECTION,
        "Assuming a repository is found, this request MUST return a `200 OK` response code.",
        list,
    ),
    must(
        "tags/format",
        SECTION,
        "Upon success, the response MUST be a json body in the following format: `{ \"name\": \"<name>\", \"tags\": [ … ] }`",
        format,
    ),
    must(
        "tags/order",
        SECTION,
        "If the list is not empty, the tags MUST be in lexical (i.e. case-insensitive alphanumeric order) or “ASCIIbetical” order.",
        order,
    ),
    must(
        "tags/empty",
        SECTION,
        "The list of tags MAY be empty if there are no tags on the repository.",
        empty,
    ),
    must("tags/unknown-repository", "Endpoints", "end-8a: `404`", unknown_repository),
    must(
        "tags/n",
        SECTION,
        "The response … MAY return fewer than `<int>` results, but only when the total number of tags … is less than `<int>` or a `Link` header is provided. Otherwise, the response MUST include `<int>` results.",
        n,
    ),
    must(
        "tags/n-from-the-beginning",
        SECTION,
        "Without the `last` query parameter, the list returned will start at the beginning of the list and include `<int>` results.",
        n_from_the_beginning,
    ),
    must(
        "tags/n-zero",
        SECTION,
        "When `n` is zero, this endpoint MUST return an empty list, and MUST NOT include a `Link` header.",
        n_zero,
    ),
    own(
        "tags/n-malformed",
        SECTION,
        "A number that is none is refused or ignored; a huge one costs nothing.",
        n_malformed,
    ),
    must(
        "tags/last",
        SECTION,
        "`<tagname>` will not be included in the results, but up to `<int>` tags *after* `<tagname>` will be returned.",
        last,
    ),
    must(
        "tags/last-in-order",
        SECTION,
        "The tags MUST be in lexical or “ASCIIbetical” order.",
        last_in_order,
    ),
    must(
        "tags/last-alone",
        SECTION,
        "When using the `last` query parameter, the `n` parameter is OPTIONAL.",
        last_alone,
    ),
    own("tags/last-unknown", SECTION, "`last` need not be a tag that is there (any more).", last_unknown),
    must(
        "tags/link",
        SECTION,
        "If included, the `Link` header MUST be set according to RFC 5988 with the Relation Type `rel=\"next\"`.",
        link,
    ),
    own(
        "tags/link-offered",
        SECTION,
        "Where there is more there is a `Link`, and where there is not there is none.",
        link_offered,
    ),
    own(
        "catalog/list",
        "_catalog",
        "The catalog names every repository, in order, each once, page by page.",
        catalog,
    ),
    own(
        "catalog/n",
        "CVE-2023-2253",
        "The catalog does not make room for as many as somebody asks for.",
        catalog_n,
    ),
];

const SECTION: &str = "Listing Tags";

/// Pushes one image under all of these tags.
fn tagged(t: &Trial<'_>, tags: &[&str]) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    for tag in tags {
        t.push(&t.repository, tag, &image)?;
    }
    Ok(())
}

fn tags_of(reply: &Reply) -> Result<Vec<String>> {
    strings(&reply.is(200)?.json()?["tags"]).with_context(|| reply.describe())
}

fn strings(value: &Value) -> Result<Vec<String>> {
    let values = value.as_array().context("not a list")?;
    values.iter().map(|value| Ok(value.as_str().context("not a string")?.to_owned())).collect()
}

fn ask(t: &Trial<'_>, query: &str) -> Result<Vec<String>> {
    tags_of(&t.get(&format!("tags/list{query}")))
}

/// Either of the two orders allowed.
fn ensure_sorted(tags: &[String]) -> Result<()> {
    let folded = |tag: &String| tag.to_lowercase();
    let lexical = tags.is_sorted_by(|a, b| folded(a) <= folded(b));
    ensure!(tags.is_sorted() || lexical, "not in order: {tags:?}");
    Ok(())
}

const MANY: &[&str] = &["b", "A", "a", "v1.10", "v1.9", "_", "0", "B", "v1.9-rc", "Z", "z", "9"];

fn list(t: &Trial<'_>) -> Result<()> {
    tagged(t, &["1", "2"])?;
    t.get("tags/list").is(200)?;
    Ok(())
}

fn format(t: &Trial<'_>) -> Result<()> {
    tagged(t, &["1", "2", "3"])?;
    let found = t.get("tags/list");
    let body = found.is(200)?.json()?;
    ensure!(body["name"] == t.repository && body["tags"] == json!(["1", "2", "3"]), "{}", found.describe());
    let kind = found.has("Content-Type")?;
    ensure!(kind.starts_with("application/json"), "{} is {kind}", found.describe());
    Ok(())
}

fn order(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let found = ask(t, "")?;
    ensure!(found.len() == MANY.len(), "{found:?}");
    ensure_sorted(&found)
}

fn empty(t: &Trial<'_>) -> Result<()> {
    let image = Document::image(t, &t.repository)?;
    t.push(&t.repository, &image.digest().to_string(), &image)?;
    let found = ask(t, "")?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

fn unknown_repository(t: &Trial<'_>) -> Result<()> {
    t.get("tags/list").refused(&[404], &["NAME_UNKNOWN"])?;
    Ok(())
}

fn n(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    for count in [1, 5, MANY.len(), MANY.len() + 1, 1000] {
        let found = t.get(&format!("tags/list?n={count}"));
        let tags = tags_of(&found)?;
        let expected = count.min(MANY.len());
        let fewer = tags.len() < expected && found.next_page()?.is_some();
        ensure!(tags.len() == expected || fewer, "{} of {expected} tags: {}", tags.len(), found.describe());
    }
    Ok(())
}

fn n_from_the_beginning(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let all = ask(t, "")?;
    let found = ask(t, "?n=4")?;
    ensure!(all.starts_with(&found) && !found.is_empty(), "{found:?} of {all:?}");
    Ok(())
}

fn n_zero(t: &Trial<'_>) -> Result<()> {
    tagged(t, &["1", "2"])?;
    for query in ["?n=0", "?n=0&last=1"] {
        let found = t.get(&format!("tags/list{query}"));
        ensure!(tags_of(&found)?.is_empty() && found.header("Link").is_none(), "{}", found.describe());
    }
    Ok(())
}

fn n_malformed(t: &Trial<'_>) -> Result<()> {
    tagged(t, &["1", "2"])?;
    for number in
        ["-1", "x", "", "1.5", "0x1", "9223372036854775807", "18446744073709551616", &"9".repeat(60)]
    {
        let found = t.get(&format!("tags/list?n={number}"));
        if found.is_one_of(&[200, 400])?.status() == 200 {
            tags_of(&found)?;
        }
    }
    Ok(())
}

fn last(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let all = ask(t, "")?;
    for (at, tag) in all.iter().enumerate() {
        let found = ask(t, &format!("?n=3&last={tag}"))?;
        let expected = &all[at + 1..(at + 4).min(all.len())];
        ensure!(found == expected, "after {tag}: {found:?}, expected {expected:?}");
    }
    Ok(())
}

fn last_in_order(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let all = ask(t, "")?;
    ensure_sorted(&ask(t, &format!("?last={}", all[2]))?)
}

fn last_alone(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let all = ask(t, "")?;
    let found = ask(t, &format!("?last={}", all[4]))?;
    ensure!(found == all[5..], "after {}: {found:?}, expected {:?}", all[4], &all[5..]);
    let found = t.get(&format!("tags/list?last={}", all[all.len() - 1]));
    ensure!(tags_of(&found)?.is_empty(), "{}", found.describe());
    Ok(())
}

fn last_unknown(t: &Trial<'_>) -> Result<()> {
    tagged(t, &["a", "c", "e"])?;
    for (after, expected) in
        [("b", vec!["c", "e"]), ("0", vec!["a", "c", "e"]), ("z", vec![]), ("d%2Fd", vec!["e"])]
    {
        let found = ask(t, &format!("?last={after}"))?;
        ensure!(found == expected, "after {after}: {found:?}, expected {expected:?}");
    }
    Ok(())
}

/// Follows `Link`s from `first` until there is none.
fn pages(t: &Trial<'_>, first: &str, field: &str) -> Result<Vec<Vec<String>>> {
    let (mut next, mut pages) = (Some(first.to_owned()), Vec::new());
    while let Some(location) = next {
        let found = t.send(&t.request("GET", &location));
        pages.push(strings(&found.is(200)?.json()?[field]).with_context(|| found.describe())?);
        next = found.next_page()?;
        ensure!(pages.len() < 10_000, "there is always a next page: {location}");
    }
    Ok(pages)
}

fn link(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let all = ask(t, "")?;
    let found = t.get("tags/list?n=5");
    if found.is(200)?.next_page()?.is_some() {
        let pages = pages(t, &format!("/v2/{}/tags/list?n=5", t.repository), "tags")?;
        ensure!(pages.concat() == all, "{pages:?} are not the pages of {all:?}");
    }
    Ok(())
}

fn link_offered(t: &Trial<'_>) -> Result<()> {
    tagged(t, MANY)?;
    let pages = pages(t, &format!("/v2/{}/tags/list?n=5", t.repository), "tags")?;
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    ensure!(sizes == [5, 5, 2], "pages of {sizes:?}");
    for query in ["?n=12", "?n=100", ""] {
        let found = t.get(&format!("tags/list{query}"));
        ensure!(found.header("Link").is_none(), "{} with a Link", found.describe());
    }
    Ok(())
}

fn catalog(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    t.push(&t.other(), "1", &Document::image(t, &t.other())?)?;
    let whole = pages(t, "/v2/_catalog", "repositories")?.concat();
    for repository in [&t.repository, &t.other()] {
        // A server of several registries may say which one it is of.
        let named = |name: &&String| name == &repository || name.ends_with(&format!("/{repository}"));
        let count = whole.iter().filter(named).count();
        ensure!(count == 1, "{repository} is there {count} times");
    }
    ensure!(whole.is_sorted(), "the repositories are in no order: {whole:?}");
    // Few pages: some registries walk through all they have for each.
    let size = whole.len() / 3 + 1;
    let paged = pages(t, &format!("/v2/_catalog?n={size}"), "repositories")?;
    ensure!(
        paged.iter().all(|page| page.len() <= size) && paged.concat() == whole,
        "{paged:?} are not the pages"
    );
    Ok(())
}

fn catalog_n(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    for number in ["0", "-1", "x", "", "9223372036854775807", "18446744073709551616", &"9".repeat(60)] {
        let found = t.send(&t.request("GET", &format!("/v2/_catalog?n={number}")));
        if found.is_one_of(&[200, 400])?.status() == 200 {
            strings(&found.json()?["repositories"]).with_context(|| found.describe())?;
        }
    }
    Ok(())
}

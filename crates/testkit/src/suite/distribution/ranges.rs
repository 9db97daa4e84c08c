//! “A registry SHOULD support the `Range` request header in accordance with RFC 9110 (section 14)”, sentence by sentence.

use super::reply::Reply;
use super::trial::Trial;
use super::{Case, must, own, should};
use anyhow::{Result, ensure};
use larder_core::Digest;

pub(super) const CASES: &[Case] = &[
    should("ranges/first-and-last", PULLING, SUPPORT, first_and_last),
    should("ranges/open", PULLING, SUPPORT, open),
    should("ranges/suffix", PULLING, SUPPORT, suffix),
    must(
        "ranges/past-the-end",
        "RFC 9110 §14.1.2",
        "If a valid byte-range-set has a last-pos absent or not less than the current length, it is taken to be one less than the current length.",
        past_the_end,
    ),
    must(
        "ranges/content-range",
        "RFC 9110 §15.3.7.1",
        "If a single part is being transferred, the server generating the 206 response MUST generate a Content-Range header field.",
        content_range,
    ),
    should(
        "ranges/unsatisfiable",
        "RFC 9110 §14.2, §15.5.17",
        "If the set of ranges is unsatisfiable, the server SHOULD send a 416 (Range Not Satisfiable) response … SHOULD generate a Content-Range header field specifying the current length.",
        unsatisfiable,
    ),
    own(
        "ranges/invalid",
        "RFC 9110 §14.2",
        "A range whose last-pos is less than its first-pos is rejected with 416 (the RFC allows to ignore it, too).",
        invalid,
    ),
    own(
        "ranges/numbers-without-end",
        "RFC 9110 §14.1",
        "Positions of any number of digits are answered.",
        endless_numbers,
    ),
    must(
        "ranges/unknown-unit",
        "RFC 9110 §14.2",
        "An origin server MUST ignore a Range header field that contains a range unit it does not understand.",
        unknown_unit,
    ),
    own(
        "ranges/several",
        "RFC 9110 §14.2, §15.3.7.2",
        "Several ranges are answered with the whole, or with parts that say what they are.",
        several,
    ),
    must(
        "ranges/get-only",
        "RFC 9110 §14.2",
        "A server MUST ignore a Range header field received with a request method that is unrecognized or for which range handling is not defined. For this specification, GET is the only method …",
        get_only,
    ),
    must(
        "ranges/if-range-holds",
        "RFC 9110 §13.1.5",
        "When the If-Range condition is true, the recipient SHOULD process the Range header field as requested.",
        if_range_holds,
    ),
    must(
        "ranges/if-range-fails",
        "RFC 9110 §13.1.5",
        "A recipient of an If-Range header field MUST ignore the Range header field if the If-Range condition evaluates to false.",
        if_range_fails,
    ),
    must(
        "ranges/headers",
        "RFC 9110 §15.3.7",
        "A server that generates a 206 MUST generate … ETag, Cache-Control, Expires, Vary … if it would have been sent in a 200 (OK) response to the same request.",
        headers,
    ),
    own("ranges/offered", "RFC 9110 §14.3", "Blobs say `Accept-Ranges: bytes`.", offered),
    own(
        "ranges/manifests",
        "RFC 9110 §14.2",
        "A range of a manifest is answered with it, or with the whole.",
        manifests,
    ),
];

const PULLING: &str = "Pulling blobs";
const SUPPORT: &str =
    "A registry SHOULD support the `Range` request header in accordance with RFC 9110 (section 14).";

const SIZE: usize = 100_000;

struct Blob {
    path: String,
    content: Vec<u8>,
}

fn blob(t: &Trial<'_>) -> Result<Blob> {
    let (digest, content) = t.new_blob(SIZE)?;
    Ok(Blob { path: format!("blobs/{digest}"), content })
}

fn ask(t: &Trial<'_>, blob: &Blob, range: &str) -> Reply {
    t.send(&t.here("GET", &blob.path).header("Range", range))
}

/// Insists that `range` gives the bytes from `first` to `last`, inclusive.
fn gives(t: &Trial<'_>, blob: &Blob, range: &str, first: usize, last: usize) -> Result<()> {
    let found = ask(t, blob, range);
    found.is(206)?.holds(&blob.content[first..=last])?.says("Content-Length", last - first + 1)?;
    Ok(())
}

fn first_and_last(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    gives(t, &blob, "bytes=0-0", 0, 0)?;
    gives(t, &blob, "bytes=500-1499", 500, 1499)?;
    gives(t, &blob, "bytes=0-99999", 0, SIZE - 1)?;
    gives(t, &blob, "bytes=99999-99999", SIZE - 1, SIZE - 1)
}

fn open(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    gives(t, &blob, "bytes=500-", 500, SIZE - 1)?;
    gives(t, &blob, "bytes=0-", 0, SIZE - 1)?;
    gives(t, &blob, "bytes=99999-", SIZE - 1, SIZE - 1)
}

fn suffix(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    gives(t, &blob, "bytes=-500", SIZE - 500, SIZE - 1)?;
    gives(t, &blob, "bytes=-1", SIZE - 1, SIZE - 1)?;
    // RFC 9110 §14.1.2: a suffix longer than the representation is all of it.
    gives(t, &blob, "bytes=-200000", 0, SIZE - 1)
}

fn past_the_end(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    gives(t, &blob, "bytes=99000-200000", 99_000, SIZE - 1)?;
    gives(t, &blob, "bytes=0-18446744073709551615", 0, SIZE - 1)
}

fn content_range(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    for (range, expected) in [
        ("bytes=500-1499", "500-1499"),
        ("bytes=500-", "500-99999"),
        ("bytes=-500", "99500-99999"),
        ("bytes=99000-200000", "99000-99999"),
    ] {
        let found = ask(t, &blob, range);
        found.is(206)?.says("Content-Range", format!("bytes {expected}/{SIZE}"))?;
    }
    Ok(())
}

fn unsatisfiable(t: &Trial<'_>) -> Result<()> {
    let whole = blob(t)?;
    for range in ["bytes=100000-", "bytes=100000-100001", "bytes=5000000-10000000", "bytes=-0"] {
        ask(t, &whole, range).is(416)?.says("Content-Range", format!("bytes */{SIZE}"))?;
    }
    let empty = Blob { path: format!("blobs/{}", t.push_blob(&t.repository, b"")?), content: Vec::new() };
    ask(t, &empty, "bytes=0-").is(416)?;
    ask(t, &empty, "bytes=0-0").is(416)?;
    Ok(())
}

fn invalid(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    ask(t, &blob, "bytes=500-0").is(416)?;
    for range in
        ["bytes=", "bytes=-", "bytes=a-b", "bytes=1--2", "bytes=0x1-2", "bytes", "=1-2", "bytes=1-2-3"]
    {
        let found = ask(t, &blob, range);
        found.is_one_of(&[200, 400, 416])?;
        if found.status() == 200 {
            found.holds(&blob.content)?;
        }
    }
    Ok(())
}

fn endless_numbers(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    let endless = "9".repeat(40);
    for range in [format!("bytes={endless}-"), format!("bytes=0-{endless}"), format!("bytes=-{endless}")] {
        let found = ask(t, &blob, &range);
        match found.is_one_of(&[200, 206, 400, 416])?.status() {
            200 | 206 => found.holds(&blob.content)?,
            _ => &found,
        };
    }
    Ok(())
}

fn unknown_unit(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    for range in ["lines=1-2", "items=0-0", "bits=-5"] {
        ask(t, &blob, range).is(200)?.holds(&blob.content)?;
    }
    Ok(())
}

fn several(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    for range in ["bytes=0-9,100-199", "bytes=5-9, 0-4", "bytes=0-0,-1", "bytes=10-20,200000-"] {
        let found = ask(t, &blob, range);
        match found.is_one_of(&[200, 206])?.status() {
            200 => drop(found.holds(&blob.content)?),
            _ => parts_or_one(&found, &blob)?,
        }
    }
    // Sets that cost much and give little (RFC 9110 §14.2, §17.15) are not multiplied.
    let many: Vec<String> = (0..1000).map(|_| "0-".to_owned()).collect();
    let found = ask(t, &blob, &format!("bytes={}", many.join(",")));
    found.is_one_of(&[200, 206, 400, 416, 431])?;
    ensure!(found.body().len() <= 2 * SIZE, "{} bytes for {SIZE}", found.body().len());
    Ok(())
}

/// A 206 is one part with a Content-Range, or `multipart/byteranges`.
fn parts_or_one(found: &Reply, blob: &Blob) -> Result<()> {
    if found.header("Content-Type").is_some_and(|kind| kind.starts_with("multipart/byteranges")) {
        ensure!(
            found.header("Content-Range").is_none(),
            "{} with parts and a Content-Range",
            found.describe()
        );
        return Ok(());
    }
    let range = found.has("Content-Range")?;
    let parse = || {
        let (first, last) = range.strip_prefix("bytes ")?.split_once('/')?.0.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    };
    let Some((first, last)) = parse().filter(|(first, last)| first <= last && *last < SIZE) else {
        anyhow::bail!("{} with Content-Range: {range}", found.describe())
    };
    found.holds(&blob.content[first..=last])?;
    Ok(())
}

fn get_only(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    let head = t.send(&t.here("HEAD", &blob.path).header("Range", "bytes=0-9"));
    head.is(200)?.says("Content-Length", SIZE)?;
    Ok(())
}

fn if_range_holds(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    let whole = t.head(&blob.path);
    let Some(tag) = whole.is(200)?.header("ETag").filter(|tag| !tag.starts_with("W/")) else { return Ok(()) };
    let found = t.send(&t.here("GET", &blob.path).header("Range", "bytes=10-19").header("If-Range", tag));
    found.is(206)?.holds(&blob.content[10..20])?;
    Ok(())
}

fn if_range_fails(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    let weak = t.head(&blob.path).header("ETag").map(|tag| format!("W/{tag}"));
    for tag in ["\"another\"", "W/\"weak\"", "Thu, 01 Jan 1970 00:00:00 GMT"]
        .map(str::to_owned)
        .into_iter()
        .chain(weak)
    {
        let found =
            t.send(&t.here("GET", &blob.path).header("Range", "bytes=10-19").header("If-Range", &tag));
        found.is(200)?.holds(&blob.content)?;
    }
    Ok(())
}

fn headers(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    let (whole, part) = (t.get(&blob.path), ask(t, &blob, "bytes=1-2"));
    part.is(206)?;
    for name in ["ETag", "Cache-Control", "Expires", "Vary", "Content-Location", "Docker-Content-Digest"] {
        let (of_whole, of_part) = (whole.header(name), part.header(name));
        ensure!(of_whole == of_part, "{name} is {of_whole:?} with 200 and {of_part:?} with 206");
    }
    Ok(())
}

fn offered(t: &Trial<'_>) -> Result<()> {
    let blob = blob(t)?;
    t.head(&blob.path).is(200)?.says("Accept-Ranges", "bytes")?;
    Ok(())
}

fn manifests(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    let found = t.send(&t.here("GET", "manifests/1").header("Range", "bytes=2-9"));
    match found.is_one_of(&[200, 206])?.status() {
        200 => found.holds(&image.bytes)?,
        _ => found.holds(&image.bytes[2..10])?,
    };
    let whole = t.get("manifests/1");
    ensure!(Digest::of(whole.body()) == image.digest(), "the manifest changed");
    Ok(())
}

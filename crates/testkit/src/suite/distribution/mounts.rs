//! “Mounting a blob from another repository”.

use super::reply::Reply;
use super::trial::{Trial, closing, sha512};
use super::{Case, must, own, should};
use anyhow::Result;
use larder_core::Digest;
use std::fmt::Display;

pub(super) const CASES: &[Case] = &[
    must(
        "mounts/found",
        SECTION,
        "The response to a successful mount MUST be `201 Created`, and MUST contain the following header: `Location: <blob-location>`.",
        found,
    ),
    must(
        "mounts/digest-header",
        SECTION,
        "The Docker-Content-Digest header returns the digest of the uploaded blob.",
        digest_header,
    ),
    should(
        "mounts/not-found",
        SECTION,
        "If a registry … is unable to mount the requested blob, it SHOULD return a `202`. This indicates that the upload session has begun.",
        not_found,
    ),
    should(
        "mounts/from-nowhere",
        SECTION,
        "If a registry … is unable to mount the requested blob, it SHOULD return a `202` (the repository is unknown).",
        from_nowhere,
    ),
    own(
        "mounts/wherever-it-is",
        SECTION,
        "“The registry MAY treat the `from` parameter as optional, and it MAY cross-mount the blob if it can be found”; we do, among what the caller may read.",
        wherever_it_is,
    ),
    should(
        "mounts/nowhere",
        SECTION,
        "If a registry … is unable to mount the requested blob, it SHOULD return a `202` (without `from`).",
        nowhere,
    ),
    own(
        "mounts/what-is-here",
        SECTION,
        "A blob may be mounted from the repository it is mounted into.",
        what_is_here,
    ),
    own(
        "mounts/sha512",
        SECTION,
        "A blob that was pushed under a SHA-512 digest is mounted under it.",
        by_sha512,
    ),
    own(
        "mounts/malformed",
        SECTION,
        "A digest or repository that is none is refused, or an upload begins.",
        malformed,
    ),
    own("mounts/stays", SECTION, "A mounted blob is here, whatever happens to it there.", stays),
];

const SECTION: &str = "Mounting a blob from another repository";

fn mount(t: &Trial<'_>, digest: impl Display, from: Option<&str>) -> Reply {
    let from = from.map(|from| format!("&from={}", from.replace('/', "%2F"))).unwrap_or_default();
    t.send(&t.here("POST", &format!("blobs/uploads/?mount={digest}{from}")))
}

/// A 202 is an upload like any other.
fn goes_on(t: &Trial<'_>, reply: &Reply, content: &[u8]) -> Result<()> {
    let location = t.location(reply.is(202)?)?;
    let put = t.send(&t.request("PUT", &closing(&location, Digest::of(content))).body(content));
    t.leads_to(put.is(201)?, content)
}

fn found(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(5000);
    let digest = t.push_blob(&t.other(), &content)?;
    t.head(&format!("blobs/{digest}")).is(404)?;
    let mounted = mount(t, digest, Some(&t.other()));
    t.leads_to(mounted.is(201)?, &content)?;
    t.get(&format!("blobs/{digest}")).is(200)?.holds(&content)?;
    Ok(())
}

fn digest_header(t: &Trial<'_>) -> Result<()> {
    let digest = t.push_blob(&t.other(), &t.bytes(50))?;
    mount(t, digest, Some(&t.other())).is(201)?.says("Docker-Content-Digest", digest)?;
    Ok(())
}

fn not_found(t: &Trial<'_>) -> Result<()> {
    t.push_blob(&t.other(), b"something else")?;
    let content = t.bytes(50);
    goes_on(t, &mount(t, Digest::of(&content), Some(&t.other())), &content)
}

fn from_nowhere(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(50);
    goes_on(t, &mount(t, Digest::of(&content), Some(&format!("{}-none", t.repository))), &content)
}

fn wherever_it_is(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(500);
    let digest = t.push_blob(&t.other(), &content)?;
    t.leads_to(mount(t, digest, None).is(201)?, &content)
}

fn nowhere(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(50);
    goes_on(t, &mount(t, Digest::of(&content), None), &content)
}

fn what_is_here(t: &Trial<'_>) -> Result<()> {
    let (digest, content) = t.new_blob(50)?;
    let mounted = mount(t, digest, Some(&t.repository));
    t.leads_to(mounted.is(201)?, &content)
}

fn by_sha512(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(500);
    let digest = sha512(&content);
    t.push_blob_as(&t.other(), &content, &digest)?;
    let mounted = mount(t, digest, Some(&t.other()));
    mounted.is(201)?.says("Docker-Content-Digest", digest)?;
    t.leads_to(&mounted, &content)
}

fn malformed(t: &Trial<'_>) -> Result<()> {
    let digest = t.push_blob(&t.other(), &t.bytes(50))?;
    for wrong in ["nonsense", "sha256:short", "", "md5:9dd4e461268c8034f5c8564e155c67a6"] {
        mount(t, wrong, Some(&t.other())).refused(&[400, 202], &["DIGEST_INVALID", "UNSUPPORTED"])?;
    }
    for from in ["UPPER", "../x", "a//b"] {
        mount(t, digest, Some(from)).refused(&[400, 202, 404], &["NAME_INVALID", "NAME_UNKNOWN"])?;
    }
    Ok(())
}

fn stays(t: &Trial<'_>) -> Result<()> {
    let (other, content) = (t.other(), t.bytes(500));
    let digest = t.push_blob(&other, &content)?;
    mount(t, digest, Some(&other)).is(201)?;
    let rest = format!("blobs/{digest}");
    t.send(&t.within("DELETE", &other, &rest)).is(202)?;
    t.send(&t.within("GET", &other, &rest)).is(404)?;
    t.get(&rest).is(200)?.holds(&content)?;
    Ok(())
}

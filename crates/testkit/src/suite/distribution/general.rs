//! “Determining Support”, “Error Codes”, “Warnings”, and what HTTP asks of everybody. Runs last: some cases judge every answer
//! of the run.

use super::reply::Reply;
use super::trial::Trial;
use super::{Case, must, own, should};
use anyhow::{Context as _, Result, ensure};
use larder_core::Digest;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    must(
        "api/support",
        SUPPORT,
        "If the response is `200 OK`, then the registry implements this specification.",
        support,
    ),
    own("api/head", SUPPORT, "HEAD says the same.", head),
    own(
        "api/docker-header",
        "Legacy Docker support HTTP headers",
        "Clients may look for `Docker-Distribution-API-Version: registry/2.0`; it is there.",
        docker_header,
    ),
    own(
        "api/unknown-endpoint",
        "Endpoints",
        "What is not an endpoint is 404 (or 400), and not an accident.",
        unknown_endpoint,
    ),
    must(
        "api/method-not-allowed",
        "RFC 9110 §15.5.6",
        "The origin server MUST generate an Allow header field in a 405 response containing a list of the target resource's currently supported methods.",
        method_not_allowed,
    ),
    must(
        "api/head-has-no-body",
        "RFC 9110 §9.3.2",
        "The HEAD method is identical to GET except that the server MUST NOT send content in the response.",
        head_has_no_body,
    ),
    must(
        "api/expect-continue",
        "RFC 9110 §10.1.1",
        "Upon receiving an HTTP/1.1 request that has a method, target URI, and complete header section that contains a 100-continue expectation …, an origin server MUST send either: an immediate final status code …, or a 100 (Continue).",
        expect_continue,
    ),
    should(
        "api/namespace",
        "Registry Proxying",
        "A registry that uses the `ns` query parameter to scope the request SHOULD return the `ns` query parameter value in the `OCI-Namespace` header.",
        namespace,
    ),
    must(
        "errors/json-format",
        ERRORS,
        "If the response body is in JSON format, it MUST have the following format: `{ \"errors\": [ { \"code\", \"message\", \"detail\" }, … ] }`",
        |t| never(t, "errors/json-format"),
    ),
    must(
        "errors/code-letters",
        ERRORS,
        "The `code` field MUST be a unique identifier, containing only uppercase alphabetic characters and underscores.",
        |t| never(t, "errors/code-letters"),
    ),
    must("errors/known-codes", ERRORS, "The `code` field MUST be one of the following: …", |t| {
        never(t, "errors/known-codes")
    }),
    should(
        "errors/message",
        ERRORS,
        "The `message` field is OPTIONAL, and if present, it SHOULD be a human readable string or MAY be empty.",
        |t| never(t, "errors/message"),
    ),
    own(
        "errors/in-json",
        ERRORS,
        "“A `4XX` response code from the registry MAY return a body in any format”; ours is JSON.",
        in_json,
    ),
    should(
        "errors/retry-after",
        ERRORS,
        "A `429 Too Many Requests` response SHOULD include a `Retry-After` header.",
        |t| never(t, "errors/retry-after"),
    ),
    own(
        "errors/no-accidents",
        "RFC 9110 §15.6",
        "Nothing a client sends makes the server fail: no 5xx, no broken answer.",
        |t| never(t, "errors/no-accidents"),
    ),
    own("errors/no-insides", ERRORS, "No answer names a path of the server's file system.", |t| {
        never(t, "errors/no-insides")
    }),
    must(
        "warnings/form",
        "Warnings",
        "If included, `Warning` headers MUST specify a `warn-code` of `299` and a `warn-agent` of `-`, and MUST NOT specify a `warn-date` value.",
        |t| never(t, "warnings/form"),
    ),
    must(
        "warnings/size",
        "Warnings",
        "A registry MUST NOT send more than 4096 bytes of warning data from all headers combined.",
        |t| never(t, "warnings/size"),
    ),
    must(
        "api/content-length-and-chunks",
        "RFC 9112 §6.2",
        "A sender MUST NOT send a Content-Length header field in any message that contains a Transfer-Encoding header field.",
        |t| never(t, "api/content-length-and-chunks"),
    ),
];

const SUPPORT: &str = "Determining Support";
const ERRORS: &str = "Error Codes";

const CODES: &[&str] = &[
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// What is wrong with one answer, by the case that asks.
pub(super) fn judge(reply: &Reply) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let said = || reply.describe();
    let (status, response) = (reply.status(), &reply.response);
    if status >= 500 || status == 0 || response.end != crate::RawEnd::Complete {
        wrong.push(("errors/no-accidents", format!("{} ({:?})", said(), response.end)));
    }
    if status == 429 && response.header("Retry-After").is_none() {
        wrong.push(("errors/retry-after", said()));
    }
    if response.header("Content-Length").is_some() && response.header("Transfer-Encoding").is_some() {
        wrong.push(("api/content-length-and-chunks", said()));
    }
    let warnings: Vec<&str> = response.header_values("Warning").collect();
    // A warn-date would be a second quoted string after the first (RFC 7234 §5.5).
    let formed = |text: &&str| text.starts_with("299 - \"") && text.matches('"').count() == 2;
    if !warnings.iter().all(formed) {
        wrong.push(("warnings/form", format!("{} with Warning: {warnings:?}", said())));
    }
    if warnings.iter().map(|warning| warning.len()).sum::<usize>() > 4096 {
        wrong.push(("warnings/size", said()));
    }
    if (400..500).contains(&status) && !response.body.is_empty() {
        wrong.extend(judge_error(reply).into_iter().map(|rule| (rule, said())));
    }
    wrong
}

fn judge_error(reply: &Reply) -> Vec<&'static str> {
    let text = reply.response.text();
    let mut wrong = Vec::new();
    if ["/var/", "/tmp/", "/home/", "/root/", ".rs:", "panicked"].iter().any(|inside| text.contains(inside)) {
        wrong.push("errors/no-insides");
    }
    let Ok(body) = serde_json::from_slice::<Value>(reply.body()) else { return wrong };
    let Some(errors) = body["errors"].as_array().filter(|errors| !errors.is_empty()) else {
        wrong.push("errors/json-format");
        return wrong;
    };
    for error in errors {
        let Some(code) = error["code"].as_str() else {
            wrong.push("errors/json-format");
            continue;
        };
        if code.is_empty() || !code.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            wrong.push("errors/code-letters");
        }
        if !CODES.contains(&code) {
            wrong.push("errors/known-codes");
        }
        if error.get("message").is_some_and(|message| !message.is_string()) {
            wrong.push("errors/message");
        }
    }
    wrong
}

/// Nothing like it was seen in the whole run.
fn never(t: &Trial<'_>, rule: &'static str) -> Result<()> {
    let seen = t.observed(rule);
    let count = seen.len();
    match seen.first() {
        None => Ok(()),
        Some(first) => anyhow::bail!("{count} answers, the first: {first}"),
    }
}

fn support(t: &Trial<'_>) -> Result<()> {
    t.send(&t.request("GET", "/v2/")).is(200)?;
    Ok(())
}

fn head(t: &Trial<'_>) -> Result<()> {
    t.send(&t.request("HEAD", "/v2/")).is(200)?;
    Ok(())
}

fn docker_header(t: &Trial<'_>) -> Result<()> {
    t.send(&t.request("GET", "/v2/")).is(200)?.says("Docker-Distribution-API-Version", "registry/2.0")?;
    Ok(())
}

fn unknown_endpoint(t: &Trial<'_>) -> Result<()> {
    let repository = &t.repository;
    for path in [
        "/".to_owned(),
        "/v1/".to_owned(),
        "/v3/".to_owned(),
        format!("/v2/{repository}"),
        format!("/v2/{repository}/"),
        format!("/v2/{repository}/nonsense/1"),
        format!("/v2/{repository}/manifests/"),
        format!("/v2/{repository}/blobs/"),
        "/v2//manifests/1".to_owned(),
        "/v2/manifests/1".to_owned(),
        "/v2/../../etc/passwd".to_owned(),
        "/v2/%2e%2e/%2e%2e/etc/passwd".to_owned(),
        "/v2/%ff%fe/tags/list".to_owned(),
        "/v2/%".to_owned(),
    ] {
        t.send(&t.request("GET", &path)).is_one_of(if path == "/" {
            &[200, 301, 308, 404]
        } else {
            &[400, 404]
        })?;
    }
    Ok(())
}

fn method_not_allowed(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    let digest = Digest::of(b"x");
    for (method, rest) in [
        ("PATCH", "manifests/1".to_owned()),
        ("POST", "manifests/1".to_owned()),
        ("PUT", "tags/list".to_owned()),
        ("DELETE", "tags/list".to_owned()),
        ("PUT", format!("blobs/{digest}")),
        ("POST", format!("referrers/{digest}")),
        ("BREW", "manifests/1".to_owned()),
    ] {
        let found = t.send(&t.here(method, &rest).body("{}"));
        if found.refused(&[400, 404, 405, 501], &["UNSUPPORTED"])?.status() == 405 {
            found.has("Allow")?;
        }
    }
    Ok(())
}

/// A registry that ignores the parameter finds what it knows; one that does not is asked for something else.
fn namespace(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    for method in ["GET", "HEAD"] {
        let found = t.send(&t.here(method, "manifests/1?ns=registry.invalid"));
        if found.is_one_of(&[200, 401, 403, 404])?.status() != 200 {
            found.says("OCI-Namespace", "registry.invalid")?;
        }
    }
    Ok(())
}

fn in_json(t: &Trial<'_>) -> Result<()> {
    t.new_image("1")?;
    for rest in
        ["manifests/none".to_owned(), format!("blobs/{}", Digest::of(&t.bytes(9))), "referrers/x".to_owned()]
    {
        let found = t.get(&rest);
        let kind = found.has("Content-Type")?;
        ensure!(kind.starts_with("application/json"), "{} is {kind}", found.describe());
        let message = &found.json()?["errors"][0]["message"];
        ensure!(
            message.as_str().is_some_and(|message| !message.is_empty()),
            "{} says nothing",
            found.describe()
        );
    }
    Ok(())
}

/// Two requests on one connection: what comes after the head of the first is the second answer, and no body.
fn head_has_no_body(t: &Trial<'_>) -> Result<()> {
    let image = t.new_image("1")?;
    let (digest, _) = t.new_blob(100)?;
    for rest in [
        "manifests/1".to_owned(),
        format!("manifests/{}", image.digest()),
        format!("blobs/{digest}"),
        "manifests/none".into(),
    ] {
        let mut stream = connect(t)?;
        let head = raw_head(t, "HEAD", &format!("/v2/{}/{rest}", t.repository), "");
        let second = raw_head(t, "GET", "/v2/", "Connection: close\r\n");
        stream.write_all(format!("{head}{second}").as_bytes()).context("cannot write")?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).context("cannot read")?;
        let text = String::from_utf8_lossy(&all);
        let (_, after) = text.split_once("\r\n\r\n").with_context(|| format!("HEAD {rest} → {text:?}"))?;
        ensure!(after.starts_with("HTTP/1.1 200"), "after HEAD {rest} came {after:?}");
    }
    Ok(())
}

fn expect_continue(t: &Trial<'_>) -> Result<()> {
    let content = t.bytes(2000);
    let location = super::trial::closing(&t.begin(&t.repository)?, Digest::of(&content));
    let path = location.split_once("://").map_or(location.as_str(), |(_, rest)| rest);
    let path = &path[path.find('/').context("a path")?..];
    let mut stream = connect(t)?;
    let extra = "Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2000\r\n";
    stream.write_all(raw_head(t, "PUT", path, extra).as_bytes()).context("cannot write")?;
    let mut first = [0; 12];
    stream.read_exact(&mut first).context("no word before the body")?;
    ensure!(&first == b"HTTP/1.1 100", "the first word is {:?}", String::from_utf8_lossy(&first));
    stream.write_all(&content).context("cannot write")?;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).context("cannot read")?;
    ensure!(rest.contains("HTTP/1.1 201"), "after the body came {rest:?}");
    Ok(())
}

fn connect(t: &Trial<'_>) -> Result<TcpStream> {
    let stream = TcpStream::connect(t.address()).context("cannot connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).context("no timeout")?;
    Ok(stream)
}

fn raw_head(t: &Trial<'_>, method: &str, path: &str, extra: &str) -> String {
    let authorization =
        t.authorization().map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}{extra}\r\n", t.address())
}

//! The pull side, deletes and manifests of the distribution-spec 1.1, without faults.

use super::access::Need;
use super::content::digest_as;
use super::http::{Head, Wire};
use super::reply::Reply;
use super::server::State;
use bytes::Bytes;
use larder_core::{Digest, MediaType};
use serde_json::json;
use std::io;

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Base,
    Catalog,
    Token,
    Storage(String),
    /// A file that has nothing to do with registries.
    File(String),
    Tags(String),
    Manifest(String, String),
    Blob(String, String),
    Referrers(String, String),
    Uploads(String),
    Upload(String, String),
    Unknown,
}

impl Target {
    pub(crate) fn of(path: &str) -> Self {
        if path == "/token" {
            return Self::Token;
        }
        if let Some(digest) = path.strip_prefix("/storage/") {
            return Self::Storage(digest.into());
        }
        if path.starts_with("/files/") {
            return Self::File(path.into());
        }
        let Some(rest) = path.strip_prefix("/v2") else { return Self::Unknown };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        if rest.is_empty() {
            return Self::Base;
        }
        if rest == "_catalog" {
            return Self::Catalog;
        }
        let split =
            |word: &str| rest.rsplit_once(word).map(|(name, last)| (name.to_owned(), last.to_owned()));
        if let Some((name, id)) = split("/blobs/uploads") {
            return match id.trim_start_matches('/') {
                "" => Self::Uploads(name),
                id => Self::Upload(name, id.into()),
            };
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Self::Tags(name.into());
        }
        let pair = |(name, last): (String, String), make: fn(String, String) -> Self| {
            if name.is_empty() || last.is_empty() || last.contains('/') {
                Self::Unknown
            } else {
                make(name, last)
            }
        };
        if let Some(found) = split("/manifests/") {
            return pair(found, Self::Manifest);
        }
        if let Some(found) = split("/blobs/") {
            return pair(found, Self::Blob);
        }
        split("/referrers/").map_or(Self::Unknown, |found| pair(found, Self::Referrers))
    }

    /// What a client must be allowed to do; `None` where nobody asks.
    pub(crate) fn needs(&self, method: &str) -> Option<Vec<Need<'_>>> {
        let repository = match self {
            Self::Token | Self::Storage(_) | Self::File(_) | Self::Unknown => return None,
            Self::Base | Self::Catalog => "",
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Referrers(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _) => name,
        };
        let need = |action| Need { repository, action };
        Some(match (repository, method) {
            ("", _) => vec![need("")],
            (_, "DELETE") if !matches!(self, Self::Upload(..)) => vec![need("delete")],
            (_, "GET" | "HEAD") if !matches!(self, Self::Upload(..)) => vec![need("pull")],
            _ => vec![need("pull"), need("push")],
        })
    }
}

/// Answers what needs no request body.
pub(crate) fn read(state: &mut State, target: &Target, head: &Head) -> Reply {
    let method = if head.method == "HEAD" { "GET" } else { head.method.as_str() };
    let wrong = || Reply::error(405, "UNSUPPORTED", "the operation is unsupported");
    match (target, method) {
        (Target::Base, "GET") => Reply::new(200).body("application/json", "{}"),
        (Target::Catalog, "GET") => {
            let names: Vec<&String> = state.content.repositories.keys().collect();
            let (page, link) = page(&names, head, "/v2/_catalog");
            listed(&json!({ "repositories": page }), link)
        }
        (Target::Tags(name), "GET") => match state.content.repositories.get(name) {
            None => Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            Some(repository) => {
                let tags: Vec<&String> = repository.tags.keys().collect();
                let (page, link) = page(&tags, head, &head.path);
                listed(&json!({ "name": name, "tags": page }), link)
            }
        },
        (Target::Manifest(name, selector), "GET") => match state.content.manifest(name, selector) {
            None => Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            Some((digest, media_type, raw)) => Reply::new(200)
                .body(media_type.as_str(), raw)
                .with("Docker-Content-Digest", digest.to_string())
                .with("ETag", format!("\"{digest}\"")),
        },
        (Target::Manifest(name, selector), "DELETE") => delete_manifest(state, name, selector),
        (Target::Blob(name, digest), _) => {
            let Ok(digest) = digest.parse::<Digest>() else {
                return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
            };
            let blob = state.content.blob(name, &digest);
            match (blob, method) {
                (None, _) => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
                (Some(bytes), "GET") => ranged(head, &bytes)
                    .with("Docker-Content-Digest", digest.to_string())
                    .with("ETag", format!("\"{digest}\"")),
                (Some(_), "DELETE") => {
                    state.content.repository(name).blobs.remove(&digest);
                    Reply::new(202)
                }
                _ => wrong(),
            }
        }
        (Target::Referrers(name, subject), "GET") => referrers(state, name, subject, head),
        (Target::Storage(digest), "GET") => storage(state, digest, head),
        (Target::File(path), "GET") => match state.content.files.get(path) {
            Some(bytes) => file(head, bytes),
            None => Reply::new(404).body("text/plain; charset=utf-8", "Not Found"),
        },
        (Target::Unknown, _) => Reply::error(404, "NAME_UNKNOWN", "there is nothing here"),
        _ => wrong(),
    }
}

/// PUT of a manifest.
pub(crate) fn put_manifest(state: &mut State, head: &Head, name: &str, selector: &str, raw: Bytes) -> Reply {
    let invalid = |message: &str| Reply::error(400, "MANIFEST_INVALID", message);
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(&raw) else {
        return invalid("it is not JSON");
    };
    let by_digest: Option<Digest> = selector.parse().ok();
    let digest = match by_digest {
        Some(asked) => digest_as(asked.algorithm(), &raw),
        None => Digest::of(&raw),
    };
    if by_digest.is_some_and(|asked| asked != digest) {
        return Reply::error(400, "DIGEST_INVALID", "the manifest has another digest than the path");
    }
    if by_digest.is_none() && larder_core::Tag::new(selector).is_err() {
        return Reply::error(400, "TAG_INVALID", "the tag is malformed");
    }
    let declared = MediaType::new(head.header("content-type").unwrap_or_default());
    if document["mediaType"].as_str().is_some_and(|inner| inner != declared.as_str()) {
        return invalid("mediaType and Content-Type differ");
    }
    if state.check_references {
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        let config = document.get("config").cloned();
        for child in layers.iter().chain(&config) {
            let known = child["digest"].as_str().and_then(|digest| digest.parse().ok());
            if known.and_then(|digest: Digest| state.content.blob(name, &digest)).is_none() {
                let message = format!("unknown blob {}", child["digest"]);
                return Reply::error(400, "MANIFEST_BLOB_UNKNOWN", &message);
            }
        }
    }
    let repository = state.content.repository(name);
    repository.manifests.insert(digest, (declared, raw));
    if by_digest.is_none() {
        repository.tags.insert(selector.to_owned(), digest);
    }
    let mut reply = Reply::new(201)
        .with("Docker-Content-Digest", digest.to_string())
        .with("Location", format!("/v2/{name}/manifests/{digest}"));
    if let Some(subject) = document["subject"]["digest"].as_str().filter(|_| state.referrers_api) {
        reply.set("OCI-Subject", subject);
    }
    reply
}

/// The body of a manifest PUT; `None` where it is over the limit.
pub(crate) async fn manifest_body(wire: &mut Wire) -> io::Result<Option<Bytes>> {
    match wire.whole_body(larder_core::MANIFEST_LIMIT as usize).await {
        Ok(raw) => Ok(Some(raw)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
        Err(error) => Err(error),
    }
}

fn delete_manifest(state: &mut State, name: &str, selector: &str) -> Reply {
    let unknown = || Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
    let Some(repository) = state.content.repositories.get_mut(name) else { return unknown() };
    let gone = match selector.parse::<Digest>() {
        Ok(digest) => {
            repository.tags.retain(|_, tagged| *tagged != digest);
            repository.manifests.remove(&digest).is_some()
        }
        Err(_) => repository.tags.remove(selector).is_some(),
    };
    if gone { Reply::new(202) } else { unknown() }
}

fn referrers(state: &State, name: &str, subject: &str, head: &Head) -> Reply {
    if !state.referrers_api {
        return Reply::new(404).body("text/plain; charset=utf-8", "404 page not found\n");
    }
    let Ok(subject) = subject.parse::<Digest>() else {
        return Reply::error(400, "DIGEST_INVALID", "malformed digest");
    };
    let mut manifests = state.content.referrers(name, &subject);
    let wanted = head.parameter("artifactType");
    if let Some(wanted) = &wanted {
        manifests.retain(|descriptor| descriptor.artifact_type.as_ref() == Some(wanted));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
    let reply = Reply::new(200).body(MediaType::OCI_INDEX.as_str(), index.to_string());
    if wanted.is_some() { reply.with("OCI-Filters-Applied", "artifactType") } else { reply }
}

fn storage(state: &mut State, digest: &str, head: &Head) -> Reply {
    let digest = digest.parse::<Digest>().ok();
    let key = head.parameter("key").unwrap_or_default();
    let uses = state.signed.get_mut(&key).filter(|(signed, uses)| Some(*signed) == digest && *uses > 0);
    let bytes = digest.and_then(|digest| state.content.bytes.get(&digest));
    match (uses, bytes) {
        (Some((_, uses)), Some(bytes)) => {
            *uses -= u32::from(*uses != u32::MAX);
            ranged(head, bytes)
        }
        // As S3 words it.
        _ => Reply::new(403).body(
            "application/xml",
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        ),
    }
}

/// A part only of the version that the client has the rest of (RFC 9110 §13.1.5).
fn file(head: &Head, bytes: &Bytes) -> Reply {
    let tag = format!("\"{}\"", Digest::of(bytes));
    let same = head.header("if-range").is_none_or(|wanted| wanted == tag);
    let whole = Head { headers: Vec::new(), ..head.clone() };
    ranged(if same { head } else { &whole }, bytes).with("ETag", tag)
}

/// 200, 206 or 416 (RFC 9110 §14); several ranges at once are answered with everything.
fn ranged(head: &Head, bytes: &Bytes) -> Reply {
    const TYPE: &str = "application/octet-stream";
    let len = bytes.len() as u64;
    let all = || Reply::new(200).body(TYPE, bytes.clone()).with("Accept-Ranges", "bytes");
    let Some((first, last)) =
        head.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
    else {
        return all();
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(start), Ok(end)) => (start, end.saturating_add(1).min(len)),
        (Ok(start), Err(_)) if last.is_empty() => (start, len),
        (Err(_), Ok(suffix)) if first.is_empty() => (len.saturating_sub(suffix), len),
        _ => return all(),
    };
    if start >= end {
        return Reply::error(416, "RANGE_INVALID", "invalid content range")
            .with("Content-Range", format!("bytes */{len}"));
    }
    Reply::new(206)
        .body(TYPE, bytes.slice(start as usize..end as usize))
        .with("Accept-Ranges", "bytes")
        .with("Content-Range", format!("bytes {start}-{}/{len}", end - 1))
}

/// The names after `last`, at most `n`, and the link to the next page.
fn page(names: &[&String], head: &Head, path: &str) -> (Vec<String>, Option<String>) {
    let last = head.parameter("last").unwrap_or_default();
    let n = head.parameter("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let after: Vec<String> =
        names.iter().filter(|name| name.as_str() > last.as_str()).map(ToString::to_string).collect();
    let page: Vec<String> = after.iter().take(n).cloned().collect();
    let link = page
        .last()
        .filter(|_| page.len() < after.len())
        .map(|last| format!("<{path}?n={n}&last={last}>; rel=\"next\""));
    (page, link)
}

fn listed(body: &serde_json::Value, link: Option<String>) -> Reply {
    let reply = Reply::new(200).body("application/json", body.to_string());
    match link {
        Some(link) => reply.with("Link", link),
        None => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_tricky_names() {
        let blob = |name: &str, last: &str| Target::Blob(name.into(), last.into());
        assert_eq!(Target::of("/v2/"), Target::Base);
        assert_eq!(Target::of("/v2/a/blobs/b/blobs/sha256:1"), blob("a/blobs/b", "sha256:1"));
        assert_eq!(Target::of("/v2/a/blobs/uploads/"), Target::Uploads("a".into()));
        assert_eq!(Target::of("/v2/a/b/blobs/uploads/x"), Target::Upload("a/b".into(), "x".into()));
        assert_eq!(Target::of("/v2/a/tags/list"), Target::Tags("a".into()));
        assert_eq!(Target::of("/v2/a/manifests/a/b"), Target::Unknown);
        assert_eq!(Target::of("/"), Target::Unknown);
    }

    #[test]
    fn ranges() {
        let bytes = Bytes::from_static(b"0123456789");
        let get = |range: &str| {
            let headers = vec![("Range".to_owned(), range.to_owned())];
            let head = Head { method: "GET".into(), path: String::new(), query: String::new(), headers };
            let reply = ranged(&head, &bytes);
            (reply.status, reply.header("content-range").map(str::to_owned), reply.body.piece(0, 100))
        };
        assert_eq!(get("bytes=2-4"), (206, Some("bytes 2-4/10".into()), Bytes::from_static(b"234")));
        assert_eq!(get("bytes=7-").2, Bytes::from_static(b"789"));
        assert_eq!(get("bytes=7-99").1.as_deref(), Some("bytes 7-9/10"));
        assert_eq!(get("bytes=-3").2, Bytes::from_static(b"789"));
        assert_eq!(get("bytes=10-").0, 416);
        assert_eq!(get("bytes=1-2,4-5").0, 200);
        assert_eq!(get("items=1-2").0, 200);
    }
}

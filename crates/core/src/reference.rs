//! Image references: `[registry/]repository[:tag][@digest]`.
//!
//! The grammar is the one of `distribution/reference`, with Docker's defaults: no registry means `docker.io`, one path
//! component on `docker.io` means `library/`, no tag and no digest means `latest`.

use crate::{Digest, Error};
use std::fmt;
use std::str::FromStr;

/// A registry: a host name or address, with a port where it is not the default one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registry(String);

/// The path of an image inside a registry, for example `library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository(String);

/// A tag: a movable name inside a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// A complete name of an image. At least one of tag and digest is present.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: Registry,
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

/// A repository together with its registry: `docker.io/library/nginx`. What tags and digests are looked up in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName {
    registry: Registry,
    repository: Repository,
}

impl Registry {
    /// Docker's registry, the default.
    pub const DOCKER_HUB: &'static str = "docker.io";

    /// Parses `host[:port]`; IPv6 addresses stand in brackets.
    pub fn new(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::Reference { input: shorten(text), reason };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) =
                    rest.split_once(']').ok_or_else(|| invalid("unclosed bracket in the registry"))?;
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(invalid("the registry is not an IPv6 address"));
                }
                (None, rest.strip_prefix(':').or(if rest.is_empty() { None } else { Some("") }))
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Some(host), Some(port)),
                None => (Some(text), None),
            },
        };
        if let Some(host) = host {
            let label = |l: &str| {
                !l.is_empty()
                    && l.len() <= 63
                    && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    && !l.starts_with('-')
                    && !l.ends_with('-')
            };
            if host.len() > 253 || !host.split('.').all(label) {
                return Err(invalid("the registry is not a host name"));
            }
        }
        if port.is_some_and(|port| {
            port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err()
        }) {
            return Err(invalid("the port of the registry is not a number below 65536"));
        }
        let lower = text.to_ascii_lowercase();
        Ok(Self(if lower == "index.docker.io" || lower == "registry-1.docker.io" {
            Self::DOCKER_HUB.into()
        } else {
            lower
        }))
    }

    /// `host[:port]` as written in a reference.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without port and brackets.
    pub fn host(&self) -> &str {
        match self.0.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.0.split(':').next().unwrap_or_default(),
        }
    }

    /// The port, where one is written.
    pub fn port(&self) -> Option<u16> {
        let after = self.0.rsplit_once(']').map_or(self.0.as_str(), |(_, rest)| rest);
        after.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// Where the protocol is really spoken: `registry-1.docker.io` for `docker.io`, itself otherwise.
    pub fn endpoint(&self) -> &str {
        if self.0 == Self::DOCKER_HUB { "registry-1.docker.io" } else { &self.0 }
    }

    /// `localhost` or a loopback address: spoken to over plain http unless configured otherwise, as containerd does.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Repository {
    /// Parses a path of lower-case components.
    pub fn new(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::Reference { input: shorten(text), reason };
        if text.is_empty() {
            return Err(invalid("the repository is empty"));
        }
        if text.len() > 255 {
            return Err(invalid("the repository is longer than 255 characters"));
        }
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid("the repository must be lower case"));
        }
        if !text.split('/').all(is_component) {
            return Err(invalid(
                "each part of the repository must be letters and digits, separated by one '.', one or two '_', or '-'",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// Parses `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
    pub fn new(text: &str) -> Result<Self, Error> {
        let ok = (1..=128).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !ok {
            return Err(Error::Reference {
                input: shorten(text),
                reason: "a tag is at most 128 letters, digits, '_', '.' and '-', and starts with neither '.' nor '-'",
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reference {
    /// Puts a reference together. Without tag and digest the tag is `latest`.
    pub fn new(registry: Registry, repository: Repository, tag: Option<Tag>, digest: Option<Digest>) -> Self {
        let tag = if tag.is_none() && digest.is_none() { Some(Tag("latest".into())) } else { tag };
        Self { registry, repository, tag, digest }
    }

    /// Where.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Which, by name.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Which, by content. Wins over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The last part of a manifest URL: the digest, else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.0.clone(),
            (None, None) => "latest".into(),
        }
    }

    /// The same repository with another tag.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }

    /// The same repository pinned to a digest, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// `registry/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry.0, self.repository.0)
    }

    /// As short as `docker` would print it: `docker.io/library/` and nothing else left out.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
        short.map_or_else(|| full.clone(), str::to_owned)
    }
}

impl RepositoryName {
    /// Puts a name together.
    pub fn new(registry: Registry, repository: Repository) -> Self {
        Self { registry, repository }
    }

    /// Where.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The image with this tag.
    pub fn tagged(&self, tag: Tag) -> Reference {
        Reference::new(self.registry.clone(), self.repository.clone(), Some(tag), None)
    }

    /// The image with this digest.
    pub fn pinned(&self, digest: Digest) -> Reference {
        Reference::new(self.registry.clone(), self.repository.clone(), None, Some(digest))
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry.0, self.repository.0)
    }
}

impl FromStr for RepositoryName {
    type Err = Error;

    /// Parses `[registry/]repository` with the defaults of references.
    fn from_str(text: &str) -> Result<Self, Error> {
        let reference: Reference = text.parse()?;
        let named = text.rsplit('/').next().unwrap_or_default();
        if named.contains([':', '@']) || text.contains('@') {
            let reason = "a repository has neither tag nor digest";
            return Err(Error::Reference { input: shorten(text), reason });
        }
        Ok(Self::new(reference.registry, reference.repository))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |reason| Error::Reference { input: shorten(text), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > 1024 {
            return Err(invalid("it is longer than 1,024 characters"));
        }
        if text.contains("://") {
            return Err(invalid("a reference has no scheme; write registry/repository:tag"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // The first part is a registry only if it could not be a path: it has a dot, a port or is localhost.
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':', '[']) || first == "localhost" => {
                (Registry::new(first).map_err(|error| within(error, text))?, rest)
            }
            _ => (Registry(Registry::DOCKER_HUB.into()), name),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => {
                (path, Some(Tag::new(tag).map_err(|error| within(error, text))?))
            }
            _ => (path, None),
        };
        let path = if registry.0 == Registry::DOCKER_HUB && !path.contains('/') && !path.is_empty() {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let repository = Repository::new(&path).map_err(|error| within(error, text))?;
        Ok(Self::new(registry, repository, tag, digest))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry.0, self.repository.0)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{}", tag.0)?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    let mut separator = String::new();
    for byte in bytes {
        if alphanumeric(byte) {
            let ok =
                matches!(separator.as_str(), "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
            if !ok {
                return false;
            }
            separator.clear();
        } else {
            separator.push(char::from(*byte));
        }
    }
    true
}

/// Names the whole input where a part of it was refused.
fn within(error: Error, input: &str) -> Error {
    match error {
        Error::Reference { reason, .. } => Error::Reference { input: shorten(input), reason },
        other => other,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}

impl serde::Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn dockers_defaults() {
        for (given, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("grafana/grafana:10", "docker.io/grafana/grafana:10"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/a/b/c:t", "localhost:5000/a/b/c:t"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("127.0.0.1:5000/a__b/c-d--e.f:T_1", "127.0.0.1:5000/a__b/c-d--e.f:T_1"),
        ] {
            assert_eq!(given.parse::<Reference>().unwrap().to_string(), expected);
        }
        let pinned: Reference = format!("nginx:1@{HASH}").parse().unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/nginx:1@{HASH}"));
        assert_eq!(pinned.selector(), HASH);
        assert_eq!(format!("nginx@{HASH}").parse::<Reference>().unwrap().tag(), None);
    }

    #[test]
    fn refuses() {
        for case in [
            "",
            " ",
            "nginx ",
            "NGINX",
            "A/0",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "nginx:",
            "nginx:-x",
            "nginx:.x",
            "nginx@",
            "nginx@sha256:abc",
            "https://docker.io/nginx",
            "host:99999/a",
            "host:/a",
            "[::1/a",
            "[zz]/a",
            "a:b:c",
            "Host-.com/a/b",
            "a@b@c",
            "x/../y",
            "a\0b",
            "é",
            ".io/a",
        ] {
            assert!(case.parse::<Reference>().is_err(), "{case:?} was accepted");
        }
        assert!("a".repeat(256).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }

    #[test]
    fn repositories_have_neither_tag_nor_digest() {
        for (given, expected) in [
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("team/app", "docker.io/team/app"),
            ("localhost:5000/team/app", "localhost:5000/team/app"),
        ] {
            assert_eq!(given.parse::<RepositoryName>().unwrap().to_string(), expected);
        }
        for case in ["", "localhost/a:1", "nginx:1", &format!("localhost/a@{HASH}"), "localhost/A"] {
            assert!(case.parse::<RepositoryName>().is_err(), "{case:?} was accepted");
        }
    }

    #[test]
    fn loopback_and_endpoints() {
        let registry = |text| Registry::new(text).unwrap();
        assert!(registry("localhost:5000").is_loopback());
        assert!(registry("127.8.8.8").is_loopback());
        assert!(registry("[::1]:80").is_loopback());
        assert!(!registry("localhost.example.com").is_loopback());
        assert_eq!(registry("docker.io").endpoint(), "registry-1.docker.io");
        assert_eq!(registry("[::1]:80").port(), Some(80));
        assert_eq!(registry("[::1]").port(), None);
        assert_eq!(registry("[::1]:80").host(), "::1");
    }

    #[test]
    fn familiar_names() {
        assert_eq!("nginx:1".parse::<Reference>().unwrap().familiar(), "nginx:1");
        assert_eq!("ghcr.io/a/b:1".parse::<Reference>().unwrap().familiar(), "ghcr.io/a/b:1");
    }

    proptest! {
        #[test]
        fn never_panics_and_prints_what_it_reads(text in "[ -~]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let printed = reference.to_string();
                prop_assert_eq!(printed.parse::<Reference>().unwrap(), reference);
            }
        }

        #[test]
        fn valid_ones_round_trip(host in "[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?", path in "[a-z0-9]{1,6}(/[a-z0-9]{1,6}){0,3}", tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}") {
            let text = format!("{host}/{path}:{tag}");
            prop_assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
    }
}

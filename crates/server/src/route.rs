//! What a request is about, by its method and path alone (distribution-spec, "Endpoints").

use crate::Action;
use http::Method;
use larder_core::Algorithm;

/// One request, parsed. Everything in it is still the client's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `GET /v2/`: is this a registry, and do the credentials work?
    Base,
    /// `GET /v2/_catalog`.
    Catalog,
    /// Something in a repository.
    Repository { path: String, what: What },
    /// `GET /healthz`: this process answers.
    Health,
    /// `GET /readyz`: the store works; how the upstreams are.
    Ready,
    /// `GET /metrics`.
    Metrics,
    /// `GET` or `POST /token`.
    Token,
    /// `GET /token/keys`: the public key that checks our tokens.
    Keys,
}

/// Something in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// `manifests/REFERENCE`.
    Manifest(String),
    /// `blobs/DIGEST`.
    Blob(String),
    /// `blobs/uploads/`.
    NewUpload,
    /// `blobs/uploads/ID`.
    Upload(String),
    /// `tags/list`.
    Tags,
    /// `referrers/DIGEST`.
    Referrers(String),
}

/// What a path and a method can be.
pub(crate) enum Parsed {
    Route(Route),
    /// There is such a path, but not with this method; these are allowed.
    Method(&'static str),
    Nothing,
}

impl Route {
    pub(crate) fn parse(method: &Method, path: &str) -> Parsed {
        let Some(path) = decode(path) else { return Parsed::Nothing };
        let Some(rest) = path.strip_prefix("/v2") else { return Self::parse_own(method, &path) };
        let route = match rest {
            "" | "/" => Self::Base,
            "/_catalog" => Self::Catalog,
            _ => match rest.strip_prefix('/').and_then(in_repository) {
                Some((path, what)) => Self::Repository { path: path.to_owned(), what },
                None => return Parsed::Nothing,
            },
        };
        route.with_method(method)
    }

    fn parse_own(method: &Method, path: &str) -> Parsed {
        let route = match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/token" => Self::Token,
            "/token/keys" => Self::Keys,
            _ => return Parsed::Nothing,
        };
        route.with_method(method)
    }

    fn with_method(self, method: &Method) -> Parsed {
        if self.action(method).is_some() { Parsed::Route(self) } else { Parsed::Method(self.methods()) }
    }

    /// The methods this route knows.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Repository { what, .. } => match what {
                What::Manifest(_) => "GET, HEAD, PUT, DELETE",
                What::Blob(_) => "GET, HEAD, DELETE",
                What::NewUpload => "POST",
                What::Upload(_) => "GET, PATCH, PUT, DELETE",
                What::Tags | What::Referrers(_) => "GET, HEAD",
            },
            Self::Token => "GET, POST",
            Self::Base | Self::Catalog | Self::Health | Self::Ready | Self::Metrics | Self::Keys => {
                "GET, HEAD"
            }
        }
    }

    /// What a method takes here; `None` if there is no such method. Outside of repositories the action says what kind of
    /// thing it is; whether anybody may is for the caller of this to know.
    pub(crate) fn action(&self, method: &Method) -> Option<Action> {
        let reading = method == Method::GET || method == Method::HEAD;
        match self {
            Self::Repository { what, .. } => match what {
                What::Manifest(_) if method == Method::PUT => Some(Action::Push),
                What::Manifest(_) | What::Blob(_) if method == Method::DELETE => Some(Action::Delete),
                What::NewUpload => (method == Method::POST).then_some(Action::Push),
                What::Upload(_) => {
                    let known = [Method::GET, Method::PATCH, Method::PUT, Method::DELETE];
                    known.contains(method).then_some(Action::Push)
                }
                _ => reading.then_some(Action::Pull),
            },
            Self::Metrics => reading.then_some(Action::Admin),
            Self::Token => (method == Method::GET || method == Method::POST).then_some(Action::Pull),
            _ => reading.then_some(Action::Pull),
        }
    }

    /// The word in metrics and logs.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Repository { what, .. } => match what {
                What::Manifest(_) => "manifest",
                What::Blob(_) => "blob",
                What::NewUpload | What::Upload(_) => "upload",
                What::Tags => "tags",
                What::Referrers(_) => "referrers",
            },
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::Token => "token",
            Self::Keys => "keys",
        }
    }
}

impl What {
    /// What was asked for, as the client wrote it.
    pub(crate) fn reference(&self) -> Option<String> {
        match self {
            Self::Manifest(text) | Self::Blob(text) | Self::Upload(text) | Self::Referrers(text) => {
                Some(text.chars().take(256).collect())
            }
            Self::NewUpload | Self::Tags => None,
        }
    }
}

/// Splits `NAME/manifests/REFERENCE` and its like from the right, since names may contain the words in between.
fn in_repository(path: &str) -> Option<(&str, What)> {
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Some((name, What::Tags));
    }
    if let Some(name) = path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads")) {
        return Some((name, What::NewUpload));
    }
    let (rest, last) = path.rsplit_once('/')?;
    if last.is_empty() {
        return None;
    }
    let last_owned = || last.to_owned();
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        return Some((name, What::Upload(last_owned())));
    }
    if let Some(name) = rest.strip_suffix("/manifests") {
        return Some((name, What::Manifest(last_owned())));
    }
    if let Some(name) = rest.strip_suffix("/blobs") {
        return Some((name, What::Blob(last_owned())));
    }
    rest.strip_suffix("/referrers").map(|name| (name, What::Referrers(last_owned())))
}

/// The query of a request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(&key.replace('+', " "))?, decode(&value.replace('+', " "))?))
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The digest algorithm that an upload will be named by.
    pub(crate) fn algorithm(&self) -> Option<Result<Algorithm, ()>> {
        Some(match self.value("digest-algorithm")? {
            "sha256" => Ok(Algorithm::Sha256),
            "sha512" => Ok(Algorithm::Sha512),
            _ => Err(()),
        })
    }
}

/// Percent-encodes a value for a query (RFC 3986 §2.1).
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Percent-decodes (RFC 3986 §2.1). A control character has no place in anything we know.
fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return (!text.bytes().any(|byte| byte.is_ascii_control())).then(|| text.to_owned());
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
        decoded.push(u8::try_from(value).ok()?);
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.bytes().any(|byte| byte.is_ascii_control())).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::Digest;

    fn parse(method: &Method, path: &str) -> Option<Route> {
        match Route::parse(method, path) {
            Parsed::Route(route) => Some(route),
            _ => None,
        }
    }

    fn within(path: &str, what: What) -> Option<Route> {
        Some(Route::Repository { path: path.into(), what })
    }

    #[test]
    fn names_may_contain_the_words_of_the_api() {
        let digest = Digest::of(b"").to_string();
        assert_eq!(
            parse(&Method::GET, "/v2/a/manifests/b/manifests/latest"),
            within("a/manifests/b", What::Manifest("latest".into()))
        );
        assert_eq!(parse(&Method::GET, "/v2/tags/list/tags/list"), within("tags/list", What::Tags));
        assert_eq!(
            parse(&Method::GET, &format!("/v2/a/blobs/{}", digest.replace(':', "%3A"))),
            within("a", What::Blob(digest))
        );
        assert_eq!(parse(&Method::POST, "/v2/a/blobs/uploads/"), within("a", What::NewUpload));
        assert_eq!(parse(&Method::PATCH, "/v2/a/blobs/uploads/x"), within("a", What::Upload("x".into())));
        assert_eq!(parse(&Method::GET, "/v2"), Some(Route::Base));
    }

    #[test]
    fn every_method_has_one_action_or_none() {
        let blob = Route::Repository { path: "a".into(), what: What::Blob("d".into()) };
        assert_eq!(blob.action(&Method::GET), Some(Action::Pull));
        assert_eq!(blob.action(&Method::DELETE), Some(Action::Delete));
        assert_eq!(blob.action(&Method::PUT), None);
        let manifest = Route::Repository { path: "a".into(), what: What::Manifest("t".into()) };
        assert_eq!(manifest.action(&Method::PUT), Some(Action::Push));
        assert_eq!(manifest.action(&Method::PATCH), None);
    }

    #[test]
    fn nonsense_is_nothing() {
        for path in
            ["/", "/v1/", "/v2/a", "/v2/a/manifests/", "/v2/a/b/c", "/v2/a/blobs/%0a", "/v2/a%zz/tags/list"]
        {
            assert_eq!(parse(&Method::GET, path), None, "{path}");
        }
    }

    #[test]
    fn what_is_encoded_comes_back() {
        let text = "application/vnd.x+json; a=\"b\"&c é";
        let query = Query::parse(&format!("t={}", encode(text))).unwrap();
        assert_eq!(query.value("t"), Some(text));
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("n=3&last=a%2Fb&flag&x=1+2").unwrap();
        assert_eq!(query.value("last"), Some("a/b"));
        assert_eq!(query.value("flag"), Some(""));
        assert_eq!(query.value("x"), Some("1 2"));
        assert!(Query::parse("a=%g0").is_none());
    }
}

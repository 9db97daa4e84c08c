//! `WWW-Authenticate` (RFC 9110 §11.6.1) and what registries put into it.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a server demands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from `realm`.
    Bearer { realm: Option<String>, service: Option<String>, scope: Option<String> },
}

/// The challenge to answer: Bearer before Basic, the first of each.
pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = std::str::from_utf8(value.as_bytes()) else { continue };
        for (scheme, parameters) in parse(text) {
            let find = |wanted: &str| {
                parameters
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                    .map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                let (realm, service, scope) = (find("realm"), find("service"), find("scope"));
                return Some(Challenge::Bearer { realm, service, scope });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// Splits a header into challenges. A word followed by `=` is a parameter of the challenge before it; any other word starts a
/// new challenge. Nonsense is skipped.
fn parse(text: &str) -> Vec<(String, Parameters)> {
    let mut challenges: Vec<(String, Parameters)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let end = rest.find([',', ' ', '\t', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if rest.is_empty() {
            return challenges;
        }
        let Some(value) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            challenges.push((word.to_owned(), Vec::new()));
            rest = after;
            continue;
        };
        let value = value.trim_start_matches([' ', '\t']);
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
                (value[..end].to_owned(), &value[end..])
            }
        };
        if let Some((_, parameters)) = challenges.last_mut() {
            parameters.push((word.to_owned(), value));
        }
        rest = after;
    }
}

/// Reads up to the closing quote, resolving backslashes.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &text[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    fn read(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        choose(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: Some(realm.into()), service: own(service), scope: own(scope) })
    }

    #[test]
    fn reads_what_registries_send() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull,push"),
        );
        assert_eq!(read(&[hub]), expected);
        assert_eq!(read(&["bearer realm = https://x , error=\"a \\\" b\""]), bearer("https://x", None, None));
        assert_eq!(read(&["Basic realm=\"x\", Bearer realm=\"https://y\""]), bearer("https://y", None, None));
        assert_eq!(read(&["Basic realm=\"x, Bearer realm=z\""]), Some(Challenge::Basic));
        assert_eq!(read(&["Negotiate", "Basic"]), Some(Challenge::Basic));
        assert_eq!(read(&["Negotiate abc=="]), None);
        assert_eq!(read(&["Bearer"]), Some(Challenge::Bearer { realm: None, service: None, scope: None }));
        assert_eq!(read(&[]), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,100}") {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_pieces(text in "([a-zé]{0,3}|[=, \"\\\\])*") {
            let _ = parse(&text);
        }
    }
}

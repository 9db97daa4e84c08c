//! Which repositories a rule is about.

use larder_core::RepositoryName;
use std::fmt;

/// A pattern over full repository names.
///
/// - Parts are separated by `/`. In a part, `*` stands for any number of characters and `?` for one; neither for `/`.
/// - The part `**` stands for any number of parts; as the last of several parts it stands for at least one, so `team/**` is
///   what is under `team`. `**` alone is every repository of every registry.
/// - The first part names a registry if it has a dot, a colon or a bracket, or is `localhost`, as in the paths of requests; or
///   if it is `**`. Otherwise the pattern is about what exists only here: `team/*` means `localhost/team/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<String>,
}

impl Pattern {
    /// Parses a pattern. The error is the rule it breaks.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty; `**` is every repository");
        }
        if text.len() > LENGTH_LIMIT {
            return Err("it is longer than 300 characters");
        }
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-:[]*?/".contains(&byte);
        if !text.bytes().all(known) {
            return Err("it has characters that no repository has; names are lower case");
        }
        let given: Vec<&str> = text.split('/').collect();
        if given.iter().any(|part| part.is_empty()) {
            return Err("a part between two '/' is empty");
        }
        if given.iter().any(|part| part.contains("**") && *part != "**") {
            return Err("`**` stands for whole parts: `team/**`");
        }
        let mut parts: Vec<String> = Vec::with_capacity(given.len() + 2);
        if given[0] != "**" && !is_registry(given[0]) {
            parts.push("localhost".to_owned());
        }
        parts.extend(given.iter().map(|part| (*part).to_owned()));
        if parts.len() == 1 && parts[0] != "**" {
            return Err("it names a registry and no repository; add `/**` for all of it");
        }
        if parts.len() > 1 && parts.last().is_some_and(|part| part == "**") {
            parts.insert(parts.len() - 1, "*".to_owned());
        }
        Ok(Self { parts })
    }

    /// Whether a repository is meant. Takes time proportional to the product of both lengths at most.
    pub(super) fn matches(&self, repository: &RepositoryName) -> bool {
        if self.is_everything() {
            return true;
        }
        let registry = std::iter::once(repository.registry().as_str());
        let name: Vec<&str> = registry.chain(repository.repository().as_str().split('/')).collect();
        wild(&self.parts, &name, |part| part == "**", |part, text| part_matches(part, text))
    }

    /// Whether every repository of every registry is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.parts.iter().all(|part| part == "**")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts.join("/"))
    }
}

const LENGTH_LIMIT: usize = 300;

fn is_registry(part: &str) -> bool {
    part.contains(['.', ':', '[']) || part == "localhost"
}

fn part_matches(part: &str, text: &str) -> bool {
    let is_star = |byte: &u8| *byte == b'*';
    wild(part.as_bytes(), text.as_bytes(), is_star, |byte, other| *byte == b'?' || byte == other)
}

/// Matches a sequence against one that has wild elements, each for any number of elements. When a mismatch comes, only the
/// last wild element takes one more: no other choice can do better, which keeps this from being exponential.
fn wild<P, T>(
    pattern: &[P],
    text: &[T],
    is_wild: impl Fn(&P) -> bool,
    same: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(element) if is_wild(element) => {
                retry = Some((at, read));
                at += 1;
            }
            Some(element) if same(element, &text[read]) => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((wild, taken)) = retry else { return false };
                retry = Some((wild, taken + 1));
                at = wild + 1;
                read = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(is_wild)
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::{Registry, Repository};
    use proptest::prelude::*;

    fn name(text: &str) -> RepositoryName {
        let (registry, path) = text.split_once('/').unwrap();
        RepositoryName::new(Registry::new(registry).unwrap(), Repository::new(path).unwrap())
    }

    fn matches(pattern: &str, repository: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(&name(repository))
    }

    #[test]
    fn patterns_mean_what_they_look_like() {
        for (pattern, repository, expected) in [
            ("**", "docker.io/library/nginx", true),
            ("**", "localhost/a", true),
            ("infra/*", "localhost/infra/a", true),
            ("infra/*", "localhost/infra/a/b", false),
            ("infra/*", "localhost/infra", false),
            ("infra/*", "ghcr.io/infra/a", false),
            ("infra/**", "localhost/infra/a/b", true),
            ("infra/**", "localhost/infra", false),
            ("infra/**", "localhost/infrastructure/a", false),
            ("infra*/**", "localhost/infrastructure/a", true),
            ("localhost/infra/*", "localhost/infra/a", true),
            ("docker.io/library/**", "docker.io/library/nginx", true),
            ("docker.io/library/**", "docker.io/other/nginx", false),
            ("docker.io/**", "docker.io.evil.example/library/nginx", false),
            ("*.example.com/**", "a.example.com/x", true),
            ("*.example.com/**", "a.example.com.evil/x", false),
            ("**/nginx", "docker.io/library/nginx", true),
            ("**/nginx", "docker.io/library/mynginx", false),
            ("ghcr.io/**/cache", "ghcr.io/cache", true),
            ("ghcr.io/**/cache", "ghcr.io/a/b/cache", true),
            ("app-?", "localhost/app-1", true),
            ("app-?", "localhost/app-12", false),
            ("*", "localhost/app", true),
            ("*", "docker.io/app", false),
            ("host:5000/**", "host:5000/a", true),
            ("host:5000/**", "host/a", false),
        ] {
            assert_eq!(matches(pattern, repository), expected, "{pattern} {repository}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for text in [
            "",
            "/",
            "a//b",
            "/a",
            "a/",
            "Team/*",
            "a b",
            "a**",
            "docker.io",
            "localhost",
            "a/***",
            "é",
            "!a",
        ] {
            assert!(Pattern::new(text).is_err(), "{text:?}");
        }
        assert!(Pattern::new(&"a".repeat(301)).is_err());
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = Pattern::new(&format!("{}b", "*a".repeat(100))).unwrap();
        assert!(!pattern.matches(&name(&format!("localhost/{}", "a".repeat(250)))));
        let pattern = Pattern::new(&format!("{}b", "**/a/".repeat(50))).unwrap();
        let long = vec!["a"; 120].join("/");
        assert!(!pattern.matches(&name(&format!("localhost/{long}"))));
    }

    /// The obvious, exponential definition.
    fn reference<P, T>(
        pattern: &[P],
        text: &[T],
        is_wild: &dyn Fn(&P) -> bool,
        same: &dyn Fn(&P, &T) -> bool,
    ) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((first, rest)), _) if is_wild(first) => {
                (0..=text.len()).any(|skip| reference(rest, &text[skip..], is_wild, same))
            }
            (Some((first, rest)), Some((head, tail))) => {
                same(first, head) && reference(rest, tail, is_wild, same)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            pattern in "(\\*\\*/)?([ab*?]{1,3}|\\*\\*)(/([ab*?]{1,3}|\\*\\*)){0,4}",
            text in "[ab]{1,3}(/[ab]{1,3}){0,4}",
        ) {
            let Ok(compiled) = Pattern::new(&pattern) else { return Ok(()) };
            let full = format!("localhost/{text}");
            let parts: Vec<&str> = full.split('/').collect();
            let expected = reference(
                &compiled.parts,
                &parts,
                &|part: &String| part == "**",
                &|part, text| {
                    reference(part.as_bytes(), text.as_bytes(), &|b| *b == b'*', &|a, b| *a == b'?' || a == b)
                },
            );
            prop_assert_eq!(compiled.matches(&name(&full)), expected);
        }

        #[test]
        fn a_name_is_a_pattern_for_itself_only(
            one in "[a-z]{1,5}\\.[a-z]{2}/[a-z]{1,5}(/[a-z]{1,5}){0,3}",
            other in "[a-z]{1,5}\\.[a-z]{2}/[a-z]{1,5}(/[a-z]{1,5}){0,3}",
        ) {
            prop_assert!(matches(&one, &one));
            prop_assert_eq!(matches(&one, &other), one == other);
        }

        #[test]
        fn never_panics(text in "[ -~]{0,40}") {
            if let Ok(pattern) = Pattern::new(&text) {
                pattern.matches(&name("localhost/a/b"));
            }
        }
    }
}

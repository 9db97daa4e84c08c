//! Scopes of tokens: what is asked for, and what a token says it is for.
//!
//! The grammar is the one of the distribution project's "Token Scope Documentation". A repository may begin with a registry that
//! has a port, so the name is what stands between the first and the last colon.

use crate::{Action, Asked, Grant};
use serde::{Deserialize, Serialize};

/// An element of the `access` claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AccessEntry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

impl Grant {
    /// Reads `repository:NAME:ACTIONS` or `registry:catalog:*`. `None` for what grants nothing here: another type, unknown
    /// actions, or not a scope at all.
    pub(super) fn from_scope(scope: &str) -> Option<Self> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)`: the class says what kind of artifact is meant, which makes no difference.
        let kind = match kind.split_once('(') {
            Some((kind, class)) if class.ends_with(')') => kind,
            Some(_) => return None,
            None => kind,
        };
        Self::new(kind, name, actions.split(','))
    }

    /// The scope that asks for this.
    pub(super) fn to_scope(&self) -> String {
        let entry = AccessEntry::from(self);
        format!("{}:{}:{}", entry.kind, entry.name, entry.actions.join(","))
    }

    /// Whether this is about what is asked. It can only narrow: what the account may do is decided elsewhere.
    pub(super) fn covers(&self, asked: &Asked<'_>) -> bool {
        let same = match (&self.repository, asked.repository) {
            (None, None) => true,
            (Some(granted), Some(repository)) => {
                asked.path == Some(granted.as_str()) || *granted == repository.to_string()
            }
            _ => false,
        };
        same && self.actions.contains(&asked.action)
    }

    fn new<'a>(kind: &str, name: &str, words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (repository, all): (_, &[Action]) = match kind {
            "repository" if is_name(name) => {
                (Some(name.to_owned()), &[Action::Pull, Action::Push, Action::Delete])
            }
            "registry" if name == "catalog" => (None, &[Action::Admin]),
            _ => return None,
        };
        let words: Vec<&str> = words.collect();
        let wanted = |action: &Action| {
            words.contains(&"*") || (repository.is_some() && words.contains(&action.as_str()))
        };
        let actions: Vec<Action> = all.iter().copied().filter(wanted).collect();
        (!actions.is_empty()).then_some(Self { repository, actions })
    }
}

impl AccessEntry {
    /// What an entry of an `access` claim grants here, if anything.
    pub(super) fn grant(&self) -> Option<Grant> {
        Grant::new(&self.kind, &self.name, self.actions.iter().map(String::as_str))
    }
}

impl From<&Grant> for AccessEntry {
    fn from(grant: &Grant) -> Self {
        match &grant.repository {
            Some(name) => Self {
                kind: "repository".into(),
                name: name.clone(),
                actions: grant.actions.iter().map(|action| action.as_str().to_owned()).collect(),
            },
            None => Self { kind: "registry".into(), name: "catalog".into(), actions: vec!["*".into()] },
        }
    }
}

/// Whether all characters may stand in a repository with its registry; also keeps challenges free of quotes.
pub(super) fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:[]/".contains(&byte);
    !text.is_empty() && text.len() <= 512 && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::{Registry, Repository, RepositoryName};
    use proptest::prelude::*;

    fn grant(name: &str, actions: &[Action]) -> Grant {
        Grant { repository: Some(name.into()), actions: actions.to_vec() }
    }

    #[test]
    fn a_port_belongs_to_the_name() {
        let both = [Action::Pull, Action::Push];
        assert_eq!(
            Grant::from_scope("repository:host:5000/a/b:pull,push"),
            Some(grant("host:5000/a/b", &both))
        );
        assert_eq!(
            Grant::from_scope("repository:[::1]:5000/a:push,pull"),
            Some(grant("[::1]:5000/a", &both))
        );
        assert_eq!(Grant::from_scope("repository:a:pull"), Some(grant("a", &[Action::Pull])));
        assert_eq!(Grant::from_scope("repository(plugin):a:pull"), Some(grant("a", &[Action::Pull])));
    }

    #[test]
    fn a_star_is_everything_about_a_repository_and_not_the_server() {
        let all = [Action::Pull, Action::Push, Action::Delete];
        assert_eq!(Grant::from_scope("repository:a:*"), Some(grant("a", &all)));
        assert_eq!(Grant::from_scope("repository:a:admin"), None);
        let catalog = Grant { repository: None, actions: vec![Action::Admin] };
        assert_eq!(Grant::from_scope("registry:catalog:*"), Some(catalog));
        assert_eq!(Grant::from_scope("registry:catalog:pull"), None);
        assert_eq!(Grant::from_scope("registry:a:*"), None);
    }

    #[test]
    fn what_is_no_scope_grants_nothing() {
        let cases = [
            "",
            ":",
            "::",
            "repository",
            "repository:a",
            "repository::pull",
            "repository:a:",
            "repository:a:PULL",
            "repository:a b:pull",
            "repository:a\":pull",
            "Repository:a:pull",
            "repository(:a:pull",
            "repository:host:5000/a",
            "other:a:pull",
            "repository:é:pull",
        ];
        for case in cases {
            assert_eq!(Grant::from_scope(case), None, "{case:?}");
        }
        assert_eq!(Grant::from_scope(&format!("repository:{}:pull", "a".repeat(513))), None);
    }

    #[test]
    fn a_grant_is_for_one_repository_by_either_of_its_names() {
        let repository =
            RepositoryName::new(Registry::new("localhost").unwrap(), Repository::new("team/app").unwrap());
        let asked = |path, action| Asked { repository: Some(&repository), path, action };
        let short = grant("team/app", &[Action::Push]);
        let full = grant("localhost/team/app", &[Action::Push]);
        assert!(short.covers(&asked(Some("team/app"), Action::Push)));
        assert!(full.covers(&asked(Some("team/app"), Action::Push)));
        assert!(!short.covers(&asked(Some("localhost/team/app"), Action::Push)));
        assert!(!short.covers(&asked(Some("team/app"), Action::Delete)));
        assert!(!short.covers(&Asked { repository: None, path: None, action: Action::Push }));
        assert!(!grant("team", &[Action::Push]).covers(&asked(Some("team/app"), Action::Push)));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(
            name in "([a-z]{1,8}(\\.[a-z]{1,4})?(:[0-9]{1,5})?/)?[a-z0-9]{1,6}([._/-][a-z0-9]{1,6}){0,4}",
            chosen in proptest::sample::subsequence(vec![Action::Pull, Action::Push, Action::Delete], 1..=3),
        ) {
            let one = grant(&name, &chosen);
            prop_assert_eq!(Grant::from_scope(&one.to_scope()), Some(one.clone()));
            prop_assert_eq!(AccessEntry::from(&one).grant(), Some(one));
        }

        #[test]
        fn never_grants_what_is_not_spelled_out(text in "[a-z:/,.*()0-9]{0,40}") {
            if let Some(grant) = Grant::from_scope(&text) {
                for action in &grant.actions {
                    prop_assert!(text.contains(action.as_str()) || text.contains('*'));
                }
                if let Some(name) = &grant.repository {
                    prop_assert!(text.contains(name.as_str()));
                }
            }
        }
    }
}

//! Who may do what, where.

use super::AccessError;
use super::pattern::Pattern;
use super::settings::RuleSettings;
use crate::{Action, Caller};
use larder_core::RepositoryName;

/// One rule, ready to be asked. Rules only allow; what no rule allows is denied.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    patterns: Vec<Pattern>,
    users: Vec<String>,
    groups: Vec<String>,
    anonymous: bool,
    authenticated: bool,
    allow: Vec<Action>,
}

impl Rule {
    /// `key` is where the rule stands, for messages.
    pub(super) fn new(settings: &RuleSettings, key: &str) -> Result<Self, AccessError> {
        let wrong = |field: &str, reason: String| AccessError::setting(format!("{key}.{field}"), reason);
        if settings.repositories.is_empty() {
            return Err(wrong("repositories", "there are none; `**` is every repository".into()));
        }
        let mut patterns = Vec::with_capacity(settings.repositories.len());
        for (number, text) in settings.repositories.iter().enumerate() {
            let pattern = Pattern::new(text)
                .map_err(|reason| wrong(&format!("repositories[{number}]"), format!("{text:?}: {reason}")))?;
            patterns.push(pattern);
        }
        let named = !settings.users.is_empty() || !settings.groups.is_empty();
        if !named && !settings.anonymous && !settings.authenticated {
            let reason =
                "the rule is about nobody; add users, groups, `authenticated: true` or `anonymous: true`";
            return Err(AccessError::setting(key, reason));
        }
        for (field, names) in [("users", &settings.users), ("groups", &settings.groups)] {
            if names.iter().any(|name| name.is_empty()) {
                return Err(wrong(field, "a name is empty".into()));
            }
        }
        if settings.allow.is_empty() {
            return Err(wrong("allow", format!("the rule allows nothing; there are {}", actions())));
        }
        let mut allow = Vec::with_capacity(settings.allow.len());
        for word in &settings.allow {
            let action = Action::ALL.into_iter().find(|action| action.as_str() == word);
            allow.push(action.ok_or_else(|| {
                wrong("allow", format!("{word:?} is not an action; there are {}", actions()))
            })?);
        }
        if allow.contains(&Action::Admin) && !patterns.iter().any(Pattern::is_everything) {
            return Err(wrong(
                "allow",
                "admin is about the whole server; its repositories are [\"**\"]".into(),
            ));
        }
        Ok(Self {
            patterns,
            users: settings.users.clone(),
            groups: settings.groups.clone(),
            anonymous: settings.anonymous,
            authenticated: settings.authenticated,
            allow,
        })
    }

    /// Whether the rule lets `caller` do something to a repository, or to the server. What a caller's token says is not asked.
    pub(super) fn allows(
        &self,
        caller: &Caller,
        repository: Option<&RepositoryName>,
        action: Action,
    ) -> bool {
        self.allow.contains(&action) && self.is_about(caller) && self.covers(repository)
    }

    /// What the rule gives to callers without an account.
    pub(super) fn open(&self) -> &[Action] {
        if self.anonymous { &self.allow } else { &[] }
    }

    /// Whether anybody has to log in for this rule to mean something.
    pub(super) fn needs_accounts(&self) -> bool {
        !self.anonymous
    }

    /// `anonymous` means everybody: who logs in never loses a right by it.
    fn is_about(&self, caller: &Caller) -> bool {
        self.anonymous
            || caller.name.as_ref().is_some_and(|name| {
                self.authenticated
                    || self.users.contains(name)
                    || self.groups.iter().any(|group| caller.groups.contains(group))
            })
    }

    fn covers(&self, repository: Option<&RepositoryName>) -> bool {
        self.patterns.iter().any(|pattern| match repository {
            Some(repository) => pattern.matches(repository),
            None => pattern.is_everything(),
        })
    }
}

fn actions() -> String {
    Action::ALL.map(Action::as_str).join(", ")
}

//! `WWW-Authenticate`: how a client may prove who it is.

use super::scope::is_name;
use crate::{Action, Asked, Grant};

/// Where the token endpoint is, under the address of the server.
pub(super) const TOKEN_PATH: &str = "/token";

/// For `Basic` (RFC 7617).
pub(super) const BASIC: &str = "Basic realm=\"larder\"";

/// For `Bearer`, as the distribution project's "Token Authentication Specification" has it.
pub(super) fn bearer(realm: &str, service: &str, asked: &Asked<'_>) -> String {
    let scope = scope(asked).map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
    format!("Bearer realm=\"{realm}\",service=\"{service}\"{scope}")
}

/// The scope that is needed. Who pushes also looks what is there.
fn scope(asked: &Asked<'_>) -> Option<String> {
    let actions = match asked.action {
        Action::Push => vec![Action::Pull, Action::Push],
        action => vec![action],
    };
    match asked.repository {
        None if asked.action == Action::Admin => Some(Grant { repository: None, actions }.to_scope()),
        None => None,
        Some(repository) => {
            let full = repository.to_string();
            let local = |path: &str| {
                repository.registry().as_str() == "localhost" && repository.repository().as_str() == path
            };
            let name = match asked.path {
                Some(path) if path == full || local(path) => path.to_owned(),
                _ => full,
            };
            is_name(&name).then(|| Grant { repository: Some(name), actions }.to_scope())
        }
    }
}

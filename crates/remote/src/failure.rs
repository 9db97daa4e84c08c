//! Error statuses and what servers say about them.

use crate::redact;
use larder_core::Secret;
use reqwest::StatusCode;
use std::fmt;
use std::time::Duration;

/// An error status and what the server said about it.
#[derive(Debug)]
pub struct Failure {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// The registry to log in to; `None` where another host than the registry's answered.
    pub(crate) login: Option<String>,
    /// The caller asked for foreign content that configuration does not allow to fetch.
    pub(crate) foreign: bool,
}

impl Failure {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The first error code of the distribution specification in the answer, for example `MANIFEST_UNKNOWN`.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.method, self.url, self.status)?;
        match (&self.code, self.message.as_str()) {
            (Some(code), "") => write!(f, " ({code})"),
            (Some(code), message) => write!(f, " ({code}: {message})"),
            (None, "") => Ok(()),
            (None, message) => write!(f, " ({message})"),
        }
    }
}

impl Failure {
    pub(crate) fn hints(&self) -> Vec<String> {
        match (self.status.as_u16(), &self.login) {
            (401 | 403, Some(host)) => vec![
                format!("larder login {host}"),
                "check the spelling of the repository: registries hide what they do not want to show".into(),
            ],
            (429, Some(host)) => vec![format!(
                "the registry limits how often it is asked; larder login {host} usually raises the limit"
            )],
            (404, _) if self.foreign => {
                vec![
                    "the layer is kept outside the registry; allow foreign layers to fetch it from there"
                        .into(),
                ]
            }
            (404, Some(_)) => vec!["check the name, the tag and the platform".into()],
            _ => Vec::new(),
        }
    }
}

/// What the server has to say (distribution spec, "Error Codes"; token servers use `details` or `error_description`).
pub(crate) fn complaint(body: &[u8], secrets: &[Secret]) -> (Option<String>, String) {
    let fit = |raw: &str| {
        let mut text = raw.to_owned();
        for secret in secrets.iter().filter(|secret| secret.reveal().len() >= 4) {
            text = text.replace(secret.reveal(), "***");
        }
        redact::text(text.trim(), 300)
    };
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else {
        let text = String::from_utf8_lossy(body);
        return (None, if text.trim_start().starts_with('<') { String::new() } else { fit(&text) });
    };
    let first = json.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&json);
    let text = |name: &str| first.get(name).and_then(|value| value.as_str());
    let code = text("code").or_else(|| text("error")).map(fit).filter(|code| !code.is_empty());
    let message = text("message").or_else(|| text("details")).or_else(|| text("error_description"));
    (code, message.map(fit).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_short_clean_and_free_of_secrets() {
        let secrets = [Secret::new("hunter2"), Secret::new("x")];
        let read = |body: &str| complaint(body.as_bytes(), &secrets);
        assert_eq!(
            read(r#"{"errors":[{"code":"DENIED","message":"token hunter2\u001b[31m for x"}]}"#),
            (Some("DENIED".into()), "token *** [31m for x".into())
        );
        assert_eq!(read(r#"{"details":"incorrect username"}"#), (None, "incorrect username".into()));
        assert_eq!(read("<html>no</html>"), (None, String::new()));
        assert_eq!(read("plain hunter2"), (None, "plain ***".into()));
        assert_eq!(read(&"y".repeat(9_000)).1.len(), 300);
        assert_eq!(read("[1]"), (None, String::new()));
    }
}

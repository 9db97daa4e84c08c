//! What is recorded about one operation.

use larder_core::Digest;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

/// One operation: who did what, when, from where, and how it ended.
///
/// There is no field for a credential, a header or a body. What comes from a client (`request`, `actor`, `agent`, `repository`,
/// `reference`) is cut to a length when it is written, and what could break a line or drive a terminal is escaped; the words of
/// `login`, `action` and `reason` are the program's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it ended.
    pub time: SystemTime,
    /// The id of the request, which is also in the log and in the answer. Empty where there is no request.
    pub request: String,
    /// The account; `None` for anonymous callers.
    pub actor: Option<String>,
    /// How the account was proven: `anonymous`, `password`, `token`, …; `local` for commands on this machine.
    pub login: Cow<'static, str>,
    /// From where.
    pub address: Option<IpAddr>,
    /// What the client calls itself.
    pub agent: Option<String>,
    /// What was asked for: `pull`, `push`, `delete`, `mount`, `login`, `token`, `gc`, …
    pub action: Cow<'static, str>,
    /// In which repository, as far as there is one.
    pub repository: Option<String>,
    /// The tag, the name, the directory: what was named besides the repository.
    pub reference: Option<String>,
    /// The content it was about.
    pub digest: Option<Digest>,
    /// What the name stood for until then, where a name moved or went.
    pub before: Option<Digest>,
    /// Bytes that went out or came in.
    pub bytes: u64,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The HTTP status, 0 where there is none.
    pub status: u16,
    /// Why it was denied or failed, as one of the program's own words.
    pub reason: Option<Cow<'static, str>>,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditOutcome {
    /// It was allowed, and done.
    Allowed,
    /// It was refused.
    Denied,
    /// It was allowed, and could not be done.
    Failed,
}

impl AuditRecord {
    /// A record of an operation of this machine that went well, to be filled in.
    pub fn new(time: SystemTime, action: impl Into<Cow<'static, str>>) -> Self {
        Self {
            time,
            request: String::new(),
            actor: None,
            login: "local".into(),
            address: None,
            agent: None,
            action: action.into(),
            repository: None,
            reference: None,
            digest: None,
            before: None,
            bytes: 0,
            outcome: AuditOutcome::Allowed,
            status: 0,
            reason: None,
        }
    }
}

impl AuditOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Allowed, Self::Denied, Self::Failed];

    /// The word in the log and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

impl std::fmt::Display for AuditOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

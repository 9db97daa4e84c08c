//! Who asks.

use larder_core::{RepositoryName, Secret};
use std::net::IpAddr;

use crate::Action;

/// Who sent a request, as far as that is proven.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account; `None` for anonymous callers.
    pub name: Option<String>,
    /// Groups the account is in: from the configuration, or from the claims of an identity token.
    pub groups: Vec<String>,
    /// How it was proven.
    pub login: Login,
    /// A token narrows what its account may do to these. `None` does not narrow.
    pub grants: Option<Vec<Grant>>,
    /// A credential this server has no account for, which an upstream may know.
    pub presented: Option<Presented>,
    /// From where.
    pub address: IpAddr,
}

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Login {
    /// Not at all.
    Anonymous,
    /// With a password.
    Password,
    /// With a token of this server, or of the issuer it trusts.
    Token,
    /// With an OpenID Connect identity token.
    Identity,
    /// With a client certificate.
    Certificate,
}

/// What a token allows in one repository, or on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The repository, as the client spells it in paths and scopes (without `/v2/`); `None` for what is not about one.
    pub repository: Option<String>,
    /// What may be done there.
    pub actions: Vec<Action>,
}

/// A credential meant for an upstream, passed on and never kept in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// User name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that the upstream itself takes.
    Bearer(Secret),
}

/// A request, as far as it matters for access.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// The repository by its full name; `None` for what is not about one (`/v2/`, `_catalog`).
    pub repository: Option<&'a RepositoryName>,
    /// The repository as the client spelled it in the path.
    pub path: Option<&'a str>,
    /// What it takes.
    pub action: Action,
}

impl Login {
    /// The word in logs and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Password => "password",
            Self::Token => "token",
            Self::Identity => "identity",
            Self::Certificate => "certificate",
        }
    }
}

impl Caller {
    /// Somebody unknown.
    pub fn anonymous(address: IpAddr) -> Self {
        Self {
            name: None,
            groups: Vec::new(),
            login: Login::Anonymous,
            grants: None,
            presented: None,
            address,
        }
    }
}

#![doc = include_str!("../README.md")]

mod access;
mod action;
mod caller;
mod upstream;

pub use access::{
    Access, AccessError, AccessSettings, CertificateName, ClientCaSettings, Clock, Decision, IssuerKind,
    IssuerSettings, KeySource, Refused, RuleSettings, TOKEN_PATH, TokenRequest, TokenResponse, TokenSettings,
    UserSettings, base_url, create_token_key,
};
pub use action::Action;
pub use caller::{Asked, Caller, Grant, Login, Presented};
pub use upstream::{Bringing, Found, Freshness, OnMiss, Selector, Trouble, UpstreamState};

#![doc = include_str!("../README.md")]

mod access;
mod action;
mod answer;
mod blob;
mod body;
mod call;
mod caller;
mod condition;
mod documents;
mod exchange;
mod ledger;
mod listener;
mod listing;
mod manifest;
mod metrics;
mod naming;
mod own;
mod proof;
mod record;
mod route;
mod server;
mod settings;
mod socket;
mod source;
mod tls;
mod upload;
mod upstream;
mod uses;

pub use access::{
    Access, AccessError, AccessSettings, CertificateName, ClientCaSettings, Clock, Decision, IssuerKind,
    IssuerSettings, KeySource, Refused, RuleSettings, TokenRequest, TokenResponse, TokenSettings,
    UserSettings, create_token_key,
};
pub use action::Action;
pub use caller::{Asked, Caller, Grant, Login, Presented};
pub use listener::Farewell;
pub use naming::LOCAL;
pub use record::{Record, Sink};
pub use server::{Parts, Server};
pub use settings::Settings;
pub use tls::{Tls, TlsError, TlsFiles};
pub use upstream::{Bringing, Found, Freshness, OnMiss, Selector, Trouble, UpstreamState};

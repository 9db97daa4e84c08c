//! Access control from outside: accounts, tokens, issuers, certificates and rules, each against what the field got wrong before.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare itself has failed")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "`json!` is written where it is used, without a borrow before it"
)]

#[path = "access/certificates.rs"]
mod certificates;
#[path = "access/forgeries.rs"]
mod forgeries;
#[path = "access/ground.rs"]
mod ground;
#[path = "access/issuers.rs"]
mod issuers;
#[path = "access/key.rs"]
mod key;
#[path = "access/passwords.rs"]
mod passwords;
#[path = "access/rights.rs"]
mod rights;
#[path = "access/settings.rs"]
mod settings;
#[path = "access/tokens.rs"]
mod tokens;

//! The command as a script sees it: arguments and environment in; exit code, standard output and standard error out.
//! Nothing here needs a registry.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod configuration;
mod program;
mod signals;
mod store;
mod usage;

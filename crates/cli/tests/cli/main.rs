//! The command as a script sees it: arguments and environment in; exit code, standard output and standard error out.
//! Nothing here needs a registry.

mod configuration;
mod program;
mod signals;
mod store;
mod usage;

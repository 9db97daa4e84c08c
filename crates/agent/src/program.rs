//! The command line of `larder-node`.

use crate::child;
use crate::error::{Error, Result};
use crate::session::{Options, serve};
use larder_core::report;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// `larder-node ARGUMENTS…`; `prefix` are the arguments that lead here, for programs that are more than `larder-node`. To be called
/// on the main thread.
pub fn main(prefix: &[OsString], arguments: &[OsString]) -> ExitCode {
    match dispatch(prefix, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening.
            let _ = writeln!(std::io::stderr(), "larder-node: {}", report(&error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(prefix: &[OsString], arguments: &[OsString]) -> Result<()> {
    let words: Vec<Option<&str>> = arguments.iter().map(|word| word.to_str()).collect();
    match words.as_slice() {
        [Some("--version")] => {
            let _ = writeln!(std::io::stdout(), "larder-node {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        [Some("serve"), Some("--directory"), _] => {
            let options = Options {
                directory: arguments[2].clone().into(),
                prefix: prefix.to_vec(),
                program: std::env::current_exe().ok(),
            };
            serve(&options, rustix::stdio::stdin(), rustix::stdio::stdout())
        }
        [Some("child"), Some(parent), _, ..] => child::become_child(parent, &arguments[2..]),
        _ => {
            let text: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
            Err(Error::Arguments(text.join(" ")))
        }
    }
}

//! Credentials given on the command line, and questions on the terminal.

use crate::invocation::Invocation;
use crate::problem::Usage;
use anyhow::{Context, Result};
use larder_core::Secret;
use larder_engine::{Auth, Credential};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Write};

/// Credentials in place of the configured ones.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Credentials")]
pub(crate) struct Given {
    /// Log in as this user, in place of the configured credentials
    #[arg(long, value_name = "USER", requires = "password_stdin")]
    username: Option<String>,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

/// A longer line is not a password.
const PASSWORD_LIMIT: u64 = 64 << 10;

impl Given {
    /// What was given, if anything was.
    pub(crate) fn auth(&self) -> Result<Option<Auth>> {
        let Some(username) = &self.username else { return Ok(None) };
        let password = password_from_stdin()?;
        Ok(Some(Auth::Given(Credential::Basic { username: username.clone(), password })))
    }

    /// Whether standard input is the password.
    pub(crate) fn takes_stdin(&self) -> bool {
        self.password_stdin
    }
}

/// Standard input, without the line end that `echo` adds.
pub(crate) fn password_from_stdin() -> Result<Secret> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(PASSWORD_LIMIT + 1)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input")?;
    if text.len() as u64 > PASSWORD_LIMIT {
        return Err(Usage::new("what standard input holds is too long for a password").into());
    }
    let password =
        text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        return Err(Usage::new("standard input holds no password").into());
    }
    Ok(Secret::new(password))
}

/// Asks on the terminal.
pub(crate) fn ask(question: &str) -> Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Usage::new("user name and password are needed, and there is no terminal to ask on")
            .hint("give --username USER --password-stdin")
            .into());
    }
    let _ = write!(std::io::stderr(), "{question}: ");
    let mut line = String::new();
    input.lock().take(PASSWORD_LIMIT).read_line(&mut line).context("cannot read the answer")?;
    let answer = line.trim_end_matches(['\r', '\n']);
    if answer.is_empty() {
        return Err(Usage::new("the answer is empty").into());
    }
    Ok(answer.to_owned())
}

/// Asks on the terminal without showing the answer. A signal leaves the terminal as it was.
pub(crate) fn ask_secretly(invocation: &Invocation, question: &'static str) -> Result<Secret> {
    let hidden = std::io::stdin().is_terminal().then(Hidden::new).transpose()?;
    let answer = invocation.wait(async move { ask(question) });
    if hidden.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    Ok(Secret::new(answer??))
}

/// The terminal does not echo while this lives.
struct Hidden(Termios);

impl Hidden {
    fn new() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("cannot hide what is typed")?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).context("cannot hide what is typed")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The terminal is gone when this fails.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

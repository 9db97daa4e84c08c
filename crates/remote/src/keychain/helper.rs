//! Docker's credential helper programs: `docker-credential-NAME get|store|erase`, with JSON on standard input and output.

use crate::{Credential, Error, Result};
use larder_core::Secret;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// A helper program, looked for in `path`.
pub(super) struct Helper<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a [PathBuf],
    pub(super) patience: Duration,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What a helper may print.
const ANSWER_LIMIT: u64 = 1 << 20;
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

impl Helper<'_> {
    pub(super) async fn get(&self, server: &str) -> Result<Option<Credential>> {
        let (succeeded, output) = self.run("get", server.as_bytes()).await?;
        if !succeeded {
            let text = String::from_utf8_lossy(&output);
            // The one sentence that means "no", in the words of docker-credential-helpers and of its older versions.
            if text.contains("credentials not found") || text.contains("no credentials") {
                return Ok(None);
            }
            return Err(self.failed("it reported a failure".into()));
        }
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not what a helper answers".into()))?;
        let secret = Secret::new(answer.secret);
        if secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(if answer.username == TOKEN_USER {
            Credential::Identity { username: String::new(), token: secret }
        } else {
            Credential::Basic { username: answer.username, password: secret }
        }))
    }

    pub(super) async fn store(&self, server: &str, username: &str, secret: &Secret) -> Result<()> {
        let entry =
            serde_json::json!({ "ServerURL": server, "Username": username, "Secret": secret.reveal() });
        self.expect("store", entry.to_string().as_bytes()).await
    }

    pub(super) async fn erase(&self, server: &str) -> Result<()> {
        self.expect("erase", server.as_bytes()).await
    }

    async fn expect(&self, action: &str, input: &[u8]) -> Result<()> {
        let (succeeded, _) = self.run(action, input).await?;
        if succeeded { Ok(()) } else { Err(self.failed(format!("it could not {action} the credential"))) }
    }

    /// Runs the program; kills it when it takes too long.
    async fn run(&self, action: &str, input: &[u8]) -> Result<(bool, Vec<u8>)> {
        let program = self.find()?;
        let io = |what: &'static str| {
            move |error: std::io::Error| self.failed(format!("cannot {what} it: {error}"))
        };
        let mut child = Command::new(program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(io("start"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let talk = async {
            if let Some(mut stdin) = stdin {
                // A helper that does not read to the end is free to.
                let _ = stdin.write_all(input).await;
                let _ = stdin.write_all(b"\n").await;
            }
            let mut output = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(ANSWER_LIMIT).read_to_end(&mut output).await.map_err(io("read from"))?;
            }
            let status = child.wait().await.map_err(io("wait for"))?;
            Ok((status.success(), output))
        };
        let timed_out = || self.failed(format!("no answer within {} s", self.patience.as_secs_f32()));
        tokio::time::timeout(self.patience, talk).await.unwrap_or_else(|_| Err(timed_out()))
    }

    fn find(&self) -> Result<PathBuf> {
        // A name from a file becomes part of a path.
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || !self.name.chars().all(sane) {
            return Err(self.failed("it has an impossible name".into()));
        }
        let file = format!("docker-credential-{}", self.name);
        let found = self.path.iter().map(|dir| dir.join(&file)).find(|program| program.is_file());
        found.ok_or_else(|| self.failed("there is no such program in the search path".into()))
    }

    fn failed(&self, reason: String) -> Error {
        Error::Helper { program: format!("docker-credential-{}", crate::redact::text(self.name, 60)), reason }
    }
}

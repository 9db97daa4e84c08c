//! Puts `larder-node` on a node and starts it: one round trip where it is there already.

use super::error::AgentError;
use super::line::Line;
use super::program::{Form, Programs};
use super::{Agent, Hello};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// What is run on the node, word by word: nothing in it comes from outside; what [`start`] writes to its standard input says the
/// rest. Where the user is not root, it becomes that by `sudo -n`.
pub const COMMAND: [&str; 4] = ["sh", "-c", BECOME_ROOT, SCRIPT];

const BECOME_ROOT: &str =
    r#"if [ "$(id -u)" = 0 ]; then exec sh -c "$0" larder; else exec sudo -n sh -c "$0" larder; fi"#;

/// FORMAT: reads lines: the directory; for each program MACHINE SHA256 SIZE FORM; `end`; then the bytes of the program, if it
/// asked for them. It begins a line: what a profile printed last may lack the end of its own. Without quotes (') and
/// exclamation marks, which some login shells take for something else.
const SCRIPT: &str = r#"umask 077; new=; echo
fail() { rm -f "$new"; echo "larder-node/1 failed: $*"; exit 93; }
IFS= read -r directory || exit 90
machine=$(uname -m); digest=
while read -r a b c d && [ "$a" != end ]; do
if [ "$a" = "$machine" ]; then digest=$b; size=$c; form=$d; fi
done
[ -n "$digest" ] || fail "no program for $machine"
if [ "$form" = larder ]; then set -- node-agent; else set --; fi
bin=$directory/bin
file=$bin/larder-node-$(printf %.16s "$digest")
mkdir -p "$bin" || fail "cannot make $bin"
whole() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d" " -f1)" = "$digest" ]; }
whole "$file" || {
new=$bin/.new.$$
trap "rm -f \"\$new\"" EXIT
trap "exit 92" HUP INT TERM PIPE
echo "larder-node/1 need $machine"
head -c "$size" >"$new" || fail "cannot write in $bin"
whole "$new" || fail "what arrived is not what was sent"
chmod 700 "$new"
said=$("$new" "$@" --version 2>&1 </dev/null) || fail "it does not run there: $said"
mv -f "$new" "$file" || fail "cannot write in $bin"
trap - EXIT HUP INT TERM PIPE
}
exec "$file" "$@" serve --directory "$directory""#;

/// A session, and what it took to begin it.
#[derive(Debug)]
pub struct Started<R, W> {
    /// The session.
    pub agent: Agent<R, W>,
    /// Bytes of the program that were sent; 0 if it was there.
    pub installed_bytes: u64,
}

/// Starts `larder-node` on a node where [`COMMAND`] runs at the other end of `reader` and `writer`, putting it there first if need
/// be. `directory` is where it keeps everything.
///
/// # Errors
/// If there is no program for the node, or it cannot be put or started there. If the line fails.
pub async fn start<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: R,
    writer: W,
    programs: &Programs,
    directory: &str,
    hello: Hello,
    patience: Duration,
) -> Result<Started<R, W>, AgentError> {
    let mut line = Line::new(reader, writer, patience);
    line.begin()?;
    let mut lines = format!("{directory}\n");
    for program in programs.iter() {
        let form = match program.form {
            Form::Node => "node",
            Form::Larder => "larder",
        };
        let machine = program.architecture.machine();
        lines.push_str(&format!("{machine} {} {} {form}\n", program.digest.hex(), program.size));
    }
    lines.push_str("end\n");
    line.push_silently(lines.as_bytes()).await?;
    let mut installed_bytes = 0;
    loop {
        let said = line.await_line(&["larder-node/1 "]).await?;
        let word = said.strip_prefix("larder-node/1 ").unwrap_or_default();
        if word == "ready" {
            break;
        } else if let Some(machine) = word.strip_prefix("need ")
            && installed_bytes == 0
        {
            installed_bytes = send_program(&mut line, programs, machine).await?;
        } else if let Some(machine) = word.strip_prefix("failed: no program for ") {
            return Err(AgentError::NoProgram { architecture: machine.to_owned() });
        } else {
            let reason = word.strip_prefix("failed: ").unwrap_or(word).to_owned();
            return Err(AgentError::Install { reason });
        }
    }
    line.end();
    let agent = Agent::introduce(line, hello).await?;
    Ok(Started { agent, installed_bytes })
}

async fn send_program<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    line: &mut Line<R, W>,
    programs: &Programs,
    machine: &str,
) -> Result<u64, AgentError> {
    let Some(program) = programs.of(machine) else {
        return Err(AgentError::NoProgram { architecture: machine.to_owned() });
    };
    let failed = |source| AgentError::File { path: program.path.clone(), source };
    let file = tokio::fs::File::open(&program.path).await.map_err(failed)?;
    // What grew since it was hashed is not sent: the node waits for exactly so many bytes.
    let mut file = file.take(program.size);
    let mut buffer = vec![0; 256 << 10];
    let mut sent = 0;
    while sent < program.size {
        let count = file.read(&mut buffer).await.map_err(failed)?;
        if count == 0 {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        line.push_silently(&buffer[..count]).await?;
        sent += count as u64;
    }
    Ok(sent)
}

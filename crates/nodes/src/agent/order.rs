//! A program that runs on a node.

use super::Agent;
use super::error::AgentError;
use larder_agent::{Code, Content, DATA_LIMIT, Exit, Input, Limits, Member, Reply, Request, Run};
use larder_core::Digest;
use tokio::io::{AsyncRead, AsyncWrite};

/// What to run, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The program and its arguments; no shell reads them.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: Stdin,
    /// What it may cost.
    pub limits: Limits,
}

/// The standard input of a program on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    None,
    /// These bytes; at most 8 MiB.
    Bytes(Vec<u8>),
    /// A blob of the spool.
    Blob(Digest),
    /// A tar archive of these members, in this order.
    Tar(Vec<(String, Entry)>),
}

/// The content of a member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// These bytes; at most 8 MiB in one archive.
    Bytes(Vec<u8>),
    /// A blob of the spool.
    Blob(Digest),
}

/// What a program said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What it wrote to its standard output, within the limit.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error, within the limit.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub exit: Exit,
}

impl Order {
    /// A program without input that may say 64 MiB and complain 64 KiB, for as long as it wants.
    pub fn new<A: Into<String>>(argv: impl IntoIterator<Item = A>) -> Self {
        let limits = Limits { seconds: None, stdout_bytes: 64 << 20, stderr_bytes: 64 << 10 };
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, env: Vec::new(), stdin: Stdin::None, limits }
    }

    /// With an input.
    #[must_use]
    pub fn reading(self, stdin: Stdin) -> Self {
        Self { stdin, ..self }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Agent<R, W> {
    /// Runs a program to its end. Dropping the future kills it, with the session.
    ///
    /// # Errors
    /// If it cannot be started, or what it should read is not there; the session goes on then. If the line fails. How the
    /// program ended is no error.
    pub async fn run(&mut self, order: &Order) -> Result<Ran, AgentError> {
        let (stdin, inline) = order.stdin.split();
        let run = Run { argv: order.argv.clone(), env: order.env.clone(), stdin, limits: order.limits };
        let line = &mut self.line;
        line.begin()?;
        line.say(&Request::Run(run)).await?;
        for bytes in inline {
            for piece in bytes.chunks(DATA_LIMIT) {
                line.say(&Request::Data(piece)).await?;
            }
        }
        line.say(&Request::End).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let outcome = loop {
            match line.hear_alive().await? {
                Reply::Stdout(bytes) => extend(&mut stdout, bytes, order.limits.stdout_bytes)?,
                Reply::Stderr(bytes) => extend(&mut stderr, bytes, order.limits.stderr_bytes)?,
                Reply::Exit(exit) => break Ok(exit),
                Reply::Failure(failure) if matches!(failure.code, Code::Protocol | Code::Version) => {
                    return Err(AgentError::Failed(failure));
                }
                Reply::Failure(failure) => break Err(AgentError::Failed(failure)),
                _ => return Err(AgentError::Unexpected("an answer about something else than the program")),
            }
        };
        line.end();
        outcome.map(|exit| Ran { stdout, stderr, exit })
    }
}

impl Stdin {
    /// What is announced, and the bytes that follow.
    fn split(&self) -> (Input, Vec<&[u8]>) {
        match self {
            Self::None => (Input::None, Vec::new()),
            Self::Bytes(bytes) => (Input::Bytes(bytes.len() as u64), vec![bytes]),
            Self::Blob(digest) => (Input::Blob(*digest), Vec::new()),
            Self::Tar(entries) => {
                let mut inline: Vec<&[u8]> = Vec::new();
                let members = entries.iter().map(|(name, entry)| {
                    let content = match entry {
                        Entry::Bytes(bytes) => {
                            inline.push(bytes);
                            Content::Inline(bytes.len() as u64)
                        }
                        Entry::Blob(digest) => Content::Blob(*digest),
                    };
                    Member { name: name.clone(), content }
                });
                let members = members.collect();
                (Input::Tar(members), inline)
            }
        }
    }
}

/// The node was told the limit; it is not trusted with this machine's memory.
fn extend(kept: &mut Vec<u8>, bytes: &[u8], limit: u64) -> Result<(), AgentError> {
    if (kept.len() + bytes.len()) as u64 > limit {
        return Err(AgentError::Unexpected("more output than was asked for"));
    }
    kept.extend_from_slice(bytes);
    Ok(())
}

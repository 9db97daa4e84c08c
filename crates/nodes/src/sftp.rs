//! One file on a node, written by the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02), as all servers speak it.
//!
//! Not by the program `sftp`: that reads files only, and holds back each connection for itself.

use crate::connection::refusal;
use crate::{Connection, Error, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

const VERSION: u32 = 3;
const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
/// The file is there already.
const FOR_WRITING: u32 = 2;
const DENIED: u32 = 3;
/// What every server takes at once.
pub(crate) const CHUNK: usize = 32 << 10;
/// Chunks that may be under way without an answer.
const WINDOW: u32 = 64;
/// Answers are not longer.
const ANSWER_LIMIT: u32 = 256 << 10;
const COMPLAINT_LIMIT: u64 = 64 << 10;

/// A file that is being written. Dropped, what arrived of it stays.
pub(crate) struct RemoteFile<'a> {
    connection: &'a Connection,
    child: Child,
    input: BufWriter<ChildStdin>,
    output: ChildStdout,
    complaint: JoinHandle<String>,
    handle: Vec<u8>,
    /// Requests that were sent, and those that were answered.
    asked: u32,
    answered: u32,
}

impl<'a> RemoteFile<'a> {
    /// Opens a file that exists, with the rights of the user who logs in.
    pub(crate) async fn open(connection: &'a Connection, path: &str) -> Result<Self> {
        let mut child = connection.sftp()?;
        let input = BufWriter::new(child.stdin.take().expect("it is piped"));
        let output = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped").take(COMPLAINT_LIMIT);
        let complaint = tokio::spawn(async move {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).into_owned()
        });
        let handle = Vec::new();
        let mut file = Self { connection, child, input, output, complaint, handle, asked: 0, answered: 0 };
        match file.start(path).await {
            Ok(handle) => {
                file.handle = handle;
                Ok(file)
            }
            Err(trouble) => Err(file.failed(trouble).await),
        }
    }

    /// Puts at most [`CHUNK`] bytes at an offset.
    pub(crate) async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let request = [&text(&self.handle)[..], &offset.to_be_bytes(), &text(bytes)].concat();
        match self.put(WRITE, &request).await {
            Ok(()) => Ok(()),
            Err(trouble) => Err(self.failed(trouble).await),
        }
    }

    /// Waits until all of it was taken.
    pub(crate) async fn close(mut self) -> Result<()> {
        let request = text(&self.handle);
        let closed = async {
            self.say(CLOSE, &request).await?;
            while self.answered < self.asked {
                self.take_status().await?;
            }
            Ok(())
        };
        match closed.await {
            Ok(()) => Ok(()),
            Err(trouble) => Err(self.failed(trouble).await),
        }
    }

    async fn start(&mut self, path: &str) -> std::result::Result<Vec<u8>, Trouble> {
        self.frame(INIT, &VERSION.to_be_bytes()).await?;
        self.input.flush().await?;
        self.hear().await?;
        let request = [&text(path.as_bytes())[..], &FOR_WRITING.to_be_bytes(), &0u32.to_be_bytes()].concat();
        self.say(OPEN, &request).await?;
        let (kind, answer) = self.hear().await?;
        self.answered += 1;
        match (kind, answer.get(8..)) {
            (HANDLE, Some(handle)) => Ok(handle.to_vec()),
            _ => Err(refused(kind, &answer).unwrap_or(Trouble::Strange)),
        }
    }

    async fn put(&mut self, kind: u8, request: &[u8]) -> std::result::Result<(), Trouble> {
        while self.asked - self.answered >= WINDOW {
            self.input.flush().await?;
            self.take_status().await?;
        }
        let number = self.asked;
        self.asked += 1;
        self.frame(kind, &[&number.to_be_bytes()[..], request].concat()).await
    }

    async fn say(&mut self, kind: u8, request: &[u8]) -> std::result::Result<(), Trouble> {
        self.put(kind, request).await?;
        Ok(self.input.flush().await?)
    }

    async fn frame(&mut self, kind: u8, payload: &[u8]) -> std::result::Result<(), Trouble> {
        self.input.write_u32(payload.len() as u32 + 1).await?;
        self.input.write_u8(kind).await?;
        Ok(self.input.write_all(payload).await?)
    }

    async fn take_status(&mut self) -> std::result::Result<(), Trouble> {
        let (kind, answer) = self.hear().await?;
        self.answered += 1;
        match refused(kind, &answer) {
            None => Ok(()),
            Some(trouble) => Err(trouble),
        }
    }

    async fn hear(&mut self) -> std::result::Result<(u8, Vec<u8>), Trouble> {
        let length = self.output.read_u32().await?;
        if !(1..=ANSWER_LIMIT).contains(&length) {
            return Err(Trouble::Strange);
        }
        let kind = self.output.read_u8().await?;
        let mut answer = vec![0; length as usize - 1];
        self.output.read_exact(&mut answer).await?;
        Ok((kind, answer))
    }

    async fn failed(&mut self, trouble: Trouble) -> Error {
        let node = self.connection.node();
        let (name, program) = (node.name().to_owned(), "its SFTP server".to_owned());
        match trouble {
            Trouble::Refused(DENIED, said) => Error::Forbidden { node: name, program, said },
            Trouble::Refused(code, said) => {
                Error::Remote { node: name, program, status: format!("status {code}"), said }
            }
            Trouble::Strange => {
                Error::Answer { node: name, program: "its SFTP server", said: "no SFTP".into() }
            }
            Trouble::Over => {
                // The end of its output is the end of it.
                let _ = self.child.start_kill();
                let said = (&mut self.complaint).await.unwrap_or_default();
                match said.contains("subsystem request failed") {
                    true => Error::Unsupported {
                        node: name,
                        reason: "its SSH server has no SFTP".into(),
                        hint: "use another --method",
                    },
                    false => refusal(node, &said, "sending an archive"),
                }
            }
        }
    }
}

/// Why it cannot go on.
enum Trouble {
    /// The server said no: a status and its words.
    Refused(u32, String),
    /// The server said something else than it may.
    Strange,
    /// The connection ended.
    Over,
}

impl From<std::io::Error> for Trouble {
    fn from(_: std::io::Error) -> Self {
        Self::Over
    }
}

/// What an answer refuses: a status other than 0, or anything that is no status.
fn refused(kind: u8, answer: &[u8]) -> Option<Trouble> {
    let word = |at: usize| Some(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    match (kind, word(4)) {
        (STATUS, Some(0)) => None,
        (STATUS, Some(code)) => {
            let words = word(8).and_then(|length| answer.get(12..12 + length as usize)).unwrap_or_default();
            Some(Trouble::Refused(code, String::from_utf8_lossy(words).chars().take(200).collect()))
        }
        _ => Some(Trouble::Strange),
    }
}

/// A string: its length and its bytes.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

//! One authenticated connection to a node, over which programs are run there.

use crate::ssh::Ssh;
use crate::{Error, Node, Result, word};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::Mutex;

/// What the other end says once it is there. It stays until this end goes: then its input ends, and with it the connection,
/// however this process died. Its last argument ends with the owner: who looks at the node's processes sees which senders live.
const READY: &str = "larder-ready";
const HELD: &str = "echo larder-ready && exec sh -c 'cat >/dev/null; :' larder-held-";
/// Answers are not larger.
const ANSWER_LIMIT: u64 = 64 << 20;
/// What is kept of what a program complained about.
const COMPLAINT_LIMIT: u64 = 64 << 10;

/// A connection to a node. Programs run over it without another handshake; dropped, it ends, and what runs over it.
#[derive(Debug)]
pub struct Connection {
    ssh: Ssh,
    node: Node,
    socket: PathBuf,
    /// The process that holds the connection, and its input.
    master: Mutex<(Child, Option<ChildStdin>)>,
    /// Words before every program: `sudo -n` where the user is not root and may become it.
    become_root: std::sync::OnceLock<bool>,
}

/// What a program said, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// The end of what it complained about.
    pub stderr: String,
}

impl Output {
    /// What it printed, if it succeeded.
    pub fn success(self, node: &str, program: &str) -> Result<Vec<u8>> {
        let code = match self.code {
            Some(0) => return Ok(self.stdout),
            code => code,
        };
        let (node, program, said) = (node.to_owned(), program.to_owned(), last_words(&self.stderr));
        let words = said.to_ascii_lowercase();
        let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
        // What a program does not understand it does not understand the next time.
        let strange = ["invalid argument", "flag provided but not defined", "snapshotter not loaded"];
        Err(if says(&["no space left on device", "disk quota exceeded"]) {
            Error::NoSpace { node, program, said }
        } else if says(&["permission denied", "a password is required", "operation not permitted"]) {
            Error::Forbidden { node, program, said }
        } else if says(&strange) {
            Error::Unsupported { node, reason: format!("{program} failed: {said}"), hint: "" }
        } else {
            let status = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
            Error::Remote { node, program, status, said }
        })
    }
}

impl Connection {
    pub(crate) async fn open(ssh: &Ssh, node: &Node) -> Result<Self> {
        let socket = ssh.socket();
        let mut command = ssh.command(node, &socket, true)?;
        command.arg("--").arg(&node.host).arg(format!("{HELD}{}", ssh.owner()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| Error::Program { program: "ssh", source };
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).take(64 << 10).lines();
        let mut stderr = child.stderr.take().expect("it is piped");
        // A banner or a noisy profile may come first. Names have to be looked up and users let in as well.
        let patience = ssh.options().connect_timeout.saturating_mul(3).max(Duration::from_secs(5));
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                // What a profile printed last may lack the end of its line.
                if line.trim_end().ends_with(READY) {
                    return true;
                }
            }
            false
        };
        let is_ready = tokio::time::timeout(patience, ready).await;
        if let Ok(true) = is_ready {
            // Nobody reads this any more; ssh must not wait for it.
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
            let master = Mutex::new((child, stdin));
            let become_root = std::sync::OnceLock::new();
            return Ok(Self { ssh: ssh.clone(), node: node.clone(), socket, master, become_root });
        }
        if is_ready.is_err() {
            return Err(Error::Silent {
                node: node.name().into(),
                doing: "opening the connection",
                seconds: patience.as_secs(),
            });
        }
        let mut said = Vec::new();
        let _ = (&mut stderr).take(COMPLAINT_LIMIT).read_to_end(&mut said).await;
        Err(refusal(node, &String::from_utf8_lossy(&said), "opening the connection"))
    }

    /// Where it leads.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Programs are started through `sudo -n` from now on, or not.
    pub(crate) fn set_become_root(&self, sudo: bool) {
        let _ = self.become_root.set(sudo);
    }

    /// How long it may be dead before it is given up.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.ssh.options().idle_timeout
    }

    /// Starts a program on the node with its input, output and complaints at hand. Dropped, it ends.
    pub(crate) fn spawn(&self, argv: &[&str]) -> Result<Child> {
        match self.become_root.get().copied().unwrap_or_default() {
            true => self.spawn_as_is(&[&["sudo", "-n"], argv].concat()),
            false => self.spawn_as_is(argv),
        }
    }

    /// The same with the rights of the user who logs in.
    pub(crate) fn spawn_as_is(&self, argv: &[&str]) -> Result<Child> {
        let words: Vec<String> = argv.iter().map(|word| word::quoted(word)).collect();
        let mut command = self.ssh.command(&self.node, &self.socket, false)?;
        command.arg("--").arg(&self.node.host).arg(words.join(" "));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| Error::Program { program: "ssh", source })
    }

    /// Runs a program on the node with these bytes as its input.
    pub async fn run(&self, argv: &[&str], input: &[u8]) -> Result<Output> {
        let mut child = self.spawn(argv)?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let feed = async move {
            // A program that does not want all of its input says so by how it ends.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(feed, self.collect(child));
        output
    }

    /// Waits for a program's end, while somebody else feeds it.
    pub(crate) async fn collect(&self, mut child: Child) -> Result<Output> {
        let (mut stdout, mut stderr) =
            (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let (mut answer, mut complaint) = (Vec::new(), Vec::new());
        let read = async {
            let answered = (&mut stdout).take(ANSWER_LIMIT + 1).read_to_end(&mut answer).await;
            // What is too long is read on, so that its end is seen and the program is not stuck.
            answered.and(tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await)
        };
        let complain = async {
            let mut buffer = vec![0; 8 << 10];
            while let Ok(count) = stderr.read(&mut buffer).await {
                if count == 0 {
                    break;
                }
                complaint.extend_from_slice(&buffer[..count]);
                if complaint.len() as u64 > 2 * COMPLAINT_LIMIT {
                    complaint.drain(..COMPLAINT_LIMIT as usize);
                }
            }
        };
        let (read, ()) = tokio::join!(read, complain);
        let status = child.wait().await.map_err(|source| Error::Program { program: "ssh", source })?;
        read.map_err(|source| Error::Program { program: "ssh", source })?;
        let stderr = String::from_utf8_lossy(&complaint).into_owned();
        if answer.len() as u64 > ANSWER_LIMIT {
            let said = "more than 64 MiB".to_owned();
            return Err(Error::Answer { node: self.node.name().into(), program: "a program", said });
        }
        match status.code() {
            // ssh itself failed, and the program ended with it.
            Some(255) => Err(refusal(&self.node, &stderr, "running a program")),
            code => Ok(Output { code, stdout: answer, stderr }),
        }
    }

    /// Lets the node reach `local` by a port of its own loopback interface, which is returned, for as long as the connection
    /// lives.
    pub(crate) async fn forward_back(&self, local: SocketAddr) -> Result<u16> {
        let mut command = self.ssh.control(&self.socket, "forward");
        command.arg("-R").arg(format!("127.0.0.1:0:{local}"));
        command.arg("--").arg(&self.node.host).stdin(Stdio::null());
        let output = command.output().await.map_err(|source| Error::Program { program: "ssh", source })?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if let Some(port) = said.parse().ok().filter(|port| *port > 0) {
            return Ok(port);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        // What the server says; anything else is a connection that is gone.
        match complaint.contains("forwarding request failed") {
            true => Err(Error::Unsupported {
                node: self.node.name().into(),
                reason: format!("its SSH server forwards no ports: {}", last_words(&complaint)),
                hint: "use another --method, or allow `AllowTcpForwarding remote` there",
            }),
            false => Err(refusal(&self.node, &complaint, "forwarding a port")),
        }
    }

    /// Starts the node's SFTP server. Dropped, it ends. It has the rights of the user who logs in.
    pub(crate) fn sftp(&self) -> Result<Child> {
        let mut command = self.ssh.command(&self.node, &self.socket, false)?;
        command.args(["-s", "--"]).arg(&self.node.host).arg("sftp");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|source| Error::Program { program: "ssh", source })
    }

    /// Ends it, and waits for its end.
    pub async fn close(self) {
        let (mut child, stdin) = self.master.into_inner();
        drop(stdin);
        // What does not end by itself is killed when it is dropped.
        let _ = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
    }
}

/// What ssh means by its words.
pub(crate) fn refusal(node: &Node, said: &str, doing: &'static str) -> Error {
    let (name, host) = (node.name().to_owned(), node.address());
    // Of a connection over another host, ssh sees only that the host says nothing.
    let is_over = said.contains("kex_exchange_identification") || said.contains("UNKNOWN port");
    let jump = is_over.then(|| refused_host(said)).flatten();
    if said.contains("IDENTIFICATION HAS CHANGED") || said.contains("does not match the known host key") {
        match jump {
            Some(jump) => Error::ChangedHost { node: name, host: jump.clone(), trust: jump },
            None => Error::ChangedHost { trust: name.clone(), node: name, host },
        }
    } else if said.contains("Host key verification failed") || said.contains("host key is known for") {
        match jump {
            Some(jump) => Error::UnknownHost { node: name, host: jump.clone(), trust: jump },
            None => Error::UnknownHost { trust: name.clone(), node: name, host },
        }
    } else if said.contains("Permission denied (") || said.contains("Too many authentication failures") {
        let user = node.user.clone().unwrap_or_else(|| "the user".to_owned());
        Error::Login { node: name, user, said: last_words(said) }
    } else if said.contains("Name or service not known") || said.contains("nodename nor servname provided") {
        Error::NoHost { node: name, host }
    } else {
        Error::Unreachable { node: name, doing, said: last_words(said) }
    }
}

/// The host whose key ssh refuses, as its message has it: `host` or `[host]:port`.
fn refused_host(said: &str) -> Option<String> {
    let ends = [" and you have requested strict checking", " has changed and you have requested"];
    let line = said.lines().find(|line| ends.iter().any(|end| line.contains(end)))?;
    let (_, rest) = line.split_once(" key is known for ").or_else(|| line.split_once("key for "))?;
    let host = rest.split(' ').next().unwrap_or_default();
    crate::selector::destination(host).is_ok().then(|| host.to_owned())
}

/// The last lines of a complaint, in one.
pub(crate) fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = &lines[lines.len().saturating_sub(3)..];
    let mut text = match tail.is_empty() {
        true => "it said nothing".to_owned(),
        false => tail.join("; "),
    };
    if let Some((end, _)) = text.char_indices().nth(600) {
        text.truncate(end);
    }
    text
}

//! The system's `ssh`, as it is started here.

use crate::{Error, Node, Result};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;

/// What connections have in common.
#[derive(Debug, Clone)]
pub struct SshOptions {
    /// Files with host keys that are believed, where a node has none of its own.
    pub known_hosts: Vec<PathBuf>,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
    /// How long a connection may be dead before it is given up.
    pub idle_timeout: Duration,
    /// Where sockets of running connections are; a short path.
    pub runtime_dir: PathBuf,
    /// The home directory of the user, for `~` in paths.
    pub home: Option<PathBuf>,
}

/// The system's `ssh` with the directory of its sockets, which goes with the last connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ssh {
    options: Arc<SshOptions>,
    sockets: Arc<Sockets>,
}

#[derive(Debug)]
struct Sockets {
    dir: tempfile::TempDir,
    /// Held as long as this process lives: a directory whose lock is free is swept.
    _lock: File,
    /// The directory itself, for paths that need no quotes wherever it is.
    opened: File,
    next: AtomicU64,
    /// Configuration files, by what is in them.
    configurations: Mutex<HashMap<String, PathBuf>>,
}

const PREFIX: &str = "larder-ssh-";
/// What connections have in common with those to the hosts on their way. The first value that ssh reads counts, so what the user has
/// configured comes last. A jump host is reached by another ssh, which gets this file and nothing else of ours.
const STRICT: &str = "BatchMode yes\nStrictHostKeyChecking yes\nForwardAgent no\nForwardX11 no\nPermitLocalCommand no\n\
    ControlMaster no\nControlPath none\nControlPersist no\nServerAliveCountMax 3\nLogLevel ERROR\n";
const USERS: &str = "Include ~/.ssh/config\nInclude /etc/ssh/ssh_config\n";
/// With a key of the inventory, ssh would try none of these.
const USUAL_KEYS: &str =
    "IdentityFile ~/.ssh/id_ed25519\nIdentityFile ~/.ssh/id_ecdsa\nIdentityFile ~/.ssh/id_rsa\n";

impl Ssh {
    pub(crate) fn new(options: SshOptions) -> Result<Self> {
        let parent = &options.runtime_dir;
        sweep(parent);
        let dir = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(Error::file("create a directory in", parent.clone()))?;
        let path = dir.path().join("lock");
        let lock = File::create(&path).map_err(Error::file("create", &path))?;
        // Where files cannot be locked, nobody sweeps.
        let _ = lock.try_lock();
        let opened = File::open(dir.path()).map_err(Error::file("open", dir.path()))?;
        let (next, configurations) = (AtomicU64::new(0), Mutex::default());
        let sockets = Sockets { dir, _lock: lock, opened, next, configurations };
        Ok(Self { options: Arc::new(options), sockets: Arc::new(sockets) })
    }

    pub(crate) fn options(&self) -> &SshOptions {
        &self.options
    }

    /// A word of letters and digits that no other sender has.
    pub(crate) fn owner(&self) -> &str {
        let name = self.sockets.dir.path().file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.strip_prefix(PREFIX)).unwrap_or("larder")
    }

    /// A path for the socket of a new connection.
    pub(crate) fn socket(&self) -> PathBuf {
        let number = self.sockets.next.fetch_add(1, Ordering::Relaxed);
        self.sockets.dir.path().join(number.to_string())
    }

    /// `ssh` with everything that leads to a node, up to the destination and what follows it.
    ///
    /// # Errors
    /// When there is no room for its configuration.
    pub(crate) fn command(&self, node: &Node, socket: &Path, is_master: bool) -> Result<Command> {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(self.configuration(node)?);
        let set = |command: &mut Command, name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        set(&mut command, "ControlPath", &escaped(socket));
        set(&mut command, "ControlMaster", if is_master { "yes" } else { "no" });
        set(&mut command, "RemoteCommand", "none");
        set(&mut command, "RequestTTY", "no");
        // What the user's configuration forwards has no part here, and would be tried with each call.
        set(&mut command, "ClearAllForwardings", "yes");
        if let Some(file) = &node.known_hosts {
            set(&mut command, "UserKnownHostsFile", &quoted(&self.local(file))?);
        }
        if let Some(key) = &node.key {
            set(&mut command, "IdentitiesOnly", "yes");
            set(&mut command, "IdentityFile", &quoted(&self.local(key))?);
        }
        if let Some(jump) = &node.jump {
            set(&mut command, "ProxyJump", jump);
        }
        if let Some(user) = &node.user {
            set(&mut command, "User", user);
        }
        if let Some(port) = node.port {
            set(&mut command, "Port", &port.to_string());
        }
        command.kill_on_drop(true);
        Ok(command)
    }

    /// `ssh` that asks the process that holds a connection for something, up to the destination and what follows it. What the user
    /// has configured does not count: it would be asked for as well.
    pub(crate) fn control(&self, socket: &Path, order: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o"]).arg(format!("ControlPath={}", escaped(socket)));
        command.args(["-O", order]).kill_on_drop(true);
        command
    }

    /// The file with what counts for a node and for the hosts on the way to it.
    fn configuration(&self, node: &Node) -> Result<PathBuf> {
        let seconds = |span: Duration| span.as_secs().max(1);
        let mut text = STRICT.to_owned();
        let mut files = self.options.known_hosts.clone();
        if let (Some(_), Some(own)) = (&node.jump, &node.known_hosts) {
            // The keys of a node's jump hosts may be where its own is.
            files.insert(0, self.local(own));
        }
        let files: Vec<String> = files.iter().map(|path| quoted(path)).collect::<Result<_>>()?;
        let alive = seconds(self.options.idle_timeout / 3);
        let _ = writeln!(text, "ConnectTimeout {}", seconds(self.options.connect_timeout));
        let _ = writeln!(text, "ServerAliveInterval {alive}");
        // Without any, those that ssh knows by itself.
        if !files.is_empty() {
            let _ = writeln!(text, "UserKnownHostsFile {}", files.join(" "));
        }
        text += USERS;
        if let (Some(_), Some(key)) = (&node.jump, &node.key) {
            // Last, and for all: what the user has configured for a jump host is tried before.
            let _ = writeln!(text, "Host *\nIdentityFile {}", quoted(&self.local(key))?);
            text += USUAL_KEYS;
        }
        let mut known = self.sockets.configurations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = known.get(&text) {
            return Ok(path.clone());
        }
        let name = format!("config-{}", known.len());
        let written = self.sockets.dir.path().join(&name);
        std::fs::write(&written, &text).map_err(Error::file("write", &written))?;
        // ssh gives the path to a shell as it is: it is to have no characters that mean anything there.
        let path = format!("/proc/{}/fd/{}/{name}", std::process::id(), self.sockets.opened.as_raw_fd());
        known.insert(text, path.clone().into());
        Ok(path.into())
    }

    /// A path of this machine as people write it, `~` included.
    fn local(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.options.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => path.into(),
        }
    }
}

/// A path in a list of paths in an option of ssh.
fn quoted(path: &Path) -> Result<String> {
    let text = escaped(path);
    match text.contains(|c: char| c.is_control() || c == '"') {
        false => Ok(format!("\"{text}\"")),
        true => Err(Error::Word {
            what: "path for ssh",
            value: text,
            reason: "it has quotes or control characters",
        }),
    }
}

/// Percent signs are what ssh expands in paths.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%%")
}

/// Removes what killed processes left.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // A directory without a lock is about to get one.
        if let Ok(lock) = File::open(entry.path().join("lock"))
            && lock.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

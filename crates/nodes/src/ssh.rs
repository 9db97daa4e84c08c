//! The system's `ssh`, as it is started here.

use crate::{Error, Node, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    next: AtomicU64,
}

const PREFIX: &str = "larder-ssh-";

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
        let sockets = Sockets { dir, _lock: lock, next: AtomicU64::new(0) };
        Ok(Self { options: Arc::new(options), sockets: Arc::new(sockets) })
    }

    pub(crate) fn options(&self) -> &SshOptions {
        &self.options
    }

    /// A word that no other sender has.
    pub(crate) fn owner(&self) -> &str {
        let name = self.sockets.dir.path().file_name().and_then(|name| name.to_str());
        name.unwrap_or(PREFIX)
    }

    /// A path for the socket of a new connection.
    pub(crate) fn socket(&self) -> PathBuf {
        let number = self.sockets.next.fetch_add(1, Ordering::Relaxed);
        self.sockets.dir.path().join(number.to_string())
    }

    /// `program` (`ssh` or `sftp`) with everything that leads to a node, up to the destination and what follows it.
    pub(crate) fn command(
        &self,
        program: &'static str,
        node: &Node,
        socket: &Path,
        is_master: bool,
    ) -> Command {
        let mut command = Command::new(program);
        let seconds = |span: Duration| span.as_secs().max(1);
        let alive = seconds(self.options.idle_timeout / 3);
        let set = |command: &mut Command, name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        set(&mut command, "BatchMode", "yes");
        set(&mut command, "StrictHostKeyChecking", "yes");
        set(&mut command, "ControlPath", &escaped(socket));
        set(&mut command, "ControlMaster", if is_master { "yes" } else { "no" });
        set(&mut command, "ControlPersist", "no");
        set(&mut command, "ConnectTimeout", &seconds(self.options.connect_timeout).to_string());
        set(&mut command, "ServerAliveInterval", &alive.to_string());
        set(&mut command, "ServerAliveCountMax", "3");
        set(&mut command, "ForwardAgent", "no");
        set(&mut command, "ForwardX11", "no");
        set(&mut command, "PermitLocalCommand", "no");
        set(&mut command, "RemoteCommand", "none");
        set(&mut command, "RequestTTY", "no");
        set(&mut command, "LogLevel", "ERROR");
        let known = match &node.known_hosts {
            Some(file) => vec![self.local(file)],
            None => self.options.known_hosts.clone(),
        };
        let known: Vec<String> = known.iter().map(|path| format!("\"{}\"", escaped(path))).collect();
        set(&mut command, "UserKnownHostsFile", &known.join(" "));
        if let Some(key) = &node.key {
            set(&mut command, "IdentitiesOnly", "yes");
            set(&mut command, "IdentityFile", &format!("\"{}\"", escaped(&self.local(key))));
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
        command
    }

    /// A path of this machine as people write it, `~` included.
    fn local(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), &self.options.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => path.into(),
        }
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

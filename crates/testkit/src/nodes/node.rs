//! One node.

use super::plan::{Engine, Plan};
use super::slot::Slot;
use crate::process::{Outcome, Process, Running};
use crate::tools::{self, tool};
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A running node. Needs root. Everything it is made of goes when it is dropped or when this process dies: its processes are
/// in a process namespace, its mounts and its network end with the last of them.
#[derive(Debug)]
pub struct Node {
    // The order is the order in which they are dropped.
    boot: Option<Running>,
    hold: Running,
    plan: Plan,
    host_key: String,
    client_key: PathBuf,
    known_hosts: PathBuf,
    slot: Slot,
}

impl Node {
    /// Makes it and switches it on; waits until it answers.
    pub(super) fn start(plan: &Plan, client_key: &Path) -> Result<Self> {
        tools::require(&["ip", "sshd", "ssh-keygen", "unshare", "nsenter", "pivot_root", "setpriv"])?;
        match &plan.engine {
            Engine::Containerd => tools::require(&["containerd", "ctr", "runc"])?,
            Engine::Docker => tools::require(&["dockerd", "docker", "containerd", "runc"])?,
            Engine::ContainerdIn(_) | Engine::None => {}
        }
        let slot = Slot::take()?;
        let home = slot.directory();
        let host_key = seed(&home.join("disk.seed"), plan, client_key)?;
        std::fs::create_dir(home.join("disk")).context("no directory for the disk")?;
        let hold = hold(&home, plan)?;
        wire(&slot, hold.id())?;
        let known_hosts = home.join("known_hosts");
        std::fs::write(&known_hosts, format!("{} {host_key}\n", slot.address())).context("no known_hosts")?;
        let mut node = Self {
            boot: None,
            hold,
            plan: plan.clone(),
            host_key,
            client_key: client_key.to_owned(),
            known_hosts,
            slot,
        };
        node.switch_on()?;
        Ok(node)
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its address, reachable from this machine only.
    pub fn address(&self) -> Ipv4Addr {
        self.slot.address()
    }

    /// This machine's address as the node sees it.
    pub fn sender_address(&self) -> Ipv4Addr {
        self.slot.host()
    }

    /// Where its sshd listens.
    pub fn socket_address(&self) -> SocketAddr {
        (self.address(), SSH_PORT).into()
    }

    /// Who may log in.
    pub fn user(&self) -> &'static str {
        "root"
    }

    /// The private key of whom may log in; the same for the whole fleet.
    pub fn key(&self) -> &Path {
        &self.client_key
    }

    /// A `known_hosts` file that has its host key, under its address.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    /// Its public host key, `ssh-ed25519 …`.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// What runs containers there.
    pub fn engine(&self) -> &Engine {
        &self.plan.engine
    }

    /// A list item for `nodes:` of an inventory, in YAML.
    pub fn entry(&self) -> String {
        self.entry_at(self.socket_address(), &self.known_hosts)
    }

    /// The same for a connection by another way, for example a [`super::Link`].
    pub fn entry_at(&self, way: SocketAddr, known_hosts: &Path) -> String {
        let mut entry = format!("- name: {}\n", self.name());
        let _ = writeln!(entry, "  host: {}\n  port: {}\n  user: {}", way.ip(), way.port(), self.user());
        let _ = writeln!(entry, "  key: {}", self.key().display());
        let _ = writeln!(entry, "  known_hosts: {}", known_hosts.display());
        entry
    }

    /// A program about to run on the node as root, not by ssh.
    pub fn command<A: AsRef<std::ffi::OsStr>>(&self, argv: impl IntoIterator<Item = A>) -> Result<Process> {
        let boot = self.boot.as_ref().context("the node is switched off")?;
        let id = boot.id();
        Ok(tool("nsenter")?
            .env("HOME", "/root")
            .arg(format!("--target={id}"))
            .args(["--mount", "--net", "--uts", "--ipc", "--root", "--wd=/"])
            .arg(format!("--pid=/proc/{id}/ns/pid_for_children"))
            .arg("--")
            .args(argv))
    }

    /// Runs a program on the node to its end, whatever the exit status; not by ssh.
    pub fn run<A: AsRef<std::ffi::OsStr>>(&self, argv: impl IntoIterator<Item = A>) -> Result<Outcome> {
        self.command(argv)?.outcome()
    }

    /// Runs `ctr` in the namespace of Kubernetes, and insists on success.
    pub fn ctr<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Outcome> {
        self.command(["ctr", "--namespace", "k8s.io"])?.args(args).run()
    }

    /// Runs `docker`, and insists on success.
    pub fn docker<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Outcome> {
        self.command(["docker"])?.args(args).run()
    }

    /// Where one of its files can be reached from this machine.
    ///
    /// # Panics
    /// Where `path` is not absolute, or the node is switched off.
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        let boot = self.boot.as_ref().expect("the node is switched on");
        let below = path.as_ref().strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", boot.id())).join(below)
    }

    /// Bytes that went over its wire to it and from it since it was made, headers of Ethernet and above included.
    pub fn wire_bytes(&self) -> Result<(u64, u64)> {
        let count = |name: &str| {
            let path = format!("/sys/class/net/{}/statistics/{name}", self.slot.wire());
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            text.trim().parse().with_context(|| format!("{path} is not a number"))
        };
        Ok((count("tx_bytes")?, count("rx_bytes")?))
    }

    /// Bytes in use on its disk. Errors where it has no disk of its own.
    pub fn disk_used(&self) -> Result<u64> {
        let stat = self.disk()?;
        Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }

    /// Bytes free on its disk. Errors where it has no disk of its own.
    pub fn disk_free(&self) -> Result<u64> {
        let stat = self.disk()?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Puts a file there so that only `left` bytes stay free; returns its path on the node. Errors where it has no disk of its own.
    pub fn fill_disk(&self, left: u64) -> Result<PathBuf> {
        let file = std::fs::File::create(self.file(BALLAST)).context("cannot make the ballast")?;
        let mut size = 0;
        loop {
            let more = self.disk_free()?.saturating_sub(left);
            if more < 4096 {
                break;
            }
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), size, more) {
                Ok(()) => size += more,
                // Others write meanwhile.
                Err(rustix::io::Errno::NOSPC) => {}
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        Ok(BALLAST.into())
    }

    /// Removes the file that [`Node::fill_disk`] put there.
    pub fn free_disk(&self) -> Result<()> {
        std::fs::remove_file(self.file(BALLAST)).context("cannot remove the ballast")
    }

    /// Power off and on: the wire goes dead, all processes vanish at once, `/run` and `/tmp` are empty, and it starts again.
    /// Waits until it answers.
    pub fn reboot(&mut self) -> Result<()> {
        self.switch_off()?;
        self.switch_on()
    }

    /// Power off: no packet answers, all processes vanish at once. Its disk stays.
    pub fn switch_off(&mut self) -> Result<()> {
        self.set_wire("down")?;
        if let Some(boot) = self.boot.take() {
            boot.kill()?;
        }
        Ok(())
    }

    /// Power on; waits until it answers.
    pub fn switch_on(&mut self) -> Result<()> {
        let (engine, programs) = match &self.plan.engine {
            Engine::Containerd => ("containerd", None),
            Engine::ContainerdIn(directory) => ("containerd", Some(directory)),
            Engine::Docker => ("docker", None),
            Engine::None => ("none", None),
        };
        let boot = tool("nsenter")?
            .arg(format!("--target={}", self.hold.id()))
            .args(["--mount", "--net", "--uts", "--ipc", "--"])
            .args(["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"])
            .args(["sh", "-c", BOOT, "node"])
            .arg(self.slot.directory().join("disk"))
            .arg(engine)
            .arg(programs.map_or(Path::new(""), PathBuf::as_path))
            .limit(Duration::MAX)
            .spawn()?;
        self.boot = Some(boot);
        self.set_wire("up")?;
        self.wait_until_ready()
    }

    /// Pulls the wire out, or plugs it in: `down` or `up`. Connections notice only by their own patience.
    fn set_wire(&self, state: &str) -> Result<()> {
        tool("ip")?.args(["link", "set", &self.slot.wire(), state]).run().map(drop)
    }

    /// Waits until its daemons answer, as after one of them was killed.
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.is_ready()? {
            let running = self.boot.as_mut().map(Running::is_running).transpose()?;
            if running != Some(true) || start.elapsed() > READY {
                bail!("node {} does not come up:\n{}", self.name(), self.words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_ready(&self) -> Result<bool> {
        let engine = match &self.plan.engine {
            Engine::Containerd | Engine::ContainerdIn(_) => Some(["ctr", "version"]),
            Engine::Docker => Some(["docker", "version"]),
            Engine::None => None,
        };
        if let Some(argv) = engine
            && self.run(argv)?.code() != Some(0)
        {
            return Ok(false);
        }
        let greets = |mut stream: TcpStream| {
            let mut greeting = [0; 4];
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.read_exact(&mut greeting)?;
            Ok::<_, std::io::Error>(&greeting == b"SSH-")
        };
        let stream = TcpStream::connect_timeout(&self.socket_address(), Duration::from_secs(1));
        Ok(stream.and_then(greets).unwrap_or(false))
    }

    /// What its daemons wrote, for messages.
    pub fn words(&self) -> String {
        let mut words = String::new();
        if let Some(boot) = &self.boot {
            words.push_str(&boot.stderr());
            for log in ["sshd", "containerd", "dockerd"] {
                let path = self.file(format!("/var/log/{log}.log"));
                if let Ok(text) = std::fs::read_to_string(path) {
                    let _ = writeln!(words, "--- {log}\n{text}");
                }
            }
        }
        words
    }

    fn disk(&self) -> Result<rustix::fs::StatVfs> {
        if self.plan.disk_bytes.is_none() {
            bail!("node {} has no disk of its own", self.name());
        }
        rustix::fs::statvfs(self.file("/var")).context("cannot ask for the disk")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(boot) = self.boot.take() {
            drop(boot);
        }
        self.hold.kill_in_place();
        // What stays is swept by the next fleet.
        let _ = self.slot.clear();
    }
}

/// What is on its disk before it starts; returns the public host key.
fn seed(seed: &Path, plan: &Plan, client_key: &Path) -> Result<String> {
    let ssh = seed.join(".layers/etc/ssh");
    let write = |path: &Path, content: &str, mode: u32| {
        let parent = path.parent().expect("a path below the seed");
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot change the mode of {}", path.display()))
    };
    write(&ssh.join("sshd_config"), SSHD, 0o644)?;
    let key = ssh.join("ssh_host_ed25519_key");
    new_key(&key)?;
    let public = std::fs::read_to_string(client_key.with_extension("pub")).context("no public key")?;
    write(&seed.join("root/.ssh/authorized_keys"), &public, 0o600)?;
    for directory in ["root", "root/.ssh"] {
        std::fs::set_permissions(seed.join(directory), std::fs::Permissions::from_mode(0o700))
            .context("cannot protect the home of root")?;
    }
    write(&seed.join(".layers/etc/containerd/config.toml"), CONTAINERD, 0o644)?;
    if let Engine::ContainerdIn(directory) = &plan.engine {
        for name in ["containerd", "ctr"] {
            let script = format!("#!/bin/sh\nexec '{}' \"$@\"\n", directory.join(name).display());
            write(&seed.join(".layers/local/bin").join(name), &script, 0o755)?;
        }
    }
    let public = std::fs::read_to_string(key.with_extension("pub")).context("no public host key")?;
    let words: Vec<&str> = public.split_whitespace().take(2).collect();
    Ok(words.join(" "))
}

/// Makes a pair of keys without a passphrase: `path` and `path.pub`.
pub(super) fn new_key(path: &Path) -> Result<()> {
    tool("ssh-keygen")?
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "larder", "-f"])
        .arg(path)
        .run()
        .map(drop)
}

/// The process that keeps the network, the name and the disk of a node.
fn hold(home: &Path, plan: &Plan) -> Result<Running> {
    let mut hold = tool("unshare")?
        .args(["--mount", "--net", "--uts", "--ipc", "sh", "-c", HOLD, "hold"])
        .arg(home.join("disk"))
        .arg(&plan.name)
        .arg(plan.disk_bytes.unwrap_or(0).to_string())
        .limit(Duration::MAX)
        .spawn()?;
    let start = Instant::now();
    while !home.join("disk.held").exists() {
        if !hold.is_running()? || start.elapsed() > READY {
            bail!("cannot make a node (root?):\n{}", hold.stderr());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(hold)
}

/// Lays a wire from this machine to the namespace of a process.
fn wire(slot: &Slot, process: u32) -> Result<()> {
    let (wire, host, address) = (slot.wire(), slot.host(), slot.address());
    let here = format!(
        "link add {wire} type veth peer name eth0 netns {process}\naddress add {host}/30 dev {wire}\n"
    );
    let there = format!("link set lo up\naddress add {address}/30 dev eth0\nlink set eth0 up\n");
    tool("ip")?.args(["-batch", "-"]).input(here).run()?;
    let network = format!("--net=/proc/{process}/ns/net");
    tool("nsenter")?.args([&network, "ip", "-batch", "-"]).input(there).run().map(drop)
}

const SSH_PORT: u16 = 22;
const READY: Duration = Duration::from_secs(60);
const BALLAST: &str = "/var/ballast";
const HOLD: &str = include_str!("hold.sh");
const BOOT: &str = include_str!("boot.sh");
const SSHD: &str = "Port 22\nAddressFamily inet\nHostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM no\nUseDNS no\n\
    PasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowTcpForwarding yes\nAllowStreamLocalForwarding yes\n\
    PrintMotd no\nLogLevel VERBOSE\nPidFile none\nSubsystem sftp /usr/lib/openssh/sftp-server\n";
/// What has no part here: the Kubernetes interface takes a second to start.
const CONTAINERD: &str = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
    \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\", \"io.containerd.internal.v1.opt\"]\n";

//! A way to a node that can be slow, silent or broken.

use super::Node;
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A TCP proxy on loopback in front of a node's sshd. What passes is counted in both directions; its settings apply at once, also
/// to open connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    line: Arc<Line>,
    known_hosts: tempfile::NamedTempFile,
}

#[derive(Debug)]
struct Line {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    sent: u64,
    received: u64,
    connections: u64,
    cuts: u64,
    /// Bytes to the node after which all connections break, one after the other.
    cut_after: Vec<u64>,
    sent_since_cut: u64,
    bytes_per_second: Option<u64>,
    free_at: Instant,
    stalled: bool,
    down: bool,
    closed: bool,
    open: Vec<(TcpStream, TcpStream)>,
}

impl Link {
    /// A way to a node on a free port of this machine.
    pub fn to(node: &Node) -> Result<Self> {
        let mut link = Self::to_address(node.socket_address())?;
        writeln!(link.known_hosts, "[{}]:{} {}", link.address.ip(), link.address.port(), node.host_key())
            .context("cannot write known_hosts")?;
        Ok(link)
    }

    /// A way to anything that listens; its `known_hosts` is empty.
    pub fn to_address(target: SocketAddr) -> Result<Self> {
        Self::from_address(Ipv4Addr::LOCALHOST, target)
    }

    /// The same on another address of this machine, for example [`Node::sender_address`]: so a node reaches what listens here.
    pub fn from_address(address: Ipv4Addr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).context("no free port")?;
        let address = listener.local_addr().context("a listener has an address")?;
        let state = State {
            sent: 0,
            received: 0,
            connections: 0,
            cuts: 0,
            cut_after: Vec::new(),
            sent_since_cut: 0,
            bytes_per_second: None,
            free_at: Instant::now(),
            stalled: false,
            down: false,
            closed: false,
            open: Vec::new(),
        };
        let line = Arc::new(Line { target, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&line);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.lock().closed {
                    break;
                }
                accepting.serve(client);
            }
        });
        let known_hosts = tempfile::NamedTempFile::new().context("no file for known_hosts")?;
        Ok(Self { address, line, known_hosts })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A `known_hosts` file that has the node's host key under this address.
    pub fn known_hosts(&self) -> &Path {
        self.known_hosts.path()
    }

    /// A list item for an inventory: the node by this way.
    pub fn entry(&self, node: &Node) -> String {
        node.entry_at(self.address, self.known_hosts())
    }

    /// The file of [`Link::known_hosts`], to be kept beyond this value.
    pub fn known_hosts_path(&self) -> PathBuf {
        self.known_hosts().to_owned()
    }

    /// Bytes passed to the node so far: of ssh, encryption and padding included.
    pub fn sent(&self) -> u64 {
        self.line.lock().sent
    }

    /// Bytes passed from the node so far.
    pub fn received(&self) -> u64 {
        self.line.lock().received
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.line.lock().connections
    }

    /// Cuts of [`Link::cut_after`] and [`Link::cut_at_each`] that came to pass.
    pub fn cuts(&self) -> u64 {
        self.line.lock().cuts
    }

    /// Breaks all connections once, when `bytes` more have passed to the node. New ones are fine.
    pub fn cut_after(&self, bytes: u64) {
        self.cut_at_each(&[bytes]);
    }

    /// Breaks all connections when so many bytes have passed to the node, then again after the next number since, and so on.
    pub fn cut_at_each(&self, bytes: &[u64]) {
        let mut state = self.line.lock();
        state.sent_since_cut = 0;
        state.cut_after = bytes.iter().rev().copied().collect();
    }

    /// Breaks all connections now. New ones are fine.
    pub fn cut(&self) {
        self.line.lock().cut();
    }

    /// Breaks all connections and breaks new ones until [`Link::up`].
    pub fn down(&self) {
        let mut state = self.line.lock();
        state.down = true;
        state.cut();
    }

    /// After [`Link::down`].
    pub fn up(&self) {
        self.line.lock().down = false;
    }

    /// Both directions of all connections together pass no more than this; `None`: as fast as it goes.
    pub fn rate(&self, bytes_per_second: Option<u64>) {
        self.line.lock().bytes_per_second = bytes_per_second;
    }

    /// Nothing passes any more, and nobody is told, until [`Link::resume`].
    pub fn stall(&self) {
        self.line.lock().stalled = true;
    }

    /// After [`Link::stall`]: what waited passes.
    pub fn resume(&self) {
        self.line.lock().stalled = false;
        self.line.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        {
            let mut state = self.line.lock();
            state.closed = true;
            state.cut();
        }
        self.line.changed.notify_all();
        // Wakes the accepting thread, so that it sees the flag and drops the listener.
        let _ = TcpStream::connect(self.address);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToNode,
    FromNode,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A counter is right whatever thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        if self.lock().down {
            return;
        }
        let Ok(server) = TcpStream::connect_timeout(&self.target, Duration::from_secs(10)) else { return };
        let copies = (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
        let (Ok(client_kept), Ok(server_kept), Ok(client_reads), Ok(server_reads)) = copies else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        {
            let mut state = self.lock();
            state.connections += 1;
            state.open.push((client_kept, server_kept));
        }
        for (from, to, direction) in
            [(client_reads, server, Direction::ToNode), (server_reads, client, Direction::FromNode)]
        {
            let line = Arc::clone(self);
            std::thread::spawn(move || line.copy(from, to, direction));
        }
    }

    /// Copies one direction. At its end the other side is told that no more comes; at a break both sides are cut off.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => {
                    let passed = self.pass(count, direction);
                    let written = to.write_all(&buffer[..passed]).is_ok();
                    if passed < count {
                        // The last bytes go out before the break: it is at the very byte that was asked for.
                        self.lock().cut();
                        return;
                    }
                    if written {
                        continue;
                    }
                }
                Err(_) => {}
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }

    /// Waits until bytes may pass, and says how many of `count`; fewer where the line breaks then.
    fn pass(&self, count: usize, direction: Direction) -> usize {
        let mut state = self.lock();
        while state.stalled && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(rate) = state.bytes_per_second {
            let now = Instant::now();
            let start = state.free_at.max(now);
            state.free_at = start + Duration::from_secs_f64(count as f64 / rate as f64);
            drop(state);
            std::thread::sleep(start - now);
            state = self.lock();
        }
        if direction == Direction::FromNode {
            state.received += count as u64;
            return count;
        }
        let mut passed = count;
        if let Some(&limit) = state.cut_after.last() {
            let left = usize::try_from(limit.saturating_sub(state.sent_since_cut)).unwrap_or(usize::MAX);
            if left < count {
                passed = left;
                state.cut_after.pop();
                state.cuts += 1;
            }
        }
        state.sent += passed as u64;
        state.sent_since_cut = if passed < count { 0 } else { state.sent_since_cut + passed as u64 };
        passed
    }
}

impl State {
    fn cut(&mut self) {
        for (client, server) in self.open.drain(..) {
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
    }
}

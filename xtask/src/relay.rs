//! A TCP relay on loopback in front of a server: counts what the server sends, and can make the line slow.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running relay; connections are closed and the port is freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    target: SocketAddr,
    received: AtomicU64,
    /// 0: as fast as it goes.
    bytes_per_second: AtomicU64,
    /// When the next byte may pass on a slow line.
    free_at: Mutex<Instant>,
    closed: AtomicBool,
    /// Directions of connections that are still copied.
    open: AtomicU64,
}

impl Relay {
    /// Starts on a free port.
    pub(crate) fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line {
            target,
            received: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            free_at: Mutex::new(Instant::now()),
            closed: AtomicBool::new(false),
            open: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&line);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.closed.load(Ordering::Relaxed) {
                    break;
                }
                accepting.serve(client);
            }
        });
        Ok(Self { address, line })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes passed from the server to clients so far, headers included.
    pub(crate) fn received(&self) -> u64 {
        self.line.received.load(Ordering::Relaxed)
    }

    /// Waits until no connection is open, so that nothing of an earlier client is counted to a later one.
    pub(crate) fn settle(&self) {
        while self.line.open.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// All connections together pass no more than this; `None`: as fast as it goes.
    pub(crate) fn limit(&self, bytes_per_second: Option<u64>) {
        self.line.bytes_per_second.store(bytes_per_second.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.closed.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees the flag and drops the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl Line {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.target) else { return };
        let (Ok(client_reads), Ok(server_reads)) = (client.try_clone(), server.try_clone()) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        self.open.fetch_add(2, Ordering::AcqRel);
        let line = Arc::clone(self);
        std::thread::spawn(move || {
            copy(client_reads, server, |_| true);
            line.open.fetch_sub(1, Ordering::AcqRel);
        });
        let line = Arc::clone(self);
        std::thread::spawn(move || {
            copy(server_reads, client, |count| line.pass(count));
            line.open.fetch_sub(1, Ordering::AcqRel);
        });
    }

    /// Waits until `count` more bytes may pass. False: the relay is gone.
    fn pass(&self, count: usize) -> bool {
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate > 0 {
            let wait = {
                let mut free_at = self.free_at.lock().expect("nothing panics while it holds the lock");
                let now = Instant::now();
                let start = (*free_at).max(now);
                *free_at = start + Duration::from_secs_f64(count as f64 / rate as f64);
                start - now
            };
            std::thread::sleep(wait);
        }
        self.received.fetch_add(count as u64, Ordering::Relaxed);
        !self.closed.load(Ordering::Relaxed)
    }
}

/// Copies one direction. At its end the other side is told that no more comes; at a break both sides are cut off.
fn copy(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(usize) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    let whole = loop {
        match from.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) if pass(count) && to.write_all(&buffer[..count]).is_ok() => {}
            _ => break false,
        }
    };
    // A side that is gone already cannot be told anything.
    if whole {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeter(size: usize) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut question = [0; 4];
                client.read_exact(&mut question).unwrap();
                assert_eq!(&question, b"more");
                client.write_all(&vec![7; size]).unwrap();
            }
        });
        address
    }

    fn ask(address: SocketAddr) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"more").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[test]
    fn bytes_pass_unchanged_and_are_counted() {
        let relay = Relay::start(greeter(300_000)).unwrap();
        assert_eq!(ask(relay.address()), vec![7; 300_000]);
        ask(relay.address());
        assert_eq!(relay.received(), 600_000);
    }

    #[test]
    fn a_slow_line_is_slow() {
        let relay = Relay::start(greeter(500_000)).unwrap();
        relay.limit(Some(1_000_000));
        let start = Instant::now();
        assert_eq!(ask(relay.address()).len(), 500_000);
        assert!(start.elapsed() > Duration::from_millis(300), "{:?}", start.elapsed());
    }
}

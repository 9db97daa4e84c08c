//! Load: many keep-alive connections on two threads, as cheap as a client can be. Bodies are discarded in the kernel
//! (`MSG_TRUNC`, tcp(7)), so that on a machine where both sides share the processors the server is what is measured.

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll;
use rustix::net::{RecvFlags, recv};
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What clients do.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) clients: usize,
    /// Asked for in turn; every client starts at another one.
    pub(super) paths: Vec<String>,
    pub(super) until: Until,
}

/// When it ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// After this long, in the middle of whatever is under way; an eighth of it before is not counted.
    Elapsed(Duration),
    /// When every client has asked for every path once, in order.
    Done,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) bytes: u64,
    pub(super) wall: Duration,
    /// Of each request that ended while it counted; with [`Until::Done`], of each client's whole list.
    pub(super) latencies: Vec<Duration>,
    /// Whatever `sample` counted meanwhile.
    pub(super) sampled: f64,
}

impl Served {
    /// The latency that `share` of all did not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub(super) fn requests_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    pub(super) fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.wall.as_secs_f64()
    }
}

/// What the threads share.
struct Clock {
    bytes: AtomicU64,
    counting: AtomicBool,
    over: AtomicBool,
}

impl Load {
    /// Runs it. `sample` is read when counting begins and when it ends, for example the server's CPU time. Any answer but 200
    /// is an error, and so is one that breaks off.
    pub(super) fn run(&self, sample: impl Fn() -> Result<f64>) -> Result<Served> {
        ensure!(self.clients > 0 && !self.paths.is_empty(), "no load");
        let clock = Clock {
            bytes: AtomicU64::new(0),
            counting: AtomicBool::new(matches!(self.until, Until::Done)),
            over: AtomicBool::new(false),
        };
        let mut workers = Vec::new();
        for first in 0..THREADS.min(self.clients) {
            let mine = (first..self.clients).step_by(THREADS);
            workers.push(Worker::connect(self, mine, &clock)?);
        }
        std::thread::scope(|scope| {
            let (mut before, mut start) = (sample()?, Instant::now());
            let running: Vec<_> =
                workers.into_iter().map(|worker| scope.spawn(move || worker.run())).collect();
            if let Until::Elapsed(time) = self.until {
                std::thread::sleep(time / 8);
                (before, start) = (sample()?, Instant::now());
                clock.bytes.store(0, Ordering::Relaxed);
                clock.counting.store(true, Ordering::Relaxed);
                std::thread::sleep(time);
                clock.counting.store(false, Ordering::Relaxed);
            }
            let mut served = Served::default();
            let settle = |served: &mut Served| -> Result<()> {
                served.bytes = clock.bytes.load(Ordering::Relaxed);
                served.wall = start.elapsed();
                served.sampled = sample()? - before;
                Ok(())
            };
            if let Until::Elapsed(_) = self.until {
                settle(&mut served)?;
                clock.over.store(true, Ordering::Relaxed);
            }
            for worker in running {
                let latencies = worker.join().expect("a worker does not panic")?;
                served.latencies.extend(latencies);
            }
            if let Until::Done = self.until {
                settle(&mut served)?;
            }
            Ok(served)
        })
    }
}

/// Some of the connections.
struct Worker<'a> {
    load: &'a Load,
    clock: &'a Clock,
    poll: std::os::fd::OwnedFd,
    clients: Vec<Client>,
    /// Where bodies would go if they were copied.
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// The request under way, counted from the client's first.
    at: usize,
    offset: usize,
    asked: Instant,
    began: Instant,
    state: State,
}

enum State {
    Head(Vec<u8>),
    Body(u64),
    Done,
}

impl<'a> Worker<'a> {
    fn connect(load: &'a Load, numbers: impl Iterator<Item = usize>, clock: &'a Clock) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut clients = Vec::new();
        for number in numbers {
            let stream = TcpStream::connect(load.address).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(clients.len() as u64);
            epoll::add(&poll, &stream, data, epoll::EventFlags::IN)?;
            let now = Instant::now();
            let offset = if matches!(load.until, Until::Done) { 0 } else { number };
            clients.push(Client { stream, at: 0, offset, asked: now, began: now, state: State::Done });
        }
        Ok(Self { load, clock, poll, clients, buffer: vec![0; BUFFER] })
    }

    fn run(mut self) -> Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        for client in &mut self.clients {
            client.began = Instant::now();
            client.ask(&self.load.paths)?;
        }
        let mut open = self.clients.len();
        let mut events = Vec::with_capacity(256);
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        while open > 0 && !self.clock.over.load(Ordering::Relaxed) {
            events.clear();
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&pause)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let number = event.data.u64() as usize;
                let client = &mut self.clients[number];
                while client.step(&mut self.buffer, self.clock)? {
                    let counting = self.clock.counting.load(Ordering::Relaxed);
                    let last = client.at + 1 == self.load.paths.len();
                    match self.load.until {
                        Until::Elapsed(_) if counting => latencies.push(client.asked.elapsed()),
                        Until::Done if last => {
                            latencies.push(client.began.elapsed());
                            client.state = State::Done;
                            epoll::delete(&self.poll, &client.stream)?;
                            open -= 1;
                            break;
                        }
                        _ => {}
                    }
                    client.at += 1;
                    client.ask(&self.load.paths)?;
                }
            }
        }
        Ok(latencies)
    }
}

impl Client {
    fn ask(&mut self, paths: &[String]) -> Result<()> {
        let path = &paths[(self.offset + self.at) % paths.len()];
        let request = format!("GET {path} HTTP/1.1\r\nHost: registry\r\nAccept: {ACCEPT}\r\n\r\n");
        self.asked = Instant::now();
        self.state = State::Head(Vec::new());
        self.stream.write_all(request.as_bytes()).context("cannot send a request")
    }

    /// Takes what is there, up to a bound, so that no connection starves another. True: the answer is complete.
    fn step(&mut self, buffer: &mut [u8], clock: &Clock) -> Result<bool> {
        for _ in 0..READS {
            let (flags, most) = match &self.state {
                State::Done => return Ok(false),
                State::Head(_) => (RecvFlags::empty(), HEAD),
                State::Body(left) => (RecvFlags::TRUNC, buffer.len().min(*left as usize)),
            };
            let count = match recv(&self.stream, &mut buffer[..most], flags) {
                Ok((_, 0)) => bail!("the server closed the connection in the middle"),
                Ok((_, count)) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("the connection broke"),
            };
            if clock.counting.load(Ordering::Relaxed) {
                clock.bytes.fetch_add(count as u64, Ordering::Relaxed);
            }
            let left = match &mut self.state {
                State::Done => return Ok(false),
                State::Body(left) => *left - count as u64,
                State::Head(head) => {
                    head.extend_from_slice(&buffer[..count]);
                    let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                        ensure!(head.len() < HEAD, "the head of an answer does not end");
                        continue;
                    };
                    let length = content_length(&head[..end])?;
                    let early = (head.len() - end - 4) as u64;
                    length.checked_sub(early).context("more than what was asked for")?
                }
            };
            if left == 0 {
                return Ok(true);
            }
            self.state = State::Body(left);
        }
        Ok(false)
    }
}

/// Of a 200.
fn content_length(head: &[u8]) -> Result<u64> {
    let head = std::str::from_utf8(head).context("the head of an answer is not text")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "not what was asked for: {head}");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    length.with_context(|| format!("an answer without length: {head}"))
}

/// As many as the machines that are measured have processors.
const THREADS: usize = 2;
const BUFFER: usize = 1 << 20;
const HEAD: usize = 64 << 10;
const READS: usize = 8;
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpListener;

    /// Answers every request with `body`, on each connection in a thread.
    fn server(body: &'static [u8], status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                        let _ = stream.write_all(&[head.as_bytes(), body].concat());
                    }
                });
            }
        });
        address
    }

    fn load(address: SocketAddr, until: Until) -> Load {
        Load { address, clients: 3, paths: vec!["/a".into(), "/b".into()], until }
    }

    #[test]
    fn every_client_asks_for_every_path_once() {
        static BODY: [u8; 300_000] = [7; 300_000];
        let served = load(server(&BODY, "200 OK"), Until::Done).run(|| Ok(0.0)).unwrap();
        assert_eq!(served.latencies.len(), 3);
        let heads = served.bytes - 6 * 300_000;
        assert!((6 * 30..6 * 100).contains(&heads), "{heads}");
    }

    #[test]
    fn what_is_counted_is_what_came_in_that_time() {
        let until = Until::Elapsed(Duration::from_millis(200));
        let served = load(server(b"small", "200 OK"), until).run(|| Ok(0.0)).unwrap();
        assert!(served.latencies.len() > 10, "{served:?}");
        assert!(served.wall >= Duration::from_millis(200));
        assert!(served.quantile(0.5) <= served.quantile(0.99));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let error = load(server(b"no", "404 Not Found"), Until::Done).run(|| Ok(0.0)).unwrap_err();
        assert!(format!("{error:#}").contains("404"), "{error:#}");
    }
}

//! Crowds of clients that say nothing, little, or do not listen: they are cut off in time, and honest ones notice nothing.

use crate::raw::{blob, is_served, noise, open, push_blob};
use larder_core::Digest;
use larder_testkit::{Home, Serve, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const HEAD_TIMEOUT: Duration = Duration::from_secs(6);
const STALL_TIMEOUT: Duration = Duration::from_secs(3);
/// What an honest client of a loaded test machine may have to wait at most.
const PATIENCE: Duration = Duration::from_secs(3);

fn strict() -> (Home, Serve) {
    let home = Home::new().unwrap();
    let config = format!(
        "serve:\n  offline: true\n  head_timeout: {}s\n  stall_timeout: {}s\n",
        HEAD_TIMEOUT.as_secs(),
        STALL_TIMEOUT.as_secs()
    );
    let config = home.write("strict.yaml", config).unwrap();
    let server = home.serve(["--config".as_ref(), config.as_os_str()]).unwrap();
    (home, server)
}

/// As many connections as this process may have, at most `wanted`.
#[expect(clippy::print_stdout, reason = "who reads the output of a test wants to know how many there were")]
fn connections(server: &Serve, wanted: usize) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    // The server has the same limit. Some are for everything else that is open.
    let possible = limit.maximum.map_or(wanted, |most| (most as usize).saturating_sub(500));
    if possible < wanted {
        println!("{possible} instead of {wanted} connections: this machine allows no more files");
    }
    let start = Instant::now();
    let streams: Vec<TcpStream> =
        (0..wanted.min(possible)).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    println!("{} connections in {:?}", streams.len(), start.elapsed());
    streams
}

/// Whether the other side has closed it, whatever it said before.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[track_caller]
fn all_are_closed(streams: &[TcpStream], by: Instant) {
    loop {
        let open = streams.iter().filter(|stream| !is_closed(stream)).count();
        if open == 0 {
            return;
        }
        assert!(Instant::now() < by, "{open} of {} connections are still open", streams.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A pull and a push by somebody who behaves.
#[track_caller]
fn honest(server: &Serve, digest: &Digest, seed: u64) {
    let answer = blob(server, "app", digest).send();
    assert!(is_served(&answer, digest), "{}", answer.text());
    assert!(answer.elapsed < PATIENCE, "a pull took {:?}", answer.elapsed);
    let start = Instant::now();
    assert_eq!(push_blob(server, "app", &noise(seed, 10_000)).status, 201);
    assert!(start.elapsed() < PATIENCE, "a push took {:?}", start.elapsed());
}

#[test]
fn ten_thousand_half_open_connections_do_no_harm() {
    let (_home, server) = strict();
    let content = noise(1, 100_000);
    assert_eq!(push_blob(&server, "app", &content).status, 201);
    let digest = Digest::of(&content);
    let streams = connections(&server, 10_000);
    // Some say nothing, some begin a head, and some go on with it, a byte at a time.
    for (number, mut stream) in streams.iter().enumerate() {
        if number % 3 > 0 {
            // The server may have had enough of it already.
            let _ = stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ");
        }
    }
    let opened = Instant::now();
    let mut seed = 2;
    while opened.elapsed() < HEAD_TIMEOUT {
        for mut stream in streams.iter().skip(2).step_by(3) {
            let _ = stream.write_all(b"y");
        }
        honest(&server, &digest, seed);
        seed += 1;
    }
    all_are_closed(&streams, opened + HEAD_TIMEOUT + Duration::from_secs(10));
    honest(&server, &digest, seed);
}

#[test]
fn bodies_that_do_not_come_are_not_waited_for() {
    let (_home, server) = strict();
    let content = noise(3, 100_000);
    assert_eq!(push_blob(&server, "app", &content).status, 201);
    let start = Instant::now();
    let streams: Vec<TcpStream> = (0..200)
        .map(|number| {
            let url = open(&server, "app").unwrap();
            let path = url.split_once(&server.host()).unwrap().1;
            let method = if number % 2 == 0 { "PATCH" } else { "PUT" };
            let digest = format!("?digest={}", Digest::of(b""));
            let query = if number % 2 == 0 { "" } else { digest.as_str() };
            let mut stream = TcpStream::connect(server.address()).unwrap();
            write!(stream, "{method} {path}{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    while start.elapsed() < STALL_TIMEOUT {
        // Next to nothing is as bad as nothing.
        for mut stream in &streams {
            let _ = stream.write_all(b"z");
        }
        honest(&server, &Digest::of(&content), 4);
        std::thread::sleep(Duration::from_millis(100));
    }
    all_are_closed(&streams, start + 3 * STALL_TIMEOUT + Duration::from_secs(5));
}

#[test]
fn readers_that_do_not_read_are_cut_off() {
    let (_home, server) = strict();
    let content = noise(5, 16 << 20);
    assert_eq!(push_blob(&server, "app", &content).status, 201);
    let digest = Digest::of(&content);
    let streams: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            write!(stream, "GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let small = noise(6, 50_000);
    assert_eq!(push_blob(&server, "app", &small).status, 201);
    let start = Instant::now();
    while start.elapsed() < STALL_TIMEOUT {
        honest(&server, &Digest::of(&small), 7);
        std::thread::sleep(Duration::from_millis(100));
    }
    // What is in the buffers of the kernel can still be read, and then it is over, long before the end of the blob.
    eventually("the server lets them all go", 4 * STALL_TIMEOUT, || {
        (established(&server) == 0).then_some(())
    });
    for mut stream in &streams {
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.len() < content.len(), "it was sent whole although nobody read");
    }
}

/// Connections that the server holds.
fn established(server: &Serve) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{:04X}", server.address().port());
    // local address, remote address, state: 01 is established.
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[1].ends_with(&local) && fields[3] == "01").count()
}

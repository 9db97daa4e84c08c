//! Puts answers on the wire, truthfully or not.

use super::http::Wire;
use super::reply::{Body, Reply};
use super::server::Shared;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How a body travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    UntilClosed,
}

/// Where it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    Stall(u64),
    Reset(u64),
    Cut(u64),
}

/// Everything about the way an answer is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) framing: Framing,
    pub(crate) ending: Ending,
    /// Bytes per second.
    pub(crate) rate: Option<u64>,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { framing: Framing::Length, ending: Ending::Complete, rate: None }
    }
}

/// Sends `reply`; true where the connection can serve another request.
pub(crate) async fn send(
    wire: &mut Wire,
    shared: &Shared,
    id: usize,
    is_head: bool,
    reply: &Reply,
    transfer: Transfer,
) -> io::Result<bool> {
    let framing = if reply.body.len().is_none() { Framing::Chunked } else { transfer.framing };
    let bodiless = is_head || matches!(reply.status, 204 | 304);
    shared.with(|state| state.entry(id).into_iter().for_each(|entry| entry.status = Some(reply.status)));
    wire.stream.write_all(head(reply, framing).as_bytes()).await?;
    if !bodiless {
        body(wire, shared, id, &reply.body, framing, transfer).await?;
        match transfer.ending {
            Ending::Complete => {}
            Ending::Stall(_) => {
                wait_for_the_end(wire).await;
                return Ok(false);
            }
            Ending::Reset(_) => {
                reset(wire, shared.address).await;
                return Ok(false);
            }
            Ending::Cut(_) => {
                wire.stream.shutdown().await?;
                return Ok(false);
            }
        }
        if framing == Framing::Chunked {
            wire.stream.write_all(b"0\r\n\r\n").await?;
        }
    }
    wire.stream.flush().await?;
    Ok(bodiless || framing != Framing::UntilClosed)
}

async fn body(
    wire: &mut Wire,
    shared: &Shared,
    id: usize,
    body: &Body,
    framing: Framing,
    transfer: Transfer,
) -> io::Result<()> {
    let (piece, pause) = match transfer.rate {
        None => (PIECE, Duration::ZERO),
        Some(rate @ 0..=49) => (1, Duration::from_secs(1) / rate.max(1) as u32),
        Some(rate) => (usize::try_from(rate / 50).unwrap_or(PIECE), Duration::from_millis(20)),
    };
    let limit = match transfer.ending {
        Ending::Complete => u64::MAX,
        Ending::Stall(after) | Ending::Reset(after) | Ending::Cut(after) => after,
    };
    let mut offset = 0;
    while offset < limit {
        let len = piece.min(usize::try_from(limit - offset).unwrap_or(usize::MAX));
        let bytes = body.piece(offset, len);
        if bytes.is_empty() {
            break;
        }
        offset += bytes.len() as u64;
        // Counted before they leave: a client that has them all must find them in the log.
        shared.sent(id, bytes.len() as i64);
        let written = if framing == Framing::Chunked {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(&bytes);
            chunk.extend_from_slice(b"\r\n");
            wire.stream.write_all(&chunk).await
        } else {
            wire.stream.write_all(&bytes).await
        };
        if let Err(error) = written {
            shared.sent(id, -(bytes.len() as i64));
            return Err(error);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

fn head(reply: &Reply, framing: Framing) -> String {
    let mut text = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
    let given = |name: &str| reply.header(name).is_some();
    if !given("Docker-Distribution-Api-Version") {
        text.push_str("Docker-Distribution-Api-Version: registry/2.0\r\n");
    }
    match framing {
        Framing::Length if !given("Content-Length") && reply.status != 204 => {
            text.push_str(&format!("Content-Length: {}\r\n", reply.body.len().unwrap_or(0)));
        }
        Framing::Length => {}
        Framing::Chunked => text.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::UntilClosed => text.push_str("Connection: close\r\n"),
    }
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}

/// Ends the connection with an RST, but only when the client has acknowledged everything sent so far: the kernel throws away
/// what is still in the send buffer, and "reset after k bytes" would mean fewer.
pub(crate) async fn reset(wire: &mut Wire, local: SocketAddr) {
    if let Ok(peer) = wire.stream.peer_addr() {
        for _ in 0..2500 {
            if unacknowledged(local, peer) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let _ = wire.stream.set_zero_linger();
}

/// The bytes in the send queue of the connection, as /proc/net/tcp shows them (proc(5)).
fn unacknowledged(local: SocketAddr, peer: SocketAddr) -> u64 {
    let (Some(local), Some(peer)) = (hexadecimal(local), hexadecimal(peer)) else { return 0 };
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let queue = table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_it = columns.next()? == local && columns.next()? == peer;
        let queues = columns.nth(1)?;
        is_it.then(|| u64::from_str_radix(queues.split(':').next()?, 16).ok())?
    });
    queue.unwrap_or(0)
}

fn hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

/// Says nothing until the client gives up.
pub(crate) async fn wait_for_the_end(wire: &mut Wire) {
    let stream: &mut TcpStream = &mut wire.stream;
    let mut scratch = [0; 4096];
    while stream.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

const PIECE: usize = 64 << 10;

//! Just enough HTTP/1.1 (RFC 9112) to serve requests, written out so that every rule can be broken on purpose.

use bytes::{Buf as _, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The request line and headers.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// One connection of a client: the stream and what was read ahead.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    ahead: BytesMut,
    body: BodyState,
    received: u64,
}

/// How much of the request's body is still to come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum BodyState {
    Length(u64),
    Chunk(u64),
    NextChunk,
    Done,
}

impl Head {
    /// A header's value; names in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A decoded parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        parameters(&self.query).into_iter().find(|(have, _)| have == name).map(|(_, value)| value)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        // A proxy gets the whole URL (RFC 9112 §3.2.2).
        let target = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => &rest[rest.find('/')?..],
            _ => target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Some(Self { method: method.into(), path: path.into(), query: query.into(), headers })
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: BytesMut::new(), body: BodyState::Done, received: 0 }
    }

    /// The next request; `None` where the client is done.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let text = self.ahead.split_to(end + 4);
                let text = String::from_utf8_lossy(&text[..end]).into_owned();
                self.received = 0;
                let head = Head::parse(&text).ok_or(io::ErrorKind::InvalidData)?;
                self.body = match (head.header("transfer-encoding"), head.header("content-length")) {
                    (Some(_), _) => BodyState::NextChunk,
                    (None, Some(length)) => match length.parse() {
                        Ok(0) => BodyState::Done,
                        Ok(length) => BodyState::Length(length),
                        Err(_) => return Err(io::ErrorKind::InvalidData.into()),
                    },
                    (None, None) => BodyState::Done,
                };
                if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
                    self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                }
                return Ok(Some(head));
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
            // A client that tries TLS first waits for an answer as this does for the end of the head.
            if self.ahead.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) {
                self.stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await?;
                return Ok(None);
            }
        }
    }

    /// The next piece of the request's body; `None` at its end. An error where the client stops early.
    pub(crate) async fn body(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.body {
                BodyState::Done => return Ok(None),
                BodyState::Length(left) | BodyState::Chunk(left) => {
                    if self.ahead.is_empty() {
                        self.more().await?;
                    }
                    let len = self.ahead.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - len as u64;
                    let is_chunk = matches!(self.body, BodyState::Chunk(_));
                    self.body = match (is_chunk, left) {
                        (false, 0) => BodyState::Done,
                        (false, _) => BodyState::Length(left),
                        (true, 0) => BodyState::NextChunk,
                        (true, _) => BodyState::Chunk(left),
                    };
                    let piece = self.ahead.split_to(len).freeze();
                    self.received += len as u64;
                    if is_chunk && left == 0 {
                        self.line().await?;
                    }
                    return Ok(Some(piece));
                }
                BodyState::NextChunk => {
                    let line = self.line().await?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                    if size > 0 {
                        self.body = BodyState::Chunk(size);
                        continue;
                    }
                    while !self.line().await?.is_empty() {}
                    self.body = BodyState::Done;
                }
            }
        }
    }

    /// The whole body, or an error where it is longer than `limit`.
    pub(crate) async fn whole_body(&mut self, limit: usize) -> io::Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.body().await? {
            if all.len() + piece.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// Reads away what is left of the body: a client that is still sending would lose the answer otherwise.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        while self.body().await?.is_some() {}
        Ok(())
    }

    /// Bytes of the body of the last request that were read.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.advance(end + 2);
                return Ok(line);
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.ahead).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The decoded parameters of a query or form.
pub(crate) fn parameters(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

const HEAD_LIMIT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_targets_and_parameters() {
        let head =
            Head::parse("GET /v2/?scope=repository%3Aa%2Fb:pull&x=1+2 HTTP/1.1\r\nA: b: c\r\nx:").unwrap();
        assert_eq!((head.path.as_str(), head.header("a")), ("/v2/", Some("b: c")));
        assert_eq!(head.parameter("scope").unwrap(), "repository:a/b:pull");
        assert_eq!(head.parameter("x").unwrap(), "1 2");
        assert_eq!(Head::parse("GET http://h:1/v2/a?b HTTP/1.1").unwrap().path, "/v2/a");
        assert!(Head::parse("GET").is_none());
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}

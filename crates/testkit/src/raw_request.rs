//! A blocking HTTP client without manners: it follows nothing, retries nothing, hides nothing.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One request over one connection of its own.
#[derive(Debug, Clone)]
pub struct RawRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    limit: Duration,
    most: usize,
}

/// What came back, however little.
#[derive(Debug, Clone)]
pub struct RawResponse {
    /// The status; 0 where there was no head.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body as far as it came; chunks taken apart.
    pub body: Vec<u8>,
    /// How it ended.
    pub end: RawEnd,
    /// From connecting to the end.
    pub elapsed: Duration,
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawEnd {
    /// By its own rules.
    Complete,
    /// The connection was closed in good order, too early.
    Closed,
    /// The connection was reset.
    Reset,
    /// Nothing more came within the limit.
    TimedOut,
    /// There was more than the client cared to read.
    TooLong,
}

impl RawRequest {
    /// A request of `http://HOST:PORT/PATH`.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            limit: Duration::from_secs(30),
            most: usize::MAX,
        }
    }

    /// GET.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// Method and URL, for messages.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends a body. Its length is declared, unless the headers have a `Content-Length` already (true or not) or
    /// `Transfer-Encoding: chunked`, which is then what happens.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request of another `HOST:PORT`; also where the URL has none yet, only a path.
    #[must_use]
    pub fn at(self, host: &str) -> Self {
        let rest = self.url.strip_prefix("http://").unwrap_or(&self.url);
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        Self { url: format!("http://{host}{path}"), ..self }
    }

    /// How long to wait for the next byte; 30 seconds otherwise.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Stops reading after so many bytes.
    #[must_use]
    pub fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Sends it and reads the answer.
    ///
    /// # Panics
    /// Where the URL is not one or nobody listens there.
    #[track_caller]
    pub fn send(&self) -> RawResponse {
        self.try_send().expect("somebody listens there")
    }

    /// The same where it may be that nobody listens.
    ///
    /// # Panics
    /// Where the URL is not one.
    pub fn try_send(&self) -> io::Result<RawResponse> {
        let rest = self.url.strip_prefix("http://").expect("an http URL");
        let (host, path) = rest.split_at(rest.find('/').expect("a URL with a path"));
        let start = Instant::now();
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(self.limit)).expect("a limit above zero");
        stream.set_write_timeout(Some(self.limit)).expect("a limit above zero");
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\n", self.method);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_body = !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        let chunked = self.has("Transfer-Encoding");
        if has_body && !chunked && !self.has("Content-Length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        // A server may answer, or break off, before it has read everything.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| match chunked {
            true => write_chunks(&mut stream, &self.body),
            false => stream.write_all(&self.body),
        });
        let mut response = self.receive(&mut stream);
        response.elapsed = start.elapsed();
        Ok(response)
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(have, _)| have.eq_ignore_ascii_case(name))
    }

    fn receive(&self, stream: &mut TcpStream) -> RawResponse {
        let mut raw = Vec::new();
        let mut response = RawResponse {
            status: 0,
            headers: Vec::new(),
            body: Vec::new(),
            end: RawEnd::Complete,
            elapsed: Duration::ZERO,
        };
        let mut buffer = vec![0; 64 << 10];
        let mut end = None;
        loop {
            let start = raw.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            if let Some(start) = start {
                if response.status == 0 {
                    response.read_head(&String::from_utf8_lossy(&raw[..start]));
                }
                let complete = response.read_body(&raw[start..], self.method == "HEAD", end.is_some());
                if complete {
                    return response;
                }
                if response.body.len() >= self.most {
                    response.end = RawEnd::TooLong;
                    return response;
                }
            }
            if let Some(end) = end {
                response.end = end;
                return response;
            }
            match stream.read(&mut buffer) {
                Ok(0) => end = Some(RawEnd::Closed),
                Ok(read) => raw.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => end = Some(RawEnd::Reset),
                Err(_) => end = Some(RawEnd::TimedOut),
            }
        }
    }
}

fn write_chunks(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    for chunk in body.chunks(16 << 10) {
        write!(stream, "{:x}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

impl RawResponse {
    /// A header's value, the first; names in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All values of a header, in order; names in any case.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read_head(&mut self, head: &str) {
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        self.status = status.unwrap_or(0);
        self.headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
    }

    /// Takes the body from what came after the head; true where it is complete.
    fn read_body(&mut self, raw: &[u8], is_head: bool, closed: bool) -> bool {
        if is_head || matches!(self.status, 204 | 304) {
            return true;
        }
        if self.header("transfer-encoding").is_some() {
            self.body.clear();
            let mut rest = raw;
            while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
                let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16).unwrap_or(0);
                rest = &rest[line + 2..];
                self.body.extend_from_slice(&rest[..size.min(rest.len())]);
                if size == 0 {
                    return true;
                }
                rest = rest.get(size + 2..).unwrap_or_default();
            }
            return false;
        }
        match self.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => {
                self.body = raw[..length.min(raw.len())].to_vec();
                self.body.len() == length
            }
            None => {
                self.body = raw.to_vec();
                closed
            }
        }
    }
}

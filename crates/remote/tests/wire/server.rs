//! A tiny HTTP/1.1 server whose every answer is a script, and what tests need around it.

use larder_core::{Descriptor, Digest, Event, MediaType, Registry, Repository, Secret};
use larder_remote::{Auth, Client, Config, Credential, Error, Repo};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// First byte of an open or closed range.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path() == path
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// Go on with the next request.
    KeepAlive,
    /// Close politely after so many bytes of the body.
    Cut(usize),
    /// Close with a TCP reset after so many bytes of the body.
    Reset(usize),
    /// Send nothing more after so many bytes of the body, and keep the connection open.
    Stall(usize),
    /// One byte at a time.
    Drip(Duration),
    /// The same bytes over and over.
    Endless,
    /// A TCP reset instead of an answer.
    HangUp,
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    declared: Option<u64>,
    chunked: bool,
    end: End,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            declared: None,
            chunked: false,
            end: End::KeepAlive,
        }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    /// No answer at all.
    pub(crate) fn hang_up() -> Self {
        Self { end: End::HangUp, ..Self::new(0) }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new(307).header("Location", to)
    }

    pub(crate) fn challenge(challenge: &str) -> Self {
        Self::new(401).header("WWW-Authenticate", challenge)
    }

    pub(crate) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.into(), format!("{value}")));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A Content-Length that is not the body's.
    pub(crate) fn declared(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(crate) fn cut(mut self, after: usize) -> Self {
        self.end = End::Cut(after);
        self
    }

    pub(crate) fn reset(mut self, after: usize) -> Self {
        self.end = End::Reset(after);
        self
    }

    pub(crate) fn stall(mut self, after: usize) -> Self {
        self.end = End::Stall(after);
        self
    }

    pub(crate) fn drip(mut self, pause: Duration) -> Self {
        self.end = End::Drip(pause);
        self
    }

    pub(crate) fn endless(mut self) -> Self {
        (self.end, self.chunked) = (End::Endless, true);
        self
    }
}

pub(crate) struct Server {
    pub(crate) port: u16,
    ip: String,
    seen: Arc<Mutex<Vec<Request>>>,
    /// Bytes written to sockets.
    sent: Arc<Mutex<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1", script).await
    }

    /// On another loopback address: another host as far as anybody can tell.
    pub(crate) async fn at(ip: &str, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, sent, script) = (Arc::default(), Arc::default(), Arc::new(script));
        let (log, counter) = (Arc::clone(&seen), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (script, log, counter) = (script.clone(), Arc::clone(&log), Arc::clone(&counter));
                tokio::spawn(async move {
                    let _ = converse(socket, &*script, &log, &counter).await;
                });
            }
        });
        Self { port, ip: ip.into(), seen, sent, task }
    }

    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host())
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn sent(&self) -> u64 {
        *self.sent.lock().unwrap()
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::new(&self.host()).unwrap()
    }

    pub(crate) fn repo(&self, config: Config, auth: Auth) -> Repo {
        Client::new(config).unwrap().repository(&self.registry(), &repository("a/b"), auth)
    }

    pub(crate) fn anonymous(&self) -> Repo {
        self.repo(config(), Auth::Anonymous)
    }
}

async fn converse(
    socket: TcpStream,
    script: &(dyn Fn(&Request) -> Reply + Send + Sync),
    log: &Mutex<Vec<Request>>,
    counter: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    while let Some(request) = read(&mut socket).await? {
        let is_head = request.method == "HEAD";
        log.lock().unwrap().push(request.clone());
        let reply = script(&request);
        if reply.end == End::HangUp {
            socket.get_ref().set_zero_linger()?;
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if reply.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if reply.status != 204 {
            head.push_str(&format!(
                "Content-Length: {}\r\n",
                reply.declared.unwrap_or(reply.body.len() as u64)
            ));
        }
        head.push_str("\r\n");
        socket.write_all(head.as_bytes()).await?;
        if is_head {
            continue;
        }
        let mut write = async |bytes: &[u8]| {
            if reply.chunked && !bytes.is_empty() {
                socket.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
            }
            socket.write_all(bytes).await?;
            if reply.chunked && !bytes.is_empty() {
                socket.write_all(b"\r\n").await?;
            }
            *counter.lock().unwrap() += bytes.len() as u64;
            socket.flush().await
        };
        let upto = |count: usize| &reply.body[..count.min(reply.body.len())];
        match reply.end {
            End::KeepAlive => {
                write(&reply.body).await?;
                if reply.chunked {
                    socket.write_all(b"0\r\n\r\n").await?;
                }
                if reply.declared.is_some() {
                    return Ok(());
                }
            }
            End::Cut(count) => {
                write(upto(count)).await?;
                return Ok(());
            }
            End::Reset(count) => {
                write(upto(count)).await?;
                // Let the bytes arrive: a reset throws away what is still on its way.
                if count > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                socket.get_ref().set_zero_linger()?;
                return Ok(());
            }
            End::Stall(count) => {
                write(upto(count)).await?;
                tokio::time::sleep(Duration::from_secs(60)).await;
                return Ok(());
            }
            End::Drip(pause) => {
                for byte in &reply.body {
                    write(&[*byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            End::Endless => loop {
                write(&reply.body).await?;
            },
            End::HangUp => return Ok(()),
        }
    }
    Ok(())
}

async fn read(socket: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if socket.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut request = Request { method, target, headers: Vec::new(), body: Vec::new() };
    loop {
        line.clear();
        socket.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => request.headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    if let Some(length) = request.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        request.body.resize(length, 0);
        socket.read_exact(&mut request.body).await?;
    }
    Ok(Some(request))
}

/// Impatient, so that tests are quick.
pub(crate) fn config() -> Config {
    Config {
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_millis(400),
        min_rate: None,
        attempts: 4,
        backoff_base: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..Config::default()
    }
}

/// The same, and all of 127.0.0.0/8 may be pointed to.
pub(crate) fn trusting() -> Config {
    Config { allowed_networks: vec!["127.0.0.0/8".parse().unwrap()], ..config() }
}

/// The same, and events are kept.
pub(crate) fn watched(mut config: Config) -> (Config, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    config.progress = Arc::new(move |event| log.lock().unwrap().push(event));
    (config, events)
}

pub(crate) fn repository(name: &str) -> Repository {
    Repository::new(name).unwrap()
}

pub(crate) fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic { username: username.into(), password: Secret::new(password) }
}

/// Bytes that do not repeat soon.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

pub(crate) fn layer(content: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::OCI_LAYER_GZIP, content)
}

/// An image manifest with a config and one layer, none of which need exist.
pub(crate) fn image(word: &str) -> String {
    let config = Descriptor::of(MediaType::OCI_CONFIG, word.as_bytes());
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST.as_str(),
        "config": config,
        "layers": [layer(word.as_bytes())],
    })
    .to_string()
}

pub(crate) fn manifest_reply(text: &str) -> Reply {
    Reply::ok(text)
        .header("Content-Type", MediaType::OCI_MANIFEST.as_str())
        .header("Docker-Content-Digest", Digest::of(text.as_bytes()))
}

/// The blob, or the part of it that was asked for.
pub(crate) fn blob_reply(request: &Request, content: &[u8]) -> Reply {
    let Some(range) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return Reply::ok(content);
    };
    let (first, last) = range.split_once('-').unwrap();
    let first: usize = first.parse().unwrap();
    let last = last.parse::<usize>().unwrap_or(usize::MAX).min(content.len() - 1);
    Reply::new(206)
        .header("Content-Range", format!("bytes {first}-{last}/{}", content.len()))
        .body(&content[first..=last])
}

/// Everything a stream gives.
pub(crate) async fn drain(mut stream: larder_remote::BlobStream) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    while let Some(chunk) = stream.next().await? {
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

pub(crate) async fn fetch(repo: &Repo, content: &[u8]) -> Result<Vec<u8>, Error> {
    drain(repo.blob(&layer(content), 0).await?).await
}

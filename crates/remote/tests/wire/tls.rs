//! Certificates that must not be trusted, and HTTP/2 connections that end in the middle.

use crate::server::{config, drain, layer, noise, repository};
use bytes::Bytes;
use larder_core::{Classify, Kind, Registry};
use larder_remote::{Auth, Client, Config, Error, Repo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

/// What is wrong with the certificate of a server.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Flaw {
    Nothing,
    Expired,
    NotYet,
    WrongHost,
    SelfSigned,
}

/// How the connection ends after so many bytes of an answer's body.
#[derive(Clone, Copy)]
enum End {
    /// RST_STREAM: this answer only (RFC 9113 section 6.4).
    Reset(usize),
    /// GOAWAY with an error and the connection closed (section 6.8).
    GoAway(usize),
    /// GOAWAY that lets the running answer finish: the connection takes no further request.
    Graceful,
    /// The connection closes without a word.
    Close(usize),
}

/// A TLS server for `registry.corp.test` that speaks HTTP/2, and has one blob.
struct SecureServer {
    registry: Registry,
    dir: tempfile::TempDir,
    /// The first byte that each request for the blob asked for, and the connection it came over.
    requests: Arc<Mutex<Vec<(usize, usize)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SecureServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SecureServer {
    /// The request of number N ends as `ends[N]` says; further ones are answered in full.
    async fn start(flaw: Flaw, content: Vec<u8>, ends: Vec<End>) -> Self {
        let (authority, tls) = certificate(flaw);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = format!("registry.corp.test:{}", listener.local_addr().unwrap().port());
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(&registry);
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("ca.crt"), authority).unwrap();

        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let content = Bytes::from(content);
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, content, ends, log) =
                    (acceptor.clone(), content.clone(), ends.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    // A client that does not trust the certificate hangs up here.
                    if let Ok(stream) = acceptor.accept(socket).await {
                        converse(stream, connection, &content, &ends, &log).await;
                    }
                });
            }
        });
        Self { registry: Registry::new(&registry).unwrap(), dir, requests, task }
    }

    fn config(&self) -> Config {
        let lookup = |_: &str| Some(vec!["127.0.0.1".parse().unwrap()]);
        Config { certs_dirs: vec![self.dir.path().into()], lookup: Some(Arc::new(lookup)), ..config() }
    }

    fn repo(&self) -> Repo {
        Client::new(self.config()).unwrap().repository(&self.registry, &repository("a/b"), Auth::Anonymous)
    }

    fn starts(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(|(start, _)| *start).collect()
    }

    fn connections(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(|(_, connection)| *connection).collect()
    }
}

/// Answers the requests of one connection, while the connection is kept going beside it.
async fn converse(
    stream: TlsStream<TcpStream>,
    connection: usize,
    content: &Bytes,
    ends: &[End],
    log: &Mutex<Vec<(usize, usize)>>,
) {
    let mut http = h2::server::handshake(stream).await.unwrap();
    let mut pings = http.ping_pong();
    let (finish, mut finished) = tokio::sync::mpsc::channel(1);
    loop {
        let (request, mut respond) = tokio::select! {
            Some(end) = finished.recv() => match end {
                End::GoAway(_) => {
                    http.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                    continue;
                }
                End::Graceful => {
                    http.graceful_shutdown();
                    continue;
                }
                // Dropping the connection closes it.
                _ => return,
            },
            accepted = http.accept() => match accepted {
                Some(Ok(accepted)) => accepted,
                _ => return,
            },
        };
        let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
        let start = range.as_ref().map_or(0, |range| {
            range.trim_start_matches("bytes=").split('-').next().unwrap().parse::<usize>().unwrap()
        });
        let number = {
            let mut log = log.lock().unwrap();
            log.push((start, connection));
            log.len() - 1
        };
        let body = content.slice(start..);
        let response = http::Response::builder()
            .status(if range.is_some() { 206 } else { 200 })
            .header("content-length", body.len())
            .header("content-range", format!("bytes {start}-{}/{}", content.len() - 1, content.len()))
            .body(())
            .unwrap();
        let mut send = respond.send_response(response, false).unwrap();
        match ends.get(number).copied() {
            None => send.send_data(body, true).unwrap(),
            Some(End::Graceful) => {
                send.send_data(body, true).unwrap();
                finish.send(End::Graceful).await.unwrap();
            }
            Some(end @ (End::Reset(upto) | End::GoAway(upto) | End::Close(upto))) => {
                send.send_data(body.slice(..upto), false).unwrap();
                let (mut pings, finish) = (pings.take(), finish.clone());
                tokio::spawn(async move {
                    // The answer to a ping comes after the bytes before it were read.
                    if let Some(pings) = &mut pings {
                        pings.ping(h2::Ping::opaque()).await.unwrap();
                    }
                    match end {
                        End::Reset(_) => send.send_reset(h2::Reason::INTERNAL_ERROR),
                        end => finish.send(end).await.unwrap(),
                    }
                });
            }
        }
    }
}

/// An authority, and what a server with a certificate of it — or with a flawed one — needs.
fn certificate(flaw: Flaw) -> (String, ServerConfig) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);

    let name = if flaw == Flaw::WrongHost { "elsewhere.invalid" } else { "registry.corp.test" };
    let mut server = CertificateParams::new(vec![name.to_owned()]).unwrap();
    match flaw {
        Flaw::Expired => {
            server.not_before = date_time_ymd(2000, 1, 1);
            server.not_after = date_time_ymd(2001, 1, 1);
        }
        Flaw::NotYet => {
            server.not_before = date_time_ymd(2990, 1, 1);
            server.not_after = date_time_ymd(2999, 1, 1);
        }
        Flaw::Nothing | Flaw::WrongHost | Flaw::SelfSigned => {}
    }
    let key = KeyPair::generate().unwrap();
    let signed = match flaw {
        Flaw::SelfSigned => server.self_signed(&key),
        _ => server.signed_by(&key, &issuer),
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.unwrap().der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (pem, config)
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_gets_no_request() {
    let words = [
        (Flaw::Expired, "no longer valid"),
        (Flaw::NotYet, "not valid yet"),
        (Flaw::WrongHost, "another name"),
        (Flaw::SelfSigned, "ca.crt"),
    ];
    for (flaw, word) in words {
        let server = SecureServer::start(flaw, noise(1_000), Vec::new()).await;
        let error = server.repo().blob(&layer(&noise(1_000)), 0).await.err().unwrap();
        assert!(matches!(error, Error::Tls { .. }), "{flaw:?}: {error:?}");
        assert_eq!(error.kind(), Kind::Denied, "{flaw:?}");
        assert!(error.hints()[0].contains(word), "{flaw:?}: {:?}", error.hints());
        assert!(server.starts().is_empty(), "{flaw:?}: the request was sent");

        // Who said so does not want to know.
        let insecure =
            Config { insecure: vec![server.registry.clone()], certs_dirs: Vec::new(), ..server.config() };
        let repo =
            Client::new(insecure).unwrap().repository(&server.registry, &repository("a/b"), Auth::Anonymous);
        let stream = repo.blob(&layer(&noise(1_000)), 0).await.unwrap();
        assert!(drain(stream).await.unwrap() == noise(1_000), "{flaw:?}");
    }
}

#[tokio::test]
async fn streams_and_connections_of_http_2_that_end_early_are_resumed() {
    let content = noise(60_000);
    let ends =
        vec![End::Reset(10_000), End::GoAway(10_000), End::Close(10_000), End::Reset(0), End::GoAway(0)];
    let server = SecureServer::start(Flaw::Nothing, content.clone(), ends).await;
    let mut stream = server.repo().blob(&layer(&content), 0).await.unwrap();
    let mut got = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert!(got == content);
    let starts = server.starts();
    assert_eq!(starts.len(), 6, "{starts:?}");
    assert!(starts.is_sorted() && starts[1] == 10_000, "{starts:?}");
    // Not a byte was thrown away.
    assert_eq!(stream.received(), content.len() as u64);
    // One stream's end leaves the connection; the end of a connection is followed by another.
    let connections = server.connections();
    assert_eq!(connections[0], connections[1], "{connections:?}");
    assert!(connections[5] > connections[1], "{connections:?}");
}

#[tokio::test]
async fn a_connection_that_says_goodbye_is_replaced_without_an_error() {
    let content = noise(30_000);
    let server = SecureServer::start(Flaw::Nothing, content.clone(), vec![End::Graceful; 3]).await;
    let (config, events) = crate::server::watched(server.config());
    let repo = Client::new(config).unwrap().repository(&server.registry, &repository("a/b"), Auth::Anonymous);
    for _ in 0..4 {
        let stream = repo.blob(&layer(&content), 0).await.unwrap();
        assert!(drain(stream).await.unwrap() == content);
    }
    assert_eq!(server.starts(), [0, 0, 0, 0]);
    assert!(events.lock().unwrap().is_empty(), "{:?}", events.lock().unwrap());
}

//! An API server of Kubernetes that says what it was told to say: over TLS, to who has the token, and to GET only.

use crate::{Certificate, Flaw};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct RecordedApi {
    address: SocketAddr,
    authority: String,
    token: String,
    requests: Arc<Mutex<Vec<String>>>,
    first: Arc<Mutex<Once>>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// What is answered, by path with query: a status and a JSON text. What is not there is answered with 404.
pub type Answers = HashMap<String, (u16, String)>;

/// What is answered once each, before anything else, by path with query.
type Once = HashMap<String, VecDeque<(u16, String)>>;

impl RecordedApi {
    /// Starts a server.
    pub fn start(token: &str, answers: Answers) -> Result<Self> {
        let certificate = Certificate::new(Flaw::None)?;
        let chain =
            CertificateDer::pem_slice_iter(certificate.server.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("no runtime")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new((format!("authorization: bearer {}", token.to_lowercase()), answers));
        let log = Arc::clone(&requests);
        let first = Arc::new(Mutex::new(Once::new()));
        let once = Arc::clone(&first);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the listener does not block");
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared, log) = (acceptor.clone(), Arc::clone(&shared), Arc::clone(&log));
                let once = Arc::clone(&once);
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                        match stream.read(&mut buffer).await {
                            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
                            _ => return,
                        }
                    }
                    let request = String::from_utf8_lossy(&request).into_owned();
                    let (status, body) = answer(&request, &shared.0, &shared.1, &once);
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line_of(&request).to_owned());
                    let head = format!(
                        "HTTP/1.1 {status} Recorded\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                         connection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(body.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        let authority = certificate.authority;
        Ok(Self { address, authority, token: token.to_owned(), requests, first, runtime: Some(runtime) })
    }

    /// Answers a path otherwise, once; several times if it is said several times.
    pub fn say_once(&self, path: &str, status: u16, body: &str) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.entry(path.to_owned()).or_default().push_back((status, body.to_owned()));
    }

    /// A kubeconfig whose context `recorded` leads here.
    pub fn kubeconfig(&self) -> String {
        let authority = BASE64_STANDARD.encode(&self.authority);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: recorded\ncontexts:\n- name: recorded\n  context: {{cluster: c, user: u}}\n\
             clusters:\n- name: c\n  cluster: {{server: 'https://{}', certificate-authority-data: {authority}}}\n\
             users:\n- name: u\n  user: {{token: '{}'}}\n",
            self.address, self.token
        )
    }

    /// The first lines of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RecordedApi {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn line_of(request: &str) -> &str {
    request.lines().next().unwrap_or_default()
}

fn answer(request: &str, authorization: &str, answers: &Answers, once: &Mutex<Once>) -> (u16, String) {
    let mut words = line_of(request).split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // Clients may begin a query with a separator.
    let path = &path.replacen("?&", "?", 1);
    let status = |code: u16, message: &str| {
        (
            code,
            format!(
                "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"message\":\"{message}\",\"code\":{code}}}"
            ),
        )
    };
    if !request.to_lowercase().lines().any(|line| line == authorization) {
        return status(401, "Unauthorized");
    }
    if method != "GET" {
        return status(405, "only GET is answered");
    }
    let mut once = once.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(answer) = once.get_mut(path).and_then(VecDeque::pop_front) {
        return answer;
    }
    answers
        .get(path)
        .cloned()
        .unwrap_or_else(|| status(404, "the server could not find the requested resource"))
}

//! A real registry: the distribution project's `docker-registry`, as a child process with storage of its own.

use crate::certificate::{Certificate, Flaw};
use crate::image::Image;
use crate::process::{Process, Running};
use crate::tools::{self, tool};
use anyhow::{Context as _, Result, bail};
use larder_core::{Reference, Registry};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A running `docker-registry` on a free loopback port. Dropping it kills it and removes its storage.
#[derive(Debug)]
pub struct DockerRegistry {
    // Declared, thus dropped, before the directory it writes to.
    process: Running,
    directory: tempfile::TempDir,
    address: SocketAddr,
    certificate: Option<Certificate>,
    user: Option<(String, String)>,
}

/// What kind of registry to start; from [`DockerRegistry::with`].
#[derive(Debug, Clone, Default)]
pub struct DockerRegistryOptions {
    user: Option<(String, String)>,
    flaw: Option<Flaw>,
    upstream: Option<String>,
    upstream_user: Option<(String, String)>,
}

impl DockerRegistry {
    /// An open registry over plain http, deletes allowed.
    pub fn start() -> Result<Self> {
        Self::with().start()
    }

    /// A registry with options.
    pub fn with() -> DockerRegistryOptions {
        DockerRegistryOptions::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT`, as written in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The host as a registry name.
    pub fn registry(&self) -> Registry {
        Registry::new(&self.host()).expect("an address is a registry")
    }

    /// `http://127.0.0.1:PORT`, or `https`.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// A reference to `image` (`repository[:tag][@digest]`) in this registry.
    ///
    /// # Panics
    /// Where `image` is not one.
    pub fn reference(&self, image: &str) -> Reference {
        format!("{}/{image}", self.host()).parse().expect("a repository with a tag or digest")
    }

    /// The authority that vouches for it; `None` without TLS.
    pub fn authority(&self) -> Option<&str> {
        self.certificate.as_ref().map(|certificate| certificate.authority.as_str())
    }

    /// A directory to be given to clients as certs.d; it has `HOST:PORT/ca.crt` where there is TLS.
    pub fn certs_d(&self) -> PathBuf {
        self.directory.path().join("certs.d")
    }

    /// Where its content is; `docker/registry/v2/blobs/…` below.
    pub fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// The stored file of a blob, for tests that damage or remove it.
    pub fn blob_file(&self, digest: &larder_core::Digest) -> PathBuf {
        let hex = digest.hex();
        self.storage()
            .join("docker/registry/v2/blobs")
            .join(digest.algorithm().as_str())
            .join(&hex[..2])
            .join(&hex)
            .join("data")
    }

    /// Everything it logged so far, with one line per request.
    pub fn log(&self) -> String {
        self.process.stderr() + &self.process.stdout()
    }

    /// How many logged requests have this method and a URI with `part` in it.
    pub fn requests(&self, method: &str, part: &str) -> usize {
        let method = format!("\"{method} ");
        // The access log is in Apache's combined format: "GET /v2/ HTTP/1.1".
        self.log()
            .lines()
            .filter_map(|line| line.split_once(&method)?.1.split(' ').next())
            .filter(|uri| uri.contains(part))
            .count()
    }

    /// Pushes an image with everything below it into `repository` (by curl, whatever the TLS and the user), the root under
    /// `tag` or else by digest. The registry refuses what it does not like, for example sparse indexes.
    pub fn push(&self, image: &Image, repository: &str, tag: Option<&str>) -> Result<()> {
        for (descriptor, content) in &image.blobs {
            let begun =
                self.curl(repository, "/blobs/uploads/")?.args(["-X", "POST", "-D", "-"]).run()?.text();
            let location = begun
                .lines()
                .find_map(|line| {
                    line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("location"))
                })
                .with_context(|| format!("no Location in {begun}"))?
                .1
                .trim()
                .to_owned();
            let separator = if location.contains('?') { '&' } else { '?' };
            self.curl_to(&format!("{location}{separator}digest={}", descriptor.digest))?
                .args(["-T", "-", "-H", "Content-Type: application/octet-stream"])
                .input(content.to_vec())
                .run()?;
        }
        for (descriptor, raw) in &image.documents {
            let tag = tag.filter(|_| descriptor.digest == image.digest());
            let selector = tag.map_or_else(|| descriptor.digest.to_string(), str::to_owned);
            self.curl(repository, &format!("/manifests/{selector}"))?
                .args(["-T", "-", "-H", &format!("Content-Type: {}", descriptor.media_type)])
                .input(raw.to_vec())
                .run()?;
        }
        Ok(())
    }

    fn curl(&self, repository: &str, path: &str) -> Result<Process> {
        self.curl_to(&format!("{}/v2/{repository}{path}", self.url()))
    }

    /// Unverified TLS: what is tested is never this client.
    fn curl_to(&self, url: &str) -> Result<Process> {
        let curl = tool("curl")?.args(["-sS", "-k", "--fail-with-body", "-H", "Expect:", url]);
        Ok(match &self.user {
            Some((name, password)) => curl.args(["-u", &format!("{name}:{password}")]),
            None => curl,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Freezes it: connections are taken by the kernel, and nobody answers.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.signal(rustix::process::Signal::STOP)
    }

    /// Undoes [`Self::freeze`].
    pub fn thaw(&mut self) -> Result<()> {
        self.process.signal(rustix::process::Signal::CONT)
    }
}

impl DockerRegistryOptions {
    /// Wants this user and password for everything (bcrypt, by Apache's htpasswd).
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Speaks https with a certificate of a private authority.
    #[must_use]
    pub fn tls(self) -> Self {
        self.tls_with(Flaw::None)
    }

    /// Speaks https with a flawed certificate.
    #[must_use]
    pub fn tls_with(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    /// A pull-through mirror of `url`, which must answer when this one starts. Pushes are refused.
    #[must_use]
    pub fn mirror_of(mut self, url: &str) -> Self {
        self.upstream = Some(url.into());
        self
    }

    /// How the mirror authenticates upstream.
    #[must_use]
    pub fn upstream_user(mut self, name: &str, password: &str) -> Self {
        self.upstream_user = Some((name.into(), password.into()));
        self
    }

    /// Starts it and waits until it answers. Errors have its log.
    pub fn start(self) -> Result<DockerRegistry> {
        tools::require(&["docker-registry"])?;
        let directory = tempfile::Builder::new()
            .prefix("larder-registry-")
            .tempdir()
            .context("no temporary directory")?;
        let path = directory.path();
        let certificate = self.flaw.map(Certificate::new).transpose()?;
        let configuration = self.configuration(path, certificate.as_ref())?;
        let file = write(path, "config.json", &configuration.to_string())?;
        let mut process = tool("docker-registry")?
            .env("HOME", path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .arg("serve")
            .arg(&file)
            .limit(Duration::MAX)
            .spawn()?;
        let address = listening(&mut process)?;
        if let Some(certificate) = &certificate {
            let certs = path.join("certs.d").join(address.to_string());
            std::fs::create_dir_all(&certs).context("no certs.d")?;
            write(&certs, "ca.crt", &certificate.authority)?;
        }
        answering(&mut process, address, certificate.is_some())?;
        Ok(DockerRegistry { process, directory, address, certificate, user: self.user })
    }

    fn configuration(&self, path: &Path, certificate: Option<&Certificate>) -> Result<serde_json::Value> {
        let storage = path.join("storage");
        std::fs::create_dir(&storage).context("no storage directory")?;
        let mut configuration = serde_json::json!({
            "version": 0.1,
            "log": { "level": "info", "accesslog": { "disabled": false } },
            "storage": {
                "filesystem": { "rootdirectory": storage },
                "delete": { "enabled": true },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            // Port 0: the kernel finds a free one and the log says which, so there is no race for it.
            "http": { "addr": "127.0.0.1:0", "secret": "of no importance" },
        });
        if let Some(certificate) = certificate {
            configuration["http"]["tls"] = serde_json::json!({
                "certificate": write(path, "server.crt", &certificate.server)?,
                "key": write(path, "server.key", &certificate.key)?,
            });
        }
        if let Some((name, password)) = &self.user {
            let line =
                tool("htpasswd")?.args(["-B", "-i", "-n", name]).input(password.as_str()).run()?.text();
            configuration["auth"]["htpasswd"] = serde_json::json!({
                "realm": "larder tests",
                "path": write(path, "htpasswd", &line)?,
            });
        }
        if let Some(upstream) = &self.upstream {
            let (name, password) = self.upstream_user.clone().unwrap_or_default();
            configuration["proxy"] =
                serde_json::json!({ "remoteurl": upstream, "username": name, "password": password });
        }
        Ok(configuration)
    }
}

/// Waits for the line that says where it listens.
fn listening(process: &mut Running) -> Result<SocketAddr> {
    let start = Instant::now();
    loop {
        let log = process.stderr();
        let address = log
            .split_once("listening on ")
            .and_then(|(_, rest)| rest.split_once(['"', ',', ' ', '\n']))
            .and_then(|(address, _)| address.parse().ok());
        if let Some(address) = address {
            return Ok(address);
        }
        if !process.is_running()? || start.elapsed() > READY {
            bail!("docker-registry does not start:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn answering(process: &mut Running, address: SocketAddr, tls: bool) -> Result<()> {
    let start = Instant::now();
    loop {
        if let Ok(mut stream) = TcpStream::connect(address) {
            // The socket listens before the log line, so a connection proves the kernel only; ask for an answer where it
            // can be had without a TLS client.
            if tls {
                return Ok(());
            }
            stream.set_read_timeout(Some(READY)).context("no timeout")?;
            let mut answer = [0; 8];
            if stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_ok()
                && stream.read_exact(&mut answer).is_ok()
            {
                return Ok(());
            }
        }
        if !process.is_running()? || start.elapsed() > READY {
            bail!("docker-registry does not answer:\n{}", process.stderr());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

const READY: Duration = Duration::from_secs(60);

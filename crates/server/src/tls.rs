//! TLS: certificates that can be exchanged while serving.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Where the certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Authorities of client certificates, PEM. Clients may come without one; what they may do then is for the rules to say.
    pub client_ca: Option<PathBuf>,
}

/// Serves TLS. The files are read anew when they change: new connections get the new certificate, running ones go on.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    times: Vec<Option<SystemTime>>,
    looked: SystemTime,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {} from {}", what, path.display())]
    Read {
        /// What was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: tokio_rustls::rustls::pki_types::pem::Error,
    },
    /// There is nothing of the kind in the file.
    #[error("there is no {} in {}", what, path.display())]
    Empty {
        /// What was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not work.
    #[error("cannot use the certificate {}", path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: tokio_rustls::rustls::Error,
    },
    /// The authorities of clients do not work.
    #[error("cannot use the client authorities {}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        source: tokio_rustls::rustls::server::VerifierBuilderError,
    },
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn open(files: TlsFiles, now: SystemTime) -> Result<Self, TlsError> {
        let config = load(&files)?;
        let times = times(&files);
        Ok(Self { current: RwLock::new(Current { config, times, looked: now }), files })
    }

    /// Reads the files again. If they cannot be used, the old certificate stays.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn reload(&self, now: SystemTime) -> Result<(), TlsError> {
        let times = times(&self.files);
        let config = load(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Current { config, times, looked: now };
        Ok(())
    }

    /// Reads the files again if they changed. `true` if they did.
    ///
    /// # Errors
    /// Names the file that cannot be used; it is not tried again until it changes.
    pub fn refresh(&self, now: SystemTime) -> Result<bool, TlsError> {
        let times = times(&self.files);
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            if current.times == times {
                return Ok(false);
            }
            current.times = times;
            current.looked = now;
        }
        self.reload(now).map(|()| true)
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.current.read().unwrap_or_else(PoisonError::into_inner).config.clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Read {
        what: "a private key",
        path: files.key.clone(),
        source,
    })?;
    let builder = ServerConfig::builder();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(path, "authority")?);
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build();
            let verifier = verifier.map_err(|source| TlsError::ClientCa { path: path.clone(), source })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::Unusable { path: files.certificate.clone(), source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { what, path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if found.is_empty() { Err(TlsError::Empty { what, path: path.to_owned() }) } else { Ok(found) }
}

fn times(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    let time = |path: &PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    paths.into_iter().flatten().map(time).collect()
}

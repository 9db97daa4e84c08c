//! The bytes of a release: downloaded or copied into a part, hashed as they come.

use crate::add::{Expected, SHA256, blocking};
use crate::{Error, Packages, Result};
use bytes::Bytes;
use larder_core::{Algorithm, Digest, Event, Hasher};
use larder_remote::{Client, Wanted};
use larder_store::PackagePart;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use tokio::sync::mpsc;

/// A release that is here, whole, and as it was promised.
pub(crate) struct Fetched {
    pub(crate) part: PackagePart,
    pub(crate) sha256: Digest,
    pub(crate) size: u64,
    /// Bytes that came now.
    pub(crate) downloaded: u64,
    /// What events call it.
    pub(crate) event: Digest,
}

/// What is written, and what it hashes to so far.
struct Spool {
    part: PackagePart,
    at: u64,
    sha256: Hasher,
    sha512: Option<Hasher>,
}

impl Packages {
    /// Downloads into `part`, from where an earlier attempt stopped.
    pub(crate) async fn fetch(
        &self,
        client: &Client,
        title: &str,
        url: &str,
        expected: Option<&Expected>,
        part: PackagePart,
    ) -> Result<Fetched> {
        let event = expected.map_or_else(|| Digest::of(url.as_bytes()), |expected| expected.digest);
        let wants_sha512 = event.algorithm() == Algorithm::Sha512;
        let mut spool = blocking(move || Spool::replay(part, wants_sha512)).await?;
        loop {
            let resumed = spool.at;
            let (after, outcome) = self.download(client, title, url, event, spool).await?;
            spool = after;
            match outcome {
                Ok(()) => {}
                // The file became another one on the way. From the beginning, once.
                Err(larder_remote::Error::Changed { .. }) if resumed > 0 => {
                    spool.restart()?;
                    continue;
                }
                Err(source) => {
                    return Err(Error::Remote { action: format!("cannot download {title}"), source });
                }
            }
            let downloaded = spool.at.saturating_sub(resumed);
            let (error, mut kept) = match spool.finish(title, url, expected, downloaded, event) {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => *failed,
            };
            if resumed == 0 || resumed > kept.at {
                let _ = kept.part.remove();
                return Err(error);
            }
            // What was kept may have been spoilt by a power cut.
            self.warn(format!("{}; starting again from the first byte", larder_core::report(&error)));
            kept.restart()?;
            spool = kept;
        }
    }

    /// One download to its end. The bytes that came are in the spool however it ends.
    async fn download(
        &self,
        client: &Client,
        title: &str,
        url: &str,
        event: Digest,
        mut spool: Spool,
    ) -> Result<(Spool, larder_remote::Result<()>)> {
        let wanted = Wanted {
            url: url.to_owned(),
            offset: spool.at,
            validator: None,
            limit: self.settings.max_download,
        };
        let mut download = match client.download(&wanted).await {
            Ok(download) => download,
            Err(error) => return Ok((spool, Err(error))),
        };
        if download.offset() < spool.at {
            spool.restart()?;
        }
        let size = download.total().unwrap_or(0);
        let progress = &self.settings.progress;
        progress(Event::BlobStarted { reference: title.to_owned(), digest: event, size, done: spool.at });
        // Hashing and writing keep up with the network on a thread of their own, a few pieces behind.
        let (sender, receiver) = mpsc::channel::<Bytes>(16);
        let writer = tokio::task::spawn_blocking(move || spool.write_all(receiver));
        let outcome = loop {
            match download.next().await {
                Ok(Some(piece)) => {
                    let bytes = piece.len() as u64;
                    if sender.send(piece).await.is_err() {
                        // The writer has ended, and says why below.
                        break Ok(());
                    }
                    progress(Event::BlobAdvanced { digest: event, bytes });
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(sender);
        let spool = writer.await.map_err(|_| Error::Task { what: "writing a download" })??;
        Ok((spool, outcome))
    }

    /// Copies a file of the user into `part`, so that what is verified is what is packed.
    pub(crate) async fn take(
        &self,
        title: &str,
        path: &Path,
        expected: Option<&Expected>,
        part: PackagePart,
    ) -> Result<Fetched> {
        let (path, title) = (path.to_owned(), title.to_owned());
        let (expected, limit) = (expected.cloned(), self.settings.max_download);
        blocking(move || {
            part.file().set_len(0).map_err(Error::file("truncate", part.path()))?;
            let wants_sha512 = expected.as_ref().is_some_and(|e| e.digest.algorithm() == Algorithm::Sha512);
            let mut spool = Spool::replay(part, wants_sha512)?;
            let mut file = File::open(&path).map_err(Error::file("open", &path))?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let count = match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Error::file("read", &path)(error)),
                };
                if spool.at + count as u64 > limit {
                    let problem = format!("it is larger than {limit} bytes");
                    return Err(Error::Settings { path, problem });
                }
                spool.write(&buffer[..count])?;
            }
            let event = expected.as_ref().map_or_else(|| Digest::of(title.as_bytes()), |e| e.digest);
            let (downloaded, url) = (spool.at, path.display().to_string());
            spool.finish(&title, &url, expected.as_ref(), downloaded, event).map_err(|failed| {
                let (error, spool) = *failed;
                let _ = spool.part.remove();
                error
            })
        })
        .await
    }

    /// A short text from a URL.
    pub(crate) async fn text(&self, client: &Client, url: &str, action: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.document(client, url, action).await?).into_owned())
    }

    /// A short document from a URL: checksums, a signature.
    pub(crate) async fn document(&self, client: &Client, url: &str, action: &str) -> Result<Vec<u8>> {
        let failed = |source| Error::Remote { action: action.to_owned(), source };
        let wanted = Wanted { url: url.to_owned(), offset: 0, validator: None, limit: DOCUMENT };
        let mut download = client.download(&wanted).await.map_err(failed)?;
        let mut document = Vec::new();
        while let Some(piece) = download.next().await.map_err(failed)? {
            document.extend_from_slice(&piece);
        }
        Ok(document)
    }
}

impl Fetched {
    /// Throws it away.
    pub(crate) fn discard(self) {
        let _ = self.part.remove();
    }
}

impl Spool {
    /// Hashes what is there already.
    fn replay(part: PackagePart, wants_sha512: bool) -> Result<Self> {
        let sha512 = wants_sha512.then(|| Hasher::new(Algorithm::Sha512));
        let mut spool = Self { part, at: 0, sha256: Hasher::new(SHA256), sha512 };
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = spool
                .part
                .file()
                .read_at(&mut buffer, spool.at)
                .map_err(Error::file("read", spool.part.path()))?;
            if count == 0 {
                return Ok(spool);
            }
            spool.hash(&buffer[..count]);
        }
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        self.at += bytes.len() as u64;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.part.path();
        self.part.file().write_all_at(bytes, self.at).map_err(Error::file("write", path))?;
        self.hash(bytes);
        Ok(())
    }

    fn write_all(mut self, mut pieces: mpsc::Receiver<Bytes>) -> Result<Self> {
        while let Some(piece) = pieces.blocking_recv() {
            self.write(&piece)?;
        }
        Ok(self)
    }

    /// Forgets all bytes.
    fn restart(&mut self) -> Result<()> {
        self.part.file().set_len(0).map_err(Error::file("truncate", self.part.path()))?;
        self.at = 0;
        self.sha256 = Hasher::new(SHA256);
        self.sha512 = self.sha512.as_ref().map(|_| Hasher::new(Algorithm::Sha512));
        Ok(())
    }

    /// Compares with what was promised.
    fn finish(
        self,
        title: &str,
        url: &str,
        expected: Option<&Expected>,
        downloaded: u64,
        event: Digest,
    ) -> std::result::Result<Fetched, Box<(Error, Self)>> {
        let sha256 = self.sha256.clone().finish();
        let actual = match (expected, &self.sha512) {
            (Some(_), Some(sha512)) => sha512.clone().finish(),
            _ => sha256,
        };
        if let Some(expected) = expected.filter(|expected| expected.digest != actual) {
            let error = Error::Checksum {
                what: title.to_owned(),
                url: url.to_owned(),
                expected: Box::new(expected.digest),
                actual: Box::new(actual),
                by: expected.by.clone(),
            };
            return Err(Box::new((error, self)));
        }
        Ok(Fetched { size: self.at, part: self.part, sha256, downloaded, event })
    }
}

/// Longer lists of checksums are a mistake.
const DOCUMENT: u64 = 1 << 20;

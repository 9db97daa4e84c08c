//! The signatures of a release: of its checksums, and of itself.

use crate::add::{Subject, blocking};
use crate::fetch::Fetched;
use crate::{Error, Order, Origin, Packages, Result};
use larder_remote::Client;

impl Packages {
    /// The text of the checksums, after its signature was verified where keys are known.
    pub(crate) async fn checksums_signed(
        &self,
        client: &Client,
        subject: &Subject<'_>,
        order: &Order,
        text: String,
        verified: &mut Vec<String>,
    ) -> Result<String> {
        let Some(openpgp) = &subject.definition.openpgp else { return Ok(text) };
        let detached = subject.definition.checksum_signature(&subject.version, subject.architecture);
        if !openpgp.clear_signed && detached.is_none() {
            return Ok(text);
        }
        let Some(keyring) = self.settings.keys.keyring(&subject.definition)? else {
            self.unsigned(&subject.title, "there is no OpenPGP key for it")?;
            return Ok(text);
        };
        let bad = |problem| Error::Signature { what: subject.title.clone(), kind: "OpenPGP", problem };
        if openpgp.clear_signed {
            let (text, who) = keyring.clear_signed(&text, self.now()).map_err(bad)?;
            verified.push(format!("OpenPGP signature of the checksums by {who}"));
            return Ok(text);
        }
        let signature = self.small(client, order, subject, &detached.unwrap_or_default()).await?;
        let who = keyring.detached(&signature, self.now(), || Box::new(text.as_bytes())).map_err(bad)?;
        verified.push(format!("OpenPGP signature of the checksums by {who}"));
        Ok(text)
    }

    /// Verifies the signatures of the release itself.
    pub(crate) async fn signed(
        &self,
        client: &Client,
        subject: &Subject<'_>,
        order: &Order,
        fetched: &Fetched,
        verified: &mut Vec<String>,
    ) -> Result<()> {
        let Subject { definition, version, architecture, title } = subject;
        let is_local = matches!(order.from, Some(Origin::File(_)));
        let signs_checksums = definition.checksum_signature(version, architecture).is_some()
            || definition.openpgp.as_ref().is_some_and(|openpgp| openpgp.clear_signed);
        if signs_checksums
            && self.settings.require_signatures
            && !verified.iter().any(|said| said.starts_with("OpenPGP"))
        {
            self.unsigned(title, "its signed checksums are not there")?;
        }
        if let Some(url) = definition.detached(version, architecture) {
            match self.settings.keys.keyring(definition)? {
                None => self.unsigned(title, "there is no OpenPGP key for it")?,
                Some(_) if is_local && !self.is_there(order, subject, &url) => {
                    self.unsigned(title, "its signature is not beside the file")?;
                }
                Some(keyring) => {
                    let signature = self.small(client, order, subject, &url).await?;
                    let path = fetched.part.path().to_owned();
                    let (now, what) = (self.now(), title.clone());
                    let who = blocking(move || {
                        let file = std::fs::File::open(&path).map_err(Error::file("open", &path))?;
                        let open = || -> Box<dyn std::io::Read> {
                            match file.try_clone().and_then(|mut file| {
                                std::io::Seek::rewind(&mut file)?;
                                Ok(file)
                            }) {
                                Ok(file) => Box::new(std::io::BufReader::new(file)),
                                Err(error) => Box::new(Failing(error.kind())),
                            }
                        };
                        let bad = |problem| Error::Signature { what, kind: "OpenPGP", problem };
                        keyring.detached(&signature, now, open).map_err(bad)
                    })
                    .await?;
                    verified.push(format!("OpenPGP signature by {who}"));
                }
            }
        }
        if let Some((signature, certificate, cosign)) = definition.cosign(version, architecture) {
            if is_local && !self.is_there(order, subject, &signature) {
                return self.unsigned(title, "its signature is not beside the file");
            }
            let authorities = self.settings.keys.authorities()?;
            let signature = self.small(client, order, subject, &signature).await?;
            let certificate = self.small(client, order, subject, &certificate).await?;
            let (path, sha256) = (fetched.part.path().to_owned(), fetched.sha256);
            let (identity, issuer) = (cosign.identity.clone(), cosign.issuer.clone());
            let what = title.clone();
            let who = identity.clone();
            blocking(move || {
                let signer = crate::cosign::Signer { identity: &identity, issuer: &issuer };
                let content = || std::fs::read(&path);
                authorities
                    .verify(&signature, &certificate, &sha256, &content, &signer)
                    .map_err(|problem| Error::Signature { what, kind: "cosign", problem })
            })
            .await?;
            verified.push(format!("cosign signature by {who}, transparency log and time not checked"));
        }
        match self.settings.require_signatures && !is_signed(verified) {
            true => self.unsigned(title, "its definition names none"),
            false => Ok(()),
        }
    }

    fn is_there(&self, order: &Order, subject: &Subject<'_>, published: &str) -> bool {
        match self.beside(order, &subject.url(), published) {
            Origin::File(path) => path.exists(),
            Origin::Url(_) => true,
        }
    }

    /// A signature or a certificate.
    async fn small(
        &self,
        client: &Client,
        order: &Order,
        subject: &Subject<'_>,
        published: &str,
    ) -> Result<Vec<u8>> {
        match self.beside(order, &subject.url(), published) {
            Origin::Url(url) => {
                let action = format!("cannot get the signature of {}", subject.title);
                self.document(client, &url, &action).await
            }
            Origin::File(path) => std::fs::read(&path).map_err(Error::file("read", &path)),
        }
    }

    /// A signature that cannot be verified is refused where one is required.
    fn unsigned(&self, title: &str, problem: &str) -> Result<()> {
        match self.settings.require_signatures {
            true => Err(Error::Unsigned { what: title.to_owned(), problem: problem.to_owned() }),
            false => {
                self.warn(format!("{title}: its signature was not verified: {problem}"));
                Ok(())
            }
        }
    }
}

/// Whether a signature is among what was verified.
pub(crate) fn is_signed(verified: &[String]) -> bool {
    verified.iter().any(|said| said.starts_with("OpenPGP signature") || said.starts_with("cosign signature"))
}

/// A file that cannot be read.
struct Failing(std::io::ErrorKind);

impl std::io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(self.0.into())
    }
}

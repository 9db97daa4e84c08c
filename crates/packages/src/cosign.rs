//! Keyless cosign signatures in two files: a signature and a short-lived certificate.
//!
//! Verified: that the certificate comes from an authority of the trust roots and is one for signing code, that it names the identity
//! and the issuer that are expected, and that its key made the signature over the file. **Not** verified, because the two files do
//! not say it: that the signature is in the transparency log, and that it was made in the minutes that the certificate was valid.
//! Whoever stole such a key could sign later; who has the key is shown by the authority alone.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_core::Digest;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// Authorities that may vouch for who signs.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    roots: Vec<CertificateDer<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

/// Who has to have signed.
pub(crate) struct Signer<'s> {
    pub(crate) identity: &'s str,
    pub(crate) issuer: &'s str,
}

type Problem = String;

impl Authorities {
    /// Those of the public Sigstore instance.
    pub(crate) fn public() -> Self {
        Self::parse(PUBLIC).expect("the certificates that are built in are tested")
    }

    /// Reads certificates (PEM): those that sign themselves are trusted, the others may stand in between.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, Problem> {
        let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
        for der in certificates(pem)? {
            let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
            let is_root = parsed.subject().as_raw() == parsed.issuer().as_raw();
            let certificate = CertificateDer::from(der.clone());
            if is_root { roots.push(certificate) } else { intermediates.push(certificate) }
        }
        match roots.is_empty() {
            true => Err("it holds no certificate that signs itself".into()),
            false => Ok(Self { roots, intermediates }),
        }
    }

    /// Verifies a signature over the file whose SHA-256 is `digest`; `content` is the file, needed where the key signs itself.
    pub(crate) fn verify(
        &self,
        signature: &[u8],
        certificate: &[u8],
        digest: &Digest,
        content: &dyn Fn() -> std::io::Result<Vec<u8>>,
        signer: &Signer<'_>,
    ) -> Result<(), Problem> {
        let pem = unwrapped(certificate);
        let mut chain = certificates(&pem)?.into_iter();
        let leaf = chain.next().ok_or("there is no certificate")?;
        let (_, parsed) = X509Certificate::from_der(&leaf).map_err(|error| error.to_string())?;
        self.trusted(&leaf, chain, &parsed)?;
        is_by(&parsed, signer)?;
        let signature = STANDARD
            .decode(signature.trim_ascii())
            .map_err(|_| "the signature is not in base64".to_owned())?;
        signed(&parsed, &signature, digest, content)
    }

    /// Whether the certificate comes from an authority, looked at as of the minutes that it was valid.
    fn trusted(
        &self,
        leaf: &[u8],
        sent: impl Iterator<Item = Vec<u8>>,
        parsed: &X509Certificate<'_>,
    ) -> Result<(), Problem> {
        let untrusted = |error: webpki::Error| format!("the certificate is not trusted: {error}");
        let anchors: Vec<_> =
            self.roots.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(untrusted)?;
        let mut intermediates = self.intermediates.clone();
        intermediates.extend(sent.take(8).map(CertificateDer::from));
        let leaf = CertificateDer::from(leaf);
        let leaf = EndEntityCert::try_from(&leaf).map_err(untrusted)?;
        let start = u64::try_from(parsed.validity().not_before.timestamp())
            .map_err(|_| "the certificate is older than its kind".to_owned())?;
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(start));
        let usage = KeyUsage::required(CODE_SIGNING);
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, moment, usage, None, None)
            .map(drop)
            .map_err(untrusted)
    }
}

/// Whether the certificate names who has to have signed.
fn is_by(certificate: &X509Certificate<'_>, signer: &Signer<'_>) -> Result<(), Problem> {
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.ok_or("the certificate names nobody")?;
    let found: Vec<&str> = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some(*name),
            _ => None,
        })
        .collect();
    // Several names would leave open who it was.
    if found != [signer.identity] {
        return Err(format!("it is by {found:?}, and not by {:?}", signer.identity));
    }
    let issuer = issuer_of(certificate).ok_or("the certificate does not say who vouches for the identity")?;
    match issuer == signer.issuer {
        true => Ok(()),
        false => Err(format!("{issuer:?} vouches for the identity, and not {:?}", signer.issuer)),
    }
}

/// The issuer of the identity (Fulcio's `oid-info.md`): a UTF-8 string, or in older certificates bare text.
fn issuer_of(certificate: &X509Certificate<'_>) -> Option<String> {
    let value = |oid: &str| {
        let mut found =
            certificate.extensions().iter().filter(|extension| extension.oid.to_id_string() == oid);
        let first = found.next()?;
        // Twice the same is not well-formed, and readers would differ about which counts.
        found.next().is_none().then_some(first)
    };
    let new = value("1.3.6.1.4.1.57264.1.8").and_then(|extension| match extension.parsed_extension() {
        ParsedExtension::UnsupportedExtension { .. } => {
            let (tag, rest) = extension.value.split_first_chunk::<2>()?;
            let text =
                (tag[0] == 0x0c && tag[1] < 0x80 && rest.len() == usize::from(tag[1])).then_some(rest)?;
            Some(std::str::from_utf8(text).ok()?.to_owned())
        }
        _ => None,
    });
    let old = || Some(std::str::from_utf8(value("1.3.6.1.4.1.57264.1.1")?.value).ok()?.to_owned());
    new.or_else(old)
}

/// Whether the certificate's key made the signature.
fn signed(
    certificate: &X509Certificate<'_>,
    signature: &[u8],
    digest: &Digest,
    content: &dyn Fn() -> std::io::Result<Vec<u8>>,
) -> Result<(), Problem> {
    let key = certificate.public_key();
    let bytes = &*key.subject_public_key.data;
    let curve =
        key.algorithm.parameters.as_ref().and_then(|value| value.as_oid().ok()).map(|oid| oid.to_id_string());
    let wrong = |_| "it is not of this file".to_owned();
    let read = || content().map_err(|error| format!("the file cannot be read: {error}"));
    match (key.algorithm.algorithm.to_id_string().as_str(), curve.as_deref()) {
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => {
            use aws_lc_rs::digest::{Digest as Hash, SHA256};
            let hash = Hash::import_less_safe(digest.as_bytes(), &SHA256).map_err(wrong)?;
            ECDSA_P256_SHA256_ASN1.verify_digest_sig(bytes, &hash, signature).map_err(wrong)
        }
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => {
            over(&ECDSA_P384_SHA384_ASN1, bytes, &read()?, signature)
        }
        ("1.2.840.113549.1.1.1", _) => over(&RSA_PKCS1_2048_8192_SHA256, bytes, &read()?, signature),
        _ => Err("its key is of a kind that is not accepted".into()),
    }
}

fn over(
    how: &'static dyn VerificationAlgorithm,
    key: &[u8],
    content: &[u8],
    signature: &[u8],
) -> Result<(), Problem> {
    UnparsedPublicKey::new(how, key)
        .verify(content, signature)
        .map_err(|_| "it is not of this file".to_owned())
}

/// Kubernetes publishes its certificates in base64 around the PEM.
fn unwrapped(certificate: &[u8]) -> Vec<u8> {
    let text = certificate.trim_ascii();
    if text.starts_with(b"-----BEGIN") {
        return text.to_vec();
    }
    let compact: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).unwrap_or_else(|_| text.to_vec())
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem);
    let mut found = Vec::new();
    for block in blocks {
        let block = block.map_err(|error| format!("it is not PEM: {error}"))?;
        if block.label == "CERTIFICATE" {
            found.push(block.contents);
        }
    }
    Ok(found)
}

/// id-kp-codeSigning (RFC 5280 §4.2.1.12): 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
const PUBLIC: &[u8] = include_bytes!("trust/fulcio.pem");

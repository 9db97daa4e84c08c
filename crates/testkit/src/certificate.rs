//! A private certificate authority and the certificate of one server.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// What is wrong with a server's certificate, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// It ended in the year 2001.
    Expired,
    /// It is for `elsewhere.invalid`.
    WrongHost,
    /// Nobody signed it but itself.
    SelfSigned,
}

/// PEM texts of an authority and of a server it vouches for.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The authority, to be trusted by clients.
    pub authority: String,
    /// The server's certificate.
    pub server: String,
    /// The server's private key (PKCS #8).
    pub key: String,
}

impl Certificate {
    /// For `127.0.0.1`, `::1` and `localhost`.
    pub fn new(flaw: Flaw) -> Result<Self> {
        let authority_key = KeyPair::generate().context("no key")?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "larder test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_pem = authority.self_signed(&authority_key).context("no authority")?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let names: &[&str] = match flaw {
            Flaw::WrongHost => &["elsewhere.invalid"],
            _ => &["127.0.0.1", "::1", "localhost"],
        };
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut server = CertificateParams::new(names).context("bad names")?;
        server.distinguished_name.push(DnType::CommonName, "larder test server");
        if flaw == Flaw::Expired {
            server.not_before = date_time_ymd(2000, 1, 1);
            server.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().context("no key")?;
        let signed = match flaw {
            Flaw::SelfSigned => server.self_signed(&key),
            _ => server.signed_by(&key, &issuer),
        };
        Ok(Self {
            authority: authority_pem,
            server: signed.context("no certificate")?.pem(),
            key: key.serialize_pem(),
        })
    }
}

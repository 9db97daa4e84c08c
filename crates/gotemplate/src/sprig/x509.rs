//! X.509 certificates (RFC 5280), as Sprig's template for `x509.CreateCertificate` has them: SHA-256 with RSA.

use sha2::{Digest, Sha256};

use super::der::{self, write, write_all};
use super::instant::Instant;
use super::layout;
use super::rsa::PrivateKey;

/// What a certificate says.
pub(crate) struct Template<'t> {
    pub(crate) common_name: &'t [u8],
    pub(crate) addresses: Vec<Vec<u8>>,
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) serial: [u8; 16],
    pub(crate) not_before: Instant,
    pub(crate) not_after: Instant,
    pub(crate) is_authority: bool,
}

/// Who signs.
pub(crate) struct Issuer<'i> {
    /// The name, in DER.
    pub(crate) name: Vec<u8>,
    pub(crate) key: &'i PrivateKey,
}

/// The certificate of `key`, in DER.
pub(crate) fn certificate(template: &Template<'_>, key: &PrivateKey, issuer: &Issuer<'_>) -> Vec<u8> {
    let algorithm = write_all(der::SEQUENCE, &[write(der::OBJECT, SHA256_WITH_RSA), write(5, &[])]);
    let body = write_all(
        der::SEQUENCE,
        &[
            write(0xA0, &der::write_integer(&[2])),
            der::write_integer(&template.serial),
            algorithm.clone(),
            issuer.name.clone(),
            write_all(der::SEQUENCE, &[time(&template.not_before), time(&template.not_after)]),
            name(template.common_name),
            public_key(key),
            write(0xA3, &extensions(template, key, issuer)),
        ],
    );
    let signature = issuer.key.sign(SHA256_PREFIX, &Sha256::digest(&body));
    write_all(der::SEQUENCE, &[body, algorithm, der::write_bits(&signature)])
}

/// A name that consists of a common name.
pub(crate) fn name(common_name: &[u8]) -> Vec<u8> {
    if common_name.is_empty() {
        return write(der::SEQUENCE, &[]);
    }
    let text = String::from_utf8_lossy(common_name);
    let pair =
        write_all(der::SEQUENCE, &[write(der::OBJECT, COMMON_NAME), write(der::UTF8, text.as_bytes())]);
    write(der::SEQUENCE, &write(der::SET, &pair))
}

/// The subject of a certificate, in DER; `None` if it is no certificate.
pub(crate) fn subject(certificate: &[u8]) -> Option<Vec<u8>> {
    let items = der::read_sequence(certificate).filter(|items| items.len() == 3)?;
    let body = der::read_sequence(items[0].whole)?;
    // The version, which is tagged, may be left out.
    let first = usize::from(body.first()?.tag == 0xA0);
    body.get(first + 4).map(|item| item.whole.to_vec())
}

fn public_key(key: &PrivateKey) -> Vec<u8> {
    let algorithm = write_all(der::SEQUENCE, &[write(der::OBJECT, RSA), write(5, &[])]);
    write_all(der::SEQUENCE, &[algorithm, der::write_bits(&key.public())])
}

/// `UTCTime` until 2049, `GeneralizedTime` from then on.
fn time(instant: &Instant) -> Vec<u8> {
    let year = instant.civil().year;
    if (1950..2050).contains(&year) {
        write(0x17, layout::format(instant, "060102150405Z").as_bytes())
    } else {
        write(0x18, layout::format(instant, "20060102150405Z").as_bytes())
    }
}

fn extensions(template: &Template<'_>, key: &PrivateKey, issuer: &Issuer<'_>) -> Vec<u8> {
    let extension = |id: u8, critical: bool, content: &[u8]| {
        let critical = if critical { write(1, &[0xFF]) } else { Vec::new() };
        write_all(
            der::SEQUENCE,
            &[write(der::OBJECT, &[0x55, 0x1D, id]), critical, write(der::OCTET_STRING, content)],
        )
    };
    let identifier = |key: &PrivateKey| Sha256::digest(key.public())[..20].to_vec();
    // Digital signature and key encipherment; an authority also signs certificates.
    let usage: &[u8] =
        if template.is_authority { &[0x03, 0x02, 0x02, 0xA4] } else { &[0x03, 0x02, 0x05, 0xA0] };
    let purposes = [write(der::OBJECT, SERVER), write(der::OBJECT, CLIENT)];
    let authority = if template.is_authority { write(1, &[0xFF]) } else { Vec::new() };
    let mut all = vec![
        extension(0x0F, true, usage),
        extension(0x25, false, &write_all(der::SEQUENCE, &purposes)),
        extension(0x13, true, &write(der::SEQUENCE, &authority)),
    ];
    if template.is_authority {
        all.push(extension(0x0E, false, &write(der::OCTET_STRING, &identifier(key))));
    } else {
        all.push(extension(0x23, false, &write(der::SEQUENCE, &write(0x80, &identifier(issuer.key)))));
    }
    let names = template.names.iter().map(|name| write(0x82, name));
    let names: Vec<_> = names.chain(template.addresses.iter().map(|address| write(0x87, address))).collect();
    if !names.is_empty() {
        all.push(extension(0x11, false, &write_all(der::SEQUENCE, &names)));
    }
    write_all(der::SEQUENCE, &all)
}

/// 1.2.840.113549.1.1.1
pub(crate) const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// 1.2.840.113549.1.1.11
const SHA256_WITH_RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 1.3.6.1.5.5.7.3.1
const SERVER: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// 1.3.6.1.5.5.7.3.2
const CLIENT: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// What says SHA-256 in a signature (RFC 8017, 9.2).
const SHA256_PREFIX: &[u8] = &[
    0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

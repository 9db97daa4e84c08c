//! Keys and certificates (Sprig's `crypto.go`): valid ones that stand in for those a real installation makes.
//!
//! What is rendered here must not depend on chance and is not to be installed, so that nothing is generated: every RSA key is the one
//! in `keys/rsa.pem`, every ECDSA key that in `keys/ecdsa.pem`, every DSA key that in `keys/dsa.pem`. They are known to everybody and
//! protect nothing. Certificates are made for the names, addresses and days that are asked for, and verify with those of their
//! authorities. Only RSA signs: for a key of another kind, a certificate is that of the key in `keys/rsa.pem`.

use std::any::Any;
use std::net::IpAddr;
use std::rc::Rc;

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::print;
use crate::text::Text;
use crate::value::{Map, Object, Value};

use super::instant::Instant;
use super::rsa::PrivateKey;
use super::x509::{self, Issuer, Template};
use super::{der, encoding, pem};

use Parameter::{Int, List, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("genPrivateKey", &[Str], private_key),
    Function::new("buildCustomCert", &[Str, Str], custom),
    Function::new("genCA", &[Str, Int], |args| {
        let days = args.int(1);
        make(args, Subject { hosts: None, days, issuer: None, key: None, is_authority: true })
    }),
    Function::new("genCAWithKey", &[Str, Int, Str], |args| {
        let (days, key) = (args.int(1), args.text(2));
        make(args, Subject { hosts: None, days, issuer: None, key: Some(key), is_authority: true })
    }),
    Function::new("genSelfSignedCert", &[Str, List, List, Int], |args| {
        let days = args.int(3);
        make(args, Subject { hosts: Some((1, 2)), days, issuer: None, key: None, is_authority: false })
    }),
    Function::new("genSelfSignedCertWithKey", &[Str, List, List, Int, Str], |args| {
        let (days, key) = (args.int(3), args.text(4));
        make(args, Subject { hosts: Some((1, 2)), days, issuer: None, key: Some(key), is_authority: false })
    }),
    Function::new("genSignedCert", &[Str, List, List, Int, PAIR], |args| {
        let (days, issuer) = (args.int(3), args.value(4));
        make(
            args,
            Subject { hosts: Some((1, 2)), days, issuer: Some(issuer), key: None, is_authority: false },
        )
    }),
    Function::new("genSignedCertWithKey", &[Str, List, List, Int, PAIR, Str], |args| {
        let (days, issuer, key) = (args.int(3), args.value(4), args.text(5));
        make(
            args,
            Subject { hosts: Some((1, 2)), days, issuer: Some(issuer), key: Some(key), is_authority: false },
        )
    }),
];

/// Sprig's `certificate`: a certificate and its key.
struct Pair {
    certificate: Text,
    key: Text,
}

impl Object for Pair {
    fn type_name(&self) -> &str {
        PAIR_NAME
    }

    fn get(&self, name: &str, _: &[Value]) -> Option<Result<Value, Fault>> {
        match name {
            "Cert" => Some(Ok(self.certificate.clone().into())),
            "Key" => Some(Ok(self.key.clone().into())),
            _ => None,
        }
    }

    fn print(&self) -> String {
        format!("{{{} {}}}", self.certificate, self.key)
    }

    fn plain(&self) -> Value {
        let parts = [("Cert", &self.certificate), ("Key", &self.key)];
        parts.into_iter().map(|(name, text)| (name.into(), text.clone().into())).collect::<Map>().into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What the functions differ in.
struct Subject {
    /// Which arguments are the addresses and the names.
    hosts: Option<(usize, usize)>,
    days: i64,
    issuer: Option<Value>,
    key: Option<Text>,
    is_authority: bool,
}

fn make(args: &mut Arguments<'_>, subject: Subject) -> Result<Value, Fault> {
    // Signing takes some milliseconds.
    args.run.charge(512 << 10)?;
    let key = subject.key.unwrap_or_else(|| RSA_KEY.into());
    let signer = parse_key(&key).map_err(|error| Fault::new(format!("parsing private key: {error}")))?;
    let (issuer_name, issuer_key) = match &subject.issuer {
        None => (None, None),
        Some(issuer) => {
            let (name, key) = authority(issuer)?;
            (Some(name), Some(key))
        }
    };
    let mut serial = [0; 16];
    let (addresses, names) = match subject.hosts {
        None => (Vec::new(), Vec::new()),
        Some((addresses, names)) => (addresses_of(&args.value(addresses))?, names_of(&args.value(names))?),
    };
    args.run.random(&mut serial);
    let (seconds, nanoseconds) = args.run.now();
    let not_before = Instant::utc(seconds, nanoseconds);
    // Go counts the days in nanoseconds of 64 bits.
    let not_after = not_before.plus(subject.days.wrapping_mul(86_400_000_000_000));
    let common_name = args.text(0);
    let template = Template {
        common_name: common_name.as_bytes(),
        addresses,
        names,
        serial,
        not_before,
        not_after,
        is_authority: subject.is_authority,
    };
    let name = issuer_name.unwrap_or_else(|| x509::name(common_name.as_bytes()));
    let issuer = Issuer { name, key: issuer_key.as_ref().unwrap_or(&signer) };
    let bytes = x509::certificate(&template, &signer, &issuer);
    Ok(Value::Object(Rc::new(Pair { certificate: pem::encode("CERTIFICATE", &bytes).into(), key })))
}

/// The name and the key of the authority that is to sign.
fn authority(issuer: &Value) -> Result<(Vec<u8>, PrivateKey), Fault> {
    let Value::Object(issuer) = issuer else { return Err(Fault::new("unable to decode certificate")) };
    let pair =
        issuer.as_any().downcast_ref::<Pair>().ok_or_else(|| Fault::new("unable to decode certificate"))?;
    let (_, bytes) =
        pem::decode(pair.certificate.as_bytes()).ok_or_else(|| Fault::new("unable to decode certificate"))?;
    let name = x509::subject(&bytes).ok_or_else(|| {
        Fault::new("error parsing certificate: decodedSignerCert.Bytes: x509: malformed certificate")
    })?;
    let key =
        parse_key(&pair.key).map_err(|error| Fault::new(format!("error parsing private key: {error}")))?;
    Ok((name, key))
}

/// `parsePrivateKeyPEM`. What is not RSA is checked for being a key, and replaced.
fn parse_key(text: &Text) -> Result<PrivateKey, String> {
    let (kind, bytes) = pem::decode(text.as_bytes()).ok_or("no PEM data in input")?;
    let malformed = |words: &str| format!("{words}: asn1: structure error: malformed key");
    let stand_in = || {
        let (_, bytes) = pem::decode(RSA_KEY.as_bytes()).expect("the embedded key is a block");
        PrivateKey::from_pkcs1(&bytes).expect("the embedded key is a key")
    };
    match kind.as_str() {
        "RSA PRIVATE KEY" => {
            PrivateKey::from_pkcs1(&bytes).ok_or_else(|| malformed("parsing RSA private key from PEM"))
        }
        "PRIVATE KEY" => {
            let items = der::read_sequence(&bytes).filter(|items| items.len() >= 3);
            let items = items.ok_or_else(|| malformed("decoding PEM as PKCS#8"))?;
            let is_rsa = der::read_sequence(items[1].whole)
                .is_some_and(|algorithm| algorithm.first().is_some_and(|id| id.content == x509::RSA));
            if !is_rsa {
                return Ok(stand_in());
            }
            PrivateKey::from_pkcs1(items[2].content).ok_or_else(|| malformed("decoding PEM as PKCS#8"))
        }
        "EC PRIVATE KEY" | "DSA PRIVATE KEY" => match der::read_sequence(&bytes) {
            Some(_) => Ok(stand_in()),
            None => Err(malformed(&format!("parsing {} private key from PEM", &kind[..kind.len() - 12]))),
        },
        _ => match kind.strip_suffix(" PRIVATE KEY") {
            Some(kind) => Err(format!("invalid private key type {kind}")),
            None => Err(format!("no private key data in PEM block of type {kind}")),
        },
    }
}

fn private_key(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let kind = args.text(0);
    Ok(match kind.as_bytes() {
        b"" | b"rsa" => RSA_KEY.into(),
        b"dsa" => include_str!("keys/dsa.pem").into(),
        b"ecdsa" => include_str!("keys/ecdsa.pem").into(),
        b"ed25519" => {
            // Every 32 bytes are a key (RFC 8410).
            let mut seed = [0; 32];
            args.run.random(&mut seed);
            let seed = der::write(der::OCTET_STRING, &der::write(der::OCTET_STRING, &seed));
            let algorithm = der::write(der::SEQUENCE, &der::write(der::OBJECT, &[0x2B, 0x65, 0x70]));
            pem::encode(
                "PRIVATE KEY",
                &der::write_all(der::SEQUENCE, &[der::write(der::INTEGER, &[0]), algorithm, seed]),
            )
            .into()
        }
        _ => format!("Unknown type {kind}").into(),
    })
}

fn custom(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let decoded = |index: usize, what: &str| {
        let bytes = encoding::decode_base64(args.text(index).as_bytes());
        bytes.map_err(|_| Fault::new(format!("unable to decode base64 {what}")))
    };
    let (certificate, key) = (decoded(0, "certificate")?, decoded(1, "private key")?);
    let (_, bytes) = pem::decode(&certificate).ok_or_else(|| Fault::new("unable to decode certificate"))?;
    x509::subject(&bytes).ok_or_else(|| {
        Fault::new("error parsing certificate: decodedCert.Bytes: x509: malformed certificate")
    })?;
    let key = Text::from(key);
    parse_key(&key).map_err(|error| Fault::new(format!("error parsing private key: {error}")))?;
    Ok(Value::Object(Rc::new(Pair { certificate: certificate.into(), key })))
}

/// `getNetIPs`
fn addresses_of(value: &Value) -> Result<Vec<Vec<u8>>, Fault> {
    let items = value.as_list().map(|list| list.items().to_vec()).unwrap_or_default();
    let address = |item: &Value| {
        let Some(text) = item.as_text() else {
            return Err(Fault::new(format!("error parsing ip: {} is not a string", print::shown(item))));
        };
        match text.to_str().parse() {
            Ok(IpAddr::V4(address)) => Ok(address.octets().to_vec()),
            Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => Ok(address.octets().to_vec()),
                None => Ok(address.octets().to_vec()),
            },
            Err(_) => Err(Fault::new(format!("error parsing ip: {text}"))),
        }
    };
    items.iter().map(address).collect()
}

/// `getAlternateDNSStrs`
fn names_of(value: &Value) -> Result<Vec<Vec<u8>>, Fault> {
    let items = value.as_list().map(|list| list.items().to_vec()).unwrap_or_default();
    let name = |item: &Value| match item.as_text() {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Err(Fault::new(format!(
            "error processing alternate dns name: {} is not a string",
            print::shown(item)
        ))),
    };
    items.iter().map(name).collect()
}

const PAIR_NAME: &str = "sprig.certificate";
const PAIR: Parameter = Parameter::Object(PAIR_NAME);
/// A key that everybody knows.
const RSA_KEY: &str = include_str!("keys/rsa.pem");

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault, value};
    use super::*;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn part(pair: &Value, name: &str) -> Text {
        let Value::Object(pair) = pair else { panic!("no certificate") };
        pair.get(name, &[]).expect(name).expect(name).as_text().expect(name).clone()
    }

    #[test]
    fn a_certificate_is_signed_by_its_authority() {
        let authority = value("genCA", &["an authority".into(), Value::int(365)]).expect("an authority");
        let hosts =
            [Value::list(vec!["10.0.0.1".into(), "::1".into()]), Value::list(vec!["a.example".into()])];
        let arguments = ["a.example".into(), hosts[0].clone(), hosts[1].clone(), Value::int(30), authority];
        let signed = value("genSignedCert", &arguments).expect("a certificate");
        let (kind, bytes) = pem::decode(part(&signed, "Cert").as_bytes()).expect("a block");
        assert_eq!(kind, "CERTIFICATE");
        assert_eq!(x509::subject(&bytes), Some(x509::name(b"a.example")));
        assert_eq!(call("genPrivateKey", &["rsa".into()]), part(&signed, "Key").to_string());
        let custom = ["Cert", "Key"].map(|name| STANDARD.encode(part(&signed, name).as_bytes()).into());
        assert!(value("buildCustomCert", &custom).is_ok());
    }

    #[test]
    fn a_key_of_ones_own_signs() {
        let key = call("genPrivateKey", &["ed25519".into()]);
        assert!(value("genCAWithKey", &["a".into(), Value::int(1), key.into()]).is_ok());
        let words = fault("genCAWithKey", &["a".into(), Value::int(1), "x".into()]);
        assert_eq!(words, "parsing private key: no PEM data in input");
    }

    #[test]
    fn what_is_wrong_is_said_in_sprigs_words() {
        let cert = |ips: Vec<Value>| {
            fault("genSelfSignedCert", &["a".into(), Value::list(ips), Value::list(vec![]), Value::int(1)])
        };
        assert_eq!(cert(vec!["1.2.3".into()]), "error parsing ip: 1.2.3");
        assert_eq!(cert(vec![Value::int(1)]), "error parsing ip: 1 is not a string");
        assert_eq!(call("genPrivateKey", &["x".into()]), "Unknown type x");
        assert_eq!(fault("buildCustomCert", &["!".into(), "".into()]), "unable to decode base64 certificate");
    }
}

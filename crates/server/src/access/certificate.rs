//! Accounts out of client certificates.

use super::settings::{CertificateName, ClientCaSettings};
use std::time::SystemTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// The account that a certificate names. TLS has checked who signed it; here its dates are checked again, because connections
/// may outlive certificates.
pub(super) fn account(
    settings: &ClientCaSettings,
    der: &[u8],
    now: SystemTime,
) -> Result<String, &'static str> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| "it cannot be read")?;
    let now = super::jwt::seconds(now);
    let validity = certificate.validity();
    let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if now < begin as f64 || now > end as f64 {
        return Err("it has expired, or is not good yet");
    }
    let mut names: Vec<String> = match settings.name {
        CertificateName::CommonName => {
            let names = certificate.subject().iter_common_name();
            names
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Result<_, _>>()
                .map_err(|_| UNREADABLE)?
        }
        kind => {
            let extension = certificate.subject_alternative_name().map_err(|_| UNREADABLE)?;
            let names =
                extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
            names.iter().filter_map(|name| alternative(kind, name)).collect()
        }
    };
    // Of two names, nobody can say which one was meant.
    let (Some(name), true) = (names.pop(), names.is_empty()) else {
        return Err("it has no name of the configured kind, or several");
    };
    if name.is_empty() || name.len() > NAME_LIMIT || name.contains(char::is_control) {
        return Err("its name is no name");
    }
    Ok(format!("{}{name}", settings.prefix()))
}

fn alternative(kind: CertificateName, name: &GeneralName<'_>) -> Option<String> {
    match (kind, name) {
        (CertificateName::Dns, GeneralName::DNSName(name))
        | (CertificateName::Email, GeneralName::RFC822Name(name))
        | (CertificateName::Uri, GeneralName::URI(name)) => Some((*name).to_owned()),
        _ => None,
    }
}

const UNREADABLE: &str = "its names cannot be read";
const NAME_LIMIT: usize = 256;

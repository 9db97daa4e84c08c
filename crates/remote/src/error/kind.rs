//! What kind of error each is, and what can be done about it.

use super::Error;
use larder_core::{Classify, Kind};
use std::time::Duration;

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownHost { .. }
            | Self::Connect { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Interrupted { .. }
            | Self::ApiConnect { .. }
            | Self::ApiInterrupted { .. }
            | Self::Helper { .. }
            | Self::WebPage { .. }
            | Self::Changed { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Source { .. } => Kind::Unavailable,
            Self::Tls { .. }
            | Self::ApiTls { .. }
            | Self::Refused { .. }
            | Self::Realm { .. }
            | Self::Redirect { .. } => Kind::Denied,
            Self::Status(failure) => kind_of(failure.status.as_u16()),
            Self::ApiStatus { status, .. } => kind_of(*status),
            Self::Document { source, .. } => source.kind(),
            Self::Mismatch { .. } | Self::Length { .. } | Self::WrongRange { .. } | Self::Encoded { .. } => {
                Kind::Corrupt
            }
            Self::NoHost { .. } => Kind::Unsupported,
            Self::Token { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::Protocol { .. }
            | Self::Hosts { .. }
            | Self::Certificate { .. }
            | Self::Proxy(_)
            | Self::ApiProxy
            | Self::ApiSetup { .. }
            | Self::ApiAnswer { .. }
            | Self::CredentialFile { .. } => Kind::Invalid,
            Self::Setup { .. } => Kind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownHost { host, .. } => {
                vec![format!("check the spelling of {host:?}, and that the name server is reachable")]
            }
            Self::Connect { host, .. } => vec![format!(
                "check that {host} is up and reachable from here; a mirror may be configured in certs.d/{host}/hosts.toml"
            )],
            Self::ApiStatus { status: 401, .. } => {
                vec!["the credentials of the kubeconfig are not accepted; they may have expired".into()]
            }
            Self::ApiStatus { status: 403, .. } => vec!["the account needs the right to list it".into()],
            Self::ApiConnect { host, .. } => {
                vec![format!(
                    "check that {host} is up and reachable from here, and that the kubeconfig is of today"
                )]
            }
            Self::ApiTls { host, source } => match flaw(host, &**source) {
                Some(hint) => vec![hint],
                None => vec![format!(
                    "{host} is not known to the certificate-authority of the kubeconfig: it may be that of another cluster"
                )],
            },
            Self::Tls { host, certs_dir, source } => {
                if let Some(hint) = flaw(host, source) {
                    return vec![hint];
                }
                let dir =
                    certs_dir.as_ref().map_or_else(|| "certs.d".into(), |dir| dir.display().to_string());
                vec![
                    format!(
                        "if {host} has a private certificate authority, put its certificate into {dir}/{host}/ca.crt"
                    ),
                    format!(
                        "if {host} speaks plain http or cannot be verified, list it as an insecure registry"
                    ),
                ]
            }
            Self::Refused { address, .. } => {
                vec![format!("if this is intended, add a network that contains {address} to allow_networks")]
            }
            Self::Realm { realm, .. } => {
                let host = url::Url::parse(realm).ok().and_then(|url| url.host_str().map(str::to_owned));
                host.map(|host| {
                    format!("if {host} is the right token server, add it to the allowed realm hosts")
                })
                .into_iter()
                .collect()
            }
            Self::Status(failure) => failure.hints(),
            Self::WebPage { .. } => {
                vec!["a proxy or a login page may stand between here and the registry".into()]
            }
            Self::Encoded { .. } => {
                vec!["a proxy that compresses stands between here and the registry; turn that off".into()]
            }
            Self::Slow { .. } => vec!["lower the minimum rate if the line is really that slow".into()],
            Self::Helper { program, .. } => {
                vec![format!(
                    "run `{program} list` to see whether the helper works, or log in again without it"
                )]
            }
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(failure) => failure.retry_after,
            _ => None,
        }
    }
}

/// What is wrong with a certificate in itself.
fn flaw(host: &str, error: &(dyn std::error::Error + 'static)) -> Option<String> {
    // The TLS library is not linked here by name, so its words have to do.
    let words = larder_core::report(error).to_ascii_lowercase();
    if words.contains("expired") {
        Some(format!(
            "the certificate of {host} is no longer valid: who runs {host} has to renew it; or the clock here is wrong"
        ))
    } else if words.contains("not valid yet") || words.contains("notvalidyet") {
        Some(format!("the certificate of {host} is not valid yet, or the clock here is wrong"))
    } else if words.contains("not valid for name") || words.contains("notvalidforname") {
        Some(format!(
            "the certificate of {host} is for another name: use the name that it is for, or check who answers there"
        ))
    } else {
        None
    }
}

fn kind_of(status: u16) -> Kind {
    match status {
        401 | 403 | 407 => Kind::Denied,
        404 | 410 => Kind::NotFound,
        409 | 412 | 423 => Kind::Conflict,
        405 | 501 | 505 => Kind::Unsupported,
        408 | 425 | 429 | 500..=599 => Kind::Unavailable,
        _ => Kind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use reqwest::StatusCode;

    fn failure(status: u16) -> Error {
        Error::Status(Box::new(Failure {
            method: "GET".into(),
            url: "https://r.example/v2/a/manifests/1".into(),
            status: StatusCode::from_u16(status).unwrap(),
            code: Some("DENIED".into()),
            message: "no".into(),
            retry_after: None,
            login: Some("r.example".into()),
            foreign: false,
        }))
    }

    #[test]
    fn statuses_have_kinds_and_hints() {
        let table = [
            (401, Kind::Denied),
            (403, Kind::Denied),
            (404, Kind::NotFound),
            (405, Kind::Unsupported),
            (400, Kind::Invalid),
            (409, Kind::Conflict),
            (429, Kind::Unavailable),
            (503, Kind::Unavailable),
        ];
        for (status, kind) in table {
            assert_eq!(failure(status).kind(), kind, "{status}");
        }
        assert_eq!(failure(401).hints()[0], "larder login r.example");
        assert!(failure(403).to_string().contains("403 Forbidden (DENIED: no)"));
        assert!(failure(503).is_passing() && !failure(404).is_passing());
    }
}

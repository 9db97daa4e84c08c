//! Where credentials may be sent when a registry points to a token server.
//!
//! Allowed are the registry's own host (on any port), a host under the same registrable domain, and hosts that the user
//! listed. The registrable domain is approximated without a public-suffix list: the last two labels, or the last three where
//! the last two are a well-known second-level suffix such as `co.uk`, or a domain under which strangers get names of their
//! own, such as `github.io`. The list errs on the side of *more* labels, which refuses rather than leaks; what it refuses
//! wrongly can be allowed by configuration. IP addresses only match themselves.

use url::{Host, Url};

/// Whether credentials for a registry at `asker` may go to `realm`; `Err` says which rule forbids it.
pub(crate) fn allow(asker: &Url, realm: &Url, listed: &[String]) -> Result<(), &'static str> {
    sane(asker, realm)?;
    let (Some(from), Some(to)) = (asker.host(), realm.host()) else { return Err("it has no host") };
    if from == to || is_listed(realm, listed) {
        return Ok(());
    }
    match (from, to) {
        (Host::Domain(from), Host::Domain(to)) => {
            let (from, to) = (registrable(from), registrable(to));
            if from.is_some() && from == to {
                Ok(())
            } else {
                Err("it belongs to another domain than the registry")
            }
        }
        _ => Err("it is at another address than the registry"),
    }
}

/// The rules that hold even where no credentials are involved.
pub(crate) fn sane(asker: &Url, realm: &Url) -> Result<(), &'static str> {
    match (asker.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("it would leave TLS"),
        _ => return Err("it is neither an http nor an https URL"),
    }
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err("it has user information in its URL");
    }
    Ok(())
}

/// Whether the user listed the host of `realm`, by `host` or by `host:port`.
pub(crate) fn is_listed(realm: &Url, listed: &[String]) -> bool {
    let host = realm.host_str().unwrap_or_default();
    let with_port = format!("{host}:{}", realm.port_or_known_default().unwrap_or_default());
    listed.iter().any(|entry| entry.eq_ignore_ascii_case(host) || entry.eq_ignore_ascii_case(&with_port))
}

fn registrable(host: &str) -> Option<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    if labels.len() < 2 || labels.iter().any(|label| label.is_empty()) {
        return None; // `localhost` and machines without a domain only match themselves
    }
    let [.., second, last] = labels[..] else { return None };
    let is_suffix = SHARED.contains(&format!("{second}.{last}").as_str())
        || (last.len() == 2
            && (SECOND_LEVEL.contains(&second)
                || second.len() == 2 && labels.len() > 2 && JOINT.contains(&last)));
    let wanted = if is_suffix { 3 } else { 2 };
    (labels.len() >= wanted).then(|| labels[labels.len() - wanted..].join("."))
}

/// Second-level labels under country codes that are suffixes almost everywhere (`co.uk`, `com.au`, `ac.jp`).
const SECOND_LEVEL: [&str; 24] = [
    "ac", "asn", "biz", "co", "com", "edu", "firm", "gen", "go", "gob", "gov", "gouv", "govt", "id", "ind",
    "info", "ltd", "me", "mil", "ne", "net", "nom", "or", "org",
];

/// Country codes whose other two-letter second levels are suffixes too (`lg.jp`, `sh.cn`, `re.kr`, `sp.br`).
const JOINT: [&str; 6] = ["br", "cn", "jp", "kr", "th", "uk"];

/// Domains under which strangers register names.
const SHARED: [&str; 46] = [
    "amazonaws.com",
    "appspot.com",
    "azure.com",
    "azurecontainer.io",
    "azurecr.io",
    "azurecr.cn",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "core.windows",
    "de.com",
    "digitaloceanspaces.com",
    "duckdns.org",
    "dyndns.org",
    "eu.com",
    "fly.dev",
    "gb.net",
    "github.io",
    "githubpreview.dev",
    "gitlab.io",
    "gitpod.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "jpn.com",
    "netlify.app",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "nip.io",
    "onrender.com",
    "pages.dev",
    "pkg.dev",
    "run.app",
    "ru.com",
    "sa.com",
    "sslip.io",
    "trycloudflare.com",
    "uk.com",
    "uk.net",
    "us.com",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
    "za.com",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asker: &str, realm: &str) -> Result<(), &'static str> {
        let listed = vec!["auth.listed.example".into(), "ported.example:8443".into(), "10.9.9.9".into()];
        allow(&asker.parse().unwrap(), &realm.parse().unwrap(), &listed)
    }

    #[test]
    fn realm_on_another_host_gets_no_credentials_cve_2026_33540() {
        let good = [
            ("https://r.example", "https://r.example/token"),
            ("https://r.example", "https://r.example:8443/token"),
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://registry.a.co.uk", "https://auth.a.co.uk/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://x.azurecr.io", "https://x.azurecr.io/oauth2/token"),
            ("http://10.0.0.1:5000", "http://10.0.0.1:5001/token"),
            ("http://10.0.0.1:5000", "https://10.0.0.1:5001/token"),
            ("https://r.example", "https://auth.listed.example/token"),
            ("https://r.example", "https://ported.example:8443/token"),
            ("https://r.example", "https://10.9.9.9/token"),
            ("https://bücher.example", "https://auth.xn--bcher-kva.example/token"),
        ];
        for (asker, realm) in good {
            assert_eq!(check(asker, realm), Ok(()), "{asker} -> {realm}");
        }
        let bad = [
            ("https://r.example", "https://evil.test/token"),
            ("https://r.example", "https://r.example.evil.test/token"),
            ("https://r.example", "https://evilr.example.org/token"),
            ("https://a.co.uk", "https://evil.co.uk/token"),
            ("https://a.com.au", "https://b.com.au/token"),
            ("https://a.github.io", "https://b.github.io/token"),
            ("https://a.azurecr.io", "https://b.azurecr.io/token"),
            ("https://1.dkr.ecr.eu-west-1.amazonaws.com", "https://evil.amazonaws.com/token"),
            ("https://r.example", "http://r.example/token"),
            ("https://r.example", "http://auth.listed.example/token"),
            ("https://r.example", "https://user@r.example/token"),
            ("https://r.example", "https://user:pw@r.example/token"),
            ("https://r.example", "ftp://r.example/token"),
            ("https://r.example", "https://127.0.0.1/token"),
            ("https://10.0.0.1", "https://10.0.0.2/token"),
            ("https://[::1]:5000", "https://[::2]:5000/token"),
            ("https://localhost:5000", "https://evil/token"),
            ("https://r.example", "https://ported.example/token"),
            ("https://b\u{fc}cher.example", "https://b\u{75}cher.test/token"),
            ("https://apple.example", "https://\u{430}pple.test/token"),
        ];
        for (asker, realm) in bad {
            assert!(check(asker, realm).is_err(), "{asker} -> {realm} was allowed");
        }
    }

    #[test]
    fn registrable_domains() {
        let table = [
            ("auth.docker.io", Some("docker.io")),
            ("docker.io.", Some("docker.io")),
            ("a.b.c.co.uk", Some("c.co.uk")),
            ("co.uk", None),
            ("localhost", None),
            ("x.github.io", Some("x.github.io")),
            ("city.lg.jp", Some("city.lg.jp")),
            ("registry.x.de", Some("x.de")),
            ("a..b", None),
        ];
        for (host, expected) in table {
            assert_eq!(registrable(host).as_deref(), expected, "{host}");
        }
    }
}

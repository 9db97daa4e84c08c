//! The dialer guard: decides which addresses may be connected to, after names have become addresses.
//!
//! A host that the user named (a registry, its configured mirrors, an allowed token server) may be anywhere. A host that a
//! *server* named (a redirect, a token realm, an upload location, a foreign layer) must be on the public Internet or in an
//! allowed network; otherwise a hostile registry could make larder talk to metadata services and machines behind the
//! firewall. Checking inside the resolver leaves no gap between check and use for a name that changes its address.

use crate::config::Lookup;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use url::{Host, Url};

/// Who named a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// The user, on the command line or in configuration.
    Named,
    /// A server.
    Pointed,
}

/// An address that may not be connected to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host} has the address {address}, which is {why}")]
pub(crate) struct Refused {
    pub(crate) host: String,
    pub(crate) address: IpAddr,
    pub(crate) why: &'static str,
}

pub(crate) struct Guard {
    pub(crate) allowed: Vec<IpNet>,
    pub(crate) blocked: Vec<IpNet>,
    pub(crate) lookup: Option<Lookup>,
    /// Hosts of proxies. With proxies, names are resolved elsewhere, so they are checked before the request.
    pub(crate) proxies: Vec<String>,
}

impl Guard {
    /// Checks what the resolver will not see: literal addresses, and names where a proxy resolves them.
    pub(crate) async fn admit(&self, url: &Url, trust: Trust) -> Result<(), Refused> {
        let port = url.port_or_known_default().unwrap_or_default();
        match url.host() {
            Some(Host::Ipv4(address)) => {
                self.check(url.host_str().unwrap_or_default(), address.into(), trust)
            }
            Some(Host::Ipv6(address)) => {
                self.check(url.host_str().unwrap_or_default(), address.into(), trust)
            }
            Some(Host::Domain(name)) if !self.proxies.is_empty() => {
                // What cannot be resolved here is left to the proxy.
                let addresses = self.addresses(name, port).await.unwrap_or_default();
                addresses.into_iter().try_for_each(|address| self.check(name, address.ip(), trust))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check(&self, host: &str, address: IpAddr, trust: Trust) -> Result<(), Refused> {
        let refuse = |why| Err(Refused { host: host.to_owned(), address, why });
        let forms = forms(address);
        let within =
            |networks: &[IpNet]| networks.iter().any(|net| forms.iter().any(|form| net.contains(form)));
        if within(&self.blocked) {
            return refuse("in a blocked network");
        }
        if trust == Trust::Named || within(&self.allowed) {
            return Ok(());
        }
        match forms.iter().find_map(|form| reserved(*form)) {
            Some(why) => refuse(why),
            None => Ok(()),
        }
    }

    async fn addresses(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        if let Some(fixed) = self.lookup.as_ref().and_then(|lookup| lookup(name)) {
            return Ok(fixed.into_iter().map(|address| SocketAddr::new(address, port)).collect());
        }
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

/// Resolves names for connections and lets only admissible addresses through.
pub(crate) struct Resolver {
    pub(crate) guard: Arc<Guard>,
    pub(crate) trust: Trust,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, mut trust) = (self.guard.clone(), self.trust);
        Box::pin(async move {
            if guard.proxies.iter().any(|proxy| proxy == name.as_str()) {
                trust = Trust::Named;
            }
            let found = guard.addresses(name.as_str(), 0).await?;
            let mut refused = None;
            let mut admitted = Vec::with_capacity(found.len());
            for address in found {
                match guard.check(name.as_str(), address.ip(), trust) {
                    Ok(()) => admitted.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                // One refused address among good ones is how a rebinding attack looks; the good ones still do.
                Some(error) if admitted.is_empty() => Err(error.into()),
                _ => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        })
    }
}

/// The address and every IPv4 address that it stands for.
fn forms(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return vec![address] };
    let mut forms = vec![address];
    let bytes = v6.octets();
    let v4 = |at: usize| IpAddr::V4(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]));
    let segments = v6.segments();
    if segments[..5] == [0; 5] && (segments[5] == 0xffff || segments[5] == 0) && segments[6..] != [0, 0] {
        forms.push(v4(12)); // IPv4-mapped (RFC 4291 §2.5.5.2) and the deprecated IPv4-compatible form
    }
    if segments[..4] == [0, 0, 0, 0] && segments[4] == 0xffff && segments[5] == 0 {
        forms.push(v4(12)); // IPv4-translated (RFC 2765)
    }
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        forms.push(v4(12)); // NAT64 (RFC 6052)
    }
    if segments[0] == 0x2002 {
        forms.push(v4(2)); // 6to4 (RFC 3056)
    }
    forms
}

/// Why an address is not on the public Internet (IANA special-purpose registries).
fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => reserved_v4(v4),
        IpAddr::V6(v6) => reserved_v6(v6),
    }
}

fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("an address of this host"),
        [127, ..] => Some("a loopback address"),
        [169, 254, ..] => Some("a link-local address, where metadata services live"),
        // Answers only inside Azure, with secrets of the machine.
        [168, 63, 129, 16] => Some("a metadata service"),
        [10, ..] | [192, 168, ..] => Some("a private address"),
        [172, second, ..] if second & 0xf0 == 16 => Some("a private address"),
        [100, second, ..] if second & 0xc0 == 64 => Some("a carrier-private address"),
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            Some("a reserved address")
        }
        [198, 18 | 19, ..] => Some("a benchmarking address"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an address of this host"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        [0x64, 0xff9b, 1, ..] => Some("an address for local translation"),
        [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] | [0x3fff, ..] => Some("a reserved address"),
        [0x2001, 0, ..] => Some("a tunnel address"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("a private address"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("a link-local address"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("a private address"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("a multicast address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str], blocked: &[&str]) -> Guard {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
        Guard { allowed: nets(allowed), blocked: nets(blocked), lookup: None, proxies: Vec::new() }
    }

    const PRIVATE: [&str; 31] = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.64.0.1",
        "100.100.100.200",
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "fd00:ec2::254",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "64:ff9b::169.254.169.254",
        "2002:7f00:1::",
        "::ffff:0:10.0.0.1",
    ];

    #[test]
    fn refuses_every_way_to_write_a_private_address() {
        let guard = guard(&[], &[]);
        for text in PRIVATE {
            let address: IpAddr = text.parse().unwrap();
            assert!(guard.check("x", address, Trust::Pointed).is_err(), "{text} was let through");
            assert!(guard.check("x", address, Trust::Named).is_ok(), "{text} was refused to the user");
        }
        for text in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
        {
            assert!(guard.check("x", text.parse().unwrap(), Trust::Pointed).is_ok(), "{text} was refused");
        }
    }

    #[test]
    fn networks_open_and_close() {
        let guard = guard(&["10.0.0.0/8", "fd00::/8"], &["10.6.6.0/24", "8.8.8.0/24"]);
        let ok = |text: &str, trust| guard.check("x", text.parse().unwrap(), trust).is_ok();
        assert!(
            ok("10.1.1.1", Trust::Pointed)
                && ok("::ffff:10.1.1.1", Trust::Pointed)
                && ok("fd12::1", Trust::Pointed)
        );
        assert!(!ok("192.168.1.1", Trust::Pointed));
        for text in ["10.6.6.6", "::ffff:10.6.6.6", "64:ff9b::8.8.8.8", "8.8.8.8"] {
            assert!(!ok(text, Trust::Named) && !ok(text, Trust::Pointed), "{text} was let through");
        }
    }

    #[tokio::test]
    async fn urls_cannot_hide_an_address() {
        let guard = guard(&[], &[]);
        for text in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://[::ffff:7f00:1]/",
            "http://[::]/",
            "http://0/",
            "http://①②⑦.0.0.1/",
        ] {
            let url: Url = text.parse().unwrap();
            assert!(guard.admit(&url, Trust::Pointed).await.is_err(), "{text} was let through");
        }
    }

    #[tokio::test]
    async fn names_are_checked_after_they_became_addresses() {
        let lookup: Lookup = Arc::new(|name| match name {
            "inside.test" => Some(vec!["10.0.0.1".parse().unwrap()]),
            "both.test" => Some(vec!["10.0.0.1".parse().unwrap(), "8.8.8.8".parse().unwrap()]),
            _ => None,
        });
        let guard = Arc::new(Guard { lookup: Some(lookup), ..guard(&[], &[]) });
        let resolver = Resolver { guard, trust: Trust::Pointed };
        assert!(resolver.resolve("inside.test".parse().unwrap()).await.is_err());
        assert!(resolver.resolve("localhost".parse().unwrap()).await.is_err());
        let left: Vec<_> = resolver.resolve("both.test".parse().unwrap()).await.unwrap().collect();
        assert_eq!(left, ["8.8.8.8:0".parse().unwrap()]);
    }
}

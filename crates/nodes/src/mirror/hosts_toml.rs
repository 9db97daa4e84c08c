//! containerd's `hosts.toml`.

use super::url::MirrorUrl;
use larder_core::Registry;

/// For which registries a mirror stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirrors {
    /// All that have no directory of their own: `_default`.
    All,
    /// One.
    One(Registry),
}

impl Mirrors {
    /// The name of the directory, as containerd looks for it.
    pub(crate) fn directory(&self) -> &str {
        match self {
            Self::All => "_default",
            Self::One(registry) => registry.as_str(),
        }
    }

    /// Where the registry is when the mirror does not answer. Where this says nothing, containerd goes to the registry itself.
    fn upstream(&self) -> Option<String> {
        match self {
            Self::All => None,
            Self::One(registry) if registry.as_str() == Registry::DOCKER_HUB => {
                Some("https://registry-1.docker.io".into())
            }
            // containerd speaks plain HTTP with these by itself.
            Self::One(registry) if matches!(registry.host(), "localhost" | "127.0.0.1" | "::1") => None,
            Self::One(registry) => Some(format!("https://{}", registry.as_str())),
        }
    }
}

/// The text of a file: the mirror first, then the upstream. `before` is what is there now; where it says where the upstream is,
/// that stays.
pub(crate) fn text(
    mirrors: &Mirrors,
    url: &MirrorUrl,
    authority: Option<&str>,
    before: Option<&str>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let own = before.and_then(|text| toml::from_str::<toml::Table>(text).ok());
    let own = own.as_ref().and_then(|table| table.get("server")?.as_str()).map(str::to_owned);
    let mut text = HEADER.to_owned();
    if let Some(server) = own.or_else(|| mirrors.upstream()) {
        text += &format!("server = {}\n\n", quoted(&server));
    }
    text += &format!("[host.{}]\n  capabilities = [\"pull\", \"resolve\"]\n", quoted(&url.to_string()));
    if let Some(authority) = authority {
        text += &format!("  ca = {}\n", quoted(authority));
    }
    text
}

const HEADER: &str = "# Written by `larder nodes mirror`; with --undo it brings back what was here before.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_comes_first_and_the_upstream_second() {
        let url: MirrorUrl = "http://10.0.0.1:5000".parse().unwrap();
        let hub = Mirrors::One(Registry::new("docker.io").unwrap());
        let made = |mirrors: &Mirrors, before: Option<&str>| {
            text(mirrors, &url, None, before).strip_prefix(HEADER).unwrap().to_owned()
        };
        let host = "[host.\"http://10.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
        assert_eq!(made(&Mirrors::All, None), host);
        assert_eq!(made(&hub, None), format!("server = \"https://registry-1.docker.io\"\n\n{host}"));
        let own = "server = \"http://10.1.1.1\"\n[host.\"http://other\"]\n";
        assert_eq!(made(&hub, Some(own)), format!("server = \"http://10.1.1.1\"\n\n{host}"));
        assert_eq!(made(&Mirrors::One(Registry::new("localhost:5000").unwrap()), None), host);
    }
}

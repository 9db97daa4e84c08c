//! The host keys that a node shows, and the file of those that are believed.

use crate::ssh::Ssh;
use crate::{Error, Fleet, Node, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use larder_core::Digest;
use std::process::Stdio;
use tokio::process::Command;

/// The host keys of one node, as somebody at its address shows them.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(transparent)]
pub struct HostKeys {
    keys: Vec<HostKey>,
    #[serde(skip)]
    node: String,
}

/// One host key.
#[derive(Debug, Clone, serde::Serialize)]
pub struct HostKey {
    /// Its algorithm: `ssh-ed25519`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As OpenSSH prints it: `SHA256:…`.
    pub fingerprint: String,
    /// Whether it is believed from now on.
    pub recorded: bool,
    /// `host` or `[host]:port`, as files of host keys have it.
    #[serde(skip)]
    host: String,
    #[serde(skip)]
    key: String,
}

impl Fleet {
    /// Asks every node for its host keys. Nothing says that it is the node who answers.
    pub async fn host_keys(&self, jobs: usize) -> Vec<(Node, Result<HostKeys>)> {
        self.each(jobs, |fleet, node| async move {
            let keys = HostKeys::ask(fleet.ssh(), &node).await;
            (node, keys)
        })
        .await
    }
}

impl HostKeys {
    /// The keys.
    pub fn keys(&self) -> &[HostKey] {
        &self.keys
    }

    async fn ask(ssh: &Ssh, node: &Node) -> Result<Self> {
        if node.jump.is_some() {
            return Err(over_another(node));
        }
        let (host, port) = resolved(ssh, node).await?;
        let seconds = ssh.options().connect_timeout.as_secs().max(1).to_string();
        let mut scan = Command::new("ssh-keyscan");
        scan.args(["-T", &seconds, "-p", &port, "--", &host]).stdin(Stdio::null()).kill_on_drop(true);
        let failed = |source| Error::Program { program: "ssh-keyscan", source };
        let output = scan.output().await.map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let keys: Vec<HostKey> = text.lines().filter_map(parse).collect();
        if keys.is_empty() {
            let said = crate::connection::last_words(&String::from_utf8_lossy(&output.stderr));
            return Err(Error::Unreachable {
                node: node.name().into(),
                doing: "asking for its host keys",
                said,
            });
        }
        Ok(Self { keys, node: node.name().to_owned() })
    }

    /// The text of a file of host keys with those of this node that are accepted: the one with a fingerprint, or all.
    ///
    /// # Errors
    /// When the node shows no such key, or the file has another one for it and is not to be changed.
    pub fn recorded_in(&mut self, text: &str, accepted: Option<&str>, replace: bool) -> Result<String> {
        let is_accepted = |key: &HostKey| accepted.is_none_or(|accepted| accepted == key.fingerprint);
        let Some(first) = self.keys.iter().find(|key| is_accepted(key)) else {
            let reason = "the node shows no key with this fingerprint";
            let value = accepted.unwrap_or_default().to_owned();
            return Err(Error::Word { what: "fingerprint of the node", value, reason });
        };
        let host = first.host.clone();
        let is_ours = |line: &str| line.split_whitespace().next() == Some(host.as_str());
        let shown = |line: &str| {
            let key = line.split_whitespace().nth(2);
            self.keys.iter().any(|shown| is_accepted(shown) && Some(shown.key.as_str()) == key)
        };
        // A host has a key of each kind; another one of the same kind is another host.
        let is_rival = |line: &str| {
            let kind = line.split_whitespace().nth(1);
            self.keys.iter().any(|shown| is_accepted(shown) && Some(shown.kind.as_str()) == kind)
        };
        if !replace && text.lines().any(|line| is_ours(line) && is_rival(line) && !shown(line)) {
            let (node, trust) = (self.node.clone(), self.node.clone());
            return Err(Error::ChangedHost { node, host, trust });
        }
        let is_gone = |line: &str| is_ours(line) && (replace || shown(line));
        let mut lines: Vec<String> = text.lines().filter(|line| !is_gone(line)).map(str::to_owned).collect();
        for key in self.keys.iter_mut().filter(|key| is_accepted(key)) {
            lines.push(format!("{} {} {}", key.host, key.kind, key.key));
            key.recorded = true;
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

fn over_another(node: &Node) -> Error {
    Error::Unsupported {
        node: node.name().into(),
        reason: "its host key cannot be asked for over another host".into(),
        hint: "log in once with `ssh -J`, compare the key, and let ssh record it",
    }
}

/// The address that ssh would go to, `~/.ssh/config` considered.
async fn resolved(ssh: &Ssh, node: &Node) -> Result<(String, String)> {
    let mut command = ssh.command(node, std::path::Path::new("none"), false)?;
    command.arg("-G").arg("--").arg(&node.host).stdin(Stdio::null());
    let output = command.output().await.map_err(|source| Error::Program { program: "ssh", source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.lines().any(|line| line.starts_with("proxyjump ") || line.starts_with("proxycommand ")) {
        return Err(over_another(node));
    }
    let find = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        found.map(str::to_owned)
    };
    Ok((find("hostname").unwrap_or_else(|| node.host.clone()), find("port").unwrap_or_else(|| "22".into())))
}

/// A line of a file of host keys, as `ssh-keyscan` prints it.
fn parse(line: &str) -> Option<HostKey> {
    let mut words = line.split_whitespace();
    let (host, kind, key) = (words.next()?, words.next()?, words.next()?);
    if host.starts_with('#') {
        return None;
    }
    let bytes = STANDARD.decode(key).ok()?;
    let hash = Digest::of(&bytes);
    let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(hash.as_bytes()));
    Some(HostKey { kind: kind.into(), fingerprint, recorded: false, host: host.into(), key: key.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn keys() -> HostKeys {
        let key = parse(&format!("[10.0.0.1]:2222 ssh-ed25519 {KEY}")).unwrap();
        HostKeys { keys: vec![key], node: "n".into() }
    }

    #[test]
    fn fingerprints_are_those_of_openssh() {
        // The published key of a well-known host.
        assert_eq!(keys().keys[0].fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert!(parse("# 10.0.0.1:22 SSH-2.0-OpenSSH_9.2").is_none());
    }

    #[test]
    fn a_key_is_recorded_only_if_it_is_the_accepted_one_and_no_other_was() {
        let line = format!("[10.0.0.1]:2222 ssh-ed25519 {KEY}\n");
        assert_eq!(keys().recorded_in("", None, false).unwrap(), line);
        assert_eq!(keys().recorded_in(&line, None, false).unwrap(), line);
        assert!(keys().recorded_in("", Some("SHA256:x"), false).is_err());
        let other = "other ssh-ed25519 AAAA\n[10.0.0.1]:2222 ssh-ed25519 AAAA\n";
        assert!(matches!(keys().recorded_in(other, None, false), Err(Error::ChangedHost { .. })));
        assert_eq!(keys().recorded_in(other, None, true).unwrap(), format!("other ssh-ed25519 AAAA\n{line}"));
        let rsa = "[10.0.0.1]:2222 ssh-rsa AAAB\n";
        assert_eq!(keys().recorded_in(rsa, None, false).unwrap(), format!("{rsa}{line}"));
        let both = format!("{rsa}{line}");
        assert_eq!(keys().recorded_in(&both, None, false).unwrap(), both, "nothing new");
        assert_eq!(
            keys().recorded_in(&both, None, true).unwrap(),
            line,
            "another machine has none of the old keys"
        );
    }
}

//! Files that say how clusters are reached (client-go, tools/clientcmd).

use super::plugin::Plugin;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use larder_core::Secret;
use larder_gotemplate::yaml::{self, Node};
use larder_remote::{ApiAccess, ApiCredential};
use std::path::{Path, PathBuf};

/// A kubeconfig file.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    node: Node,
    /// What paths in it are seen from.
    directory: PathBuf,
}

/// Runs a program, and gives what it prints or why it does not.
pub type RunPlugin<'a> = &'a dyn Fn(&Plugin) -> Result<Vec<u8>, String>;

/// Why a context cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields say what by their names")]
pub enum Fault {
    /// It is not YAML.
    #[error("{0}")]
    Yaml(yaml::Error),
    /// It names no context, and none was named.
    #[error("there is no current-context; the contexts are {known}")]
    NoContext { known: String },
    /// A context, cluster or user that is not there.
    #[error("there is no {what} {name:?}; there are {known}")]
    Unknown { what: &'static str, name: String, known: String },
    /// A server that is no URL.
    #[error("the cluster {cluster:?} has the server {server:?}, which is no address")]
    Server { cluster: String, server: String },
    /// A way to get credentials that client-go has no more.
    #[error(
        "the user {user:?} gets its credentials by auth-provider {name:?}, which Kubernetes 1.26 has given up"
    )]
    Provider { user: String, name: String },
    /// A program that should give credentials, and does not.
    #[error("the user {user:?} gets its credentials from the program {command:?}: {reason}")]
    Plugin { user: String, command: String, reason: String },
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    /// Something that is not base64.
    #[error("{field} is not base64")]
    Base64 { field: &'static str },
    /// Half of what belongs together.
    #[error("the user {user:?} has {there} and no {missing}")]
    Half { user: String, there: &'static str, missing: &'static str },
    /// Something that is not supported.
    #[error("{field} is not supported")]
    Unsupported { field: &'static str },
}

impl Kubeconfig {
    /// Reads a file; paths in it are seen from `directory`.
    pub fn read(bytes: &[u8], directory: &Path) -> Result<Self, Fault> {
        let limits = yaml::Limits { bytes: 4 << 20, ..yaml::Limits::default() };
        let node = match yaml::documents(bytes, &limits).next() {
            Some(node) => node.map_err(Fault::Yaml)?,
            None => return Err(Fault::NoContext { known: "none".into() }),
        };
        Ok(Self { node, directory: directory.to_owned() })
    }

    /// The names of all contexts.
    pub fn contexts(&self) -> Vec<String> {
        names(&self.node, "contexts")
    }

    /// The context that is used where none is named.
    pub fn current(&self) -> Option<String> {
        text(&self.node, "current-context")
    }

    /// How the cluster of a context, or of the current one, is reached. Reads the files it names. Where a program gives the
    /// credentials, `run` is asked for what it prints, or why it does not.
    pub fn access(&self, context: Option<&str>, run: RunPlugin<'_>) -> Result<(String, ApiAccess), Fault> {
        let name = context.map(str::to_owned).or_else(|| self.current());
        let name = name.ok_or_else(|| Fault::NoContext { known: self.contexts().join(", ") })?;
        let context = self.named("contexts", "context", &name)?;
        let cluster_name = text(context, "cluster").unwrap_or_default();
        let cluster = self.named("clusters", "cluster", &cluster_name)?;
        let server = text(cluster, "server").unwrap_or_default();
        let wrong = |_| Fault::Server { cluster: cluster_name.clone(), server: server.clone() };
        let server_url = server.parse().map_err(wrong)?;
        if text(cluster, "tls-server-name").is_some() {
            return Err(Fault::Unsupported { field: "tls-server-name" });
        }
        let authorities = self.bytes(cluster, "certificate-authority-data", "certificate-authority")?;
        let (identity, credential) = match text(context, "user") {
            Some(user) => self.user(&user, cluster, run)?,
            None => (None, ApiCredential::None),
        };
        let access = ApiAccess {
            server: server_url,
            authorities,
            identity,
            credential,
            skip_verify: text(cluster, "insecure-skip-tls-verify").as_deref() == Some("true"),
            proxy: text(cluster, "proxy-url").map(Secret::new),
        };
        Ok((name, access))
    }

    fn user(
        &self,
        name: &str,
        cluster: &Node,
        run: RunPlugin<'_>,
    ) -> Result<(Option<Secret>, ApiCredential), Fault> {
        let user = self.named("users", "user", name)?;
        let certificate = self.bytes(user, "client-certificate-data", "client-certificate")?;
        let key = self.bytes(user, "client-key-data", "client-key")?;
        let half = |there, missing| Fault::Half { user: name.to_owned(), there, missing };
        let identity = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let pem = [certificate, b"\n".to_vec(), key].concat();
                let pem = String::from_utf8(pem).map_err(|_| Fault::Base64 { field: "client-key-data" })?;
                Some(Secret::new(pem))
            }
            (Some(_), None) => return Err(half("client-certificate", "client-key")),
            (None, Some(_)) => return Err(half("client-key", "client-certificate")),
        };
        let token = match (text(user, "token"), text(user, "tokenFile")) {
            // As client-go has it, the file wins.
            (_, Some(path)) => {
                let bytes = self.file(&path)?;
                Some(String::from_utf8_lossy(&bytes).trim().to_owned())
            }
            (token, None) => token,
        };
        let credential = match (token, text(user, "username")) {
            (Some(token), _) => ApiCredential::Bearer(Secret::new(token)),
            (None, Some(username)) => {
                let password = Secret::new(text(user, "password").unwrap_or_default());
                ApiCredential::Basic { username, password }
            }
            (None, None) => ApiCredential::None,
        };
        if identity.is_none() && credential == ApiCredential::None {
            let part = |key: &str| user.get(key).filter(|part| !part.is_null());
            if let Some(exec) = part("exec") {
                let plugin = Plugin::read(name, exec, cluster, &self.directory)?;
                let answer = run(&plugin).map_err(|reason| plugin.fault(reason))?;
                return plugin.credential(&answer);
            }
            if let Some(provider) = part("auth-provider") {
                let provider = text(provider, "name").unwrap_or_default();
                return Err(Fault::Provider { user: name.to_owned(), name: provider });
            }
        }
        Ok((identity, credential))
    }

    /// What a list has under a name.
    fn named(&self, list: &str, what: &'static str, name: &str) -> Result<&Node, Fault> {
        let entries = self.node.get(list).and_then(Node::as_list).unwrap_or_default();
        let entry = entries.iter().find(|entry| text(entry, "name").as_deref() == Some(name));
        entry.and_then(|entry| entry.get(what)).ok_or_else(|| Fault::Unknown {
            what,
            name: name.to_owned(),
            known: names(&self.node, list).join(", "),
        })
    }

    /// Base64 in the file itself, or a file.
    fn bytes(&self, node: &Node, data: &'static str, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(encoded) = text(node, data) {
            let encoded: String = encoded.split_ascii_whitespace().collect();
            return STANDARD.decode(encoded).map(Some).map_err(|_| Fault::Base64 { field: data });
        }
        text(node, path).map(|path| self.file(&path)).transpose()
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, Fault> {
        let path = self.directory.join(path);
        std::fs::read(&path).map_err(|error| Fault::Read { path, reason: error.to_string() })
    }
}

fn names(node: &Node, list: &str) -> Vec<String> {
    let entries = node.get(list).and_then(Node::as_list).unwrap_or_default();
    entries.iter().filter_map(|entry| text(entry, "name")).collect()
}

/// A text that is there and not empty.
pub(super) fn text(node: &Node, key: &str) -> Option<String> {
    let value = node.get(key).filter(|value| !value.is_null())?;
    yaml::to_text(value).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: prod
contexts:
- {name: prod, context: {cluster: prod, user: token}}
- {name: cert, context: {cluster: prod, user: cert}}
- {name: cloud, context: {cluster: prod, user: cloud}}
- {name: gone, context: {cluster: prod, user: gone}}
- {name: old, context: {cluster: prod, user: old}}
- {name: broken, context: {cluster: nowhere, user: token}}
- {name: half, context: {cluster: prod, user: half}}
- {name: open, context: {cluster: open}}
clusters:
- name: prod
  cluster: {server: 'https://10.0.0.1:6443/base', certificate-authority-data: Q0E=}
- name: open
  cluster: {server: 'https://10.0.0.2', insecure-skip-tls-verify: true, certificate-authority: ca.pem}
users:
- {name: token, user: {token: abc}}
- {name: cert, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}
- {name: cloud, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks]}}}
- {name: gone, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: azure}}}
- {name: old, user: {auth-provider: {name: gcp}}}
- {name: half, user: {client-certificate-data: Q0VSVA==}}
";

    fn access(context: Option<&str>) -> Result<(String, ApiAccess), Fault> {
        let run = |plugin: &Plugin| {
            match plugin.command.to_str() {
            Some("aws") => Ok(br#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"k8s-aws"}}"#.to_vec()),
            _ => Err("it is not there".to_owned()),
        }
        };
        Kubeconfig::read(FILE.as_bytes(), Path::new("/nowhere")).expect("it is YAML").access(context, &run)
    }

    #[test]
    fn the_current_context_is_taken_unless_one_is_named() {
        let (name, prod) = access(None).expect("it is there");
        assert_eq!((name.as_str(), prod.server.as_str()), ("prod", "https://10.0.0.1:6443/base"));
        assert_eq!(prod.authorities.as_deref(), Some(&b"CA"[..]));
        assert_eq!(prod.credential, ApiCredential::Bearer(Secret::new("abc")));
        assert!(!prod.skip_verify);
        let (_, cert) = access(Some("cert")).expect("it is there");
        assert_eq!(cert.identity.map(|pem| pem.reveal().to_owned()).as_deref(), Some("CERT\nKEY"));
    }

    #[test]
    fn a_program_is_asked_where_there_is_no_other_credential() {
        let (_, cloud) = access(Some("cloud")).expect("it is there");
        assert_eq!(cloud.credential, ApiCredential::Bearer(Secret::new("k8s-aws")));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let said = |context| access(Some(context)).map(drop).expect_err("it cannot be used").to_string();
        assert!(said("gone").ends_with("\"azure\": it is not there"), "{}", said("gone"));
        assert!(said("old").contains("auth-provider \"gcp\""), "{}", said("old"));
        assert!(said("broken").contains("there is no cluster \"nowhere\"; there are prod, open"));
        assert!(said("elsewhere").contains("there is no context \"elsewhere\"; there are prod, cert"));
        assert!(said("half").contains("client-certificate and no client-key"));
        assert!(
            said("open").starts_with("cannot read /nowhere/ca.pem"),
            "files are seen from the kubeconfig"
        );
    }
}

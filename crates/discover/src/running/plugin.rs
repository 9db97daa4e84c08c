//! Programs that kubeconfigs name for credentials (client-go, `client.authentication.k8s.io`): what they are told, and what they
//! answer. Who runs them is somebody else.

use super::kubeconfig::{Fault, text};
use crate::json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_core::Secret;
use larder_gotemplate::yaml::{self, Node};
use larder_remote::ApiCredential;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A program that gives credentials, as `exec` of a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The user it is for.
    pub user: String,
    /// The program: a path, or a name to be looked for as the system does.
    pub command: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that are added to its environment, [`Self::REQUEST`] among them.
    pub environment: Vec<(String, String)>,
    /// How it is installed, as the kubeconfig says.
    pub hint: Option<String>,
    version: String,
}

impl Plugin {
    /// The variable that holds the request.
    pub const REQUEST: &str = "KUBERNETES_EXEC_INFO";

    /// `exec` of a user. A path of the command is seen from `directory`; `cluster` is told to the program if it asks for it.
    pub(super) fn read(user: &str, exec: &Node, cluster: &Node, directory: &Path) -> Result<Self, Fault> {
        let fault = |reason: String| Fault::Plugin {
            user: user.to_owned(),
            command: text(exec, "command").unwrap_or_default(),
            reason,
        };
        let version = text(exec, "apiVersion").unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(fault(format!("it speaks {version:?}, and not one of {}", VERSIONS.join(", "))));
        }
        let command = text(exec, "command").ok_or_else(|| fault("no command is named".into()))?;
        if text(exec, "interactiveMode").as_deref() == Some("Always") {
            return Err(fault("it has to ask somebody, and nobody is there to answer".into()));
        }
        let list = |key: &str| exec.get(key).and_then(Node::as_list).unwrap_or_default();
        let mut environment: Vec<(String, String)> = list("env")
            .iter()
            .filter_map(|entry| Some((text(entry, "name")?, text(entry, "value").unwrap_or_default())))
            .collect();
        let mut spec = json!({"interactive": false});
        if text(exec, "provideClusterInfo").as_deref() == Some("true") {
            spec["cluster"] = described(cluster, directory)?;
        }
        let request = json!({"kind": "ExecCredential", "apiVersion": version, "spec": spec});
        environment.push((Self::REQUEST.to_owned(), request.to_string()));
        Ok(Self {
            user: user.to_owned(),
            // A bare name is looked for; what has a directory is seen from the file, as client-go does.
            command: if command.contains('/') { directory.join(&command) } else { command.into() },
            arguments: list("args").iter().filter_map(yaml::to_text).collect(),
            environment,
            hint: text(exec, "installHint"),
            version,
        })
    }

    /// The credential in what the program printed: certificate and key, and what is sent with each request.
    pub(super) fn credential(&self, answer: &[u8]) -> Result<(Option<Secret>, ApiCredential), Fault> {
        let fault = |reason: String| self.fault(reason);
        let answer: Value = serde_json::from_slice(answer)
            .map_err(|error| fault(format!("its answer is no JSON: {error}")))?;
        let (kind, version) = (answer["kind"].as_str(), answer["apiVersion"].as_str());
        if kind != Some("ExecCredential") || version != Some(self.version.as_str()) {
            let (kind, version) = (kind.unwrap_or("nothing"), version.unwrap_or("no version"));
            return Err(fault(format!(
                "it answers with {kind} of {version:?}, and not with ExecCredential of {:?}",
                self.version
            )));
        }
        let part = |name: &str| answer["status"][name].as_str().filter(|text| !text.is_empty());
        let identity = match (part("clientCertificateData"), part("clientKeyData")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Secret::new(format!("{certificate}\n{key}"))),
            _ => return Err(fault("it gives a certificate or a key, and not both".into())),
        };
        let credential = match part("token") {
            Some(token) => ApiCredential::Bearer(Secret::new(token.to_owned())),
            None if identity.is_some() => ApiCredential::None,
            None => return Err(fault("it gives neither a token nor a certificate".into())),
        };
        Ok((identity, credential))
    }

    pub(super) fn fault(&self, mut reason: String) -> Fault {
        if let Some(hint) = &self.hint {
            reason = format!("{reason}; the kubeconfig says: {}", hint.trim());
        }
        Fault::Plugin { user: self.user.clone(), command: self.command.display().to_string(), reason }
    }
}

/// The cluster, as `spec.cluster` of a request has it.
fn described(cluster: &Node, directory: &Path) -> Result<Value, Fault> {
    let mut described = json!({"server": text(cluster, "server")});
    for key in ["tls-server-name", "proxy-url", "certificate-authority-data"] {
        if let Some(value) = text(cluster, key) {
            described[key] = value.into();
        }
    }
    if let Some(path) = text(cluster, "certificate-authority").map(|path| directory.join(path)) {
        let bytes = std::fs::read(&path);
        let bytes = bytes.map_err(|error| Fault::Read { path, reason: error.to_string() })?;
        described["certificate-authority-data"] = STANDARD.encode(bytes).into();
    }
    if text(cluster, "insecure-skip-tls-verify").as_deref() == Some("true") {
        described["insecure-skip-tls-verify"] = true.into();
    }
    let extensions = cluster.get("extensions").and_then(Node::as_list).unwrap_or_default();
    let own = extensions.iter().find(|entry| text(entry, "name").as_deref() == Some(EXTENSION));
    if let Some(extension) = own.and_then(|entry| entry.get("extension")) {
        let value = yaml::to_value(extension).map_err(Fault::Yaml)?;
        described["config"] = serde_json::from_str(&json::text(&value)).unwrap_or_default();
    }
    Ok(described)
}

const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
const EXTENSION: &str = "client.authentication.k8s.io/exec";

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        let limits = yaml::Limits::default();
        yaml::documents(text.as_bytes(), &limits).next().expect("a document").expect("it is YAML")
    }

    fn plugin(exec: &str) -> Result<Plugin, Fault> {
        let cluster = "{server: 'https://c', insecure-skip-tls-verify: true, extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: a}}]}";
        Plugin::read("cloud", &node(exec), &node(cluster), Path::new("/etc/kube"))
    }

    #[test]
    fn a_program_is_told_what_client_go_tells_it() {
        let read = plugin(
            "{apiVersion: client.authentication.k8s.io/v1beta1, command: bin/aws, args: [eks, get-token, 1], env: [{name: A, value: b}], provideClusterInfo: true}",
        )
        .expect("it can be run");
        assert_eq!(read.command, Path::new("/etc/kube/bin/aws"));
        assert_eq!(read.arguments, ["eks", "get-token", "1"]);
        assert_eq!(read.environment[0], ("A".into(), "b".into()));
        let request: Value = serde_json::from_str(&read.environment[1].1).expect("it is JSON");
        let cluster =
            json!({"server": "https://c", "insecure-skip-tls-verify": true, "config": {"audience": "a"}});
        assert_eq!(
            request,
            json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1",
                "spec": {"interactive": false, "cluster": cluster}})
        );
        let bare = plugin("{apiVersion: client.authentication.k8s.io/v1, command: gke-gcloud-auth-plugin}");
        assert_eq!(bare.expect("it can be run").command, Path::new("gke-gcloud-auth-plugin"));
    }

    #[test]
    fn a_credential_is_a_token_or_a_certificate_with_its_key() {
        let plugin = plugin("{apiVersion: client.authentication.k8s.io/v1, command: x, installHint: get it}")
            .expect("it can be run");
        let said = |status: Value| {
            let answer = json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status});
            plugin.credential(answer.to_string().as_bytes())
        };
        let (identity, credential) = said(json!({"token": "t"})).expect("it is one");
        assert_eq!((identity, credential), (None, ApiCredential::Bearer(Secret::new("t"))));
        let (identity, credential) =
            said(json!({"clientCertificateData": "C", "clientKeyData": "K"})).expect("it is one");
        assert_eq!(identity.map(|pem| pem.reveal().to_owned()).as_deref(), Some("C\nK"));
        assert_eq!(credential, ApiCredential::None);
        for status in [json!({}), json!({"clientKeyData": "K"}), json!({"token": ""})] {
            assert!(said(status.clone()).is_err(), "{status}");
        }
        let other = br#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"t"}}"#;
        let fault = plugin.credential(other).expect_err("it is of another version").to_string();
        assert!(fault.contains("v1beta1") && fault.ends_with("the kubeconfig says: get it"), "{fault}");
    }

    #[test]
    fn what_cannot_be_run_is_said() {
        for (exec, word) in [
            ("{apiVersion: client.authentication.k8s.io/v1alpha1, command: x}", "v1alpha1"),
            ("{apiVersion: client.authentication.k8s.io/v1}", "no command"),
            (
                "{apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Always}",
                "ask somebody",
            ),
        ] {
            let fault = plugin(exec).expect_err("it cannot be run").to_string();
            assert!(fault.contains(word), "{fault}");
        }
    }
}

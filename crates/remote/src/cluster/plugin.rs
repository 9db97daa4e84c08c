//! Programs that kubeconfigs name for credentials (client-go, `client.authentication.k8s.io`): what they are told, and what they
//! answer. Who runs them is somebody else.

use super::kubeconfig::Fault;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use serde_json::{Value, json};
use std::path::PathBuf;

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

    /// `exec` of a user, whose paths are whole; `cluster` is told to the program if it asks for it.
    pub(super) fn read(user: &str, exec: &ExecConfig, cluster: &Cluster) -> Result<Self, Fault> {
        let command = exec.command.clone().unwrap_or_default();
        let fault =
            |reason: String| Fault::Plugin { user: user.to_owned(), command: command.clone(), reason };
        let version = exec.api_version.clone().unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(fault(format!("it speaks {version:?}, and not one of {}", VERSIONS.join(", "))));
        }
        if command.is_empty() {
            return Err(fault("no command is named".into()));
        }
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err(fault("it has to ask somebody, and nobody is there to answer".into()));
        }
        let mut environment: Vec<(String, String)> = exec
            .env
            .iter()
            .flatten()
            .filter_map(|entry| {
                Some((entry.get("name")?.clone(), entry.get("value").cloned().unwrap_or_default()))
            })
            .collect();
        let mut spec = json!({"interactive": false});
        if exec.provide_cluster_info {
            let cluster = ExecAuthCluster::try_from(cluster).map_err(Fault::Kubeconfig)?;
            spec["cluster"] = json!(cluster);
        }
        let request = json!({"kind": "ExecCredential", "apiVersion": version, "spec": spec});
        environment.push((Self::REQUEST.to_owned(), request.to_string()));
        Ok(Self {
            user: user.to_owned(),
            command: command.into(),
            arguments: exec.args.clone().unwrap_or_default(),
            environment,
            hint: exec.install_hint.clone(),
            version,
        })
    }

    /// Puts the credential in what the program printed where those of the user are.
    pub(super) fn credential(&self, answer: &[u8], user: &mut AuthInfo) -> Result<(), Fault> {
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
        match (part("clientCertificateData"), part("clientKeyData")) {
            (None, None) if part("token").is_none() => {
                return Err(fault("it gives neither a token nor a certificate".into()));
            }
            (None, None) => {}
            (Some(certificate), Some(key)) => {
                // As PEM, where kubeconfigs have it in base64.
                user.client_certificate_data = Some(STANDARD.encode(certificate));
                user.client_key_data = Some(STANDARD.encode(key).into());
            }
            _ => return Err(fault("it gives a certificate or a key, and not both".into())),
        }
        user.token = part("token").map(Into::into);
        Ok(())
    }

    pub(super) fn fault(&self, mut reason: String) -> Fault {
        if let Some(hint) = &self.hint {
            reason = format!("{reason}; the kubeconfig says: {}", hint.trim());
        }
        Fault::Plugin { user: self.user.clone(), command: self.command.display().to_string(), reason }
    }
}

const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::path::Path;

    fn plugin(exec: Value) -> Result<Plugin, Fault> {
        let cluster = json!({"server": "https://c", "insecure-skip-tls-verify": true, "extensions": [
            {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]});
        let exec: ExecConfig = serde_json::from_value(exec).expect("it is one");
        Plugin::read("cloud", &exec, &serde_json::from_value(cluster).expect("it is one"))
    }

    #[test]
    fn a_program_is_told_what_client_go_tells_it() {
        let read = plugin(json!({
            "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "/etc/kube/bin/aws", "args": ["eks", "get-token"],
            "env": [{"name": "A", "value": "b"}], "provideClusterInfo": true,
        }))
        .expect("it can be run");
        assert_eq!(read.command, Path::new("/etc/kube/bin/aws"));
        assert_eq!(read.arguments, ["eks", "get-token"]);
        assert_eq!(read.environment[0], ("A".into(), "b".into()));
        let request: Value = serde_json::from_str(&read.environment[1].1).expect("it is JSON");
        let cluster = &request["spec"]["cluster"];
        assert_eq!(
            (&request["kind"], &request["apiVersion"], &request["spec"]["interactive"]),
            (&json!("ExecCredential"), &json!("client.authentication.k8s.io/v1beta1"), &json!(false))
        );
        assert_eq!(
            (&cluster["server"], &cluster["insecure-skip-tls-verify"], &cluster["config"]),
            (&json!("https://c"), &json!(true), &json!({"audience": "a"}))
        );
    }

    #[test]
    fn a_credential_is_a_token_or_a_certificate_with_its_key() {
        let plugin = plugin(
            json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "installHint": "get it"}),
        )
        .expect("it can be run");
        let said = |status: Value| {
            let answer = json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status});
            let mut user = AuthInfo::default();
            plugin.credential(answer.to_string().as_bytes(), &mut user).map(|()| user)
        };
        let user = said(json!({"token": "t"})).expect("it is one");
        assert_eq!(user.token.as_ref().map(|token| token.expose_secret()), Some("t"));
        assert!(user.client_certificate_data.is_none());
        let user = said(json!({"clientCertificateData": "C", "clientKeyData": "K"})).expect("it is one");
        assert_eq!(user.client_certificate_data.as_deref(), Some("Qw=="));
        assert_eq!(user.client_key_data.as_ref().map(|key| key.expose_secret()), Some("Sw=="));
        assert!(user.token.is_none());
        for status in [json!({}), json!({"clientKeyData": "K"}), json!({"token": ""})] {
            assert!(said(status.clone()).is_err(), "{status}");
        }
        let other = br#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"t"}}"#;
        let fault = plugin.credential(other, &mut AuthInfo::default());
        let fault = fault.expect_err("it is of another version").to_string();
        assert!(fault.contains("v1beta1") && fault.ends_with("the kubeconfig says: get it"), "{fault}");
    }

    #[test]
    fn what_cannot_be_run_is_said() {
        let version = "client.authentication.k8s.io/v1";
        for (exec, word) in [
            (json!({"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}), "v1alpha1"),
            (json!({"apiVersion": version}), "no command"),
            (json!({"apiVersion": version, "command": "x", "interactiveMode": "Always"}), "ask somebody"),
        ] {
            let fault = plugin(exec).expect_err("it cannot be run").to_string();
            assert!(fault.contains(word), "{fault}");
        }
    }
}

//! What a rendering gives: documents, in the order they would be installed in.

use super::fields::Fields;
use super::split;
use crate::error::{Error, Result};
use larder_gotemplate::yaml;
use std::collections::BTreeMap;

/// One document that a template gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The template: `app/templates/deployment.yaml`, `app/charts/db/templates/statefulset.yaml`.
    pub source: String,
    /// The line, from 1, at which it begins in what the template gave.
    pub line: u32,
    /// The document, without separators.
    pub text: String,
    /// `apiVersion`; empty if there is none.
    pub api_version: String,
    /// `kind`; empty if there is none.
    pub kind: String,
    /// `metadata.name`; empty if there is none.
    pub name: String,
    /// What makes it a hook, if it is one.
    pub hook: Option<Hook>,
}

/// When Helm applies a document that is a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `pre-install`, `post-upgrade`, `test` and others, as Helm knows them.
    pub events: Vec<String>,
    /// Of several at the same time, those with the lower weight come first.
    pub weight: i64,
    /// When it is deleted: `before-hook-creation`, `hook-succeeded`, `hook-failed`.
    pub delete_policies: Vec<String>,
}

impl Document {
    /// Whether it only runs when somebody says `helm test`.
    pub fn is_test(&self) -> bool {
        self.hook.as_ref().is_some_and(|hook| hook.events.iter().any(|event| event == TEST))
    }
}

/// The documents of one rendered file. What cannot be read is given to `broken`, which says whether to go on; it is then kept as
/// it is. What Helm passes over is given to `warn`.
pub(crate) fn read(
    source: &str,
    text: &str,
    broken: &mut dyn FnMut(Error) -> Result<()>,
    warn: &mut dyn FnMut(u32, String),
) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (at, text_of) in split::documents(text) {
        line += u32::try_from(text[counted..at].matches('\n').count()).unwrap_or(u32::MAX);
        counted = at;
        let head = match Head::read(text_of) {
            Ok(head) => head,
            Err((inner, reason)) => {
                let line = line.saturating_add(inner.saturating_sub(1));
                broken(Error::Document { place: source.into(), line, reason })?;
                Head::default()
            }
        };
        let hook = match head.hook() {
            Ok(hook) => hook,
            Err(unknown) => {
                warn(
                    line,
                    format!("{} {} has the unknown hook {unknown:?} and is left out", head.kind, head.name),
                );
                continue;
            }
        };
        documents.push(Document {
            source: source.into(),
            line,
            text: text_of.into(),
            api_version: head.api_version,
            kind: head.kind,
            name: head.name,
            hook,
        });
    }
    Ok(documents)
}

/// Sorts by kind as Helm installs; what is of one kind stays in order (pkg/release/v1/util/kind_sorter.go).
pub(crate) fn sort(documents: &mut [Document]) {
    let rank = |kind: &str| INSTALL_ORDER.iter().position(|known| *known == kind);
    documents.sort_by(|a, b| match (rank(&a.kind), rank(&b.kind)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.kind.cmp(&b.kind),
    });
}

/// What Helm looks at (`SimpleHead`).
#[derive(Default)]
struct Head {
    api_version: String,
    kind: String,
    name: String,
    annotations: BTreeMap<String, String>,
}

impl Head {
    /// The error is a line and a reason.
    fn read(text: &str) -> std::result::Result<Self, (u32, String)> {
        let limits = yaml::Limits::default();
        let converting = |error: yaml::Error| {
            (error.line().unwrap_or(1), format!("error converting YAML to JSON: yaml: {error}"))
        };
        let node = match yaml::documents(text.as_bytes(), &limits).next() {
            None => return Ok(Self::default()),
            Some(node) => node.map_err(converting)?,
        };
        // All of it must be something that JSON has.
        yaml::check(&node).map_err(converting)?;
        let mut head = Self::default();
        head.fill(&node).map_err(|error| {
            let line = if let Error::Field { line, .. } = error { line } else { 1 };
            (line, format!("error unmarshaling JSON: while decoding JSON: json: {error}"))
        })?;
        Ok(head)
    }

    fn fill(&mut self, node: &yaml::Node) -> Result<()> {
        let fields = Fields::of(node)?;
        fields.text("apiVersion", &mut self.api_version)?;
        fields.text("kind", &mut self.kind)?;
        if let Some(metadata) = fields.get("metadata") {
            let fields = Fields::of(metadata)?;
            fields.text("name", &mut self.name)?;
            fields.text_map("annotations", &mut self.annotations)?;
        }
        Ok(())
    }

    /// The error is an event that Helm does not know.
    fn hook(&self) -> std::result::Result<Option<Hook>, String> {
        let Some(events) = self.annotations.get("helm.sh/hook") else { return Ok(None) };
        let words = |text: &str| text.split(',').map(|word| word.trim().to_lowercase()).collect::<Vec<_>>();
        let known = |event: String| match event.as_str() {
            "test-success" => Ok(TEST.to_owned()),
            event if EVENTS.contains(&event) => Ok(event.to_owned()),
            _ => Err(event),
        };
        let annotation = |name: &str| self.annotations.get(name).map(String::as_str);
        Ok(Some(Hook {
            events: words(events).into_iter().map(known).collect::<std::result::Result<_, _>>()?,
            weight: annotation("helm.sh/hook-weight").and_then(|text| text.parse().ok()).unwrap_or_default(),
            delete_policies: annotation("helm.sh/hook-delete-policy").map(words).unwrap_or_default(),
        }))
    }
}

const TEST: &str = "test";

const EVENTS: [&str; 9] = [
    "pre-install",
    "post-install",
    "pre-delete",
    "post-delete",
    "pre-upgrade",
    "post-upgrade",
    "pre-rollback",
    "post-rollback",
    TEST,
];

const INSTALL_ORDER: [&str; 38] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

//! What a cluster can do, as templates ask it: `.Capabilities`.

use crate::error::{Error, Result};
use larder_gotemplate::{Element, Fault, List, Map, Object, Value};
use std::any::Any;
use std::rc::Rc;

/// The version of Kubernetes that Helm 4.2 takes where none is said.
pub const KUBE_VERSION: &str = "v1.36.0";
/// What `.Capabilities.HelmVersion.Version` is.
pub const HELM_VERSION: &str = "v4.2.3";

/// What a cluster can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The version of its API server.
    pub kube_version: KubeVersion,
    /// What `.Capabilities.APIVersions.Has` finds: `apps/v1` or `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

/// A version of Kubernetes (Helm, pkg/chart/common/capabilities.go).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeVersion {
    /// As it was given, with `v` in front: `v1.33.4-gke.1245000`.
    pub version: String,
    /// Only its numbers: `v1.33.4`. What `kubeVersion` of a chart is compared with.
    pub normalized: String,
    /// `1`
    pub major: String,
    /// `33`
    pub minor: String,
}

impl Default for Capabilities {
    fn default() -> Self {
        let kube_version = KubeVersion::parse(KUBE_VERSION).expect("the constant is a version");
        Self { kube_version, api_versions: API_VERSIONS.iter().map(ToString::to_string).collect() }
    }
}

impl KubeVersion {
    /// Reads `1.33`, `v1.33.4` or `v1.33.4-gke.1245000` (Kubernetes, `version.ParseGeneric`).
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason| Err(Error::KubeVersion { text: text.into(), reason });
        let begin = text.trim_ascii_start();
        let begin = begin.strip_prefix('v').unwrap_or(begin);
        let end = begin.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(begin.len());
        let numbers = begin[..end].trim_end_matches('.');
        let parts: Vec<&str> = numbers.split('.').take_while(|part| !part.is_empty()).collect();
        let [major, minor, ..] = parts.as_slice() else {
            return refuse("it has no major and minor number");
        };
        if parts.iter().any(|part| part.len() > 1 && part.starts_with('0')) {
            return refuse("a number begins with 0");
        }
        let version = if text.starts_with('v') { text.to_owned() } else { format!("v{text}") };
        Ok(Self {
            version,
            normalized: format!("v{}", parts.join(".")),
            major: (*major).to_owned(),
            minor: (*minor).to_owned(),
        })
    }
}

impl Capabilities {
    /// As templates see it.
    pub(crate) fn to_value(&self) -> Value {
        let versions = self.api_versions.iter().map(|version| Value::from(version.as_str())).collect();
        Value::Object(Rc::new(CapabilitiesObject {
            kube_version: Value::Object(Rc::new(KubeVersionObject(self.kube_version.clone()))),
            api_versions: Value::from(List::typed(Element::Versions, versions)),
            helm_version: Value::Object(Rc::new(HelmVersion)),
        }))
    }
}

type Found = Option<std::result::Result<Value, Fault>>;

fn found(value: &Value) -> Found {
    Some(Ok(value.clone()))
}

fn text(text: &str) -> Found {
    Some(Ok(Value::from(text)))
}

/// `*common.Capabilities`
struct CapabilitiesObject {
    kube_version: Value,
    api_versions: Value,
    helm_version: Value,
}

impl Object for CapabilitiesObject {
    fn type_name(&self) -> &str {
        "*common.Capabilities"
    }

    fn kind(&self) -> &'static str {
        "ptr"
    }

    fn get(&self, name: &str, _arguments: &[Value]) -> Found {
        match name {
            "KubeVersion" => found(&self.kube_version),
            "APIVersions" => found(&self.api_versions),
            "HelmVersion" => found(&self.helm_version),
            _ => None,
        }
    }

    fn print(&self) -> String {
        let print = |value: &Value| match value {
            Value::Object(object) => object.print(),
            Value::List(list) => {
                let items = list.items().iter().filter_map(Value::as_text);
                format!("[{}]", items.map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            _ => String::new(),
        };
        let helm = format!("{{{HELM_VERSION}   }}");
        format!("&{{{} {} {helm}}}", print(&self.kube_version), print(&self.api_versions))
    }

    fn plain(&self) -> Value {
        let plain = |value: &Value| match value {
            Value::Object(object) => object.plain(),
            other => other.clone(),
        };
        let map = Map::new();
        map.set("KubeVersion", plain(&self.kube_version));
        map.set("APIVersions", plain(&self.api_versions));
        map.set("HelmVersion", plain(&self.helm_version));
        Value::from(map)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `common.KubeVersion`
struct KubeVersionObject(KubeVersion);

impl Object for KubeVersionObject {
    fn type_name(&self) -> &str {
        "common.KubeVersion"
    }

    fn get(&self, name: &str, _arguments: &[Value]) -> Found {
        match name {
            "Version" | "GitVersion" => text(&self.0.version),
            "Major" => text(&self.0.major),
            "Minor" => text(&self.0.minor),
            "String" => text(&self.0.normalized),
            _ => None,
        }
    }

    fn print(&self) -> String {
        self.0.normalized.clone()
    }

    fn plain(&self) -> Value {
        let map = Map::new();
        map.set("Version", Value::from(self.0.version.as_str()));
        map.set("Major", Value::from(self.0.major.as_str()));
        map.set("Minor", Value::from(self.0.minor.as_str()));
        Value::from(map)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `version.BuildInfo`
struct HelmVersion;

impl Object for HelmVersion {
    fn type_name(&self) -> &str {
        "version.BuildInfo"
    }

    fn get(&self, name: &str, _arguments: &[Value]) -> Found {
        match name {
            "Version" => text(HELM_VERSION),
            "GitCommit" | "GitTreeState" | "GoVersion" | "KubeClientVersion" => text(""),
            _ => None,
        }
    }

    fn print(&self) -> String {
        format!("{{{HELM_VERSION}    }}")
    }

    fn plain(&self) -> Value {
        let map = Map::new();
        map.set("version", Value::from(HELM_VERSION));
        Value::from(map)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What `.Capabilities.APIVersions` has where nothing is said, in the order of Helm 4.2.
pub const API_VERSIONS: &[&str] = &[
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "resource.k8s.io/v1",
    "resource.k8s.io/v1beta2",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha2",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "storagemigration.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];

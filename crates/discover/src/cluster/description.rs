//! What a description of a cluster comes to.

use super::kubeadm::UnknownRelease;
use crate::manifest::Find;
use std::path::PathBuf;

/// What a cluster asks for, as far as it is known without reading anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// `spec.kubernetesVersion`, as it is written: what charts are told the version of the cluster is.
    pub kubernetes_version: Option<String>,
    /// The images of the control plane, those in the code of programs, and those that are listed.
    pub finds: Vec<Find>,
    /// Charts, manifests and kustomizations to be looked into.
    pub wanted: Vec<Wanted>,
    /// What the cluster cannot be told from.
    pub problems: Vec<Problem>,
}

/// Something to be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The line of the description that asks for it.
    pub line: u32,
    /// What it is for: `cni calico v3.28.1`.
    pub purpose: String,
    /// Where it is.
    pub source: WantedSource,
    /// Files of values, as they are written: seen from the description.
    pub values: Vec<PathBuf>,
    /// Values beside them, which win: an object of JSON, as `--set-json` takes it.
    pub inline: Option<String>,
    /// The name of the release, if one is said.
    pub release: Option<String>,
    /// Its namespace, if one is said.
    pub namespace: Option<String>,
}

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedSource {
    /// A file or a directory, seen from the description: a chart, manifests or a kustomization.
    Path(PathBuf),
    /// A chart of a repository; that of a registry begins with `oci://`.
    Chart {
        /// The address of the repository.
        repository: String,
        /// The chart.
        name: String,
        /// Its version; the newest one otherwise.
        version: Option<String>,
    },
    /// A manifest.
    Manifest {
        /// Its address.
        url: String,
    },
}

/// Something that is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line.
    pub line: u32,
    /// What it is.
    pub fault: Fault,
}

/// What can be wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields say what by their names")]
pub enum Fault {
    /// It is not of the kind, or of a version, that is known.
    #[error("this is no description of a cluster: apiVersion must be larder.dev/v1alpha1 and kind Cluster")]
    NoCluster,
    /// A field that there is not.
    #[error("{place} has no field {name:?}; it has {known}")]
    UnknownField { place: String, name: String, known: String },
    /// A field that does not hold what it must.
    #[error("{place} must be {wanted}")]
    Shape { place: String, wanted: &'static str },
    /// A version of Kubernetes that the table does not have.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
    /// There is no version of Kubernetes, and so no control plane.
    #[error(
        "spec.kubernetesVersion is missing; `controlPlane: false` says that somebody else runs the control plane"
    )]
    NoVersion,
    /// A component that the catalog does not have.
    #[error(
        "no component is called {name:?}; known are {known}; `path` or `repository` says where one is that is not known"
    )]
    UnknownComponent { name: String, known: String },
    /// A component without a version.
    #[error("{name} needs a version")]
    NoComponentVersion { name: String },
    /// A component that does not come in the form that is wanted.
    #[error("{name} does not come as a {form}")]
    NoForm { name: String, form: &'static str },
    /// A version whose images no rendering shows and no table has.
    #[error(
        "{name} {version} starts images that only its code names, and those of this version are not known (known are {known}); list them under spec.images"
    )]
    UnknownCompiled { name: String, version: String, known: String },
    /// A text that is no reference.
    #[error("{text:?} is not an image: {reason}")]
    Image { text: String, reason: String },
}

//! Descriptions of clusters (`cluster.yaml`): a version of Kubernetes, components by name, and what the user has besides.
//!
//! ```yaml
//! apiVersion: larder.dev/v1alpha1
//! kind: Cluster
//! spec:
//!   kubernetesVersion: v1.34.2
//!   imageRepository: registry.k8s.io          # optional
//!   controlPlane: true                        # false where somebody else runs it
//!   cni: {name: calico, version: v3.28.1, from: chart, values: [calico.yaml]}
//!   csi: {name: longhorn, version: 1.9.0}
//!   loadBalancer: {name: metallb, version: 0.15.2}
//!   ingress: {name: ingress-nginx, version: 4.13.0}
//!   addons:
//!   - {name: cert-manager, version: v1.18.2}
//!   - {name: own, path: charts/own, namespace: own}
//!   charts:
//!   - {repository: https://charts.example, name: shop, version: 1.2.3, values: [shop.yaml]}
//!   - {path: charts/shop}
//!   manifests: [manifests/, https://example.com/install.yaml]
//!   images: [registry.example/tool:1]
//! ```
//!
//! Nothing is fetched here: [`Description::wanted`] says what there is to be fetched or read.

mod catalog;
mod description;
mod kubeadm;
mod reader;

pub use catalog::{Catalog, Entry, Form, Location};
pub use description::{Description, Fault, Problem, Wanted, WantedSource};
pub use kubeadm::{ControlPlane, Kubeadm, Release, UnknownRelease};

use larder_gotemplate::yaml::Node;

/// Whether a document is a description of a cluster.
pub fn is_description(node: &Node) -> bool {
    let text = |key| node.get(key).and_then(Node::as_text);
    text("kind") == Some("Cluster")
        && text("apiVersion").is_some_and(|version| version.starts_with("larder.dev/"))
}

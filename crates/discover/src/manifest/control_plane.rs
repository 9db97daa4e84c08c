//! kubeadm's `ClusterConfiguration`: the images of a control plane, which follow from the version of Kubernetes.

use super::pattern::Step;
use super::walk::Walk;
use super::{Confidence, Reason};
use crate::cluster::Kubeadm;
use larder_gotemplate::yaml::{self, Node};

/// What a configuration comes to.
struct ControlPlane {
    /// The images, each with the path of the field it follows from.
    images: Vec<(String, &'static [&'static str])>,
    /// Why there are no more.
    problem: Option<String>,
}

/// Whether an object is such a configuration.
pub(super) fn is_configuration(group: &str, kind: &str) -> bool {
    (group, kind) == ("kubeadm.k8s.io", "ClusterConfiguration")
}

/// Name of the rule of these images in `rules.yaml`.
const RULE: &str = "kubeadm";

impl ControlPlane {
    fn of(configuration: &Node) -> Self {
        let text = |path: &[&str]| text(configuration, path);
        let repository = text(&["imageRepository"]);
        let (images, problem) = match text(VERSION) {
            Some(version) => match Kubeadm::built_in().control_plane(&version, repository.as_deref()) {
                Ok(known) => (known.images, None),
                Err(unknown) => (Vec::new(), Some(unknown.to_string())),
            },
            None => {
                let reason = "without kubernetesVersion kubeadm takes the newest release there is, whose images are not known";
                (Vec::new(), Some(reason.to_owned()))
            }
        };
        // GetEtcdImage, GetDNSImage: cmd/kubeadm/app/images/images.go
        let repository = repository.unwrap_or_else(|| DEFAULT.to_owned());
        let own = |program: &str, fields: [&'static [&'static str]; 2]| {
            let [host, tag] = fields.map(text);
            let known = images.iter().find(|image| last(image).starts_with(&format!("{program}:")));
            let field = if tag.is_some() { fields[1] } else { fields[0] };
            (host.is_some() || tag.is_some()).then(|| {
                let tag =
                    tag.or_else(|| known.and_then(|image| Some(image.rsplit_once(':')?.1.to_owned())))?;
                let mut host = host.unwrap_or_else(|| repository.clone()).trim_end_matches('/').to_owned();
                if program == "coredns" && host == DEFAULT {
                    host.push_str("/coredns");
                }
                Some((format!("{host}/{program}:{tag}"), field))
            })
        };
        let etcd = own("etcd", [&["etcd", "local", "imageRepository"], &["etcd", "local", "imageTag"]]);
        let dns = own("coredns", [&["dns", "imageRepository"], &["dns", "imageTag"]]);
        let is_external = configuration
            .get("etcd")
            .and_then(|etcd| etcd.get("external"))
            .is_some_and(|node| !node.is_null());
        let is_replaced = |image: &str| {
            let name = last(image);
            (etcd.is_some() || is_external) && name.starts_with("etcd:")
                || dns.is_some() && name.starts_with("coredns:")
        };
        let kept = images.iter().filter(|image| !is_replaced(image)).map(|image| (image.clone(), VERSION));
        let own = [dns.clone(), etcd.clone().filter(|_| !is_external)].into_iter().flatten().flatten();
        Self { images: kept.chain(own).collect(), problem }
    }
}

/// The images kubeadm starts with this configuration.
pub(super) fn look<'a>(walk: &mut Walk<'_, 'a>, configuration: &'a Node) {
    let ControlPlane { images, problem } = ControlPlane::of(configuration);
    let length = walk.path.len();
    for (text, field) in images {
        let node = field.iter().try_fold(configuration, |node, key| node.get(key));
        let node = node.unwrap_or(configuration);
        walk.path.extend(field.iter().map(|key| Step::Key(key)));
        match text.parse() {
            Ok(reference) => {
                let at = (node.line, node.column);
                walk.found(RULE.into(), Confidence::Certain, at, reference, text);
            }
            Err(error) => walk.problem(node, Reason::reference(&text, error)),
        }
        walk.path.truncate(length);
    }
    // kind's nodes have their images in them; what changes their configuration says nothing of the version.
    let is_patch = walk.prefix.contains("kubeadmConfigPatches");
    let is_told = configuration.get(VERSION[0]).is_some() || !is_patch;
    if let Some(reason) = problem.filter(|_| is_told) {
        let node = configuration.get(VERSION[0]).unwrap_or(configuration);
        walk.problem(node, Reason::ControlPlane { reason });
    }
}

/// Name and tag.
fn last(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or_default()
}

/// The text of a field, if it is not empty.
fn text(node: &Node, path: &[&str]) -> Option<String> {
    let node = path.iter().try_fold(node, |node, key| node.get(key))?;
    yaml::to_text(node).filter(|text| !text.is_empty())
}

/// The field with the version.
const VERSION: &[&str] = &["kubernetesVersion"];
/// Where kubeadm has images from, unless it is told.
const DEFAULT: &str = "registry.k8s.io";

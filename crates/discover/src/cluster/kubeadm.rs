//! The images of a control plane, by the version of Kubernetes.

use larder_gotemplate::yaml::{self, Node};
use std::fmt;

/// The table of `kubeadm.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubeadm {
    source: String,
    minors: Vec<Minor>,
}

/// A release of Kubernetes: three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// `1`
    pub major: u32,
    /// `33`
    pub minor: u32,
    /// `4`
    pub patch: u32,
}

/// The images kubeadm starts a control plane with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// The images, in full.
    pub images: Vec<String>,
    /// Where that is written.
    pub source: String,
}

/// A release that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the images of Kubernetes {wanted} are not known; known are {}", .nearest.join(", "))]
pub struct UnknownRelease {
    /// As it was written.
    pub wanted: String,
    /// The known releases next to it.
    pub nearest: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Minor {
    major: u32,
    minor: u32,
    newest: u32,
    coredns: Vec<(u32, String)>,
    etcd: Vec<(u32, String)>,
    pause: Vec<(u32, String)>,
}

impl Kubeadm {
    /// The table that larder carries.
    pub fn built_in() -> Self {
        let node = yaml::documents(TABLE.as_bytes(), &yaml::Limits::default()).next();
        let node = node.and_then(Result::ok).expect("the embedded table is YAML");
        Self::read(&node).expect("the embedded table has the fields of a table")
    }

    fn read(node: &Node) -> Option<Self> {
        let minors = node.get("minors")?.as_list()?.iter().map(Minor::read).collect::<Option<_>>()?;
        Some(Self { source: yaml::to_text(node.get("source")?)?, minors })
    }

    /// The images of a release, in a repository other than `registry.k8s.io` if one is given.
    ///
    /// # Errors
    /// A release that is not in the table: nothing is guessed.
    pub fn control_plane(
        &self,
        version: &str,
        repository: Option<&str>,
    ) -> Result<ControlPlane, UnknownRelease> {
        let unknown = || UnknownRelease { wanted: version.to_owned(), nearest: self.nearest(version) };
        let release = Release::parse(version).ok_or_else(unknown)?;
        let minor =
            self.minors.iter().find(|minor| (minor.major, minor.minor) == (release.major, release.minor));
        let minor = minor.filter(|minor| release.patch <= minor.newest).ok_or_else(unknown)?;
        let at = |tags: &[(u32, String)]| {
            let tag = tags.iter().rev().find(|(from, _)| *from <= release.patch);
            tag.map(|(_, tag)| tag.clone()).ok_or_else(unknown)
        };
        let own = repository.map(|repository| repository.trim_end_matches('/')).filter(|own| *own != DEFAULT);
        let registry = own.unwrap_or(DEFAULT);
        // In a repository of one's own, the image of CoreDNS lies beside the others (GetDNSImage).
        let coredns = if own.is_some() { "coredns" } else { "coredns/coredns" };
        let mut images: Vec<String> =
            PROGRAMS.iter().map(|name| format!("{registry}/{name}:v{release}")).collect();
        images.push(format!("{registry}/{coredns}:{}", at(&minor.coredns)?));
        images.push(format!("{registry}/pause:{}", at(&minor.pause)?));
        images.push(format!("{registry}/etcd:{}", at(&minor.etcd)?));
        Ok(ControlPlane { images, source: self.source.replace("{tag}", &format!("v{release}")) })
    }

    /// All minor versions with their newest patch release, the oldest first.
    pub fn newest(&self) -> impl Iterator<Item = Release> {
        self.minors.iter().map(Minor::release)
    }

    /// The newest known releases of the minor versions around one.
    fn nearest(&self, version: &str) -> Vec<String> {
        let Some(wanted) = Release::parse_loosely(version) else {
            return self.newest().map(|release| release.to_string()).collect();
        };
        let mut known: Vec<Release> = self.newest().collect();
        known.sort_by_key(|release| {
            (release.major.abs_diff(wanted.major), release.minor.abs_diff(wanted.minor))
        });
        known.truncate(3);
        known.sort();
        known.iter().map(ToString::to_string).collect()
    }
}

impl Minor {
    fn read(node: &Node) -> Option<Self> {
        let name = yaml::to_text(node.get("minor")?)?;
        let (major, minor) = name.split_once('.')?;
        let tags = |key: &str| -> Option<Vec<(u32, String)>> {
            let entries = node.get(key)?.as_map()?.iter();
            entries
                .map(|(from, tag)| Some((yaml::to_text(from)?.parse().ok()?, yaml::to_text(tag)?)))
                .collect()
        };
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            newest: yaml::to_text(node.get("newest")?)?.parse().ok()?,
            coredns: tags("coredns")?,
            etcd: tags("etcd")?,
            pause: tags("pause")?,
        })
    }

    fn release(&self) -> Release {
        Release { major: self.major, minor: self.minor, patch: self.newest }
    }
}

impl Release {
    /// `1.33.4`, with or without `v` in front.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix('v').unwrap_or(text).split('.').map(|part| part.parse().ok());
        let release = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(release)
    }

    /// Also `1.33` and `1.33.4-rc.1`.
    fn parse_loosely(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self { major, minor, patch: numbers.next().flatten().unwrap_or(0) })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

const TABLE: &str = include_str!("kubeadm.yaml");
const DEFAULT: &str = "registry.k8s.io";
const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];

#[cfg(test)]
mod tests {
    use super::*;

    fn images(version: &str, repository: Option<&str>) -> Vec<String> {
        Kubeadm::built_in().control_plane(version, repository).expect("it is known").images
    }

    #[test]
    fn a_control_plane_is_what_kubeadm_lists() {
        let expected = [
            "registry.k8s.io/kube-apiserver:v1.31.1",
            "registry.k8s.io/kube-controller-manager:v1.31.1",
            "registry.k8s.io/kube-scheduler:v1.31.1",
            "registry.k8s.io/kube-proxy:v1.31.1",
            "registry.k8s.io/coredns/coredns:v1.11.3",
            "registry.k8s.io/pause:3.10",
            "registry.k8s.io/etcd:3.5.15-0",
        ];
        assert_eq!(images("v1.31.1", None), expected);
        assert_eq!(images("1.31.1", Some("registry.k8s.io")), expected);
    }

    #[test]
    fn what_changed_between_patch_releases_is_followed() {
        let etcd = |version| images(version, None).pop();
        assert_eq!(etcd("1.28.5").as_deref(), Some("registry.k8s.io/etcd:3.5.9-0"));
        assert_eq!(etcd("1.28.6").as_deref(), Some("registry.k8s.io/etcd:3.5.10-0"));
        assert_eq!(etcd("1.28.15").as_deref(), Some("registry.k8s.io/etcd:3.5.15-0"));
        assert!(images("1.30.4", None).contains(&"registry.k8s.io/coredns/coredns:v1.11.1".into()));
        assert!(images("1.30.5", None).contains(&"registry.k8s.io/coredns/coredns:v1.11.3".into()));
    }

    #[test]
    fn in_a_repository_of_ones_own_coredns_lies_beside_the_others() {
        let images = images("1.34.2", Some("mirror.example/k8s/"));
        assert!(images.contains(&"mirror.example/k8s/coredns:v1.12.1".into()), "{images:?}");
        assert!(images.contains(&"mirror.example/k8s/pause:3.10.1".into()), "{images:?}");
        assert!(images.iter().all(|image| image.starts_with("mirror.example/k8s/")), "{images:?}");
    }

    #[test]
    fn nothing_is_guessed() {
        let error = |version| Kubeadm::built_in().control_plane(version, None).expect_err("it is not known");
        assert_eq!(error("1.31.99").nearest, ["1.30.14", "1.31.14", "1.32.13"]);
        assert_eq!(error("1.99.0").nearest, ["1.34.10", "1.35.7", "1.36.3"]);
        assert_eq!(error("v1.33.0-rc.1").nearest.len(), 3);
        assert!(error("latest").to_string().contains("1.28.15, 1.29.15"));
    }
}

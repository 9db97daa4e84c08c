//! Which repository a path means.

use larder_core::{Registry, Repository, RepositoryName};

/// Turns what clients write into full names.
///
/// - `/v2/docker.io/library/nginx/…`: the first part has a dot or a port, or is `localhost`: it is the registry.
/// - `/v2/library/nginx/…?ns=docker.io`: as containerd asks its mirrors.
/// - `/v2/team/app/…`: `localhost/team/app`, or a repository of the default namespace if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    default: Registry,
}

/// The registry of repositories that exist only here, as podman names images that came from nowhere else.
pub const LOCAL: &str = "localhost";

impl Naming {
    pub(crate) fn new(default: Option<&Registry>) -> Self {
        let default = default.cloned();
        Self { default: default.unwrap_or_else(|| Registry::new(LOCAL).expect("a constant that parses")) }
    }

    /// `None` if it is not a valid name.
    pub(crate) fn resolve(&self, path: &str, namespace: Option<&str>) -> Option<RepositoryName> {
        if path.len() > 255 {
            return None;
        }
        let (registry, rest) = match (namespace, path.split_once('/')) {
            (Some(namespace), _) => (Registry::new(namespace).ok()?, path),
            (None, Some((first, rest))) if is_host(first) => (Registry::new(first).ok()?, rest),
            _ => (self.default.clone(), path),
        };
        let official = registry.as_str() == Registry::DOCKER_HUB && !rest.contains('/');
        let repository =
            if official { Repository::new(&format!("library/{rest}")) } else { Repository::new(rest) };
        Some(RepositoryName::new(registry, repository.ok()?))
    }

    /// The shortest way to write a full name that [resolves](Self::resolve) to it.
    pub(crate) fn written<'a>(&self, name: &'a str) -> &'a str {
        let rest = name.strip_prefix(self.default.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let plain = |rest: &&str| !rest.split_once('/').is_some_and(|(first, _)| is_host(first));
        rest.filter(plain).unwrap_or(name)
    }
}

fn is_host(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == LOCAL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(path: &str, namespace: Option<&str>, default: Option<&str>) -> Option<String> {
        let default = default.map(|registry| Registry::new(registry).unwrap());
        Naming::new(default.as_ref()).resolve(path, namespace).map(|name| name.to_string())
    }

    #[test]
    fn the_first_part_is_a_registry_only_if_it_looks_like_one() {
        assert_eq!(resolve("docker.io/library/nginx", None, None).unwrap(), "docker.io/library/nginx");
        assert_eq!(resolve("docker.io/nginx", None, None).unwrap(), "docker.io/library/nginx");
        assert_eq!(resolve("host:5000/a/b", None, None).unwrap(), "host:5000/a/b");
        assert_eq!(resolve("team/app", None, None).unwrap(), "localhost/team/app");
        assert_eq!(resolve("localhost/team/app", None, None).unwrap(), "localhost/team/app");
    }

    #[test]
    fn a_namespace_says_which_registry() {
        assert_eq!(resolve("library/nginx", Some("docker.io"), None).unwrap(), "docker.io/library/nginx");
        assert_eq!(resolve("pause", Some("registry.k8s.io"), None).unwrap(), "registry.k8s.io/pause");
        assert_eq!(resolve("library/nginx", None, Some("docker.io")).unwrap(), "docker.io/library/nginx");
        assert_eq!(resolve("nginx", None, Some("docker.io")).unwrap(), "docker.io/library/nginx");
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        for default in [None, Some("docker.io"), Some("registry.test:5000")] {
            let registry = default.map(|registry| Registry::new(registry).unwrap());
            let naming = Naming::new(registry.as_ref());
            for name in [
                "localhost/app",
                "localhost/team/app",
                "localhost/my.app/x",
                "localhost/my.app",
                "docker.io/library/nginx",
                "docker.io/team/app",
                "registry.test:5000/a/b",
            ] {
                let written = naming.written(name);
                assert_eq!(
                    naming.resolve(written, None).unwrap().to_string(),
                    name,
                    "{written} by {default:?}"
                );
            }
        }
        assert_eq!(Naming::new(None).written("localhost/team/app"), "team/app");
        let hub = Registry::new("docker.io").unwrap();
        assert_eq!(Naming::new(Some(&hub)).written("docker.io/library/nginx"), "library/nginx");
        assert_eq!(Naming::new(Some(&hub)).written("localhost/team/app"), "localhost/team/app");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for path in ["", "/", "UPPER", "a//b", "../a", "a/..", "docker.io", "docker.io/", "-a", "a_-b"] {
            assert!(
                resolve(path, None, None).is_none() || path == "docker.io",
                "{path}: {:?}",
                resolve(path, None, None)
            );
        }
        assert_eq!(resolve("a", Some("not a host"), None), None);
        assert_eq!(resolve(&"a/".repeat(200), None, None), None);
    }
}

//! All definitions: those that are built in, and the user's.

use crate::{Definition, Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The definitions in force.
#[derive(Debug, Clone)]
pub struct Catalog {
    definitions: BTreeMap<String, Definition>,
    /// Where each comes from; `None` is built in.
    origins: BTreeMap<String, Option<PathBuf>>,
    repositories: Vec<Repository>,
}

/// A place that has the same files as another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repository {
    /// What URLs begin with.
    prefix: String,
    /// What they begin with instead.
    url: String,
}

/// FORMAT: a file of definitions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    packages: Vec<Definition>,
    #[serde(default)]
    repositories: Vec<Repository>,
}

impl Catalog {
    /// Those that are built in.
    pub fn builtin() -> Self {
        let mut catalog =
            Self { definitions: BTreeMap::new(), origins: BTreeMap::new(), repositories: Vec::new() };
        catalog.add(BUILTIN, None).expect("the definitions that are built in are tested");
        catalog
    }

    /// Reads a file of definitions, or every `.yaml` and `.yml` of a directory in order of their names. A definition takes the place of
    /// an earlier one of its name; repositories add up, the last one first.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Settings`] for what is not a definition.
    pub fn read(&mut self, path: &Path) -> Result<()> {
        for file in files(path)? {
            let metadata = fs::metadata(&file).map_err(Error::file("read", &file))?;
            if metadata.len() > FILE_LIMIT {
                return Err(Error::Settings { path: file, problem: "it is larger than 4 MiB".into() });
            }
            let text = fs::read_to_string(&file).map_err(Error::file("read", &file))?;
            self.add(&text, Some(&file))
                .map_err(|problem| Error::Settings { path: file.clone(), problem })?;
        }
        Ok(())
    }

    /// Adds the definitions of a text.
    fn add(&mut self, text: &str, path: Option<&Path>) -> std::result::Result<(), String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(());
        }
        let document: Document = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for mut definition in document.packages {
            if let Some(problem) = definition.problem() {
                return Err(problem);
            }
            if let (Some(openpgp), Some(directory)) = (&mut definition.openpgp, path.and_then(Path::parent))
                && let Some(keyring) = &mut openpgp.keyring
            {
                *keyring = directory.join(&*keyring);
            }
            self.origins.insert(definition.name.clone(), path.map(Path::to_owned));
            self.definitions.insert(definition.name.clone(), definition);
        }
        for repository in document.repositories.into_iter().rev() {
            let is_url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
            if !is_url(&repository.prefix) || !is_url(&repository.url) {
                return Err(format!(
                    "repositories: {:?} or {:?} is not a URL",
                    repository.prefix, repository.url
                ));
            }
            self.repositories.insert(0, repository);
        }
        Ok(())
    }

    /// The definition of a package.
    pub fn get(&self, name: &str) -> Result<&Definition> {
        self.definitions
            .get(name)
            .ok_or_else(|| Error::Unknown { name: name.to_owned(), similar: self.similar(name) })
    }

    /// All of them, sorted by name, and the file that each is from.
    pub fn definitions(&self) -> impl Iterator<Item = (&Definition, Option<&Path>)> {
        self.definitions.values().map(|definition| {
            (definition, self.origins.get(&definition.name).and_then(|origin| origin.as_deref()))
        })
    }

    /// Where a URL is asked for: at the first repository that has what it begins with.
    pub fn place_of(&self, url: &str) -> String {
        let found = self.repositories.iter().find_map(|repository| {
            let rest = url.strip_prefix(&repository.prefix)?;
            // `https://host` is not the beginning of `https://host.elsewhere`.
            let whole = repository.prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/');
            let base = repository.url.trim_end_matches('/');
            whole.then(|| format!("{base}/{}", rest.trim_start_matches('/')))
        });
        found.unwrap_or_else(|| url.to_owned())
    }

    fn similar(&self, name: &str) -> Vec<String> {
        let close = |known: &&String| {
            !name.is_empty()
                && (known.contains(name) || name.contains(known.as_str()) || distance(known, name) <= 2)
        };
        self.definitions.keys().filter(close).take(3).cloned().collect()
    }
}

/// The file itself, or those of a directory.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(Error::file("list", path))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", path))?.path();
        if entry.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

/// How many letters have to change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = change.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

const BUILTIN: &str = include_str!("definitions.yaml");
const FILE_LIMIT: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nine_tools_are_where_their_projects_publish_them() {
        let catalog = Catalog::builtin();
        let url = |name: &str, version: &str, arch: &str| {
            catalog.get(name).unwrap().url(&version.parse().unwrap(), arch)
        };
        let github = "https://github.com";
        for (name, version, arch, expected) in [
            (
                "containerd",
                "v2.1.0",
                "amd64",
                format!(
                    "{github}/containerd/containerd/releases/download/v2.1.0/containerd-2.1.0-linux-amd64.tar.gz"
                ),
            ),
            (
                "runc",
                "1.3.0",
                "arm64",
                format!("{github}/opencontainers/runc/releases/download/v1.3.0/runc.arm64"),
            ),
            (
                "cni-plugins",
                "1.7.1",
                "amd64",
                format!(
                    "{github}/containernetworking/plugins/releases/download/v1.7.1/cni-plugins-linux-amd64-v1.7.1.tgz"
                ),
            ),
            (
                "kubectl",
                "1.33.4",
                "arm64",
                "https://dl.k8s.io/release/v1.33.4/bin/linux/arm64/kubectl".into(),
            ),
            (
                "kubeadm",
                "v1.33.4",
                "amd64",
                "https://dl.k8s.io/release/v1.33.4/bin/linux/amd64/kubeadm".into(),
            ),
            (
                "kubelet",
                "1.33.4",
                "amd64",
                "https://dl.k8s.io/release/v1.33.4/bin/linux/amd64/kubelet".into(),
            ),
            ("helm", "v3.18.0", "amd64", "https://get.helm.sh/helm-v3.18.0-linux-amd64.tar.gz".into()),
            (
                "crictl",
                "1.33.0",
                "arm64",
                format!(
                    "{github}/kubernetes-sigs/cri-tools/releases/download/v1.33.0/crictl-v1.33.0-linux-arm64.tar.gz"
                ),
            ),
            (
                "nerdctl",
                "v2.1.0",
                "amd64",
                format!(
                    "{github}/containerd/nerdctl/releases/download/v2.1.0/nerdctl-2.1.0-linux-amd64.tar.gz"
                ),
            ),
        ] {
            assert_eq!(url(name, version, arch), expected);
        }
        assert_eq!(catalog.definitions().count(), 9);
        let kubectl = catalog.get("kubectl").unwrap();
        let (sum, per_file) = kubectl.checksum(&"1.33.4".parse().unwrap(), "amd64").unwrap();
        assert!(sum.ends_with("/amd64/kubectl.sha256") && per_file);
        assert_eq!(kubectl.latest(Some("1.33")).unwrap().url, "https://dl.k8s.io/release/stable-1.33.txt");
        let helm = catalog.get("helm").unwrap().installs(&"3.18.0".parse().unwrap(), "arm64");
        assert_eq!((helm[0].from(), helm[0].to.as_str()), ("linux-arm64/helm", "/usr/local/bin/helm"));
        assert!(
            matches!(catalog.get("kubctl"), Err(Error::Unknown { similar, .. }) if similar.contains(&"kubectl".to_owned()))
        );
    }

    #[test]
    fn definitions_of_users_add_to_and_replace_those_built_in() {
        let mut catalog = Catalog::builtin();
        let text = "
packages:
  - name: etcd
    url: https://e.example/{tag}/etcd-{version}-{arch}.tar.gz
    architectures: [amd64]
    architecture_names: { amd64: x86_64 }
  - { name: runc, url: 'http://mirror.example/{version}/{arch}' }
repositories:
  - { prefix: 'https://dl.k8s.io/', url: 'http://mirror.example/k8s' }
  - { prefix: 'https://github.com', url: 'http://mirror.example/github/' }
";
        catalog.add(text, Some(Path::new("/etc/larder/tools.yaml"))).unwrap();
        let version: crate::Version = "3.5.0".parse().unwrap();
        assert_eq!(
            catalog.get("etcd").unwrap().url(&version, "amd64"),
            "https://e.example/v3.5.0/etcd-3.5.0-x86_64.tar.gz"
        );
        assert_eq!(catalog.get("runc").unwrap().url(&version, "arm64"), "http://mirror.example/3.5.0/arm64");
        assert_eq!(catalog.place_of("https://dl.k8s.io/release/x"), "http://mirror.example/k8s/release/x");
        assert_eq!(catalog.place_of("https://github.com/a"), "http://mirror.example/github/a");
        assert_eq!(
            catalog.place_of("https://github.com.evil.example/a"),
            "https://github.com.evil.example/a"
        );
    }

    #[test]
    fn definitions_that_cannot_work_are_refused() {
        for text in [
            "packages: [{ name: ../x, url: 'https://a/' }]",
            "packages: [{ name: x, url: 'file:///etc/passwd' }]",
            "packages: [{ name: x, url: 'https://a/{verison}' }]",
            "packages: [{ name: x, url: 'https://a/{url}' }]",
            "packages: [{ name: x, url: 'https://a/', binary: ../../x }]",
            "packages: [{ name: x, url: 'https://a/', install: [{ from: ., to: bin }] }]",
            "packages: [{ name: x, url: 'https://a/', install: [{ from: ../x, to: /bin }] }]",
            "packages: [{ name: x, url: 'https://a/', install: [{ from: x, to: '/bin/$(reboot)' }] }]",
            "packages: [{ name: x, url: 'https://a/', openpgp: {} }]",
            "packages: [{ name: x, url: 'https://a/', chekcsum: y }]",
            "repositories: [{ prefix: dl.k8s.io, url: 'http://a/' }]",
            "packages: {",
        ] {
            assert!(Catalog::builtin().add(text, None).is_err(), "{text}");
        }
        Catalog::builtin().add("# nothing\n", None).unwrap();
    }
}

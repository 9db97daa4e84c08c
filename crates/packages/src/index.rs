//! The index of what is cached: a YAML file that people can read, and that no single wrong line spoils.

use crate::Version;
use crate::wish::{is_architecture, is_name};
use larder_core::Digest;
use larder_store::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A package in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its version, without `v`.
    pub version: Version,
    /// For which architecture.
    pub architecture: String,
    /// The URL or file that it came from.
    pub source: String,
    /// What the upstream file hashes to.
    pub upstream: Digest,
    /// Its size in bytes.
    pub upstream_size: u64,
    /// What the archive hashes to.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The size of its files, in bytes.
    pub unpacked_size: u64,
    /// The archive, below `packages/`.
    pub path: String,
    /// What was verified, in words.
    #[serde(default)]
    pub verified: Vec<String>,
    /// It stays, whatever a clean-up is told.
    #[serde(default)]
    pub pinned: bool,
    /// When it was made.
    pub cached: Timestamp,
    /// When somebody last asked for it.
    pub used: Timestamp,
}

/// What a release was when it was first seen. It stays when the archive goes: a release that changes later is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstUse {
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) architecture: String,
    pub(crate) upstream: Digest,
}

/// The whole index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) packages: Vec<Entry>,
    pub(crate) first_use: Vec<FirstUse>,
}

/// FORMAT: `packages/index.yaml`.
#[derive(Serialize)]
struct Document<'i> {
    version: u32,
    packages: &'i [Entry],
    first_use: &'i [FirstUse],
}

impl Entry {
    /// `kubectl 1.33.4 amd64`
    pub fn title(&self) -> String {
        title(&self.name, &self.version, &self.architecture)
    }

    pub(crate) fn is(&self, name: &str, version: &Version, architecture: &str) -> bool {
        self.name == name && self.version == *version && self.architecture == architecture
    }

    /// The path it must have: what stands in a file is never believed to be a path.
    pub(crate) fn expected_path(&self) -> String {
        let Self { name, version, architecture, .. } = self;
        format!("{name}/{name}-{version}-{architecture}.tar.zst")
    }
}

impl Index {
    /// Reads an index. What is broken is left out, and said in the list; the rest counts.
    pub(crate) fn parse(text: &str) -> (Self, Vec<String>) {
        let mut index = Self::default();
        let mut broken = Vec::new();
        let document: Value = match serde_saphyr::from_str(text) {
            Ok(document @ Value::Object(_)) => document,
            Ok(_) => return (index, vec!["it is no index".into()]),
            Err(error) => {
                let reason = error.to_string();
                return (
                    index,
                    vec![reason.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()],
                );
            }
        };
        if document["version"].as_u64() != Some(VERSION) {
            return (index, vec![format!("its version is {}, and not {VERSION}", document["version"])]);
        }
        for entry in list(&document["packages"]) {
            match serde_json::from_value::<Entry>(entry.clone()) {
                Ok(entry) => match problem(&entry) {
                    None if index.find(&entry.name, &entry.version, &entry.architecture).is_some() => {
                        broken.push(format!("{} is there twice", entry.title()));
                    }
                    None => index.packages.push(entry),
                    Some(problem) => broken.push(format!("{}: {problem}", named(&entry.name))),
                },
                Err(error) => {
                    broken.push(format!("{}: {error}", named(entry["name"].as_str().unwrap_or("?"))));
                }
            }
        }
        for pin in list(&document["first_use"]) {
            match serde_json::from_value::<FirstUse>(pin.clone()) {
                Ok(pin) => index.first_use.push(pin),
                Err(error) => broken.push(format!("first_use: {error}")),
            }
        }
        index.sort();
        (index, broken)
    }

    pub(crate) fn write(&self) -> Result<String, String> {
        let document =
            Document { version: VERSION as u32, packages: &self.packages, first_use: &self.first_use };
        let yaml = serde_saphyr::to_string(&document).map_err(|error| error.to_string())?;
        Ok(format!("{HEADER}{yaml}"))
    }

    pub(crate) fn find(&self, name: &str, version: &Version, architecture: &str) -> Option<&Entry> {
        self.packages.iter().find(|entry| entry.is(name, version, architecture))
    }

    /// The newest version of a package.
    pub(crate) fn newest(&self, name: &str, architecture: &str) -> Option<&Entry> {
        let ours = |entry: &&Entry| entry.name == name && entry.architecture == architecture;
        self.packages.iter().filter(ours).max_by(|a, b| a.version.cmp(&b.version))
    }

    /// What was seen first.
    pub(crate) fn first_use(&self, name: &str, version: &Version, architecture: &str) -> Option<Digest> {
        let ours =
            |pin: &&FirstUse| pin.name == name && pin.version == *version && pin.architecture == architecture;
        self.first_use.iter().find(ours).map(|pin| pin.upstream)
    }

    /// Puts an entry in the place of the one of its name, version and architecture.
    pub(crate) fn put(&mut self, entry: Entry) {
        if self.first_use(&entry.name, &entry.version, &entry.architecture).is_none() {
            self.first_use.push(FirstUse {
                name: entry.name.clone(),
                version: entry.version.clone(),
                architecture: entry.architecture.clone(),
                upstream: entry.upstream,
            });
        }
        self.packages.retain(|other| !other.is(&entry.name, &entry.version, &entry.architecture));
        self.packages.push(entry);
        self.sort();
    }

    fn sort(&mut self) {
        self.packages.sort_by(|a, b| {
            (&a.name, &a.version, &a.architecture).cmp(&(&b.name, &b.version, &b.architecture))
        });
        self.first_use.sort_by(|a, b| {
            (&a.name, &a.version, &a.architecture).cmp(&(&b.name, &b.version, &b.architecture))
        });
    }
}

/// `kubectl 1.33.4 amd64`
pub(crate) fn title(name: &str, version: &Version, architecture: &str) -> String {
    format!("{name} {version} {architecture}")
}

fn problem(entry: &Entry) -> Option<&'static str> {
    if !is_name(&entry.name) || !is_architecture(&entry.architecture) {
        return Some("it has no proper name");
    }
    (entry.path != entry.expected_path()).then_some("its path is not the one it must have")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn named(name: &str) -> String {
    name.chars().take(64).collect()
}

const VERSION: u64 = 1;
const HEADER: &str = "# What `larder package` keeps here. Written by larder; `larder package remove` and `clean` take things out.\n";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn entry(name: &str, version: &str) -> Entry {
        let time = Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let mut entry = Entry {
            name: name.into(),
            version: version.parse().unwrap(),
            architecture: "amd64".into(),
            source: "https://e.example/a?b=c#d: e".into(),
            upstream: Digest::of(name.as_bytes()),
            upstream_size: 3,
            digest: Digest::of(b"b"),
            size: 2,
            unpacked_size: 5,
            path: String::new(),
            verified: vec!["checksum: \"x\"".into(), "yes".into()],
            pinned: false,
            cached: time,
            used: time,
        };
        entry.path = entry.expected_path();
        entry
    }

    fn index() -> Index {
        let mut index = Index::default();
        // Versions that YAML would take for numbers.
        for (name, version) in [("b", "1.10"), ("a", "1.9"), ("a", "1.10"), ("c", "1e3"), ("d", "017")] {
            index.put(entry(name, version));
        }
        index
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = index().write().unwrap();
        let (again, broken) = Index::parse(&text);
        assert_eq!((again, broken), (index(), Vec::new()), "{text}");
        assert_eq!(index().newest("a", "amd64").unwrap().version.as_str(), "1.10");
    }

    #[test]
    fn one_broken_entry_does_not_cost_the_others() {
        let text = index().write().unwrap();
        for (from, to) in [
            ("upstream_size: 3", "upstream_size: three"),
            ("path: b/b-1.10-amd64.tar.zst", "path: ../../etc/passwd"),
            ("architecture: amd64", "architecture: ../x"),
            ("digest: sha256:", "digest: sha1:"),
        ] {
            let spoilt = text.replacen(from, to, 1);
            assert_ne!(spoilt, text, "{from}: {text}");
            let (left, broken) = Index::parse(&spoilt);
            assert_eq!((left.packages.len(), broken.len()), (4, 1), "{from}: {broken:?}");
        }
    }

    #[test]
    fn an_index_that_is_none_is_said_to_be_none() {
        for text in ["", "packages: [", "- 1\n", "version: 2\npackages: []\n", "\u{0}\u{1}"] {
            let (index, broken) = Index::parse(text);
            assert!(index.packages.is_empty() && broken.len() == 1, "{text:?}: {broken:?}");
        }
    }

    #[test]
    fn what_was_seen_first_outlives_its_archive() {
        let mut index = index();
        index.packages.clear();
        let version = "1.9".parse().unwrap();
        assert_eq!(index.first_use("a", &version, "amd64"), Some(Digest::of(b"a")));
        let mut other = entry("a", "1.9");
        other.upstream = Digest::of(b"other");
        index.put(other);
        assert_eq!(index.first_use("a", &version, "amd64"), Some(Digest::of(b"a")));
    }
}

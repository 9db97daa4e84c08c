//! What users say that files hash to.

use crate::wish::{is_architecture, is_name};
use crate::{Error, Result, Version};
use larder_core::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Checksums that users pinned: what upstream publishes has to agree with them.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    pins: BTreeMap<(String, String, String), (Digest, PathBuf)>,
}

/// FORMAT: `pins: {NAME: {VERSION: {ARCH: HASH}}}`, where HASH is `sha256:HEX` or 64 hexadecimal digits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    pins: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>,
}

impl Pins {
    /// Adds those of a file.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Settings`] where it holds anything else.
    pub fn read(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
        self.add(&text, path).map_err(|problem| Error::Settings { path: path.to_owned(), problem })
    }

    fn add(&mut self, text: &str, path: &Path) -> std::result::Result<(), String> {
        let document: Document = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for (name, versions) in document.pins {
            for (version, architectures) in versions {
                let parsed: Version = version.parse().map_err(|error: Error| format!("{name}: {error}"))?;
                for (architecture, hash) in architectures {
                    let digest = match hash.contains(':') {
                        true => hash.parse::<Digest>(),
                        false => format!("sha256:{}", hash.to_ascii_lowercase()).parse(),
                    };
                    let digest =
                        digest.map_err(|error| format!("{name} {version} {architecture}: {error}"))?;
                    if !is_name(&name) || !is_architecture(&architecture) {
                        return Err(format!("{name} {version} {architecture} is no package"));
                    }
                    let key = (name.clone(), parsed.as_str().to_owned(), architecture);
                    self.pins.insert(key, (digest, path.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// What a package is pinned to, and by which file.
    pub(crate) fn get(&self, name: &str, version: &Version, architecture: &str) -> Option<(Digest, &Path)> {
        let key = (name.to_owned(), version.as_str().to_owned(), architecture.to_owned());
        self.pins.get(&key).map(|(digest, path)| (*digest, path.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_found_by_any_writing_of_the_version() {
        let hash = "a".repeat(64);
        let text = format!(
            "pins:\n  runc:\n    v1.3.0: {{ amd64: {}, arm64: 'sha256:{hash}' }}\n",
            hash.to_uppercase()
        );
        let mut pins = Pins::default();
        pins.add(&text, Path::new("/p")).unwrap();
        let version = "1.3.0".parse().unwrap();
        for architecture in ["amd64", "arm64"] {
            assert_eq!(pins.get("runc", &version, architecture).unwrap().0.hex(), hash);
        }
        assert!(pins.get("runc", &version, "s390x").is_none());
        for bad in [
            "pins: {runc: {1.3.0: {amd64: abc}}}",
            "pins: {../x: {1.3.0: {}}}\nx: 1",
            "pins: {runc: {latest: {}}}",
        ] {
            assert!(pins.add(bad, Path::new("/p")).is_err(), "{bad}");
        }
    }
}

//! FORMAT: `preheat.yaml`, which nodes get which images.

use crate::{Error, Result};
use larder_core::Reference;
use larder_nodes::{Pattern, Selector};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Nodes, and the images they get.
#[derive(Debug, Clone, Default)]
pub struct PreheatSet {
    /// Which nodes.
    pub nodes: Vec<Selector>,
    /// Images by name.
    pub images: Vec<Reference>,
    /// Images of a lock file, by their digests.
    pub lock: Option<PathBuf>,
    /// What `discover` takes: images that these ask for.
    pub sources: Vec<String>,
    /// Of the lock file and the sources, only images with such names; none means all.
    pub matching: Vec<Pattern>,
}

/// As it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    nodes: Vec<String>,
    #[serde(default)]
    images: Vec<String>,
    lock: Option<PathBuf>,
    #[serde(default)]
    sources: Vec<String>,
    #[serde(default, rename = "match")]
    matching: Vec<String>,
}

/// A longer plan is a mistake.
const LIMIT: u64 = 16 << 20;

impl PreheatSet {
    /// Reads a plan. Paths in it start where it is.
    pub fn read_plan(path: &Path) -> Result<Vec<Self>> {
        let wrong = |problem: String| Error::Preheat { path: path.to_owned(), problem };
        let file = |source| Error::File { action: "cannot read", path: path.to_owned(), source };
        let mut text = String::new();
        let opened = std::fs::File::open(path).map_err(file)?;
        if opened.take(LIMIT + 1).read_to_string(&mut text).map_err(file)? as u64 > LIMIT {
            return Err(wrong(format!("it is larger than {} MiB", LIMIT >> 20)));
        }
        let sets: Vec<Written> = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if sets.is_empty() {
            return Err(wrong("it names no nodes".into()));
        }
        let here = path.parent().unwrap_or(Path::new(""));
        sets.into_iter()
            .enumerate()
            .map(|(at, set)| set.parsed(here).map_err(|problem| wrong(format!("set {}: {problem}", at + 1))))
            .collect()
    }

    /// Whether an image of a lock file or a source is meant.
    pub fn means(&self, image: &Reference) -> bool {
        let fits = |pattern: &Pattern| pattern.fits(&image.to_string()) || pattern.fits(&image.familiar());
        self.matching.is_empty() || self.matching.iter().any(fits)
    }
}

impl Written {
    fn parsed(self, here: &Path) -> std::result::Result<PreheatSet, String> {
        if self.nodes.is_empty() {
            return Err("it names no nodes".into());
        }
        if self.images.is_empty() && self.lock.is_none() && self.sources.is_empty() {
            return Err("it names no images: one of images, lock, sources".into());
        }
        if !self.matching.is_empty() && self.lock.is_none() && self.sources.is_empty() {
            return Err("match is for the images of lock and sources".into());
        }
        let nodes: std::result::Result<Vec<Selector>, _> =
            self.nodes.iter().map(|text| text.parse()).collect();
        let images: std::result::Result<Vec<Reference>, _> =
            self.images.iter().map(|text| text.parse()).collect();
        let local = |source: String| {
            let path = here.join(&source);
            // What is no file there is an address, or a word that `discover` knows.
            if path.exists() { path.display().to_string() } else { source }
        };
        Ok(PreheatSet {
            nodes: nodes.map_err(|error| error.to_string())?,
            images: images.map_err(|error| error.to_string())?,
            lock: self.lock.map(|lock| here.join(lock)),
            sources: self.sources.into_iter().map(local).collect(),
            matching: self.matching.into_iter().map(Pattern::new).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<PreheatSet>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("preheat.yaml");
        std::fs::write(dir.path().join("web.yaml"), "").unwrap();
        std::fs::write(&path, text).unwrap();
        let sets = PreheatSet::read_plan(&path)?;
        assert!(sets.iter().filter_map(|set| set.lock.as_ref()).all(|lock| lock.starts_with(dir.path())));
        Ok(sets)
    }

    #[test]
    fn plans_say_which_nodes_get_which_images() {
        let text = "- nodes: [role=worker, all]\n  lock: a/larder.lock\n  match: ['*/kube-*']\n  sources: [web.yaml, 'oci://r/c']\n- { nodes: [x], images: [debian:12] }\n";
        let sets = read(text).unwrap();
        assert!(sets[0].means(&"registry.k8s.io/kube-proxy:1".parse().unwrap()));
        assert!(
            !sets[0].means(&"debian:12".parse().unwrap()) && sets[1].means(&"debian:12".parse().unwrap())
        );
        assert!(sets[0].sources[0].ends_with("/web.yaml") && sets[0].sources[1] == "oci://r/c");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[]", "names no nodes"),
            ("- { nodes: [], images: [a] }", "set 1: it names no nodes"),
            ("- { nodes: [a] }", "names no images"),
            ("- { nodes: [a], image: [b] }", "image"),
            ("- { nodes: [a;b], images: [c] }", "set 1: "),
            ("- { nodes: [a], images: ['UPPER:x y'] }", "set 1: "),
            ("- { nodes: [a], images: [c], match: [d] }", "match is for"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

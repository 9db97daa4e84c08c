//! Walks what a root document points at, in the store.

use crate::{Engine, Error, Result};
use larder_core::{Descriptor, Digest, Document, Manifest, Platform, Selection};
use std::collections::HashSet;

/// Everything below a root that is in the store, children before parents.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Manifests and indexes, each once, children first; the root is the last.
    pub(crate) documents: Vec<Document>,
    /// Configs and layers, each once.
    pub(crate) blobs: Vec<Descriptor>,
    /// Children of indexes that are not in the store: the index is sparse.
    pub(crate) absent: Vec<Descriptor>,
}

impl Graph {
    /// The bytes of all blobs and documents.
    pub(crate) fn size(&self) -> u64 {
        let documents = self.documents.iter().map(|document| document.raw().len() as u64);
        // Sizes are what manifests say.
        documents.chain(self.blobs.iter().map(|blob| blob.size)).fold(0, u64::saturating_add)
    }
}

impl Engine {
    /// Reads the graph below `root`. With a selection, only the chosen children of indexes are followed.
    pub(crate) fn graph(&self, root: &Digest, selection: &Selection) -> Result<Graph> {
        let mut graph = Graph::default();
        let mut seen = HashSet::new();
        self.walk(root, selection, &mut graph, &mut seen, 0)?;
        Ok(graph)
    }

    fn walk(
        &self,
        digest: &Digest,
        selection: &Selection,
        graph: &mut Graph,
        seen: &mut HashSet<Digest>,
        depth: u32,
    ) -> Result<()> {
        if !seen.insert(*digest) || depth > 8 {
            return Ok(());
        }
        let document = self.document(digest)?.ok_or(Error::NoBlob { digest: *digest })?;
        match document.manifest() {
            Manifest::Index(index) => {
                for child in selected(index, selection) {
                    if !(child.media_type.is_manifest() || child.media_type.is_index()) {
                        if seen.insert(child.digest) {
                            graph.blobs.push(child.clone());
                        }
                    } else if self.contains(&child.digest)? {
                        self.walk(&child.digest, selection, graph, seen, depth + 1)?;
                    } else {
                        graph.absent.push(child.clone());
                    }
                }
            }
            manifest => {
                for child in manifest.children() {
                    if seen.insert(child.digest) {
                        graph.blobs.push(child.clone());
                    }
                }
            }
        }
        graph.documents.push(document);
        Ok(())
    }

    pub(crate) fn document(&self, digest: &Digest) -> Result<Option<Document>> {
        let failed = |source| Error::Store { action: format!("cannot read manifest {digest}"), source };
        self.store().document(digest).map_err(failed)
    }

    pub(crate) fn contains(&self, digest: &Digest) -> Result<bool> {
        let failed = |source| Error::Store { action: format!("cannot look up {digest}"), source };
        self.store().contains(digest).map_err(failed)
    }
}

/// The children that a selection chooses, with the attestations that belong to them (BuildKit marks these with
/// `vnd.docker.reference.digest`). An index without any matching platform yields none.
pub(crate) fn selected<'a>(index: &'a larder_core::Index, selection: &Selection) -> Vec<&'a Descriptor> {
    let chosen: HashSet<Digest> = match selection {
        Selection::All => return index.manifests.iter().collect(),
        Selection::Only(platforms) => {
            let nearest = |platform: &Platform| index.select(&Selection::Only(vec![platform.clone()])).ok();
            platforms.iter().filter_map(nearest).flatten().map(|child| child.digest).collect()
        }
    };
    let belongs = |child: &&Descriptor| {
        let subject = child.annotations.get("vnd.docker.reference.digest");
        chosen.contains(&child.digest)
            || subject
                .is_some_and(|subject| subject.parse().is_ok_and(|digest: Digest| chosen.contains(&digest)))
    };
    index.manifests.iter().filter(belongs).collect()
}

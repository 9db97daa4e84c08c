//! `list`: the names in the store.

use crate::attached::SUFFIXES;
use crate::{Engine, Error, Result};
use larder_core::{Digest, Manifest, Platform, Reference, Selection, Tag};
use larder_store::Name;
use std::time::SystemTime;

/// One name.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// The name.
    pub reference: Reference,
    /// What it stands for.
    pub digest: Digest,
    /// The platforms that are here.
    pub platforms: Vec<Platform>,
    /// Compressed bytes of what is here.
    pub size: u64,
    /// `image`, `index` or `artifact`.
    pub kind: &'static str,
    /// Whether everything that was pulled is still here.
    pub complete: bool,
    /// No policy removes it.
    pub pinned: bool,
    /// It came through the server from its registry, and may be only partly here: what nobody asked for was not fetched.
    pub cached: bool,
    /// Seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub updated: SystemTime,
    /// Seconds since 1970.
    #[serde(serialize_with = "seconds")]
    pub last_used: SystemTime,
}

fn seconds<S: serde::Serializer>(time: &SystemTime, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(since.as_secs())
}

impl Engine {
    /// The names in the store, sorted. Tags that only carry signatures (`sha256-HEX.sig`) are left out unless `all`.
    pub fn list(&self, all: bool) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for name in self.store().names().map_err(failed)? {
            if all || !is_attachment(&name.reference) {
                rows.push(self.row(name)?);
            }
        }
        for cached in self.store().all_cached().map_err(failed)? {
            // What was asked for by digest only is mostly part of something that was asked for by tag.
            let Ok(tag) = Tag::new(&cached.selector) else { continue };
            let reference = cached.repository.tagged(tag);
            let known = rows.iter().any(|row: &Row| row.reference == reference);
            if known || !all && is_attachment(&reference) {
                continue;
            }
            let name = Name {
                reference,
                descriptor: cached.descriptor,
                updated: cached.checked,
                checked: cached.checked,
                last_used: cached.used,
                pinned: false,
                pushed: false,
            };
            rows.push(Row { cached: true, ..self.row(name)? });
        }
        rows.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(rows)
    }

    fn row(&self, name: Name) -> Result<Row> {
        let graph = self.graph(&name.descriptor.digest, &Selection::All);
        let (kind, platforms, size, complete) = match &graph {
            Ok(graph) => {
                let digests: Vec<Digest> = graph.blobs.iter().map(|blob| blob.digest).collect();
                let missing = self.store().missing(&digests).map_err(failed)?;
                let kind = match graph.documents.last().map(larder_core::Document::manifest) {
                    Some(Manifest::Index(_)) => "index",
                    Some(Manifest::Artifact(_)) => "artifact",
                    _ => "image",
                };
                (kind, self.platforms(&graph.documents)?, graph.size(), missing.is_empty())
            }
            Err(_) => ("damaged", Vec::new(), 0, false),
        };
        Ok(Row {
            reference: name.reference,
            digest: name.descriptor.digest,
            platforms,
            size,
            kind,
            complete,
            pinned: name.pinned,
            cached: false,
            updated: name.updated,
            last_used: name.last_used,
        })
    }
}

fn failed(source: larder_store::Error) -> Error {
    Error::Store { action: "cannot list the store".into(), source }
}

fn is_attachment(reference: &Reference) -> bool {
    let Some(tag) = reference.tag() else { return false };
    let Some((stem, suffix)) = tag.as_str().rsplit_once('.') else { return false };
    SUFFIXES.contains(&suffix)
        && stem.split_once('-').is_some_and(|(a, hex)| format!("{a}:{hex}").parse::<Digest>().is_ok())
}

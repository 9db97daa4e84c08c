//! FORMAT: what was changed on a node, and what was there before: `mirror/manifest.json` below larder's directory there, with
//! copies in `mirror/before/`. It is written before the first change, so that an interrupted one can be undone.

use larder_core::Digest;
use std::collections::BTreeSet;

/// The record of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ledger {
    /// The version of this format.
    pub(crate) version: u32,
    /// The mirror.
    pub(crate) registry: String,
    /// In the order in which they were changed.
    pub(crate) files: Vec<Entry>,
    /// Directories that were made.
    pub(crate) directories: BTreeSet<String>,
}

/// One file that was changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// The digest of what was there; nothing if there was no file.
    pub(crate) before: Option<Digest>,
    /// The digest of what larder put there.
    pub(crate) after: Digest,
}

pub(crate) const VERSION: u32 = 1;

impl Ledger {
    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.path == path)
    }
}

impl Entry {
    /// Whether a file is as larder left it.
    pub(crate) fn is_ours(&self, content: Option<&[u8]>) -> bool {
        content.is_some_and(|content| Digest::of(content) == self.after)
    }

    /// Whether a file is as it was before.
    pub(crate) fn is_undone(&self, content: Option<&[u8]>) -> bool {
        content.map(Digest::of) == self.before
    }
}

/// Where the copy of a file is.
pub(crate) fn copy_of(directory: &str, path: &str) -> String {
    format!("{directory}/before/{}", &Digest::of(path.as_bytes()).hex()[..32])
}

/// Where a file goes that somebody else changed and that is replaced.
pub(crate) fn kept(directory: &str, path: &str, content: &[u8]) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    format!("{directory}/kept/{}-{name}", &Digest::of(content).hex()[..16])
}

/// The directories above a path, the highest first, without the root.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    path.char_indices().filter(|(at, c)| *at > 0 && *c == '/').map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above() {
        assert_eq!(above("/etc/docker/daemon.json").collect::<Vec<_>>(), ["/etc", "/etc/docker"]);
    }
}

//! The graph of blobs and derived things, read from the database into numbers.

use crate::blob::BlobKind;
use crate::database::{Key, Nanos};
use crate::{Area, DerivedKey, HeldKind, name, repository};
use larder_core::{Digest, Reference, RepositoryName, Tag};
use rusqlite::Connection;
use rusqlite::types::Type;
use std::collections::HashMap;

/// Nodes are numbers; what they are is in `things`.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) things: Vec<Thing>,
    /// What lives as long as each node.
    pub(crate) edges: Vec<Vec<u32>>,
    pub(crate) names: Vec<Named>,
    pub(crate) cached: Vec<Entry>,
    pub(crate) put: Vec<Put>,
    /// Manifest and derived thing, where the thing is not trusted any more: only a mount keeps it.
    pub(crate) outdated: Vec<(u32, u32)>,
    blobs: HashMap<Vec<u8>, u32>,
    derived: HashMap<DerivedKey, u32>,
}

pub(crate) enum Thing {
    /// `size` and `kind` are `None` where somebody points at it but the store does not hold it.
    Blob {
        digest: Digest,
        size: Option<u64>,
        kind: Option<BlobKind>,
    },
    Derived {
        key: DerivedKey,
        size: u64,
    },
}

pub(crate) struct Named {
    pub(crate) reference: Reference,
    pub(crate) node: u32,
    pub(crate) used: i64,
    /// Whether no policy may remove it.
    pub(crate) protected: bool,
}

/// What a tag or a digest stood for upstream.
pub(crate) struct Entry {
    pub(crate) repository: RepositoryName,
    pub(crate) selector: String,
    pub(crate) node: u32,
    pub(crate) used: i64,
}

/// What was put into some repository and not released there.
pub(crate) struct Put {
    pub(crate) node: u32,
    pub(crate) manifest: bool,
    pub(crate) added: i64,
}

impl Entry {
    fn reference(&self) -> Option<Reference> {
        match self.selector.parse() {
            Ok(digest) => Some(self.repository.pinned(digest)),
            Err(_) => Tag::new(&self.selector).ok().map(|tag| self.repository.tagged(tag)),
        }
    }
}

impl Graph {
    pub(crate) fn load(db: &Connection, boot_id: &str) -> rusqlite::Result<Self> {
        let mut graph = Self::default();
        let mut query = db.prepare_cached("SELECT digest, size, kind FROM blobs")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let node = graph.intern(row.get_ref(0)?.as_blob()?)?;
            if let Thing::Blob { size, kind, .. } = &mut graph.things[node as usize] {
                *size = Some(row.get(1)?);
                *kind = Some(BlobKind::from_code(row.get(2)?));
            }
        }
        let mut query = db.prepare_cached("SELECT parent, child FROM edges")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let parent = graph.intern(row.get_ref(0)?.as_blob()?)?;
            let child = graph.intern(row.get_ref(1)?.as_blob()?)?;
            graph.edges[parent as usize].push(child);
        }
        let mut outdated = Vec::new();
        let mut query = db.prepare_cached("SELECT area, name, size, boot FROM derived")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key = DerivedKey { area: Area::from_code(row.get(0)?), name: row.get(1)? };
            let node = graph.add(Thing::Derived { key: key.clone(), size: row.get(2)? });
            graph.derived.insert(key, node);
            outdated.resize(node as usize + 1, false);
            outdated[node as usize] = row.get_ref(3)?.as_str()? != boot_id;
        }
        let mut query = db.prepare_cached("SELECT area, name, manifest FROM derived_uses")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let key = DerivedKey { area: Area::from_code(row.get(0)?), name: row.get(1)? };
            let Some(derived) = graph.derived(&key) else { continue };
            let manifest = graph.intern(row.get_ref(2)?.as_blob()?)?;
            if outdated[derived as usize] {
                graph.outdated.push((manifest, derived));
            } else {
                graph.edges[manifest as usize].push(derived);
            }
        }
        let mut query = db.prepare_cached(
            "SELECT reference, digest, used, pinned OR pushed FROM names ORDER BY reference",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let node = graph.intern(row.get_ref(1)?.as_blob()?)?;
            let Nanos(used) = row.get(2)?;
            let reference = name::reference_at(row, 0)?;
            graph.names.push(Named { reference, node, used, protected: row.get(3)? });
        }
        graph.load_repositories(db)?;
        Ok(graph)
    }

    fn load_repositories(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut query = db.prepare_cached(
            "SELECT repository, selector, digest, used FROM cached ORDER BY repository, selector",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let node = self.intern(row.get_ref(2)?.as_blob()?)?;
            let repository = repository::at(row, 0)?;
            self.cached.push(Entry { repository, selector: row.get(1)?, node, used: row.get(3)? });
        }
        let mut query = db.prepare_cached("SELECT digest, kind, added, removed FROM held")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            // Also what was released has a node: its row goes with the blob.
            let node = self.intern(row.get_ref(0)?.as_blob()?)?;
            let kind: u8 = row.get(1)?;
            if !row.get::<_, bool>(3)? && kind != repository::UPSTREAM {
                let manifest = kind == HeldKind::Manifest.code();
                self.put.push(Put { node, manifest, added: row.get(2)? });
            }
        }
        Ok(())
    }

    /// The node of a digest as spelled in a row, added if it is new.
    pub(crate) fn intern(&mut self, key: &[u8]) -> rusqlite::Result<u32> {
        if let Some(node) = self.blobs.get(key) {
            return Ok(*node);
        }
        let digest = Key::digest(key).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, "a digest has another length".into())
        })?;
        let node = self.add(Thing::Blob { digest, size: None, kind: None });
        self.blobs.insert(key.to_vec(), node);
        Ok(node)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<u32> {
        self.blobs.get(Key::from(digest).as_bytes()).copied()
    }

    pub(crate) fn derived(&self, key: &DerivedKey) -> Option<u32> {
        self.derived.get(key).copied()
    }

    pub(crate) fn sizes(&self) -> Vec<u64> {
        let size = |thing: &Thing| match thing {
            Thing::Blob { size, .. } => size.unwrap_or(0),
            Thing::Derived { size, .. } => *size,
        };
        self.things.iter().map(size).collect()
    }

    pub(crate) fn is_manifest(&self, node: u32) -> bool {
        matches!(self.things[node as usize], Thing::Blob { kind: Some(BlobKind::Manifest), .. })
    }

    /// The images from which `node` is reachable: names first, then what is cached.
    pub(crate) fn part_of(&self, node: u32) -> Vec<Reference> {
        let mut parents = vec![Vec::new(); self.edges.len()];
        for (parent, children) in (0..).zip(&self.edges) {
            for child in children {
                parents[*child as usize].push(parent);
            }
        }
        let above = crate::mark::mark(&parents, [node]);
        let names = self.names.iter().filter(|name| above[name.node as usize]);
        let cached = self.cached.iter().filter(|entry| above[entry.node as usize]);
        names.map(|name| name.reference.clone()).chain(cached.filter_map(Entry::reference)).collect()
    }

    fn add(&mut self, thing: Thing) -> u32 {
        let node = u32::try_from(self.things.len()).expect("fewer than 2^32 things are in a store");
        self.things.push(thing);
        self.edges.push(Vec::new());
        node
    }
}

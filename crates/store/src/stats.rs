//! How full the store is, and how well it works.

use crate::blob::BlobKind;
use crate::database::Nanos;
use crate::graph::{Graph, Thing};
use crate::mark::Reach;
use crate::served;
use crate::{Error, Result, Store, TierStats};
use rusqlite::OptionalExtension as _;
use std::fs;
use std::time::SystemTime;

/// How full the store is, and how well it works. Sizes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// Names.
    pub images: u64,
    /// Tags and digests that are remembered from upstreams.
    pub cached: u64,
    /// Manifests and indexes.
    pub manifests: u64,
    /// Layers.
    pub layers: u64,
    /// All blobs.
    pub blobs: u64,
    /// What the named images would take if they shared nothing.
    pub total_bytes: u64,
    /// What all blobs take, each counted once.
    pub unique_bytes: u64,
    /// What derived things take.
    pub derived_bytes: u64,
    /// Archives of packages.
    pub packages: u64,
    /// What those take.
    pub package_bytes: u64,
    /// What interrupted downloads and uploads take, those of packages included.
    pub partial_bytes: u64,
    /// What all of these take on disk.
    pub stored_bytes: u64,
    /// How many times larger the layers are uncompressed, as far as that was recorded.
    pub compression_ratio: Option<f64>,
    /// What is free on the file system.
    pub free_bytes: u64,
    /// When garbage was last collected.
    pub last_gc: Option<SystemTime>,
    /// What each tier did, nearest first.
    pub tiers: Vec<TierStats>,
}

impl Store {
    /// Counts everything. Costs in proportion to the number of names and blobs.
    pub fn stats(&self) -> Result<Stats> {
        let partial_bytes = self.partial_bytes()? + self.shelf().partial_bytes()?;
        let archives = self.shelf().archives()?;
        let home = self.home();
        let space = rustix::fs::statvfs(home).map_err(|errno| Error::io("read", home)(errno.into()))?;
        self.database.snapshot("count everything", |db| {
            let graph = Graph::load(db, &self.options.boot_id)?;
            let mut reach = Reach::new(&graph.edges);
            let total_bytes = graph
                .names
                .iter()
                .flat_map(|name| reach.from(name.node))
                .map(|node| match &graph.things[node as usize] {
                    Thing::Blob { size, .. } => size.unwrap_or(0),
                    Thing::Derived { .. } => 0,
                })
                .sum();
            let mut stats = Stats {
                images: graph.names.len() as u64,
                cached: graph.cached.len() as u64,
                manifests: 0,
                layers: 0,
                blobs: 0,
                total_bytes,
                unique_bytes: 0,
                derived_bytes: 0,
                packages: archives.len() as u64,
                package_bytes: archives.iter().map(|file| file.size).sum(),
                partial_bytes,
                stored_bytes: 0,
                compression_ratio: None,
                free_bytes: space.f_bavail * space.f_frsize,
                last_gc: None,
                tiers: served::tiers(db)?,
            };
            for thing in &graph.things {
                match thing {
                    Thing::Blob { size: Some(size), kind, .. } => {
                        stats.blobs += 1;
                        stats.unique_bytes += size;
                        match kind {
                            Some(BlobKind::Manifest) => stats.manifests += 1,
                            Some(BlobKind::Layer) => stats.layers += 1,
                            _ => {}
                        }
                    }
                    Thing::Blob { size: None, .. } => {}
                    Thing::Derived { size, .. } => stats.derived_bytes += size,
                }
            }
            stats.stored_bytes =
                stats.unique_bytes + stats.derived_bytes + stats.package_bytes + stats.partial_bytes;
            let (expanded, compressed): (f64, f64) = db.query_row(
                "SELECT total(expanded), total(size) FROM blobs WHERE expanded IS NOT NULL",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            stats.compression_ratio = (compressed > 0.0).then(|| expanded / compressed);
            stats.last_gc = db
                .query_row("SELECT value FROM facts WHERE key = 'collected'", [], |row| {
                    row.get::<_, Nanos>(0)
                })
                .optional()?
                .map(SystemTime::from);
            Ok(stats)
        })
    }

    fn partial_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for path in [self.layout.ingest(), self.layout.uploads()] {
            for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
                let entry = entry.map_err(Error::io("list", &path))?;
                // One that is gone by now was committed.
                bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            }
        }
        Ok(bytes)
    }
}

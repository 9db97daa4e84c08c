//! One directory per layer, shared between images, merged by overlayfs.

use crate::attributes::privileged;
use crate::driver::{Access, Driver, ImageSource, Materializer, Parts, Rootfs};
use crate::erofs::open_all;
use crate::extract::{Extractor, Owner, Style};
use crate::kernel::Overlay;
use crate::layers::{Layers, RawLayer, each, positions};
use crate::mount::{self, Place};
use crate::patience::Patience;
use crate::stack::{self, Plan};
use crate::target::Target;
use crate::{Error, Result, Scans};
use larder_core::Digest;
use larder_rootfs::{Kind, Layer, Limits, Namespace, Tree};
use larder_store::{Admitted, Area, BeginDerived, Building, DerivedKey, MountRecord, Store};
use std::fs::{self, File};
use std::path::Path;

/// Makes `layers/ALGORITHM-HEX.dir` per layer and a small record per manifest of what is stacked on what.
#[derive(Debug, Clone)]
pub struct OverlayDriver {
    layers: Layers,
}

/// FORMAT: the record of a stack, `layers/ALGORITHM-MANIFESTHEX.stack`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Record {
    /// Names in `layers/`, the top one first.
    lowers: Vec<String>,
    /// Why the image is one directory instead of a stack, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flat: Option<String>,
}

impl OverlayDriver {
    /// A driver over a store. `limits` bound what layers may contain.
    pub fn new(store: Store, limits: Limits) -> Self {
        Self { layers: Layers::new(store, limits) }
    }

    /// Looks for scanned layers here first.
    #[must_use]
    pub fn with_scans(mut self, scans: Scans) -> Self {
        self.layers.scans = scans;
        self
    }

    /// What an earlier preparation decided, if everything it names is still there.
    fn recorded(&self, path: &Path) -> Result<Option<Record>> {
        let raw = fs::read(path).map_err(Error::file("read", path))?;
        let record: Record =
            serde_json::from_slice(&raw).map_err(|source| Error::Record { path: path.into(), source })?;
        for name in &record.lowers {
            let derived =
                self.layers.store.derived(&layer_key(name)).map_err(Error::store("look up a layer"))?;
            if derived.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(record))
    }

    fn build(&self, building: Building, image: &ImageSource) -> Result<Record> {
        let record = self.stack(image)?;
        let path = building.path().to_owned();
        let raw =
            serde_json::to_vec(&record).map_err(|source| Error::Record { path: path.clone(), source })?;
        fs::write(&path, &raw).map_err(Error::file("write", &path))?;
        let checksum = Digest::of(&raw);
        building
            .commit(raw.len() as u64, Some(checksum))
            .map_err(Error::store("record a stack of layers"))?;
        Ok(record)
    }

    /// Unpacks what is missing.
    fn stack(&self, image: &ImageSource) -> Result<Record> {
        let raw = self.layers.raw(image)?;
        let merged = self.layers.merge(image, &raw)?;
        let namespace = if privileged() { Namespace::Trusted } else { Namespace::User };
        let order = stacked(&positions(image, &raw));
        let (mut regular, mut small) = (true, true);
        let mut trees = Vec::new();
        // To compare them, all trees have to be in memory together, and half as much again.
        let room = self.layers.limits.metadata_bytes / 2;
        let mut memory = merged.memory();
        for (position, raw) in raw.iter().enumerate() {
            let source = u16::try_from(position).unwrap_or(u16::MAX);
            let scan = self.layers.scan(raw)?.filter(|scan| memory + TREE * scan.memory() <= room);
            let Some(scan) = scan else {
                small = false;
                trees.clear();
                break;
            };
            let (tree, shape) = Tree::overlay(&scan, source, namespace, &self.layers.limits)
                .map_err(Error::layer(&raw.diff_id))?;
            regular &= shape.irregular.is_none();
            memory += tree.memory();
            trees.push(tree);
        }
        self.layers.forget(&raw);
        let plan = match (small, regular, order.len() + 2 <= LOWER_LIMIT) {
            (true, true, true) => {
                let refs: Vec<&Tree> = order.iter().map(|at| &trees[*at]).collect();
                stack::plan(&merged, &refs, namespace)
            }
            (false, _, _) => Plan::Flat("the layers have too many files to compare them in memory"),
            (_, false, _) => Plan::Flat("a layer only makes sense on top of the others"),
            (_, _, false) => Plan::Flat("overlayfs takes 500 layers"),
        };
        let mut lowers = Vec::new();
        let fixed = match plan {
            Plan::Flat(reason) => {
                let name = name(&image.manifest, "flat.dir");
                self.flat(&name, &merged, &raw)?;
                return Ok(Record { lowers: vec![name, self.empty()?], flat: Some(reason.into()) });
            }
            Plan::Fixed(layer) => Some(layer),
            Plan::Exact => None,
        };
        if let Some(layer) = fixed {
            let name = name(&image.manifest, "top.dir");
            self.fix(&name, &layer)?;
            lowers.push(name);
        }
        let suffix = if namespace == Namespace::Trusted { "dir" } else { "user.dir" };
        let sources = open_all(&raw)?;
        let work = raw.iter().zip(&trees).collect();
        each(work, |(raw, tree): (&RawLayer, &Tree)| {
            self.directory(&name(&raw.diff_id, suffix), |building| write(building, tree, &sources))
        })?;
        lowers.extend(order.iter().map(|at| name(&raw[*at].diff_id, suffix)));
        if lowers.len() < 2 {
            // Without a writable layer overlayfs wants two.
            lowers.push(self.empty()?);
        }
        Ok(Record { lowers, flat: None })
    }

    fn flat(&self, name: &str, merged: &Tree, raw: &[RawLayer]) -> Result<()> {
        let mut whiteout = None;
        merged.visit(|path, node| {
            if matches!(merged.node(node).kind, Kind::Device { block: false, major: 0, minor: 0 }) {
                whiteout.get_or_insert_with(|| String::from_utf8_lossy(path).into_owned());
            }
        });
        if let Some(path) = whiteout {
            return Err(Error::Whiteout { path });
        }
        let sources = open_all(raw)?;
        self.directory(name, |building| write(building, merged, &sources))
    }

    fn fix(&self, name: &str, layer: &Layer) -> Result<()> {
        let mut tree = Tree::new();
        let applied = tree.apply(layer, 0);
        applied.map_err(Error::layer(&Digest::of(name.as_bytes())))?;
        self.directory(name, |building| write(building, &tree, &[]))
    }

    fn empty(&self) -> Result<String> {
        let name = "empty.dir".to_owned();
        self.directory(&name, |building| write(building, &Tree::new(), &[]))?;
        Ok(name)
    }

    /// Makes `layers/NAME` unless it is there; waits if somebody else does.
    fn directory(&self, name: &str, write: impl FnOnce(&Building) -> Result<u64>) -> Result<()> {
        let key = layer_key(name);
        let mut patience = Patience::new();
        loop {
            match self.layers.store.begin_derived(&key).map_err(Error::store("begin a layer"))? {
                BeginDerived::Exists(_) => return Ok(()),
                BeginDerived::Busy => patience.wait(&key.to_string())?,
                BeginDerived::Build(building) => {
                    let size = write(&building)?;
                    building.commit(size, None).map_err(Error::store("record a layer"))?;
                    return Ok(());
                }
            }
        }
    }
}

impl Materializer for OverlayDriver {
    fn driver(&self) -> Driver {
        Driver::Overlay
    }

    fn prepare(&self, image: &ImageSource, admitted: &Admitted) -> Result<Rootfs> {
        let lease = self.layers.lease(image, admitted)?;
        let store = &self.layers.store;
        let key = stack_key(&image.manifest);
        let mut patience = Patience::new();
        let record = loop {
            match store.begin_derived(&key).map_err(Error::store("begin a stack of layers"))? {
                BeginDerived::Exists(found) => match self.recorded(found.path()) {
                    Ok(Some(record)) => break record,
                    // Something it names was removed, or it is damaged: decide again.
                    Ok(None) | Err(Error::Record { .. }) => {
                        store.remove_derived(&key).map_err(Error::store("remove a stack of layers"))?;
                        patience.wait(&key.to_string())?;
                    }
                    Err(error) => return Err(error),
                },
                BeginDerived::Busy => patience.wait(&key.to_string())?,
                BeginDerived::Build(building) => break self.build(building, image)?,
            }
        };
        let mut keys = vec![key];
        keys.extend(record.lowers.iter().map(|name| layer_key(name)));
        let mut lowers = Vec::new();
        for key in &keys {
            store.use_derived(key, &image.manifest).map_err(Error::store("note the use of a layer"))?;
            let derived = store.derived(key).map_err(Error::store("look up a layer"))?;
            lowers.extend(derived.map(|derived| derived.path().to_owned()));
        }
        // The record itself is not mounted.
        lowers.remove(0);
        Ok(Rootfs { manifest: image.manifest, parts: Parts::Overlay { lowers }, keys, _lease: lease })
    }

    fn is_materialized(&self, manifest: &Digest) -> Result<bool> {
        let found = self
            .layers
            .store
            .derived(&stack_key(manifest))
            .map_err(Error::store("look up a stack of layers"))?;
        Ok(found.is_some())
    }

    fn mount(&self, rootfs: &Rootfs, dir: &Path, access: Access) -> Result<MountRecord> {
        let Parts::Overlay { lowers } = &rootfs.parts else {
            return Err(Error::Driver(rootfs.driver().to_string()));
        };
        mount::record(&self.layers.store, rootfs, dir, access, |place: &Place<'_>| match place.writable {
            None => Overlay { lowers, upper: None, user: !privileged() }.mount(place.handle, place.path),
            Some(writable) => writable.mount_over(lowers, place.handle, place.path),
        })
    }

    fn remove(&self, manifest: &Digest) -> Result<bool> {
        mount::refuse_mounted(&self.layers.store, manifest, Driver::Overlay)?;
        let mut removed = false;
        for key in [
            stack_key(manifest),
            layer_key(&name(manifest, "flat.dir")),
            layer_key(&name(manifest, "top.dir")),
        ] {
            removed |=
                self.layers.store.remove_derived(&key).map_err(Error::store("remove a stack of layers"))?;
        }
        Ok(removed)
    }
}

/// Writes a tree as the directory that is being built; gives the bytes it takes.
fn write(building: &Building, tree: &Tree, sources: &[File]) -> Result<u64> {
    let target = Target::open(building.path())?;
    let report = Extractor { tree, sources, owner: Owner::Keep, style: Style::Layer }.run(&target)?;
    // Every entry takes an inode beside its content.
    Ok(report.bytes + report.entries * INODE)
}

/// The stack of an image, the top layer first. overlayfs refuses a directory that occurs twice; what is on top wins anyway,
/// so only the uppermost occurrence counts.
fn stacked(positions: &[u16]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    for position in positions.iter().rev().map(|position| usize::from(*position)) {
        if !order.contains(&position) {
            order.push(position);
        }
    }
    order
}

fn name(digest: &Digest, suffix: &str) -> String {
    format!("{}-{}.{suffix}", digest.algorithm().as_str(), digest.hex())
}

fn stack_key(manifest: &Digest) -> DerivedKey {
    layer_key(&name(manifest, "stack"))
}

fn layer_key(name: &str) -> DerivedKey {
    DerivedKey::new(Area::Layers, name)
}

/// A tree takes at most so many times the memory of the scan it is made of.
const TREE: u64 = 4;
/// What overlayfs takes, less two for ours.
const LOWER_LIMIT: usize = 500;
const INODE: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_layers_only_the_uppermost_counts() {
        assert_eq!(stacked(&[0, 1, 0, 2, 1]), [1, 2, 0]);
        assert_eq!(stacked(&[]), [0usize; 0]);
    }
}

//! One disk image per image: metadata only, its content the raw tars of the layers.

use crate::driver::{Access, Driver, ImageSource, Materializer, Parts, Rootfs};
use crate::layers::{Layers, RawLayer};
use crate::mount::{self, Place};
use crate::patience::Patience;
use crate::{Error, Result, Scans, kernel};
use larder_core::{Algorithm, Digest, Hasher};
use larder_rootfs::Limits;
use larder_rootfs::encode::{self, ErofsDevice, ErofsOptions};
use larder_store::{Admitted, Area, BeginDerived, Building, Derived, DerivedKey, MountRecord, Store};
use rustix::fd::AsFd as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes `disks/ALGORITHM-HEX.erofs` per manifest, and mounts it straight from the file.
#[derive(Debug, Clone)]
pub struct ErofsDriver {
    layers: Layers,
}

impl ErofsDriver {
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

    fn build(&self, building: Building, image: &ImageSource, raw: &[RawLayer]) -> Result<Derived> {
        let tree = self.layers.merge(image, raw)?;
        self.layers.forget(raw);
        let files = open_all(raw)?;
        let path = building.path().to_owned();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(Error::file("create", &path))?;
        let mut out = Hashed { file, hasher: Hasher::new(Algorithm::Sha256) };
        let devices: Vec<_> =
            raw.iter().map(|raw| ErofsDevice { size_bytes: raw.size, digest: Some(raw.diff_id) }).collect();
        let mut read = |device: u16, offset: u64, buffer: &mut [u8]| {
            files[usize::from(device)].read_exact_at(buffer, offset)
        };
        let summary = encode::erofs(&tree, &devices, &ErofsOptions::index(), &mut read, &mut out)
            .map_err(Error::encode(&image.manifest))?;
        let checksum = out.hasher.finish();
        building.commit(summary.size_bytes, Some(checksum)).map_err(Error::store("record a disk image"))
    }
}

impl Materializer for ErofsDriver {
    fn driver(&self) -> Driver {
        Driver::Erofs
    }

    fn prepare(&self, image: &ImageSource, admitted: &Admitted) -> Result<Rootfs> {
        let lease = self.layers.lease(image, admitted)?;
        let store = &self.layers.store;
        let raw = self.layers.raw(image)?;
        let key = image_key(&image.manifest);
        let mut patience = Patience::new();
        let disk = loop {
            match store.begin_derived(&key).map_err(Error::store("begin a disk image"))? {
                BeginDerived::Exists(disk) => break disk,
                BeginDerived::Busy => patience.wait(&key.to_string())?,
                BeginDerived::Build(building) => break self.build(building, image, &raw)?,
            }
        };
        let keys: Vec<DerivedKey> =
            std::iter::once(key).chain(raw.iter().filter_map(|raw| raw.key.clone())).collect();
        for key in &keys {
            store.use_derived(key, &image.manifest).map_err(Error::store("note the use of a layer"))?;
        }
        let devices = raw.into_iter().map(|raw| raw.path).collect();
        let parts = Parts::Erofs { image: disk.path().to_owned(), devices };
        Ok(Rootfs { manifest: image.manifest, parts, keys, _lease: lease })
    }

    fn is_materialized(&self, manifest: &Digest) -> Result<bool> {
        let found =
            self.layers.store.derived(&image_key(manifest)).map_err(Error::store("look up a disk image"))?;
        Ok(found.is_some())
    }

    fn mount(&self, rootfs: &Rootfs, dir: &Path, access: Access) -> Result<MountRecord> {
        let Parts::Erofs { image, devices } = &rootfs.parts else {
            return Err(Error::Driver(rootfs.driver().to_string()));
        };
        mount::record(&self.layers.store, rootfs, dir, access, |place: &Place<'_>| {
            let mounted = kernel::erofs(image, devices, place.path)?;
            match place.writable {
                None => kernel::attach("erofs", mounted.as_fd(), place.handle, place.path),
                Some(writable) => writable.mount_over_image(mounted.as_fd(), place.handle, place.path),
            }
        })
    }

    fn remove(&self, manifest: &Digest) -> Result<bool> {
        mount::refuse_mounted(&self.layers.store, manifest, Driver::Erofs)?;
        self.layers.store.remove_derived(&image_key(manifest)).map_err(Error::store("remove a disk image"))
    }
}

/// The raw tars, in order.
pub(crate) fn open_all(raw: &[RawLayer]) -> Result<Vec<File>> {
    raw.iter().map(|raw| File::open(&raw.path).map_err(Error::file("open", &raw.path))).collect()
}

fn image_key(manifest: &Digest) -> DerivedKey {
    DerivedKey::new(Area::Disks, format!("{}-{}.erofs", manifest.algorithm().as_str(), manifest.hex()))
}

struct Hashed {
    file: File,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

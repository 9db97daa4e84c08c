//! A store with images in it, and directories that are unmounted and removed at the end, also after a panic.

#![allow(dead_code, reason = "every test program uses another part")]

use larder_core::{Compression, Digest, Document};
use larder_materialize::{
    Access, ErofsDriver, ImageSource, LayerSource, Materializer, OverlayDriver, Owner, UnpackOptions,
    UnpackReport, unpack,
};
use larder_rootfs::Limits;
use larder_store::{Admitted, BlobKind, Lease, Options, Store};
use larder_testkit::{Ignore, Image, ImageBuilder, Listing};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// One store in one temporary directory.
pub(crate) struct World {
    pub(crate) store: Store,
    /// What is derived meanwhile is under it, too.
    lease: Option<Lease>,
    pub(crate) limits: Limits,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("larder-materialize-").tempdir().unwrap();
        let store = open_store(&dir.path().join("home"));
        let lease = Some(store.lease("test").unwrap());
        Self { store, lease, limits: Limits::default(), dir }
    }

    /// Lets go of the blobs.
    pub(crate) fn end_lease(&mut self) {
        self.lease = None;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn drivers(&self) -> [Box<dyn Materializer>; 2] {
        [
            Box::new(ErofsDriver::new(self.store.clone(), self.limits.clone())),
            Box::new(OverlayDriver::new(self.store.clone(), self.limits.clone())),
        ]
    }

    /// Puts an image of these layers into the store, the first packed with gzip, the next with zstd, and so on.
    pub(crate) fn image(&self, tars: &[Vec<u8>]) -> (ImageSource, Admitted) {
        let mut image = ImageBuilder::new(1);
        for (number, tar) in tars.iter().enumerate() {
            let compression = [Compression::Gzip, Compression::Zstd][number % 2];
            image = image.tar(tar.clone(), compression);
        }
        self.put(&image.build())
    }

    pub(crate) fn put(&self, image: &Image) -> (ImageSource, Admitted) {
        let lease = self.lease.as_ref().unwrap();
        for (descriptor, bytes) in &image.blobs {
            let blob = self.store.put(bytes, BlobKind::Layer, lease).unwrap();
            assert_eq!(*blob.digest(), descriptor.digest);
        }
        let manifest = image.digest();
        let document = Document::parse(image.raw().to_vec(), None).unwrap();
        self.store.put_document(&document, lease).unwrap();
        let layers = image.layers.iter().map(|layer| LayerSource {
            blob: layer.digest,
            media_type: layer.media_type(larder_testkit::Family::Oci),
            diff_id: layer.diff_id,
        });
        (ImageSource { manifest, layers: layers.collect() }, self.store.admit(&manifest, "test").unwrap())
    }

    pub(crate) fn unpack(
        &self,
        (image, admitted): &(ImageSource, Admitted),
        name: &str,
    ) -> larder_materialize::Result<UnpackReport> {
        let options = UnpackOptions { owner: Owner::Keep };
        unpack(&self.store, image, admitted, &self.path(name), &self.limits, &options)
    }

    /// Insists that the tree of `unpack` and the mounts of both drivers are the same; gives the tree.
    #[track_caller]
    pub(crate) fn assert_agreement(&self, image: &(ImageSource, Admitted), ignore: Ignore) -> Listing {
        let name = format!("unpacked-{}", image.0.manifest.short());
        self.unpack(image, &name).unwrap();
        let unpacked = Listing::of(&self.path(&name)).unwrap();
        for driver in self.drivers() {
            let word = driver.driver();
            let dir = self.path(&format!("{word}-{}", image.0.manifest.short()));
            let rootfs = driver.prepare(&image.0, &image.1).unwrap();
            driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
            let mounted = Listing::of(&dir).unwrap();
            let differences = unpacked.differences(&mounted, ignore);
            assert!(differences.is_empty(), "{word} differs from unpack:\n{}", differences.join("\n"));
            larder_materialize::unmount(&self.store, &dir).unwrap();
            assert!(!dir.exists(), "made for the mount, so removed with it");
        }
        unpacked
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Ok(mounted) = larder_materialize::mount_points() else { return };
        let root = self.dir.path().canonicalize().unwrap_or_default();
        for dir in mounted.iter().filter(|dir| dir.starts_with(&root)) {
            let _ = rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

pub(crate) fn open_store(home: &Path) -> Store {
    let options = Options { boot_id: "test".into(), clock: Arc::new(SystemTime::now) };
    Store::open(home, options).unwrap()
}

/// The digest of an image that nobody made.
pub(crate) fn no_digest() -> Digest {
    Digest::of(b"no such thing")
}

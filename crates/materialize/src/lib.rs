//! Turns admitted blobs into something this host can run from. The only crate that mounts.
//!
//! ```text
//! blob ─ LayerImport ─► layers/DIFFID.tar ─┬─ ErofsDriver ──► disks/MANIFEST.erofs ──► one mount
//!        (while it arrives, or later)      ├─ OverlayDriver ► layers/DIFFID.dir … ───► one overlay
//!                                          └─ unpack ───────► any empty directory
//! ```
//!
//! Everything made here is derived: it can be removed at any time and is made again from the blobs. What is made is
//! visible only when it is whole; two who want the same thing at once wait for one who makes it. Content gets in only with
//! [`Admitted`](larder_store::Admitted), the proof that policy let it through.
//!
//! Layers come from strangers. Nothing is ever written through a symbolic link, and disk images are only mounted if they
//! were made here.

mod attributes;
mod belt;
mod driver;
mod erofs;
mod error;
mod extract;
mod import;
mod kernel;
mod layers;
mod leaf;
mod mount;
mod mounts;
mod overlay;
mod patience;
mod probe;
mod scans;
mod stack;
mod target;
mod turns;
mod unpack;
mod writable;

pub use driver::{Access, Driver, ImageSource, LayerSource, Materializer, Rootfs};
pub use erofs::ErofsDriver;
pub use error::{Error, Result};
pub use extract::{Owner, UnpackReport};
pub use import::{ImportBegin, Imported, LayerImport};
pub use mount::{check_empty, check_mountpoint, is_mounted, unmount};
pub use mounts::{Mounts, mount_points};
pub use overlay::OverlayDriver;
pub use probe::{Finding, probe};
pub use scans::Scans;
pub use turns::Turns;
pub use unpack::{UnpackOptions, unpack};
pub use writable::{WritableLayer, check_writable_name, remove_writable, writable_layers};

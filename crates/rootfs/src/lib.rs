//! The file-system model of larder: bytes of layers in, bytes of disk images out; no privilege, no I/O of its own.
//!
//! ```text
//! compressed layer ─ Decoder ─► raw tar ─ Scanner ─► Layer ─┐
//!                                                  Layer ─┼─ Tree::apply ─► Tree ─ encode::erofs ─► image
//!                                                  Layer ─┘
//! ```
//!
//! File content is never copied into the model: an [`Extent`] says where in which raw tar it lies. Nothing is written under
//! a path, so nothing can escape: symbolic links are followed inside the [`Tree`] only.
//!
//! Layers come from strangers. [`Limits`] bound what they can cost, and a tar that tar readers disagree about is refused,
//! so that what is scanned is what runs.
#![forbid(unsafe_code)]

mod apply;
mod archive;
mod decoder;
pub mod encode;
mod entry;
mod error;
mod header;
mod layer;
mod limits;
mod listing;
mod member;
mod names;
mod overlay;
mod pax;
mod resolve;
mod scanner;
mod sparse;
mod tree;

pub use archive::ArchiveWriter;
pub use decoder::Decoder;
pub use entry::{Body, Content, Entry, Extent, Extents, Meta, Time, Xattr, Xattrs};
pub use error::{Error, Result};
pub use layer::Layer;
pub use limits::Limits;
pub use listing::{listing, listing_of_layer};
pub use overlay::{Irregularity, Namespace, Shape};
pub use scanner::Scanner;
pub use tree::{Kind, Node, NodeId, Tree};

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod apply;
mod archive;
mod compressor;
mod decoder;
pub mod encode;
mod entry;
mod error;
mod frame;
mod header;
mod layer;
mod limits;
mod listing;
mod member;
mod names;
mod nodes;
mod overlay;
mod packed;
mod pax;
mod resolve;
mod scanner;
mod sparse;
mod tree;
mod zip;

pub use archive::ArchiveWriter;
pub use compressor::Compressor;
pub use decoder::Decoder;
pub use entry::{Body, Content, Entry, Extent, Extents, Meta, Time, Xattr, Xattrs};
pub use error::{Error, Result};
pub use frame::FramePacker;
pub use layer::Layer;
pub use limits::Limits;
pub use listing::{listing, listing_of_layer};
pub use overlay::{Irregularity, Namespace, Shape};
pub use packed::Entries;
pub use scanner::Scanner;
pub use tree::{Kind, Node, NodeId, Tree};
pub use zip::{ZipKind, ZipMember, ZipReader};

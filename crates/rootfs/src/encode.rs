//! Encoders: a [`Tree`](crate::Tree) in, the bytes of a file system out.
//!
//! Every encoder is deterministic — the same tree gives the same bytes — writes front to back without seeking, and keeps
//! a few bytes per inode in memory.

mod erofs;
mod erofs_chunks;
mod erofs_directory;
mod erofs_format;
mod erofs_layout;
mod erofs_xattr;
mod error;

pub use erofs::{ErofsDevice, ErofsOptions, ErofsSummary, ReadAt, erofs};
pub use error::EncodeError;

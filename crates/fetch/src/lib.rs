#![doc = include_str!("../README.md")]

mod error;
mod fetcher;
mod flight;
mod image;
mod tier;
mod transfer;

pub use error::Error;
pub use fetcher::{Fetcher, Landing, Request, ServedBy, Settings, runs_on};
pub use image::{Image, Layer, LayerReader, Metrics};
pub use tier::{
    Begin, BlobSink, BlobSource, BlobStream, DiskTier, Fill, MemoryTier, Reader, RegistryTier, Scope,
    SourceTier, Tap,
};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

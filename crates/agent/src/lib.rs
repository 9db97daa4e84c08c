#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arrivals;
mod blob;
mod child;
mod decompress;
mod error;
mod feed;
mod frame;
mod inherit;
mod layer;
mod member;
mod message;
mod part;
mod program;
mod run;
mod session;
mod space;
mod spool;
mod staging;
mod sweep;
mod unpack;
mod wire;

pub use error::{Error, Result};
pub use frame::{CONTROL_LIMIT, DATA_LIMIT, Frame, FrameError, FrameType, Frames};
pub use member::{Content, Member};
pub use message::{
    BlobHeader, Code, Encoding, Exit, Failure, Have, Held, Hello, Input, Limits, MessageError, Offset,
    PREFACE, PackedLayer, Presence, Release, Released, Reply, Request, Run, Space, Stored, Sweep, Swept,
    Unpack, Unpacked, VERSION, Welcome,
};
pub use program::main;
pub use session::{Options, serve};

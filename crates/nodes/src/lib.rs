//! Sends what nodes lack over SSH, imports it into their container runtime, verifies it there, rolls back.

pub mod agent;
mod archive;
mod connection;
mod containerd;
mod deliver;
mod docker;
mod error;
mod fleet;
mod host;
mod host_keys;
mod inventory;
mod method;
mod node;
mod probe;
mod rate;
mod runtime;
mod selector;
mod shipment;
mod ssh;
mod upload;
mod word;

pub use connection::{Connection, Output};
pub use deliver::{DeliverOptions, Delivered, ImageState};
pub use error::{Error, Result};
pub use fleet::{Fleet, NodeReport};
pub use host_keys::{HostKey, HostKeys};
pub use inventory::{Inventory, Keys};
pub use method::Method;
pub use node::{DIRECTORY, NAMESPACE, Node};
pub use probe::{Depth, DockerImage, Facts, Room};
pub use rate::Rate;
pub use runtime::{Runtime, RuntimeChoice};
pub use selector::Selector;
pub use shipment::{Piece, Shipment, ShippedImage};
pub use ssh::SshOptions;

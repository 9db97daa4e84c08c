//! Real nodes on this machine: each with a network, an address, a root file system, an sshd and a container engine of its own.

mod fleet;
mod link;
mod node;
mod plan;
mod slot;
mod trial;

pub use fleet::Fleet;
pub use link::Link;
pub use node::Node;
pub use plan::{Engine, Plan};
pub use trial::{Tally, Trial};

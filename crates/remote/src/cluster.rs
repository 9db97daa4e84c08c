//! Clusters of Kubernetes: how they are reached, and their API servers, which are only read.
//!
//! The protocol, TLS and the files are the `kube` client's. Ours are the bounds around it ([`gate`]), and who runs the programs that
//! give credentials ([`plugin`]).

mod file;
mod gate;
mod kind;
mod kubeconfig;
mod plugin;
mod server;

pub use kind::{ApiKind, ApiKinds};
pub use kubeconfig::{ApiAccess, Fault, Kubeconfig, RunPlugin};
pub use plugin::Plugin;
pub use server::ApiServer;

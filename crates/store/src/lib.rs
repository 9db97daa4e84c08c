#![doc = include_str!("../README.md")]

mod audit;
mod blob;
mod database;
mod derived;
mod document;
mod error;
mod follow;
mod gc;
mod graph;
mod index;
mod ingest;
mod layout;
mod lease;
mod lock;
mod mark;
mod mount;
mod name;
mod quarantine;
mod restore;
mod served;
mod stats;
mod store;
mod verdict;
mod verify;

pub use audit::{
    AuditCounters, AuditFinding, AuditLimits, AuditLine, AuditLines, AuditLog, AuditNote, AuditOutcome,
    AuditRecord, AuditReport, Auditor, AuditorOptions, NotATimestamp, NotQueued, Receipt, RepairCause,
    Timestamp, WhenFull,
};
pub use blob::{Blob, BlobKind};
pub use derived::{Area, BeginDerived, Building, Derived, DerivedKey, DerivedRow};
pub use error::{Error, Result};
pub use follow::Follower;
pub use gc::{GcPlan, GcReport};
pub use ingest::{Begin, Ingest};
pub use lease::Lease;
pub use mount::MountRecord;
pub use name::Name;
pub use served::{Outcome, Served, TierStats};
pub use stats::Stats;
pub use store::{Clock, Options, Store};
pub use verdict::Admitted;
pub use verify::{Damage, Damaged, VerifyReport};

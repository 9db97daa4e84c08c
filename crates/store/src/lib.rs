#![doc = include_str!("../README.md")]

mod audit;
mod blob;
mod cached;
mod checksum;
mod database;
mod derived;
mod document;
mod error;
mod follow;
mod gc;
mod graph;
mod index;
mod ingest;
mod integrity;
mod layout;
mod lease;
mod lock;
mod mark;
mod mount;
mod name;
mod package;
mod quarantine;
mod rebuild;
mod repository;
mod reserve;
mod restore;
mod salvage;
mod schema;
mod served;
mod stats;
mod store;
mod upload;
mod verdict;
mod verify;
mod view;
mod wal;

pub use audit::{
    AuditCounters, AuditFinding, AuditLimits, AuditLine, AuditLines, AuditLog, AuditMark, AuditNote,
    AuditOutcome, AuditRecord, AuditReport, AuditTrimmed, Auditor, AuditorOptions, NotAMark, NotATimestamp,
    NotQueued, Receipt, RepairCause, Timestamp, WhenFull,
};
pub use blob::{Blob, BlobKind};
pub use cached::Cached;
pub use derived::{Area, BeginDerived, Building, Derived, DerivedKey, DerivedRow};
pub use error::{Error, Result};
pub use follow::{Available, Follower};
pub use gc::{GcPlan, GcReport};
pub use ingest::{Begin, Ingest};
pub use lease::Lease;
pub use mount::MountRecord;
pub use name::Name;
pub use package::{PackagePart, PackageShelf, ShelvedFile};
pub use repository::HeldKind;
pub use reserve::Reserve;
pub use restore::Repaired;
pub use served::{Outcome, Served, TierStats};
pub use stats::Stats;
pub use store::{Clock, Options, Store};
pub use upload::{OpenUpload, Upload};
pub use verdict::Admitted;
pub use verify::{Damage, Damaged, VerifyReport};

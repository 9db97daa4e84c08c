#![doc = include_str!("../README.md")]

mod archive;
mod attached;
mod audit;
mod config;
mod copy;
mod deliver;
mod discover;
mod doctor;
mod download;
mod engine;
mod error;
mod export;
mod gc;
mod graph;
mod image;
mod import;
mod inspect;
mod keychain;
mod lend;
mod list;
mod lock;
mod login;
mod mirror;
mod misfit;
mod mount;
mod package;
mod place;
mod placement;
mod plugin;
mod preheat;
mod pull;
mod push;
mod ready;
mod repair;
mod serve;
mod source;
mod stats;
mod tag;
mod upstream;
mod verify;
mod yaml;

pub use config::{Config, KEYS, Key, LayerOfValues, Origin, RegistryConfig};
pub use copy::{Copied, CopyOptions};
pub use deliver::{DeliverReport, DeliverRequest, NodeOutcome};
pub use discover::{Asked, Discovery, Doubt, Proof, Sureness};
pub use doctor::{Check, Doctor};
pub use engine::{Engine, Host};
pub use error::{Error, Failure};
pub use export::{Turn, replace_file};
pub use gc::{Collected, Policy};
pub use inspect::{Inspection, LayerView, PlatformView};
pub use larder_core::{Bytes, Span};
pub use larder_discover::{self as discovery, Input, Survey, SurveyOptions, Trouble, survey, wanted_by};
pub use larder_gotemplate::RunOptions as TemplateRun;
pub use larder_materialize::WritableLayer;
pub use larder_materialize::check_writable_name;
pub use larder_nodes::{self as nodes, Fleet, Inventory, Selector};
pub use larder_packages::{
    Added, CleanPolicy, Cleaned, Definition, PackageStats, PackagesVerified, Wish,
    architecture as package_architecture,
};
pub use larder_remote::{Auth, Credential, Proxy};
pub use larder_server::{Freshness, Record as RequestRecord, Sink as RequestSink};
pub use larder_store::{
    AuditFinding, AuditLine, AuditLines, AuditMark, AuditNote, AuditOutcome, AuditRecord, AuditReport,
    AuditTrimmed, Timestamp,
};
pub use list::Row;
pub use lock::{HEADER as LOCK_HEADER, Lock, LockDifference, LockReport, Locked, Moved};
pub use mirror::{MirrorReport, MirroredNode};
pub use mount::{MountRequest, Mounted, PullPolicy, UnpackRequest, Unpacked};
pub use package::{PackageOrder, PackageOutcome, PackageReport, PackageRow};
pub use place::Place;
pub use placement::{NodePackages, PlacementRequest, PlacementsReport};
pub use preheat::{
    NodePhase, PreheatLoad, PreheatPhase, PreheatRequest, PreheatSet, PreheatState, PreheatedNode, Preheats,
};
pub use pull::{Outcome, PullReport, PullRequest, Pulled};
pub use push::{PushOptions, Pushed};
pub use ready::{Needed, Readiness, Shelf};
pub use serve::{ServeConfig, Serving, TlsConfig};
pub use source::{RemoteSource, Source};
pub use upstream::{CredentialSource, Terms, UpstreamSettings, Upstreams, WELL_KNOWN};
pub use verify::{Damaged, Verified};
pub use yaml::{values_json, values_yaml, yaml_of};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

//! Errors of the product's verbs.

use larder_core::{Classify, Digest, Kind, Platform, Reference};
use std::path::PathBuf;
use std::time::Duration;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("{action}")]
    Store {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: larder_store::Error,
    },
    /// Fetching failed.
    #[error(transparent)]
    Fetch(#[from] larder_fetch::Error),
    /// A registry failed.
    #[error("{action}")]
    Remote {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: larder_remote::Error,
    },
    /// Unpacking or mounting failed.
    #[error("{action}")]
    Materialize {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: larder_materialize::Error,
    },
    /// A layer cannot be read.
    #[error("{action}")]
    Rootfs {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: larder_rootfs::Error,
    },
    /// A document cannot be parsed.
    #[error("{what}")]
    Document {
        /// Which one.
        what: String,
        /// Why.
        #[source]
        source: larder_core::Error,
    },
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A source of images cannot be used.
    #[error("cannot read {source_name:?}: {reason}")]
    Source {
        /// As the user named it.
        source_name: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no lock file.
    #[error("there is no lock file {}", path.display())]
    NoLock {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A lock file cannot be used.
    #[error("cannot use the lock file {}: {problem}", path.display())]
    Lock {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An image that has to be somewhere is not there.
    #[error("{image} {problem}")]
    NotReady {
        /// Which one.
        image: Box<Reference>,
        /// What is missing.
        problem: String,
    },
    /// A name stands for something else than was locked.
    #[error("{image} stands for {stands_for}, and not for {wanted} as it was locked")]
    OtherDigest {
        /// Which one.
        image: Box<Reference>,
        /// What the lock file says.
        wanted: Box<Digest>,
        /// What it is.
        stands_for: Box<Digest>,
    },
    /// Something that cannot be printed.
    #[error("cannot print it: {reason}")]
    Unprintable {
        /// Why not.
        reason: String,
    },
    /// There is no such chart.
    #[error("the chart {chart} {problem}")]
    NoChart {
        /// Which one.
        chart: String,
        /// What is missing.
        problem: String,
    },
    /// A chart's bytes are not those that its repository names.
    #[error("{url} hashes to {found}, but the repository says {expected}")]
    ChartDigest {
        /// Where it came from.
        url: String,
        /// What the index says.
        expected: String,
        /// What it is.
        found: Box<Digest>,
    },
    /// Charts, manifests and the like.
    #[error(transparent)]
    Discover(#[from] larder_discover::Error),
    /// Nodes.
    #[error(transparent)]
    Nodes(#[from] larder_nodes::Error),
    /// An image that was to be brought elsewhere could not be pulled.
    #[error("cannot pull {reference}: {}", failure.message)]
    NotPulled {
        /// Which one.
        reference: String,
        /// Why not.
        failure: Failure,
    },
    /// A package that was to be on nodes is not in the store.
    #[error("{package} cannot be sent: {}", failure.message)]
    NotAdded {
        /// Which one.
        package: String,
        /// Why not.
        failure: Failure,
    },
    /// Nothing says where the files of a package go.
    #[error("nothing says where the files of {package} go")]
    NoInstructions {
        /// Which one.
        package: String,
    },
    /// Tool packages.
    #[error(transparent)]
    Package(#[from] larder_packages::Error),
    /// A plan or a state of a preheat that cannot be used.
    #[error("cannot use {}: {problem}", path.display())]
    Preheat {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is no such preheat.
    #[error("there is no preheat {id:?}")]
    NoPreheat {
        /// As it was given.
        id: String,
        /// The latest ones there are.
        known: Vec<String>,
    },
    /// A process works on the preheat.
    #[error("the preheat {id} is running")]
    Running {
        /// Which one.
        id: String,
    },
    /// No process works on the preheat.
    #[error("the preheat {id} is not running")]
    NotRunning {
        /// Which one.
        id: String,
    },
    /// Somebody stopped the preheat.
    #[error("the preheat {id} was cancelled")]
    Cancelled {
        /// Which one.
        id: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates cannot be used.
    #[error("cannot serve TLS")]
    Tls {
        /// Why.
        #[source]
        source: Box<larder_server::TlsError>,
    },
    /// Accounts or rules cannot be used.
    #[error("cannot control access")]
    Access {
        /// Why.
        #[source]
        source: Box<larder_server::AccessError>,
    },
    /// Everybody who reaches the address could do everything.
    #[error("{address} can be reached from the network, and nothing says who may do what there")]
    OpenToAll {
        /// The address.
        address: String,
    },
    /// The store has no such image.
    #[error("{reference} is not in the store")]
    NoImage {
        /// Which one.
        reference: String,
        /// Names that look alike.
        similar: Vec<String>,
    },
    /// Nothing in the store has this name, and something was to be done to the name.
    #[error("{reference} is not a name in the store")]
    NoName {
        /// Which one.
        reference: String,
        /// Names that look alike.
        similar: Vec<String>,
    },
    /// The store has no such writable layer.
    #[error("there is no writable layer {name}")]
    NoWritable {
        /// Which one.
        name: String,
    },
    /// The image is there, but not whole.
    #[error("{reference} is not complete in the store: {missing} of its blobs are missing")]
    Incomplete {
        /// Which one.
        reference: String,
        /// How many blobs.
        missing: usize,
    },
    /// The image has no such platform.
    #[error("{reference} has no image for {platform} in the store")]
    NoPlatform {
        /// Which one.
        reference: String,
        /// What was asked.
        platform: Platform,
        /// What there is.
        present: Vec<Platform>,
    },
    /// An archive or layout that does not hold what it must.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Something that is not an image where one is needed.
    #[error("{what} is {found}, not an image")]
    NotAnImage {
        /// Which one.
        what: String,
        /// What it is instead.
        found: &'static str,
    },
    /// A source or destination that cannot be parsed.
    #[error("invalid place {input:?}: {reason}")]
    Place {
        /// What was given.
        input: String,
        /// The rule it breaks.
        reason: String,
    },
    /// A configuration value that does not fit.
    #[error("invalid configuration: {problem}")]
    Config {
        /// Origin, key and reason.
        problem: String,
    },
    /// A blob that is missing where it must not be.
    #[error("blob {digest} is not in the store")]
    NoBlob {
        /// Which one.
        digest: Digest,
    },
    /// A background task ended without an answer.
    #[error("{what} ended unexpectedly")]
    Task {
        /// Which one.
        what: &'static str,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Fetch(source) => source.kind(),
            Self::Remote { source, .. } => source.kind(),
            Self::Materialize { source, .. } => source.kind(),
            Self::Rootfs { source, .. } => source.kind(),
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                std::io::ErrorKind::AlreadyExists => Kind::Conflict,
                _ => Kind::Unavailable,
            },
            Self::NoImage { .. }
            | Self::NoName { .. }
            | Self::NoWritable { .. }
            | Self::NoPlatform { .. }
            | Self::Incomplete { .. }
            | Self::NoBlob { .. }
            | Self::NotReady { .. }
            | Self::NoLock { .. }
            | Self::NoPreheat { .. }
            | Self::NoChart { .. } => Kind::NotFound,
            Self::OtherDigest { .. } | Self::Running { .. } | Self::NotRunning { .. } => Kind::Conflict,
            Self::Cancelled { .. } => Kind::Unavailable,
            Self::ChartDigest { .. } => Kind::Corrupt,
            Self::Discover(source) => source.kind(),
            Self::Package(source) => source.kind(),
            Self::NotAdded { failure, .. } => failure.kind,
            Self::NoInstructions { .. } => Kind::Invalid,
            Self::Nodes(source) => source.kind(),
            Self::NotPulled { failure, .. } => failure.kind,
            Self::Document { .. }
            | Self::Source { .. }
            | Self::Unprintable { .. }
            | Self::Lock { .. }
            | Self::Preheat { .. }
            | Self::Archive { .. }
            | Self::Place { .. }
            | Self::Config { .. }
            | Self::Tls { .. }
            | Self::NotAnImage { .. } => Kind::Invalid,
            Self::Access { source } => source.kind(),
            Self::OpenToAll { .. } => Kind::Denied,
            Self::Listen { source, .. } => match source.kind() {
                std::io::ErrorKind::AddrInUse => Kind::Conflict,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Invalid,
            },
            Self::Task { .. } => Kind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        let repair =
            || vec!["larder verify --repair sets damage in the store aside and fetches it again".to_owned()];
        match self {
            Self::Store { source, .. } if source.kind() == Kind::Corrupt => repair(),
            Self::Materialize { source, .. } if source.kind() == Kind::Corrupt => repair(),
            Self::Fetch(larder_fetch::Error::Corrupt { tier: larder_core::Tier::Disk, .. }) => repair(),
            Self::Store { source, .. } => source.hints(),
            Self::Fetch(source) => source.hints(),
            Self::Discover(source) => source.hints(),
            Self::Package(source) => source.hints(),
            Self::NotAdded { failure, .. } => failure.hints.clone(),
            Self::NoInstructions { .. } => {
                vec!["`install` in a definition says it; see docs/guide/packages.md".to_owned()]
            }
            Self::Nodes(source) => source.hints(),
            Self::NotPulled { failure, .. } => failure.hints.clone(),
            Self::NoPreheat { known, .. } if known.is_empty() => {
                vec!["`larder preheat status` lists those there are".to_owned()]
            }
            Self::NoPreheat { known, .. } => vec![format!("the latest are {}", known.join(", "))],
            Self::Running { id } => vec![
                format!("`larder preheat watch {id}` shows how it goes"),
                format!("`larder preheat cancel {id}` stops it"),
            ],
            Self::NotRunning { id } => vec![format!("`larder preheat rollback {id}` takes back what it did")],
            Self::Source { source_name, .. } if source_name.starts_with("http") => {
                vec![format!("larder discover CHART --repo {source_name}")]
            }
            Self::NotReady { image, .. } => vec![format!("larder pull {}", image.familiar())],
            Self::OtherDigest { .. } => {
                vec![
                    "larder pull --lock FILE brings what was locked; larder lock SOURCE… locks what is there"
                        .to_owned(),
                ]
            }
            Self::Lock { .. } | Self::NoLock { .. } => {
                vec!["larder lock SOURCE… writes a new one".to_owned()]
            }
            Self::Remote { source, .. } => source.hints(),
            Self::Materialize { source, .. } => source.hints(),
            Self::Rootfs { source, .. } => source.hints(),
            Self::Access { source } => source.hints(),
            Self::OpenToAll { .. } => vec![
                "--htpasswd FILE gives accounts (`htpasswd -Bc FILE NAME` creates it)".into(),
                "--anonymous pull lets everybody read, and nobody write".into(),
                "--listen 127.0.0.1:5000 stays on this machine".into(),
            ],
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                vec!["something listens there already; --listen 127.0.0.1:0 chooses a free port".into()]
            }
            Self::NoImage { reference, similar } if similar.is_empty() => {
                vec![format!("larder pull {reference}")]
            }
            Self::NoName { similar, .. } if similar.is_empty() => {
                vec!["`larder list` shows the names there are".into()]
            }
            Self::NoWritable { .. } => vec!["`larder list --writable` shows those there are".into()],
            Self::NoImage { similar, .. } | Self::NoName { similar, .. } => {
                vec![format!("did you mean {}?", similar.join(" or "))]
            }
            Self::Incomplete { reference, .. } => {
                vec![format!("larder pull {reference} brings what is missing")]
            }
            Self::NoPlatform { reference, platform, present } => {
                let mut hints = vec![format!("larder pull --platform {platform} {reference}")];
                if let Some(first) = present.first() {
                    hints.push(format!("the store has it for {first}; choose that with --platform {first}"));
                }
                hints
            }
            Self::NoBlob { .. } => {
                vec!["larder verify --repair fetches missing and damaged blobs again".into()]
            }
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fetch(source) => source.retry_after(),
            Self::Package(source) => source.retry_after(),
            Self::Remote { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}

/// An error as data, for reports about many things of which some failed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// The whole chain, in one line.
    pub message: String,
    /// What it means, for the exit code.
    #[serde(serialize_with = "as_word", deserialize_with = "of_word")]
    pub kind: Kind,
    /// What to do next.
    pub hints: Vec<String>,
}

fn as_word<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

fn of_word<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let word = <String as serde::Deserialize>::deserialize(deserializer)?;
    let found = Kind::ALL.into_iter().find(|kind| kind.to_string() == word);
    found.ok_or_else(|| serde::de::Error::custom(format!("{word:?} is no kind of failure")))
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { message: larder_core::report(error), kind: error.kind(), hints: error.hints() }
    }
}

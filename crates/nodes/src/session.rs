//! A session with `larder-node` on a node, over one connection.

use crate::agent::{
    self, Agent, AgentError, Entry, Hello, Order, Packed, Parcel, Presence, Programs, Source, Stdin, Toll,
};
use crate::archive::{Archive, Content, inflate};
use crate::connection::Output;
use crate::host::{Flow, Input};
use crate::{Connection, Error, Piece, Result, Shipment};
use larder_agent::Unpack;
use larder_core::{Compression, Digest};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout};

/// What nobody used for so long is removed from a spool: long enough to go on with an interrupted delivery.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Smaller blobs are not worth compressing.
const WORTH_PACKING: u64 = 64 << 10;
/// The version of the protocol from which on layers are unpacked.
const CAN_UNPACK: u32 = 2;

/// The programs that can be put on nodes. Looked for when the first node needs one.
#[derive(Debug, Default)]
pub struct NodePrograms {
    /// This one, before all others.
    pub named: Option<PathBuf>,
    /// Where `larder-node-amd64` and `larder-node-arm64` may be.
    pub directories: Vec<PathBuf>,
    /// The running `larder`, where there is no other and the user wants it.
    pub own: Option<PathBuf>,
    found: OnceLock<Programs>,
}

impl NodePrograms {
    /// Programs of these places.
    pub fn new(named: Option<PathBuf>, directories: Vec<PathBuf>, own: Option<PathBuf>) -> Self {
        Self { named, directories, own, found: OnceLock::new() }
    }

    /// Whether there is a small one for an architecture. What cannot be read is told when somebody insists on it.
    pub(crate) fn has(&self, architecture: &str) -> bool {
        let fits = |program: &agent::Program| {
            program.architecture.as_str() == architecture && program.form == agent::Form::Node
        };
        self.find().is_ok_and(|programs| programs.iter().any(fits))
    }

    /// All of them.
    pub(crate) fn find(&self) -> std::result::Result<&Programs, AgentError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = Programs::find(self.named.as_deref(), &self.directories, self.own.as_deref())?;
        Ok(self.found.get_or_init(|| found))
    }
}

/// What was compressed for the way: once for all nodes.
#[derive(Debug, Default)]
pub(crate) struct Packing {
    done: Mutex<HashMap<Digest, Arc<Packed>>>,
}

impl Packing {
    fn of(&self, piece: &Piece) -> Result<Arc<Packed>> {
        let digest = *piece.blob.digest();
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = done.get(&digest) {
            return Ok(packed.clone());
        }
        let file = piece.blob.open().map_err(|source| Error::Store { digest, source })?;
        let directory = std::path::Path::new(crate::archive::SCRATCH);
        let packed = Packed::start(file, piece.blob.size(), directory, 2)
            .map_err(Error::file("write in", directory))?;
        done.insert(digest, packed.clone());
        Ok(packed)
    }
}

/// The session. Dropped, it ends, and what it runs.
pub(crate) struct Session<'a> {
    connection: &'a Connection,
    agent: tokio::sync::Mutex<Agent<ChildStdout, ChildStdin>>,
    _child: Child,
    packing: &'a Packing,
    /// What of the spool this session used.
    used: Mutex<HashSet<Digest>>,
}

impl<'a> Session<'a> {
    /// Starts `larder-node`, and puts it there before if need be.
    pub(crate) async fn start(
        connection: &'a Connection,
        programs: &NodePrograms,
        owner: &str,
        packing: &'a Packing,
    ) -> Result<Self> {
        let node = connection.node();
        let failed = |source| Error::Agent { node: node.name().into(), source };
        let programs = programs.find().map_err(failed)?;
        let mut child = connection.spawn_as_is(&agent::COMMAND)?;
        let reader = child.stdout.take().expect("it is piped");
        let writer = child.stdin.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        // What it complains about comes over the protocol, too; ssh must not wait for anybody to read this.
        tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        let hello = Hello {
            // A node may be called anything, and two names may lead to one machine.
            owner: Some(format!("{owner}-{}", &Digest::of(node.name().as_bytes()).hex()[..16])),
            keep_seconds: Some(KEEP.as_secs()),
            ..Hello::default()
        };
        let patience = connection.idle_timeout();
        let started = agent::start(reader, writer, programs, &node.directory, hello, patience).await;
        let agent = tokio::sync::Mutex::new(started.map_err(failed)?.agent);
        Ok(Self { connection, agent, _child: child, packing, used: Mutex::default() })
    }

    /// Where it leads.
    pub(crate) fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// Runs a program on the node. The blobs of an archive are in the spool before it starts.
    pub(crate) async fn run(&self, argv: &[&str], input: Input<'_>) -> Result<Output> {
        let failed = |source| Error::Agent { node: self.connection.node().name().into(), source };
        let stdin = match input {
            Input::Bytes([]) => Stdin::None,
            Input::Bytes(bytes) => Stdin::Bytes(bytes.to_vec()),
            Input::Archive(archive, flow) => self.send(archive, flow).await?,
        };
        let order = Order::new(argv.iter().copied()).reading(stdin);
        let ran = self.agent.lock().await.run(&order).await.map_err(failed)?;
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        Ok(Output { code: ran.exit.status, stdout: ran.stdout, stderr })
    }

    /// Lets the node unpack layers while they arrive. False if it cannot.
    pub(crate) async fn unpack(&self, order: Unpack) -> Result<bool> {
        let mut agent = self.agent.lock().await;
        if agent.welcome().version < CAN_UNPACK {
            return Ok(false);
        }
        match agent.unpack(order).await {
            Ok(()) => Ok(true),
            Err(AgentError::Failed(_)) => Ok(false),
            Err(source) => Err(Error::Agent { node: self.connection.node().name().into(), source }),
        }
    }

    /// Waits for layers that are being unpacked, and gives their directories; `None` if they could not be.
    pub(crate) async fn unpacked(&self) -> Result<Option<Vec<String>>> {
        match self.agent.lock().await.unpacked().await {
            Ok(unpacked) => Ok(Some(unpacked.directories)),
            Err(AgentError::Failed(_)) => Ok(None),
            Err(source) => Err(Error::Agent { node: self.connection.node().name().into(), source }),
        }
    }

    /// Brings the blobs of an archive into the spool, and says what the archive is made of.
    async fn send(&self, archive: &Archive, flow: &Flow) -> Result<Stdin> {
        let failed = |source| Error::Agent { node: self.connection.node().name().into(), source };
        let (mut entries, mut wanted) = (Vec::new(), Vec::new());
        for member in archive.members() {
            let digest = match &member.content {
                Content::Inline(bytes) => {
                    entries.push((member.path.clone(), Entry::Bytes(bytes.clone())));
                    continue;
                }
                Content::Blob(piece) => *piece.blob.digest(),
                Content::Inflated(_, diff_id) => *diff_id,
            };
            entries.push((member.path.clone(), Entry::Blob(digest)));
            wanted.push((digest, &member.content));
        }
        let digests: Vec<Digest> = wanted.iter().map(|(digest, _)| *digest).collect();
        self.used.lock().unwrap_or_else(PoisonError::into_inner).extend(&digests);
        let mut agent = self.agent.lock().await;
        let presences = agent.have(&digests).await.map_err(failed)?;
        for ((_, content), presence) in wanted.into_iter().zip(presences) {
            let have = match presence {
                Presence::Whole(_) => continue,
                Presence::Part(have) => have,
                Presence::Absent => 0,
            };
            // Opened one after the other, and inflated only where it has to be sent.
            let parcel = match content {
                Content::Inline(_) => continue,
                Content::Blob(piece) => self.parcel(piece)?,
                Content::Inflated(piece, diff_id) => inflated(piece.clone(), *diff_id).await?,
            };
            agent.send(&parcel, have, flow).await.map_err(failed)?;
        }
        Ok(Stdin::Tar(entries))
    }

    fn parcel(&self, piece: &Piece) -> Result<Parcel> {
        let (digest, size) = (*piece.blob.digest(), piece.blob.size());
        let is_plain = piece.media_type.compression() == Some(Compression::None);
        let source = if is_plain && piece.media_type.is_layer() && size >= WORTH_PACKING {
            Source::Packed(self.packing.of(piece)?)
        } else {
            Source::File(Arc::new(piece.blob.open().map_err(|source| Error::Store { digest, source })?))
        };
        Ok(Parcel { digest, size, source })
    }

    /// Gives up what of the spool was used, and what earlier attempts put there of the same images: it is in the runtime now.
    pub(crate) async fn release(&self, shipments: &[Arc<Shipment>]) -> Result<()> {
        let used: Vec<Digest> = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let pieces = shipments.iter().flat_map(|shipment| shipment.pieces());
            used.extend(pieces.map(|piece| *piece.blob.digest()));
            used.drain().collect()
        };
        let failed = |source| Error::Agent { node: self.connection.node().name().into(), source };
        self.agent.lock().await.release(&used).await.map(drop).map_err(failed)
    }
}

/// What is in a layer, inflated by a thread that may block.
async fn inflated(piece: Piece, digest: Digest) -> Result<Parcel> {
    let file = tokio::task::spawn_blocking(move || inflate(&piece, &digest)).await;
    let file = file.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let size = file.metadata().map_err(Error::file("read in", crate::archive::SCRATCH))?.len();
    Ok(Parcel { digest, size, source: Source::File(Arc::new(file)) })
}

impl Toll for Flow {
    fn price(&self, bytes: u64) -> Duration {
        Flow::price(self, bytes)
    }

    fn passed(&self, bytes: u64) {
        (self.advanced)(bytes);
    }
}

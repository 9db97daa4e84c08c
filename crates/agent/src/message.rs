//! What the frames say: requests of the client, replies of the node.

use crate::frame::{Frame, FrameType};
use crate::member::Member;
use larder_core::{Digest, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the protocol. FORMAT: both ends say theirs first, and the lower one holds; 2 has `Unpack` and `Await`.
pub const VERSION: u32 = 2;

/// What the node writes before anything else, so that greetings of a login shell cannot be taken for frames.
pub const PREFACE: &[u8] = b"larder-node/1 ready\n";

/// From the client to the node.
#[derive(Debug, Clone, PartialEq)]
pub enum Request<'a> {
    /// The first one: who asks, and what about.
    Hello(Hello),
    /// Which of these blobs are there?
    Have(Have),
    /// A blob follows: data, then [`Request::End`].
    Blob(BlobHeader),
    /// A stretch of what was announced.
    Data(&'a [u8]),
    /// The end of the data.
    End,
    /// Run a program; bytes for it follow as data, then [`Request::End`].
    Run(Run),
    /// These blobs are not needed any longer.
    Release(Release),
    /// Remove what nobody uses.
    Sweep(Sweep),
    /// Unpack layers while their blobs arrive.
    Unpack(Unpack),
    /// Wait until they are unpacked.
    Await,
    /// The client is alive. Allowed at any time, also between data.
    Ping,
    /// End the running program.
    Cancel,
}

/// From the node to the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<'a> {
    /// To [`Request::Hello`].
    Welcome(Welcome),
    /// To [`Request::Have`].
    Held(Held),
    /// How far a blob is, every second or so: data arrive, another session writes it, or kept bytes are read again.
    Progress(Offset),
    /// The blob is whole and verified.
    Stored(Stored),
    /// What the program wrote to its standard output.
    Stdout(&'a [u8]),
    /// What the program wrote to its standard error.
    Stderr(&'a [u8]),
    /// The program ended.
    Exit(Exit),
    /// To [`Request::Release`].
    Released(Released),
    /// To [`Request::Sweep`].
    Swept(Swept),
    /// To [`Request::Unpack`]: it began.
    Unpacking,
    /// To [`Request::Await`].
    Unpacked(Unpacked),
    /// To [`Request::Ping`].
    Pong,
    /// The request failed; the session goes on unless the code is [`Code::Protocol`] or [`Code::Version`].
    Failure(Failure),
}

/// The first request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hello {
    /// The newest version of the protocol that the client speaks.
    pub version: u32,
    /// Paths whose file systems are of interest; at most 64.
    #[serde(default)]
    pub paths: Vec<String>,
    /// A session of the same owner that is still there (its connection died unnoticed) is ended first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What nobody uses and is older than so many seconds is removed now; by default nothing that may be resumed is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_seconds: Option<u64>,
    /// In the middle of a blob or a program, silence of so many seconds ends the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_seconds: Option<u64>,
}

/// What the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version of the protocol from here on.
    pub version: u32,
    /// The version of the program.
    pub program: String,
    /// As `uname -m` has it.
    pub architecture: String,
    /// As `uname -r` has it.
    pub kernel: String,
    /// Processors that may be used.
    pub processors: u64,
    /// The directory of the spool.
    pub directory: String,
    /// Room for the spool.
    pub spool: Space,
    /// Room at the paths asked for, in their order.
    #[serde(default)]
    pub paths: Vec<Space>,
    /// What was removed of earlier sessions.
    pub swept: Swept,
}

/// Room in a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// The path, or the nearest directory above it that exists.
    pub path: String,
    /// Number of the device: equal numbers share their room.
    pub device: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that this session may use.
    pub free_bytes: u64,
    /// Files that may be made; `None` where the file system does not count them.
    pub free_inodes: Option<u64>,
}

/// Asks for blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// Which.
    pub digests: Vec<Digest>,
}

/// The answer, in the order of the question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// One for each digest.
    pub blobs: Vec<Presence>,
}

/// Whether a blob is in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Whole and verified, with its size in bytes. It stays until this session releases it or ends.
    Whole(u64),
    /// Its first bytes, so many of them; not verified yet.
    Part(u64),
    /// Nothing.
    Absent,
}

/// Announces a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobHeader {
    /// Its digest, of the bytes without the encoding.
    pub digest: Digest,
    /// Its size in bytes, without the encoding.
    pub size: u64,
    /// Where the data begin; at most what the node has of it. What it has beyond is cut off.
    pub offset: u64,
    /// How the data travel.
    pub encoding: Encoding,
}

/// How the bytes of a blob travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As they are.
    Identity,
    /// As zstd frames (RFC 8878) with a window of at most 8 MiB; the first begins at the offset.
    Zstd,
}

/// How far a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// Which.
    pub digest: Digest,
    /// Bytes.
    pub offset: u64,
}

/// A blob is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Which.
    pub digest: Digest,
    /// True if it was there already, or came from another session: the data of this one are not needed.
    pub existing: bool,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The program and its arguments; no shell reads them.
    pub argv: Vec<String>,
    /// Added to the environment.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// What it reads.
    #[serde(default)]
    pub stdin: Input,
    /// What it may cost.
    pub limits: Limits,
}

/// The standard input of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Nothing.
    #[default]
    None,
    /// So many bytes, which follow as data.
    Bytes(u64),
    /// A blob of the spool.
    Blob(Digest),
    /// A tar archive.
    Tar(Vec<Member>),
}

/// Bounds of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// It is ended after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Bytes of its standard output that are sent; the rest is read, counted and thrown away.
    pub stdout_bytes: u64,
    /// As `stdout_bytes`.
    pub stderr_bytes: u64,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit status, unless a signal ended it.
    #[serde(default)]
    pub status: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// What it wrote to its standard output, in bytes, sent or not.
    pub stdout_bytes: u64,
    /// As `stdout_bytes`.
    pub stderr_bytes: u64,
    /// What it read of its input, or is in the pipe, in bytes.
    pub stdin_bytes: u64,
    /// True if all of its input went to it.
    pub stdin_whole: bool,
    /// Why the node ended it, if it did: `time limit` or `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// Gives blobs up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which.
    pub digests: Vec<Digest>,
}

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Released {
    /// Blobs that are gone now.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Blobs that stay because another session uses them.
    pub kept: u64,
}

/// Asks for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Blobs and parts that nobody uses go if they were not touched for so many seconds.
    pub keep_seconds: u64,
}

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Layers to unpack, each into a directory of its own, in the form that overlayfs stacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpack {
    /// Where the directories are made; the directory above it must exist.
    pub directory: String,
    /// Directories of the layers below, the nearest first. None: the first of the layers is the lowest of all.
    pub lowers: Vec<String>,
    /// From the bottom; at most 1000.
    pub layers: Vec<PackedLayer>,
}

/// A layer as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedLayer {
    /// The blob, compressed or not: in the spool, or sent before [`Request::Await`].
    pub blob: Digest,
    /// The digest of what is in it.
    pub diff_id: Digest,
}

/// Layers are unpacked and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// The directory of each. They are there until the session ends or unpacks others, or somebody moves them.
    pub directories: Vec<String>,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: Code,
    /// For people: the whole chain.
    pub words: String,
    /// The blob it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Bytes that the node has of it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<u64>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The bytes do not hash to their name, or their encoding is damaged; what was kept of them is gone.
    WrongBytes,
    /// The data ended early; what came is kept.
    Incomplete,
    /// The blob was to begin beyond what the node has.
    Offset,
    /// The file system is full; what was kept of the blob is gone, so that the node can breathe.
    DiskFull,
    /// A blob that is to be read is not there.
    Absent,
    /// A program that is not there.
    NoProgram,
    /// A program that could not be started.
    Start,
    /// A layer that only makes sense on top of those below.
    Irregular,
    /// A request that goes beyond a bound.
    Limit,
    /// The node may not do it.
    Denied,
    /// The operating system refused something else.
    System,
    /// Not the protocol.
    Protocol,
    /// A version that is not spoken here.
    Version,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

impl Code {
    /// What it means to callers.
    pub fn kind(self) -> Kind {
        match self {
            Self::WrongBytes => Kind::Corrupt,
            Self::Incomplete | Self::DiskFull | Self::System => Kind::Unavailable,
            Self::Offset => Kind::Conflict,
            Self::Absent | Self::NoProgram => Kind::NotFound,
            Self::Start | Self::Irregular | Self::Version | Self::Other => Kind::Unsupported,
            Self::Denied => Kind::Denied,
            Self::Limit | Self::Protocol => Kind::Invalid,
        }
    }
}

/// A whole frame that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Its content is not what its type says.
    #[error("a frame of type {frame_type:?} cannot be read")]
    Content {
        /// Which type.
        frame_type: FrameType,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It goes the other way.
    #[error("a frame of type {0:?} goes the other way")]
    Direction(FrameType),
}

impl<'a> Request<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// If it is a reply, or its content is not what the type says.
    pub fn decode(frame: Frame<'a>) -> Result<Self, MessageError> {
        Ok(match frame.frame_type {
            FrameType::Hello => Self::Hello(parse(frame)?),
            FrameType::Have => Self::Have(parse(frame)?),
            FrameType::Blob => Self::Blob(parse(frame)?),
            FrameType::Data => Self::Data(frame.payload),
            FrameType::End => Self::End,
            FrameType::Run => Self::Run(parse(frame)?),
            FrameType::Release => Self::Release(parse(frame)?),
            FrameType::Sweep => Self::Sweep(parse(frame)?),
            FrameType::Unpack => Self::Unpack(parse(frame)?),
            FrameType::Await => Self::Await,
            FrameType::Ping => Self::Ping,
            FrameType::Cancel => Self::Cancel,
            other => return Err(MessageError::Direction(other)),
        })
    }

    /// The frame, added to `out`. `None` if it would be longer than a frame may be; then nothing is added.
    #[must_use]
    pub fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Hello(hello) => push(out, FrameType::Hello, hello),
            Self::Have(have) => push(out, FrameType::Have, have),
            Self::Blob(header) => push(out, FrameType::Blob, header),
            Self::Data(payload) => push_raw(out, FrameType::Data, payload),
            Self::End => push_raw(out, FrameType::End, &[]),
            Self::Run(run) => push(out, FrameType::Run, run),
            Self::Release(release) => push(out, FrameType::Release, release),
            Self::Sweep(sweep) => push(out, FrameType::Sweep, sweep),
            Self::Unpack(unpack) => push(out, FrameType::Unpack, unpack),
            Self::Await => push_raw(out, FrameType::Await, &[]),
            Self::Ping => push_raw(out, FrameType::Ping, &[]),
            Self::Cancel => push_raw(out, FrameType::Cancel, &[]),
        }
    }
}

impl<'a> Reply<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// If it is a request, or its content is not what the type says.
    pub fn decode(frame: Frame<'a>) -> Result<Self, MessageError> {
        Ok(match frame.frame_type {
            FrameType::Welcome => Self::Welcome(parse(frame)?),
            FrameType::Held => Self::Held(parse(frame)?),
            FrameType::Progress => Self::Progress(parse(frame)?),
            FrameType::Stored => Self::Stored(parse(frame)?),
            FrameType::Stdout => Self::Stdout(frame.payload),
            FrameType::Stderr => Self::Stderr(frame.payload),
            FrameType::Exit => Self::Exit(parse(frame)?),
            FrameType::Released => Self::Released(parse(frame)?),
            FrameType::Swept => Self::Swept(parse(frame)?),
            FrameType::Unpacking => Self::Unpacking,
            FrameType::Unpacked => Self::Unpacked(parse(frame)?),
            FrameType::Pong => Self::Pong,
            FrameType::Failure => Self::Failure(parse(frame)?),
            other => return Err(MessageError::Direction(other)),
        })
    }

    /// The frame, added to `out`. `None` if it would be longer than a frame may be; then nothing is added.
    #[must_use]
    pub fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Welcome(welcome) => push(out, FrameType::Welcome, welcome),
            Self::Held(held) => push(out, FrameType::Held, held),
            Self::Progress(offset) => push(out, FrameType::Progress, offset),
            Self::Stored(stored) => push(out, FrameType::Stored, stored),
            Self::Stdout(payload) => push_raw(out, FrameType::Stdout, payload),
            Self::Stderr(payload) => push_raw(out, FrameType::Stderr, payload),
            Self::Exit(exit) => push(out, FrameType::Exit, exit),
            Self::Released(released) => push(out, FrameType::Released, released),
            Self::Swept(swept) => push(out, FrameType::Swept, swept),
            Self::Unpacking => push_raw(out, FrameType::Unpacking, &[]),
            Self::Unpacked(unpacked) => push(out, FrameType::Unpacked, unpacked),
            Self::Pong => push_raw(out, FrameType::Pong, &[]),
            Self::Failure(failure) => push(out, FrameType::Failure, failure),
        }
    }
}

fn parse<T: DeserializeOwned>(frame: Frame<'_>) -> Result<T, MessageError> {
    serde_json::from_slice(frame.payload)
        .map_err(|source| MessageError::Content { frame_type: frame.frame_type, source })
}

fn push<T: Serialize>(out: &mut Vec<u8>, frame_type: FrameType, message: &T) -> Option<()> {
    let payload = serde_json::to_vec(message).expect("messages are made of strings and numbers");
    push_raw(out, frame_type, &payload)
}

fn push_raw(out: &mut Vec<u8>, frame_type: FrameType, payload: &[u8]) -> Option<()> {
    (payload.len() <= frame_type.limit()).then(|| Frame { frame_type, payload }.encode(out))
}

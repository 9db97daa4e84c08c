//! A client that says exactly what a test wants.

use larder_agent::{
    BlobHeader, Encoding, Frame, FrameType, Frames, Have, Held, Hello, PREFACE, Presence, Release, Released,
    Reply, Request, Run, VERSION, Welcome,
};
use larder_core::Digest;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// One session.
pub(crate) struct Node {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    frames: Frames,
}

/// A reply, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) frame_type: FrameType,
    payload: Vec<u8>,
}

impl Heard {
    pub(crate) fn read(&self) -> Reply<'_> {
        Reply::decode(Frame { frame_type: self.frame_type, payload: &self.payload }).unwrap()
    }

    /// The failure that it must be.
    pub(crate) fn failure(&self) -> larder_agent::Failure {
        match self.read() {
            Reply::Failure(failure) => failure,
            other => panic!("{other:?} is no failure"),
        }
    }

    /// True if the blob was there already; it must be stored now.
    pub(crate) fn existed(&self) -> bool {
        match self.read() {
            Reply::Stored(stored) => stored.existing,
            other => panic!("{other:?} instead of a stored blob"),
        }
    }
}

impl Node {
    /// Starts without a word.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(Path::new(env!("CARGO_BIN_EXE_larder-node")), directory)
    }

    fn start_with(program: &Path, directory: &Path) -> Self {
        let mut child = Command::new(program)
            .args(["serve", "--directory"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = child.stdout.take().unwrap();
        let mut preface = [0; PREFACE.len()];
        output.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        Self { child, input, output, frames: Frames::new() }
    }

    /// Starts and greets.
    pub(crate) fn open(directory: &Path) -> Self {
        Self::open_as(directory, hello()).0
    }

    pub(crate) fn open_as(directory: &Path, hello: Hello) -> (Self, Welcome) {
        let mut node = Self::start(directory);
        let welcome = node.greet(hello);
        (node, welcome)
    }

    /// Starts and greets another copy of the program.
    pub(crate) fn open_with(program: &Path, directory: &Path) -> Self {
        let mut node = Self::start_with(program, directory);
        node.greet(hello());
        node
    }

    fn greet(&mut self, hello: Hello) -> Welcome {
        self.say(&Request::Hello(hello));
        let heard = self.hear().unwrap();
        match heard.read() {
            Reply::Welcome(welcome) => welcome,
            other => panic!("{other:?} is no welcome"),
        }
    }

    pub(crate) fn say(&mut self, request: &Request<'_>) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        self.write(&bytes).unwrap();
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes)?;
        input.flush()
    }

    /// The next reply; `None` at the end.
    pub(crate) fn hear(&mut self) -> Option<Heard> {
        loop {
            if let Some(frame) = self.frames.take().unwrap() {
                return Some(Heard { frame_type: frame.frame_type, payload: frame.payload.to_vec() });
            }
            let space = self.frames.space().unwrap();
            match self.output.read(space).unwrap() {
                0 => return None,
                count => self.frames.filled(count),
            }
        }
    }

    /// The next reply that is more than a sign of life.
    pub(crate) fn answer(&mut self) -> Heard {
        loop {
            let heard = self.hear().expect("an answer");
            if heard.frame_type != FrameType::Progress {
                return heard;
            }
        }
    }

    pub(crate) fn have(&mut self, digests: &[Digest]) -> Vec<Presence> {
        self.say(&Request::Have(Have { digests: digests.to_vec() }));
        match self.answer().read() {
            Reply::Held(Held { blobs }) => blobs,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn release(&mut self, digests: &[Digest]) -> Released {
        self.say(&Request::Release(Release { digests: digests.to_vec() }));
        match self.answer().read() {
            Reply::Released(released) => released,
            other => panic!("{other:?}"),
        }
    }

    /// Announces and sends all of `content` from `offset`.
    pub(crate) fn send(&mut self, digest: Digest, content: &[u8], offset: usize) -> Heard {
        self.say(&Request::Blob(header(digest, content.len(), offset)));
        for piece in content[offset..].chunks(100_000) {
            self.say(&Request::Data(piece));
        }
        self.say(&Request::End);
        self.answer()
    }

    /// Runs with inline bytes; gives standard output, standard error, and how it ended.
    pub(crate) fn run(&mut self, order: Run, inline: &[u8]) -> (Vec<u8>, Vec<u8>, Heard) {
        self.say(&Request::Run(order));
        for piece in inline.chunks(100_000) {
            self.say(&Request::Data(piece));
        }
        self.say(&Request::End);
        self.outcome()
    }

    /// What a program that was started says until its end.
    pub(crate) fn outcome(&mut self) -> (Vec<u8>, Vec<u8>, Heard) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            let heard = self.answer();
            match heard.read() {
                Reply::Stdout(bytes) => out.extend_from_slice(bytes),
                Reply::Stderr(bytes) => err.extend_from_slice(bytes),
                Reply::Pong => {}
                _ => return (out, err, heard),
            }
        }
    }

    /// Closes the input and waits; true if the session ended well.
    pub(crate) fn close(mut self) -> bool {
        self.input = None;
        let mut rest = Vec::new();
        let _ = self.output.read_to_end(&mut rest);
        self.child.wait().unwrap().success()
    }

    /// Closes the input only.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn hello() -> Hello {
    Hello { version: VERSION, ..Hello::default() }
}

pub(crate) fn header(digest: Digest, size: usize, offset: usize) -> BlobHeader {
    BlobHeader { digest, size: size as u64, offset: offset as u64, encoding: Encoding::Identity }
}

/// Bytes that do not repeat and are the same each time.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

//! FORMAT: `HOME/preheat/ID.json`, what a preheat is about and how far it is: for other terminals, for who goes on after a crash,
//! and for a rollback. It is replaced as a whole. `ID.lock` is held while the preheat runs.

use crate::export::replace_file;
use crate::{Error, Failure, Result};
use larder_nodes::{Before, Delivered, RolledBack};
use std::fs::File;
use std::path::{Path, PathBuf};

/// All preheats of a home.
#[derive(Debug, Clone)]
pub struct Preheats {
    directory: PathBuf,
}

/// One preheat.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PreheatState {
    /// The version of this format.
    pub version: u32,
    /// By which it is named.
    pub id: String,
    /// The same for the same images on the same nodes.
    pub plan: String,
    /// How far it is.
    pub phase: PreheatPhase,
    /// Seconds since 1970.
    pub started: u64,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Where the nodes are described.
    pub inventory: PathBuf,
    /// The namespace of containerd, if it is not that of the inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The nodes.
    pub nodes: Vec<PreheatedNode>,
    /// Why nothing was sent to anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How far a preheat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreheatPhase {
    /// The images come into the store.
    Preparing,
    /// They go to the nodes.
    Sending,
    /// What came goes again.
    RollingBack,
    /// All images are on all nodes.
    Done,
    /// They are not.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// Somebody took it back.
    RolledBack,
}

/// One node of a preheat.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PreheatedNode {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub address: String,
    /// By what it is selected.
    pub selector: String,
    /// How far it is.
    pub phase: NodePhase,
    /// How many images it is to have.
    pub images: usize,
    /// What became of each, once it is known.
    pub delivered: Vec<Delivered>,
    /// Bytes that it lacked when it was last asked.
    pub missing: u64,
    /// Bytes of blobs that went there.
    pub sent: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Milliseconds.
    pub elapsed: u64,
    /// What was there before, as soon as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// What was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it is not as it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Failure>,
}

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodePhase {
    /// Nothing happened yet.
    Waiting,
    /// Images go there.
    Sending,
    /// It has all images.
    Done,
    /// It has not, and nothing was done there.
    Failed,
    /// It has not; what came stays.
    Kept,
    /// It is as it was before.
    RolledBack,
    /// It should be as it was before, and is not.
    Stuck,
}

/// What is locked while a preheat runs.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
}

const VERSION: u32 = 1;
/// How many stay that are over.
const KEPT: usize = 50;
/// A larger file is none of ours.
const LIMIT: u64 = 256 << 20;

impl Preheats {
    /// Those of a store's directory.
    pub fn of(home: &Path) -> Self {
        Self { directory: home.join("preheat") }
    }

    /// All of them, the oldest first. What cannot be read is left out.
    pub fn all(&self) -> Result<Vec<PreheatState>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.file("cannot read", &self.directory)(source)),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let ids = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned));
        let mut all: Vec<PreheatState> = ids.filter_map(|id| self.read(&id).ok()).collect();
        all.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        Ok(all)
    }

    /// One of them.
    pub fn read(&self, id: &str) -> Result<PreheatState> {
        let missing = || Error::NoPreheat { id: id.to_owned(), known: self.known() };
        if !is_id(id) {
            return Err(missing());
        }
        let path = self.path(id, "json");
        let wrong = |problem: String| Error::Preheat { path: path.clone(), problem };
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > LIMIT => return Err(wrong("it is too large".into())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
            Err(source) => return Err(self.file("cannot read", &path)(source)),
        }
        let text = std::fs::read(&path).map_err(self.file("cannot read", &path))?;
        let state: PreheatState = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        match state.version == VERSION && state.id == id {
            true => Ok(state),
            false => Err(wrong("another version of larder wrote it".into())),
        }
    }

    /// Whether a process works on it.
    pub fn is_running(&self, id: &str) -> bool {
        let lock = File::open(self.path(id, "lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    /// Asks the process that works on it to stop.
    ///
    /// # Errors
    /// When none does.
    pub fn cancel(&self, id: &str) -> Result<()> {
        self.read(id)?;
        if !self.is_running(id) {
            return Err(Error::NotRunning { id: id.to_owned() });
        }
        let path = self.path(id, "cancel");
        File::create(&path).map(drop).map_err(self.file("cannot create", &path))
    }

    /// Removes the oldest of those that are over, so that a few of them stay.
    pub(crate) fn prune(&self) -> Result<()> {
        let all = self.all()?;
        let over: Vec<&PreheatState> = all.iter().filter(|state| !state.is_open()).collect();
        for state in over.iter().take(over.len().saturating_sub(KEPT)) {
            // One that somebody works on is not over.
            let Ok(_hold) = self.hold(&state.id) else { continue };
            for kind in ["json", "log", "cancel", "lock"] {
                let path = self.path(&state.id, kind);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(self.file("cannot remove", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    pub(crate) fn is_cancelled(&self, id: &str) -> bool {
        self.path(id, "cancel").exists()
    }

    /// Locks it for this process.
    pub(crate) fn hold(&self, id: &str) -> Result<Hold> {
        std::fs::create_dir_all(&self.directory).map_err(self.file("cannot create", &self.directory))?;
        let path = self.path(id, "lock");
        let file = File::create(&path).map_err(self.file("cannot create", &path))?;
        match file.try_lock() {
            Ok(()) => {
                // A wish of former times does not stop this run.
                let _ = std::fs::remove_file(self.path(id, "cancel"));
                Ok(Hold { _file: file })
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Running { id: id.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(self.file("cannot lock", &path)(source)),
        }
    }

    pub(crate) fn write(&self, state: &PreheatState) -> Result<()> {
        let text = serde_json::to_vec(state).expect("texts and numbers are JSON");
        replace_file(&self.path(&state.id, "json"), &text)
    }

    fn path(&self, id: &str, kind: &str) -> PathBuf {
        self.directory.join(format!("{id}.{kind}"))
    }

    fn known(&self) -> Vec<String> {
        self.all().unwrap_or_default().into_iter().rev().take(5).map(|state| state.id).collect()
    }

    fn file(&self, action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    }
}

impl PreheatState {
    pub(crate) fn new(id: String, plan: String, started: u64, inventory: PathBuf) -> Self {
        Self {
            version: VERSION,
            id,
            plan,
            phase: PreheatPhase::Preparing,
            started,
            ended: None,
            inventory,
            namespace: None,
            nodes: Vec::new(),
            failure: None,
        }
    }

    /// Whether something is left to do: it was interrupted, or a node is not as it was before.
    pub fn is_open(&self) -> bool {
        !self.phase.is_final() || self.nodes.iter().any(|node| node.phase == NodePhase::Stuck)
    }

    /// The nodes that lack something, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| {
            node.failure.iter().chain(&node.stuck).map(|failure| (node.node.as_str(), failure))
        })
    }
}

impl PreheatPhase {
    /// Whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Preparing | Self::Sending | Self::RollingBack)
    }

    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Sending => "sending",
            Self::RollingBack => "rolling back",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled back",
        }
    }
}

impl NodePhase {
    /// The word in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Kept => "failed, kept",
            Self::RolledBack => "rolled back",
            Self::Stuck => "not rolled back",
        }
    }
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_listed_and_only_whole_ones_are_read() {
        let home = tempfile::tempdir().unwrap();
        let preheats = Preheats::of(home.path());
        assert!(preheats.all().unwrap().is_empty());
        let hold = preheats.hold("a-1").unwrap();
        assert!(preheats.is_running("a-1") && !preheats.is_running("a-2"));
        assert!(matches!(preheats.hold("a-1"), Err(Error::Running { .. })));
        let state = PreheatState::new("a-1".into(), "x".into(), 5, "nodes.yaml".into());
        preheats.write(&state).unwrap();
        assert_eq!(preheats.all().unwrap(), std::slice::from_ref(&state));
        preheats.cancel("a-1").unwrap();
        assert!(preheats.is_cancelled("a-1"));
        drop(hold);
        assert!(matches!(preheats.cancel("a-1"), Err(Error::NotRunning { .. })));
        assert!(state.is_open());
        std::fs::write(home.path().join("preheat/b.json"), "{}").unwrap();
        assert!(matches!(preheats.read("b"), Err(Error::Preheat { .. })));
        for id in ["", "../a-1", "A", "a.b"] {
            assert!(matches!(preheats.read(id), Err(Error::NoPreheat { .. })), "{id}");
        }
        // Of those that are over, the latest stay; those that are not all do.
        for at in 0..KEPT as u64 + 2 {
            let mut over = PreheatState::new(format!("o-{at}"), "x".into(), 10 + at, "nodes.yaml".into());
            over.phase = PreheatPhase::Done;
            preheats.write(&over).unwrap();
        }
        preheats.prune().unwrap();
        let left: Vec<String> = preheats.all().unwrap().into_iter().map(|state| state.id).collect();
        assert_eq!((left.len(), left[0].as_str(), left[1].as_str()), (KEPT + 1, "a-1", "o-2"));
    }
}

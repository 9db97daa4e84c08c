//! Layers are unpacked by threads of their own, while the session receives their blobs.

use crate::arrivals::{Arrivals, Follower};
use crate::error::{Error, Result};
use crate::inherit::inherit;
use crate::layer::{LayerWriter, Place};
use crate::message::{PackedLayer, Reply, Request, Unpack, Unpacked};
use crate::spool::Spool;
use crate::staging::Staging;
use crate::wire::Wire;
use larder_core::{Digest, Hasher};
use larder_rootfs::{Decoder, Limits};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Layers of one image on their way into directories. Dropped, it ends, and the directories go.
#[derive(Debug)]
pub(crate) struct Job {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
    arrivals: Arrivals,
    lowers: Vec<PathBuf>,
    is_given_up: AtomicBool,
    /// Last: nobody writes there any more when it goes.
    _staging: Staging,
}

#[derive(Debug)]
struct Work {
    tasks: Vec<Task>,
    next: AtomicUsize,
    is_cancelled: AtomicBool,
}

/// A layer, where it goes, and what became of it: the directories that it does not describe.
#[derive(Debug)]
struct Task {
    layer: PackedLayer,
    directory: PathBuf,
    place: Place,
    outcome: Mutex<Option<Result<Inherited>>>,
}

/// Directories that a layer needs and does not describe.
type Inherited = Vec<Box<[u8]>>;

impl Job {
    pub(crate) fn start(order: &Unpack, spool: &Spool, arrivals: &Arrivals) -> Result<Self> {
        if order.layers.len() > LAYERS_LIMIT || order.lowers.len() > LAYERS_LIMIT {
            return Err(Error::Limit { what: "layers to unpack", limit: LAYERS_LIMIT as u64 });
        }
        if !is_privileged() {
            return Err(Error::Unprivileged);
        }
        let staging = Staging::new(Path::new(&order.directory))?;
        let mut tasks = Vec::with_capacity(order.layers.len());
        for (number, layer) in order.layers.iter().enumerate() {
            let place = if number == 0 && order.lowers.is_empty() { Place::Bottom } else { Place::Above };
            let directory = staging.layer(number)?;
            tasks.push(Task { layer: *layer, directory, place, outcome: Mutex::new(None) });
        }
        arrivals.watch(order.layers.iter().map(|layer| layer.blob));
        for layer in &order.layers {
            if let Ok((file, size)) = spool.read(&layer.blob) {
                arrivals.is_whole(&layer.blob, file, size);
            }
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let count = tasks.len().min(processors.clamp(2, THREADS));
        let work = Arc::new(Work { tasks, next: AtomicUsize::new(0), is_cancelled: AtomicBool::new(false) });
        let lowers = order.lowers.iter().map(PathBuf::from).collect();
        let is_given_up = AtomicBool::new(false);
        let mut job = Self {
            work,
            is_given_up,
            threads: Vec::new(),
            arrivals: arrivals.clone(),
            lowers,
            _staging: staging,
        };
        for _ in 0..count {
            let (work, arrivals) = (job.work.clone(), arrivals.clone());
            let builder = std::thread::Builder::new().name("unpack".into());
            let thread = builder.spawn(move || work.run(&arrivals));
            let failed = |source| Error::Start { program: "a thread".into(), source };
            job.threads.push(thread.map_err(failed)?);
        }
        Ok(job)
    }

    /// Ends it soon. From then on blobs may be expected by somebody else.
    pub(crate) fn cancel(&self) {
        self.work.is_cancelled.store(true, Ordering::Relaxed);
        if !self.is_given_up.swap(true, Ordering::Relaxed) {
            self.arrivals.watch([]);
        }
    }

    /// Waits until all layers are unpacked. What did not begin to arrive is not waited for.
    pub(crate) fn wait(&mut self, wire: &mut Wire<'_>) -> Result<Unpacked> {
        self.arrivals.close();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            wire.wait(&[], POLL)?;
            match wire.ready()? {
                None => {}
                Some(Request::Ping) => wire.send(&Reply::Pong)?,
                Some(_) => return Err(Error::Unexpected { what: "another request", expected: "patience" }),
            }
        }
        // The files of blobs: who gives them up wants them to go.
        self.arrivals.watch([]);
        let mut inherited = Vec::new();
        let mut failure = None;
        for task in &self.work.tasks {
            match task.outcome.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(Ok(paths)) => inherited.push(paths),
                // What was given up because another one failed says less.
                Some(Err(Error::NothingToAwait)) | None => {
                    failure = failure.or(Some(Error::NothingToAwait));
                }
                Some(Err(error)) => {
                    failure = failure.filter(|known| !matches!(known, Error::NothingToAwait)).or(Some(error));
                }
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        for (number, paths) in inherited.iter().enumerate() {
            let fresh = self.work.tasks[..number].iter().rev().map(|task| task.directory.as_path());
            let lowers: Vec<&Path> = fresh.chain(self.lowers.iter().map(PathBuf::as_path)).collect();
            inherit(&self.work.tasks[number].directory, paths, &lowers)?;
        }
        let directories = self.work.tasks.iter().map(|task| task.directory.display().to_string());
        Ok(Unpacked { directories: directories.collect() })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancel();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Work {
    fn run(&self, arrivals: &Arrivals) {
        while let Some(task) = self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = self.unpack(task, arrivals.follow(&task.layer.blob));
            let is_whole = outcome.is_ok();
            *task.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            if !is_whole {
                // All or nothing: the rest need not be tried.
                self.is_cancelled.store(true, Ordering::Relaxed);
            }
        }
    }

    fn unpack(&self, task: &Task, blob: Follower) -> Result<Inherited> {
        let limits = limits();
        let mut writer = LayerWriter::new(&task.directory, task.place, &limits)?;
        let mut hasher = Hasher::new(task.layer.diff_id.algorithm());
        let mut decoder = Decoder::new(blob, None, &limits);
        let mut buffer = vec![0; BUFFER];
        loop {
            if self.is_cancelled.load(Ordering::Relaxed) {
                return Err(Error::NothingToAwait);
            }
            let count = decoder.read(&mut buffer).map_err(|error| match error.kind() {
                ErrorKind::NotFound => Error::Absent { digest: task.layer.blob },
                _ => Error::Layer(larder_rootfs::Error::from_io(error)),
            })?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            writer.feed(&buffer[..count])?;
        }
        let inherited = writer.finish()?;
        let (diff_id, actual): (Digest, Digest) = (task.layer.diff_id, hasher.finish());
        if actual != diff_id {
            return Err(Error::DiffId { diff_id, actual: Box::new(actual) });
        }
        Ok(inherited)
    }
}

/// Several layers are unpacked at once on a machine with other work: what takes more is left to others.
fn limits() -> Limits {
    Limits { metadata_bytes: 8 << 20, window_log: 23, ..Limits::default() }
}

/// Root of the machine, not only of a user namespace: overlayfs believes the marks of nobody else.
fn is_privileged() -> bool {
    let all = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    rustix::process::geteuid().is_root() && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(all)
}

const LAYERS_LIMIT: usize = 1000;
const THREADS: usize = 8;
/// Fits the second-level cache together with what the inflater needs.
const BUFFER: usize = 256 << 10;
const POLL: Duration = Duration::from_millis(5);

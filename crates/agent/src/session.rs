//! One session: a client at the other end of two pipes.

use crate::arrivals::Arrivals;
use crate::blob;
use crate::error::{Error, Result};
use crate::message::{
    Have, Held, Hello, PREFACE, Presence, Reply, Request, Space, Unpack, Unpacked, VERSION, Welcome,
};
use crate::run;
use crate::spool::{Spool, is_still, listed, lock, open};
use crate::staging;
use crate::sweep::sweep;
use crate::unpack::Job;
use crate::wire::Wire;
use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where and as what a session runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory of the spool.
    pub directory: PathBuf,
    /// Arguments that make the running program behave as `larder-node` does; none if it is that.
    pub prefix: Vec<OsString>,
    /// The file of the running program, if it is known: it stays, and others in `DIRECTORY/bin` go.
    pub program: Option<PathBuf>,
}

/// Serves one client until it closes `input`. The calling thread must live as long as the process: programs that a session runs
/// end with the thread that started them.
///
/// # Errors
///
/// If the connection breaks in the middle of something, or does not carry the protocol; the client was told where that is possible.
pub fn serve(options: &Options, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> Result<()> {
    let mut wire = Wire::new(input, output);
    wire.send_raw(PREFACE)?;
    let result = converse(options, &mut wire);
    if let Err(error) = &result
        && error.is_fatal()
        && !matches!(error, Error::Closed | Error::Receive(_) | Error::Send(_))
    {
        // The last words; whether they arrive changes nothing.
        let _ = wire.send(&Reply::Failure(error.failure()));
    }
    result
}

fn converse(options: &Options, wire: &mut Wire<'_>) -> Result<()> {
    let hello = match wire.request()? {
        None => return Ok(()),
        Some(Request::Hello(hello)) => hello,
        Some(_) => return Err(Error::Unexpected { what: "another request", expected: "a greeting" }),
    };
    let mut session = match Session::begin(options, hello) {
        Ok((session, welcome)) => {
            wire.idle = session.idle;
            wire.send(&Reply::Welcome(welcome))?;
            session
        }
        Err(error) => {
            // Fatal ones are said by the caller.
            if !error.is_fatal() {
                wire.send(&Reply::Failure(error.failure()))?;
            }
            return Err(error);
        }
    };
    while let Some(request) = wire.request()? {
        let answer = match request {
            Request::Ping => Ok(Reply::Pong),
            Request::Have(have) => session.have(&have),
            Request::Release(release) => session.spool.release(&release.digests).map(Reply::Released),
            Request::Sweep(order) => {
                let keep = Some(Duration::from_secs(order.keep_seconds));
                sweep(&session.spool, options.program.as_deref(), keep).map(Reply::Swept)
            }
            Request::Unpack(order) => session.unpack(&order).map(|()| Reply::Unpacking),
            Request::Await => match session.unpacked(wire) {
                Err(error) if error.is_fatal() => return Err(error),
                outcome => outcome.map(Reply::Unpacked),
            },
            Request::Blob(header) => {
                blob::receive(wire, &mut session.spool, &session.arrivals, &header)?;
                continue;
            }
            Request::Run(order) => {
                run::run(wire, &mut session.spool, &options.prefix, &order)?;
                continue;
            }
            // The program ended before its end was asked for.
            Request::Cancel => continue,
            Request::Data(_) | Request::End | Request::Hello(_) => {
                return Err(Error::Unexpected { what: "data or a greeting", expected: "a request" });
            }
        };
        match answer {
            Ok(reply) => wire.send(&reply)?,
            Err(error) => wire.send(&Reply::Failure(error.failure()))?,
        }
    }
    Ok(())
}

/// What a session holds. All of it are locks, which go with the process.
#[derive(Debug)]
struct Session {
    /// Before the spool: what it unpacks ends first.
    job: Option<Job>,
    removals: Removals,
    arrivals: Arrivals,
    spool: Spool,
    idle: Option<Duration>,
    _mark: Mark,
    /// The running program, so that nobody removes it.
    _program: Option<File>,
}

impl Session {
    fn begin(options: &Options, hello: Hello) -> Result<(Self, Welcome)> {
        if hello.version < OLDEST {
            return Err(Error::Version { found: hello.version, known: OLDEST });
        }
        if hello.paths.len() > PATHS_LIMIT {
            return Err(Error::Limit { what: "paths to look at", limit: PATHS_LIMIT as u64 });
        }
        let owner = hello.owner.unwrap_or_default();
        if owner.len() > OWNER_LIMIT || owner.contains('\n') {
            return Err(Error::Limit { what: "bytes of an owner's name", limit: OWNER_LIMIT as u64 });
        }
        let spool = Spool::open(&options.directory)?;
        let program = match &options.program {
            None => None,
            Some(path) => match open(path)? {
                Some(file) if lock(&file, FlockOperation::NonBlockingLockShared, path)? => Some(file),
                _ => None,
            },
        };
        let mark = Mark::set(&options.directory.join("sessions"), &owner)?;
        let swept = sweep(&spool, options.program.as_deref(), hello.keep_seconds.map(Duration::from_secs))?;
        let system = rustix::system::uname();
        let welcome = Welcome {
            version: hello.version.min(VERSION),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: system.machine().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            directory: options.directory.display().to_string(),
            spool: Space::at(&options.directory)?,
            paths: hello.paths.iter().map(|path| Space::at(Path::new(path))).collect::<Result<_>>()?,
            swept,
        };
        let idle = hello.idle_seconds.map(Duration::from_secs);
        let (job, removals, arrivals) = (None, Removals::default(), Arrivals::default());
        Ok((Self { job, removals, arrivals, spool, idle, _mark: mark, _program: program }, welcome))
    }

    /// Unpacks layers from now on, in place of others.
    fn unpack(&mut self, order: &Unpack) -> Result<()> {
        self.give_up();
        let job = Job::start(order, &self.spool, &self.arrivals)?;
        self.job = Some(job);
        let directory = PathBuf::from(&order.directory);
        // What cannot be removed now is there for the next one.
        self.removals.begin(move || drop(staging::sweep(&directory)));
        Ok(())
    }

    fn give_up(&mut self) {
        if let Some(job) = self.job.take() {
            job.cancel();
            self.removals.begin(move || drop(job));
        }
    }

    /// Waits for those layers. What cannot be used does not take room any longer.
    fn unpacked(&mut self, wire: &mut Wire<'_>) -> Result<Unpacked> {
        let outcome = self.job.as_mut().map_or(Err(Error::NothingToAwait), |job| job.wait(wire));
        if outcome.is_err() {
            self.give_up();
        }
        outcome
    }

    fn have(&mut self, have: &Have) -> Result<Reply<'static>> {
        let blobs: Vec<Presence> =
            have.digests.iter().map(|digest| self.spool.look(digest)).collect::<Result<_>>()?;
        for (digest, presence) in have.digests.iter().zip(&blobs) {
            // Another session may have brought it since its layer was asked for; then it does not arrive here.
            if self.arrivals.awaits(digest)
                && matches!(presence, Presence::Whole(_))
                && let Ok((file, size)) = self.spool.read(digest)
            {
                self.arrivals.is_whole(digest, file, size);
            }
        }
        Ok(Reply::Held(Held { blobs }))
    }
}

/// Large trees on their way out: it may take long, and the client wants answers meanwhile. The session ends after them.
#[derive(Debug, Default)]
struct Removals(Vec<JoinHandle<()>>);

impl Removals {
    fn begin(&mut self, remove: impl FnOnce() + Send + 'static) {
        self.0.retain(|removal| !removal.is_finished());
        // Without a thread `remove` is dropped, and what it has with it.
        self.0.extend(std::thread::Builder::new().name("remove".into()).spawn(remove));
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        for removal in self.0.drain(..) {
            let _ = removal.join();
        }
    }
}

/// The mark of a living session: a file named after the process, locked, in which its owner is named.
#[derive(Debug)]
struct Mark {
    path: PathBuf,
    _file: File,
}

impl Mark {
    /// Ends what is left of the owner's earlier session and sets this one's mark.
    fn set(directory: &Path, owner: &str) -> Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| Error::file("make", directory, source))?;
        let text = format!("{}\n{owner}\n", namespace());
        if !owner.is_empty() {
            for (path, name) in listed(directory)? {
                replace(&path, &name, &text)?;
            }
        }
        let path = directory.join(std::process::id().to_string());
        loop {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|source| Error::file("make", &path, source))?;
            // Blocked only by a sweep that is about to remove what a dead session of the same number left.
            if !lock(&file, FlockOperation::LockExclusive, &path)? || !is_still(&file, &path)? {
                continue;
            }
            file.set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()))
                .map_err(|source| Error::file("write", &path, source))?;
            return Ok(Self { path, _file: file });
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // What stays is swept by the next session.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Ends the session with this mark if it is the same owner's: its connection is dead, or its owner would not be here.
fn replace(path: &Path, name: &str, text: &str) -> Result<()> {
    let Some(pid) = name.parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
    let start = Instant::now();
    loop {
        let Some(file) = open(path)? else { return Ok(()) };
        // The lock proves that the process still is the one that wrote the mark.
        let dead = lock(&file, FlockOperation::NonBlockingLockShared, path)?;
        if dead || std::fs::read(path).unwrap_or_default() != text.as_bytes() {
            return Ok(());
        }
        let signal = if start.elapsed() < GRACE { Signal::TERM } else { Signal::KILL };
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
        if start.elapsed() > 2 * GRACE {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Which numbering of processes this one is in: elsewhere the same number is another process.
fn namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid")
        .map(|name| name.display().to_string())
        .unwrap_or_else(|_| format!("unknown-{}", std::process::id()))
}

/// The oldest version that is still spoken.
const OLDEST: u32 = 1;
const PATHS_LIMIT: usize = 64;
const OWNER_LIMIT: usize = 200;
const GRACE: Duration = Duration::from_secs(2);

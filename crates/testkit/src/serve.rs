//! Runs `larder serve` on a free port.

use crate::larder::Home;
use crate::process::{Outcome, Running};
use anyhow::{Context as _, Result, bail};
use larder_core::Reference;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A running `larder serve`. Dropping it kills it; the store is the home's, and stays.
#[derive(Debug)]
pub struct Serve {
    process: Running,
    address: SocketAddr,
}

impl Home {
    /// Starts `larder serve ARGS` on a free port of 127.0.0.1, and returns once it listens. Errors have what it said.
    pub fn serve<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Serve> {
        let listen = ["serve", "--listen", "127.0.0.1:0"].map(OsStr::new).map(OsStr::to_owned);
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let mut process = self.larder(listen.into_iter().chain(args)).limit(Duration::MAX).spawn()?;
        let address = listening(&mut process)?;
        Ok(Serve { process, address })
    }
}

impl Serve {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT`, as written in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A reference to `image` (`repository[:tag][@digest]`) in this registry.
    ///
    /// # Panics
    /// Where `image` is not one.
    pub fn reference(&self, image: &str) -> Reference {
        format!("{}/{image}", self.host()).parse().expect("a repository with a tag or digest")
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal: HUP reads certificates and accounts again, TERM ends it when transfers are done.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// SIGKILL: nothing is finished, nothing is flushed.
    pub fn kill(self) -> Result<Outcome> {
        self.process.kill()
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(mut self) -> Result<Outcome> {
        self.process.signal(Signal::TERM)?;
        self.process.wait()
    }
}

/// Waits for the line that says where it listens.
fn listening(process: &mut Running) -> Result<SocketAddr> {
    let start = Instant::now();
    loop {
        let said = process.stdout();
        let line = said.split_once("listening on ").and_then(|(_, rest)| rest.split_once('\n'));
        if let Some((url, _)) = line {
            let address = url.split_once("://").map_or(url, |(_, address)| address).trim_end_matches('/');
            return address.parse().with_context(|| format!("no address in {said}"));
        }
        if !process.is_running()? || start.elapsed() > READY {
            bail!("larder serve does not start:\n{said}{}", process.stderr());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

const READY: Duration = Duration::from_secs(60);

//! `soak serve`: a registry that is killed at any moment, under pushes and pulls, loses nothing that it acknowledged, serves no
//! wrong byte, and leaves nothing that stays.

mod clients;

use super::{directory, hash_blobs};
use crate::larder::Larder;
use crate::program;
use anyhow::{Context, Result, bail, ensure};
use clients::Clients;
use larder_testkit::Random;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often the server is killed.
    #[arg(long, default_value_t = 500)]
    kills: u32,
    /// Clients that push; as many pull.
    #[arg(long, default_value_t = 4)]
    clients: u64,
}

/// How often everything is looked at, in kills.
const LOOK: u32 = 25;

pub(super) fn run(arguments: &Arguments, binary: &Path, random: &mut Random) -> Result<()> {
    let larder = Larder::new(binary, directory("serve")?.join("larder"));
    println!("store in {}", larder.home().display());
    let clients = Clients::new(random.next_u64());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..arguments.clients {
            let clients = &clients;
            scope.spawn(move || clients.push(number));
            scope.spawn(move || clients.pull(number));
        }
        let outcome = kills(arguments, &larder, &clients, random, start);
        clients.end();
        outcome
    })?;
    finish(arguments, &larder, &clients, start)
}

fn kills(
    arguments: &Arguments,
    larder: &Larder,
    clients: &Clients,
    random: &mut Random,
    start: Instant,
) -> Result<()> {
    for kill in 1..=arguments.kills {
        let server = Server::start(larder)?;
        clients.serve(Some(server.address));
        // From the first request to some hundred of them.
        std::thread::sleep(Duration::from_micros(random.within(2_000..500_000)));
        drop(server);
        clients.serve(None);
        clients.complaint()?;
        if kill % LOOK == 0 {
            // Clients are let in again only after a look at everything since the last one.
            let server = Server::start(larder)?;
            clients.check(server.address, false).with_context(|| format!("after {kill} kills"))?;
            drop(server);
            verify(larder)?;
            println!(
                "{kill} of {} kills, {:.0} s: {}; {} files of uploads and downloads left over",
                arguments.kills,
                start.elapsed().as_secs_f64(),
                clients.counts(),
                unfinished(larder.home())?.len(),
            );
        }
    }
    Ok(())
}

fn finish(arguments: &Arguments, larder: &Larder, clients: &Clients, start: Instant) -> Result<()> {
    let server = Server::start(larder)?;
    clients.check(server.address, true)?;
    verify(larder)?;
    let (blobs, bytes) = hash_blobs(larder.home())?;

    // An upload that broke off may be gone on with for some days; as if they had passed:
    let begun = unfinished(larder.home())?;
    for file in &begun {
        let file = File::options().write(true).open(file)?;
        file.set_modified(SystemTime::now() - Duration::from_secs(90 * 24 * 3600))?;
    }
    program::output(&mut larder.command(["gc"]))?;
    let left = unfinished(larder.home())?;
    ensure!(left.is_empty(), "gc leaves {} files of uploads and downloads: {:?}", left.len(), left.first());
    clients.check(server.address, true).context("after gc")?;
    drop(server);
    program::output(&mut larder.command(["gc"]))?;
    for area in ["leases", "quarantine"] {
        let left = files(&larder.home().join(area))?;
        ensure!(left.is_empty(), "{} files are left under {area}/: {:?}", left.len(), left.first());
    }
    println!(
        "{} kills in {:.0} s: nothing acknowledged is lost, no wrong byte was served; {}.\n{blobs} blobs ({:.0} MB) hash to their \
         names, the audit log verifies, and of {} files that kills left in the middle none is left after gc.",
        arguments.kills,
        start.elapsed().as_secs_f64(),
        clients.counts(),
        bytes as f64 / 1e6,
        begun.len(),
    );
    Ok(())
}

fn verify(larder: &Larder) -> Result<()> {
    program::output(&mut larder.command(["verify"])).context("the store is damaged")?;
    program::output(&mut larder.command(["audit", "verify"])).context("the audit log is damaged")?;
    Ok(())
}

/// What is neither finished nor gone.
fn unfinished(home: &Path) -> Result<Vec<PathBuf>> {
    let mut all = files(&home.join("uploads"))?;
    all.extend(files(&home.join("ingest"))?);
    Ok(all)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// A running `larder serve`; dropping it is a SIGKILL.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(larder: &Larder) -> Result<Self> {
        let mut command = larder.command(["serve", "--offline", "--log", "none", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let Some(port) = line.trim().rsplit(':').next().and_then(|port| port.parse::<u16>().ok()) else {
            let said = child.wait_with_output()?;
            bail!("larder serve does not start: {line}{}", String::from_utf8_lossy(&said.stderr));
        };
        Ok(Self { child, address: (Ipv4Addr::LOCALHOST, port).into() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It cannot have been waited for before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

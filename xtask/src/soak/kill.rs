//! `soak kill`: programs that are killed at any moment lose nothing that was finished, leave nothing unverified behind,
//! and do not fetch again what was already on the disk.

use super::{directory, hash_blobs};
use crate::larder::Larder;
use crate::program;
use crate::relay::Relay;
use anyhow::{Context, Result, bail, ensure};
use larder_core::Compression;
use larder_testkit::{DockerRegistry, ImageBuilder, Layer, Random};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many processes to kill.
    #[arg(long, default_value_t = 500)]
    kills: u32,
}

/// Images, each with a layer of its own and one that it shares with all.
const IMAGES: usize = 4;
const LAYER_BYTES: usize = 12 << 20;
/// Slow enough that most kills land in the middle of a layer.
const LINE_BYTES_PER_SECOND: u64 = 64 << 20;
/// What a pull may fetch again for each layer that was under way: what was between the line and the disk when it died.
const RANGE_BYTES: u64 = 1 << 20;
/// Manifests, configs and headers.
const SMALL_BYTES: u64 = 256 << 10;

pub(super) fn run(arguments: &Arguments, binary: &Path, random: &mut Random) -> Result<()> {
    let trial = Trial::prepare(binary, random)?;
    let mut state = State::default();
    let start = Instant::now();
    while state.kills() < arguments.kills {
        trial.round(&mut state, random).with_context(|| format!("after {} kills", state.kills()))?;
        if state.rounds % 25 == 0 {
            trial.verify()?;
            println!(
                "{} of {} kills, {:.0} s",
                state.kills(),
                arguments.kills,
                start.elapsed().as_secs_f64()
            );
        }
    }
    trial.finish(&state)
}

struct Trial {
    larder: Larder,
    /// Runs as long as this value lives.
    _registry: DockerRegistry,
    relay: Relay,
    references: Vec<String>,
    /// Compressed layers of all images together, each once.
    total_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    rounds: u32,
    killed_pulls: u32,
    killed_collections: u32,
    /// Images that a pull reported complete and nobody removed since.
    complete: BTreeSet<String>,
    fetched_bytes: u64,
    fetched_again_bytes: u64,
    /// The most that one round fetched again.
    most_again_bytes: u64,
}

impl State {
    fn kills(&self) -> u32 {
        self.killed_pulls + self.killed_collections
    }
}

impl Trial {
    fn prepare(binary: &Path, random: &mut Random) -> Result<Self> {
        let directory = directory("kill")?;
        let registry = DockerRegistry::start()?;
        let relay = Relay::start(registry.address())?;
        let mut references = Vec::new();
        let noise = |random: &mut Random| Layer::random(random, LAYER_BYTES, Compression::Gzip);
        let shared = noise(random);
        let mut total_bytes = shared.blob.len() as u64;
        for number in 0..IMAGES {
            let own = noise(random);
            total_bytes += own.blob.len() as u64;
            let image = ImageBuilder::new(random.next_u64()).layer(shared.clone()).layer(own).build();
            let layout = directory.join("layout");
            image.write_layout(&layout, Some("image"))?;
            let name = format!("soak/image{number}:1");
            let mut copy = Command::new("skopeo");
            copy.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
            copy.arg(format!("oci:{}:image", layout.display()));
            program::output(copy.arg(format!("docker://{}/{name}", registry.host())))?;
            references.push(format!("{}/{name}", relay.address()));
            std::fs::remove_dir_all(&layout)?;
        }
        relay.limit(Some(LINE_BYTES_PER_SECOND));
        let larder = Larder::new(binary, directory.join("larder"));
        println!(
            "{IMAGES} images, {:.0} MB of layers, store in {}",
            total_bytes as f64 / 1e6,
            larder.home().display()
        );
        Ok(Self { larder, _registry: registry, relay, references, total_bytes })
    }

    /// Some pulls and a gc at once; each is killed after a time of its own, or ends before.
    fn round(&self, state: &mut State, random: &mut Random) -> Result<()> {
        state.rounds += 1;
        if state.complete.len() == IMAGES {
            // Everything is there: make room, so that there is something to fetch again.
            for reference in std::mem::take(&mut state.complete) {
                program::output(&mut self.larder.command(["remove", &reference]))?;
            }
            program::output(&mut self.larder.command(["gc"]))?;
        }
        // In every other round gc runs beside the pulls and has something to take away. It also takes what dead pulls had
        // finished, so only in the other rounds the bytes on the disk say what pulls fetched twice.
        let collect = random.one_in(2);
        if let Some(reference) = state.complete.iter().next().filter(|_| collect).cloned() {
            program::output(&mut self.larder.command(["remove", &reference]))?;
            state.complete.remove(&reference);
        }
        let held_before = self.held_bytes()?;
        let received_before = self.relay.received();
        let mut running = Vec::new();
        let chosen = random.below(IMAGES as u64) as usize;
        // Two images, or the same one twice: processes share the work.
        for number in [chosen, (chosen + random.below(2) as usize) % IMAGES] {
            let reference = &self.references[number];
            running.push(Running::start(
                &self.larder,
                &["pull", "--quiet", reference],
                Some(reference),
                random,
            )?);
        }
        if collect {
            running.push(Running::start(&self.larder, &["gc", "--quiet"], None, random)?);
        }
        while !running.is_empty() {
            let mut left = Vec::new();
            for mut one in running {
                match one.look()? {
                    Some(Ended::Killed) if one.reference.is_some() => state.killed_pulls += 1,
                    Some(Ended::Killed) => state.killed_collections += 1,
                    Some(Ended::Done) => state.complete.extend(one.reference),
                    None => left.push(one),
                }
            }
            running = left;
            std::thread::sleep(Duration::from_micros(200));
        }
        self.relay.settle();
        let received = self.relay.received() - received_before;
        state.fetched_bytes += received;
        if collect {
            return self.names_are_there(state);
        }
        let gained = self.held_bytes()?.saturating_sub(held_before);
        let again = received.saturating_sub(gained);
        state.fetched_again_bytes += again;
        state.most_again_bytes = state.most_again_bytes.max(again);
        // Two pulls, two layers each, may have been cut off.
        let allowed = 4 * RANGE_BYTES + SMALL_BYTES;
        ensure!(again <= allowed, "{received} bytes came over the line, but the store grew by {gained} only");
        self.names_are_there(state)
    }

    /// Layer bytes on the disk, finished or begun.
    fn held_bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for folder in ["blobs", "ingest"] {
            let path = self.larder.home().join(folder);
            if path.exists() {
                sum += size(&path)?;
            }
        }
        Ok(sum)
    }

    fn names_are_there(&self, state: &State) -> Result<()> {
        let list = self.larder.json(["list"])?.to_string();
        for reference in &state.complete {
            ensure!(list.contains(reference.as_str()), "{reference} was pulled completely and is gone");
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        program::output(&mut self.larder.command(["verify"])).context("the store is damaged")?;
        hash_blobs(self.larder.home())?;
        Ok(())
    }

    fn finish(&self, state: &State) -> Result<()> {
        self.verify()?;
        self.names_are_there(state)?;
        // What is missing now must cost its own size and at most one range for each layer.
        self.relay.limit(None);
        let held = self.held_bytes()?;
        let before = self.relay.received();
        for reference in &self.references {
            program::output(&mut self.larder.command(["pull", "--quiet", reference]))?;
        }
        self.relay.settle();
        let received = self.relay.received() - before;
        let missing = self.total_bytes.saturating_sub(held);
        let allowed = missing + (IMAGES as u64 + 1) * RANGE_BYTES + SMALL_BYTES;
        ensure!(received <= allowed, "{received} bytes fetched where {missing} were missing");
        self.verify()?;
        let (blobs, bytes) = hash_blobs(self.larder.home())?;
        for reference in &self.references {
            let layout = format!("oci:{}:{reference}", self.larder.home().display());
            program::output(Command::new("skopeo").args(["--insecure-policy", "inspect", &layout]))?;
        }
        println!(
            "{} kills in {} rounds ({} of pulls, {} of gc): nothing lost, {blobs} blobs ({:.0} MB) hash to their names, \
             skopeo reads the store.\n{:.0} MB came over the line; without gc {:.1} MB came twice, at most {:.1} MB in one round; \
             the pulls after the last kill fetched {:.1} MB where {:.1} MB were missing.",
            state.kills(),
            state.rounds,
            state.killed_pulls,
            state.killed_collections,
            bytes as f64 / 1e6,
            state.fetched_bytes as f64 / 1e6,
            state.fetched_again_bytes as f64 / 1e6,
            state.most_again_bytes as f64 / 1e6,
            received as f64 / 1e6,
            missing as f64 / 1e6,
        );
        Ok(())
    }
}

/// A process that will be killed unless it ends earlier.
struct Running {
    child: Child,
    reference: Option<String>,
    kill_at: Instant,
    line: String,
}

enum Ended {
    Killed,
    Done,
}

impl Running {
    fn start(
        larder: &Larder,
        arguments: &[&str],
        reference: Option<&str>,
        random: &mut Random,
    ) -> Result<Self> {
        let mut command = larder.command(arguments);
        let line = program::line(&command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        // From the first instruction to after the end: a pull of two layers takes some 400 ms on the slow line, gc a few.
        let microseconds = if reference.is_some() { 450_000 } else { 15_000 };
        let kill_at = Instant::now() + Duration::from_micros(random.below(microseconds));
        Ok(Self { child, reference: reference.map(str::to_owned), kill_at, line })
    }

    /// How it ended, once it did; kills it when its time has come.
    fn look(&mut self) -> Result<Option<Ended>> {
        let status = match self.child.try_wait()? {
            Some(status) => status,
            None if Instant::now() < self.kill_at => return Ok(None),
            None => {
                self.child.kill()?;
                self.child.wait()?
            }
        };
        if status.signal() == Some(SIGKILL) {
            return Ok(Some(Ended::Killed));
        }
        if !status.success() {
            let mut said = String::new();
            if let Some(mut pipe) = self.child.stderr.take() {
                pipe.read_to_string(&mut said)?;
            }
            bail!("{}: {status}\n{said}", self.line);
        }
        Ok(Some(Ended::Done))
    }
}

const SIGKILL: i32 = 9;

/// Size of what is below a directory that others are changing.
fn size(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // A file may be renamed or removed between the listing and the look.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        sum += if metadata.is_dir() { size(&path)? } else { metadata.len() };
    }
    Ok(sum)
}

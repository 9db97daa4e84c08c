//! The floor: what the same bytes cost when nothing is done but the unavoidable — hash the compressed bytes, inflate
//! them, hash what comes out and write it to one file per layer. No network, no parsing, no index, no database.

use crate::program;
use anyhow::{Context, Result};
use flate2::bufread::MultiGzDecoder;
use larder_core::{Algorithm, Hasher};
use larder_store::Reserve;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    way: Way,
    /// Also write the compressed bytes, as every tool does that can push or verify them later.
    #[arg(long)]
    keep_blobs: bool,
    #[arg(long)]
    out: PathBuf,
    layers: Vec<PathBuf>,
}

/// How the work is laid out over threads. The floor is the fastest of them, found by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// One thread for each layer at a time does everything.
    Serial,
    /// Two threads for each layer: one hashes and inflates, the other hashes and writes.
    Pipelined,
    /// As `pipelined`, with ISA-L's `igzip` as the inflating process.
    Igzip,
}

impl Way {
    /// The ways this machine can go.
    pub(crate) fn all() -> Vec<Self> {
        let mut ways = vec![Self::Serial, Self::Pipelined];
        if program::find("igzip").is_some() {
            ways.push(Self::Igzip);
        }
        ways
    }
}

/// The command line that does this in a process of its own, so that it is measured as the tools are.
pub(crate) fn command(way: Way, keep_blobs: bool, out: &Path, layers: &[PathBuf]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find my own program file")?);
    let name = clap::ValueEnum::to_possible_value(&way).context("every way has a name")?;
    command.args(["bench", "floor", "--inside", "--optimized", "--way", name.get_name(), "--out"]).arg(out);
    if keep_blobs {
        command.arg("--keep-blobs");
    }
    command.args(layers);
    Ok(command)
}

/// Does the work.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut layers = Vec::new();
    for file in &arguments.layers {
        layers.push((std::fs::metadata(file).with_context(|| file.display().to_string())?.len(), file));
    }
    // The largest first, so that it is not the one everybody waits for at the end.
    layers.sort();
    let queue = Mutex::new(layers);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            loop {
                let next = queue.lock().expect("nothing panics while it holds the lock").pop();
                let Some((_, file)) = next else { return Ok(()) };
                layer(arguments, file).with_context(|| file.display().to_string())?;
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().try_for_each(|handle| handle.join().expect("a worker does not panic"))
    })
}

fn layer(arguments: &Arguments, file: &Path) -> Result<()> {
    let name = file.file_name().context("a layer without a name")?;
    let blob = arguments.keep_blobs.then(|| Output::create(&arguments.out.join(name))).transpose()?;
    let tar = Output::create(&arguments.out.join(name).with_extension("tar"))?;
    let source = Hashing { inner: File::open(file)?, hasher: Hasher::new(Algorithm::Sha256), copy: blob };
    match arguments.way {
        Way::Serial => serial(source, tar),
        Way::Pipelined => pipelined(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, source)), tar),
        Way::Igzip => {
            let (mut child, output) = igzip(file)?;
            // igzip reads the file itself; the hash of the compressed bytes is taken beside it.
            std::thread::scope(|scope| -> Result<()> {
                let hashing = scope.spawn(|| std::io::copy(&mut { source }, &mut std::io::sink()));
                pipelined(output, tar)?;
                hashing.join().expect("hashing does not panic")?;
                Ok(())
            })?;
            anyhow::ensure!(child.wait()?.success(), "igzip failed");
            Ok(())
        }
    }
}

fn igzip(file: &Path) -> Result<(Child, ChildStdout)> {
    let mut command = Command::new("igzip");
    let mut child = command.arg("-dc").stdin(File::open(file)?).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("igzip has no output")?;
    Ok((child, output))
}

fn serial(source: impl Read, mut tar: Output) -> Result<()> {
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, source));
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = fill(&mut decoder, &mut buffer)?;
        if count == 0 {
            hasher.finish();
            return Ok(());
        }
        hasher.update(&buffer[..count]);
        tar.write(&buffer[..count])?;
    }
}

fn pipelined(mut decoder: impl Read + Send, mut tar: Output) -> Result<()> {
    let (full, filled) = sync_channel::<(Vec<u8>, usize)>(BUFFERS);
    let (empty, emptied) = sync_channel::<Vec<u8>>(BUFFERS);
    for _ in 0..BUFFERS {
        empty.send(vec![0; BUFFER_BYTES])?;
    }
    std::thread::scope(|scope| {
        let inflating = scope.spawn(move || -> Result<()> {
            for mut buffer in emptied {
                let count = fill(&mut decoder, &mut buffer)?;
                if count == 0 || full.send((buffer, count)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for (buffer, count) in filled {
            hasher.update(&buffer[..count]);
            tar.write(&buffer[..count])?;
            // The other end is gone once everything is inflated.
            let _ = empty.send(buffer);
        }
        hasher.finish();
        inflating.join().expect("inflating does not panic")
    })
}

/// Reads until the buffer is full or the input ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// A file that is written as larder writes its own.
struct Output {
    file: File,
    reserve: Reserve,
    size: u64,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self { file, reserve: Reserve::default(), size: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.size += bytes.len() as u64;
        self.reserve.ahead(&self.file, self.size, None);
        self.file.write_all(bytes)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        std::mem::take(&mut self.reserve).release(&self.file, self.size);
    }
}

/// Hashes what passes through, and keeps a copy if asked.
struct Hashing {
    inner: File,
    hasher: Hasher,
    copy: Option<Output>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if let Some(copy) = &mut self.copy {
            copy.write(&buffer[..count])?;
        }
        Ok(count)
    }
}

/// Small enough to stay in the second-level cache between two threads.
const BUFFER_BYTES: usize = 256 << 10;
const BUFFERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    #[test]
    fn every_way_writes_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let plain: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        let layers = ["one", "two"].map(|name| directory.path().join(name));
        let compressed = encoder.finish().unwrap();
        for layer in &layers {
            std::fs::write(layer, &compressed).unwrap();
        }
        for way in Way::all() {
            let out = directory.path().join(format!("{way:?}"));
            std::fs::create_dir(&out).unwrap();
            run(&Arguments { way, keep_blobs: true, out: out.clone(), layers: layers.to_vec() }).unwrap();
            assert!(std::fs::read(out.join("one.tar")).unwrap() == plain, "{way:?}");
            assert!(std::fs::read(out.join("two")).unwrap() == compressed, "{way:?}");
        }
    }
}

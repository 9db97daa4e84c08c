//! `soak files`: images of very many small files, and the memory it takes to pull, mount and unpack them.

use super::directory;
use crate::larder::Larder;
use crate::program;
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use larder_core::{Algorithm, Hasher};
use larder_testkit::{FaultRegistry, Image, ImageBuilder, Layer, Member, TarBuilder};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many files an image has that is only mounted. A tenth of them is also written to the disk, which takes longer.
    #[arg(long, default_value_t = 1_000_000)]
    files: u32,
    /// The most that any of these processes may have in memory.
    #[arg(long, default_value_t = 200)]
    megabytes: u64,
}

/// How the files lie.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A thousand in each directory.
    Directories,
    /// All in one directory.
    Flat,
    /// Below long paths, each with an owner, a time to the nanosecond and an extended attribute of its own.
    Attributes,
}

pub(super) fn run(arguments: &Arguments, binary: &Path) -> Result<()> {
    let limit = arguments.megabytes * 1_000_000;
    let few = arguments.files / 10;
    let trials = [
        (Shape::Directories, arguments.files, &["mount", "--driver", "erofs"][..]),
        (Shape::Flat, arguments.files, &["mount", "--driver", "erofs"]),
        (Shape::Attributes, arguments.files, &["mount", "--driver", "erofs"]),
        (Shape::Directories, few, &["mount", "--driver", "overlay"]),
        (Shape::Attributes, few, &["unpack"]),
    ];
    for (shape, files, command) in trials {
        let image = image(shape, files)?;
        let registry = FaultRegistry::start();
        image.push(&registry, "soak/files", Some("1"));
        let home = directory("files")?;
        let larder = Larder::new(binary, home.join("larder"));
        let place = home.join("root");
        let reference = registry.reference("soak/files:1").to_string();
        let mut whole = larder.command(command);
        whole.args(["--quiet", &reference]).arg(&place);
        let start = Instant::now();
        let peak = peak_bytes(&mut whole)?;
        println!(
            "{files} files, {shape:?}: larder {} in {:.1} s, at most {} MB in memory",
            command.join(" "),
            start.elapsed().as_secs_f64(),
            peak / 1_000_000
        );
        let found = count(&place)?;
        ensure!(found == u64::from(files), "{found} of {files} files are there");
        if command[0] == "mount" {
            program::output(larder.command(["unmount"]).arg(&place))?;
        }
        std::fs::remove_dir_all(&home).context("cannot clean up")?;
        ensure!(peak <= limit, "{} MB are more than {}", peak / 1_000_000, arguments.megabytes);
    }
    Ok(())
}

fn image(shape: Shape, files: u32) -> Result<Image> {
    let mut blob = GzEncoder::new(Vec::new(), Compression::fast());
    let mut diff_id = Hasher::new(Algorithm::Sha256);
    // The tar is never whole in memory.
    for start in (0..files).step_by(1000) {
        let mut tar = TarBuilder::new();
        for file in start..files.min(start + 1000) {
            let content = format!("module.exports = {file};\n");
            let directory = file / 1000;
            tar = match shape {
                Shape::Directories => tar.file(format!("data/{directory:05}/module-{file:07}.js"), content),
                Shape::Flat => tar.file(format!("data/module-{file:07}.js"), content),
                Shape::Attributes => {
                    let path = format!("{}/{directory:05}/file-{file:07}", "directory/".repeat(15));
                    let member = Member::file(path, b"")
                        .owner(u64::from(file), 7)
                        .mtime(1_700_000_000 + i64::from(file), file % 1_000_000_000)
                        .xattr("user.checksum", format!("{file:032x}"));
                    tar.member(&member)
                }
            };
        }
        let last = start + 1000 >= files;
        let piece = if last { tar.build() } else { tar.build_unfinished() };
        diff_id.update(&piece);
        blob.write_all(&piece)?;
    }
    let mut layer = Layer::from_parts(Vec::new(), blob.finish()?, larder_core::Compression::Gzip);
    layer.diff_id = diff_id.finish();
    Ok(ImageBuilder::new(1).layer(layer).build())
}

/// Runs a command to its end; the most memory it had (`VmHWM`, proc(5)), looked at until the end.
fn peak_bytes(command: &mut Command) -> Result<u64> {
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| program::line(command))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) * 1024);
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{} failed", program::line(command));
            return Ok(peak);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Files below a directory.
fn count(directory: &Path) -> Result<u64> {
    let mut files = 0;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => directories.push(entry.path()),
                false => files += 1,
            }
        }
    }
    Ok(files)
}

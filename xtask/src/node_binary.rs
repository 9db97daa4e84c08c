//! `node-binary`: the static program that is sent to nodes, for each architecture that can be built here.

use crate::program;
use crate::workspace::{Workspace, cargo};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Put them into this directory as well.
    #[arg(long, value_name = "DIRECTORY")]
    to: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let built = build()?;
    for (program, size) in &built {
        println!("{} ({} kB)", program.display(), size / 1000);
    }
    if let Some(directory) = &arguments.to {
        put(&built, directory)?;
    }
    Ok(())
}

/// Builds them and puts them beside a binary of larder, where it finds them.
pub(crate) fn beside(larder: &Path) -> Result<()> {
    put(&build()?, larder.parent().context("a binary lies in a directory")?)
}

/// A kind of machine.
struct Target {
    /// As in the names of the files.
    architecture: &'static str,
    triple: &'static str,
    /// The C compiler and linker of Debian for it, where this is another machine.
    cross: &'static str,
}

const TARGETS: [Target; 2] = [
    Target { architecture: "amd64", triple: "x86_64-unknown-linux-gnu", cross: "x86_64-linux-gnu-gcc" },
    Target { architecture: "arm64", triple: "aarch64-unknown-linux-gnu", cross: "aarch64-linux-gnu-gcc" },
];

/// Larger ones would be noticed on slow lines.
const LIMIT: u64 = 2_000_000;

/// The files, with their sizes in bytes.
fn build() -> Result<Vec<(PathBuf, u64)>> {
    let target = Workspace::read()?.target;
    let folder = target.join("node");
    std::fs::create_dir_all(&folder).context("no directory for the binaries")?;
    let mut built = Vec::new();
    for Target { architecture, triple, cross } in TARGETS {
        let is_own = triple.starts_with(std::env::consts::ARCH);
        if !is_own && let Some(lack) = lack(triple, cross)? {
            eprintln!("larder-node-{architecture} is not built: {lack}");
            continue;
        }
        let mut command = cargo();
        // Without libc of its own a static one serves best: any kernel since 3.2, any distribution, an empty root.
        command.env("RUSTFLAGS", "-C target-feature=+crt-static");
        command.args(["build", "--quiet", "--profile", "node", "--package", "larder-agent"]);
        command.args(["--bin", "larder-node", "--target", triple]);
        if !is_own {
            let variable = triple.replace('-', "_");
            command.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), cross);
            command.env(format!("CC_{variable}"), cross);
        }
        program::run(&mut command)?;
        let file = folder.join(format!("larder-node-{architecture}"));
        replace(&target.join(triple).join("node/larder-node"), &file)?;
        if is_own {
            check(&file)?;
        }
        let size = std::fs::metadata(&file)?.len();
        ensure!(size <= LIMIT, "{} has {size} bytes, more than {LIMIT}", file.display());
        built.push((file, size));
    }
    Ok(built)
}

/// What is missing to build for another machine, if anything is.
fn lack(triple: &str, cross: &str) -> Result<Option<String>> {
    let mut command = Command::new("rustc");
    let folder = program::output(command.args(["--print", "target-libdir", "--target", triple]))?;
    if !Path::new(folder.trim()).is_dir() {
        return Ok(Some(format!("`rustup target add {triple}` installs Rust's standard library for it")));
    }
    if program::find(cross).is_none() {
        return Ok(Some(format!("there is no {cross}")));
    }
    Ok(None)
}

/// It has to run where there is nothing else. ld.so says of a static program that it is none of its own.
fn check(file: &Path) -> Result<()> {
    let said = program::output(Command::new(file).arg("--version"))?;
    ensure!(said.starts_with("larder-node "), "{} says {said:?}", file.display());
    // The name of an interpreter is in the first page of whatever needs one.
    let bytes = std::fs::read(file).context("cannot read the binary")?;
    let head = &bytes[..bytes.len().min(4096)];
    let is_static = !head.windows(6).any(|window| window == b"/ld-li");
    ensure!(is_static, "{} is not static", file.display());
    Ok(())
}

fn put(built: &[(PathBuf, u64)], directory: &Path) -> Result<()> {
    for (file, _) in built {
        replace(file, &directory.join(file.file_name().context("it has a name")?))?;
    }
    Ok(())
}

/// By rename: the old one may be running.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, to).with_context(|| format!("cannot write {}", to.display()))
}

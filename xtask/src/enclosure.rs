//! A place from which nothing escapes: own mounts, own processes. When the command ends — also by Ctrl-C, a crash or
//! SIGKILL — the kernel unmounts everything and kills everything that was started inside.

use crate::program;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// The option that marks the command inside; hidden from the help.
pub(crate) const INSIDE: &str = "--inside";

/// Runs this same command line again inside an enclosure. Needs root.
pub(crate) fn enter() -> Result<()> {
    if !program::is_root() {
        bail!(
            "this mounts file systems and needs root: run it with sudo -E env PATH=\"$PATH\" cargo xtask …"
        );
    }
    let this = std::env::current_exe().context("cannot find my own program file")?;
    // The outermost process dies by the signal; --pdeathsig carries that to unshare, --kill-child to the first process
    // inside, and the end of that one ends all others.
    let status = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(this)
        .args(std::env::args_os().skip(1))
        .arg(INSIDE)
        .status()
        .context("cannot start setpriv")?;
    if !status.success() {
        // The command inside has said why.
        #[expect(clippy::exit, reason = "the exit code of the command inside is the answer")]
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

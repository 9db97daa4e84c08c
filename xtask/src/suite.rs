//! Programs that this release of Debian does not have, or has only older: taken from another suite of the same mirror, unpacked
//! beside the system and not installed. They bring their own C library, and are started through that one's loader.

use crate::image::{sources, suite};
use crate::program;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with `containerd` and `ctr` of `suite`; kept for the next time.
pub(crate) fn containerd(wanted: &str, directory: &Path) -> Result<PathBuf> {
    let home = directory.join(format!("containerd-{wanted}"));
    unpack("containerd", wanted, &home, &[("containerd", "--version"), ("ctr", "--version")])
}

/// A directory with `kustomize`, which tests compare with; kept for the next time.
pub(crate) fn kustomize(directory: &Path) -> Result<PathBuf> {
    unpack("kustomize", "sid", &directory.join("kustomize"), &[("kustomize", "version")])
}

/// Unpacks a Debian package of a suite below `home`, and gives the directory with its programs. Each is tried with the argument
/// beside it.
fn unpack(package: &str, wanted: &str, home: &Path, names: &[(&str, &str)]) -> Result<PathBuf> {
    let programs = home.join("bin");
    if names.iter().all(|(name, _)| programs.join(name).exists()) {
        return Ok(programs);
    }
    println!("getting {package} from Debian {wanted}");
    let (state, archives, root) = (home.join("apt"), home.join("archives"), home.join("root"));
    for folder in [state.join("lists/partial"), archives.join("partial"), root.clone(), programs.clone()] {
        std::fs::create_dir_all(folder)?;
    }
    let list = state.join("suite.sources");
    std::fs::write(&list, source(wanted)?)?;
    std::fs::write(state.join("status"), "")?;
    let apt = || {
        let mut command = Command::new("apt-get");
        let mut option = |key: &str, value: &Path| {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        };
        option("Dir::Etc::sourcelist", &list);
        option("Dir::Etc::sourceparts", Path::new("-"));
        option("Dir::State", &state);
        option("Dir::State::status", &state.join("status"));
        option("Dir::Cache", &state.join("cache"));
        option("Dir::Cache::archives", &archives);
        option("APT::Sandbox::User", Path::new("root"));
        command.arg("-qq");
        command
    };
    program::output(apt().arg("update"))?;
    // With an empty list of installed packages, apt names everything that the package needs, down to the C library.
    program::output(apt().args(["install", "-y", "--download-only", "--no-install-recommends", package]))?;
    for entry in std::fs::read_dir(&archives)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            program::output(Command::new("dpkg-deb").arg("-x").args([&file, &root]))?;
        }
    }
    for (name, argument) in names {
        wrapper(&programs.join(name), &root, name)?;
        program::output(Command::new(programs.join(name)).arg(argument))?;
    }
    Ok(programs)
}

/// A script that starts a program of `root` with the libraries of `root`.
fn wrapper(script: &Path, root: &Path, name: &str) -> Result<()> {
    let loader =
        ["lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1"]
            .into_iter()
            .map(|path| root.join(path))
            .find(|path| path.exists())
            .context("the packages bring no loader")?;
    let mut libraries = String::new();
    for triplet in ["x86_64-linux-gnu", "aarch64-linux-gnu"] {
        for folder in ["lib", "usr/lib"] {
            let _ = write!(libraries, "{}:", root.join(folder).join(triplet).display());
        }
    }
    let program = root.join("usr/bin").join(name);
    let libraries = libraries.trim_end_matches(':');
    let line = format!(
        "#!/bin/sh\nexec '{}' --library-path '{libraries}' '{}' \"$@\"\n",
        loader.display(),
        program.display()
    );
    std::fs::write(script, line)?;
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// This machine's own source of Debian, asked for another suite.
fn source(wanted: &str) -> Result<String> {
    let own = suite()?;
    for file in sources(&own)? {
        let text = std::fs::read_to_string(&file)?;
        if let Some(uri) = uri_of(&text, &own) {
            return Ok(format!(
                "Types: deb\nURIs: {uri}\nSuites: {wanted}\nComponents: main\n\
                 Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
            ));
        }
    }
    bail!("no source of {own} names where it comes from")
}

/// The address of `suite` in an apt source, in the old notation or the new.
fn uri_of(text: &str, suite: &str) -> Option<String> {
    for block in text.split("\n\n") {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().split_whitespace()
        };
        if field("Suites:").any(|word| word == suite) {
            return field("URIs:").next().map(str::to_owned);
        }
    }
    for line in text.lines().filter(|line| line.starts_with("deb ")) {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with(['[', ']'])).collect();
        let at = words.iter().position(|word| word.contains("://"))?;
        if words.get(at + 1) == Some(&suite) {
            return Some(words[at].to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_of_sources_are_read() {
        let new = "Types: deb\n# a remark\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\n\
                   Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\n";
        assert_eq!(uri_of(new, "bookworm").unwrap(), "http://mirror.example/debian");
        let old = "deb [signed-by=/k.gpg] http://mirror.example/debian bookworm main\n";
        assert_eq!(uri_of(old, "bookworm").unwrap(), "http://mirror.example/debian");
        assert_eq!(uri_of(old, "sid"), None);
    }
}

//! What files and directories are.

use super::{Input, Trouble};
use crate::{dockerfile, kustomize};
use larder_core::Kind;
use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// One thing to read.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) thing: Thing<'a>,
    /// The user named it, and not only a directory around it.
    pub(super) is_named: bool,
}

/// What there is.
#[derive(Debug)]
pub(super) enum Thing<'a> {
    /// Documents that are no file.
    Text { name: &'a str, bytes: &'a [u8] },
    /// A file of YAML or JSON.
    Manifest(PathBuf),
    /// A recipe for an image.
    Dockerfile(PathBuf),
    /// A chart, a directory or an archive.
    Chart(PathBuf),
    /// A chart that is no file.
    Archive { name: &'a str, bytes: &'a [u8] },
    /// A directory with a kustomization file.
    Kustomization(PathBuf),
}

impl Unit<'_> {
    /// Whether it went into something else.
    pub(super) fn is_part(&self, parts: &HashSet<&PathBuf>) -> bool {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match &self.thing {
            Thing::Text { .. } | Thing::Archive { .. } => false,
            Thing::Manifest(path) | Thing::Dockerfile(path) => parts.contains(&real(path)),
            Thing::Kustomization(path) => {
                let real = real(path);
                parts
                    .iter()
                    .any(|part| part.parent() == Some(&real) && kustomize::is_kustomization_file(part))
            }
            Thing::Chart(path) => {
                let real = real(path);
                parts.iter().any(|part| part.starts_with(&real))
            }
        }
    }
}

/// Largest manifest that is read.
const FILE_LIMIT: u64 = 256 << 20;
/// Directories within directories.
const DEPTH: usize = 64;

/// Lists what there is to read in an input.
pub(super) fn of<'a>(input: &'a Input, units: &mut Vec<Unit<'a>>, troubles: &mut Vec<Trouble>) {
    match input {
        Input::Text { name, bytes } => units.push(named(Thing::Text { name, bytes })),
        Input::Archive { name, bytes } => units.push(named(Thing::Archive { name, bytes })),
        Input::Path(path) => {
            let metadata = match fs::metadata(path) {
                Ok(metadata) => metadata,
                Err(error) => {
                    troubles.push(unreadable(path, &error));
                    return;
                }
            };
            if metadata.is_dir() {
                let (units_before, troubles_before) = (units.len(), troubles.len());
                directory(path, 0, &mut HashSet::new(), units, troubles);
                if units.len() == units_before && troubles.len() == troubles_before {
                    let nothing = "there is no YAML, JSON, chart, kustomization or Dockerfile in it";
                    troubles.push(Trouble::error(path.display().to_string(), nothing).kind(Kind::NotFound));
                }
            } else if is_archive(path) {
                units.push(named(Thing::Chart(path.clone())));
            } else if dockerfile::is_dockerfile(path) {
                units.push(named(Thing::Dockerfile(path.clone())));
            } else if kustomize::is_kustomization_file(path) {
                units.push(named(Thing::Kustomization(beside(path))));
            } else if path.file_name().is_some_and(|name| name == "Chart.yaml") {
                units.push(named(Thing::Chart(beside(path))));
            } else {
                // The file was named: whatever it is called, it is to be read.
                units.push(named(Thing::Manifest(path.clone())));
            }
        }
    }
}

/// The directory of a file.
fn beside(path: &Path) -> PathBuf {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    directory.unwrap_or(Path::new(".")).to_owned()
}

fn named(thing: Thing<'_>) -> Unit<'_> {
    Unit { thing, is_named: true }
}

/// `seen` are the directories that were read, as the file system calls them: links lead to each once.
fn directory(
    path: &Path,
    depth: usize,
    seen: &mut HashSet<PathBuf>,
    units: &mut Vec<Unit<'_>>,
    troubles: &mut Vec<Trouble>,
) {
    let place = || path.display().to_string();
    if depth > DEPTH {
        troubles.push(Trouble::error(place(), format!("directories are nested deeper than {DEPTH}")));
        return;
    }
    match fs::canonicalize(path) {
        Ok(real) => {
            if !seen.insert(real) {
                return;
            }
        }
        Err(error) => {
            troubles.push(unreadable(path, &error));
            return;
        }
    }
    let is_named = depth == 0;
    if path.join("Chart.yaml").is_file() {
        units.push(Unit { thing: Thing::Chart(path.to_owned()), is_named });
        return;
    }
    if kustomize::is_kustomization(path) {
        units.push(Unit { thing: Thing::Kustomization(path.to_owned()), is_named });
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            troubles.push(unreadable(path, &error));
            return;
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            troubles.push(Trouble::error(path.display().to_string(), "cannot find out what it is"));
            continue;
        };
        if kind.is_dir() || kind.is_symlink() && path.is_dir() {
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                directory(&path, depth + 1, seen, units, troubles);
            }
        } else {
            let thing = match () {
                () if kustomize::is_kustomization_file(&path) => continue,
                () if dockerfile::is_dockerfile(&path) => Thing::Dockerfile(path),
                () if is_manifest(&path) => Thing::Manifest(path),
                () if is_archive(&path) => Thing::Chart(path),
                () => continue,
            };
            if !is_regular(&entry.path()) {
                let message = "neither a file nor a directory: it is not read";
                troubles.push(Trouble::error(entry.path().display().to_string(), message));
                continue;
            }
            units.push(Unit { thing, is_named: false });
        }
    }
}

/// Whether reading comes to an end. What is not there is told where it is read.
fn is_regular(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

fn is_manifest(path: &Path) -> bool {
    has_extension(path, &["yaml", "yml", "json"])
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.ends_with(".tgz") || name.ends_with(".tar.gz")
}

/// Whether a path leads to a file that is no archive.
pub(super) fn is_plain(path: &Path) -> bool {
    !is_archive(path) && fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// The bytes of a file of reasonable size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let place = || path.display().to_string();
    let mut bytes = Vec::new();
    let outcome = fs::File::open(path).and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes));
    match outcome {
        Ok(_) if bytes.len() as u64 > FILE_LIMIT => {
            Err(Trouble::error(place(), format!("larger than {} MiB", FILE_LIMIT >> 20)))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Trouble {
    let (message, kind) = match error.kind() {
        ErrorKind::NotFound => ("no such file or directory".to_owned(), Kind::NotFound),
        ErrorKind::PermissionDenied => (format!("cannot read it: {error}"), Kind::Denied),
        _ => (format!("cannot read it: {error}"), Kind::Unavailable),
    };
    Trouble::error(path.display().to_string(), message).kind(kind)
}

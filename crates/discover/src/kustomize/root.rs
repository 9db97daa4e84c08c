//! Directories of kustomizations, and which files they may read (kustomize, api/internal/loader).

use super::fault::Fault;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The directory of a kustomization.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// As it is shown: seen from where the build was started.
    pub(super) shown: PathBuf,
    /// Without symbolic links.
    real: PathBuf,
    /// The directories that led here, the outermost first, this one included.
    visited: Vec<PathBuf>,
    unrestricted: bool,
}

/// What a path of `resources` is.
#[derive(Debug)]
pub(super) enum Found {
    File(Vec<u8>, PathBuf),
    Directory(Root),
}

impl Root {
    pub(super) fn new(path: &Path, unrestricted: bool) -> Result<Self, Fault> {
        let real = path.canonicalize().map_err(|error| read(path, &error))?;
        Ok(Self { shown: path.to_owned(), visited: vec![real.clone()], real, unrestricted })
    }

    /// The directory that a kustomization in this one names.
    pub(super) fn enter(&self, path: &str) -> Result<Self, Fault> {
        match self.find(path)? {
            Found::Directory(root) => Ok(root),
            Found::File(_, path) => Err(Fault::NoFile { path }),
        }
    }

    /// A file or directory that a kustomization names.
    pub(super) fn find(&self, path: &str) -> Result<Found, Fault> {
        let shown = self.shown_path(path);
        let real = match self.real.join(path).canonicalize() {
            Ok(real) => real,
            Err(_) if is_remote(path) => return Err(Fault::Remote { url: path.to_owned() }),
            Err(error) => return Err(read(&shown, &error)),
        };
        if !real.is_dir() {
            return self.load(path).map(|bytes| Found::File(bytes, shown));
        }
        if self.visited.iter().any(|visited| visited.starts_with(&real)) {
            return Err(Fault::Cycle { path: shown });
        }
        let mut visited = self.visited.clone();
        visited.push(real.clone());
        if visited.len() > MOST {
            return Err(Fault::Limit { limit: MOST as u64, what: "kustomizations within each other" });
        }
        Ok(Found::Directory(Self { shown, real, visited, unrestricted: self.unrestricted }))
    }

    /// Reads a file at or below the directory.
    pub(super) fn load(&self, path: &str) -> Result<Vec<u8>, Fault> {
        let shown = self.shown_path(path);
        if is_url(path) {
            return Err(Fault::Remote { url: path.to_owned() });
        }
        let real = self.real.join(path).canonicalize().map_err(|error| read(&shown, &error))?;
        if !self.unrestricted && !real.starts_with(&self.real) {
            return Err(Fault::Outside { path: shown, root: self.shown.clone() });
        }
        let size = fs::metadata(&real).map_err(|error| read(&shown, &error))?;
        if !size.is_file() {
            return Err(Fault::Missing { path: shown });
        }
        if size.len() > FILE_BYTES {
            return Err(Fault::Limit { limit: FILE_BYTES, what: "bytes in one file" });
        }
        fs::read(&real).map_err(|error| read(&shown, &error))
    }

    /// The kustomization file, and its path as it is shown.
    pub(super) fn kustomization(&self) -> Result<(Vec<u8>, PathBuf), Fault> {
        let mut found = NAMES.iter().filter(|name| self.real.join(name).is_file());
        match (found.next(), found.next()) {
            (None, _) => Err(Fault::NoFile { path: self.shown.clone() }),
            (Some(name), None) => Ok((self.load(name)?, self.shown_path(name))),
            _ => Err(Fault::SeveralFiles { path: self.shown.clone() }),
        }
    }

    /// A path as it is shown, without the `..` in it where that can be.
    pub(super) fn shown_path(&self, path: &str) -> PathBuf {
        let mut clean = PathBuf::new();
        for part in self.shown.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir
                    if matches!(clean.components().next_back(), Some(Component::Normal(_))) =>
                {
                    clean.pop();
                }
                part => clean.push(part),
            }
        }
        if clean.as_os_str().is_empty() {
            clean.push(".");
        }
        clean
    }

    /// A path on this machine.
    pub(super) fn real_path(&self, path: &str) -> PathBuf {
        self.real.join(path)
    }
}

/// Whether a directory holds a kustomization.
pub(super) fn is_kustomization(directory: &Path) -> bool {
    NAMES.iter().any(|name| directory.join(name).is_file())
}

fn read(path: &Path, error: &std::io::Error) -> Fault {
    let path = path.to_owned();
    match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Missing { path },
        _ => Fault::Read { path, reason: error.to_string() },
    }
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

/// Whether kustomize would take what is not a path here for a repository.
fn is_remote(path: &str) -> bool {
    is_url(path)
        || path.contains("://")
        || path.starts_with("git@")
        || path.starts_with("git::")
        || path.contains("?ref=")
        || path.contains(".git")
        || (path.contains('/')
            && path.split('/').next().is_some_and(|host| host.contains('.') && host.len() > 2))
}

/// Whether a file of this name is a kustomization file.
pub(super) fn is_kustomization_name(name: &std::ffi::OsStr) -> bool {
    NAMES.iter().any(|known| name == *known)
}

const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Kustomizations within each other.
const MOST: usize = 64;
/// Bytes of a file.
pub(super) const FILE_BYTES: u64 = 64 << 20;

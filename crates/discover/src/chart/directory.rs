//! The files of a chart that lies unpacked in a directory (Helm, pkg/chart/v2/loader/directory.go and internal/sympath).

use super::file::File;
use super::ignore::Ignore;
use super::limits::Limits;
use crate::content;
use crate::error::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Finds every file that `.helmignore` leaves in, in the order of their names. Symbolic links are followed. What the files say is
/// read when it is wanted.
pub(crate) fn read(directory: &Path, limits: &Limits) -> Result<Vec<File>> {
    let root =
        fs::canonicalize(directory).map_err(|source| Error::Read { path: directory.into(), source })?;
    let rules = directory.join(IGNORE);
    let ignore = match content::read_regular(&rules, limits.file_bytes) {
        Ok(text) => {
            Ignore::parse(&text).map_err(|(rule, reason)| Error::Ignore { path: rules, rule, reason })?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ignore::new(),
        Err(source) => return Err(Error::Read { path: rules, source }),
    };
    let mut walk = Walk { root, ignore, limits, files: Vec::new(), bytes: 0, directories: 0 };
    walk.directory(directory, "", 0)?;
    Ok(walk.files)
}

struct Walk<'a> {
    /// The chart's directory without symbolic links.
    root: PathBuf,
    ignore: Ignore,
    limits: &'a Limits,
    files: Vec<File>,
    bytes: u64,
    directories: usize,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, name: &str, depth: usize) -> Result<()> {
        self.directories += 1;
        // Links to directories above would go on for ever.
        if depth > DEPTH || self.directories > self.limits.files {
            let limit = if depth > DEPTH { DEPTH } else { self.limits.files } as u64;
            return Err(Error::Limit {
                what: "directories of a chart",
                limit,
                place: path.display().to_string(),
            });
        }
        let fails = |source| Error::Read { path: path.into(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(fails)? {
            names.push(entry.map_err(fails)?.file_name());
        }
        names.sort_unstable();
        for entry in names {
            let inner = path.join(&entry);
            let entry = entry.to_str().ok_or_else(|| Error::FileName { path: inner.clone() })?;
            let name = if name.is_empty() { entry.to_owned() } else { format!("{name}/{entry}") };
            self.entry(&inner, &name, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str, depth: usize) -> Result<()> {
        let fails = |source| Error::Read { path: path.into(), source };
        let mut metadata = fs::symlink_metadata(path).map_err(fails)?;
        let mut target: Option<PathBuf> = None;
        if metadata.is_symlink() {
            // What is left out needs no target.
            if self.ignore.matches(name, false) && self.ignore.matches(name, true) {
                return Ok(());
            }
            let resolved = fs::canonicalize(path).map_err(fails)?;
            metadata = fs::metadata(&resolved).map_err(fails)?;
            target = Some(resolved);
        }
        if self.ignore.matches(name, metadata.is_dir()) {
            return Ok(());
        }
        if let Some(target) = &target
            && !self.limits.outside_links
            && !target.starts_with(&self.root)
        {
            return Err(Error::OutsideLink { path: path.into(), target: target.clone() });
        }
        if metadata.is_dir() {
            return self.directory(path, name, depth + 1);
        }
        if !metadata.is_file() {
            return Err(Error::Irregular { path: path.into() });
        }
        self.file(target.as_deref().unwrap_or(path), name, metadata.len())
    }

    fn file(&mut self, path: &Path, name: &str, size: u64) -> Result<()> {
        let over = |what, limit| Error::Limit { what, limit, place: path.display().to_string() };
        if self.files.len() >= self.limits.files {
            return Err(over("files of a chart", self.limits.files as u64));
        }
        if size > self.limits.file_bytes {
            return Err(over("bytes of a file of a chart", self.limits.file_bytes));
        }
        self.bytes += size;
        if self.bytes > self.limits.bytes {
            return Err(over("bytes of a chart", self.limits.bytes));
        }
        self.files.push(File::at(name, path.into(), size));
        Ok(())
    }
}

const IGNORE: &str = ".helmignore";
/// Directories within directories.
const DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn chart() -> tempfile::TempDir {
        let chart = tempfile::tempdir().unwrap();
        fs::create_dir_all(chart.path().join("templates/sub")).unwrap();
        for (name, text) in [
            ("Chart.yaml", "\u{feff}name: a"),
            ("templates/b.yaml", "b"),
            ("templates/sub/a.yaml", "a"),
            ("templates/.hidden", ""),
            ("notes.bak", ""),
            (".helmignore", "*.bak\n"),
        ] {
            fs::write(chart.path().join(name), text).unwrap();
        }
        chart
    }

    fn names(files: &[File]) -> Vec<&str> {
        files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn files_come_sorted_without_the_ignored_ones_and_without_marks() {
        let chart = chart();
        let files = read(chart.path(), &Limits::default()).unwrap();
        assert_eq!(names(&files), [".helmignore", "Chart.yaml", "templates/b.yaml", "templates/sub/a.yaml"]);
        assert_eq!(files[1].data().unwrap().as_bytes(), b"name: a");
    }

    #[test]
    fn links_inside_are_followed_and_links_to_elsewhere_refused() {
        let chart = chart();
        symlink("templates/sub", chart.path().join("crds")).unwrap();
        let files = read(chart.path(), &Limits::default()).unwrap();
        assert!(names(&files).contains(&"crds/a.yaml"));
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), chart.path().join("files")).unwrap();
        let error = read(chart.path(), &Limits::default()).unwrap_err();
        assert!(matches!(error, Error::OutsideLink { .. }), "{error}");
        let trusting = Limits { outside_links: true, ..Limits::default() };
        assert!(names(&read(chart.path(), &trusting).unwrap()).contains(&"files/secret"));
    }

    #[test]
    fn a_link_to_the_chart_itself_ends() {
        let chart = chart();
        symlink(".", chart.path().join("again")).unwrap();
        // The system or the limit stops it.
        assert!(read(chart.path(), &Limits::default()).is_err());
    }

    #[test]
    fn limits_hold() {
        let chart = chart();
        for limits in [
            Limits { file_bytes: 6, ..Limits::default() },
            Limits { bytes: 10, ..Limits::default() },
            Limits { files: 2, ..Limits::default() },
        ] {
            assert!(matches!(read(chart.path(), &limits), Err(Error::Limit { .. })), "{limits:?}");
        }
    }
}

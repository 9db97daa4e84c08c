//! One file of a chart, as all loaders give it.

use crate::error::{Error, Result};
use larder_gotemplate::Text;
use std::cell::OnceCell;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::rc::Rc;

/// A file of a chart: where it is below the chart's own directory, and what is in it. Cheap to clone.
#[derive(Clone)]
pub struct File {
    /// Relative to the chart, with `/`: `templates/deployment.yaml`.
    pub name: String,
    content: Rc<Content>,
}

struct Content {
    text: OnceCell<Text>,
    /// Where it is read from by the first who wants it. Most files of a chart are wanted by nobody: other charts that it may
    /// depend on, definitions of resources, documentation.
    path: PathBuf,
    size: u64,
}

impl File {
    /// A file without the UTF-8 byte order mark that Helm takes off, too (pkg/chart/loader/archive).
    pub fn new(name: impl Into<String>, data: &[u8]) -> Self {
        let content = Content {
            text: OnceCell::from(without_mark(data)),
            path: PathBuf::new(),
            size: data.len() as u64,
        };
        Self { name: name.into(), content: Rc::new(content) }
    }

    /// A file of `size` bytes that is read when it is wanted.
    pub(crate) fn at(name: impl Into<String>, path: PathBuf, size: u64) -> Self {
        Self { name: name.into(), content: Rc::new(Content { text: OnceCell::new(), path, size }) }
    }

    /// The same content under another name.
    #[must_use]
    pub(crate) fn renamed(&self, name: String) -> Self {
        Self { name, content: self.content.clone() }
    }

    /// The last component of its name.
    pub fn base(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The number of bytes, those of a byte order mark among them.
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Its bytes, without a byte order mark.
    ///
    /// # Errors
    /// [`Error::Read`], also for a file that has grown since it was found: its size was counted.
    pub fn data(&self) -> Result<&Text> {
        let Content { text, path, size } = &*self.content;
        if let Some(text) = text.get() {
            return Ok(text);
        }
        let fails = |source| Error::Read { path: path.clone(), source };
        let mut data = Vec::with_capacity(usize::try_from(*size).unwrap_or(0) + 1);
        std::fs::File::open(path).map_err(fails)?.take(size + 1).read_to_end(&mut data).map_err(fails)?;
        if data.len() as u64 > *size {
            return Err(fails(std::io::Error::other("it has grown since it was found")));
        }
        Ok(text.get_or_init(|| without_mark(&data)))
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.content.size)
    }
}

fn without_mark(data: &[u8]) -> Text {
    data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data).into()
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_read_when_it_is_wanted_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "\u{feff}one").unwrap();
        let (file, gone) = (File::at("a", path.clone(), 6), File::at("b", directory.path().join("b"), 6));
        assert_eq!(file.data().unwrap().as_bytes(), b"one");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.renamed("c".into()).data().unwrap().as_bytes(), b"one");
        let error = gone.data().unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
    }

    #[test]
    fn what_has_grown_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "four").unwrap();
        let error = larder_core::report(&File::at("a", path, 3).data().unwrap_err());
        assert!(error.ends_with("it has grown since it was found"), "{error}");
    }
}

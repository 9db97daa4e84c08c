//! What the user says of values: files and `--set`, in Helm's order (pkg/cli/values/options.go).

use super::set::{SetError, SetKind, from_json, set};
use super::values::{deep_copy, merged, read_values};
use crate::content;
use crate::error::{Error, Result};
use larder_gotemplate::{Map, Value};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The values a user gives. Whatever the order on the command line, files come first, then `--set-json`, `--set`,
/// `--set-string`, `--set-file` and `--set-literal`; later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `-f`, `--values`.
    pub files: Vec<ValuesFile>,
    /// `--set-json`: `KEY=JSON`, or one JSON object.
    pub json: Vec<String>,
    /// `--set`.
    pub typed: Vec<String>,
    /// `--set-string`.
    pub texts: Vec<String>,
    /// `--set-file`: `KEY=PATH`.
    pub from_files: Vec<String>,
    /// `--set-literal`.
    pub literals: Vec<String>,
}

/// A file with values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuesFile {
    path: PathBuf,
    /// What was read of it already.
    bytes: Option<Arc<[u8]>>,
}

/// A longer file of values is a mistake.
const LIMIT: u64 = 64 << 20;

impl From<PathBuf> for ValuesFile {
    /// The file will be read when its values are wanted.
    fn from(path: PathBuf) -> Self {
        Self { path, bytes: None }
    }
}

impl ValuesFile {
    /// Reads the file, once for all charts: a pipe can be read only once.
    ///
    /// # Errors
    /// A file that is not there or cannot be read, or has more than 64 MiB.
    pub fn read(path: PathBuf) -> Result<Self> {
        let bytes =
            content::read(&path, LIMIT).map_err(|source| Error::Read { path: path.clone(), source })?;
        Ok(Self { path, bytes: Some(bytes.into()) })
    }

    /// What was read already; `name` is what errors call it.
    pub fn given(name: PathBuf, bytes: Vec<u8>) -> Self {
        Self { path: name, bytes: Some(bytes.into()) }
    }

    fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match &self.bytes {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => content::read(&self.path, LIMIT)
                .map(Cow::Owned)
                .map_err(|source| Error::Read { path: self.path.clone(), source }),
        }
    }
}

impl Overrides {
    /// All of them as one map. Reads the files.
    pub fn values(&self) -> Result<Map> {
        let mut values = Map::new();
        for file in &self.files {
            let place = file.path.display().to_string();
            values = merged(&values, &read_values(&place, &file.bytes()?)?);
        }
        // `--set` changes maps in place, and those of files may be shared by several keys of theirs.
        values = deep_copy(&values);
        for text in &self.json {
            let failed = |source| Error::Set { flag: "--set-json", text: text.clone(), source };
            if text.trim_start().starts_with('{') {
                let object = serde_json::from_str(text.trim());
                let object: serde_json::Value =
                    object.map_err(|error| failed(SetError::Json(error.to_string())))?;
                if let Value::Map(object) = from_json(&object) {
                    values = merged(&values, &object);
                }
            } else {
                set(text, SetKind::Json, &values).map_err(failed)?;
            }
        }
        let read = |path: &str| {
            let bytes = content::read(Path::new(path), LIMIT)
                .map_err(|error| SetError::File { path: path.into(), reason: error.to_string() })?;
            Ok(Value::text(bytes))
        };
        for (flag, kind, texts) in [
            ("--set", SetKind::Typed, &self.typed),
            ("--set-string", SetKind::Text, &self.texts),
            ("--set-file", SetKind::File(&read), &self.from_files),
            ("--set-literal", SetKind::Literal, &self.literals),
        ] {
            for text in texts {
                set(text, kind, &values).map_err(|source| Error::Set { flag, text: text.clone(), source })?;
            }
        }
        Ok(values)
    }
}

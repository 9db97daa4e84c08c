//! What the user says of values: files and `--set`, in Helm's order (pkg/cli/values/options.go).

use super::set::{SetError, SetKind, from_json, set};
use super::values::{deep_copy, merged, read_values};
use crate::error::{Error, Result};
use larder_gotemplate::{Map, Value};
use std::fs;
use std::path::PathBuf;

/// The values a user gives. Whatever the order on the command line, files come first, then `--set-json`, `--set`,
/// `--set-string`, `--set-file` and `--set-literal`; later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `-f`, `--values`.
    pub files: Vec<PathBuf>,
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

impl Overrides {
    /// All of them as one map. Reads the files.
    pub fn values(&self) -> Result<Map> {
        let mut values = Map::new();
        for path in &self.files {
            let bytes = fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            values = merged(&values, &read_values(&path.display().to_string(), &bytes)?);
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
            let bytes = fs::read(path)
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

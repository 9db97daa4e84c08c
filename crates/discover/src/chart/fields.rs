//! The fields of a Go struct in a YAML map, as `sigs.k8s.io/yaml` fills them: names are found in any case, and a number or a
//! boolean where a text is wanted becomes one.

use crate::error::{Error, Result};
use larder_gotemplate::yaml::{self, Node};
use std::collections::BTreeMap;

/// A map that a struct is read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(Option<&'a Node>);

impl<'a> Fields<'a> {
    /// `null` has no fields; anything but a map is an error.
    pub(crate) fn of(node: &'a Node) -> Result<Self> {
        if node.is_null() {
            return Ok(Self(None));
        }
        match node.as_map() {
            Some(_) => Ok(Self(Some(node))),
            None => Err(mismatch(node, "", "map")),
        }
    }

    /// Of an empty document.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// The value of a field: of the exact name, or of one that differs in case only. `null` is no value.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        let node = self.0?;
        let found = node.get(name).or_else(|| {
            let mut entries = node.as_map()?.iter().rev();
            let same = |key: &Node| key.as_scalar().is_some_and(|key| key.text.eq_ignore_ascii_case(name));
            entries.find(|(key, _)| same(key)).map(|(_, value)| value)
        });
        found.filter(|node| !node.is_null())
    }

    pub(crate) fn text(&self, name: &'static str, target: &mut String) -> Result<()> {
        if let Some(node) = self.get(name) {
            *target = text(node, name)?;
        }
        Ok(())
    }

    pub(crate) fn texts(&self, name: &'static str, target: &mut Vec<String>) -> Result<()> {
        if let Some(items) = self.list(name)? {
            let one = |item: &Node| if item.is_null() { Ok(String::new()) } else { text(item, name) };
            *target = items.iter().map(one).collect::<Result<_>>()?;
        }
        Ok(())
    }

    pub(crate) fn text_map(&self, name: &'static str, target: &mut BTreeMap<String, String>) -> Result<()> {
        let Some(node) = self.get(name) else { return Ok(()) };
        let entries = node.as_map().ok_or_else(|| mismatch(node, name, "map"))?;
        for (key, value) in entries {
            let value = if value.is_null() { String::new() } else { text(value, name)? };
            target.insert(text(key, name)?, value);
        }
        Ok(())
    }

    pub(crate) fn bool(&self, name: &'static str, target: &mut bool) -> Result<()> {
        if let Some(node) = self.get(name) {
            match yaml::to_value(node) {
                Ok(larder_gotemplate::Value::Bool(value)) => *target = value,
                _ => return Err(mismatch(node, name, "bool")),
            }
        }
        Ok(())
    }

    pub(crate) fn list(&self, name: &'static str) -> Result<Option<&'a [Node]>> {
        let Some(node) = self.get(name) else { return Ok(None) };
        node.as_list().map(Some).ok_or_else(|| mismatch(node, name, "list"))
    }
}

fn text(node: &Node, name: &'static str) -> Result<String> {
    yaml::to_text(node).ok_or_else(|| mismatch(node, name, "string"))
}

fn mismatch(node: &Node, field: &'static str, wanted: &'static str) -> Error {
    let found = if node.as_map().is_some() {
        "object"
    } else if node.as_list().is_some() {
        "array"
    } else {
        match yaml::to_value(node) {
            Ok(larder_gotemplate::Value::Bool(_)) => "bool",
            Ok(larder_gotemplate::Value::Float(_)) => "number",
            _ => "string",
        }
    };
    Error::Field { line: node.line, field, wanted, found }
}

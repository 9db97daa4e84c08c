//! Values: reading files of them, laying one over another, and finding something in them.

use crate::error::{Error, Result};
use larder_gotemplate::{List, Map, Value, yaml};

/// Reads a values file: one or several YAML documents, of which later ones are laid over earlier ones (Helm 4; Helm 3 reads the
/// first one only). `place` names the file in errors.
pub fn read_values(place: &str, bytes: &[u8]) -> Result<Map> {
    let mut values = Map::new();
    let mut line = 0;
    for document in documents(bytes) {
        let fails = |source| Error::Yaml { place: place.into(), first_line: line, source };
        match yaml::parse(document).map_err(fails)? {
            Value::Nil => {}
            Value::Map(map) if values.is_empty() => values = map,
            Value::Map(map) => values = merged(&values, &map),
            other => {
                return Err(Error::NoMap { place: place.into(), found: other.json_kind() });
            }
        }
        line += document.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(values)
}

/// Both maps in one; where both have something, the second counts, and maps are merged (`MergeMaps`). Neither is changed.
pub fn merged(under: &Map, over: &Map) -> Map {
    let result = under.copy();
    for (key, value) in over.entries() {
        let value = match (&value, result.get(&key)) {
            (Value::Map(over), Some(Value::Map(under))) => Value::from(merged(&under, over)),
            _ => value,
        };
        result.set(key, value);
    }
    result
}

/// The map at a path with dots; `None` if there is nothing, or something else (`Values.Table`).
pub fn table(values: &Map, path: &str) -> Option<Map> {
    let mut table = values.clone();
    for name in path.split('.') {
        table = table.get(name)?.as_map()?.clone();
    }
    Some(table)
}

/// What is at a path with dots, unless it is a map (`Values.PathValue`).
pub fn path_value(values: &Map, path: &str) -> Option<Value> {
    let (parent, key) = match path.rsplit_once('.') {
        Some((parent, key)) => (table(values, parent)?, key),
        None => (values.clone(), path),
    };
    parent.get(key).filter(|value| value.as_map().is_none())
}

/// A copy that shares no map with the original: changes to one are not seen in the other.
pub fn deep_copy(map: &Map) -> Map {
    let copy = Map::typed(map.element);
    for (key, value) in map.entries() {
        copy.set(key, deep_copy_value(&value));
    }
    copy
}

fn deep_copy_value(value: &Value) -> Value {
    match value {
        Value::Map(map) => Value::from(deep_copy(map)),
        Value::List(list)
            if list.items().iter().any(|item| matches!(item, Value::Map(_) | Value::List(_))) =>
        {
            Value::from(List::typed(list.element, list.items().iter().map(deep_copy_value).collect()))
        }
        other => other.clone(),
    }
}

/// A stream, split at lines of `---` only, as Kubernetes' reader splits it (apimachinery, `YAMLReader`).
fn documents(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let current = rest?;
        let mut at = 0;
        for line in current.split_inclusive(|byte| *byte == b'\n') {
            let end = at + line.len();
            if line.strip_prefix(b"---").is_some_and(|after| after.trim_ascii().is_empty()) && at > 0 {
                rest = Some(&current[end..]);
                return Some(&current[..at]);
            }
            at = end;
        }
        rest = None;
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emitted(map: &Map) -> String {
        yaml::emit(&Value::from(map.clone())).unwrap()
    }

    #[test]
    fn documents_of_a_values_file_are_laid_over_each_other() {
        let values =
            read_values("v", b"---\na: {x: 1, z: 2}\nl: [1]\n---\na: {z: 3}\nl: [2]\n--- \n# nothing\n")
                .unwrap();
        assert_eq!(emitted(&values), "a:\n  x: 1\n  z: 3\nl:\n- 2\n");
        assert!(read_values("v", b"").unwrap().is_empty());
        let error = read_values("v", b"- a\n").err().unwrap();
        assert!(error.to_string().contains("cannot unmarshal array"), "{error}");
    }

    #[test]
    fn paths_find_maps_or_what_is_no_map() {
        let values = read_values("v", b"a: {b: {c: false}}\n").unwrap();
        assert!(table(&values, "a.b").is_some() && table(&values, "a.b.c").is_none());
        assert!(matches!(path_value(&values, "a.b.c"), Some(Value::Bool(false))));
        assert!(path_value(&values, "a.b").is_none() && path_value(&values, "x").is_none());
    }

    #[test]
    fn a_deep_copy_shares_nothing() {
        let values = read_values("v", b"l: [{a: 1}]\nm: {a: 1}\n").unwrap();
        let copy = deep_copy(&values);
        table(&copy, "m").unwrap().set("a", Value::from(true));
        copy.get("l").unwrap().as_list().unwrap().items()[0].as_map().unwrap().set("a", Value::from(true));
        assert_eq!(emitted(&values), "l:\n- a: 1\nm:\n  a: 1\n");
    }
}

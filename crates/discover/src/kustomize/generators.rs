//! `configMapGenerator` and `secretGenerator` (kustomize, api/internal/generators), and the hash behind a name (api/hasher).

use super::edit;
use super::fault::Fault;
use super::item::{Behavior, Item};
use super::schema::Schema;
use crate::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use larder_core::{Algorithm, Hasher};
use larder_gotemplate::yaml::{self, Node};
use larder_gotemplate::{Map, Value};
use std::collections::BTreeMap;

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generated {
    ConfigMap,
    Secret,
}

/// Makes an object of an entry. `load` reads a file of the kustomization, `defaults` are `generatorOptions`.
pub(super) fn generate(
    kind: Generated,
    entry: &Node,
    defaults: Option<&Node>,
    load: &mut dyn FnMut(&str) -> Result<Vec<u8>, Fault>,
) -> Result<Item, Fault> {
    let line = entry.line;
    let name = edit::text_of(entry, "name").unwrap_or_default();
    let fails = |reason: String| Fault::Generator { name: name.to_owned(), reason };
    if name.is_empty() {
        return Err(fails("it has no name".into()));
    }
    let data = read_data(entry, load, &fails)?;
    let mut node = edit::map(line);
    edit::set_text(&mut node, "apiVersion", "v1", line);
    let (kind_name, secret_type) = match kind {
        Generated::ConfigMap => ("ConfigMap", None),
        Generated::Secret => ("Secret", Some(edit::text_of(entry, "type").unwrap_or("Opaque"))),
    };
    edit::set_text(&mut node, "kind", kind_name, line);
    let mut metadata = edit::map(line);
    edit::set_text(&mut metadata, "name", name, line);
    if let Some(namespace) = edit::text_of(entry, "namespace") {
        edit::set_text(&mut metadata, "namespace", namespace, line);
    }
    let options = entry.get("options");
    for key in ["labels", "annotations"] {
        let pairs = pairs(options, defaults, key);
        if !pairs.is_empty() {
            let mut map = edit::map(line);
            for (key, value) in pairs {
                edit::set_text(&mut map, &key, &value, line);
            }
            edit::set(&mut metadata, key, map);
        }
    }
    edit::set(&mut node, "metadata", metadata);
    if let Some(secret_type) = secret_type {
        edit::set_text(&mut node, "type", secret_type, line);
        edit::set(&mut node, "data", edit::map(line));
    }
    for (key, value) in data {
        let text = String::from_utf8(value);
        let (field, value) = match (kind, text) {
            (Generated::ConfigMap, Ok(text)) => ("data", text),
            (Generated::ConfigMap, Err(error)) => ("binaryData", folded(error.as_bytes())),
            (Generated::Secret, Ok(text)) => ("data", folded(text.as_bytes())),
            (Generated::Secret, Err(error)) => ("data", folded(error.as_bytes())),
        };
        if let Some(map) = edit::map_at(&mut node, field, line) {
            edit::set_text(map, &key, &value, line);
        }
    }
    let is = |key| [options, defaults].iter().flatten().any(|node| edit::text_of(node, key) == Some("true"));
    if is("immutable") {
        edit::set(&mut node, "immutable", edit::plain("true", line));
    }
    let mut item = Item::new(node)?;
    item.hashed = !is("disableNameSuffixHash");
    item.behavior = match edit::text_of(entry, "behavior") {
        Some("merge") => Behavior::Merge,
        Some("replace") => Behavior::Replace,
        _ => Behavior::Create,
    };
    Ok(item)
}

/// Puts a generated object among the others, over the one of its name if it says so.
pub(super) fn absorb(items: &mut Vec<Item>, schema: &Schema, mut item: Item) -> Result<(), Fault> {
    let id = item.id(schema);
    let fails = |reason: &str| Fault::Generator { name: item.name().to_owned(), reason: reason.into() };
    let matches: Vec<usize> =
        (0..items.len()).filter(|at| items[*at].ids(schema).iter().any(|own| own.is(&id))).collect();
    let at = match (matches.as_slice(), item.behavior) {
        ([], Behavior::Create) => {
            items.push(item);
            return Ok(());
        }
        ([], _) => return Err(fails("there is none of that name to merge with or to replace")),
        ([_], Behavior::Create) => return Err(fails("there is one of that name already")),
        ([at], _) => *at,
        _ => return Err(fails("there are several of that name")),
    };
    let old = &items[at];
    inherit(&mut item, old);
    if item.behavior == Behavior::Merge {
        for key in ["data", "binaryData"] {
            let mut merged = old.node.get(key).cloned();
            if let (Some(merged), Some(own)) = (merged.as_mut(), item.node.get(key)) {
                for (key, value) in own.as_map().unwrap_or_default() {
                    edit::set(merged, edit::scalar_text(key).unwrap_or_default(), value.clone());
                }
            }
            if let Some(merged) = merged {
                edit::set(&mut item.node, key, merged);
            }
        }
    }
    item.hashed &= old.hashed;
    item.behavior = old.behavior;
    items[at] = item;
    Ok(())
}

/// Takes name, namespace, labels, annotations and history over (`CopyMergeMetaDataFieldsFrom`).
fn inherit(item: &mut Item, old: &Item) {
    let line = item.node.line;
    for key in ["labels", "annotations"] {
        let mut merged = old.node.get("metadata").and_then(|metadata| metadata.get(key)).cloned();
        if let Some(own) = item.node.get("metadata").and_then(|metadata| metadata.get(key)) {
            let merged = merged.get_or_insert_with(|| edit::map(line));
            for (key, value) in own.as_map().unwrap_or_default() {
                edit::set(merged, edit::scalar_text(key).unwrap_or_default(), value.clone());
            }
        }
        if let (Some(merged), Some(metadata)) = (merged, edit::map_at(&mut item.node, "metadata", line)) {
            edit::set(metadata, key, merged);
        }
    }
    item.set_name(old.name(), line);
    item.set_namespace(old.namespace(), line);
    item.previous.clone_from(&old.previous);
    item.prefixes.clone_from(&old.prefixes);
    item.suffixes.clone_from(&old.suffixes);
    item.variables.clone_from(&old.variables);
}

/// The hash behind the name of a generated object.
pub(super) fn hash(item: &Item) -> Option<String> {
    let text = |key: &str| Value::from(edit::text_of(&item.node, key).unwrap_or_default());
    let field = |key: &str| match item.node.get(key) {
        None => Some(Value::from("")),
        Some(node) => yaml::to_value(node).ok(),
    };
    let map = Map::new();
    map.set("kind", Value::from(item.kind_name()));
    // kustomize looks for a field called `metadata/name`, and there is none.
    map.set("name", Value::from(""));
    map.set("data", field("data")?);
    let more = match item.kind_name() {
        "ConfigMap" => "binaryData",
        "Secret" => {
            map.set("type", text("type"));
            "stringData"
        }
        _ => return None,
    };
    if let Some(Value::Map(value)) = field(more) {
        map.set(more, Value::from(value));
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(json::text(&Value::from(map)).as_bytes());
    let digest = hasher.finish().hex();
    // Letters and digits that cannot be taken for each other, and make no words.
    let letters = digest.chars().take(10).map(|character| match character {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    });
    Some(letters.collect())
}

/// `envs`, `literals` and `files` (kustomize, api/kv).
fn read_data(
    entry: &Node,
    load: &mut dyn FnMut(&str) -> Result<Vec<u8>, Fault>,
    fails: &dyn Fn(String) -> Fault,
) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let list = |key: &str| -> Vec<String> {
        let items = entry.get(key).and_then(Node::as_list).unwrap_or_default();
        items.iter().filter_map(yaml::to_text).collect()
    };
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    let mut environments = list("envs");
    environments.extend(edit::text_of(entry, "env").map(str::to_owned));
    for path in environments {
        let bytes = load(&path)?;
        let text = String::from_utf8(bytes).map_err(|_| fails(format!("{path} is not UTF-8")))?;
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim_start();
            if !line.is_empty() && !line.starts_with('#') {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                pairs.push((key.to_owned(), value.as_bytes().to_vec()));
            }
        }
    }
    for literal in list("literals") {
        let (key, value) = literal
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| fails(format!("{literal:?} is not key=value")))?;
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        pairs.push((key.to_owned(), quoted.unwrap_or(value).as_bytes().to_vec()));
    }
    for file in list("files") {
        let (key, path) = match file.split_once('=') {
            None => (file.rsplit('/').next().unwrap_or(&file), file.as_str()),
            Some((key, path)) if !key.is_empty() && !path.is_empty() && !path.contains('=') => (key, path),
            Some(_) => return Err(fails(format!("{file:?} is not key=path"))),
        };
        pairs.push((key.to_owned(), load(path)?));
    }
    let mut data = BTreeMap::new();
    for (key, value) in pairs {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if key.is_empty() || !key.bytes().all(is_legal) {
            return Err(fails(format!("{key:?} cannot be a key")));
        }
        if data.insert(key.clone(), value).is_some() {
            return Err(fails(format!("the key {key:?} is there twice")));
        }
    }
    Ok(data)
}

/// Labels or annotations: those of the entry win.
fn pairs(options: Option<&Node>, defaults: Option<&Node>, key: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for node in [defaults, options].into_iter().flatten() {
        for (name, value) in node.get(key).and_then(Node::as_map).unwrap_or_default() {
            let name = edit::scalar_text(name).unwrap_or_default();
            pairs.insert(name.to_owned(), yaml::to_text(value).unwrap_or_default());
        }
    }
    pairs
}

/// Base64 in lines, if it takes more than one.
fn folded(bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    if encoded.len() < LINE {
        return encoded;
    }
    let mut out = String::new();
    for at in (0..encoded.len()).step_by(LINE) {
        out.push_str(&encoded[at..encoded.len().min(at + LINE)]);
        out.push('\n');
    }
    out
}

/// Characters of base64 on a line.
const LINE: usize = 70;

//! `replacements`: values copied from a field of one object to fields of others (kustomize, api/filters/replacement).

use super::budget::Budget;
use super::edit;
use super::fault::Fault;
use super::field_path::{self, follow, split};
use super::item::{Id, Item, Kind};
use super::schema::Schema;
use super::selector::Selector;
use larder_gotemplate::yaml::{self, Node, NodeKind, Scalar, Style};

/// Does one replacement.
pub(super) fn apply(
    items: &mut [Item],
    schema: &Schema,
    replacement: &Node,
    budget: &Budget,
) -> Result<(), Fault> {
    let shape = |field: &str, wanted| Fault::Shape { field: field.into(), wanted };
    let targets =
        replacement.get("targets").and_then(Node::as_list).ok_or_else(|| shape("targets", "a list"))?;
    let value = match (replacement.get("source"), replacement.get("sourceValue")) {
        (None, None) | (Some(_), Some(_)) => {
            return Err(shape("source", "there, or sourceValue, and not both"));
        }
        (None, Some(value)) => edit::text(yaml::to_text(value).unwrap_or_default(), value.line),
        (Some(source), None) => read_source(items, schema, source)?,
    };
    // What it leaves behind says where it was put by whom.
    let mut value = value;
    edit::claim(&mut value, replacement.line);
    targets.iter().try_for_each(|target| put(items, schema, target, &value, budget))
}

fn read_source(items: &mut [Item], schema: &Schema, source: &Node) -> Result<Node, Fault> {
    let word = |key| edit::text_of(source, key).unwrap_or_default();
    let kind =
        Kind { group: word("group").into(), version: word("version").into(), kind: word("kind").into() };
    let is_selected = |id: &Id| {
        let namespace = word("namespace");
        let is_there = |id: &Id| {
            namespace.is_empty()
                || id.effective_namespace() == namespace
                || (id.effective_namespace() == "default" && namespace == "default")
        };
        (word("name").is_empty() || word("name") == id.name) && is_there(id) && id.kind.is_selected(&kind)
    };
    let mut chosen: Vec<&mut Item> =
        items.iter_mut().filter(|item| item.ids(schema).iter().any(is_selected)).collect();
    let [item] = chosen.as_mut_slice() else {
        let wanted = format!("{} {}", kind.kind, word("name"));
        return Err(Fault::Matches { what: "source of a replacement", wanted, count: chosen.len() });
    };
    let path = match word("fieldPath") {
        "" => "metadata.name",
        path => path,
    };
    let object = item.id(schema).to_string();
    let missing = || Fault::NoField { path: path.to_owned(), object: object.clone() };
    let found = field_path::find(&mut item.node, &split(path), None, 0).map_err(|_| missing())?;
    let value = found.first().and_then(|at| follow(&mut item.node, at)).ok_or_else(missing)?;
    if edit::is_empty(value) {
        return Err(missing());
    }
    let Some((delimiter, index)) = delimiter(source.get("options")) else { return Ok(value.clone()) };
    let not_one = || Fault::Patch { object: object.clone(), reason: format!("{path} cannot be split") };
    let text = edit::scalar_text(value).ok_or_else(not_one)?;
    let part = usize::try_from(index).ok().and_then(|index| text.split(&delimiter).nth(index));
    Ok(edit::text(part.ok_or_else(not_one)?, value.line))
}

fn put(
    items: &mut [Item],
    schema: &Schema,
    target: &Node,
    value: &Node,
    budget: &Budget,
) -> Result<(), Fault> {
    let select = target.get("select");
    let select = select.ok_or(Fault::Shape { field: "select".into(), wanted: "there for a target" })?;
    let select = Selector::read(select)?;
    let reject = target.get("reject").and_then(Node::as_list).unwrap_or_default();
    let reject: Vec<Selector> = reject.iter().map(Selector::read).collect::<Result<_, _>>()?;
    let options = target.get("options");
    let create = options.is_some_and(|options| edit::text_of(options, "create") == Some("true"));
    let paths: Vec<String> = match target.get("fieldPaths").and_then(Node::as_list) {
        Some(paths) if !paths.is_empty() => {
            paths.iter().filter_map(|path| edit::scalar_text(path).map(str::to_owned)).collect()
        }
        _ => vec!["metadata.name".into()],
    };
    for item in items.iter_mut() {
        let ids = item.ids(schema);
        let is_rejected = reject.iter().any(|reject| {
            (!reject.is_without_labels() && reject.selects_labels(item))
                || (!reject.is_only_labels() && ids.iter().any(|id| reject.selects_id(id)))
        });
        if is_rejected || !select.selects_labels(item) || !ids.iter().any(|id| select.selects_id(id)) {
            continue;
        }
        for path in &paths {
            let object = item.id(schema).to_string();
            let missing = || Fault::NoField { path: path.clone(), object: object.clone() };
            let steps = split(path);
            if put_embedded(&mut item.node, &steps, create, value, budget).is_some() {
                continue;
            }
            let made = create.then_some(value);
            let found = field_path::find(&mut item.node, &steps, made, value.line).map_err(|_| missing())?;
            if found.is_empty() {
                return Err(missing());
            }
            for at in found {
                if let Some(place) = follow(&mut item.node, &at) {
                    // What is there is taken apart and put together again.
                    budget.spend(edit::scalar_text(place).map_or(0, str::len))?;
                    budget.spend_on(value, 1)?;
                    set(place, value, options).map_err(|()| missing())?;
                }
            }
        }
    }
    Ok(())
}

/// Sets what a path leads to within a text that is itself YAML or JSON. `None` if it does not lead there.
fn put_embedded(
    object: &mut Node,
    steps: &[String],
    create: bool,
    value: &Node,
    budget: &Budget,
) -> Option<()> {
    let made = create.then_some(value);
    for length in 1..steps.len() {
        let found = field_path::find(object, &steps[..length], None, 0).ok()?;
        let [at] = found.as_slice() else { continue };
        let place = follow(object, at)?;
        let Some(text) = place.as_scalar().map(|scalar| scalar.text.clone()) else { continue };
        budget.spend(text.len()).ok()?;
        let mut inner = yaml::documents(text.as_bytes(), &yaml::Limits::default()).next()?.ok()?;
        let targets = field_path::find(&mut inner, &steps[length..], made, value.line).ok()?;
        if targets.is_empty() {
            return None;
        }
        for at in targets {
            budget.spend_on(value, 1).ok()?;
            set(follow(&mut inner, &at)?, value, None).ok()?;
        }
        let inner = yaml::to_value(&inner).ok()?;
        let is_json = text.trim_start().starts_with(['{', '[']);
        let new =
            if is_json { crate::json::text(&inner) } else { yaml::emit(&inner).ok()?.trim().to_owned() };
        *place = edit::text(new, value.line);
        return Some(());
    }
    None
}

/// Of a scalar only the text is replaced: a number stays a number and a text a text.
fn set(place: &mut Node, value: &Node, options: Option<&Node>) -> Result<(), ()> {
    let mut value = value.clone();
    if let Some((delimiter, index)) = delimiter(options) {
        let old = edit::scalar_text(place).ok_or(())?;
        let new = edit::scalar_text(&value).ok_or(())?.to_owned();
        let mut parts: Vec<&str> = old.split(&delimiter).collect();
        match usize::try_from(index) {
            Err(_) => parts.insert(0, &new),
            Ok(index) => match parts.get_mut(index) {
                Some(part) => *part = &new,
                None => parts.push(&new),
            },
        }
        value = edit::text(parts.join(&delimiter), value.line);
    }
    let text = edit::scalar_text(&value).unwrap_or_default().to_owned();
    match &mut place.kind {
        NodeKind::Scalar(Scalar { text: old, style, .. })
            if !old.is_empty() || value.as_scalar().is_some() =>
        {
            let was_text = !matches!(style, Style::Plain) || {
                let scalar = Scalar { text: old.clone(), style: *style, tag: None };
                scalar.is_text()
            };
            *old = text;
            *style = if was_text { Style::DoubleQuoted } else { Style::Plain };
            place.line = value.line;
        }
        _ => *place = value,
    }
    Ok(())
}

/// `options.delimiter` and `options.index`.
fn delimiter(options: Option<&Node>) -> Option<(String, i64)> {
    let options = options?;
    let delimiter = edit::text_of(options, "delimiter").filter(|delimiter| !delimiter.is_empty())?;
    let index = edit::text_of(options, "index").and_then(|index| index.parse().ok()).unwrap_or(0);
    Some((delimiter.to_owned(), index))
}

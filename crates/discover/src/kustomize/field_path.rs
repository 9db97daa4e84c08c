//! Paths of replacements: `spec.template.spec.containers.[name=app].image` (kustomize, kyaml/yaml/match.go).

use super::edit;
use larder_gotemplate::yaml::{self, Node, NodeKind};
use regex::Regex;

/// What a path leads to: for each value, the keys and indexes on the way.
pub(super) type Found = Vec<Vec<At>>;

/// One step to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    Key(String),
    Index(usize),
}

/// What the last step of a path is made where it is not there.
pub(super) type Made<'a> = Option<&'a Node>;

/// Splits a path at dots that are not in brackets; brackets around a name go, those around `key=value` stay.
pub(super) fn split(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for part in path.strip_prefix('.').unwrap_or(path).split('.') {
        match parts.last_mut().filter(|last| last.ends_with('\\')) {
            Some(last) => {
                last.pop();
                last.push('.');
                last.push_str(part);
            }
            None => parts.push(part.to_owned()),
        }
    }
    let mut steps = Vec::new();
    let mut parts = parts.into_iter();
    while let Some(part) = parts.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            steps.push(part);
            continue;
        }
        let mut whole = part;
        for part in parts.by_ref() {
            whole.push('.');
            whole.push_str(&part);
            if part.ends_with(']') {
                break;
            }
        }
        steps.push(if whole.contains('=') { whole } else { whole.trim_matches(['[', ']']).to_owned() });
    }
    steps
}

/// All values that a path leads to. With `made`, what is not there is made first, the last step of the kind of `made`.
pub(super) fn find(node: &mut Node, path: &[String], made: Made<'_>, line: u32) -> Result<Found, String> {
    let Some((step, rest)) = path.split_first() else { return Ok(vec![Vec::new()]) };
    let below = |node: &mut Node, at: At| -> Result<Found, String> {
        let found = find(node, rest, made, line)?;
        Ok(found.into_iter().map(|tail| [vec![at.clone()], tail].concat()).collect())
    };
    if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) && node.as_list().is_some() {
        let NodeKind::List(items) = &mut node.kind else { return Ok(Vec::new()) };
        let at: usize = step.parse().map_err(|_| format!("index {step} is too large"))?;
        if at == items.len() && made.is_some() {
            items.push(new_node(rest, made, line));
        }
        let count = items.len();
        let item = items.get_mut(at).ok_or_else(|| format!("index {at} where there are {count} items"))?;
        return below(item, At::Index(at));
    }
    if step == "*" {
        let NodeKind::List(items) = &mut node.kind else {
            return Err(format!("there is no list for {step:?}"));
        };
        let mut found = Vec::new();
        for (at, item) in items.iter_mut().enumerate() {
            found.extend(below(item, At::Index(at))?);
        }
        return Ok(found);
    }
    if let Some((key, value)) = list_entry(step) {
        return find_items(node, &key, &value, made, line, below);
    }
    if node.as_map().is_none() {
        return Err(format!("there is no map for {step:?}"));
    }
    if node.get(step).is_none() {
        if made.is_none() {
            return Ok(Vec::new());
        }
        edit::set(node, step, new_node(rest, made, line));
    }
    match edit::get_mut(node, step) {
        Some(value) => below(value, At::Key(step.clone())),
        None => Ok(Vec::new()),
    }
}

fn find_items(
    node: &mut Node,
    key: &str,
    value: &str,
    made: Made<'_>,
    line: u32,
    below: impl Fn(&mut Node, At) -> Result<Found, String>,
) -> Result<Found, String> {
    let pattern = Regex::new(value).map_err(|_| format!("{value:?} is no regular expression"))?;
    let NodeKind::List(items) = &mut node.kind else {
        return Err(format!("there is no list for [{key}={value}]"));
    };
    let fits = |item: &Node| {
        let text = if key.is_empty() { yaml::to_text(item) } else { item.get(key).and_then(yaml::to_text) };
        text.is_some_and(|text| pattern.is_match(text.trim()))
    };
    let mut found = Vec::new();
    for (at, item) in items.iter_mut().enumerate().filter(|(_, item)| fits(item)) {
        found.extend(if key.is_empty() { vec![vec![At::Index(at)]] } else { below(item, At::Index(at))? });
    }
    if !found.is_empty() || made.is_none() {
        return Ok(found);
    }
    let mut item = edit::text(value, line);
    if !key.is_empty() {
        let named = std::mem::replace(&mut item, edit::map(line));
        edit::set(&mut item, key, named);
    }
    if !fits(&item) {
        return Ok(Vec::new());
    }
    items.push(item);
    let at = items.len() - 1;
    match items.last_mut() {
        Some(item) if !key.is_empty() => below(item, At::Index(at)),
        _ => Ok(vec![vec![At::Index(at)]]),
    }
}

/// What a path that was found leads to.
pub(super) fn follow<'a>(node: &'a mut Node, path: &[At]) -> Option<&'a mut Node> {
    path.iter().try_fold(node, |node, at| match at {
        At::Key(key) => edit::get_mut(node, key),
        At::Index(at) => match &mut node.kind {
            NodeKind::List(items) => items.get_mut(*at),
            _ => None,
        },
    })
}

/// `[key=value]`; the key of `[=value]` is empty.
fn list_entry(step: &str) -> Option<(String, String)> {
    let (key, value) = step.strip_prefix('[')?.strip_suffix(']')?.split_once('=')?;
    Some((key.to_owned(), value.to_owned()))
}

fn new_node(rest: &[String], made: Made<'_>, line: u32) -> Node {
    match (rest.first(), made) {
        (Some(next), _) if list_entry(next).is_some() || next == "*" || next.parse::<usize>().is_ok() => {
            edit::list(line)
        }
        (None, Some(made)) => match made.kind {
            NodeKind::Scalar(_) => edit::text("", line),
            NodeKind::List(_) => edit::list(line),
            NodeKind::Map(_) => edit::map(line),
        },
        _ => edit::map(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_in_brackets_and_behind_backslashes_separate_nothing() {
        assert_eq!(split("spec.[name=a.b].image"), ["spec", "[name=a.b]", "image"]);
        assert_eq!(
            split("metadata.annotations.[example.com/a]"),
            ["metadata", "annotations", "example.com/a"]
        );
        assert_eq!(split("data.a\\.b"), ["data", "a.b"]);
        assert_eq!(split("a.0.b"), ["a", "0", "b"]);
    }
}

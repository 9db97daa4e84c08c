//! Strategic merge patches (kustomize, kyaml/yaml/merge2 and walk): maps are merged, lists of Kubernetes' own kinds by their keys.

use super::edit;
use super::schema::{Keys, Schema, Type};
use larder_gotemplate::yaml::{Node, NodeKind};

/// Lays a patch over an object. `None` if the patch says that it goes.
pub(super) fn merge(schema: &Schema, target: Node, patch: Node) -> Result<Option<Node>, String> {
    let merge = Merge { schema };
    Ok(merge.walk(Some(target), Some(patch), Place::default())?.node)
}

/// Nothing laid over a node: what the directives in it say is done.
struct Merge<'a> {
    schema: &'a Schema,
}

/// Where a node stands, as far as merging goes.
#[derive(Debug, Clone, Copy, Default)]
struct Place<'a> {
    of: Option<Type>,
    keys: Option<&'a Keys>,
}

/// What becomes of a node.
struct Merged {
    node: Option<Node>,
    /// Whether it is what was there, changed, and not something in its place.
    kept: bool,
}

/// What `$patch` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

type Step<T> = Result<T, String>;

impl Merge<'_> {
    fn walk(&self, target: Option<Node>, patch: Option<Node>, place: Place<'_>) -> Step<Merged> {
        let place =
            Place { of: place.of.or_else(|| self.own_type(target.as_ref(), patch.as_ref())), ..place };
        let shaped = [&target, &patch].into_iter().flatten().find(|node| !node.is_null());
        let shape = shaped.map(shape_of);
        for node in [&target, &patch].into_iter().flatten().filter(|node| !node.is_null()) {
            if shape.is_some_and(|shape| shape != shape_of(node)) {
                return Err(format!("{} where there is {}", shape_of(node), shape.unwrap_or_default()));
            }
        }
        match shape {
            Some(LIST) if place.keys.is_some() => self.walk_keyed(target, patch, place),
            Some(LIST | SCALAR) => {
                let kept = patch.is_none();
                Ok(Merged { node: patch.or(target), kept })
            }
            _ => self.walk_map(target, patch, place),
        }
    }

    fn walk_map(&self, target: Option<Node>, mut patch: Option<Node>, place: Place<'_>) -> Step<Merged> {
        let is_there = target.as_ref().is_some_and(|node| !node.is_null());
        let directive = patch.as_mut().map_or(Ok(Directive::Merge), take_directive);
        if !is_there {
            if directive == Ok(Directive::Delete) {
                return Ok(Merged { node: None, kept: false });
            }
            let Some(patch) = patch else { return Ok(Merged { node: target, kept: true }) };
            return Ok(Merged { node: Some(self.clean(patch, place)?), kept: false });
        }
        let Some(patch) = patch else {
            // What the patch does not speak of stays, directives that were meant for it included.
            return Ok(Merged { node: target, kept: true });
        };
        if patch.is_null() {
            return Ok(Merged { node: None, kept: false });
        }
        match directive? {
            Directive::Delete => return Ok(Merged { node: None, kept: false }),
            Directive::Replace => {
                return Ok(Merged { node: Some(self.clean(patch, place)?), kept: false });
            }
            Directive::Merge => {}
        }
        let Some(mut target) = target else { return Ok(Merged { node: None, kept: false }) };
        let NodeKind::Map(changes) = patch.kind else { return Ok(Merged { node: Some(target), kept: true }) };
        for (key, change) in changes {
            let name = edit::scalar_text(&key).unwrap_or_default().to_owned();
            let old = edit::get_mut(&mut target, &name).map(take);
            let merged = self.walk(old, Some(change), self.below(place, &name))?.node;
            put(&mut target, key, &name, merged);
        }
        Ok(Merged { node: Some(target), kept: true })
    }

    /// What is put where nothing was: directives and nulls in it have nothing to work on.
    fn clean(&self, node: Node, place: Place<'_>) -> Step<Node> {
        let place = Place { of: place.of.or_else(|| self.own_type(Some(&node), None)), ..place };
        let Node { line, column, kind } = node;
        let kind = match kind {
            NodeKind::Map(entries) => {
                let mut kept = Vec::new();
                for (key, mut value) in entries {
                    let name = edit::scalar_text(&key).unwrap_or_default().to_owned();
                    let is_map = value.as_map().is_some();
                    if value.is_null() || (is_map && take_directive(&mut value)? == Directive::Delete) {
                        continue;
                    }
                    kept.push((key, self.clean(value, self.below(place, &name))?));
                }
                NodeKind::Map(kept)
            }
            NodeKind::List(items) if place.keys.is_some_and(|keys| !keys.is_empty()) => {
                let mut kept = Vec::new();
                for mut item in items {
                    if item.as_map().is_some_and(|entries| entries.len() == 1)
                        && item.get(DIRECTIVE).is_some()
                    {
                        continue;
                    }
                    if item.as_map().is_some() && take_directive(&mut item)? == Directive::Delete {
                        continue;
                    }
                    kept.push(self.clean(item, Place { of: place.of, keys: None })?);
                }
                NodeKind::List(kept)
            }
            kind => kind,
        };
        Ok(Node { line, column, kind })
    }

    /// A list whose items have keys, or a list of scalars that is a set. Items of the patch come first.
    fn walk_keyed(&self, target: Option<Node>, patch: Option<Node>, place: Place<'_>) -> Step<Merged> {
        let is_there = target.as_ref().is_some_and(|node| !node.is_null());
        let Some(mut patch) = patch else { return Ok(Merged { node: target, kept: true }) };
        if patch.is_null() {
            return Ok(Merged { node: None, kept: false });
        }
        let directive = take_list_directive(&mut patch)?;
        if !is_there {
            return Ok(Merged { node: Some(self.clean(patch, place)?), kept: false });
        }
        match directive {
            Directive::Delete => return Ok(Merged { node: None, kept: false }),
            Directive::Replace => {
                return Ok(Merged { node: Some(self.clean(patch, place)?), kept: false });
            }
            Directive::Merge => {}
        }
        let line = target.as_ref().map_or(patch.line, |target| target.line);
        let (old, new) = (items(target), items(Some(patch)));
        let merged = match place.keys.unwrap_or_default() {
            [] => union(new, old),
            keys => self.merge_items(old, &new, keys, Place { of: place.of, keys: None })?,
        };
        let node = Node { line, column: 1, kind: NodeKind::List(merged) };
        Ok(Merged { node: Some(node), kept: true })
    }

    fn merge_items(
        &self,
        mut old: Vec<Node>,
        new: &[Node],
        keys: &Keys,
        place: Place<'_>,
    ) -> Step<Vec<Node>> {
        let mut wanted: Vec<Vec<String>> = Vec::new();
        for item in new.iter().chain(&old) {
            let values = values_of(item, keys);
            if !wanted.contains(&values) {
                wanted.push(values);
            }
        }
        if keys.len() > 1 {
            fill_up(&mut wanted);
        }
        let used: Vec<bool> =
            (0..keys.len()).map(|at| wanted.iter().any(|values| !values[at].is_empty())).collect();
        let all_unused = used.iter().all(|used| !used);
        let keys_used: Vec<&str> =
            keys.iter().zip(&used).filter(|(_, used)| **used || all_unused).map(|(key, _)| &**key).collect();
        let mut added: Vec<Node> = Vec::new();
        for values in &wanted {
            let values: Vec<&str> = values
                .iter()
                .zip(&used)
                .filter(|(value, used)| **used || all_unused || !value.is_empty())
                .map(|(value, _)| value.as_str())
                .collect();
            let known: Vec<(&str, &str)> = keys_used.iter().copied().zip(values.iter().copied()).collect();
            let looked_for: Vec<(&str, &str)> =
                known.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
            let looked_for = if looked_for.is_empty() { &known } else { &looked_for };
            let at = old.iter().position(|item| matches(item, looked_for));
            let change = new.iter().find(|item| matches(item, looked_for)).cloned();
            let merged = self.walk(at.map(|at| old[at].clone()), change, place)?;
            let Some(mut item) = merged.node.filter(|node| !edit::is_empty(node)) else {
                old.retain(|item| !matches(item, &known));
                continue;
            };
            for (key, value) in &known {
                if item.get(key).is_none() && !value.is_empty() {
                    let line = item.line;
                    edit::set(&mut item, key, edit::plain(*value, line));
                }
            }
            if let (Some(at), true) = (at, merged.kept) {
                old[at] = item.clone();
            }
            put_item(&mut added, &known, item);
        }
        for item in old {
            append(&mut added, &item, &keys_used);
        }
        Ok(added)
    }

    fn below<'s>(&'s self, place: Place<'_>, name: &str) -> Place<'s> {
        Place {
            of: place.of.and_then(|of| self.schema.field(of, name)),
            keys: place.of.and_then(|of| self.schema.keys(of, name)),
        }
    }

    /// The type of what says itself which kind it is.
    fn own_type(&self, target: Option<&Node>, patch: Option<&Node>) -> Option<Type> {
        [target, patch].into_iter().flatten().find_map(|node| {
            let version = edit::text_of(node, "apiVersion")?;
            self.schema.kind(version, edit::text_of(node, "kind")?)
        })
    }
}

/// Sets an entry, or takes it out.
fn put(target: &mut Node, key: Node, name: &str, value: Option<Node>) {
    match value.filter(|value| !value.is_null()) {
        None => drop(edit::remove(target, name)),
        Some(value) => {
            if let Some(old) = edit::get_mut(target, name) {
                *old = value;
            } else if let NodeKind::Map(entries) = &mut target.kind {
                entries.push((key, value));
            }
        }
    }
}

fn take(node: &mut Node) -> Node {
    let line = node.line;
    std::mem::replace(node, edit::plain("", line))
}

fn items(list: Option<Node>) -> Vec<Node> {
    match list.map(|list| list.kind) {
        Some(NodeKind::List(items)) => items,
        _ => Vec::new(),
    }
}

fn union(new: Vec<Node>, old: Vec<Node>) -> Vec<Node> {
    let mut all: Vec<Node> = Vec::new();
    for item in new.into_iter().chain(old) {
        if !all.iter().any(|other| edit::scalar_text(other) == edit::scalar_text(&item)) {
            all.push(item);
        }
    }
    all
}

fn values_of(item: &Node, keys: &Keys) -> Vec<String> {
    keys.iter().map(|key| edit::text_of(item, key).unwrap_or_default().to_owned()).collect()
}

/// Where some items leave out a key that others with otherwise the same values have, theirs is taken for it.
fn fill_up(wanted: &mut [Vec<String>]) {
    for one in 0..wanted.len() {
        for other in 0..wanted.len() {
            if let Some(both) = filled(&wanted[one], &wanted[other]) {
                wanted[one].clone_from(&both);
                wanted[other] = both;
            }
        }
    }
}

fn filled(one: &[String], other: &[String]) -> Option<Vec<String>> {
    let mut is_alike = false;
    let mut both = Vec::new();
    for (a, b) in one.iter().zip(other) {
        is_alike |= a == b;
        if a != b && !a.is_empty() && !b.is_empty() {
            return None;
        }
        both.push(if a.is_empty() { b.clone() } else { a.clone() });
    }
    is_alike.then_some(both)
}

fn matches(item: &Node, known: &[(&str, &str)]) -> bool {
    item.as_map().is_some()
        && known.iter().all(|(key, value)| item.get(key).and_then(edit::scalar_text) == Some(*value))
}

/// Puts an item in the place of those with the same keys, or behind the others.
fn put_item(items: &mut Vec<Node>, known: &[(&str, &str)], item: Node) {
    let mut is_placed = false;
    items.retain(|other| !edit::is_empty(other));
    for other in items.iter_mut().filter(|other| matches(other, known)) {
        *other = item.clone();
        is_placed = true;
    }
    if !is_placed {
        items.push(item);
    }
}

/// As `appendListNode` does it, down to what it does with items that lack one of several keys.
fn append(items: &mut Vec<Node>, item: &Node, keys: &[&str]) {
    let mut known = Vec::new();
    for key in keys {
        match item.get(key).and_then(edit::scalar_text) {
            Some(value) => known.push((*key, value.to_owned())),
            None => items.push(item.clone()),
        }
    }
    let known: Vec<(&str, &str)> = known.iter().map(|(key, value)| (*key, value.as_str())).collect();
    if known.is_empty() {
        return;
    }
    if keys.len() > 1 {
        items.retain(|other| !matches(other, &known));
    }
    put_item(items, &known, item.clone());
}

/// Takes `$patch` out of a map.
fn take_directive(node: &mut Node) -> Step<Directive> {
    if node.as_map().is_none() {
        return Ok(Directive::Merge);
    }
    let Some(word) = node.get(DIRECTIVE).and_then(edit::scalar_text) else { return Ok(Directive::Merge) };
    let directive = directive(word)?;
    edit::remove(node, DIRECTIVE);
    Ok(directive)
}

/// Takes an item that only has `$patch` out of a list.
fn take_list_directive(node: &mut Node) -> Step<Directive> {
    let NodeKind::List(items) = &mut node.kind else { return Ok(Directive::Merge) };
    let is_directive = |item: &Node| {
        item.get(DIRECTIVE).is_some() && item.as_map().is_some_and(|entries| entries.len() == 1)
    };
    let Some(at) = items.iter().position(is_directive) else { return Ok(Directive::Merge) };
    let word = edit::text_of(&items[at], DIRECTIVE).unwrap_or_default().to_owned();
    items.remove(at);
    directive(&word)
}

fn directive(word: &str) -> Step<Directive> {
    match word {
        "merge" => Ok(Directive::Merge),
        "replace" => Ok(Directive::Replace),
        "delete" => Ok(Directive::Delete),
        word => Err(format!("unknown patch strategy {word:?}")),
    }
}

fn shape_of(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::Scalar(_) => SCALAR,
        NodeKind::List(_) => LIST,
        NodeKind::Map(_) => "a map",
    }
}

const DIRECTIVE: &str = "$patch";
const SCALAR: &str = "a scalar";
const LIST: &str = "a list";

#[cfg(test)]
mod tests {
    use super::*;
    use larder_gotemplate::yaml;

    fn read(text: &str) -> Node {
        yaml::documents(text.as_bytes(), &yaml::Limits::default()).next().expect("a document").expect("YAML")
    }

    /// A patch for the containers of a pod, and what the pod is then.
    fn merged(target: &str, patch: &str) -> String {
        let head = "apiVersion: v1\nkind: Pod\nspec:\n  ";
        let indented = |text: &str| read(&format!("{head}{}", text.replace('\n', "\n  ")));
        let node = merge(&Schema::new(), indented(target), indented(patch)).expect("it fits");
        let value = yaml::to_value(&node.expect("it is there")).expect("it is a value");
        yaml::emit(&value).expect("it can be written").replace("apiVersion: v1\nkind: Pod\nspec:\n", "")
    }

    #[test]
    fn containers_are_found_by_name_and_arguments_are_replaced() {
        let result = merged(
            "containers:\n- name: a\n  image: a:1\n  args: [x, y]\n- name: b\n  image: b:1",
            "containers:\n- name: b\n  image: b:2\n- name: a\n  args: [z]\n- name: c\n  image: c:1",
        );
        let expected = "  containers:\n  - image: b:2\n    name: b\n  - args:\n    - z\n    image: a:1\n    name: a\n  \
                        - image: c:1\n    name: c\n";
        assert_eq!(result, expected);
    }

    #[test]
    fn null_and_delete_take_things_out() {
        let result = merged(
            "hostNetwork: true\ncontainers:\n- name: a\n  image: a:1\n- name: b\n  image: b:1",
            "hostNetwork: null\ncontainers:\n- name: b\n  $patch: delete",
        );
        assert_eq!(result, "  containers:\n  - image: a:1\n    name: a\n");
    }

    #[test]
    fn a_list_can_be_replaced_as_a_whole() {
        let result = merged(
            "containers:\n- name: a\n  image: a:1",
            "containers:\n- $patch: replace\n- name: b\n  image: b:1",
        );
        assert_eq!(result, "  containers:\n  - image: b:1\n    name: b\n");
    }

    #[test]
    fn a_patch_of_another_shape_is_refused() {
        let (target, patch) = (read("spec: {a: 1}"), read("spec: [a]"));
        assert_eq!(merge(&Schema::new(), target, patch), Err("a list where there is a map".into()));
    }
}

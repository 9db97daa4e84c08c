//! Fields that transformers look at: `spec/template/spec/containers[]/image` of a kind.

use super::edit;
use super::item::Kind;
use larder_gotemplate::yaml::{Node, NodeKind};

/// Where a transformer looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// Objects it is about.
    pub(super) kind: Kind,
    /// Steps; the items of a list need none of their own.
    pub(super) path: Vec<Step>,
    /// Whether it is made where it is not there.
    pub(super) create: bool,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    /// Whether it says that the field is a list, which is never made.
    is_list: bool,
}

/// What is made where a field is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Create {
    Nothing,
    Scalar,
    Map,
}

impl Field {
    pub(super) fn new(kind: Kind, path: &str, create: bool) -> Self {
        Self { kind, path: steps(path), create }
    }

    /// Reads an item of a list of `fieldSpecs`.
    pub(super) fn read(node: &Node) -> Option<Self> {
        let word = |key| edit::text_of(node, key).unwrap_or_default().to_owned();
        let kind = Kind { group: word("group"), version: word("version"), kind: word("kind") };
        Some(Self::new(kind, edit::text_of(node, "path")?, edit::text_of(node, "create") == Some("true")))
    }

    /// Whether the path is this one.
    pub(super) fn is(&self, path: &str) -> bool {
        self.path == steps(path)
    }

    /// Calls `change` for the values of the field, of which there are several below lists. What is made is said to be from `line`.
    ///
    /// # Errors
    /// Those of `change`, and a scalar in the middle of the path.
    pub(super) fn visit(
        &self,
        object: &mut Node,
        create: Create,
        line: u32,
        change: &mut dyn FnMut(&mut Node) -> Result<(), String>,
    ) -> Result<(), String> {
        let kind = Kind::new(
            edit::text_of(object, "apiVersion").unwrap_or_default(),
            edit::text_of(object, "kind").unwrap_or_default(),
        );
        if !kind.is_selected(&self.kind) {
            return Ok(());
        }
        let create = if self.create { create } else { Create::Nothing };
        visit(object, &self.path, create, line, change)
    }
}

fn visit(
    node: &mut Node,
    path: &[Step],
    create: Create,
    line: u32,
    change: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else { return change(node) };
    if node.is_null() {
        return Ok(());
    }
    match &mut node.kind {
        NodeKind::Scalar(_) => Err(format!("there is a scalar where {:?} is looked for", step.name)),
        NodeKind::List(items) => {
            items.iter_mut().try_for_each(|item| visit(item, path, create, line, change))
        }
        NodeKind::Map(_) => {
            let made = match create {
                Create::Nothing => None,
                _ if step.is_list => None,
                Create::Scalar if rest.is_empty() => Some(edit::text("", line)),
                _ => Some(edit::map(line)),
            };
            if let Some(made) = made
                && node.get(&step.name).is_none_or(Node::is_null)
            {
                edit::set(node, &step.name, made);
            }
            match edit::get_mut(node, &step.name) {
                Some(value) => visit(value, rest, create, line, change),
                None => Ok(()),
            }
        }
    }
}

/// Splits a path at `/`; `\/` is a `/` in a name.
fn steps(path: &str) -> Vec<Step> {
    let mut names: Vec<String> = Vec::new();
    for part in path.strip_prefix('/').unwrap_or(path).split('/') {
        match names.last_mut().filter(|last| last.ends_with('\\')) {
            Some(last) => {
                last.pop();
                last.push('/');
                last.push_str(part);
            }
            None => names.push(part.to_owned()),
        }
    }
    names
        .into_iter()
        .map(|name| match name.strip_suffix("[]") {
            Some(name) => Step { name: name.to_owned(), is_list: true },
            None => Step { name, is_list: false },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_gotemplate::yaml;

    fn read(text: &str) -> Node {
        yaml::documents(text.as_bytes(), &yaml::Limits::default()).next().expect("a document").expect("YAML")
    }

    fn seen(path: &str, create: Create, object: &str) -> (Vec<String>, Node) {
        let mut object = read(object);
        let mut seen = Vec::new();
        Field::new(Kind::default(), path, true)
            .visit(&mut object, create, 9, &mut |node| {
                seen.push(edit::scalar_text(node).unwrap_or("-").to_owned());
                Ok(())
            })
            .expect("no scalar is in the way");
        (seen, object)
    }

    #[test]
    fn lists_are_gone_into_with_and_without_brackets() {
        let object = "{kind: A, spec: {c: [{image: a}, {image: b}, {x: y}]}}";
        assert_eq!(seen("spec/c[]/image", Create::Nothing, object).0, ["a", "b"]);
        assert_eq!(seen("spec/c/image", Create::Nothing, object).0, ["a", "b"]);
    }

    #[test]
    fn what_is_missing_is_made_unless_it_is_a_list() {
        let (seen_there, object) = seen("metadata/labels", Create::Map, "{kind: A}");
        assert_eq!(seen_there, ["-"]);
        assert_eq!(
            object.get("metadata").and_then(|metadata| metadata.get("labels")).map(|node| node.line),
            Some(9)
        );
        assert_eq!(seen("spec/c[]/image", Create::Scalar, "{kind: A, spec: {}}").0, [""; 0]);
    }

    #[test]
    fn a_slash_can_be_in_a_name() {
        let object = "{kind: A, metadata: {annotations: {example.com/x: y}}}";
        assert_eq!(seen("metadata/annotations/example.com\\/x", Create::Nothing, object).0, ["y"]);
    }
}

//! `vars`: `$(NAME)` in the fields of objects (kustomize, api/filters/refvar).

use super::budget::Budget;
use super::edit;
use super::fault::Fault;
use super::field::{Create, Field};
use super::field_path::{self, follow, split};
use super::item::{Item, Kind};
use super::schema::Schema;
use larder_gotemplate::yaml::{self, Node, NodeKind, Style};
use std::collections::HashMap;

/// One entry of `vars`.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub(super) name: String,
    kind: Kind,
    object: String,
    namespace: String,
    path: String,
    pub(super) line: u32,
}

impl Variable {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let wrong = |field: &str, wanted| Fault::Shape { field: field.into(), wanted };
        let object = node.get("objref").ok_or_else(|| wrong("objref", "a map"))?;
        let word = |key| edit::text_of(object, key).unwrap_or_default().to_owned();
        let kind = match edit::text_of(object, "apiVersion") {
            Some(version) => Kind::new(version, &word("kind")),
            None => Kind { group: word("group"), version: word("version"), kind: word("kind") },
        };
        let path = node.get("fieldref").and_then(|field| edit::text_of(field, "fieldpath"));
        Ok(Self {
            name: edit::text_of(node, "name").ok_or_else(|| wrong("name", "a text"))?.to_owned(),
            kind,
            object: word("name"),
            namespace: word("namespace"),
            path: path.unwrap_or("metadata.name").to_owned(),
            line: node.line,
        })
    }

    /// Notes which object it has its value from; names can change later.
    pub(super) fn bind(&self, items: &mut [Item], schema: &Schema) -> Result<(), Fault> {
        let is_meant = |item: &&mut Item| {
            item.ids(schema).iter().any(|id| {
                id.name == self.object
                    && id.kind.is_selected(&self.kind)
                    && (self.namespace.is_empty() || id.effective_namespace() == self.namespace)
            })
        };
        let mut meant: Vec<&mut Item> = items.iter_mut().filter(is_meant).collect();
        match meant.as_mut_slice() {
            // It may be there further up.
            [] => Ok(()),
            [item] => {
                item.variables.push(self.name.clone());
                Ok(())
            }
            several => {
                let wanted = format!("{} {}", self.kind.kind, self.object);
                Err(Fault::Matches { what: "variable", wanted, count: several.len() })
            }
        }
    }

    fn value(&self, items: &mut [Item]) -> Option<Node> {
        let item = items.iter_mut().find(|item| item.variables.contains(&self.name))?;
        // Indexes are written `ports[1]` here.
        let path = self.path.replace('[', ".").replace(']', "");
        let found = field_path::find(&mut item.node, &split(&path), None, 0).ok()?;
        let value = follow(&mut item.node, found.first()?)?;
        value.as_scalar().is_some().then(|| value.clone())
    }
}

/// Puts the values of all variables in.
pub(super) fn resolve(
    items: &mut [Item],
    variables: &[Variable],
    fields: &[Field],
    budget: &Budget,
) -> Vec<(u32, Fault)> {
    let mut faults = Vec::new();
    let mut values = HashMap::new();
    for variable in variables {
        match variable.value(items) {
            Some(mut value) => {
                edit::claim(&mut value, variable.line);
                values.insert(variable.name.clone(), value);
            }
            None => faults.push((variable.line, Fault::Variable(variable.name.clone()))),
        }
    }
    if values.is_empty() {
        return faults;
    }
    for item in items {
        for field in fields {
            let line = item.node.line;
            let mut spent = None;
            let done = field.visit(&mut item.node, Create::Nothing, line, &mut |node| {
                spent = put(node, &values, budget).err();
                spent.as_ref().map_or(Ok(()), |fault| Err(fault.to_string()))
            });
            if let Some(fault) = spent {
                faults.push((line, fault));
                return faults;
            }
            // A field of that path with something else in it has no variables.
            drop(done);
        }
    }
    faults
}

fn put(node: &mut Node, values: &HashMap<String, Node>, budget: &Budget) -> Result<(), Fault> {
    match &mut node.kind {
        NodeKind::List(items) => items.iter_mut().try_for_each(|item| put_text(item, values, budget)),
        NodeKind::Map(entries) => {
            entries.iter_mut().try_for_each(|(_, value)| put_text(value, values, budget))
        }
        NodeKind::Scalar(_) => put_text(node, values, budget),
    }
}

fn put_text(node: &mut Node, values: &HashMap<String, Node>, budget: &Budget) -> Result<(), Fault> {
    let Some(text) = node.as_text().filter(|text| text.contains('$')) else { return Ok(()) };
    if let Some(value) = text.strip_prefix("$(").and_then(|rest| values.get(rest.strip_suffix(')')?)) {
        budget.spend_on(value, 1)?;
        *node = value.clone();
        return Ok(());
    }
    let (mut new, mut line) = (String::new(), node.line);
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        new.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            new.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|name| name.split_once(')')) {
            match values.get(name) {
                Some(value) => {
                    let value_text = yaml::to_text(value).unwrap_or_default();
                    budget.spend(value_text.len())?;
                    new.push_str(&value_text);
                    line = value.line;
                }
                None => new.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            new.push('$');
        }
    }
    new.push_str(rest);
    if let NodeKind::Scalar(scalar) = &mut node.kind {
        scalar.text = new;
        scalar.style = Style::DoubleQuoted;
        node.line = line;
    }
    Ok(())
}

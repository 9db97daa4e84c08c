//! `patches`, `patchesStrategicMerge` and `patchesJson6902`.

use super::budget::Budget;
use super::edit;
use super::fault::Fault;
use super::item::Item;
use super::json_patch;
use super::merge::merge;
use super::schema::Schema;
use super::selector::Selector;
use larder_gotemplate::yaml::Node;

/// One patch, and what it is for.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) documents: Vec<Node>,
    pub(super) target: Option<Selector>,
    pub(super) allow_name_change: bool,
    pub(super) allow_kind_change: bool,
}

impl Patch {
    /// Applies it. Objects that it deletes are gone afterwards.
    pub(super) fn apply(&self, items: &mut Vec<Item>, schema: &Schema, budget: &Budget) -> Result<(), Fault> {
        let is_operations = self.documents.first().is_some_and(|node| node.as_list().is_some());
        match (&self.target, self.documents.as_slice()) {
            (_, []) => Ok(()),
            (Some(target), [operations, ..]) if is_operations => {
                for item in items.iter_mut().filter(|item| target.selects(item, schema)) {
                    item.remember_name(schema);
                    let operations = operations.as_list().unwrap_or_default();
                    json_patch::apply(&mut item.node, operations, budget)
                        .map_err(|reason| Fault::Patch { object: item.id(schema).to_string(), reason })?;
                }
                Ok(())
            }
            (None, _) if is_operations => {
                Err(Fault::Shape { field: "target".into(), wanted: "there for a JSON patch" })
            }
            (Some(target), [patch]) => {
                let chosen: Vec<usize> =
                    (0..items.len()).filter(|at| target.selects(&items[*at], schema)).collect();
                budget.spend_on(patch, chosen.len())?;
                self.lay(items, &chosen, patch, schema)
            }
            (Some(_), _) => {
                Err(Fault::Shape { field: "patch".into(), wanted: "one document where there is a target" })
            }
            (None, documents) => {
                documents.iter().try_for_each(|patch| self.lay_by_name(items, patch, schema))
            }
        }
    }

    /// Lays a patch over the object of its name.
    fn lay_by_name(&self, items: &mut Vec<Item>, patch: &Node, schema: &Schema) -> Result<(), Fault> {
        let id = Item::unchecked(patch.clone()).id(schema);
        let chosen: Vec<usize> =
            (0..items.len()).filter(|at| items[*at].ids(schema).iter().any(|own| own.is(&id))).collect();
        match chosen.len() {
            1 => self.lay(items, &chosen, patch, schema),
            count => Err(Fault::Matches { what: "patch", wanted: id.to_string(), count }),
        }
    }

    fn lay(
        &self,
        items: &mut Vec<Item>,
        chosen: &[usize],
        patch: &Node,
        schema: &Schema,
    ) -> Result<(), Fault> {
        let mut gone = Vec::new();
        for &at in chosen {
            let item = &mut items[at];
            if self.allow_name_change || self.allow_kind_change {
                item.remember_name(schema);
            }
            let (name, namespace) = (item.name().to_owned(), item.namespace().to_owned());
            let (version, kind) = (item.api_version().to_owned(), item.kind_name().to_owned());
            let mut patch = patch.clone();
            if self.target.is_some() {
                let line = patch.line;
                edit::set_text(&mut patch, "apiVersion", &version, line);
            }
            let line = item.node.line;
            let merged = merge(schema, item.node.clone(), patch)
                .map_err(|reason| Fault::Patch { object: item.id(schema).to_string(), reason })?;
            let Some(node) = merged.filter(|node| !edit::is_empty(node)) else {
                gone.push(at);
                continue;
            };
            item.node = node;
            if !self.allow_kind_change {
                edit::set_text(&mut item.node, "kind", &kind, line);
            }
            if !self.allow_name_change {
                item.set_name(&name, line);
            }
            item.set_namespace(&namespace, line);
        }
        let mut at = 0;
        items.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
        Ok(())
    }
}

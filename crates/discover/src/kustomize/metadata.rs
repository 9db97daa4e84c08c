//! `labels`, `commonLabels`, `commonAnnotations` and `replicas` (kustomize, api/filters/{labels,annotations,replicacount}).

use super::edit;
use super::fault::Fault;
use super::field::{Create, Field};
use super::fields::{self, Fields};
use super::item::Item;
use super::schema::Schema;
use larder_gotemplate::yaml::{self, Node};

/// Sets all pairs of a map in all maps that `fields` lead to.
pub(super) fn set_pairs(items: &mut [Item], pairs: &Node, fields: &[Field]) -> Result<(), String> {
    for (key, value) in pairs.as_map().unwrap_or_default() {
        let Some(key) = edit::scalar_text(key) else { continue };
        let value = edit::text(yaml::to_text(value).unwrap_or_default(), value.line);
        for item in items.iter_mut() {
            for field in fields {
                field.visit(&mut item.node, Create::Map, value.line, &mut |node| {
                    edit::set(node, key, value.clone());
                    Ok(())
                })?;
            }
        }
    }
    Ok(())
}

/// The fields that an entry of `labels` is for.
pub(super) fn label_fields(entry: &Node, all: &Fields) -> Vec<Field> {
    let is = |key| edit::text_of(entry, key) == Some("true");
    let mut chosen = fields::read_list(entry.get("fields"));
    fields::add(&mut chosen, &all.labels);
    if is("includeSelectors") {
        fields::add(&mut chosen, &all.common_labels);
    } else {
        if is("includeTemplates") {
            fields::add(&mut chosen, &all.template_labels);
        }
        if is("includeVolumeClaimTemplates") {
            fields::add(&mut chosen, &all.claim_labels);
        }
        fields::add(&mut chosen, &[Field::new(Default::default(), "metadata/labels", true)]);
    }
    chosen
}

/// Sets how many replicas objects of a name have.
pub(super) fn set_replicas(
    items: &mut [Item],
    schema: &Schema,
    entry: &Node,
    fields: &[Field],
) -> Result<(), Fault> {
    let name = edit::text_of(entry, "name").unwrap_or_default();
    let count = entry.get("count").and_then(yaml::to_text).unwrap_or_default();
    let mut is_found = false;
    for field in fields {
        for item in items.iter_mut() {
            let is_meant =
                item.ids(schema).iter().any(|id| id.name == name && id.kind.is_selected(&field.kind));
            if !is_meant {
                continue;
            }
            is_found = true;
            let set = &mut |node: &mut Node| {
                *node = edit::plain(&count, entry.line);
                Ok(())
            };
            field
                .visit(&mut item.node, Create::Scalar, entry.line, set)
                .map_err(|reason| Fault::Patch { object: name.to_owned(), reason })?;
        }
    }
    if is_found {
        return Ok(());
    }
    Err(Fault::Matches { what: "replicas", wanted: format!("the name {name}"), count: 0 })
}

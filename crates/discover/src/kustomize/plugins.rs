//! `generators` and `transformers`: the built-in ones, configured by documents. Programs are not run.

use super::build::Builder;
use super::edit;
use super::fault::Fault;
use super::field::Field;
use super::fields::{self, Fields};
use super::generators::{self, Generated};
use super::images::ImageRule;
use super::item::Item;
use super::metadata;
use super::names::{self, Affix, NamespaceRule, Subjects};
use super::patches::Patch;
use super::root::Root;
use super::selector::Selector;
use super::{charts, replacements};
use larder_gotemplate::yaml::{self, Node};

/// Does what a document of `generators` says.
pub(super) fn generate(builder: &mut Builder<'_>, root: &Root, item: &Item) -> Result<Vec<Item>, Fault> {
    let mut entry = item.node.clone();
    let kind = match item.kind_name() {
        "ConfigMapGenerator" => Generated::ConfigMap,
        "SecretGenerator" => Generated::Secret,
        "HelmChartInflationGenerator" => {
            if entry.get("name").is_none() {
                let line = entry.line;
                edit::set_text(&mut entry, "name", item.name(), line);
            }
            return charts::inflate(builder, root, &entry, None, None);
        }
        // It makes an account and its rights, and nothing that asks for images.
        "IAMPolicyGenerator" => return Ok(Vec::new()),
        other => return Err(Fault::Program { kind: other.to_owned() }),
    };
    let line = entry.line;
    for key in ["name", "namespace"] {
        let own = entry.get("metadata").and_then(|metadata| edit::text_of(metadata, key)).map(str::to_owned);
        if let (None, Some(own)) = (entry.get(key), own) {
            edit::set_text(&mut entry, key, &own, line);
        }
    }
    let load = &mut |path: &str| root.load(path);
    Ok(vec![generators::generate(kind, &entry, None, load)?])
}

/// Does what a document of `transformers` says.
pub(super) fn transform(
    builder: &mut Builder<'_>,
    root: &Root,
    item: &Item,
    items: &mut Vec<Item>,
) -> Result<(), Fault> {
    let node = &item.node;
    let line = node.line;
    let standard = Fields::standard();
    let own = fields::read_list(node.get("fieldSpecs"));
    let or = |standard: &[Field]| if own.is_empty() { standard.to_vec() } else { own.clone() };
    let word = |key: &str| edit::text_of(node, key).unwrap_or_default();
    let misfit = |reason| Fault::Patch { object: format!("what {} is for", item.name()), reason };
    let (schema, budget) = (builder.schema_of(), builder.budget_of());
    // Patches and replacements are counted where they are made.
    if !item.kind_name().starts_with("Patch") && item.kind_name() != "ReplacementTransformer" {
        budget.spend_on(node, items.len())?;
    }
    match item.kind_name() {
        "PrefixTransformer" => {
            let fields = or(&standard.name_prefix);
            names::affix(items, &schema, Affix::Prefix, word("prefix"), &fields, line).map_err(misfit)
        }
        "SuffixTransformer" => {
            let fields = or(&standard.name_suffix);
            names::affix(items, &schema, Affix::Suffix, word("suffix"), &fields, line).map_err(misfit)
        }
        "PrefixSuffixTransformer" => {
            let fields = or(&standard.name_prefix);
            names::affix(items, &schema, Affix::Prefix, word("prefix"), &fields, line)
                .and_then(|()| names::affix(items, &schema, Affix::Suffix, word("suffix"), &fields, line))
                .map_err(misfit)
        }
        "NamespaceTransformer" => {
            let rule = NamespaceRule {
                namespace: item.namespace(),
                unset_only: word("unsetOnly") == "true",
                subjects: match word("setRoleBindingSubjects") {
                    "allServiceAccounts" => Subjects::Accounts,
                    "none" => Subjects::None,
                    _ => Subjects::Default,
                },
                line,
            };
            rule.apply(items, &schema, &own).map_err(misfit)
        }
        "LabelTransformer" => match node.get("labels") {
            Some(pairs) => metadata::set_pairs(items, pairs, &own).map_err(misfit),
            None => Ok(()),
        },
        "AnnotationsTransformer" => match node.get("annotations") {
            Some(pairs) => metadata::set_pairs(items, pairs, &own).map_err(misfit),
            None => Ok(()),
        },
        "ImageTagTransformer" => {
            let entry = node.get("imageTag");
            let entry = entry.ok_or(Fault::Shape { field: "imageTag".into(), wanted: "a map" })?;
            let rule = ImageRule::read(entry)?;
            items.iter_mut().try_for_each(|item| rule.apply(item, &own)).map_err(misfit)
        }
        "ReplicaCountTransformer" => match node.get("replica") {
            Some(entry) => metadata::set_replicas(items, &schema, entry, &own),
            None => Ok(()),
        },
        "PatchTransformer" => builder.patch(root, node)?.apply(items, &schema, &budget),
        "PatchJson6902Transformer" => {
            let mut entry = node.clone();
            if let Some(operations) = edit::remove(&mut entry, "jsonOp") {
                edit::set(&mut entry, "patch", operations);
            }
            builder.patch(root, &entry)?.apply(items, &schema, &budget)
        }
        "PatchStrategicMergeTransformer" => {
            let mut documents = Vec::new();
            for path in node.get("paths").and_then(Node::as_list).unwrap_or_default() {
                documents.extend(builder.patch_documents(root, path)?);
            }
            if let Some(text) = node.get("patches") {
                documents.extend(builder.inline(text)?);
            }
            let patch = Patch { documents, target: None, allow_name_change: false, allow_kind_change: false };
            patch.apply(items, &schema, &budget)
        }
        "ReplacementTransformer" => {
            for entry in node.get("replacements").and_then(Node::as_list).unwrap_or_default() {
                for replacement in builder.replacement(root, entry)? {
                    replacements::apply(items, &schema, &replacement, &budget)?;
                }
            }
            Ok(())
        }
        "ValueAddTransformer" => add_value(node, items, &schema),
        other => Err(Fault::Program { kind: other.to_owned() }),
    }
}

/// `ValueAddTransformer`: puts a text in front of, behind or in the place of what is there.
fn add_value(node: &Node, items: &mut [Item], schema: &super::schema::Schema) -> Result<(), Fault> {
    let value = node.get("value").and_then(yaml::to_text).unwrap_or_default();
    for target in node.get("targets").and_then(Node::as_list).unwrap_or_default() {
        let selector = target.get("selector").map(Selector::read).transpose()?;
        let path = edit::text_of(target, "fieldPath").unwrap_or("metadata/name");
        let field = Field::new(Default::default(), path, true);
        let position = edit::text_of(target, "filePathPosition").and_then(|text| text.parse::<usize>().ok());
        for item in items.iter_mut() {
            if selector.as_ref().is_some_and(|selector| !selector.selects(item, schema)) {
                continue;
            }
            let set = &mut |place: &mut Node| {
                let old = edit::scalar_text(place).unwrap_or_default();
                let new = match position {
                    None | Some(0) => value.clone(),
                    Some(at) => {
                        let mut parts: Vec<&str> = old.split('/').collect();
                        parts.insert(at.min(parts.len()), &value);
                        parts.join("/")
                    }
                };
                *place = edit::text(new, node.line);
                Ok(())
            };
            field
                .visit(&mut item.node, super::field::Create::Scalar, node.line, set)
                .map_err(|reason| Fault::Patch { object: path.to_owned(), reason })?;
        }
    }
    Ok(())
}

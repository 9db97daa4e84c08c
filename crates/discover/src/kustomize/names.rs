//! `namePrefix`, `nameSuffix` and `namespace` (kustomize, api/filters/{prefix,suffix,namespace}).

use super::edit;
use super::field::{Create, Field};
use super::item::{Id, Item};
use super::schema::Schema;
use larder_gotemplate::yaml::{Node, NodeKind};

/// Which end of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affix {
    Prefix,
    Suffix,
}

/// Puts something before or behind the names of objects.
pub(super) fn affix(
    items: &mut [Item],
    schema: &Schema,
    affix: Affix,
    text: &str,
    fields: &[Field],
    line: u32,
) -> Result<(), String> {
    for item in items {
        let original = item.original_id(schema);
        if is_exempt(&original) {
            continue;
        }
        for field in fields.iter().filter(|field| original.kind.is_selected(&field.kind)) {
            if field.is("metadata/name") && !text.is_empty() {
                match affix {
                    Affix::Prefix => item.prefixes.push(text.to_owned()),
                    Affix::Suffix => item.suffixes.push(text.to_owned()),
                }
                item.remember_name(schema);
            }
            field.visit(&mut item.node, Create::Scalar, line, &mut |node| {
                let old = edit::scalar_text(node).unwrap_or_default();
                let new = match affix {
                    Affix::Prefix => format!("{text}{old}"),
                    Affix::Suffix => format!("{old}{text}"),
                };
                *node = edit::text(new, line);
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// What is known under its name outside of the build.
fn is_exempt(id: &Id) -> bool {
    let kind = &id.kind;
    matches!(kind.kind.as_str(), "CustomResourceDefinition" | "Namespace")
        || (kind.kind == "APIService" && kind.group == "apiregistration.k8s.io")
}

/// How `NamespaceTransformer` is told to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct NamespaceRule<'a> {
    pub(super) namespace: &'a str,
    /// Only where none is said.
    pub(super) unset_only: bool,
    /// Which subjects of role bindings get it.
    pub(super) subjects: Subjects,
    pub(super) line: u32,
}

/// Subjects of role bindings that get the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Subjects {
    /// Those called `default`.
    #[default]
    Default,
    /// All service accounts.
    Accounts,
    None,
}

impl NamespaceRule<'_> {
    /// Puts objects into the namespace; those a chart made stay where the chart put them.
    pub(super) fn apply(&self, items: &mut [Item], schema: &Schema, fields: &[Field]) -> Result<(), String> {
        if self.namespace.is_empty() {
            return Ok(());
        }
        for item in items.iter_mut().filter(|item| !item.from_chart) {
            item.remember_name(schema);
            let id = item.id(schema);
            if !id.is_cluster_scoped() {
                let unset = item.namespace().is_empty();
                if unset || !self.unset_only {
                    item.set_namespace(self.namespace, self.line);
                }
            }
            let is_binding = matches!(id.kind.kind.as_str(), "RoleBinding" | "ClusterRoleBinding");
            if is_binding {
                self.set_subjects(&mut item.node);
            }
            let is_core = item.api_version() == "v1";
            for field in fields {
                if field.is("metadata/namespace")
                    || (!is_core && field.is("metadata/name"))
                    || (is_binding && field.is("subjects/namespace"))
                {
                    continue;
                }
                field.visit(&mut item.node, Create::Scalar, self.line, &mut |node| {
                    let is_set = edit::scalar_text(node).is_some_and(|text| !text.is_empty());
                    if !(self.unset_only && is_set) {
                        *node = edit::text(self.namespace, self.line);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn set_subjects(&self, node: &mut Node) {
        let Some(NodeKind::List(subjects)) = edit::get_mut(node, "subjects").map(|node| &mut node.kind)
        else {
            return;
        };
        for subject in subjects {
            let is_meant = match self.subjects {
                Subjects::None => false,
                Subjects::Default => edit::text_of(subject, "name") == Some("default"),
                Subjects::Accounts => edit::text_of(subject, "kind") == Some("ServiceAccount"),
            };
            let is_set = edit::text_of(subject, "namespace").is_some_and(|text| !text.is_empty());
            if is_meant && !(self.unset_only && is_set) {
                edit::set_text(subject, "namespace", self.namespace, self.line);
            }
        }
    }
}

//! Names that objects have of each other, after names have changed (kustomize, api/filters/nameref).

use super::edit;
use super::fault::Fault;
use super::field::{Create, Field};
use super::fields::Fields;
use super::item::{Id, Item, Kind};
use super::schema::Schema;
use larder_gotemplate::yaml::{Node, NodeKind};
use std::collections::HashMap;

/// Puts the new names into all fields that refer to objects by old ones.
pub(super) fn fix(items: &mut [Item], schema: &Schema, fields: &Fields) -> Vec<(u32, Fault)> {
    let candidates: Vec<Candidate> = items.iter().map(|item| Candidate::new(item, schema)).collect();
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, candidate) in candidates.iter().enumerate() {
        for id in &candidate.previous {
            let known = by_name.entry(id.name.as_str()).or_default();
            if known.last() != Some(&at) {
                known.push(at);
            }
        }
    }
    let mut faults = Vec::new();
    for (at, item) in items.iter_mut().enumerate() {
        let referrer = &candidates[at];
        for references in &fields.references {
            for field in
                references.fields.iter().filter(|field| referrer.original.kind.is_selected(&field.kind))
            {
                let search = Search {
                    candidates: &candidates,
                    by_name: &by_name,
                    referrer,
                    target: &references.kind,
                    field,
                };
                // The kind in the table is matched with the first name, the field is looked for whatever it is now.
                let any = Field { kind: Kind::default(), ..field.clone() };
                let role = search.role(&item.node);
                let line = item.node.line;
                let fixed = any.visit(&mut item.node, Create::Nothing, line, &mut |node| {
                    search.set(node, role.as_ref())
                });
                if let Err(reason) = fixed {
                    let object = referrer.id.to_string();
                    faults.push((line, Fault::Patch { object, reason }));
                }
            }
        }
    }
    faults
}

/// An object as something that is referred to.
struct Candidate {
    id: Id,
    original: Id,
    previous: Vec<Id>,
    /// The namespace as it is written.
    namespace: String,
    affixes: Item,
    /// Namespaces of accounts that a role binding names.
    accounts: Vec<String>,
}

impl Candidate {
    fn new(item: &Item, schema: &Schema) -> Self {
        let subjects = item.node.get("subjects").and_then(Node::as_list).unwrap_or_default();
        let accounts = subjects
            .iter()
            .filter(|subject| {
                item.kind_name() == "RoleBinding" && edit::text_of(subject, "kind") == Some("ServiceAccount")
            })
            .filter_map(|subject| edit::text_of(subject, "namespace").map(str::to_owned))
            .collect();
        let mut affixes = Item::unchecked(edit::map(0));
        affixes.prefixes.clone_from(&item.prefixes);
        affixes.suffixes.clone_from(&item.suffixes);
        Self {
            id: item.id(schema),
            original: item.original_id(schema),
            previous: item.previous_ids(schema).collect(),
            namespace: item.namespace().to_owned(),
            affixes,
            accounts,
        }
    }
}

struct Search<'a> {
    candidates: &'a [Candidate],
    by_name: &'a HashMap<&'a str, Vec<usize>>,
    referrer: &'a Candidate,
    target: &'a Kind,
    field: &'a Field,
}

impl Search<'_> {
    fn set(&self, node: &mut Node, role: Option<&Kind>) -> Result<(), String> {
        if node.is_null() {
            return Ok(());
        }
        match &mut node.kind {
            NodeKind::Scalar(_) => self.set_scalar(node, role),
            NodeKind::Map(_) => self.set_map(node, role),
            NodeKind::List(items) => items.iter_mut().try_for_each(|item| match item.kind {
                NodeKind::Map(_) => self.set_map(item, role),
                NodeKind::Scalar(_) => self.set_scalar(item, role),
                NodeKind::List(_) => Err("there is a list where a name is looked for".into()),
            }),
        }
    }

    fn set_scalar(&self, node: &mut Node, role: Option<&Kind>) -> Result<(), String> {
        let old = edit::scalar_text(node).unwrap_or_default();
        if let Some(found) = self.select(old, role, |_| true, false)?
            && found.id.name != old
        {
            *node = edit::text(&found.id.name, node.line);
        }
        Ok(())
    }

    /// A map with a `name` and perhaps a `namespace`: subjects, services of webhooks.
    fn set_map(&self, node: &mut Node, role: Option<&Kind>) -> Result<(), String> {
        let Some(old) = node.get("name").and_then(edit::scalar_text).map(str::to_owned) else {
            return Err("there is no name in what is referred to".into());
        };
        let namespace = node.get("namespace").and_then(edit::scalar_text).map(str::to_owned);
        let was_there =
            |candidate: &Candidate, namespace: &str| candidate.original.effective_namespace() == namespace;
        let by_original = namespace
            .as_deref()
            .is_some_and(|namespace| self.visible().any(|candidate| was_there(candidate, namespace)));
        let is_meant = |candidate: &Candidate| match namespace.as_deref() {
            None => true,
            Some(namespace) if by_original => was_there(candidate, namespace),
            Some(namespace) => candidate.id.effective_namespace() == namespace,
        };
        let Some(found) = self.select(&old, role, is_meant, true)? else { return Ok(()) };
        let line = node.line;
        if found.id.name != old {
            edit::set_text(node, "name", &found.id.name, line);
        }
        if !found.namespace.is_empty() {
            edit::set_text(node, "namespace", &found.namespace, line);
        }
        Ok(())
    }

    /// What the referrer may refer to at all (`SubsetThatCouldBeReferencedByResource`).
    fn visible(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| self.is_visible(candidate))
    }

    fn is_visible(&self, candidate: &Candidate) -> bool {
        self.referrer.id.is_cluster_scoped()
            || candidate.id.is_cluster_scoped()
            || candidate.id.is_in_namespace_of(&self.referrer.id)
            || self.referrer.accounts.contains(&candidate.namespace)
    }

    /// The object that is meant, if there is one.
    fn select(
        &self,
        name: &str,
        role: Option<&Kind>,
        is_meant: impl Fn(&Candidate) -> bool,
        with_namespace: bool,
    ) -> Result<Option<&Candidate>, String> {
        let named = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<&Candidate> = named
            .iter()
            .map(|at| &self.candidates[*at])
            .filter(|candidate| {
                let was = |kind: &Kind| candidate.previous.iter().any(|id| id.kind.is_selected(kind));
                self.is_visible(candidate)
                    && is_meant(candidate)
                    && was(self.target)
                    && role.is_none_or(was)
                    && (self.referrer.id.is_cluster_scoped()
                        || candidate.id.is_cluster_scoped()
                        || candidate.id.kind.kind == "ServiceAccount"
                        || candidate.id.is_in_namespace_of(&self.referrer.id))
            })
            .collect();
        if found.len() == 1 {
            return Ok(found.pop());
        }
        let own = &self.referrer.affixes;
        found.retain(|candidate| candidate.affixes.shares_affixes(own, true));
        if found.len() > 1 {
            found.retain(|candidate| candidate.affixes.shares_affixes(own, false));
        }
        let Some(first) = found.first().copied() else { return Ok(None) };
        let is_same = |other: &&Candidate| {
            other.id.name == first.id.name && (!with_namespace || other.namespace == first.namespace)
        };
        if found.iter().all(is_same) {
            return Ok(Some(first));
        }
        Err(format!("{name:?} may refer to any of {} objects", found.len()))
    }

    /// What `roleRef` says it refers to.
    fn role(&self, node: &Node) -> Option<Kind> {
        let steps: Vec<&str> = self.field.path.iter().map(|step| step.name.as_str()).collect();
        if !matches!(steps.as_slice(), [.., "roleRef", "name"]) {
            return None;
        }
        let role = node.get("roleRef")?;
        let group = edit::text_of(role, "apiGroup")?.to_owned();
        Some(Kind { group, version: String::new(), kind: edit::text_of(role, "kind")?.to_owned() })
    }
}

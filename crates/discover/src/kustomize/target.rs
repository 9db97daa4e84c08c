//! One kustomization file and what it says, in the order in which kustomize does it.

use super::build::{Builder, Inherited, Resources, Wanted};
use super::edit;
use super::fault::Fault;
use super::fields::Fields;
use super::file::File;
use super::generators::{self, Generated};
use super::images::ImageRule;
use super::item::Item;
use super::metadata;
use super::names::{self, Affix, NamespaceRule};
use super::patches::Patch;
use super::root::{Found, Root};
use super::schema::Schema;
use super::sources::Role;
use super::variables::Variable;
use super::{charts, plugins, replacements};
use std::collections::HashSet;

/// One kustomization file and what it says.
pub(super) struct Target<'b, 'a> {
    pub(super) builder: &'b mut Builder<'a>,
    pub(super) root: &'b Root,
    pub(super) file: &'b File,
    /// Its namespace, or that of what it is part of.
    pub(super) namespace: Option<&'b str>,
}

impl Target<'_, '_> {
    /// Adds what the file comes to.
    pub(super) fn run(&mut self, into: &mut Resources) {
        self.resources(into);
        self.configurations(into);
        self.generators(into);
        self.components(into);
        self.transformers(into);
        self.variables(into);
    }

    /// `resources` and `bases`.
    fn resources(&mut self, into: &mut Resources) {
        for field in ["resources", "bases"] {
            for (path, line) in self.file.texts(field) {
                match self.root.find(&path) {
                    Ok(Found::File(bytes, shown)) => {
                        let shown = shown.display().to_string();
                        let items = self.builder.objects(&shown, Role::Resource, &bytes, 1);
                        self.append(into, items, line);
                    }
                    Ok(Found::Directory(root)) => {
                        let mut inner = Resources::default();
                        let inherited =
                            Inherited { wanted: Wanted::Kustomization, namespace: self.namespace };
                        self.builder.accumulate(&root, line, &mut inner, inherited);
                        into.fields.add(&inner.fields);
                        into.variables.append(&mut inner.variables);
                        self.append(into, inner.items, line);
                    }
                    Err(fault) => self.builder.problem(line, fault),
                }
            }
        }
    }

    fn append(&mut self, into: &mut Resources, items: Vec<Item>, line: u32) {
        let schema = self.builder.schema_of();
        let mut known: HashSet<String> = into.items.iter().map(|item| key(item, &schema)).collect();
        for item in items {
            if known.insert(key(&item, &schema)) {
                into.items.push(item);
            } else {
                self.builder.problem(line, Fault::Twice(item.id(&schema).to_string()));
            }
        }
    }

    fn configurations(&mut self, into: &mut Resources) {
        let mut own = Fields::default();
        for (path, line) in self.file.texts("configurations") {
            let documents = self.builder.side_documents(self.root, &path);
            for node in self.builder.attempt(line, documents).unwrap_or_default() {
                own.add(&Fields::read(&node));
            }
        }
        into.fields.add(&Fields::standard_and(&own));
    }

    fn generators(&mut self, into: &mut Resources) {
        let defaults = self.file.get("generatorOptions");
        let (schema, budget) = (self.builder.schema_of(), self.builder.budget_of());
        for (field, kind) in
            [("configMapGenerator", Generated::ConfigMap), ("secretGenerator", Generated::Secret)]
        {
            for entry in self.file.list(field) {
                let root = self.root;
                let made = generators::generate(kind, entry, defaults, &mut |path| {
                    let bytes = root.load(path)?;
                    budget.spend(bytes.len())?;
                    Ok(bytes)
                });
                let done = made.and_then(|item| generators::absorb(&mut into.items, &schema, item));
                self.builder.attempt(entry.line, done);
            }
        }
        for field in ["helmCharts", "helmChartInflationGenerator"] {
            for entry in self.file.list(field) {
                let globals = self.file.get("helmGlobals");
                let made = charts::inflate(self.builder, self.root, entry, globals, self.namespace);
                let items = self.builder.attempt(entry.line, made).unwrap_or_default();
                self.append(into, items, entry.line);
            }
        }
        for plugin in self.plugins("generators") {
            let made = plugins::generate(self.builder, self.root, &plugin);
            for item in self.builder.attempt(plugin.node.line, made).unwrap_or_default() {
                let done = generators::absorb(&mut into.items, &schema, item);
                self.builder.attempt(plugin.node.line, done);
            }
        }
    }

    /// Documents that configure generators or transformers: written there, in files, or made by kustomizations.
    fn plugins(&mut self, field: &str) -> Vec<Item> {
        let mut items = Vec::new();
        for entry in self.file.list(field) {
            let Some(path) = edit::scalar_text(entry) else {
                let wanted = "paths, or texts with documents in them";
                self.builder.problem(entry.line, Fault::Shape { field: field.into(), wanted });
                continue;
            };
            match self.builder.inline(entry) {
                Ok(documents) if documents.iter().any(|node| node.as_map().is_some()) => {
                    for node in documents {
                        items.extend(self.builder.attempt(entry.line, Item::new(node)));
                    }
                    continue;
                }
                // A path has one line.
                Err(fault) if path.contains('\n') => {
                    self.builder.problem(entry.line, fault);
                    continue;
                }
                _ => {}
            }
            match self.root.find(path) {
                Ok(Found::File(bytes, shown)) => {
                    items.extend(self.builder.objects(&shown.display().to_string(), Role::Patch, &bytes, 1));
                }
                Ok(Found::Directory(root)) => {
                    let mut inner = Resources::default();
                    let inherited = Inherited { wanted: Wanted::Kustomization, namespace: None };
                    self.builder.accumulate(&root, entry.line, &mut inner, inherited);
                    items.append(&mut inner.items);
                }
                Err(fault) => self.builder.problem(entry.line, fault),
            }
        }
        items
    }

    fn components(&mut self, into: &mut Resources) {
        for (path, line) in self.file.texts("components") {
            match self.root.enter(&path) {
                Ok(root) => {
                    let inherited = Inherited { wanted: Wanted::Component, namespace: self.namespace };
                    self.builder.accumulate(&root, line, into, inherited);
                }
                Err(fault) => self.builder.problem(line, fault),
            }
        }
    }

    fn transformers(&mut self, into: &mut Resources) {
        self.patches(into);
        self.names(into);
        self.pairs(into);
        let (schema, budget) = (self.builder.schema_of(), self.builder.budget_of());
        for entry in self.file.list("patchesJson6902") {
            let done = self
                .builder
                .patch(self.root, entry)
                .and_then(|patch| patch.apply(&mut into.items, &schema, &budget));
            self.builder.attempt(entry.line, done);
        }
        for entry in self.file.list("replicas") {
            let done = metadata::set_replicas(&mut into.items, &schema, entry, &into.fields.replicas);
            self.builder.attempt(entry.line, done);
        }
        for field in ["images", "imageTags"] {
            for entry in self.file.list(field) {
                let done = budget.spend_on(entry, into.items.len()).and_then(|()| ImageRule::read(entry));
                let done = done.and_then(|rule| {
                    let mut items = into.items.iter_mut();
                    items
                        .try_for_each(|item| rule.apply(item, &into.fields.images))
                        .map_err(|reason| Fault::Patch { object: "an object".into(), reason })
                });
                self.builder.attempt(entry.line, done);
            }
        }
        for entry in self.file.list("replacements") {
            let found = self.builder.replacement(self.root, entry);
            for replacement in self.builder.attempt(entry.line, found).unwrap_or_default() {
                let done = replacements::apply(&mut into.items, &schema, &replacement, &budget);
                self.builder.attempt(replacement.line, done);
            }
        }
        for plugin in self.plugins("transformers") {
            let done = plugins::transform(self.builder, self.root, &plugin, &mut into.items);
            self.builder.attempt(plugin.node.line, done);
        }
    }

    fn patches(&mut self, into: &mut Resources) {
        let (schema, budget) = (self.builder.schema_of(), self.builder.budget_of());
        for entry in self.file.list("patchesStrategicMerge") {
            let done = self.builder.patch_documents(self.root, entry).and_then(|documents| {
                let patch =
                    Patch { documents, target: None, allow_name_change: false, allow_kind_change: false };
                patch.apply(&mut into.items, &schema, &budget)
            });
            self.builder.attempt(entry.line, done);
        }
        for entry in self.file.list("patches") {
            let done = self
                .builder
                .patch(self.root, entry)
                .and_then(|patch| patch.apply(&mut into.items, &schema, &budget));
            self.builder.attempt(entry.line, done);
        }
    }

    fn names(&mut self, into: &mut Resources) {
        let (schema, budget) = (self.builder.schema_of(), self.builder.budget_of());
        let misfit = |reason| Fault::Patch { object: "an object".into(), reason };
        if let Some((namespace, line)) = self.file.text("namespace") {
            let rule = NamespaceRule { namespace, line, ..NamespaceRule::default() };
            let done = budget
                .spend(namespace.len().saturating_mul(into.items.len()))
                .and_then(|()| rule.apply(&mut into.items, &schema, &into.fields.namespace).map_err(misfit));
            self.builder.attempt(line, done);
        }
        for (field, affix) in [("namePrefix", Affix::Prefix), ("nameSuffix", Affix::Suffix)] {
            let fields = match affix {
                Affix::Prefix => &into.fields.name_prefix,
                Affix::Suffix => &into.fields.name_suffix,
            };
            if let Some((text, line)) = self.file.text(field) {
                let done = budget.spend(text.len().saturating_mul(into.items.len())).and_then(|()| {
                    names::affix(&mut into.items, &schema, affix, text, fields, line).map_err(misfit)
                });
                self.builder.attempt(line, done);
            }
        }
    }

    fn pairs(&mut self, into: &mut Resources) {
        let budget = self.builder.budget_of();
        let misfit = |reason| Fault::Patch { object: "an object".into(), reason };
        for entry in self.file.list("labels") {
            let fields = metadata::label_fields(entry, &into.fields);
            if let Some(pairs) = entry.get("pairs") {
                let done = budget
                    .spend_on(pairs, into.items.len())
                    .and_then(|()| metadata::set_pairs(&mut into.items, pairs, &fields).map_err(misfit));
                self.builder.attempt(entry.line, done);
            }
        }
        for field in ["commonLabels", "commonAnnotations"] {
            let Some(pairs) = self.file.get(field) else { continue };
            let fields = match field {
                "commonLabels" => &into.fields.common_labels,
                _ => &into.fields.common_annotations,
            };
            let done = budget
                .spend_on(pairs, into.items.len())
                .and_then(|()| metadata::set_pairs(&mut into.items, pairs, fields).map_err(misfit));
            self.builder.attempt(pairs.line, done);
        }
    }

    fn variables(&mut self, into: &mut Resources) {
        let schema = self.builder.schema_of();
        for entry in self.file.list("vars") {
            let Some(variable) = self.builder.attempt(entry.line, Variable::read(entry)) else { continue };
            let done = variable.bind(&mut into.items, &schema);
            self.builder.attempt(entry.line, done);
            if !into.variables.iter().any(|other| other.name == variable.name) {
                into.variables.push(variable);
            }
        }
    }
}

/// What no two objects have in common.
fn key(item: &Item, schema: &Schema) -> String {
    let id = item.id(schema);
    let kind = &id.kind;
    [&kind.group, &kind.version, &kind.kind, id.effective_namespace(), &id.name].join("\n")
}

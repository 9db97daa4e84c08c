//! `kustomize build` (kustomize, api/internal/target), as far as it decides which objects there are and what is in them.

use super::budget::Budget;
use super::edit;
use super::fault::{Fault, Problem};
use super::fields::Fields;
use super::file::File;
use super::generators;
use super::item::Item;
use super::patches::Patch;
use super::references;
use super::root::Root;
use super::schema::Schema;
use super::selector::Selector;
use super::sources::{Role, Sources};
use super::target::Target;
use super::variables::{self, Variable};
use crate::chart;
use larder_gotemplate::RunOptions;
use larder_gotemplate::yaml::{self, Node, NodeKind, Style};
use std::path::Path;
use std::rc::Rc;

/// How a kustomization is built.
#[derive(Clone)]
pub struct Options<'a> {
    /// Whether files outside of the directory of the kustomization file that names them may be read, as with
    /// `--load-restrictor LoadRestrictionsNone`.
    pub unrestricted: bool,
    /// Objects at most.
    pub objects: usize,
    /// What charts are told the cluster can do.
    pub capabilities: chart::Capabilities,
    /// How much a chart may ask for.
    pub chart_limits: chart::Limits,
    /// Moment, seed and limits of the templates of charts.
    pub run: RunOptions<'a>,
}

/// What a kustomization comes to.
#[derive(Debug, Clone)]
pub struct Build {
    /// The objects. Their lines, and those of everything in them, are lines of `sources`.
    pub objects: Vec<Node>,
    /// Which file and line a line stands for.
    pub sources: Sources,
    /// What could not be done. The objects lack something, or have something they should not, unless this is empty.
    pub problems: Vec<Problem>,
}

/// Builds the kustomization in a directory.
pub fn build(directory: &Path, options: &Options<'_>) -> Build {
    let mut builder = Builder {
        options,
        schema: Rc::new(Schema::new()),
        sources: Sources::default(),
        problems: Vec::new(),
        count: 0,
        kustomizations: 0,
        budget: Rc::new(Budget::new()),
        has_description: false,
    };
    let mut resources = Resources::default();
    match Root::new(directory, options.unrestricted) {
        Ok(root) => {
            let inherited = Inherited { wanted: Wanted::Kustomization, namespace: None };
            builder.accumulate(&root, 0, &mut resources, inherited);
        }
        Err(fault) => builder.problem(0, fault),
    }
    builder.finish(resources)
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            unrestricted: false,
            objects: 100_000,
            capabilities: chart::Capabilities::default(),
            chart_limits: chart::Limits::default(),
            run: RunOptions::default(),
        }
    }
}

/// A build under way.
pub(super) struct Builder<'a> {
    options: &'a Options<'a>,
    schema: Rc<Schema>,
    sources: Sources,
    problems: Vec<Problem>,
    /// Objects that were read.
    count: usize,
    /// Kustomizations that were read: two that name two each, and so on, are very many.
    kustomizations: usize,
    budget: Rc<Budget>,
    /// Whether a kustomization has described kinds.
    has_description: bool,
}

/// What a kustomization has gathered.
#[derive(Default)]
pub(super) struct Resources {
    pub(super) items: Vec<Item>,
    pub(super) fields: Fields,
    pub(super) variables: Vec<Variable>,
}

/// What a kustomization is told by the one that names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited<'a> {
    pub(super) wanted: Wanted,
    pub(super) namespace: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Kustomization,
    Component,
}

impl<'a> Builder<'a> {
    pub(super) fn options(&self) -> &'a Options<'a> {
        self.options
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(super) fn schema_of(&self) -> Rc<Schema> {
        Rc::clone(&self.schema)
    }

    pub(super) fn budget_of(&self) -> Rc<Budget> {
        Rc::clone(&self.budget)
    }

    /// Notes what could not be done.
    pub(super) fn problem(&mut self, line: u32, fault: Fault) {
        let problem = Problem { origin: self.sources.origin(line), fault };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn attempt<T>(&mut self, line: u32, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.problem(line, fault)).ok()
    }

    /// Reads the kustomization in a directory, which `line` names, and adds what it comes to.
    pub(super) fn accumulate(
        &mut self,
        root: &Root,
        line: u32,
        into: &mut Resources,
        inherited: Inherited<'_>,
    ) {
        let Inherited { wanted, namespace } = inherited;
        if self.kustomizations >= KUSTOMIZATIONS {
            return self.problem(0, Fault::Limit { limit: KUSTOMIZATIONS as u64, what: "kustomizations" });
        }
        self.kustomizations += 1;
        let Some((bytes, path)) = self.attempt(line, root.kustomization()) else { return };
        let shown = path.display().to_string();
        let offset = self.sources.add(&shown, Role::Kustomization, &bytes);
        let mut node = edit::map(1);
        match yaml::documents(&bytes, &yaml::Limits::default()).next() {
            Some(Ok(document)) => node = document,
            Some(Err(error)) => {
                let line = offset + error.line().unwrap_or(1);
                return self.problem(line, Fault::Yaml(error));
            }
            None => {}
        }
        edit::shift(&mut node, offset);
        let mut faults = Vec::new();
        let file = File::new(node, &mut faults);
        self.sources.set_fields(file.lines());
        for (line, fault) in faults {
            self.problem(line, fault);
        }
        match (wanted, file.is_component()) {
            (Wanted::Kustomization, true) => {
                let fault = Fault::Kind { path, found: "Component".into(), wanted: "a Kustomization" };
                return self.problem(offset + 1, fault);
            }
            (Wanted::Component, false) => {
                let fault = Fault::Kind { path, found: "Kustomization".into(), wanted: "a Component" };
                return self.problem(offset + 1, fault);
            }
            _ => {}
        }
        self.describe_kinds(root, &file);
        let namespace = file.text("namespace").map(|(namespace, _)| namespace).or(namespace);
        Target { builder: self, root, file: &file, namespace }.run(into);
    }

    /// Reads `openapi`. As in kustomize, the outermost one is the one that counts.
    fn describe_kinds(&mut self, root: &Root, file: &File) {
        let Some(field) = file.get("openapi").filter(|_| !self.has_description) else { return };
        let Some(path) = edit::text_of(field, "path") else { return };
        self.has_description = true;
        let read = root.load(path).and_then(|bytes| read_documents(&bytes, 0));
        let documents = self.attempt(field.line, read);
        let schema = Rc::make_mut(&mut self.schema);
        for document in documents.unwrap_or_default() {
            schema.add(&document);
        }
    }

    /// What is done once, at the very end: hashes, references, variables.
    fn finish(mut self, mut resources: Resources) -> Build {
        let schema = self.schema_of();
        for item in resources.items.iter_mut().filter(|item| item.hashed) {
            if let Some(hash) = generators::hash(item) {
                item.remember_name(&schema);
                let (name, line) = (format!("{}-{hash}", item.name()), item.node.line);
                item.set_name(&name, line);
            }
        }
        for (line, fault) in references::fix(&mut resources.items, &schema, &resources.fields) {
            self.problem(line, fault);
        }
        let Resources { mut items, fields, variables } = resources;
        for (line, fault) in variables::resolve(&mut items, &variables, &fields.variables, &self.budget_of())
        {
            self.problem(line, fault);
        }
        let is_local = |item: &Item| item.annotation(LOCAL).is_some_and(|value| value != "false");
        let kept = items.into_iter().filter(|item| !is_local(item)).map(tidied);
        Build { objects: kept.collect(), sources: self.sources, problems: self.problems }
    }

    /// The objects of a file; lists of objects are taken apart.
    pub(super) fn objects(&mut self, path: &str, role: Role, bytes: &[u8], first: u32) -> Vec<Item> {
        let mut items = Vec::new();
        if self.attempt(0, self.budget.spend(bytes.len())).is_none() {
            return items;
        }
        let offset = self.sources.add_part(path, role, bytes, first);
        for document in yaml::documents(bytes, &yaml::Limits::default()) {
            match document {
                Ok(mut node) => {
                    edit::shift(&mut node, offset);
                    self.unpack(node, &mut items);
                }
                Err(error) => self.problem(offset + error.line().unwrap_or(1), Fault::Yaml(error)),
            }
        }
        items
    }

    fn unpack(&mut self, mut node: Node, items: &mut Vec<Item>) {
        if edit::is_empty(&node) {
            return;
        }
        let is_list = edit::text_of(&node, "kind").is_some_and(|kind| kind.ends_with("List"));
        if is_list && let Some(list) = edit::remove(&mut node, "items") {
            if let NodeKind::List(list) = list.kind {
                list.into_iter().for_each(|item| self.unpack(item, items));
            }
            return;
        }
        let line = node.line;
        if self.count >= self.options.objects {
            let limit = self.options.objects as u64;
            return self.problem(0, Fault::Limit { limit, what: "objects" });
        }
        self.count += 1;
        if let Some(item) = self.attempt(line, Item::new(node)) {
            items.push(item);
        }
    }

    /// The documents in a text of the kustomization file; their lines are lines of that file.
    pub(super) fn inline(&mut self, text: &Node) -> Result<Vec<Node>, Fault> {
        let Some(scalar) = text.as_scalar() else {
            return Err(Fault::Shape { field: "patch".into(), wanted: "a text" });
        };
        let is_block = matches!(scalar.style, Style::Literal | Style::Folded);
        let offset = if is_block { text.line } else { text.line.saturating_sub(1) };
        read_documents(scalar.text.as_bytes(), offset)
    }

    /// The documents of a file that a kustomization names beside its resources.
    pub(super) fn side_documents(&mut self, root: &Root, path: &str) -> Result<Vec<Node>, Fault> {
        let bytes = root.load(path)?;
        self.budget.spend(bytes.len())?;
        let offset = self.sources.add(&root.shown_path(path).display().to_string(), Role::Patch, &bytes);
        read_documents(&bytes, offset)
    }

    /// An item of `patchesStrategicMerge`: a patch, or the path of one.
    pub(super) fn patch_documents(&mut self, root: &Root, entry: &Node) -> Result<Vec<Node>, Fault> {
        match self.inline(entry) {
            Ok(documents) if documents.iter().any(|node| node.as_map().is_some()) => Ok(documents),
            _ => self.side_documents(root, edit::scalar_text(entry).unwrap_or_default()),
        }
    }

    /// An entry of `patches` or `patchesJson6902`.
    pub(super) fn patch(&mut self, root: &Root, entry: &Node) -> Result<Patch, Fault> {
        let documents = match (entry.get("patch"), edit::text_of(entry, "path")) {
            (Some(text), None) => self.inline(text)?,
            (None, Some(path)) => self.side_documents(root, path)?,
            _ => return Err(Fault::Shape { field: "patch".into(), wanted: "there, or path, and not both" }),
        };
        let option =
            |key| entry.get("options").is_some_and(|options| edit::text_of(options, key) == Some("true"));
        Ok(Patch {
            documents,
            target: entry.get("target").map(Selector::read).transpose()?,
            allow_name_change: option("allowNameChange"),
            allow_kind_change: option("allowKindChange"),
        })
    }

    /// An entry of `replacements`: one replacement, or a file with one or several.
    pub(super) fn replacement(&mut self, root: &Root, entry: &Node) -> Result<Vec<Node>, Fault> {
        let Some(path) = edit::text_of(entry, "path") else { return Ok(vec![entry.clone()]) };
        let mut replacements = Vec::new();
        for document in self.side_documents(root, path)? {
            match document.kind {
                NodeKind::List(items) => replacements.extend(items),
                _ => replacements.push(document),
            }
        }
        Ok(replacements)
    }
}

fn read_documents(bytes: &[u8], offset: u32) -> Result<Vec<Node>, Fault> {
    let mut documents = Vec::new();
    for document in yaml::documents(bytes, &yaml::Limits::default()) {
        let mut node = document.map_err(Fault::Yaml)?;
        edit::shift(&mut node, offset);
        documents.push(node);
    }
    Ok(documents)
}

/// The object alone. kustomize keeps its notes in annotations; where it had any, no empty annotations are left.
fn tidied(mut item: Item) -> Node {
    let has_notes = !item.previous.is_empty() || item.hashed;
    if has_notes
        && let Some(metadata) = edit::get_mut(&mut item.node, "metadata")
        && metadata.get("annotations").is_some_and(edit::is_empty)
    {
        edit::remove(metadata, "annotations");
    }
    item.node
}

/// Kustomizations in all, each counted as often as it is named.
const KUSTOMIZATIONS: usize = 4_096;

/// Objects with it are for the build only.
const LOCAL: &str = "config.kubernetes.io/local-config";

//! Goes through a document and asks the rules at each field.

use super::parts::{Around, strip_scheme, whole};
use super::pattern::{Step, display};
use super::rule::{Parts, Read, Rule};
use super::scanner::{Scan, Scanner, object_of};
use super::shape::{Needs, Shape};
use super::values::Versions;
use super::{Confidence, Find, ObjectName, Place, Problem, Reason};
use super::{elsewhere, embedded};
use larder_core::Reference;
use larder_gotemplate::yaml::{self, Node, NodeKind};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

/// One pass over one document.
pub(super) struct Walk<'w, 'a> {
    pub(super) scanner: &'w Scanner,
    pub(super) source: Arc<str>,
    pub(super) origin: Origin,
    /// No find is surer than this.
    pub(super) cap: Confidence,
    pub(super) scan: &'w mut Scan,
    pub(super) object: Option<Arc<ObjectName>>,
    /// Which rules are about the kind of object this is; a document inside of an object has none.
    pub(super) allowed: Rc<[bool]>,
    /// How the outer document leads here.
    pub(super) prefix: String,
    pub(super) path: Vec<Step<'a>>,
    /// Where in the path the object begins.
    base: usize,
    /// Documents around this one.
    pub(super) depth: usize,
    pub(super) versions: Option<&'w Versions<'w>>,
    found: Vec<usize>,
    /// A key that cannot be one was told.
    has_odd_key: bool,
    /// Maps around this one that have what images in them may inherit.
    outer: Vec<&'a Node>,
}

/// How lines of a document become lines of the file.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// It is the file.
    File,
    /// It begins in this line: a block scalar.
    Block { line: u32 },
    /// Its lines are not those of the file.
    Elsewhere { line: u32, column: u32 },
    /// There is no file.
    Nowhere,
}

/// What a rule said to a text.
#[derive(PartialEq, Eq)]
enum Answer {
    /// That it is not about it.
    Next,
    /// Something was found, or nothing is to be found.
    Done,
}

impl Origin {
    pub(super) fn place(self, (line, column): (u32, u32)) -> (u32, u32) {
        match self {
            Self::File => (line, column),
            Self::Block { line: first } => (first + line - 1, column),
            Self::Elsewhere { line, column } => (line, column),
            Self::Nowhere => (0, 0),
        }
    }
}

impl<'w, 'a> Walk<'w, 'a> {
    pub(super) fn new(
        scanner: &'w Scanner,
        source: Arc<str>,
        origin: Origin,
        cap: Confidence,
        scan: &'w mut Scan,
    ) -> Self {
        Self {
            scanner,
            source,
            origin,
            cap,
            scan,
            object: None,
            allowed: [].into(),
            prefix: String::new(),
            path: Vec::new(),
            base: 0,
            depth: 0,
            versions: None,
            found: Vec::new(),
            has_odd_key: false,
            outer: Vec::new(),
        }
    }

    pub(super) fn document(&mut self, root: &'a Node) {
        match object_of(root) {
            Some(object) => {
                self.allowed = self.scanner.rules.for_kind(object.group(), &object.kind).into();
                self.object = Some(Arc::new(object));
                elsewhere::look(self, root);
            }
            None => self.allowed = self.scanner.rules.for_kind("", "").into(),
        }
        self.visit(root, None);
    }

    fn visit(&mut self, node: &'a Node, previous: Option<&'a str>) {
        match &node.kind {
            NodeKind::Map(entries) => {
                // An object inside of another one: an item of a list, a template of objects.
                let inner = !self.path.is_empty() && entries.len() > 2 && node.get("metadata").is_some();
                match inner.then(|| object_of(node)).flatten() {
                    None => self.map(node, entries),
                    Some(object) => {
                        let allowed = self.scanner.rules.for_kind(object.group(), &object.kind).into();
                        let allowed = std::mem::replace(&mut self.allowed, allowed);
                        let base = std::mem::replace(&mut self.base, self.path.len());
                        let outer = self.object.replace(Arc::new(object));
                        elsewhere::look(self, node);
                        self.map(node, entries);
                        (self.object, self.base, self.allowed) = (outer, base, allowed);
                    }
                }
            }
            NodeKind::List(items) => {
                let mut previous = None;
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.visit(item, previous);
                    self.path.pop();
                    previous = item.as_text();
                }
            }
            NodeKind::Scalar(_) => {
                if let Some(text) = node.as_text() {
                    self.text(node, text, previous);
                }
            }
        }
    }

    fn map(&mut self, node: &'a Node, entries: &'a [(Node, Node)]) {
        let rules = &self.scanner.rules;
        let has = |keys: &HashSet<String>| {
            entries.iter().any(|(key, _)| key.as_scalar().is_some_and(|key| keys.contains(key.text.as_str())))
        };
        let is_outer = has(&rules.outer_keys);
        let has_parts = has(&rules.part_keys) || !self.outer.is_empty() && has(&rules.inner_keys);
        if matches!(self.path.last(), Some(Step::Index(_))) && self.is_own() {
            self.required(node);
        }
        let mut used = if has_parts { self.parts(node) } else { Vec::new() };
        if is_outer {
            self.outer.push(node);
        }
        if matches!(self.path.last(), Some(Step::Index(_))) && self.variable(node) {
            used.push("value");
        }
        for (key, value) in entries {
            let Some(key) = key.as_scalar() else {
                // The API server does not take it. `{{ .Values.image }}` without quotes is a map in a map to YAML.
                if self.depth == 0 && !std::mem::replace(&mut self.has_odd_key, true) {
                    let reason = match key.kind {
                        NodeKind::Map(_) => Reason::Template,
                        _ => Reason::Document(yaml::Error::Key { line: key.line }),
                    };
                    self.problem(key, reason);
                }
                continue;
            };
            if used.contains(&key.text.as_str()) {
                continue;
            }
            self.path.push(Step::Key(&key.text));
            self.visit(value, None);
            self.path.pop();
        }
        if is_outer {
            self.outer.pop();
        }
    }

    /// Whether the object is one that is created as it stands: not a template of one, a patch, an example.
    fn is_own(&self) -> bool {
        let list = [Step::Key("items"), Step::Key("objects")];
        self.depth == 0
            && match self.path[..self.base] {
                [] => true,
                [first, Step::Index(_)] => list.contains(&first),
                _ => false,
            }
    }

    /// A container must have an image.
    fn required(&mut self, map: &'a Node) {
        let is_there = |node: &Node| node.as_text().is_some_and(|text| !text.trim().is_empty());
        let image = map.get("image");
        if image.is_some_and(is_there)
            || !self.rules(false).iter().any(|rule| matches!(rule.read, Read::Required))
        {
            return;
        }
        let at = image.filter(|image| image.line > 0).unwrap_or(map);
        self.problem(at, Reason::NoImage);
    }

    /// Rules about this field, in their order.
    pub(super) fn rules(&mut self, anywhere: bool) -> Vec<&'w Rule> {
        let mut found = std::mem::take(&mut self.found);
        let path = &self.path[self.base..];
        self.scanner.rules.candidates(path, anywhere, &mut found);
        found.retain(|number| self.allowed.get(*number) == Some(&true));
        let rules = found.iter().map(|number| &self.scanner.rules.rules[*number]);
        let rules = rules.filter(|rule| rule.is_about(path)).collect();
        self.found = found;
        rules
    }

    /// A reference in pieces; gives the keys that belong to it.
    fn parts(&mut self, map: &'a Node) -> Vec<&'a str> {
        for rule in self.rules(true) {
            let parts: &'w Parts = match &rule.read {
                Read::Parts(parts) => parts,
                _ if rule.excludes() => return Vec::new(),
                _ => continue,
            };
            let around = Around {
                registry: self.versions.and_then(Versions::registry),
                tag: self.versions.and_then(|versions| versions.of(&self.path)),
                outer: self.outer.last().copied().filter(|_| parts.inherit),
            };
            if parts.inherit && around.outer.is_none() {
                continue;
            }
            let Some(whole) = whole(parts, map, &rule.schemes, &around) else {
                continue;
            };
            let keys = whole.keys.iter().filter_map(|key| own_key(map, key)).collect();
            if is_variable(&whole.text) {
                self.problem(whole.node, Reason::Variable { text: whole.text });
                return keys;
            }
            let Some(shape) = Shape::of(&whole.text) else { continue };
            if !shape.has(rule.needs) || self.is_none(&whole.text) {
                continue;
            }
            let Ok(reference) = whole.text.parse() else { continue };
            let confidence =
                if whole.pinned { rule.confidence } else { rule.confidence.map(|_| Confidence::Possible) };
            if let Some(confidence) = confidence {
                self.find(rule, confidence, (whole.node.line, whole.node.column), reference, whole.text);
            }
            return keys;
        }
        Vec::new()
    }

    /// An entry of `env`; says whether its value is done with.
    fn variable(&mut self, map: &'a Node) -> bool {
        let Some(name) = map.get("name").and_then(Node::as_text) else {
            return false;
        };
        let Some((node, text)) = map.get("value").and_then(|node| Some((node, node.as_text()?))) else {
            return false;
        };
        let text = text.trim();
        let shape = Shape::of(text);
        if shape.is_none() && !is_variable(text) {
            return false;
        }
        for rule in self.rules(true) {
            match &rule.read {
                Read::Environment if rule.is_about_name(name) => {
                    // `$(X)` is put together from other variables; only names that say image are worth a word.
                    if is_variable(text) && !rule.names.is_empty() && text.contains('/') {
                        self.problem(node, Reason::Variable { text: text.to_owned() });
                        return true;
                    }
                    self.path.push(Step::Key("value"));
                    let answer = self.reference(rule, node, text, shape, false);
                    self.path.pop();
                    if answer == Answer::Done {
                        return true;
                    }
                }
                _ if rule.confidence.is_none() && rule.is_about_value(text) => return true,
                _ => {}
            }
        }
        false
    }

    fn text(&mut self, node: &'a Node, text: &str, previous: Option<&str>) {
        let text = text.trim();
        let keyed = self.rules(false);
        let is_document = embedded::is_document(text);
        if text.is_empty() || (keyed.is_empty() && !is_document && !text.contains('/')) {
            return;
        }
        let rules = self.rules(true);
        if is_document && embedded::text(self, &rules, node, text) {
            return;
        }
        self.apply(&rules, node, text, previous);
    }

    /// Asks the rules until one has an answer.
    pub(super) fn apply(&mut self, rules: &[&'w Rule], node: &Node, text: &str, previous: Option<&str>) {
        let shape = Shape::of(text);
        for (number, rule) in rules.iter().enumerate() {
            if rule.confidence.is_none() {
                if rule.is_about_value(text) {
                    return;
                }
                continue;
            }
            let answer = match &rule.read {
                Read::Reference => self.reference(rule, node, text, shape, false),
                Read::Argument => self.argument(rule, node, text, previous),
                Read::Words => embedded::words(self, rule, node, text).into(),
                Read::Declared => embedded::declared(self, rule, node, text).into(),
                Read::Base64 => embedded::base64(self, &rules[number + 1..], node, text).into(),
                Read::Parts(_) | Read::Environment | Read::Document | Read::Required => Answer::Next,
            };
            if answer == Answer::Done {
                return;
            }
        }
    }

    /// The text as a reference. `other` says that it is not the text of the field, but a part of it.
    fn reference(
        &mut self,
        rule: &'w Rule,
        node: &Node,
        text: &str,
        shape: Option<Shape>,
        other: bool,
    ) -> Answer {
        let bare = strip_scheme(text, &rule.schemes);
        let shape = if bare.len() == text.len() { shape } else { Shape::of(bare) };
        let Some(confidence) = rule.confidence.filter(|_| rule.is_about_value(text)) else {
            return Answer::Next;
        };
        let by_name = rule.needs != Needs::Full;
        if is_variable(text) {
            if by_name && !text.contains(char::is_whitespace)
                || text.contains("{{") && confidence == Confidence::Certain
            {
                self.problem(node, Reason::Variable { text: text.to_owned() });
                return Answer::Done;
            }
            return Answer::Next;
        }
        let parsed: Option<Result<Reference, larder_core::Error>> = match shape {
            Some(shape) if shape.has(rule.needs) => Some(bare.parse()),
            Some(_) => return Answer::Next,
            None => None,
        };
        let reason = match parsed {
            // Of the text itself the rules before this one have been asked.
            Some(Ok(_)) if (bare.len() != text.len() || other) && self.is_none(bare) => return Answer::Done,
            Some(Ok(reference)) => {
                self.find(rule, confidence, (node.line, node.column), reference, bare.to_owned());
                return Answer::Done;
            }
            Some(Err(error)) => Reason::reference(text, error),
            None => Reason::Reference {
                text: text.to_owned(),
                reason: "there are other signs in it than letters, digits and . _ - / : @".to_owned(),
            },
        };
        if confidence == Confidence::Certain && rule.needs == Needs::Any {
            self.problem(node, reason);
            return Answer::Done;
        }
        Answer::Next
    }

    /// `--name=reference`, or the reference behind `--name`.
    fn argument(&mut self, rule: &'w Rule, node: &Node, text: &str, previous: Option<&str>) -> Answer {
        let flag = |text: &'_ str| text.starts_with('-').then(|| text.trim_start_matches('-').to_owned());
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim_start_matches('-').to_owned(), value),
            None => match previous.and_then(flag) {
                Some(name) if !text.starts_with('-') && !name.contains('=') => (name, text),
                _ => return Answer::Next,
            },
        };
        if !rule.is_about_name(&name) {
            return Answer::Next;
        }
        let value = value.trim_matches(['"', '\'']);
        if is_variable(value) && (rule.names.is_empty() || !value.contains('/')) {
            return Answer::Next;
        }
        self.reference(rule, node, value, Shape::of(value), true)
    }

    /// Whether a rule says that this text is no image here.
    pub(super) fn is_none(&mut self, text: &str) -> bool {
        self.rules(true).iter().any(|rule| rule.confidence.is_none() && rule.is_about_value(text))
    }

    pub(super) fn find(
        &mut self,
        rule: &Rule,
        confidence: Confidence,
        at: (u32, u32),
        reference: Reference,
        text: String,
    ) {
        self.found(rule.name.clone(), confidence, at, reference, text);
    }

    pub(super) fn found(
        &mut self,
        rule: Arc<str>,
        confidence: Confidence,
        at: (u32, u32),
        reference: Reference,
        text: String,
    ) {
        if self.scan.is_full(&self.scanner.limits) {
            return;
        }
        let place = self.place(at);
        let confidence = confidence.min(self.cap);
        self.scan.finds.push(Find { reference, text, confidence, rule, place });
    }

    pub(super) fn problem(&mut self, node: &Node, reason: Reason) {
        if self.scan.is_full(&self.scanner.limits) {
            return;
        }
        let place = self.place((node.line, node.column));
        self.scan.problems.push(Problem { place, reason });
    }

    fn place(&self, at: (u32, u32)) -> Place {
        let (line, column) = self.origin.place(at);
        let path = format!("{}{}", self.prefix, display(&self.path));
        Place { source: self.source.clone(), line, column, object: self.object.clone(), path }
    }
}

impl From<bool> for Answer {
    fn from(done: bool) -> Self {
        if done { Self::Done } else { Self::Next }
    }
}

/// The key as the map has it: the first step of `ref.tag`.
fn own_key<'a>(map: &'a Node, key: &str) -> Option<&'a str> {
    let first = key.split('.').next()?;
    let entries = map.as_map()?;
    entries
        .iter()
        .filter_map(|(key, _)| key.as_scalar())
        .map(|key| key.text.as_str())
        .find(|own| *own == first)
}

/// Whether somebody else fills something in: `{{ x }}`, `${x}`, `$(x)`, `%x%`.
pub(super) fn is_variable(text: &str) -> bool {
    text.contains("{{")
        || text.contains("${")
        || text.contains("$(")
        || text.starts_with("<") && text.ends_with('>')
}

//! Executes trees (text/template, `exec.go`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Error, Place};
use crate::function::{Fault, Run};
use crate::inclusion::without_no_value;
use crate::node::{At, Branch, Invocation, Many, Node, Pipe, Source, Span, Tree};
use crate::parser;
use crate::print;
use crate::random::Random;
use crate::run::{Cause, Diagnostic, Limits, Output, RunOptions};
use crate::stack::Stack;
use crate::templates::{Overlay, Templates};
use crate::text::Text;
use crate::value::Value;

/// One run over a set of templates.
pub(crate) struct Evaluator<'a> {
    pub(crate) templates: &'a Templates,
    pub(crate) options: &'a RunOptions<'a>,
    /// What the texts of `tpl` define that are being executed; the last hides the others.
    pub(crate) overlays: Vec<Rc<Overlay>>,
    pub(crate) out: Vec<u8>,
    /// The variables of all templates that are being executed; each frame knows where its own start.
    variables: Vec<Seen>,
    /// Lists of arguments that are not in use.
    pub(crate) spare: Vec<Vec<Value>>,
    /// How often each template is being included.
    pub(crate) included: HashMap<Text, usize>,
    steps: u64,
    pub(crate) bytes: usize,
    pub(crate) stack: Stack,
    pub(crate) random: Random,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The execution of one template.
pub(crate) struct Frame<'t> {
    pub(crate) tree: &'t Tree,
    pub(crate) source: &'t Source,
    base: usize,
    pub(crate) at: At<'t>,
}

/// A value as Go's reflection sees it. `boxed` is what was taken out of an interface and still has its static type: a value of a
/// `map[string]interface {}`. Errors call its type `interface {}`; and to ask nil for a field is an error if it is boxed, as
/// `.missing.field` is, but gives nil again if it is not, as `(.missing).field` does.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) value: Value,
    pub(crate) boxed: bool,
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) type Evaluated<T> = Result<T, Box<Error>>;

impl<'t> Frame<'t> {
    /// A name in the source.
    pub(crate) fn name(&self, span: Span) -> Cow<'t, str> {
        String::from_utf8_lossy(span.of(&self.source.text))
    }
}

impl Seen {
    pub(crate) fn plain(value: Value) -> Self {
        Self { value, boxed: false }
    }

    /// `reflect.Value{}`: not even a nil.
    pub(crate) fn is_invalid(&self) -> bool {
        !self.boxed && self.value.is_nil()
    }

    pub(crate) fn type_name(&self) -> String {
        if self.boxed { "interface {}".to_owned() } else { self.value.type_name().into_owned() }
    }
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(templates: &'a Templates, options: &'a RunOptions<'a>, name: &str) -> Self {
        Self {
            templates,
            options,
            overlays: Vec::new(),
            out: Vec::new(),
            variables: Vec::new(),
            spare: Vec::new(),
            included: HashMap::new(),
            steps: options.limits.steps,
            bytes: options.limits.bytes,
            stack: Stack::new(options.limits.stack_bytes),
            random: Random::new(options.seed, name),
            diagnostics: Vec::new(),
        }
    }

    pub(crate) fn execute(&mut self, name: &str, data: &Value) -> Result<Output, Error> {
        let Some(tree) = self.templates.tree(name.as_bytes()) else {
            return Err(Error::Unknown { name: name.to_owned() });
        };
        self.execute_tree(tree, &Seen::plain(data.clone())).map_err(|error| *error)?;
        let text = Text::from(without_no_value(std::mem::take(&mut self.out)));
        Ok(Output { text, diagnostics: std::mem::take(&mut self.diagnostics) })
    }

    /// What is not used up.
    pub(crate) fn left(&self) -> Limits {
        Limits { steps: self.steps, bytes: self.bytes, ..self.options.limits }
    }

    /// Appends what a template gives to the output.
    pub(crate) fn execute_tree(&mut self, tree: &Tree, dot: &Seen) -> Evaluated<()> {
        let base = self.variables.len();
        self.variables.resize(base + tree.slots, Seen::default());
        self.variables[base] = dot.clone();
        let mut frame = Frame { tree, source: &tree.source, base, at: At::Nothing };
        let result = self.walk(&mut frame, dot, tree.root);
        self.variables.truncate(base);
        result.map(|_| ())
    }

    pub(crate) fn tree(&self, name: &[u8]) -> Option<Rc<Tree>> {
        let mut found: Option<&Rc<Tree>> = None;
        let overlays = self.overlays.iter().rev().filter_map(|overlay| overlay.trees.get(name));
        for tree in overlays.chain(self.templates.tree(name)) {
            found = Some(tree);
            // What is empty hides nothing.
            if !tree.is_empty() {
                break;
            }
        }
        found.cloned()
    }

    pub(crate) fn fail<T>(&self, frame: &Frame<'_>, message: impl Into<String>) -> Evaluated<T> {
        self.fault(frame, Fault::new(message))
    }

    pub(crate) fn fault<T>(&self, frame: &Frame<'_>, fault: Fault) -> Evaluated<T> {
        let source = frame.source;
        let position = frame.at.position() as usize;
        let start = source.text[..position].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let place = Place {
            name: source.name.to_string(),
            line: parser::line(&source.text, position),
            column: u32::try_from(position - start).unwrap_or(u32::MAX),
            template: frame.tree.name.to_string(),
            expression: frame.at.show(source),
        };
        Err(Box::new(Error::Execute { place, message: fault.message, limit: fault.limit }))
    }

    /// Counts a step, and looks after the stack.
    pub(crate) fn step(&mut self, frame: &Frame<'_>) -> Evaluated<()> {
        self.spend(frame, 1)?;
        if self.stack.is_spent() {
            return self.fault(frame, Fault::limit("templates are nested too deeply"));
        }
        Ok(())
    }

    /// Counts steps.
    pub(crate) fn spend(&mut self, frame: &Frame<'_>, steps: u64) -> Evaluated<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => {
                let message = format!("more than {} steps", self.options.limits.steps);
                return self.fault(frame, Fault::limit(message));
            }
        }
        Ok(())
    }

    pub(crate) fn charge_at(&mut self, frame: &Frame<'_>, bytes: usize) -> Evaluated<()> {
        self.charge(bytes).or_else(|fault| self.fault(frame, fault))
    }

    fn walk<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, nodes: Many<Node>) -> Evaluated<Flow> {
        let source = frame.source;
        for node in source.many(nodes) {
            frame.at = At::Node(node);
            let before = self.out.len();
            let flow = match *node {
                Node::Text(span) => {
                    self.out.extend_from_slice(span.of(&frame.source.text));
                    self.charge_at(frame, self.out.len() - before)?;
                    Flow::Next
                }
                Node::Action(_, pipe) => {
                    let pipe = source.one(pipe);
                    let value = self.pipeline(frame, dot, pipe)?;
                    if pipe.variables.is_empty() {
                        frame.at = At::Node(node);
                        let start = self.out.len();
                        if let Err(fault) = print::action(&mut self.out, &value.value) {
                            return self.fault(frame, fault);
                        }
                        self.charge_at(frame, self.out.len() - start)?;
                    }
                    Flow::Next
                }
                Node::If(_, branch) => {
                    let branch = source.one(branch);
                    let value = self.pipeline(frame, dot, source.one(branch.pipe))?;
                    if value.value.is_true() {
                        self.walk(frame, dot, branch.list)?
                    } else {
                        self.otherwise(frame, dot, branch)?
                    }
                }
                Node::With(_, branch) => {
                    let branch = source.one(branch);
                    let value = self.pipeline(frame, dot, source.one(branch.pipe))?;
                    if value.value.is_true() {
                        self.walk(frame, &value, branch.list)?
                    } else {
                        self.otherwise(frame, dot, branch)?
                    }
                }
                Node::Range(_, branch) => self.range(frame, dot, source.one(branch))?,
                Node::Template(_, invocation) => {
                    self.template(frame, dot, source.one(invocation))?;
                    Flow::Next
                }
                Node::Break(_) => Flow::Break,
                Node::Continue(_) => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn otherwise<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, branch: &'t Branch) -> Evaluated<Flow> {
        match branch.otherwise {
            Some(nodes) => self.walk(frame, dot, nodes),
            None => Ok(Flow::Next),
        }
    }

    fn range<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, branch: &'t Branch) -> Evaluated<Flow> {
        let pipe = frame.source.one(branch.pipe);
        let value = self.pipeline(frame, dot, pipe)?;
        match &value.value {
            Value::List(list) if !list.items().is_empty() => {
                let boxed = list.element == crate::Element::Any;
                for (index, item) in list.items().iter().enumerate() {
                    let index = Value::int(i64::try_from(index).unwrap_or(i64::MAX));
                    if self.round(frame, branch, index, &Seen { value: item.clone(), boxed })? == Flow::Break
                    {
                        break;
                    }
                }
                return Ok(Flow::Next);
            }
            Value::Map(map) if !map.is_empty() => {
                let boxed = map.element.is_any();
                for (key, value) in map.entries() {
                    if self.round(frame, branch, key.into(), &Seen { value, boxed })? == Flow::Break {
                        break;
                    }
                }
                return Ok(Flow::Next);
            }
            Value::Int(count, kind) => {
                if frame.source.many(pipe.variables).len() > 1 {
                    let shown = print::shown(&value.value);
                    return self
                        .fail(frame, format!("can't use {shown} to iterate over more than one variable"));
                }
                for index in 0..*count {
                    let index = Value::Int(index, *kind);
                    if self.round(frame, branch, Value::Nil, &Seen::plain(index))? == Flow::Break {
                        break;
                    }
                }
                if *count > 0 {
                    return Ok(Flow::Next);
                }
            }
            Value::Object(object) => match object.entries() {
                Some(entries) if !entries.is_empty() => {
                    for (key, value) in entries {
                        if self.round(frame, branch, key, &Seen::plain(value))? == Flow::Break {
                            break;
                        }
                    }
                    return Ok(Flow::Next);
                }
                Some(_) => {}
                None => return self.not_iterable(frame, &value.value),
            },
            Value::Nil | Value::List(_) | Value::Map(_) => {}
            Value::Bool(_) | Value::Float(_) | Value::Text(_) => {
                return self.not_iterable(frame, &value.value);
            }
        }
        self.otherwise(frame, dot, branch)
    }

    fn not_iterable<T>(&self, frame: &Frame<'_>, value: &Value) -> Evaluated<T> {
        self.fail(frame, format!("range can't iterate over {}", print::shown(value)))
    }

    /// One round of a loop.
    fn round<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        branch: &'t Branch,
        index: Value,
        item: &Seen,
    ) -> Evaluated<Flow> {
        self.step(frame)?;
        let source = frame.source;
        match source.many(source.one(branch.pipe).variables) {
            [] => {}
            [only] => self.set(frame, only.slot, item.clone()),
            [first, second, ..] => {
                self.set(frame, first.slot, Seen::plain(index));
                self.set(frame, second.slot, item.clone());
            }
        }
        self.walk(frame, item, branch.list)
    }

    fn template<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, call: &'t Invocation) -> Evaluated<()> {
        let Some(tree) = self.tree(call.name.as_bytes()) else {
            let name = crate::quote::quote(call.name.as_bytes());
            let message = format!("template {name} not defined");
            if self.options.tolerant {
                self.note(message, Cause::Undefined);
                self.locate(frame);
                return Ok(());
            }
            return self.fail(frame, message);
        };
        self.step(frame)?;
        let dot = match call.pipe {
            Some(pipe) => self.pipeline(frame, dot, frame.source.one(pipe))?,
            None => Seen::default(),
        };
        self.execute_tree(&tree, &dot)
    }

    /// The value of a pipeline, which is never boxed. Variables it declares are set.
    pub(crate) fn pipeline<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        pipe: &'t Pipe,
    ) -> Evaluated<Seen> {
        frame.at = At::Pipe(pipe);
        self.step(frame)?;
        let mut value = None;
        for command in frame.source.many(pipe.commands) {
            value = Some(self.command(frame, dot, command, value)?.value);
        }
        let value = Seen::plain(value.unwrap_or_default());
        for variable in frame.source.many(pipe.variables) {
            if variable.slot.is_none() {
                return self.fail(frame, format!("undefined variable: {}", frame.name(variable.name)));
            }
            self.set(frame, variable.slot, value.clone());
        }
        Ok(value)
    }

    fn set(&mut self, frame: &Frame<'_>, slot: Option<usize>, value: Seen) {
        if let Some(slot) = slot {
            self.variables[frame.base + slot] = value;
        }
    }

    pub(crate) fn variable(&self, frame: &Frame<'_>, slot: usize) -> &Seen {
        &self.variables[frame.base + slot]
    }

    pub(crate) fn has_unlocated(&self) -> bool {
        self.diagnostics.last().is_some_and(|diagnostic| diagnostic.line == 0)
    }

    /// Says of what was passed over where it was, if nobody has said so yet.
    pub(crate) fn locate(&mut self, frame: &Frame<'_>) {
        for diagnostic in self.diagnostics.iter_mut().rev().take_while(|diagnostic| diagnostic.line == 0) {
            let source = frame.source;
            diagnostic.template = source.name.to_string();
            diagnostic.line = parser::line(&source.text, frame.at.position() as usize);
        }
    }
}

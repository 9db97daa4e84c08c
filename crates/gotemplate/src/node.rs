//! A template as a tree (text/template/parse, `node.go`), with functions and variables already found.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::function::Function;
use crate::table::Special;
use crate::text::Text;
use crate::value::Value;

/// One template: a text, or a `define` in it.
pub(crate) struct Tree {
    pub(crate) name: Text,
    /// The text it is from.
    pub(crate) source: Rc<Source>,
    pub(crate) root: Many<Node>,
    /// How many variables it has at most at a time, `$` included.
    pub(crate) slots: usize,
}

/// A text that was parsed, and all that its trees are made of. Nodes name each other by place in here, so that thousands of them
/// take a few allocations.
pub(crate) struct Source {
    pub(crate) name: Text,
    pub(crate) text: Vec<u8>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) branches: Vec<Branch>,
    pub(crate) invocations: Vec<Invocation>,
    pub(crate) pipes: Vec<Pipe>,
    pub(crate) targets: Vec<Target>,
    pub(crate) commands: Vec<Command>,
    pub(crate) operands: Vec<Operand>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) fields: Vec<Span>,
    pub(crate) literals: Vec<Literal>,
    pub(crate) numbers: Vec<Number>,
}

/// The place of one thing in its source.
pub(crate) struct One<T> {
    at: u32,
    of: PhantomData<T>,
}

/// The place of some things in their source.
pub(crate) struct Many<T> {
    start: u32,
    end: u32,
    of: PhantomData<T>,
}

/// What a source has a list of.
pub(crate) trait Stored: Sized {
    fn all(source: &Source) -> &Vec<Self>;
    fn all_mut(source: &mut Source) -> &mut Vec<Self>;
}

/// Offset in the source.
pub(crate) type Position = u32;

/// A piece of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

#[derive(Clone, Copy)]
pub(crate) enum Node {
    Text(Span),
    Action(Position, One<Pipe>),
    If(Position, One<Branch>),
    With(Position, One<Branch>),
    Range(Position, One<Branch>),
    Template(Position, One<Invocation>),
    Break(Position),
    Continue(Position),
}

pub(crate) struct Branch {
    pub(crate) pipe: One<Pipe>,
    pub(crate) list: Many<Node>,
    pub(crate) otherwise: Option<Many<Node>>,
}

pub(crate) struct Invocation {
    pub(crate) name: Text,
    pub(crate) pipe: Option<One<Pipe>>,
}

pub(crate) struct Pipe {
    pub(crate) position: Position,
    pub(crate) assigns: bool,
    pub(crate) variables: Many<Target>,
    pub(crate) commands: Many<Command>,
}

/// A variable that a pipeline sets.
pub(crate) struct Target {
    pub(crate) name: Span,
    /// `None`: an assignment to what there is not, which is found out when it is executed.
    pub(crate) slot: Option<usize>,
}

pub(crate) struct Command {
    pub(crate) position: Position,
    pub(crate) arguments: Many<Operand>,
}

#[derive(Clone, Copy)]
pub(crate) enum Operand {
    Bool(Position, bool),
    Dot(Position),
    Nil(Position),
    Number(Position, One<Number>),
    Text(Position, One<Literal>),
    Field(Position, Many<Span>),
    Variable(Position, One<Variable>),
    Chain(Position, One<Chain>),
    Function(Position, Callee),
    Pipe(Position, One<Pipe>),
}

pub(crate) struct Literal {
    /// As written, with its quotes.
    pub(crate) quoted: Span,
    pub(crate) value: Value,
}

pub(crate) struct Variable {
    pub(crate) name: Span,
    /// `None`: it is of another branch, which is found out when it is executed.
    pub(crate) slot: Option<usize>,
    pub(crate) fields: Many<Span>,
}

pub(crate) struct Chain {
    pub(crate) of: Operand,
    pub(crate) fields: Many<Span>,
}

#[derive(Clone, Copy)]
pub(crate) struct Callee {
    pub(crate) function: &'static Function,
    pub(crate) special: Special,
}

/// A constant: each type that can hold it, as Go's ideal constants.
#[derive(Default, Debug, PartialEq)]
pub(crate) struct Number {
    pub(crate) text: String,
    pub(crate) int: Option<i64>,
    pub(crate) uint: Option<u64>,
    pub(crate) float: Option<f64>,
    /// Real and imaginary part of `1+2i`. Nothing in Helm takes one.
    pub(crate) complex: Option<(f64, f64)>,
}

/// What is evaluated at the moment, which errors name.
#[derive(Clone, Copy)]
pub(crate) enum At<'t> {
    Nothing,
    Node(&'t Node),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Operand(&'t Operand),
}

impl Tree {
    /// Whether there is nothing in it but blanks (`IsEmptyTree`): such a template does not replace one that has something.
    pub(crate) fn is_empty(&self) -> bool {
        self.source.is_empty(self.root)
    }
}

impl Source {
    pub(crate) fn new(name: Text, text: Vec<u8>) -> Self {
        Self {
            name,
            text,
            nodes: Vec::new(),
            branches: Vec::new(),
            invocations: Vec::new(),
            pipes: Vec::new(),
            targets: Vec::new(),
            commands: Vec::new(),
            operands: Vec::new(),
            variables: Vec::new(),
            chains: Vec::new(),
            fields: Vec::new(),
            literals: Vec::new(),
            numbers: Vec::new(),
        }
    }

    pub(crate) fn one<T: Stored>(&self, place: One<T>) -> &T {
        &T::all(self)[place.at as usize]
    }

    pub(crate) fn many<T: Stored>(&self, places: Many<T>) -> &[T] {
        &T::all(self)[places.start as usize..places.end as usize]
    }

    pub(crate) fn add<T: Stored>(&mut self, thing: T) -> One<T> {
        let all = T::all_mut(self);
        all.push(thing);
        One { at: place(all.len() - 1), of: PhantomData }
    }

    pub(crate) fn add_all<T: Stored>(&mut self, things: impl IntoIterator<Item = T>) -> Many<T> {
        let all = T::all_mut(self);
        let start = place(all.len());
        all.extend(things);
        Many { start, end: place(all.len()), of: PhantomData }
    }

    /// One more of `things`, which must be what was added last, or none.
    pub(crate) fn append<T: Stored>(&mut self, things: Many<T>, thing: T) -> Many<T> {
        let all = T::all_mut(self);
        let start = if things.is_empty() { place(all.len()) } else { things.start };
        all.push(thing);
        Many { start, end: place(all.len()), of: PhantomData }
    }

    pub(crate) fn is_empty(&self, nodes: Many<Node>) -> bool {
        self.many(nodes).iter().all(|node| match node {
            Node::Text(span) => String::from_utf8_lossy(span.of(&self.text)).trim().is_empty(),
            _ => false,
        })
    }
}

/// A text has at most four billion bytes, and no byte makes more than one thing of a kind.
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("there are fewer things than bytes")
}

impl<T> Many<T> {
    pub(crate) const NONE: Self = Self { start: 0, end: 0, of: PhantomData };

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl<T> Clone for One<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for One<T> {}

impl<T> Clone for Many<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Many<T> {}

macro_rules! stored {
    ($($kind:ty: $list:ident,)*) => {
        $(impl Stored for $kind {
            fn all(source: &Source) -> &Vec<Self> {
                &source.$list
            }

            fn all_mut(source: &mut Source) -> &mut Vec<Self> {
                &mut source.$list
            }
        })*
    };
}

stored! {
    Node: nodes,
    Branch: branches,
    Invocation: invocations,
    Pipe: pipes,
    Target: targets,
    Command: commands,
    Operand: operands,
    Variable: variables,
    Chain: chains,
    Span: fields,
    Literal: literals,
    Number: numbers,
}

impl Span {
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }

    fn show(self, source: &Source) -> Cow<'_, str> {
        String::from_utf8_lossy(self.of(&source.text))
    }
}

impl At<'_> {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Nothing => 0,
            Self::Node(node) => match node {
                Node::Text(span) => span.start,
                Node::Break(position)
                | Node::Continue(position)
                | Node::Action(position, _)
                | Node::If(position, _)
                | Node::With(position, _)
                | Node::Range(position, _)
                | Node::Template(position, _) => *position,
            },
            Self::Pipe(pipe) => pipe.position,
            Self::Command(command) => command.position,
            Self::Operand(operand) => operand.position(),
        }
    }

    pub(crate) fn show(&self, source: &Source) -> String {
        let mut out = String::new();
        match self {
            Self::Nothing => {}
            Self::Node(node) => node.write(&mut out, source),
            Self::Pipe(pipe) => pipe.write(&mut out, source),
            Self::Command(command) => command.write(&mut out, source),
            Self::Operand(operand) => operand.write(&mut out, source),
        }
        out
    }
}

impl Operand {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Bool(position, _)
            | Self::Dot(position)
            | Self::Nil(position)
            | Self::Number(position, _)
            | Self::Text(position, _)
            | Self::Field(position, _)
            | Self::Variable(position, _)
            | Self::Chain(position, _)
            | Self::Function(position, _)
            | Self::Pipe(position, _) => *position,
        }
    }

    /// As Go's `String` of the node: a pipeline is without its parentheses.
    pub(crate) fn show(&self, source: &Source) -> String {
        let mut out = String::new();
        self.write(&mut out, source);
        out
    }

    fn write(&self, out: &mut String, source: &Source) {
        match *self {
            Self::Bool(_, value) => out.push_str(if value { "true" } else { "false" }),
            Self::Dot(_) => out.push('.'),
            Self::Nil(_) => out.push_str("nil"),
            Self::Number(_, number) => out.push_str(&source.one(number).text),
            Self::Text(_, literal) => out.push_str(&source.one(literal).quoted.show(source)),
            Self::Field(_, fields) => write_fields(out, fields, source),
            Self::Variable(_, variable) => {
                let variable = source.one(variable);
                out.push_str(&variable.name.show(source));
                write_fields(out, variable.fields, source);
            }
            Self::Chain(_, chain) => {
                let chain = source.one(chain);
                chain.of.write_argument(out, source);
                write_fields(out, chain.fields, source);
            }
            Self::Function(_, callee) => out.push_str(callee.function.name),
            Self::Pipe(_, pipe) => source.one(pipe).write(out, source),
        }
    }

    fn write_argument(&self, out: &mut String, source: &Source) {
        if let Self::Pipe(_, pipe) = self {
            out.push('(');
            source.one(*pipe).write(out, source);
            out.push(')');
        } else {
            self.write(out, source);
        }
    }
}

impl Command {
    fn write(&self, out: &mut String, source: &Source) {
        for (index, argument) in source.many(self.arguments).iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            argument.write_argument(out, source);
        }
    }
}

impl Pipe {
    fn write(&self, out: &mut String, source: &Source) {
        for (index, variable) in source.many(self.variables).iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            out.push_str(&variable.name.show(source));
        }
        if !self.variables.is_empty() {
            out.push_str(if self.assigns { " = " } else { " := " });
        }
        for (index, command) in source.many(self.commands).iter().enumerate() {
            if index > 0 {
                out.push_str(" | ");
            }
            command.write(out, source);
        }
    }
}

impl Node {
    fn write(&self, out: &mut String, source: &Source) {
        match *self {
            Self::Text(span) => out.push_str(&span.show(source)),
            Self::Action(_, pipe) => {
                out.push_str("{{");
                source.one(pipe).write(out, source);
                out.push_str("}}");
            }
            Self::If(_, branch) => source.one(branch).write("if", out, source),
            Self::With(_, branch) => source.one(branch).write("with", out, source),
            Self::Range(_, branch) => source.one(branch).write("range", out, source),
            Self::Template(_, invocation) => {
                let invocation = source.one(invocation);
                out.push_str("{{template ");
                out.push_str(&crate::quote::quote(invocation.name.as_bytes()));
                if let Some(pipe) = invocation.pipe {
                    out.push(' ');
                    source.one(pipe).write(out, source);
                }
                out.push_str("}}");
            }
            Self::Break(_) => out.push_str("{{break}}"),
            Self::Continue(_) => out.push_str("{{continue}}"),
        }
    }
}

impl Branch {
    fn write(&self, name: &str, out: &mut String, source: &Source) {
        out.push_str("{{");
        out.push_str(name);
        out.push(' ');
        source.one(self.pipe).write(out, source);
        out.push_str("}}");
        source.many(self.list).iter().for_each(|node| node.write(out, source));
        if let Some(otherwise) = self.otherwise {
            out.push_str("{{else}}");
            source.many(otherwise).iter().for_each(|node| node.write(out, source));
        }
        out.push_str("{{end}}");
    }
}

fn write_fields(out: &mut String, fields: Many<Span>, source: &Source) {
    for field in source.many(fields) {
        out.push('.');
        out.push_str(&field.show(source));
    }
}

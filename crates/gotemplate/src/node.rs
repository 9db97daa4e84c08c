//! A template as a tree (text/template/parse, `node.go`), with functions and variables already found.

use std::fmt::Write;
use std::rc::Rc;

use crate::function::Function;
use crate::table::Special;
use crate::value::{Text, Value};

/// One template: a text, or a `define` in it.
pub(crate) struct Tree {
    pub(crate) name: Text,
    /// The text it is from.
    pub(crate) source: Rc<Source>,
    pub(crate) root: Box<[Node]>,
    /// How many variables it has at most at a time, `$` included.
    pub(crate) slots: usize,
}

/// A text that was parsed, which places in errors are about.
pub(crate) struct Source {
    pub(crate) name: Text,
    pub(crate) text: Vec<u8>,
}

/// Offset in the source.
pub(crate) type Position = u32;

/// A piece of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

pub(crate) enum Node {
    Text(Span),
    Action(Pipe),
    If(Box<Branch>),
    With(Box<Branch>),
    Range(Box<Branch>),
    Template(Box<Invocation>),
    Break(Position),
    Continue(Position),
}

pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: Box<[Node]>,
    pub(crate) otherwise: Option<Box<[Node]>>,
}

pub(crate) struct Invocation {
    pub(crate) position: Position,
    pub(crate) name: Text,
    pub(crate) pipe: Option<Pipe>,
}

pub(crate) struct Pipe {
    pub(crate) position: Position,
    pub(crate) assigns: bool,
    pub(crate) variables: Box<[Target]>,
    pub(crate) commands: Box<[Command]>,
}

/// A variable that a pipeline sets.
pub(crate) struct Target {
    pub(crate) name: Span,
    /// `None`: an assignment to what there is not, which is found out when it is executed.
    pub(crate) slot: Option<usize>,
}

pub(crate) struct Command {
    pub(crate) position: Position,
    pub(crate) arguments: Box<[Operand]>,
}

pub(crate) enum Operand {
    Bool(Position, bool),
    Dot(Position),
    Nil(Position),
    Number(Position, Box<Number>),
    Text(Position, Box<Literal>),
    Field(Position, Box<[Span]>),
    Variable(Position, Box<Variable>),
    Chain(Position, Box<Chain>),
    Function(Position, Callee),
    Pipe(Box<Pipe>),
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
    pub(crate) fields: Box<[Span]>,
}

pub(crate) struct Chain {
    pub(crate) of: Operand,
    pub(crate) fields: Box<[Span]>,
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

impl Span {
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }

    fn show(self, source: &Source) -> String {
        String::from_utf8_lossy(self.of(&source.text)).into_owned()
    }
}

impl Tree {
    /// Whether there is nothing in it but blanks (`IsEmptyTree`): such a template does not replace one that has something.
    pub(crate) fn is_empty(&self) -> bool {
        is_empty(&self.root, &self.source.text)
    }
}

impl At<'_> {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Nothing => 0,
            Self::Node(node) => match node {
                Node::Text(span) => span.start,
                Node::Break(position) | Node::Continue(position) => *position,
                Node::Action(pipe) => pipe.position,
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => branch.pipe.position,
                Node::Template(invocation) => invocation.position,
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
            | Self::Function(position, _) => *position,
            Self::Pipe(pipe) => pipe.position,
        }
    }

    /// As Go's `String` of the node: a pipeline is without its parentheses.
    pub(crate) fn show(&self, source: &Source) -> String {
        let mut out = String::new();
        self.write(&mut out, source);
        out
    }

    fn write(&self, out: &mut String, source: &Source) {
        match self {
            Self::Bool(_, value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Dot(_) => out.push('.'),
            Self::Nil(_) => out.push_str("nil"),
            Self::Number(_, number) => out.push_str(&number.text),
            Self::Text(_, literal) => out.push_str(&literal.quoted.show(source)),
            Self::Field(_, fields) => write_fields(out, fields, source),
            Self::Variable(_, variable) => {
                out.push_str(&variable.name.show(source));
                write_fields(out, &variable.fields, source);
            }
            Self::Chain(_, chain) => {
                chain.of.write_argument(out, source);
                write_fields(out, &chain.fields, source);
            }
            Self::Function(_, callee) => out.push_str(callee.function.name),
            Self::Pipe(pipe) => pipe.write(out, source),
        }
    }

    fn write_argument(&self, out: &mut String, source: &Source) {
        if let Self::Pipe(pipe) = self {
            out.push('(');
            pipe.write(out, source);
            out.push(')');
        } else {
            self.write(out, source);
        }
    }
}

impl Command {
    fn write(&self, out: &mut String, source: &Source) {
        for (index, argument) in self.arguments.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            argument.write_argument(out, source);
        }
    }
}

impl Pipe {
    fn write(&self, out: &mut String, source: &Source) {
        for (index, variable) in self.variables.iter().enumerate() {
            let _ = write!(out, "{}{}", if index > 0 { ", " } else { "" }, variable.name.show(source));
        }
        if !self.variables.is_empty() {
            out.push_str(if self.assigns { " = " } else { " := " });
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                out.push_str(" | ");
            }
            command.write(out, source);
        }
    }
}

impl Node {
    fn write(&self, out: &mut String, source: &Source) {
        match self {
            Self::Text(span) => out.push_str(&span.show(source)),
            Self::Action(pipe) => {
                out.push_str("{{");
                pipe.write(out, source);
                out.push_str("}}");
            }
            Self::If(branch) => branch.write("if", out, source),
            Self::With(branch) => branch.write("with", out, source),
            Self::Range(branch) => branch.write("range", out, source),
            Self::Template(invocation) => {
                let _ = write!(out, "{{{{template {}", crate::quote::quote(invocation.name.as_bytes()));
                if let Some(pipe) = &invocation.pipe {
                    out.push(' ');
                    pipe.write(out, source);
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
        let _ = write!(out, "{{{{{name} ");
        self.pipe.write(out, source);
        out.push_str("}}");
        self.list.iter().for_each(|node| node.write(out, source));
        if let Some(otherwise) = &self.otherwise {
            out.push_str("{{else}}");
            otherwise.iter().for_each(|node| node.write(out, source));
        }
        out.push_str("{{end}}");
    }
}

pub(crate) fn is_empty(nodes: &[Node], source: &[u8]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(span) => String::from_utf8_lossy(span.of(source)).trim().is_empty(),
        _ => false,
    })
}

fn write_fields(out: &mut String, fields: &[Span], source: &Source) {
    for field in fields {
        out.push('.');
        out.push_str(&field.show(source));
    }
}

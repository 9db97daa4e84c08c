//! From tokens to trees (text/template/parse, `parse.go`). Functions are looked up here, and variables get their slots: what is
//! executed often is not looked for often.

use std::rc::Rc;

use crate::error::Error;
use crate::lexer::{Kind, Lexer, Token};
use crate::node::{Branch, Command, Invocation, Many, Node, One, Operand, Position, Source, Span, Tree};
use crate::quote::unquote;
use crate::stack::Stack;
use crate::table::Table;
use crate::text::Text;

/// The trees of a text: its own, which is the first, and those it defines.
pub(crate) fn parse(name: &Text, text: &[u8], table: &Table, stack: Stack) -> Result<Vec<Tree>, Error> {
    if u32::try_from(text.len()).is_err() {
        let message = "text is too long".to_owned();
        return Err(Error::Parse { name: name.to_string(), line: 1, message });
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        text,
        source: Source::new(name.clone(), text.to_vec()),
        table,
        tokens: [NO_TOKEN; 3],
        peeked: 0,
        scope: Scope::new(),
        range_depth: 0,
        action: None,
        trees: Vec::new(),
        stack,
        nodes: Vec::new(),
        commands: Vec::new(),
        operands: Vec::new(),
    };
    let root = parser.root()?;
    let slots = parser.scope.most;
    parser.add(Draft { name: name.clone(), root, slots })?;
    let source = Rc::new(parser.source);
    let tree = |draft: Draft| Tree {
        name: draft.name,
        source: source.clone(),
        root: draft.root,
        slots: draft.slots,
    };
    Ok(parser.trees.into_iter().map(tree).collect())
}

pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    pub(crate) text: &'a [u8],
    pub(crate) source: Source,
    pub(crate) table: &'a Table,
    /// The first is what was read last; the others are what was put back.
    tokens: [Token; 3],
    peeked: usize,
    pub(crate) scope: Scope,
    range_depth: usize,
    /// Where the action began that is being read.
    action: Option<usize>,
    trees: Vec<Draft>,
    stack: Stack,
    /// What lists are made of that are being read: each takes its own from the end.
    nodes: Vec<Node>,
    pub(crate) commands: Vec<Command>,
    pub(crate) operands: Vec<Operand>,
}

/// A tree whose source is not complete.
struct Draft {
    name: Text,
    root: Many<Node>,
    slots: usize,
}

/// Which variables there are.
pub(crate) struct Scope {
    /// All that the rest of the text may name. Go looks no closer than this while it parses: a variable of one branch may be named
    /// in the other.
    pub(crate) declared: Vec<Span>,
    /// What there is when the text is executed, by slot.
    live: Vec<Span>,
    most: usize,
}

/// What ended a list of nodes.
enum Ending {
    End,
    Else,
}

enum Parsed {
    Node(Node),
    Ending(Ending),
}

impl Scope {
    fn new() -> Self {
        Self { declared: vec![DOLLAR], live: vec![DOLLAR], most: 1 }
    }

    pub(crate) fn slot(&self, name: Span, text: &[u8]) -> Option<usize> {
        self.live.iter().rposition(|live| live.is(name, text))
    }

    pub(crate) fn push(&mut self, name: Span) -> usize {
        self.live.push(name);
        self.most = self.most.max(self.live.len());
        self.live.len() - 1
    }
}

impl<'a> Parser<'a> {
    pub(crate) fn next(&mut self) -> Token {
        if self.peeked > 0 {
            self.peeked -= 1;
        } else {
            self.tokens[0] = self.lexer.next_token();
        }
        self.tokens[self.peeked]
    }

    pub(crate) fn backup(&mut self) {
        self.peeked += 1;
    }

    /// Puts back two tokens: `first`, and the one that was read last.
    pub(crate) fn backup2(&mut self, first: Token) {
        self.tokens[1] = first;
        self.peeked = 2;
    }

    pub(crate) fn backup3(&mut self, first: Token, second: Token) {
        self.tokens[1] = second;
        self.tokens[2] = first;
        self.peeked = 3;
    }

    pub(crate) fn peek(&mut self) -> Token {
        if self.peeked == 0 {
            self.tokens[0] = self.lexer.next_token();
            self.peeked = 1;
        }
        self.tokens[self.peeked - 1]
    }

    pub(crate) fn peek_kind(&mut self) -> Kind {
        self.peek().kind
    }

    pub(crate) fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    pub(crate) fn peek_non_space(&mut self) -> Token {
        while self.peek_kind() == Kind::Space {
            self.next();
        }
        self.peek()
    }

    pub(crate) fn value(&self, token: Token) -> &'a [u8] {
        &self.text[token.start..token.end]
    }

    fn line(&self, position: usize) -> u32 {
        line(self.text, position)
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        let line = self.line(self.tokens[0].start);
        Error::Parse { name: self.source.name.to_string(), line, message: message.into() }
    }

    pub(crate) fn unexpected(&self, token: Token, place: &str) -> Error {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {} in {place}", self.lexer.show(token)));
        }
        let mut extra = String::new();
        let action_line = self.action.map(|start| self.line(start));
        if let Some(line) = action_line.filter(|line| *line != self.line(token.start)) {
            extra = format!(" in action started at {}:{line}", self.source.name);
            if self.lexer.message().ends_with(" action") {
                extra = extra[" in action".len()..].to_owned();
            }
        }
        self.error(format!("{}{extra}", self.lexer.message()))
    }

    fn expect(&mut self, kind: Kind, place: &str) -> Result<Token, Error> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(token, place)) }
    }

    pub(crate) fn guard(&self) -> Result<(), Error> {
        if self.stack.is_spent() { Err(self.error("template is nested too deeply")) } else { Ok(()) }
    }

    fn root(&mut self) -> Result<Many<Node>, Error> {
        let mut root = Vec::new();
        while self.peek_kind() != Kind::Eof {
            if self.peek_kind() == Kind::LeftDelimiter {
                let delimiter = self.next();
                if self.next_non_space().kind == Kind::Define {
                    self.definition()?;
                    continue;
                }
                self.backup2(delimiter);
            }
            match self.text_or_action()? {
                Parsed::Node(node) => root.push(node),
                Parsed::Ending(ending) => return Err(self.error(format!("unexpected {}", ending.show()))),
            }
        }
        Ok(self.source.add_all(root))
    }

    /// `{{define "name"}} … {{end}}`; the keyword is read.
    fn definition(&mut self) -> Result<(), Error> {
        const PLACE: &str = "define clause";
        let action = self.action.take();
        let token = self.next_non_space();
        let name = self.name(token, PLACE)?;
        self.expect(Kind::RightDelimiter, PLACE)?;
        self.inner(name, PLACE)?;
        self.action = action;
        Ok(())
    }

    /// The list of a template in a template, with variables of its own, up to its end.
    fn inner(&mut self, name: Text, place: &str) -> Result<(), Error> {
        let scope = std::mem::replace(&mut self.scope, Scope::new());
        let range_depth = std::mem::take(&mut self.range_depth);
        let (root, ending) = self.list()?;
        if let Ending::Else = ending {
            return Err(self.error(format!("unexpected {} in {place}", ending.show())));
        }
        let slots = std::mem::replace(&mut self.scope, scope).most;
        self.range_depth = range_depth;
        self.add(Draft { name, root, slots })
    }

    /// One text may define a template twice only if one of both is empty.
    fn add(&mut self, tree: Draft) -> Result<(), Error> {
        match self.trees.iter_mut().find(|other| other.name == tree.name) {
            None => self.trees.push(tree),
            Some(other) if self.source.is_empty(other.root) => *other = tree,
            Some(_) if self.source.is_empty(tree.root) => {}
            Some(_) => {
                let name = crate::quote::quote(tree.name.as_bytes());
                return Err(self.error(format!("template: multiple definition of template {name}")));
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(Many<Node>, Ending), Error> {
        self.guard()?;
        let start = self.nodes.len();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Parsed::Node(node) => self.nodes.push(node),
                Parsed::Ending(ending) => {
                    return Ok((self.source.add_all(self.nodes.drain(start..)), ending));
                }
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Parsed, Error> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Parsed::Node(Node::Text(span(token)))),
            Kind::LeftDelimiter => {
                self.action = Some(token.start);
                let parsed = self.action()?;
                self.action = None;
                Ok(parsed)
            }
            _ => Err(self.unexpected(token, "input")),
        }
    }

    /// What stands after the left delimiter.
    fn action(&mut self) -> Result<Parsed, Error> {
        let token = self.next_non_space();
        let node = match token.kind {
            Kind::Block => self.block()?,
            Kind::Break => self.leave(token, "{{break}}", Node::Break)?,
            Kind::Continue => self.leave(token, "{{continue}}", Node::Continue)?,
            Kind::Else => return self.otherwise(),
            Kind::End => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Parsed::Ending(Ending::End));
            }
            Kind::If => self.branch("if", Node::If)?,
            Kind::Range => self.branch("range", Node::Range)?,
            Kind::Template => self.template()?,
            Kind::With => self.branch("with", Node::With)?,
            _ => {
                self.backup();
                let (position, pipe) = self.pipeline("command", Kind::RightDelimiter)?;
                Node::Action(position, pipe)
            }
        };
        Ok(Parsed::Node(node))
    }

    fn leave(&mut self, token: Token, what: &str, node: fn(Position) -> Node) -> Result<Node, Error> {
        let next = self.next_non_space();
        if next.kind != Kind::RightDelimiter {
            return Err(self.unexpected(next, what));
        }
        if self.range_depth == 0 {
            return Err(self.error(format!("{what} outside {{{{range}}}}")));
        }
        Ok(node(position(token.start)))
    }

    /// `if` and `with` after `else` are left for `branch`.
    fn otherwise(&mut self) -> Result<Parsed, Error> {
        if !matches!(self.peek_non_space().kind, Kind::If | Kind::With) {
            self.expect(Kind::RightDelimiter, "else")?;
        }
        Ok(Parsed::Ending(Ending::Else))
    }

    fn branch(&mut self, keyword: &str, node: fn(Position, One<Branch>) -> Node) -> Result<Node, Error> {
        self.guard()?;
        let (declared, live) = (self.scope.declared.len(), self.scope.live.len());
        let (position, pipe) = self.pipeline(keyword, Kind::RightDelimiter)?;
        let live_in_branches = self.scope.live.len();
        self.range_depth += usize::from(keyword == "range");
        let (list, ending) = self.list()?;
        self.range_depth -= usize::from(keyword == "range");
        self.scope.live.truncate(live_in_branches);
        let otherwise = match ending {
            Ending::End => None,
            Ending::Else => Some(self.else_branch(keyword)?),
        };
        self.scope.live.truncate(live);
        self.scope.declared.truncate(declared);
        Ok(node(position, self.source.add(Branch { pipe, list, otherwise })))
    }

    /// `{{else if}}` is `{{else}}{{if}}` with one end for both; likewise `{{else with}}`.
    fn else_branch(&mut self, keyword: &str) -> Result<Many<Node>, Error> {
        match (keyword, self.peek_kind()) {
            ("if", Kind::If) => {
                self.next();
                let node = self.branch("if", Node::If)?;
                Ok(self.source.add_all([node]))
            }
            ("with", Kind::With) => {
                self.next();
                let node = self.branch("with", Node::With)?;
                Ok(self.source.add_all([node]))
            }
            _ => match self.list()? {
                (nodes, Ending::End) => Ok(nodes),
                (_, ending) => Err(self.error(format!("expected end; found {}", ending.show()))),
            },
        }
    }

    fn block(&mut self) -> Result<Node, Error> {
        const PLACE: &str = "block clause";
        let token = self.next_non_space();
        let name = self.name(token, PLACE)?;
        let (_, pipe) = self.pipeline(PLACE, Kind::RightDelimiter)?;
        let action = self.action.take();
        self.inner(name.clone(), PLACE)?;
        self.action = action;
        Ok(Node::Template(position(token.start), self.source.add(Invocation { name, pipe: Some(pipe) })))
    }

    fn template(&mut self) -> Result<Node, Error> {
        const PLACE: &str = "template clause";
        let token = self.next_non_space();
        let name = self.name(token, PLACE)?;
        let mut pipe = None;
        if self.next_non_space().kind != Kind::RightDelimiter {
            self.backup();
            pipe = Some(self.pipeline(PLACE, Kind::RightDelimiter)?.1);
        }
        Ok(Node::Template(position(token.start), self.source.add(Invocation { name, pipe })))
    }

    fn name(&self, token: Token, place: &str) -> Result<Text, Error> {
        match token.kind {
            Kind::String | Kind::RawString => match unquote(self.value(token)) {
                Some(name) => Ok(Text::from(name)),
                None => Err(self.error("invalid syntax")),
            },
            _ => Err(self.unexpected(token, place)),
        }
    }
}

impl Span {
    /// Whether both are the same name. `$` is in no source: it is always there.
    pub(crate) fn is(self, other: Self, text: &[u8]) -> bool {
        if self == DOLLAR { other.of(text) == b"$" } else { self.of(text) == other.of(text) }
    }
}

impl Ending {
    fn show(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// The line of a position, 1-based.
pub(crate) fn line(text: &[u8], position: usize) -> u32 {
    let newlines = text[..position.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(newlines + 1).unwrap_or(u32::MAX)
}

pub(crate) fn span(token: Token) -> Span {
    Span { start: position(token.start), end: position(token.end) }
}

pub(crate) fn position(offset: usize) -> Position {
    u32::try_from(offset).expect("the length of the text was checked")
}

const NO_TOKEN: Token = Token { kind: Kind::Eof, start: 0, end: 0 };
const DOLLAR: Span = Span { start: 0, end: 0 };

//! Pipelines and what they are made of (text/template/parse, `parse.go`: `pipeline` to `useVar`).

use crate::error::Error;
use crate::lexer::{Kind, Token};
use crate::node::{
    Chain, Command, Literal, Many, Number, One, Operand, Pipe, Position, Span, Target, Variable,
};
use crate::parser::{Parser, position, span};
use crate::quote::unquote;
use crate::value::Value;

impl Parser<'_> {
    /// `declarations? command ('|' command)*`, up to and with `end`.
    pub(crate) fn pipeline(&mut self, place: &str, end: Kind) -> Result<(Position, One<Pipe>), Error> {
        self.guard()?;
        let start = position(self.peek_non_space().start);
        let (names, assigns) = self.declarations(place)?;
        let first = self.commands.len();
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    self.backup();
                    let command = self.command()?;
                    self.commands.push(command);
                }
                _ => return Err(self.unexpected(token, place)),
            }
        }
        self.check(&self.commands[first..], place)?;
        let commands = self.source.add_all(self.commands.drain(first..));
        let mut variables = Many::NONE;
        if !names.is_empty() {
            let targets: Vec<_> = names.into_iter().map(|name| self.target(name, assigns)).collect();
            variables = self.source.add_all(targets);
        }
        Ok((start, self.source.add(Pipe { position: start, assigns, variables, commands })))
    }

    /// What a pipeline declares, and whether it assigns instead.
    fn declarations(&mut self, place: &str) -> Result<(Vec<Span>, bool), Error> {
        let mut names = Vec::new();
        while self.peek_non_space().kind == Kind::Variable {
            let variable = self.next();
            // `$x foo` takes three tokens to be told from `$x := foo`, since blanks are tokens.
            let after = self.peek();
            let next = self.peek_non_space();
            let comma = next.kind == Kind::Char && self.value(next) == b",";
            if comma || matches!(next.kind, Kind::Assign | Kind::Declare) {
                self.next_non_space();
                self.scope.declared.push(span(variable));
                names.push(span(variable));
            }
            if matches!(next.kind, Kind::Assign | Kind::Declare) {
                return Ok((names, next.kind == Kind::Assign));
            } else if comma {
                if place != "range" || names.len() >= 2 {
                    return Err(self.error(format!("too many declarations in {place}")));
                }
                let second = self.peek_non_space().kind;
                if !matches!(second, Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis) {
                    return Err(self.error("range can only initialize variables"));
                }
            } else {
                if after.kind == Kind::Space {
                    self.backup3(variable, after);
                } else {
                    self.backup2(variable);
                }
                break;
            }
        }
        Ok((names, false))
    }

    fn target(&mut self, name: Span, assigns: bool) -> Target {
        let slot = if assigns { self.scope.slot(name, self.text) } else { Some(self.scope.push(name)) };
        Target { name, slot }
    }

    fn check(&self, commands: &[Command], place: &str) -> Result<(), Error> {
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {place}")));
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            if let Operand::Bool(..)
            | Operand::Dot(_)
            | Operand::Nil(_)
            | Operand::Number(..)
            | Operand::Text(..) = self.source.many(command.arguments)[0]
            {
                return Err(self.error(format!("non executable command in pipeline stage {}", index + 1)));
            }
        }
        Ok(())
    }

    /// Operands up to a pipe, which is read, or the end of the pipeline, which is not.
    fn command(&mut self) -> Result<Command, Error> {
        let start = position(self.peek_non_space().start);
        let first = self.operands.len();
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                self.operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParenthesis => self.backup(),
                Kind::Pipe => {}
                _ => return Err(self.unexpected(token, "operand")),
            }
            break;
        }
        if self.operands.len() == first {
            return Err(self.error("empty command"));
        }
        Ok(Command { position: start, arguments: self.source.add_all(self.operands.drain(first..)) })
    }

    /// A term and the fields after it.
    fn operand(&mut self) -> Result<Option<Operand>, Error> {
        let Some(mut term) = self.term()? else { return Ok(None) };
        if self.peek_kind() != Kind::Field {
            return Ok(Some(term));
        }
        let start = position(self.peek().start);
        let fields = self.fields(match term {
            Operand::Field(_, fields) => fields,
            _ => Many::NONE,
        });
        match term {
            // These become one node with their fields, which is where the fields begin.
            Operand::Field(..) => term = Operand::Field(start, fields),
            Operand::Variable(_, variable) => {
                let Variable { name, slot, .. } = *self.source.one(variable);
                term = Operand::Variable(start, self.source.add(Variable { name, slot, fields }));
            }
            Operand::Bool(..)
            | Operand::Text(..)
            | Operand::Number(..)
            | Operand::Nil(_)
            | Operand::Dot(_) => {
                let shown = crate::quote::quote(term.show(&self.source).as_bytes());
                return Err(self.error(format!("unexpected . after term {shown}")));
            }
            Operand::Chain(..) | Operand::Function(..) | Operand::Pipe(..) => {
                term = Operand::Chain(start, self.source.add(Chain { of: term, fields }));
            }
        }
        Ok(Some(term))
    }

    /// The fields that are next, after those that were read before.
    fn fields(&mut self, before: Many<Span>) -> Many<Span> {
        // What was read last is still at the end.
        let mut fields = before;
        while self.peek_kind() == Kind::Field {
            let token = self.next();
            fields = self.source.append(fields, name_of_field(token));
        }
        fields
    }

    fn term(&mut self) -> Result<Option<Operand>, Error> {
        let token = self.next_non_space();
        let start = position(token.start);
        let value = self.value(token);
        let operand = match token.kind {
            Kind::Identifier => match self.table.callee(value) {
                Some(callee) => Operand::Function(start, callee),
                None => {
                    let name = crate::quote::quote(value);
                    return Err(self.error(format!("function {name} not defined")));
                }
            },
            Kind::Dot => Operand::Dot(start),
            Kind::Nil => Operand::Nil(start),
            Kind::Variable => {
                let variable = self.variable(span(token))?;
                Operand::Variable(start, self.source.add(variable))
            }
            Kind::Field => Operand::Field(start, self.source.append(Many::NONE, name_of_field(token))),
            Kind::Bool => Operand::Bool(start, value == b"true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                let number = match token.kind {
                    Kind::CharConstant => Number::character(value),
                    Kind::Complex => Number::complex(value),
                    _ => Number::parse(value),
                };
                let number = number.map_err(|message| self.error(message))?;
                Operand::Number(start, self.source.add(number))
            }
            Kind::LeftParenthesis => {
                let (start, pipe) = self.pipeline("parenthesized pipeline", Kind::RightParenthesis)?;
                Operand::Pipe(start, pipe)
            }
            Kind::String | Kind::RawString => match unquote(value) {
                Some(text) => {
                    let literal = Literal { quoted: span(token), value: Value::text(text) };
                    Operand::Text(start, self.source.add(literal))
                }
                None => return Err(self.error("invalid syntax")),
            },
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(operand))
    }

    fn variable(&self, name: Span) -> Result<Variable, Error> {
        if !self.scope.declared.iter().any(|declared| declared.is(name, self.text)) {
            let name = crate::quote::quote(name.of(self.text));
            return Err(self.error(format!("undefined variable {name}")));
        }
        Ok(Variable { name, slot: self.scope.slot(name, self.text), fields: Many::NONE })
    }
}

/// Without its point.
fn name_of_field(token: Token) -> Span {
    Span { start: position(token.start + 1), end: position(token.end) }
}

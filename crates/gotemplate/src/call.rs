//! Commands, operands and calls (text/template, `exec.go`: `evalCommand` to `validateType`).

use crate::evaluator::{Evaluated, Evaluator, Frame, Seen};
use crate::function::{Arguments, Fault, Parameter};
use crate::helm::methods;
use crate::node::{At, Callee, Chain, Command, Many, Number, Operand, Span, Variable};
use crate::table::Special;
use crate::value::{Element, List, Map, Value};

/// The arguments of a call as they are written, and what came down the pipeline, which is the last argument.
struct Given<'t> {
    arguments: &'t [Operand],
    last: Option<Value>,
}

impl Given<'_> {
    const NOTHING: Self = Given { arguments: &[], last: None };

    fn len(&self) -> usize {
        self.arguments.len() + usize::from(self.last.is_some())
    }
}

impl Evaluator<'_> {
    /// The value of a command; `last` is the value of the command before it.
    pub(crate) fn command<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        command: &'t Command,
        last: Option<Value>,
    ) -> Evaluated<Seen> {
        let (first, arguments) =
            frame.source.many(command.arguments).split_first().expect("the parser lets no command be empty");
        let given = Given { arguments, last };
        match *first {
            Operand::Field(_, fields) => {
                frame.at = At::Operand(first);
                self.fields(frame, dot, dot, fields, given)
            }
            Operand::Chain(_, chain) => {
                frame.at = At::Operand(first);
                self.chain(frame, frame.source.one(chain), first, dot, given)
            }
            Operand::Function(_, callee) => {
                frame.at = At::Operand(first);
                self.call(frame, dot, callee, At::Command(command), given)
            }
            Operand::Pipe(_, pipe) => {
                self.no_function(frame, first, &given)?;
                self.pipeline(frame, dot, frame.source.one(pipe))
            }
            Operand::Variable(_, variable) => {
                frame.at = At::Operand(first);
                self.variable_fields(frame, frame.source.one(variable), first, dot, given)
            }
            _ => {
                frame.at = At::Operand(first);
                self.no_function(frame, first, &given)?;
                match first {
                    Operand::Nil(_) => self.fail(frame, "nil is not a command"),
                    _ => self.constant(frame, dot, first),
                }
            }
        }
    }

    fn no_function(&self, frame: &Frame<'_>, operand: &Operand, given: &Given<'_>) -> Evaluated<()> {
        if given.len() == 0 {
            return Ok(());
        }
        self.fail(frame, format!("can't give argument to non-function {}", operand.show(frame.source)))
    }

    /// What needs no call: a constant or dot.
    fn constant(&self, frame: &Frame<'_>, dot: &Seen, operand: &Operand) -> Evaluated<Seen> {
        let value = match operand {
            Operand::Bool(_, value) => Value::Bool(*value),
            Operand::Dot(_) => return Ok(dot.clone()),
            Operand::Number(_, number) => self.ideal(frame, frame.source.one(*number))?,
            Operand::Text(_, literal) => frame.source.one(*literal).value.clone(),
            _ => {
                return self.fail(frame, format!("can't evaluate command {}", operand.show(frame.source)));
            }
        };
        Ok(Seen::plain(value))
    }

    /// A number where nothing says what type it should have: its syntax decides.
    fn ideal(&self, frame: &Frame<'_>, number: &Number) -> Evaluated<Value> {
        let text = &number.text;
        if number.complex.is_some() {
            return self.fail(frame, format!("complex numbers are not supported: {text}"));
        }
        let hexadecimal =
            text.len() > 2 && text.starts_with('0') && matches!(text.as_bytes()[1], b'x' | b'X');
        let is_hexadecimal_int = hexadecimal && !text.contains(['p', 'P']);
        let is_rune = text.starts_with('\'');
        match (number.float, number.int) {
            (Some(float), _)
                if !is_hexadecimal_int && !is_rune && text.contains(['.', 'e', 'E', 'p', 'P']) =>
            {
                Ok(Value::Float(float))
            }
            (_, Some(int)) => Ok(Value::int(int)),
            _ => self.fail(frame, format!("{text} overflows int")),
        }
    }

    fn chain<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        chain: &'t Chain,
        operand: &Operand,
        dot: &Seen,
        given: Given<'t>,
    ) -> Evaluated<Seen> {
        if let Operand::Nil(_) = chain.of {
            return self
                .fail(frame, format!("indirection through explicit nil in {}", operand.show(frame.source)));
        }
        let receiver = self.seen(frame, dot, &chain.of)?;
        self.fields(frame, dot, &receiver, chain.fields, given)
    }

    fn variable_fields<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        variable: &'t Variable,
        operand: &Operand,
        dot: &Seen,
        given: Given<'t>,
    ) -> Evaluated<Seen> {
        let Some(slot) = variable.slot else {
            return self.fail(frame, format!("undefined variable: {}", frame.name(variable.name)));
        };
        if variable.fields.is_empty() {
            self.no_function(frame, operand, &given)?;
            return Ok(self.variable(frame, slot).clone());
        }
        let receiver = self.variable(frame, slot).clone();
        self.fields(frame, dot, &receiver, variable.fields, given)
    }

    /// `.X.Y.Z` of a receiver; if the last is a method it gets the arguments.
    fn fields<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        receiver: &Seen,
        names: Many<Span>,
        given: Given<'t>,
    ) -> Evaluated<Seen> {
        let (last, names) =
            frame.source.many(names).split_last().expect("the parser makes no chain without fields");
        let mut seen: Option<Seen> = None;
        for &name in names {
            seen = Some(self.field(frame, dot, seen.as_ref().unwrap_or(receiver), name, Given::NOTHING)?);
        }
        self.field(frame, dot, seen.as_ref().unwrap_or(receiver), *last, given)
    }

    /// The arguments of a method.
    fn values<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, given: Given<'t>) -> Evaluated<Vec<Value>> {
        let at = frame.at;
        let mut values = Vec::with_capacity(given.len());
        for argument in given.arguments {
            values.push(self.argument(frame, dot, Some(Parameter::Any), argument)?);
        }
        values.extend(given.last);
        frame.at = at;
        Ok(values)
    }

    fn field<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        receiver: &Seen,
        name: Span,
        given: Given<'t>,
    ) -> Evaluated<Seen> {
        if let Some(method) = methods::method(&receiver.value, name.of(&frame.tree.source.text)) {
            let values = self.values(frame, dot, given)?;
            return match method(&receiver.value, &values) {
                Ok(value) => Ok(Seen::plain(value)),
                Err(fault) => self.fault(frame, prefixed(fault, &frame.name(name))),
            };
        }
        match &receiver.value {
            Value::Nil if receiver.boxed => {
                self.fail(frame, format!("nil pointer evaluating interface {{}}.{}", frame.name(name)))
            }
            Value::Nil => Ok(Seen::default()),
            Value::Map(map) => {
                if given.len() > 0 {
                    return self
                        .fail(frame, format!("{} is not a method but has arguments", frame.name(name)));
                }
                Ok(match map.get(name.of(&frame.source.text)) {
                    Some(value) => Seen { value, boxed: map.element.is_any() },
                    None => missing(map),
                })
            }
            Value::Object(object) => {
                let values = self.values(frame, dot, given)?;
                let name = frame.name(name);
                match object.get(&name, &values) {
                    Some(Ok(value)) => Ok(Seen::plain(value)),
                    Some(Err(fault)) => self.fault(frame, prefixed(fault, &name)),
                    None => self.no_field(frame, receiver, &name),
                }
            }
            _ => self.no_field(frame, receiver, &frame.name(name)),
        }
    }

    fn no_field<T>(&self, frame: &Frame<'_>, receiver: &Seen, name: &str) -> Evaluated<T> {
        self.fail(frame, format!("can't evaluate field {name} in type {}", receiver.type_name()))
    }

    fn call<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        callee: Callee,
        whole: At<'t>,
        given: Given<'t>,
    ) -> Evaluated<Seen> {
        let function = callee.function;
        let (fixed, count) = (function.parameters.len(), given.len());
        if function.variadic.is_some() {
            if count < fixed {
                let got = given.arguments.len();
                let name = function.name;
                return self.fail(
                    frame,
                    format!("wrong number of args for {name}: want at least {fixed} got {got}"),
                );
            }
        } else if count != fixed {
            let name = function.name;
            return self.fail(frame, format!("wrong number of args for {name}: want {fixed} got {count}"));
        }
        match callee.special {
            Special::And => return self.short_circuit(frame, dot, given, false),
            Special::Or => return self.short_circuit(frame, dot, given, true),
            Special::Not => {
                let value = self.only(frame, dot, given)?;
                return Ok(Seen::plain(Value::Bool(!value.value.is_true())));
            }
            Special::Len => {
                let value = self.only(frame, dot, given)?;
                return match length(&value) {
                    Ok(length) => Ok(Seen::plain(length)),
                    Err(message) => {
                        frame.at = whole;
                        self.fail(frame, format!("error calling len: {message}"))
                    }
                };
            }
            Special::None | Special::Call => {}
        }
        let mut values = self.spare.pop().unwrap_or_default();
        for (index, argument) in given.arguments.iter().enumerate() {
            let parameter = function.parameters.get(index).copied().or(function.variadic);
            values.push(self.argument(frame, dot, parameter, argument)?);
        }
        if let Some(last) = given.last {
            let parameter = function.parameters.get(values.len()).copied().or(function.variadic);
            values.push(self.validate(frame, Seen::plain(last), parameter)?);
        }
        if callee.special == Special::Call {
            frame.at = whole;
            let name = match (given.arguments.first(), &values[0]) {
                (Some(first), _) => first.show(frame.source),
                (None, Value::Text(text)) => text.to_string(),
                (None, value) => format!("<{} Value>", value.type_name()),
            };
            let message = match &values[0] {
                Value::Nil => "call of nil".to_owned(),
                value => format!("non-function {name} of type {}", value.type_name()),
            };
            return self.fail(frame, format!("error calling call: {message}"));
        }
        self.run(frame, callee, whole, values)
    }

    fn run<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        callee: Callee,
        whole: At<'t>,
        values: Vec<Value>,
    ) -> Evaluated<Seen> {
        self.spend(frame, values.iter().map(work).sum())?;
        let mut arguments = Arguments { values, run: self };
        let result = (callee.function.run)(&mut arguments);
        let mut values = arguments.values;
        values.clear();
        self.spare.push(values);
        match result {
            Ok(value) => {
                if self.has_unlocated() {
                    frame.at = whole;
                    self.locate(frame);
                }
                self.charge_at(frame, size(&value))?;
                let boxed = value.is_nil();
                Ok(Seen { value, boxed })
            }
            Err(fault) => {
                frame.at = whole;
                self.fault(frame, prefixed(fault, callee.function.name))
            }
        }
    }

    /// `and` and `or`: the first operand that decides, or the last.
    fn short_circuit<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        given: Given<'t>,
        decides: bool,
    ) -> Evaluated<Seen> {
        let mut value = Seen::default();
        for argument in given.arguments {
            frame.at = At::Operand(argument);
            value = self.any(frame, dot, argument)?;
            if value.value.is_true() == decides {
                return Ok(value);
            }
        }
        Ok(given.last.map_or(value, Seen::plain))
    }

    /// The one argument of a call, as reflection sees it.
    fn only<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, given: Given<'t>) -> Evaluated<Seen> {
        match (given.arguments, given.last) {
            ([argument, ..], _) => {
                frame.at = At::Operand(argument);
                self.any(frame, dot, argument)
            }
            ([], last) => Ok(Seen::plain(last.unwrap_or_default())),
        }
    }

    /// An argument whose type is `reflect.Value`, which may be anything.
    fn any<'t>(&mut self, frame: &mut Frame<'t>, dot: &Seen, operand: &'t Operand) -> Evaluated<Seen> {
        match operand {
            Operand::Nil(_) => Ok(Seen::default()),
            _ => self.seen(frame, dot, operand),
        }
    }

    /// The value of an operand, before anybody says what type it should have.
    pub(crate) fn seen<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        operand: &'t Operand,
    ) -> Evaluated<Seen> {
        frame.at = At::Operand(operand);
        match *operand {
            Operand::Field(_, fields) => self.fields(frame, dot, dot, fields, Given::NOTHING),
            Operand::Variable(_, variable) => {
                self.variable_fields(frame, frame.source.one(variable), operand, dot, Given::NOTHING)
            }
            Operand::Pipe(_, pipe) => self.pipeline(frame, dot, frame.source.one(pipe)),
            Operand::Function(_, callee) => {
                self.call(frame, dot, callee, At::Operand(operand), Given::NOTHING)
            }
            Operand::Chain(_, chain) => {
                self.chain(frame, frame.source.one(chain), operand, dot, Given::NOTHING)
            }
            _ => self.constant(frame, dot, operand),
        }
    }
}

/// What a map gives for a key it does not have: the zero of its type (`missingkey=zero`).
pub(crate) fn missing(map: &Map) -> Seen {
    let value = match map.element {
        Element::Any | Element::Values => return Seen { value: Value::Nil, boxed: true },
        Element::Text | Element::Versions => Value::from(""),
        Element::Int => Value::int(0),
        Element::Byte => Value::Int(0, crate::IntKind::Uint8),
        Element::List => Value::from(List::null(Element::Any)),
        Element::Map => Value::from(Map::new()),
    };
    Seen::plain(value)
}

/// What it takes to go through an argument once, in steps.
fn work(argument: &Value) -> u64 {
    let work = match argument {
        Value::Text(text) => text.len() / 64,
        Value::List(list) => list.items().len() / 16,
        Value::Map(map) => map.len() / 16,
        _ => 0,
    };
    work as u64
}

/// Roughly the memory a result takes, if it is new.
fn size(result: &Value) -> usize {
    match result {
        Value::Text(text) => 48 + text.len(),
        Value::List(_) => 64,
        Value::Map(_) => 512,
        _ => 8,
    }
}

fn length(seen: &Seen) -> Result<Value, String> {
    let length = match &seen.value {
        Value::Nil if seen.boxed => return Err("len of nil pointer".to_owned()),
        Value::Nil => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.len(),
        Value::Object(object) if object.kind() == "map" && object.entries().is_some() => {
            object.entries().map_or(0, |entries| entries.len())
        }
        value => return Err(format!("len of type {}", value.type_name().trim_start_matches('*'))),
    };
    Ok(Value::int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn prefixed(mut fault: Fault, name: &str) -> Fault {
    fault.message = format!("error calling {name}: {}", fault.message);
    fault
}

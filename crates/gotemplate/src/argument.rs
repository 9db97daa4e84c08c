//! Arguments and the types they must have (text/template, `evalArg` and `validateType`).

use crate::evaluator::{Evaluated, Evaluator, Frame, Seen};
use crate::function::Parameter;
use crate::node::{At, Operand};
use crate::value::{Element, IntKind, List, Map, Value};

impl Evaluator<'_> {
    /// The value of an operand for a parameter of that type.
    pub(crate) fn argument<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Seen,
        parameter: Option<Parameter>,
        operand: &'t Operand,
    ) -> Evaluated<Value> {
        let wanted = parameter.unwrap_or(Parameter::Any);
        frame.at = At::Operand(operand);
        match operand {
            Operand::Nil(_) => match zero(wanted) {
                Some(value) => Ok(value),
                None => self.fail(frame, format!("cannot assign nil to {}", wanted.type_name())),
            },
            Operand::Bool(..) | Operand::Number(..) | Operand::Text(..) if wanted != Parameter::Any => {
                self.literal(frame, operand, wanted)
            }
            _ => {
                let seen = self.seen(frame, dot, operand)?;
                self.validate(frame, seen, parameter)
            }
        }
    }

    /// A constant where a type is wanted.
    fn literal(&self, frame: &Frame<'_>, operand: &Operand, wanted: Parameter) -> Evaluated<Value> {
        let number = match operand {
            Operand::Number(_, number) => Some(frame.source.one(*number)),
            _ => None,
        };
        let int = || number.and_then(|number| number.int);
        let (value, expected) = match (wanted, operand) {
            (Parameter::Bool, Operand::Bool(_, value)) => (Some(Value::Bool(*value)), ""),
            (Parameter::Bool, _) => (None, "bool"),
            (Parameter::Text, Operand::Text(_, literal)) => {
                (Some(frame.source.one(*literal).value.clone()), "")
            }
            (Parameter::Text, _) => (None, "string"),
            (Parameter::Int, _) => (int().map(Value::int), "integer"),
            (Parameter::Int64, _) => (int().map(Value::int64), "integer"),
            (Parameter::Float, _) => (number.and_then(|number| number.float).map(Value::Float), "float"),
            (Parameter::Uint32, _) => {
                let value = number
                    .and_then(|number| number.uint)
                    .map(|value| Value::Int(i64::from(value as u32), IntKind::Uint32));
                (value, "unsigned integer")
            }
            _ => {
                let (shown, name) = (operand.show(frame.source), wanted.type_name());
                return self.fail(frame, format!("can't handle {shown} for arg of type {name}"));
            }
        };
        match value {
            Some(value) => Ok(value),
            None => self.fail(frame, format!("expected {expected}; found {}", operand.show(frame.source))),
        }
    }

    /// The value, if it may be assigned to a parameter of that type.
    pub(crate) fn validate(
        &self,
        frame: &Frame<'_>,
        seen: Seen,
        parameter: Option<Parameter>,
    ) -> Evaluated<Value> {
        let Some(wanted) = parameter.filter(|wanted| *wanted != Parameter::Any) else {
            return Ok(seen.value);
        };
        if seen.is_invalid() {
            return match zero(wanted) {
                Some(value) => Ok(value),
                None => self.fail(frame, format!("invalid value; expected {}", wanted.type_name())),
            };
        }
        if wanted.takes(&seen.value) {
            return Ok(match seen.value {
                // What is assigned to a parameter has the parameter's type.
                Value::Map(mut map) => {
                    map.element = Element::Any;
                    Value::Map(map)
                }
                value => value,
            });
        }
        let got = if seen.value.is_nil() { "interface {}".into() } else { seen.value.type_name() };
        self.fail(frame, format!("wrong type for value; expected {}; got {got}", wanted.type_name()))
    }
}

impl Parameter {
    /// Go's name of the type.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Map => "map[string]interface {}",
            Self::List => "[]interface {}",
            Self::Time => "time.Time",
            Self::Uint32 => "uint32",
            Self::Object(name) => name,
        }
    }

    /// Whether the value may be assigned to a parameter of this type.
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Text, Value::Text(_))
            | (Self::Int, Value::Int(_, IntKind::Int))
            | (Self::Int64, Value::Int(_, IntKind::Int64))
            | (Self::Uint32, Value::Int(_, IntKind::Uint32))
            | (Self::Float, Value::Float(_))
            | (Self::Bool, Value::Bool(_)) => true,
            (Self::Map, Value::Map(map)) => map.element.is_any(),
            (Self::List, Value::List(list)) => list.element == Element::Any,
            (Self::Time | Self::Object(_), Value::Object(object)) => object.type_name() == self.type_name(),
            _ => false,
        }
    }
}

/// What nil is for a parameter that can be nil.
fn zero(parameter: Parameter) -> Option<Value> {
    match parameter {
        Parameter::Any => Some(Value::Nil),
        Parameter::Map => Some(Value::from(Map::null())),
        Parameter::List => Some(Value::from(List::null(Element::Any))),
        _ => None,
    }
}

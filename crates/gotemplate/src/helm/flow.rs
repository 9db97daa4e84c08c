//! `include`, `tpl`, `required`, `fail` and `lookup` (`pkg/engine/engine.go`).

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::value::{Map, Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function {
        name: "include",
        parameters: &[Parameter::Text, Parameter::Any],
        variadic: None,
        run: include,
    },
    Function { name: "tpl", parameters: &[Parameter::Text, Parameter::Any], variadic: None, run: tpl },
    Function {
        name: "required",
        parameters: &[Parameter::Text, Parameter::Any],
        variadic: None,
        run: required,
    },
    Function { name: "fail", parameters: &[Parameter::Text], variadic: None, run: fail },
    Function {
        name: "lookup",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        run: lookup,
    },
];

fn include(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (name, data) = (arguments.text(0), arguments.value(1));
    arguments.run.include(&name.to_str(), &data).map(Value::from)
}

fn tpl(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (text, data) = (arguments.text(0), arguments.value(1));
    arguments.run.tpl(&text, &data).map(Value::from)
}

fn required(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let value = arguments.value(1);
    let missing = match &value {
        Value::Nil => true,
        Value::Text(text) => text.is_empty(),
        _ => false,
    };
    if missing { refuse(arguments) } else { Ok(value) }
}

fn fail(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    refuse(arguments)
}

fn refuse(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let message = arguments.text(0).to_str().into_owned();
    match arguments.run.tolerate(&message) {
        Some(value) => Ok(value),
        None => Err(Fault::new(format!("{WARNING_START}{message}{WARNING_END}"))),
    }
}

fn lookup(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let names = [0, 1, 2, 3].map(|index| arguments.text(index));
    match arguments.run.lookup(&names)? {
        Some(value) => Ok(value),
        None => Ok(Value::from(Map::new())),
    }
}

/// What Helm puts around a message of `required` and `fail`, to cut it out of the error again.
pub(crate) const WARNING_START: &str = "HELM_ERR_START";
pub(crate) const WARNING_END: &str = "HELM_ERR_END";

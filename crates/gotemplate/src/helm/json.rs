//! JSON in and out, and Sprig's other forms of it.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::json::{self, Form};
use crate::sprig::weight;
use crate::value::{Element, List, Map, Value};

use Parameter::{Any, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("toJson", &[Any], |args| written(args, Form::Plain)),
    Function::new("mustToJson", &[Any], |args| write(args, Form::Plain)),
    Function::new("toPrettyJson", &[Any], |args| written(args, Form::Pretty)),
    Function::new("mustToPrettyJson", &[Any], |args| write(args, Form::Pretty)),
    Function::new("toRawJson", &[Any], |args| write(args, Form::Raw)),
    Function::new("mustToRawJson", &[Any], |args| write(args, Form::Raw)),
    Function::new("fromJson", &[Str], from_json),
    Function::new("mustFromJson", &[Str], |args| {
        let text = args.text(0);
        args.run.charge(text.len().saturating_mul(weight::READ_BYTES))?;
        json::decode(text.as_bytes()).map_err(Fault::new)
    }),
    Function::new("fromJsonArray", &[Str], from_json_array),
];

fn write(args: &mut Arguments<'_>, form: Form) -> Result<Value, Fault> {
    let value = args.value(0);
    weight::charge(&value, args.run)?;
    json::encode(&value, form).map(Value::from).map_err(Fault::new)
}

/// Helm and Sprig swallow the error.
fn written(args: &mut Arguments<'_>, form: Form) -> Result<Value, Fault> {
    match write(args, form) {
        Err(fault) if !fault.limit => Ok("".into()),
        result => result,
    }
}

/// Any error becomes an entry of the map.
fn from_json(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let text = args.text(0);
    args.run.charge(text.len().saturating_mul(weight::READ_BYTES))?;
    let (map, error) = json::decode_as_map(text.as_bytes());
    if let Some(error) = error {
        map.set("Error", error.into());
    }
    Ok(map.into())
}

/// Any error becomes the only item of the list.
fn from_json_array(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let text = args.text(0);
    args.run.charge(text.len().saturating_mul(weight::READ_BYTES))?;
    Ok(match json::decode_as_list(text.as_bytes()) {
        Ok(Some(items)) => Value::list(items),
        Ok(None) => List::null(Element::Any).into(),
        Err(error) => Value::list(vec![error.into()]),
    })
}

/// What the readers of Helm give where they cannot read.
pub(super) fn error_map(error: String) -> Map {
    let map = Map::new();
    map.set("Error", error.into());
    map
}

//! YAML in and out.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::json;
use crate::sprig::weight;
use crate::value::{Map, Value};
use crate::yaml;

use Parameter::{Any, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("toYaml", &[Any], |args| match write(args) {
        Err(fault) if !fault.limit => Ok("".into()),
        result => result,
    }),
    Function::new("mustToYaml", &[Any], write),
    Function::new("toYamlPretty", &[Any], |args| {
        let value = args.value(0);
        if !weight::charge(&value, args.run)? {
            return Ok("".into());
        }
        let text = yaml::emit_pretty(&value).unwrap_or_default();
        Ok(text.strip_suffix('\n').unwrap_or(&text).into())
    }),
    Function::new("fromYaml", &[Str], |args| {
        Ok(match read(args)? {
            Ok(Value::Map(map)) => map,
            Ok(Value::Nil) => Map::new(),
            Ok(other) => super::json::error_map(mismatch(&other, "map[string]interface {}")),
            Err(error) => super::json::error_map(error),
        }
        .into())
    }),
    Function::new("fromYamlArray", &[Str], |args| {
        Ok(match read(args)? {
            Ok(Value::List(list)) => list.into(),
            Ok(Value::Nil) => Value::list(Vec::new()),
            Ok(other) => Value::list(vec![mismatch(&other, "[]interface {}").into()]),
            Err(error) => Value::list(vec![error.into()]),
        })
    }),
];

fn write(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let value = args.value(0);
    if !weight::charge(&value, args.run)? {
        return Err(Fault::new("json: unsupported value: encountered a cycle"));
    }
    let text = yaml::emit(&value).map_err(|error| Fault::new(error.to_string()))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).into())
}

fn read(args: &mut Arguments<'_>) -> Result<Result<Value, String>, Fault> {
    let text = args.text(0);
    args.run.charge(text.len().saturating_mul(weight::READ_BYTES))?;
    Ok(yaml::parse(text.as_bytes()).map_err(|error| match error {
        yaml::Error::Number { .. } => format!("error converting YAML to JSON: {error}"),
        error => format!("error converting YAML to JSON: yaml: {error}"),
    }))
}

fn mismatch(value: &Value, wanted: &str) -> String {
    format!("error unmarshaling JSON: while decoding JSON: {}", json::mismatch(value, wanted))
}

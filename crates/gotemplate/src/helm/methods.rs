//! Methods of the maps and lists that Helm gives to templates under types of its own (pkg/chart/common).

use crate::function::Fault;
use crate::value::{Element, Map, Value};
use crate::yaml;

/// A method of `common.Values` or `common.VersionSet`; `None` if `receiver` is something else, or has none of that name.
pub(crate) fn method(receiver: &Value, name: &[u8]) -> Option<Method> {
    Some(match receiver {
        Value::Map(map) if map.element == Element::Values => match name {
            b"AsMap" => |receiver, _| Ok(as_map(receiver).map_or_else(Value::default, Value::from)),
            b"YAML" => {
                |receiver, _| yaml::emit(receiver).map(Value::from).map_err(|e| Fault::new(e.to_string()))
            }
            b"Table" => |receiver, arguments| table(receiver, &text(arguments)?).map(Value::from),
            b"PathValue" => |receiver, arguments| path_value(receiver, &text(arguments)?),
            _ => return None,
        },
        Value::List(list) if list.element == Element::Versions && name == b"Has" => |receiver, arguments| {
            let wanted = text(arguments)?;
            let versions = receiver.as_list().map(|list| list.items()).unwrap_or_default();
            let is_wanted =
                |version: &Value| version.as_text().is_some_and(|text| text.as_bytes() == wanted.as_bytes());
            Ok(Value::from(versions.iter().any(is_wanted)))
        },
        _ => return None,
    })
}

/// Takes the receiver and the arguments.
pub(crate) type Method = fn(&Value, &[Value]) -> Result<Value, Fault>;

fn text(arguments: &[Value]) -> Result<String, Fault> {
    match arguments {
        [Value::Text(text)] => Ok(text.to_string()),
        [_] => Err(Fault::new("wrong type for value; expected string")),
        _ => Err(Fault::new(format!("wrong number of args: want 1 got {}", arguments.len()))),
    }
}

fn as_map(receiver: &Value) -> Option<Map> {
    let mut map = receiver.as_map()?.clone();
    map.element = Element::Any;
    Some(map)
}

fn table(receiver: &Value, path: &str) -> Result<Map, Fault> {
    let mut table = receiver.as_map().cloned().unwrap_or_default();
    for name in path.split('.') {
        table = match table.get(name) {
            Some(Value::Map(inner)) => inner,
            _ => return Err(Fault::new(format!("{name:?} is not a table"))),
        };
    }
    table.element = Element::Values;
    Ok(table)
}

fn path_value(receiver: &Value, path: &str) -> Result<Value, Fault> {
    if path.is_empty() {
        return Err(Fault::new("YAML path cannot be empty"));
    }
    let (parent, key) = path.rsplit_once('.').map_or((None, path), |(parent, key)| (Some(parent), key));
    let found = match parent {
        Some(parent) => table(receiver, parent).ok().and_then(|table| table.get(key)),
        None => receiver.as_map().and_then(|map| map.get(key)),
    };
    match found {
        Some(value) if value.as_map().is_none() => Ok(value),
        _ => Err(Fault::new(format!("{key:?} is not a value"))),
    }
}

//! What a value costs once it is written out.

use crate::function::{Fault, Run};
use crate::value::{Map, Value};

/// Charges for all that `value` holds, each part as often as it is reached: parts may be shared, and `set` can build in a few steps
/// what is endless when written. Says whether it is at most [`DEPTH`] levels deep; deeper values are not gone through.
pub(crate) fn charge(value: &Value, run: &mut dyn Run) -> Result<bool, Fault> {
    let mut due = 0;
    let bounded = add(value, run, &mut due, 0)?;
    run.charge(due)?;
    Ok(bounded)
}

fn add(value: &Value, run: &mut dyn Run, due: &mut usize, depth: usize) -> Result<bool, Fault> {
    if depth > DEPTH {
        return Ok(false);
    }
    // What is written for it, with its indentation.
    *due += 4 + 2 * depth;
    if *due > STEP_BYTES {
        run.charge(std::mem::take(due))?;
    }
    match value {
        Value::Text(text) => *due += text.len(),
        Value::List(list) => {
            for item in list.items() {
                if !add(item, run, due, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        Value::Map(map) => {
            for (key, value) in map.entries() {
                *due += key.len();
                if !add(&value, run, due, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        Value::Object(object) => return add(&object.plain(), run, due, depth + 1),
        Value::Nil | Value::Bool(_) | Value::Int(..) | Value::Float(_) => {}
    }
    Ok(true)
}

/// A copy that shares no list and no map with the value (`copystructure.Copy`), charged.
pub(crate) fn deep_copy(value: &Value, run: &mut dyn Run) -> Result<Value, Fault> {
    if !charge(value, run)? {
        return Err(Fault::limit(format!("a value is more than {DEPTH} levels deep")));
    }
    Ok(copy(value))
}

fn copy(value: &Value) -> Value {
    match value {
        Value::List(list) if list.is_null() => value.clone(),
        Value::Map(map) if map.is_null() => value.clone(),
        Value::List(list) => {
            crate::value::List::typed(list.element, list.items().iter().map(copy).collect()).into()
        }
        Value::Map(map) => {
            let new = Map::typed(map.element);
            for (key, value) in map.entries() {
                new.set(key, copy(&value));
            }
            new.into()
        }
        Value::Object(object) => super::version::copied(&**object).unwrap_or_else(|| value.clone()),
        other => other.clone(),
    }
}

/// Levels of lists and maps in each other. Go's encoders allow 10,000, or stop at a cycle.
pub(crate) const DEPTH: usize = 500;
/// What a byte of a document may become in values.
pub(crate) const READ_BYTES: usize = 8;
/// How much may be due before it is charged.
const STEP_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault};
    use super::*;

    #[test]
    fn a_map_in_itself_has_no_weight() {
        let map = Map::new();
        map.set("self", map.clone().into());
        assert_eq!(fault("deepCopy", &[map.clone().into()]), "a value is more than 500 levels deep");
        assert_eq!(call("toJson", &[map.clone().into()]), "");
        assert_eq!(call("toYaml", &[map.clone().into()]), "");
        map.remove("self");
    }

    #[test]
    fn shared_parts_count_each_time() {
        let mut value = Value::from("text");
        for _ in 0..40 {
            value = Value::list(vec![value.clone(), value]);
        }
        assert_eq!(fault("toJson", &[value]), "spent");
    }
}

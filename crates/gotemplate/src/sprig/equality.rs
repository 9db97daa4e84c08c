//! `reflect.DeepEqual`.

use crate::function::{Fault, Run};
use crate::value::Value;

/// Whether both are of one type and equal all the way down. Counts towards the budget, since what shares parts is larger than it
/// looks.
pub(crate) fn deep_equal(one: &Value, other: &Value, run: &mut dyn Run) -> Result<bool, Fault> {
    compare(one, other, run, 0)
}

fn compare(one: &Value, other: &Value, run: &mut dyn Run, depth: usize) -> Result<bool, Fault> {
    if depth > super::weight::DEPTH {
        return Err(Fault::limit(format!(
            "values are compared more than {} levels deep",
            super::weight::DEPTH
        )));
    }
    Ok(match (one, other) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one, kind), Value::Int(other, other_kind)) => one == other && kind == other_kind,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::List(one), Value::List(other)) => {
            if one.element != other.element
                || one.is_null() != other.is_null()
                || one.items().len() != other.items().len()
            {
                return Ok(false);
            }
            if std::ptr::eq(one.items(), other.items()) {
                return Ok(true);
            }
            run.charge(one.items().len() * 8)?;
            for (one, other) in one.items().iter().zip(other.items()) {
                if !compare(one, other, run, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(one), Value::Map(other)) => {
            if one.is(other) {
                return Ok(true);
            }
            if one.element != other.element || one.is_null() != other.is_null() || one.len() != other.len() {
                return Ok(false);
            }
            run.charge(one.len() * 8)?;
            for ((key, one), (other_key, other)) in one.entries().iter().zip(other.entries()) {
                if *key != other_key || !compare(one, &other, run, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(one), Value::Object(other)) => {
            std::rc::Rc::ptr_eq(one, other)
                || (one.type_name() == other.type_name() && one.print() == other.print())
        }
        _ => false,
    })
}

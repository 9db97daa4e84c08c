//! `mergo.Merge` 1.0.1 of one map into another.

use crate::function::{Fault, Run};
use crate::value::{Map, Value};

use super::strings::ITEM_BYTES;
use super::weight::DEPTH;

/// What happens to an entry that both maps have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It stays unless it is empty (`merge`).
    Fill,
    /// It becomes that of the source, also an empty one (`mergeOverwrite`).
    Overwrite,
}

/// Takes into `target` what `source` has. Maps in both are merged where they are; what is taken is shared, not copied.
pub(crate) fn merge(target: &Map, source: &Map, rule: Rule, run: &mut dyn Run) -> Result<(), Fault> {
    merge_level(target, source, rule, run, 0)
}

fn merge_level(target: &Map, source: &Map, rule: Rule, run: &mut dyn Run, depth: usize) -> Result<(), Fault> {
    if target.is(source) {
        return Ok(());
    }
    if depth > DEPTH {
        return Err(Fault::limit(format!("maps are merged more than {DEPTH} levels deep")));
    }
    run.charge(source.len() * ITEM_BYTES)?;
    for (key, value) in source.entries() {
        let old = target.get(&key);
        if value.is_nil() {
            if rule == Rule::Overwrite {
                target.set(key, value);
            }
            continue;
        }
        if let (Value::Map(value), Some(Value::Map(old))) = (&value, &old) {
            merge_level(old, value, rule, run, depth + 1)?;
        }
        // Looked at after the maps in it were merged, as the original does.
        let filled = old.as_ref().is_some_and(|old| !is_empty(old));
        match (&value, &old) {
            (Value::List(_), _) if filled && rule == Rule::Fill => {}
            (Value::Map(_), Some(Value::Map(_))) if filled => {}
            _ if rule == Rule::Overwrite || !filled => target.set(key, value),
            _ => {}
        }
    }
    Ok(())
}

/// `isEmptyValue`: structs are never empty.
fn is_empty(value: &Value) -> bool {
    !matches!(value, Value::Object(_)) && !value.is_true()
}

#[cfg(test)]
mod tests {
    use super::super::call::call;
    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect::<Map>().into()
    }

    #[test]
    fn filling_replaces_what_is_empty() {
        let target = map(&[("a", "".into()), ("b", Value::int(1)), ("m", map(&[("x", Value::int(1))]))]);
        let source = map(&[
            ("a", "new".into()),
            ("b", Value::int(2)),
            ("m", map(&[("x", Value::int(2)), ("y", Value::int(3))])),
        ]);
        assert_eq!(call("merge", &[target.clone(), source]), "map[a:new b:1 m:map[x:1 y:3]]");
        assert_eq!(crate::print::shown(&target), "map[a:new b:1 m:map[x:1 y:3]]", "in place");
    }

    #[test]
    fn overwriting_takes_empty_values_too() {
        let target =
            map(&[("a", "old".into()), ("l", Value::list(vec![Value::int(1)])), ("n", Value::int(1))]);
        let source = map(&[("a", "".into()), ("l", Value::list(vec![])), ("n", Value::Nil)]);
        assert_eq!(call("mergeOverwrite", &[target, source]), "map[a: l:[] n:<nil>]");
    }
}

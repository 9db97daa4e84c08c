//! Maps (Sprig's `dict.go`). Maps are shared: `set`, `unset`, `merge` change the one they are given.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::value::{Element, List, Map, Value};

use super::cast;
use super::merge;
use super::strings::ITEM_BYTES;

use Parameter::{Any, Map as Dict, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::variadic("dict", &[], Any, dict),
    Function::new("get", &[Dict, Str], |args| Ok(args.map(0).get(args.text(1)).unwrap_or_else(|| "".into()))),
    Function::new("set", &[Dict, Str, Any], set),
    Function::new("unset", &[Dict, Str], |args| {
        args.map(0).remove(args.text(1));
        Ok(args.map(0).into())
    }),
    Function::new("hasKey", &[Dict, Str], |args| Ok(args.map(0).contains(args.text(1)).into())),
    Function::variadic("pluck", &[Str], Dict, pluck),
    Function::variadic("keys", &[], Dict, keys),
    Function::new("values", &[Dict], |args| {
        let entries = args.map(0).entries();
        args.run.charge(entries.len() * ITEM_BYTES)?;
        Ok(Value::list(entries.into_iter().map(|(_, value)| value).collect()))
    }),
    Function::variadic("pick", &[Dict], Str, |args| chosen(args, true)),
    Function::variadic("omit", &[Dict], Str, |args| chosen(args, false)),
    Function::variadic("dig", &[], Any, dig),
    Function::variadic("merge", &[Dict], Dict, |args| merge_all(args, merge::Rule::Fill)),
    Function::variadic("mustMerge", &[Dict], Dict, |args| merge_all(args, merge::Rule::Fill)),
    Function::variadic("mergeOverwrite", &[Dict], Dict, |args| merge_all(args, merge::Rule::Overwrite)),
    Function::variadic("mustMergeOverwrite", &[Dict], Dict, |args| merge_all(args, merge::Rule::Overwrite)),
];

fn dict(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let map = Map::new();
    let mut values = std::mem::take(&mut args.values).into_iter();
    while let Some(key) = values.next() {
        map.set(cast::to_text(&key)?, values.next().unwrap_or_else(|| "".into()));
    }
    Ok(map.into())
}

fn set(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let map = args.map(0);
    if map.is_null() {
        return Err(Fault::new("assignment to entry in nil map"));
    }
    map.set(args.text(1), args.value(2));
    Ok(map.into())
}

fn pluck(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let key = args.text(0);
    let maps = args.values.iter().skip(1).filter_map(Value::as_map);
    Ok(Value::list(maps.filter_map(|map| map.get(&key)).collect()))
}

/// All keys, sorted within each map; Go gives them in any order.
fn keys(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut keys = Vec::new();
    for map in args.values.iter().filter_map(Value::as_map) {
        args.run.charge(map.len() * ITEM_BYTES)?;
        keys.extend(map.entries().into_iter().map(|(key, _)| Value::from(key)));
    }
    Ok(List::typed(Element::Text, keys).into())
}

/// A map of the entries that are named, or of the others.
fn chosen(args: &mut Arguments<'_>, named: bool) -> Result<Value, Fault> {
    let map = args.map(0);
    args.run.charge(map.len() + args.values.len())?;
    let names: std::collections::BTreeSet<_> =
        args.values.iter().skip(1).filter_map(Value::as_text).collect();
    Ok(map.entries().into_iter().filter(|(key, _)| names.contains(key) == named).collect::<Map>().into())
}

fn dig(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let [path @ .., default, map] = args.values.as_slice() else {
        return Err(Fault::new("dig needs at least three arguments"));
    };
    if path.is_empty() {
        return Err(Fault::new("dig needs at least three arguments"));
    }
    let mut map = asserted_map(map)?;
    let keys = path
        .iter()
        .map(|key| key.as_text().ok_or_else(|| conversion(key, "string")))
        .collect::<Result<Vec<_>, _>>()?;
    let Some((last, between)) = keys.split_last() else { return Ok(default.clone()) };
    for key in between {
        match map.get(key) {
            None => return Ok(default.clone()),
            Some(next) => map = asserted_map(&next)?,
        }
    }
    Ok(map.get(last).unwrap_or_else(|| default.clone()))
}

/// Go's `value.(map[string]interface {})`.
fn asserted_map(value: &Value) -> Result<Map, Fault> {
    match value {
        Value::Map(map) if map.element == Element::Any => Ok(map.clone()),
        other => Err(conversion(other, "map[string]interface {}")),
    }
}

fn conversion(value: &Value, wanted: &str) -> Fault {
    let found = if value.is_nil() { "nil".into() } else { value.type_name() };
    Fault::new(format!("interface conversion: interface {{}} is {found}, not {wanted}"))
}

fn merge_all(args: &mut Arguments<'_>, rule: merge::Rule) -> Result<Value, Fault> {
    let mut target = args.map(0);
    let sources: Vec<Map> = (1..args.values.len()).map(|index| args.map(index)).collect();
    for source in sources {
        if target.is_null() && !source.is_null() {
            target = Map::new();
        }
        merge::merge(&target, &source, rule, args.run)?;
    }
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault, value};
    use super::*;

    fn dict_of(entries: &[(&str, Value)]) -> Value {
        entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect::<Map>().into()
    }

    #[test]
    fn a_key_without_a_value_has_an_empty_text() {
        assert_eq!(call("dict", &["a".into(), Value::int(1), Value::int(2)]), "map[2: a:1]");
    }

    #[test]
    fn setting_changes_the_map_that_was_given() {
        let map = dict_of(&[]);
        value("set", &[map.clone(), "a".into(), Value::int(1)]).expect("set");
        assert_eq!(call("get", &[map.clone(), "a".into()]), "1");
        value("unset", &[map.clone(), "a".into()]).expect("unset");
        assert_eq!(call("hasKey", &[map, "a".into()]), "false");
    }

    #[test]
    fn digging_meets_maps_only() {
        let map = dict_of(&[("a", dict_of(&[("b", Value::int(7))])), ("t", "x".into())]);
        assert_eq!(call("dig", &["a".into(), "b".into(), Value::int(0), map.clone()]), "7");
        assert_eq!(call("dig", &["a".into(), "c".into(), Value::int(0), map.clone()]), "0");
        let words = fault("dig", &["t".into(), "c".into(), Value::int(0), map]);
        assert_eq!(words, "interface conversion: interface {} is string, not map[string]interface {}");
        assert_eq!(fault("dig", &["a".into(), dict_of(&[])]), "dig needs at least three arguments");
    }
}

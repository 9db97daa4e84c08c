//! Values as Go's templates see them.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::text::Text;

/// A value. Cloning costs a reference count: texts, lists and maps are shared.
#[derive(Clone, Default)]
pub enum Value {
    /// `nil`: an interface that holds nothing; what a missing key of a map is.
    #[default]
    Nil,
    /// `bool`
    Bool(bool),
    /// Any integer of Go; `Uint64` above `i64::MAX` is stored as its two's complement.
    Int(i64, IntKind),
    /// `float64`: every number of values, since they come through JSON.
    Float(f64),
    /// `string`
    Text(Text),
    /// A slice.
    List(List),
    /// A map with text keys.
    Map(Map),
    /// A Go struct or a value with methods: a time, a version, `.Capabilities`, `.Files`.
    Object(Rc<dyn Object>),
}

/// Which of Go's integer types a number has; `typeOf` shows it and `printf` depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntKind {
    /// `int`: 64 bits, as constants are.
    Int,
    /// `int8`
    Int8,
    /// `int16`
    Int16,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint`: 64 bits.
    Uint,
    /// `uint8`
    Uint8,
    /// `uint16`
    Uint16,
    /// `uint32`
    Uint32,
    /// `uint64`
    Uint64,
}

impl IntKind {
    /// The decimal digits of a number of this type.
    pub(crate) fn text(self, number: i64) -> String {
        match self {
            Self::Uint | Self::Uint64 => number.cast_unsigned().to_string(),
            _ => number.to_string(),
        }
    }
}

/// The element type of a list or a map, as `typeOf` and `join` see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Element {
    /// `interface {}`
    #[default]
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
    /// `uint8`: a `[]byte`
    Byte,
    /// `[]interface {}`: what `chunk` gives
    List,
    /// `map[string]interface {}`: what `fromToml` gives for a list of tables
    Map,
    /// `interface {}` in a map that is Helm's `common.Values`, with its methods: `.Values`, `.Template` and dot itself
    Values,
    /// `string` in a list that is Helm's `common.VersionSet`, with its method `Has`: `.Capabilities.APIVersions`
    Versions,
}

/// A slice: shared and never changed in place (no function of Sprig or Helm does).
#[derive(Clone, Default)]
pub struct List {
    /// Of what it is a list.
    pub element: Element,
    items: Rc<Items>,
    null: bool,
}

#[derive(Default)]
struct Items {
    values: OnceCell<Vec<Value>>,
    /// What a `[]byte` is made of. As values it takes twenty times the memory, and hardly anybody looks at single bytes.
    bytes: Option<Text>,
}

/// A map with text keys, sorted bytewise, shared by reference: a change is seen through every clone.
#[derive(Clone, Default)]
pub struct Map {
    /// What its values are.
    pub element: Element,
    null: bool,
    entries: Rc<RefCell<BTreeMap<Text, Value>>>,
}

/// A Go struct or a type with methods.
pub trait Object {
    /// Go's name of the type, as `typeOf` prints it: `time.Time`, `*semver.Version`.
    fn type_name(&self) -> &str;
    /// Go's kind, as `kindOf` prints it: `struct`, `ptr`, `map`.
    fn kind(&self) -> &'static str {
        "struct"
    }
    /// A field or a method of that name, called with `arguments` (none for a field). `None` if there is no such thing.
    fn get(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, crate::Fault>>;
    /// As `fmt.Print` shows it.
    fn print(&self) -> String;
    /// As `toYaml` and `toJson` see it.
    fn plain(&self) -> Value {
        Value::from(self.print())
    }
    /// What `range` goes over, if it can.
    fn entries(&self) -> Option<Vec<(Value, Value)>> {
        None
    }
    /// As `if` and `empty` see it.
    fn is_true(&self) -> bool {
        true
    }
    /// For functions that need the Rust type back.
    fn as_any(&self) -> &dyn std::any::Any;
}

impl IntKind {
    /// Go's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint => "uint",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
        }
    }
}

impl List {
    /// A `[]interface {}`.
    pub fn new(items: Vec<Value>) -> Self {
        Self::typed(Element::Any, items)
    }

    /// A list whose Go type is not `[]interface {}`.
    pub fn typed(element: Element, items: Vec<Value>) -> Self {
        let items = Items { values: OnceCell::from(items), bytes: None };
        Self { element, items: Rc::new(items), null: false }
    }

    /// A `[]byte`.
    pub fn bytes(bytes: Text) -> Self {
        let items = Items { values: OnceCell::new(), bytes: Some(bytes) };
        Self { element: Element::Byte, items: Rc::new(items), null: false }
    }

    /// A nil slice: empty and still of a type. `concat` of nothing gives one; `toJson` and `toYaml` write it as `null`.
    pub fn null(element: Element) -> Self {
        Self { element, items: Rc::default(), null: true }
    }

    /// Whether this is a nil slice.
    pub fn is_null(&self) -> bool {
        self.null
    }

    /// The items, in order.
    pub fn items(&self) -> &[Value] {
        let number = |byte: &u8| Value::Int(i64::from(*byte), IntKind::Uint8);
        let bytes = || self.items.bytes.iter().flat_map(|bytes| bytes.as_bytes());
        self.items.values.get_or_init(|| bytes().map(number).collect())
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.items.bytes.as_ref().map_or_else(|| self.items().len(), Text::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Element {
    /// Whether items are of Go's type `interface {}`.
    pub(crate) fn is_any(self) -> bool {
        matches!(self, Self::Any | Self::Values)
    }
}

impl Map {
    /// An empty `map[string]interface {}`.
    pub fn new() -> Self {
        Self::default()
    }

    /// A map whose Go type is not `map[string]interface {}`.
    pub fn typed(element: Element) -> Self {
        Self { element, null: false, entries: Rc::default() }
    }

    /// A nil map: empty, and Go refuses to set anything in it. `fromJson "null"` gives one; `toJson` and `toYaml` write it as `null`.
    pub fn null() -> Self {
        Self { element: Element::Any, null: true, entries: Rc::default() }
    }

    /// Whether this is a nil map.
    pub fn is_null(&self) -> bool {
        self.null
    }

    /// The value of a key.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.entries.borrow().get(key.as_ref()).cloned()
    }

    /// Whether there is a value, be it nil.
    pub fn contains(&self, key: impl AsRef<[u8]>) -> bool {
        self.entries.borrow().contains_key(key.as_ref())
    }

    /// Changes the map for everybody who shares it.
    pub fn set(&self, key: impl Into<Text>, value: Value) {
        self.entries.borrow_mut().insert(key.into(), value);
    }

    /// Takes a key out, for everybody who shares the map.
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.entries.borrow_mut().remove(key.as_ref())
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// The entries as they are now, sorted by key; later changes are not seen.
    pub fn entries(&self) -> Vec<(Text, Value)> {
        self.entries.borrow().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether both are one map, not only equal ones.
    pub fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.entries, &other.entries)
    }

    /// A map of its own with the same values; values that are maps stay shared.
    pub fn copy(&self) -> Self {
        Self {
            element: self.element,
            null: false,
            entries: Rc::new(RefCell::new(self.entries.borrow().clone())),
        }
    }
}

/// Values nest as deeply as templates like, so dropping them must not recurse.
impl Drop for List {
    fn drop(&mut self) {
        if let Some(items) = Rc::get_mut(&mut self.items).and_then(|items| items.values.get_mut())
            && items.iter().any(Value::has_others)
        {
            Value::dismantle(std::mem::take(items));
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if let Some(entries) = Rc::get_mut(&mut self.entries)
            && entries.get_mut().values().any(Value::has_others)
        {
            Value::dismantle(std::mem::take(entries.get_mut()).into_values().collect());
        }
    }
}

impl Value {
    fn has_others(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_))
    }

    fn dismantle(mut values: Vec<Self>) {
        while let Some(mut value) = values.pop() {
            match &mut value {
                Self::List(list) => {
                    if let Some(items) = Rc::get_mut(&mut list.items).and_then(|items| items.values.get_mut())
                    {
                        values.append(items);
                    }
                }
                Self::Map(map) => {
                    if let Some(entries) = Rc::get_mut(&mut map.entries) {
                        values.extend(std::mem::take(entries.get_mut()).into_values());
                    }
                }
                _ => {}
            }
        }
    }

    /// An `int`.
    pub fn int(number: i64) -> Self {
        Self::Int(number, IntKind::Int)
    }

    /// An `int64`, which is what Sprig's arithmetic gives.
    pub fn int64(number: i64) -> Self {
        Self::Int(number, IntKind::Int64)
    }

    /// A `string`.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A `[]interface {}`.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(List::new(items))
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&List> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is nil.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// What `encoding/json` calls it in its errors.
    pub fn json_kind(&self) -> &'static str {
        match self {
            Self::Nil => "null",
            Self::Bool(_) => "bool",
            Self::Int(..) | Self::Float(_) => "number",
            Self::Text(_) | Self::Object(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }

    /// Go's name of the type, as `%T` and `typeOf` print it; `<nil>` for nil.
    pub fn type_name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_, kind) => kind.name(),
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(list) => match list.element {
                Element::Any => "[]interface {}",
                Element::Text => "[]string",
                Element::Int => "[]int",
                Element::Byte => "[]uint8",
                Element::List => "[][]interface {}",
                Element::Map => "[]map[string]interface {}",
                Element::Values => "[]common.Values",
                Element::Versions => "common.VersionSet",
            },
            Self::Map(map) => match map.element {
                Element::Any => "map[string]interface {}",
                Element::Text => "map[string]string",
                Element::Int => "map[string]int",
                Element::Byte => "map[string]uint8",
                Element::List => "map[string][]interface {}",
                Element::Map => "map[string]map[string]interface {}",
                Element::Values => "common.Values",
                Element::Versions => "map[string]common.VersionSet",
            },
            Self::Object(object) => object.type_name(),
        })
    }

    /// Go's kind (`reflect.Kind`), as `kindOf` prints it; `invalid` for nil.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_, kind) => kind.name(),
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(object) => object.kind(),
        }
    }

    /// Go's truth: not `false`, zero, an empty text, list or map, or `nil` (text/template, `IsTrue`).
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(object) => object.is_true(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<List> for Value {
    fn from(list: List) -> Self {
        Self::List(list)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl FromIterator<(Text, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(entries: I) -> Self {
        Self {
            element: Element::Any,
            null: false,
            entries: Rc::new(RefCell::new(entries.into_iter().collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_shared_and_a_copy_is_not() {
        let map = Map::new();
        let (same, copy) = (map.clone(), map.copy());
        map.set("k", Value::int(1));
        assert!(same.is(&map) && !copy.is(&map));
        assert_eq!((same.len(), copy.len()), (1, 0));
        let before = map.entries();
        map.remove("k");
        assert!(before.len() == 1 && same.is_empty());
    }

    #[test]
    fn truth_is_that_of_go() {
        let truths = [Value::int(-1), Value::from(0.5), Value::from("false"), Value::list(vec![Value::Nil])];
        assert!(truths.iter().all(Value::is_true));
        let lies = [Value::Nil, Value::int(0), Value::from(0.0), Value::from(""), Value::from(Map::new())];
        assert!(!lies.iter().any(Value::is_true));
    }

    #[test]
    fn types_have_the_names_go_gives_them() {
        let bytes = List::typed(Element::Byte, Vec::new());
        for (value, name, kind) in [
            (Value::Nil, "<nil>", "invalid"),
            (Value::int64(1), "int64", "int64"),
            (Value::from(bytes), "[]uint8", "slice"),
            (Value::from(Map::typed(Element::Text)), "map[string]string", "map"),
        ] {
            assert_eq!((value.type_name().as_ref(), value.kind()), (name, kind));
        }
    }

    #[test]
    fn values_nested_a_million_times_can_be_dropped() {
        let mut value = Value::Nil;
        for level in 0..1_000_000 {
            value = if level % 2 == 0 {
                Value::list(vec![value])
            } else {
                Value::from([("k".into(), value)].into_iter().collect::<Map>())
            };
        }
        drop(value);
    }
}

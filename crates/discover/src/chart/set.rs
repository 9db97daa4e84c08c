//! The texts of `--set` and its relatives (Helm, pkg/strvals): `a.b=1,c[0].d={x,y}`.

use larder_gotemplate::{Map, Value};

/// What stands right of `=`.
#[derive(Clone, Copy)]
pub enum SetKind<'a> {
    /// `--set`: `true`, `false`, `null` and whole numbers are what they look like, `{a,b}` is a list.
    Typed,
    /// `--set-string`: texts, or lists of texts.
    Text,
    /// `--set-json`: JSON.
    Json,
    /// `--set-file`: paths, which this reads.
    File(&'a dyn Fn(&str) -> Result<Value, SetError>),
    /// `--set-literal`: everything up to the end, as it is.
    Literal,
}

/// Why such a text cannot be used; in Helm's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No `=`.
    #[error("key {0:?} has no value")]
    NoValue(String),
    /// A comma instead of `=`.
    #[error("key {0:?} has no value (cannot end with ,)")]
    EndsWithComma(String),
    /// A dot, and nothing behind it.
    #[error("key map {0:?} has no value")]
    EmptyMap(String),
    /// More dots than [`MAX_NESTING`].
    #[error("value name nested level is greater than maximum supported nested level of {MAX_NESTING}")]
    TooDeep,
    /// `[` without a whole number and `]`.
    #[error("error parsing index: {0:?} is not a number")]
    Index(String),
    /// `[` without `]`.
    #[error("error parsing index: it has no end")]
    OpenIndex,
    /// A negative index.
    #[error("negative {0} index not allowed")]
    NegativeIndex(i64),
    /// An index above [`MAX_INDEX`].
    #[error("index of {0} is greater than maximum supported index of {MAX_INDEX}")]
    LargeIndex(i64),
    /// Something between `]` and `.`, `[` or `=`.
    #[error("unexpected data at end of array index: {0:?}")]
    AfterIndex(String),
    /// `{` without `}`.
    #[error("list must terminate with '}}'")]
    OpenList,
    /// A path goes through something that is no map, or no list.
    #[error("unable to parse key: {found} is not {wanted}")]
    Mismatch {
        /// The Go type of what is there.
        found: String,
        /// What the path needs.
        wanted: &'static str,
    },
    /// Not JSON.
    #[error("invalid JSON: {0}")]
    Json(String),
    /// A file could not be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
    },
}

/// The largest index of a list.
pub const MAX_INDEX: i64 = 65_536;
/// Dots in one path.
pub const MAX_NESTING: usize = 30;

/// Parses `text` and puts what it says into `values`, over what is there. After an error, parts of it may have been.
pub fn set(text: &str, kind: SetKind<'_>, values: &Map) -> Result<(), SetError> {
    let characters: Vec<char> = text.chars().collect();
    let mut parser = Parser { characters: &characters, at: 0, kind };
    loop {
        match parser.key(values, 0) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(()),
            Err(Stop::Error(error)) => return Err(error),
        }
    }
}

struct Parser<'a> {
    characters: &'a [char],
    at: usize,
    kind: SetKind<'a>,
}

/// Why a parse does not go on.
enum Stop {
    /// The text is at its end.
    End,
    Error(SetError),
}

impl From<SetError> for Stop {
    fn from(error: SetError) -> Self {
        Self::Error(error)
    }
}

impl Parser<'_> {
    fn is_literal(&self) -> bool {
        matches!(self.kind, SetKind::Literal)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.characters.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    /// Reads up to one of `stops` and over it; that one is `None` at the end of the text.
    fn until(&mut self, stops: &str) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(c) = self.next() {
            if stops.contains(c) {
                return (text, Some(c));
            }
            if c == '\\' && !self.is_literal() {
                match self.next() {
                    Some(escaped) => text.push(escaped),
                    None => break,
                }
            } else {
                text.push(c);
            }
        }
        (text, None)
    }

    fn key(&mut self, values: &Map, level: usize) -> Result<(), Stop> {
        let (key, stop) = self.until(if self.is_literal() { "=[." } else { "=[,." });
        match stop {
            None if key.is_empty() => Err(Stop::End),
            None => Err(SetError::NoValue(key).into()),
            Some('[') => {
                let index = self.index()?;
                let mut list = match values.get(&key) {
                    None => Vec::new(),
                    Some(value) => items(&value)?,
                };
                let result = self.item(&mut list, index, level);
                put(values, &key, Value::list(list));
                result
            }
            Some('=') => {
                let mut value = Value::Nil;
                let result = self.value(&mut value);
                if !matches!(result, Err(Stop::Error(_))) {
                    put(values, &key, value);
                }
                result
            }
            Some('.') => {
                let inner = match values.get(&key) {
                    None => Map::new(),
                    Some(Value::Map(map)) => map,
                    Some(other) => return Err(mismatch(&other, "a map").into()),
                };
                if level + 1 > MAX_NESTING {
                    return Err(SetError::TooDeep.into());
                }
                let result = self.key(&inner, level + 1);
                if inner.is_empty() {
                    return result.and(Err(SetError::EmptyMap(key).into()));
                }
                put(values, &key, Value::from(inner));
                result
            }
            Some(_) => {
                put(values, &key, Value::from(""));
                Err(SetError::EndsWithComma(key).into())
            }
        }
    }

    /// What is right of `=`. Says [`Stop::End`] where Helm does, which is only behind an empty value.
    fn value(&mut self, value: &mut Value) -> Result<(), Stop> {
        match self.kind {
            SetKind::Literal => {
                let rest: String = self.characters[self.at..].iter().collect();
                self.at = self.characters.len();
                *value = Value::from(rest);
                return Ok(());
            }
            SetKind::Json => {
                *value = self.json()?;
                return Ok(());
            }
            _ => {}
        }
        match self.characters.get(self.at) {
            None => {
                *value = Value::from("");
                return Err(Stop::End);
            }
            Some('{') => {
                self.at += 1;
                *value = self.list()?;
            }
            Some(_) => {
                let (text, _) = self.until(",");
                *value = self.scalar(&text)?;
            }
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Value, SetError> {
        let mut items = Vec::new();
        loop {
            let (text, stop) = self.until(",}");
            if stop.is_none() {
                return Err(SetError::OpenList);
            }
            items.push(self.scalar(&text)?);
            if stop == Some('}') {
                if self.characters.get(self.at) == Some(&',') {
                    self.at += 1;
                }
                return Ok(Value::list(items));
            }
        }
    }

    fn scalar(&self, text: &str) -> Result<Value, SetError> {
        match self.kind {
            SetKind::Typed => Ok(typed(text)),
            SetKind::File(read) => read(text),
            _ => Ok(Value::from(text)),
        }
    }

    fn json(&mut self) -> Result<Value, SetError> {
        if self.is_empty_value() {
            return Ok(Value::Nil);
        }
        let rest: String = self.characters[self.at..].iter().collect();
        let mut stream = serde_json::Deserializer::from_str(&rest).into_iter::<serde_json::Value>();
        let value = match stream.next() {
            Some(Ok(value)) => from_json(&value),
            Some(Err(error)) => return Err(SetError::Json(error.to_string())),
            None => return Err(SetError::Json("there is no value".into())),
        };
        self.at += rest[..stream.byte_offset()].chars().count();
        self.is_empty_value();
        Ok(value)
    }

    /// Reads over blanks, and over a comma behind them; whether nothing else was there.
    fn is_empty_value(&mut self) -> bool {
        while let Some(c) = self.characters.get(self.at) {
            if *c != ',' && !c.is_whitespace() {
                return false;
            }
            self.at += 1;
            if *c == ',' {
                return true;
            }
        }
        true
    }

    fn index(&mut self) -> Result<i64, SetError> {
        let (text, stop) = self.until("]");
        if stop.is_none() {
            return Err(SetError::OpenIndex);
        }
        let index: i64 = text.parse().map_err(|_| SetError::Index(text))?;
        if index < 0 {
            return Err(SetError::NegativeIndex(index));
        }
        Ok(index)
    }

    fn item(&mut self, list: &mut Vec<Value>, index: i64, level: usize) -> Result<(), Stop> {
        let (text, stop) = self.until("[.=");
        if !text.is_empty() {
            return Err(SetError::AfterIndex(text).into());
        }
        let existing = usize::try_from(index).ok().and_then(|index| list.get(index)).cloned();
        match stop {
            Some('=') => {
                let mut value = Value::Nil;
                // The end behind an empty value of an item is no end yet: the next key finds it.
                if let Err(Stop::Error(error)) = self.value(&mut value) {
                    return Err(error.into());
                }
                put_at(list, index, value)?;
            }
            Some('[') => {
                let next = self.index()?;
                let mut inner = match existing {
                    None | Some(Value::Nil) => Vec::new(),
                    Some(value) => items(&value)?,
                };
                self.item(&mut inner, next, level)?;
                put_at(list, index, Value::list(inner))?;
            }
            Some('.') => {
                let inner = match existing {
                    Some(Value::Map(map)) => map,
                    _ => Map::new(),
                };
                self.key(&inner, level)?;
                put_at(list, index, Value::from(inner))?;
            }
            _ => return Err(Stop::End),
        }
        Ok(())
    }
}

fn put(values: &Map, key: &str, value: Value) {
    if !key.is_empty() {
        values.set(key, value);
    }
}

fn put_at(list: &mut Vec<Value>, index: i64, value: Value) -> Result<(), SetError> {
    let place = usize::try_from(index).map_err(|_| SetError::NegativeIndex(index))?;
    if index > MAX_INDEX {
        return Err(SetError::LargeIndex(index));
    }
    if list.len() <= place {
        list.resize(place + 1, Value::Nil);
    }
    list[place] = value;
    Ok(())
}

fn items(value: &Value) -> Result<Vec<Value>, SetError> {
    match value {
        Value::List(list) => Ok(list.items().to_vec()),
        other => Err(mismatch(other, "a list")),
    }
}

fn mismatch(found: &Value, wanted: &'static str) -> SetError {
    SetError::Mismatch { found: found.type_name().into_owned(), wanted }
}

/// `typedVal`: what a text of `--set` means.
fn typed(text: &str) -> Value {
    for (word, value) in [("true", Value::from(true)), ("false", Value::from(false)), ("null", Value::Nil)] {
        if text.eq_ignore_ascii_case(word) {
            return value;
        }
    }
    if text == "0" {
        return Value::int64(0);
    }
    match text.parse() {
        // A leading zero is no number: it may be a telephone number.
        Ok(number) if !text.starts_with('0') => Value::int64(number),
        _ => Value::from(text),
    }
}

/// JSON as `encoding/json` gives it: all numbers are `float64`.
pub(crate) fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => Value::from(number.as_f64().unwrap_or(f64::MAX)),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::list(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => {
            let map = Map::new();
            for (key, value) in entries {
                map.set(key.as_str(), from_json(value));
            }
            Value::from(map)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_gotemplate::yaml;

    fn shown(kind: SetKind<'_>, texts: &[&str]) -> Result<String, SetError> {
        let values = Map::new();
        for text in texts {
            set(text, kind, &values)?;
        }
        Ok(yaml::emit(&Value::from(values)).unwrap())
    }

    #[test]
    fn set_reads_what_helm_reads() {
        // pkg/strvals/parser_test.go
        let cases = [
            ("name1=null", "name1: null\n"),
            ("name1=value1,name2=value2", "name1: value1\nname2: value2\n"),
            ("name1=,name2=value2", "name1: \"\"\nname2: value2\n"),
            ("name1=one\\,two,name2=three\\,four", "name1: one,two\nname2: three,four\n"),
            ("name1=one\\=two", "name1: one=two\n"),
            ("name1=one two three,name2=three two one", "name1: one two three\nname2: three two one\n"),
            ("leading_zeros=00009", "leading_zeros: \"00009\"\n"),
            ("zero_int=0", "zero_int: 0\n"),
            ("long_int=1234567890", "long_int: 1234567890\n"),
            ("boolean=true", "boolean: true\n"),
            ("is_null=NULL", "is_null: null\n"),
            (
                "outer.inner1=value1,outer.middle.inner=v",
                "outer:\n  inner1: value1\n  middle:\n    inner: v\n",
            ),
            ("name1={value1,value2},name2={}", "name1:\n- value1\n- value2\nname2:\n- \"\"\n"),
            ("list[0].foo=bar,list[0].hello=world", "list:\n- foo: bar\n  hello: world\n"),
            ("list[2]=a,list[0]=1", "list:\n- 1\n- null\n- a\n"),
            ("list[0][1]=x", "list:\n- - null\n  - x\n"),
            ("a.b\\.c/d=e", "a:\n  b.c/d: e\n"),
            ("f=1.5,g=1e3", "f: \"1.5\"\ng: \"1e3\"\n"),
            ("", "{}\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(SetKind::Typed, &[text]).unwrap(), expected, "{text}");
        }
        assert_eq!(
            shown(SetKind::Text, &["a=1,b=true,c={1,null}"]).unwrap(),
            "a: \"1\"\nb: \"true\"\nc:\n- \"1\"\n- \"null\"\n"
        );
        assert_eq!(shown(SetKind::Literal, &["a.b=one,c=\\{two}"]).unwrap(), "a:\n  b: one,c=\\{two}\n");
        assert_eq!(
            shown(SetKind::Json, &[r#"a={"x":[1,2.5]},b[1]=null ,c="s""#]).unwrap(),
            "a:\n  x:\n  - 1\n  - 2.5\nb:\n- null\n- null\nc: s\n"
        );
        assert_eq!(shown(SetKind::Typed, &["a.b=1", "a.c=2", "a.b=3"]).unwrap(), "a:\n  b: 3\n  c: 2\n");
    }

    #[test]
    fn what_helm_refuses_is_refused() {
        let deep = format!("{}=1", "a.".repeat(31) + "b");
        for (text, reason) in [
            ("name1", "key \"name1\" has no value"),
            ("name1,name2=1", "key \"name1\" has no value (cannot end with ,)"),
            ("name1={a,b", "list must terminate with '}'"),
            ("a[-1]=x", "negative -1 index not allowed"),
            ("a[65537]=x", "index of 65537 is greater than maximum supported index of 65536"),
            ("a[0]b=x", "unexpected data at end of array index: \"b\""),
            ("a=1,a.b=2", "unable to parse key: int64 is not a map"),
            ("a=1,a[0]=2", "unable to parse key: int64 is not a list"),
            (&deep, "value name nested level is greater than maximum supported nested level of 30"),
        ] {
            assert_eq!(shown(SetKind::Typed, &[text]).unwrap_err().to_string(), reason);
        }
        assert!(shown(SetKind::Json, &["a={"]).is_err());
    }
}

//! `.Files`: what a chart has beside its templates, as templates read it (Helm, pkg/engine/files.go).

use super::file::File;
use super::glob::Glob;
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_gotemplate::{Element, Fault, List, Map, Object, Text, Value, yaml};
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The files of one chart, or those that a glob has left.
pub(crate) struct Files {
    files: BTreeMap<Rc<str>, File>,
    unread: Unread,
}

/// Why a file could not be read that a template wanted: to the template it was empty.
#[derive(Clone, Default)]
pub(crate) struct Unread(Rc<RefCell<Option<Error>>>);

impl Unread {
    /// The first one since this was asked before.
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.borrow_mut().take()
    }
}

impl Files {
    pub(crate) fn new(files: &[File], unread: &Unread) -> Self {
        let files = files.iter().map(|file| (file.name.as_str().into(), file.clone())).collect();
        Self { files, unread: unread.clone() }
    }

    fn content(&self, name: &str) -> Option<Text> {
        self.files.get(name).map(|file| self.read(file))
    }

    fn read(&self, file: &File) -> Text {
        file.data().cloned().unwrap_or_else(|error| {
            self.unread.0.borrow_mut().get_or_insert(error);
            "".into()
        })
    }

    fn all(&self) -> impl Iterator<Item = (&Rc<str>, Text)> {
        self.files.iter().map(|(name, file)| (name, self.read(file)))
    }

    fn glob(&self, pattern: &Text) -> Self {
        let glob = Glob::new(&pattern.to_str());
        let fits = self.files.iter().filter(|(name, _)| glob.matches(name));
        let files = fits.map(|(name, file)| (name.clone(), file.clone())).collect();
        Self { files, unread: self.unread.clone() }
    }

    /// A map from the last components of the names, as YAML.
    fn as_map(&self, value: impl Fn(&Text) -> Value) -> Value {
        let map = Map::new();
        for (name, text) in self.all() {
            map.set(name.rsplit('/').next().unwrap_or(name), value(&text));
        }
        // As in Helm, what cannot be written is nothing.
        let text = yaml::emit(&Value::from(map)).unwrap_or_default();
        Value::from(text.strip_suffix('\n').unwrap_or(&text))
    }

    fn lines(&self, name: &Text) -> Value {
        let Some(text) = self.content(&name.to_str()) else { return texts(Vec::new()) };
        let bytes = text.as_bytes();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        texts(bytes.split(|byte| *byte == b'\n').map(Value::text).collect())
    }
}

impl Object for Files {
    fn type_name(&self) -> &str {
        "engine.files"
    }

    fn kind(&self) -> &'static str {
        "map"
    }

    fn get(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Fault>> {
        let wanted = match name {
            "AsConfig" | "AsSecrets" => 0,
            "Get" | "GetBytes" | "Glob" | "Lines" => 1,
            // Any other name is a key of the map.
            key => {
                return Some(Ok(bytes(self.content(key).unwrap_or_else(|| "".into()))));
            }
        };
        if arguments.len() != wanted {
            let count = arguments.len();
            return Some(Err(Fault::new(format!(
                "wrong number of args for {name}: want {wanted} got {count}"
            ))));
        }
        let path = match arguments {
            [] => Text::from(""),
            [Value::Text(path), ..] => path.clone(),
            [other, ..] => {
                let found = other.type_name();
                return Some(Err(Fault::new(format!("wrong type for value; expected string; got {found}"))));
            }
        };
        Some(Ok(match name {
            "Get" => Value::from(self.content(&path.to_str()).unwrap_or_else(|| "".into())),
            "GetBytes" => bytes(self.content(&path.to_str()).unwrap_or_else(|| "".into())),
            "Glob" => Value::Object(Rc::new(self.glob(&path))),
            "Lines" => self.lines(&path),
            "AsConfig" => self.as_map(|text| Value::from(text.clone())),
            _ => self.as_map(|text| Value::from(STANDARD.encode(text.as_bytes()))),
        }))
    }

    fn print(&self) -> String {
        let decimals: Vec<String> = (0..=u8::MAX).map(|byte| format!("{byte} ")).collect();
        let mut text = String::from("map[");
        for (at, (name, content)) in self.all().enumerate() {
            text.push_str(if at > 0 { " " } else { "" });
            text.push_str(name);
            text.push_str(":[");
            // Megabytes are printed where a template prints dot.
            text.reserve(content.len() * 4 + 1);
            for byte in content.as_bytes() {
                text.push_str(&decimals[usize::from(*byte)]);
            }
            if !content.is_empty() {
                text.pop();
            }
            text.push(']');
        }
        text.push(']');
        text
    }

    /// `[]byte` is base64 in JSON, and with it in YAML.
    fn plain(&self) -> Value {
        let map = Map::new();
        for (name, text) in self.all() {
            map.set(&**name, Value::from(STANDARD.encode(text.as_bytes())));
        }
        Value::from(map)
    }

    fn entries(&self) -> Option<Vec<(Value, Value)>> {
        Some(self.all().map(|(name, text)| (Value::from(&**name), bytes(text))).collect())
    }

    fn is_true(&self) -> bool {
        !self.files.is_empty()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn bytes(bytes: Text) -> Value {
    Value::from(List::bytes(bytes))
}

fn texts(items: Vec<Value>) -> Value {
    Value::from(List::typed(Element::Text, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let file = |name: &str, data: &str| File::new(name, data.as_bytes());
        let files = [file("a/x.txt", "one\ntwo\n"), file("a/y.txt", "three"), file("b.bin", "\u{1}")];
        Files::new(&files, &Unread::default())
    }

    fn call(files: &Files, name: &str, arguments: &[Value]) -> String {
        match files.get(name, arguments).unwrap().unwrap() {
            Value::Text(text) => text.to_string(),
            Value::List(list) => {
                list.items().iter().map(|item| format!("<{}>", item.as_text().unwrap())).collect()
            }
            Value::Object(object) => {
                let names = object.entries().unwrap();
                names.iter().map(|(name, _)| format!("<{}>", name.as_text().unwrap())).collect()
            }
            _ => unreachable!("the methods give nothing else"),
        }
    }

    #[test]
    fn methods_are_those_of_helm() {
        let files = files();
        assert_eq!(call(&files, "Get", &["a/y.txt".into()]), "three");
        assert_eq!(call(&files, "Get", &["missing".into()]), "");
        assert_eq!(call(&files, "Lines", &["a/x.txt".into()]), "<one><two>");
        assert_eq!(call(&files, "Lines", &["missing".into()]), "");
        assert_eq!(call(&files, "Glob", &["a/*".into()]), "<a/x.txt><a/y.txt>");
        assert_eq!(call(&files.glob(&"a/*".into()), "AsConfig", &[]), "x.txt: |\n  one\n  two\ny.txt: three");
        assert_eq!(call(&files.glob(&"*.bin".into()), "AsSecrets", &[]), "b.bin: AQ==");
        assert!(files.get("Get", &[]).unwrap().is_err());
        assert_eq!(files.glob(&"a/y.txt".into()).print(), "map[a/y.txt:[116 104 114 101 101]]");
        assert_eq!(files.glob(&"b.bin".into()).print(), "map[b.bin:[1]]");
    }
}

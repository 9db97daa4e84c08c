//! YAML against what Helm 4.2.3 answers (`toYaml`, `fromYaml`): recorded tables, and properties.

use larder_gotemplate::yaml::{self, Error, Limits, NodeKind};
use larder_gotemplate::{Map, Text, Value};
use proptest::prelude::*;

/// Our values and what `toYaml` made of them, with its line end; null where it gives nothing, since there is an error.
const EMIT: &str = include_str!("yaml/emit.json");

/// Our texts and what `fromYaml` made of them; only those where reader and go-yaml are meant to agree.
const READ: &str = include_str!("yaml/read.json");

#[test]
fn values_are_written_as_helm_writes_them() {
    let cases: Vec<(&serde_json::value::RawValue, Option<String>)> = serde_json::from_str(EMIT).unwrap();
    assert!(cases.len() > 600);
    for (value, expected) in cases {
        let value = yaml::parse(value.get().as_bytes()).unwrap();
        assert_eq!(yaml::emit(&value).ok(), expected);
    }
}

#[test]
fn texts_are_read_as_helm_reads_them() {
    let cases: Vec<(String, serde_json::Value)> = serde_json::from_str(READ).unwrap();
    assert!(cases.len() > 250);
    for (text, expected) in cases {
        let read = yaml::parse(text.as_bytes());
        match expected.get("value") {
            Some(value) => {
                assert_eq!(read.map(|value| to_json(&value)), Ok(to_json(&from_json(value))), "{text:?}");
            }
            None => assert!(read.is_err(), "{text:?}"),
        }
    }
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let text = "a: 1\n---\nb: [\n---\n# nothing\n---\nc: |\n  ---\n  -----BEGIN X-----\n--- # d\nd: \"x\n";
    let documents: Vec<_> = yaml::documents(text.as_bytes(), &Limits::default()).collect();
    assert_eq!(documents.len(), 4, "{documents:?}");
    assert_eq!(documents[0].as_ref().unwrap().get("a").unwrap().line, 1);
    assert!(matches!(documents[1], Err(Error::Syntax { line: 3.., .. })), "{:?}", documents[1]);
    assert_eq!(documents[2].as_ref().unwrap().get("c").unwrap().as_text(), Some("---\n-----BEGIN X-----\n"));
    assert!(documents[3].is_err());
}

#[test]
fn places_count_from_the_beginning_of_the_stream() {
    let text = "\u{feff}a: 1\r\n---\r\nb:\r\n  - x\r\n  - {k: v}\r\n";
    let documents: Vec<_> =
        yaml::documents(text.as_bytes(), &Limits::default()).map(Result::unwrap).collect();
    let list = documents[1].get("b").unwrap().as_list().unwrap();
    assert_eq!((list[0].line, list[0].column), (4, 5));
    assert_eq!((list[1].get("k").unwrap().line, list[1].get("k").unwrap().column), (5, 9));
}

#[test]
fn json_documents_may_follow_each_other_without_a_separator() {
    let documents: Vec<_> =
        yaml::documents(b"{\"a\": 1}\n{\"b\":\n\t[2]}\n", &Limits::default()).map(Result::unwrap).collect();
    assert_eq!(documents.len(), 2, "{documents:?}");
    assert_eq!(documents[1].get("b").unwrap().line, 3);
}

#[test]
fn directives_belong_to_the_document_behind_them() {
    let text = "%YAML 1.1\n# c\n---\na: 1\n...\n%YAML 1.1\n---\nb: 2\n";
    let documents: Vec<_> =
        yaml::documents(text.as_bytes(), &Limits::default()).map(Result::unwrap).collect();
    assert_eq!(documents.len(), 2, "{documents:?}");
    assert_eq!(documents[1].get("b").unwrap().line, 8);
}

#[test]
fn utf_16_is_read() {
    let bytes: Vec<u8> = "\u{feff}a: é\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        yaml::parse(&bytes).unwrap().as_map().unwrap().get("a").unwrap().as_text().unwrap().to_str(),
        "é"
    );
}

#[test]
fn aliases_of_aliases_end_at_the_limit() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(", "));
    }
    assert!(matches!(yaml::parse(text.as_bytes()), Err(Error::Limit { what: "nodes", .. })));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 100].join(", "));
    assert!(matches!(yaml::parse(long.as_bytes()), Err(Error::Limit { what: "bytes", .. })));
}

#[test]
fn depth_ends_at_the_limit() {
    assert!(yaml::parse("[".repeat(100_000).as_bytes()).is_err());
    assert!(yaml::parse("- ".repeat(100_000).as_bytes()).is_err());
    let deep = format!("{}{}", "[".repeat(150), "]".repeat(150));
    assert!(yaml::parse(deep.as_bytes()).is_ok());
}

#[test]
fn merged_maps_keep_the_places_of_their_values() {
    let nodes: Vec<_> = yaml::documents(b"a: &a\n  k: 1\nb:\n  <<: *a\n  l: 2\n", &Limits::default())
        .map(Result::unwrap)
        .collect();
    let NodeKind::Map(entries) = &nodes[0].get("b").unwrap().kind else { panic!("a map") };
    let lines: Vec<u32> = entries.iter().map(|(_, value)| value.line).collect();
    assert_eq!(lines, [2, 5]);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in values()) {
        let value = from_json(&value);
        let text = yaml::emit(&value).unwrap();
        let read = yaml::parse(text.as_bytes()).map(|value| to_json(&value));
        prop_assert_eq!(read, Ok(to_json(&value)), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-a1:#,\\[\\]{}'\"|>&*!%?\\\\ \t\n]{0,40}") {
        let limits = Limits { bytes: 1000, depth: 10, nodes: 100 };
        prop_assert!(yaml::documents(text.as_bytes(), &limits).count() <= 41);
        let _ = yaml::parse(text.as_bytes());
    }
}

fn values() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        "[ -~\n\t]{0,20}",
        "[a-z:# \n'\"-]{60,140}",
        "(yes|no|~|null|[0-9_.:eExob+-]{1,8}|[^\\p{C}\u{85}\u{2028}\u{2029}]{0,6})",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(serde_json::Value::from),
        any::<i32>().prop_map(|number| serde_json::Value::from(f64::from(number))),
        text.prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-z0-9 :.\n-]{0,12}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => {
            Value::Float(number.as_f64().expect("numbers of JSON are floats, too"))
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::list(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => {
            let map: Map =
                entries.iter().map(|(key, value)| (Text::from(key.as_str()), from_json(value))).collect();
            Value::from(map)
        }
    }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        // As JSON has no sign for zero.
        Value::Float(number) => (number + 0.0).into(),
        Value::Text(text) => text.to_str().into(),
        Value::List(list) => list.items().iter().map(to_json).collect::<Vec<_>>().into(),
        Value::Map(map) => serde_json::Value::Object(
            map.entries().iter().map(|(key, value)| (key.to_string(), to_json(value))).collect(),
        ),
        _ => serde_json::Value::Null,
    }
}

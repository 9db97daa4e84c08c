//! Sprig's functions and Helm's against what Helm 4.2.3 answers: a table for each kind of them, recorded.

mod recorded;

use std::collections::BTreeSet;

use larder_gotemplate::{go, helm};
use recorded::{Answer, Table, compare};

macro_rules! tables {
    ($($name:ident: $least:literal,)*) => {
        $(
            #[test]
            fn $name() {
                compare(include_str!(concat!("sprig/", stringify!($name), ".json")), $least);
            }
        )*

        const TABLES: &[&str] = &[$(include_str!(concat!("sprig/", stringify!($name), ".json"))),*];
    };
}

tables! {
    certificates: 30,
    dates: 150,
    defaults: 150,
    dicts: 150,
    documents: 150,
    encoding: 100,
    letters: 150,
    lists: 350,
    numbers: 350,
    paths: 100,
    random: 25,
    regex: 150,
    strings: 300,
    versions: 40,
}

#[test]
fn every_function_has_a_case() {
    let words: BTreeSet<String> = TABLES
        .iter()
        .flat_map(|table| Table::read(table).cases)
        .flat_map(|(template, _)| {
            let words =
                template.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            words.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let known_elsewhere = ["fail", "include", "lookup", "required", "tpl"];
    let without: Vec<&str> = helm()
        .names()
        .into_iter()
        .filter(|name| go().function(name).is_none() || *name == "slice")
        .filter(|name| !words.contains(*name) && !known_elsewhere.contains(name))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

/// Arguments at the edges of what functions are made for.
const EDGES: &[&str] = &[
    "nil",
    "true",
    "0",
    "-9223372036854775808",
    "9223372036854775807",
    "65536",
    "(float64 \"nan\")",
    "(float64 \"-inf\")",
    "5e-324",
    "\"\"",
    "\"\\xff\\x00\"",
    "\"a(b[c\"",
    "(repeat 3000 \"(\")",
    "(repeat 3000 \"[\")",
    "(list)",
    "(rest (list))",
    "(until 300)",
    "(list nil 1 \"a\" (list))",
    "(dict \"a\" nil)",
    "(fromJson \"null\")",
    "(splitList \"\" \"äb\")",
    "(int64 -9223372036854775808)",
    "now",
    "(now.AddDate 100000000 5 7)",
    "(semver \"18446744073709551615.0.0-a\")",
    "(genCA \"\" 9223372036854775807)",
    ".Values.m",
    "\"Europe/Berlin\"",
];

#[test]
fn no_argument_brings_a_function_down() {
    let table = Table::read(TABLES[0]);
    let mut next = 1usize;
    let mut pick = |count: usize| {
        next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (next >> 33) % count
    };
    for name in helm().names() {
        for round in 0..8 {
            let arguments: Vec<&str> = (0..round % 5).map(|_| EDGES[pick(EDGES.len())]).collect();
            let call = format!("{name} {}", arguments.join(" "));
            let template = format!(
                "{{{{ $r := {call} }}}}{{{{ toJson $r | len }}}}{{{{ toYaml $r | len }}}}{{{{ print $r | len }}}}"
            );
            match table.answer(&template) {
                Answer::Out(_) | Answer::Error(_) => {}
            }
        }
    }
}

#[test]
fn what_is_known_to_differ_still_does() {
    let table = Table::read(include_str!("sprig/differences.json"));
    for (template, expected) in &table.cases {
        let found: Answer = table.answer(template);
        assert_ne!(found, *expected, "{template} has Helm's answer now: move it to its table");
    }
}

#[test]
fn there_are_as_many_functions_as_in_helm() {
    // Sprig's 211 without two, of which Helm replaces three; and 13 of its own.
    let names = helm().names();
    assert_eq!(names.iter().filter(|name| go().function(name).is_none() || **name == "slice").count(), 222);
}

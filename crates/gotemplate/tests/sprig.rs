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

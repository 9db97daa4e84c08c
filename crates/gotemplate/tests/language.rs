//! The language against what Helm 4.2.3 answers: a table for each part of it, recorded.

mod recorded;

use recorded::compare;

#[test]
fn constants() {
    compare(include_str!("language/constants.json"), 70);
}

#[test]
fn texts_and_errors_of_the_parser() {
    compare(include_str!("language/text.json"), 140);
}

#[test]
fn control_structures_and_templates() {
    compare(include_str!("language/flow.json"), 140);
}

#[test]
fn fields() {
    compare(include_str!("language/fields.json"), 70);
}

#[test]
fn functions_of_go() {
    compare(include_str!("language/builtins.json"), 90);
}

#[test]
fn comparison() {
    compare(include_str!("language/compare.json"), 250);
}

#[test]
fn formats() {
    compare(include_str!("language/printf.json"), 50);
}

#[test]
fn calls_and_types_of_arguments() {
    compare(include_str!("language/calls.json"), 90);
}

/// Templates that nobody would write, made of all of the above.
#[test]
fn combinations() {
    compare(include_str!("language/combinations.json"), 600);
}

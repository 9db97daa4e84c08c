//! Whatever is given for a template, there is a result or an error.

use larder_gotemplate::{Error, Limits, RunOptions, Templates, helm, yaml};
use proptest::prelude::*;

/// Pieces of which templates are made, and some that do not belong there.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    "if ",
    "else",
    "else if ",
    "else with ",
    "end",
    "{{ end }}",
    "range ",
    "with ",
    "define ",
    "template ",
    "block ",
    "break",
    "continue",
    "\"t\"",
    "`t`",
    "'a'",
    "1",
    "-1",
    "1.5",
    "0x1p4",
    "1e9",
    "nil",
    "true",
    ".",
    "$",
    "$x",
    ":=",
    "=",
    "|",
    " | ",
    "(",
    ")",
    ",",
    " ",
    "\n",
    "/*",
    "*/",
    ".Values",
    ".Values.l",
    ".Values.m",
    ".Values.s",
    ".nope.x",
    "include ",
    "tpl ",
    "print ",
    "printf \"%5.1f %s %[1]v\" ",
    "index ",
    "len ",
    "eq ",
    "lt ",
    "and ",
    "or ",
    "not ",
    "dict ",
    "list ",
    "set ",
    "toYaml ",
    "required ",
    "fail ",
    "default ",
    "until ",
    "$i, $e := ",
    "text",
    "ä€",
    "\u{0}",
    "\\",
];

fn check(text: &str) {
    let mut templates = Templates::new(helm());
    let lines = text.lines().count() + 1;
    match templates.parse("t", text) {
        Err(Error::Parse { line, .. }) => return assert!(line >= 1 && line as usize <= lines),
        result => result.expect("parsing has no other error"),
    }
    let data =
        yaml::parse(b"Values: {s: text, l: [1, x, null], m: {k: v, n: {d: 1.5}}}").expect("this is YAML");
    let limits = Limits { bytes: 1 << 16, steps: 2_000, ..Limits::default() };
    for tolerant in [false, true] {
        let options = RunOptions { limits, tolerant, ..RunOptions::default() };
        match templates.execute("t", &data, &options) {
            Ok(output) => assert!(output.text.len() <= limits.bytes),
            Err(error) => assert!(!error.to_string().is_empty() && !error.helm().is_empty()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn pieces_in_any_order_are_read_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        check(&pieces.concat());
    }

    #[test]
    fn actions_of_any_words_end(words in prop::collection::vec(prop::sample::select(PIECES), 0..8)) {
        check(&format!("{{{{ $x := 1 }}}}{{{{ {} }}}}", words.join(" ")));
        check(&format!("{{{{ range .Values.l }}}}{{{{ {} }}}}{{{{ end }}}}", words.join(" ")));
    }
}

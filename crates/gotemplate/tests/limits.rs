//! What hostile templates do: they get an error, and nothing else happens.

use larder_gotemplate::{Error, Limits, Map, RunOptions, Templates, Value, helm};

fn run(template: &str, options: &RunOptions<'_>) -> Result<String, Error> {
    let mut templates = Templates::new(helm());
    templates.parse("t", template)?;
    let data = Map::new();
    data.set("Values", Value::from(Map::new()));
    templates.execute("t", &Value::from(data), options).map(|output| output.text.to_string())
}

fn limit_of(template: &str) -> String {
    let error = run(template, &RunOptions::default()).expect_err(template);
    assert!(error.is_limit(), "{error}");
    error.to_string()
}

fn parse_error_of(template: &str) -> String {
    match run(template, &RunOptions::default()) {
        Err(Error::Parse { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn templates_that_include_themselves_end() {
    limit_of(r#"{{ define "t2" }}{{ include "t2" . }}{{ end }}{{ include "t2" . }}"#);
    limit_of(r#"{{ define "t2" }}{{ template "t2" . }}{{ end }}{{ template "t2" . }}"#);
    limit_of(
        r#"{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ template "a" . }}{{ end }}{{ include "a" . }}"#,
    );
    limit_of(r#"{{ tpl "{{ include \"gotpl\" . }}" . }}"#);
    limit_of(r#"{{ $x := "{{ tpl .x . }}" }}{{ tpl $x (dict "x" $x) }}"#);
    let shallow = Limits { include_depth: 3, ..Limits::default() };
    let options = RunOptions { limits: shallow, ..RunOptions::default() };
    let error = run(r#"{{ define "t2" }}{{ include "t2" . }}{{ end }}{{ include "t2" . }}"#, &options);
    let text = error.expect_err("it has no end").to_string();
    assert!(
        text.ends_with("rendering template has a nested reference name: t2: unable to execute template"),
        "{text}"
    );
}

#[test]
fn fifty_levels_of_templates_are_nothing() {
    let text = r#"{{ define "t2" }}{{ with sub (int .) 1 }}{{ range list . }}<{{ include "t2" (int .) }}>{{ end }}{{ end }}{{ end }}{{ include "t2" 50 }}"#;
    assert_eq!(run(text, &RunOptions::default()).map(|text| text.len()), Ok(98));
}

#[test]
fn what_is_nested_too_deeply_is_not_read() {
    let many = 100_000;
    let nested = |open: &str, inner: &str, close: &str| open.repeat(many) + inner + &close.repeat(many);
    assert_eq!(parse_error_of(&nested("{{ if 1 }}", "", "{{ end }}")), "template is nested too deeply");
    assert_eq!(
        parse_error_of(&format!("{{{{ {} }}}}", nested("(", "1", ")"))),
        "template is nested too deeply"
    );
    assert_eq!(
        parse_error_of(&nested("{{ block \"x\" . }}", "", "{{ end }}")),
        "template is nested too deeply"
    );
    let chain = "{{ else if 0 }}".repeat(many);
    assert_eq!(
        parse_error_of(&format!("{{{{ if 0 }}}}{chain}{{{{ end }}}}")),
        "template is nested too deeply"
    );
    limit_or_fault(&format!("{{{{ tpl (print {:?} (repeat {many} \"(\") {:?}) . }}}}", "{{", "}}"));
}

fn limit_or_fault(template: &str) {
    run(template, &RunOptions::default()).expect_err("it is nested too deeply");
}

#[test]
fn loops_and_texts_have_an_end() {
    let limits = Limits { bytes: 10_000, steps: 100_000, ..Limits::default() };
    let options = RunOptions { limits, ..RunOptions::default() };
    for template in [
        "{{ range 9223372036854775807 }}{{ end }}",
        r#"{{ range 100000 }}text{{ end }}"#,
        r#"{{ $x := "ab" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}"#,
        r#"{{ printf "%1000000d" 1 }}"#,
        r#"{{ $d := dict }}{{ range 100 }}{{ $d = dict "d" $d }}{{ end }}"#,
        r#"{{ $x := repeat 9000 "x" }}{{ range 1000 }}{{ $y := sha256sum $x }}{{ end }}"#,
        r#"{{ define "x" }}{{ repeat 100 "x" }}{{ end }}{{ range 1000 }}{{ $y := include "x" . }}{{ end }}"#,
    ] {
        assert!(run(template, &options).expect_err(template).is_limit());
    }
}

#[test]
fn values_may_be_nested_deeply_and_contain_themselves() {
    let deep = |then: &str| {
        format!("{{{{ $x := list }}}}{{{{ range 20000 }}}}{{{{ $x = list $x }}}}{{{{ end }}}}{then}")
    };
    assert_eq!(run(&deep("ok"), &RunOptions::default()), Ok("ok".to_owned()));
    limit_of(&deep("{{ $x }}"));
    limit_of(r#"{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $d }}"#);
    limit_of(r#"{{ $x := list 1 }}{{ range 100 }}{{ $x = list $x $x }}{{ end }}{{ print $x }}"#);
    let maps = r#"{{ $x := dict }}{{ range 20000 }}{{ $x = dict "k" $x }}{{ end }}ok"#;
    assert_eq!(run(maps, &RunOptions::default()), Ok("ok".to_owned()));
}

#[test]
fn a_tolerant_run_records_and_goes_on() {
    let mut templates = Templates::new(helm());
    templates
        .parse("t", "a\n{{ required \"need\" .x }}b\n{{ fail \"no\" }}c{{ include \"nope\" . }}\n{{ template \"none\" . }}{{ include \"d\" . }}")
        .unwrap();
    templates.parse("_d", "{{ define \"d\" }}\n{{ required \"inner\" \"\" }}d{{ end }}").unwrap();
    let options = RunOptions { tolerant: true, ..RunOptions::default() };
    let output = templates.execute("t", &Value::Nil, &options).unwrap();
    assert_eq!(output.text.to_string(), "a\nb\nc\n\nd");
    let seen: Vec<_> = output
        .diagnostics
        .iter()
        .map(|diagnostic| (diagnostic.template.as_str(), diagnostic.line, diagnostic.message.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("t", 2, "need"),
            ("t", 3, "no"),
            ("t", 3, "template: no template \"nope\" associated with template \"gotpl\""),
            ("t", 4, "template \"none\" not defined"),
            ("_d", 2, "inner"),
        ]
    );
    templates.parse("loop", "{{ include \"loop\" . }}").unwrap();
    assert!(templates.execute("loop", &Value::Nil, &options).unwrap_err().is_limit());
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let mut templates = Templates::new(helm());
    templates.parse("a", "{{ randAlphaNum 20 }} {{ now }}").unwrap();
    templates.parse("b", "{{ randAlphaNum 20 }} {{ now }}").unwrap();
    let options = RunOptions { now: (1_700_000_000, 5), seed: 7, ..RunOptions::default() };
    let text = |name: &str, options: &RunOptions<'_>| {
        templates.execute(name, &Value::Nil, options).unwrap().text.to_string()
    };
    assert_eq!(text("a", &options), text("a", &options));
    assert_ne!(text("a", &options), text("b", &options));
    assert_ne!(text("a", &options), text("a", &RunOptions { seed: 8, ..options.clone() }));
}

#[test]
fn what_a_cluster_has_can_be_looked_up() {
    let mut templates = Templates::new(helm());
    templates
        .parse("t", r#"{{ (lookup "v1" "Secret" "ns" "s").data }}{{ lookup "v1" "Pod" "" "" }}"#)
        .unwrap();
    let lookup = |names: &[larder_gotemplate::Text; 4]| {
        let found = Map::new();
        found.set("data", Value::from(names[3].clone()));
        Ok((names[1].as_bytes() == b"Secret").then(|| Value::from(found)))
    };
    let options = RunOptions { lookup: Some(&lookup), ..RunOptions::default() };
    assert_eq!(templates.execute("t", &Value::Nil, &options).unwrap().text.to_string(), "smap[]");
}

#[test]
fn unknown_functions_are_all_named() {
    let templates = Templates::new(helm());
    let text = "{{ foo }} foo {{ bar (upper baz) | foo }} {{/* qux */}}{{ .foo }}{{ \"x\" }}";
    assert_eq!(templates.unknown_functions(text), ["foo", "bar", "baz"]);
}

#[test]
fn a_hash_that_nobody_uses_may_cost_less() {
    let text = |password_cost| {
        let options = RunOptions { password_cost, ..RunOptions::default() };
        run(r#"{{ htpasswd "user" "secret" }}"#, &options).unwrap()
    };
    assert!(text(None).starts_with("user:$2a$10$"));
    assert!(text(Some(4)).starts_with("user:$2a$04$"));
}

//! What finds and problems say about themselves, and what users can change.

use larder_discover::manifest::{
    AppVersions, Confidence, Limits, Reason, RuleFault, Rules, Scan, Scanner, ValuesOptions,
};
use larder_gotemplate::yaml;
use proptest::prelude::*;
use std::sync::LazyLock;

fn scan(text: &str) -> Scan {
    static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(Rules::built_in()));
    SCANNER.scan("test.yaml", text.as_bytes())
}

fn texts(scan: &Scan) -> Vec<&str> {
    scan.finds.iter().map(|find| find.text.as_str()).collect()
}

#[test]
fn a_find_says_file_line_object_field_and_rule() {
    let scan = scan(
        "# c\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec:\n  template:\n    spec:\n      containers:\n      - name: a\n        image: nginx:1.27\n",
    );
    let find = &scan.finds[0];
    assert_eq!(find.reference.to_string(), "docker.io/library/nginx:1.27");
    assert_eq!((&*find.place.source, find.place.line, find.place.column), ("test.yaml", 10, 16));
    assert_eq!(find.place.object.as_ref().unwrap().to_string(), "Deployment shop/web");
    assert_eq!(find.place.path, "spec.template.spec.containers[0].image");
    assert_eq!((find.confidence, &*find.rule), (Confidence::Certain, "container"));
    assert!(!find.is_untagged() && scan.problems.is_empty());
}

#[test]
fn what_a_container_asks_for_is_an_image_whatever_it_is_called() {
    for image in [
        "ghcr.io/acme/next.js",
        "acme/report.pdf",
        "video/encoder:2",
        "application/web:1",
        "ami-scanner:1",
        "projects/a/images/b:1",
        "docker.cattle.io/x:1",
        "k8s.io/app:1",
        "a/b:NoExecute",
    ] {
        let pod = scan(&format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: '{image}'}}]}}\n"));
        assert_eq!(texts(&pod), [image]);
        assert_eq!(pod.finds[0].confidence, Confidence::Certain, "{image}");
        // Elsewhere it is what it looks like.
        let other = scan(&format!("apiVersion: v1\nkind: ConfigMap\ndata: {{image: '{image}'}}\n"));
        assert!(other.finds.is_empty(), "{image}");
    }
}

#[test]
fn data_of_config_maps_in_base64_is_read() {
    // a: b
    // image: b/c:2
    let scan = scan("apiVersion: v1\nkind: ConfigMap\nbinaryData: {x: YTogYgppbWFnZTogYi9jOjIK}\n");
    assert_eq!(texts(&scan), ["b/c:2"]);
}

#[test]
fn names_do_not_begin_lines_of_their_own() {
    let scan = scan(
        "apiVersion: v1\nkind: \"Po\\nd\"\nmetadata: {name: \"a\\nerror: b\", namespace: \"c\\e[1m\"}\nspec: {\"x\\ny\": {containers: [{image: 'a/b:1'}]}}\n",
    );
    let place = &scan.finds[0].place;
    assert_eq!(place.object.as_ref().unwrap().to_string(), r"Po\nd c\u{1b}[1m/a\nerror: b");
    assert_eq!(place.path, r#"spec["x\ny"].containers[0].image"#);
}

#[test]
fn an_item_of_a_list_is_an_object_of_its_own() {
    let scan = scan(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {generateName: p-, annotations: {helm.sh/hook: test}}\n  spec: {containers: [{image: 'a/b:1'}]}\n",
    );
    let object = scan.finds[0].place.object.as_ref().unwrap();
    assert_eq!(
        (object.kind.as_str(), object.name.as_deref(), object.hook.as_deref()),
        ("Pod", Some("p-"), Some("test"))
    );
    assert_eq!(scan.finds[0].place.path, "items[0].spec.containers[0].image");
}

#[test]
fn embedded_documents_keep_their_lines() {
    let scan = scan(
        "kind: ConfigMap\napiVersion: v1\ndata:\n  a: |\n\n    x: 1\n    image: b/c:2\n  d: |\n    no: [\n    image = \"e/f:3\"\n  g: \"image: h/i:4\\nj: k\"\n",
    );
    let found: Vec<(u32, &str, &str)> = scan
        .finds
        .iter()
        .map(|find| (find.place.line, find.text.as_str(), find.place.path.as_str()))
        .collect();
    assert_eq!(
        found,
        [(7, "b/c:2", "data.a > image"), (10, "e/f:3", "data.d > image"), (11, "h/i:4", "data.g > image")]
    );
    assert!(scan.finds.iter().all(|find| find.confidence == Confidence::Likely));
}

#[test]
fn what_cannot_be_read_is_a_problem_and_hides_nothing_else() {
    let scan = scan(
        "a: [\n---\napiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'A/b'}, {image: 'c:${X}'}, {image: 'd/e:1'}]}\n---\nx: {{ y }}: z\n",
    );
    assert_eq!(texts(&scan), ["d/e:1"]);
    let lines: Vec<u32> = scan.problems.iter().map(|problem| problem.place.line).collect();
    assert_eq!(lines, [1, 5, 5, 7]);
    assert!(matches!(scan.problems[0].reason, Reason::Document(_)), "{:?}", scan.problems[0]);
    assert!(matches!(&scan.problems[1].reason, Reason::Reference { text, .. } if text == "A/b"));
    assert!(matches!(&scan.problems[2].reason, Reason::Variable { text } if text == "c:${X}"));
    assert_eq!(scan.problems[3].reason, Reason::Template);
}

#[test]
fn a_template_inside_of_a_document_says_what_it_makes_at_run_time() {
    let scan = scan(
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  t: |\n    {{ if x }}\n    image: \"{{ .Image }}\"\n    image: busybox:1.28\n",
    );
    assert_eq!(texts(&scan), ["busybox:1.28"]);
    assert!(matches!(&scan.problems[0].reason, Reason::RunTime { text } if text == "{{ .Image }}"));
}

#[test]
fn ports_addresses_tags_and_digests_are_told_apart() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let longest = format!("{}.example/{}:{}@{digest}", "r".repeat(63), "x".repeat(255), "t".repeat(128));
    let too_long = format!("r.example/{}:t", "x".repeat(256));
    let images = [
        "r.example:5000/a:1",
        "[2001:db8::1]:5000/a:1",
        "127.0.0.1/a:1",
        "localhost/a",
        &format!("a@{digest}"),
        &format!("a:1@{digest}"),
        &longest,
        &too_long,
    ];
    for (number, image) in images.iter().enumerate() {
        let scan =
            scan(&format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: '{image}'}}]}}\n"));
        let expected = if number == 7 { (0, 1) } else { (1, 0) };
        assert_eq!((scan.finds.len(), scan.problems.len()), expected, "{image}: {scan:?}");
    }
}

#[test]
fn own_rules_go_before_the_built_in_ones() {
    let own = Rules::parse("rules:\n- name: mine\n  confidence: certain\n  kinds: [example.org/Robot]\n  fields: [spec.brain]\n- name: not-mine\n  confidence: none\n  fields: [\"**.image\"]\n  values: [\"internal/*\"]\n").unwrap();
    let scanner = Scanner::new(own.before(Rules::built_in()));
    let text = "apiVersion: example.org/v1\nkind: Robot\nspec: {brain: 'cortex', image: 'internal/x:1', other: {image: 'public/x:1'}}\n";
    let scan = scanner.scan("x", text.as_bytes());
    assert_eq!(texts(&scan), ["cortex", "public/x:1"]);
    assert_eq!((&*scan.finds[0].rule, scan.finds[0].confidence), ("mine", Confidence::Certain));
    assert!(scan.finds[0].is_untagged());
}

#[test]
fn a_wrong_rule_is_refused_with_its_line() {
    let error = Rules::parse(
        "rules:\n- name: x\n  confidence: likely\n  fields: [a]\n  read: words\n  value: most\n",
    )
    .unwrap_err();
    assert_eq!(error.line, 6);
    assert!(matches!(error.fault, RuleFault::Word { what: "value", .. }));
    assert_eq!(
        error.to_string(),
        "line 6: value cannot be \"most\"; it is one of any, path, pinned, tagged, full"
    );
}

#[test]
fn values_take_the_version_of_their_chart_where_a_tag_is_missing() {
    let values = yaml::parse(b"image: {repository: a/b, tag: ''}\nsub: {image: {repository: c/d}, other: {image: {repository: e/f, tag: 9}}}\nglobal: {imageRegistry: r.example}\nown: {image: {repository: quay.io/g/h, tag: 1}}\ntpl: {image: '{{ .Values.x }}'}\n").unwrap();
    let options = ValuesOptions {
        confidence: Confidence::Possible,
        app_versions: AppVersions::default().with(&[], "1.0").with(&["sub"], "2.0"),
    };
    let scanner = Scanner::new(Rules::built_in());
    let scan = scanner.scan_values("values of x", &values, &options);
    assert_eq!(texts(&scan), ["r.example/a/b:1.0", "quay.io/g/h:1", "r.example/c/d:2.0", "r.example/e/f:9"]);
    assert_eq!(scan.problems, []);
    assert!(scan.finds.iter().all(|find| find.confidence == Confidence::Possible && find.place.line == 0));
    assert_eq!(scan.finds[3].place.path, "sub.other.image");
    let without = scanner.scan_values("x", &values, &ValuesOptions::default());
    let confidences: Vec<Confidence> = without.finds.iter().map(|find| find.confidence).collect();
    assert_eq!(
        confidences,
        [Confidence::Possible, Confidence::Likely, Confidence::Possible, Confidence::Likely]
    );
}

#[test]
fn limits_end_a_scan_with_a_problem() {
    let limits = Limits { finds: 3, ..Limits::default() };
    let text = "spec: {containers: [{image: a}]}\n---\n".repeat(10);
    let scan = Scanner::with_limits(Rules::built_in(), limits).scan("x", text.as_bytes());
    assert_eq!(scan.finds.len(), 3);
    assert_eq!(scan.problems[0].reason, Reason::TooMany { limit: 3 });
    let limits = Limits { yaml: yaml::Limits { bytes: 10, ..yaml::Limits::default() }, ..Limits::default() };
    let scan = Scanner::with_limits(Rules::built_in(), limits).scan("x", text.as_bytes());
    assert!(matches!(scan.problems[0].reason, Reason::Document(yaml::Error::Limit { .. })));
}

#[test]
fn broken_documents_cost_no_more_than_their_text() {
    let limits = Limits { finds: 30_000, ..Limits::default() };
    let text = "{\n---\n".repeat(20_000);
    let scan = Scanner::with_limits(Rules::built_in(), limits).scan("x", text.as_bytes());
    assert_eq!(scan.problems.len(), 20_000);
}

#[test]
fn documents_inside_of_documents_end_at_the_limit() {
    let mut text = "image: a/b:1\nx: y".to_owned();
    for _ in 0..6 {
        text = format!("data: {}\n", serde_json::Value::from(text));
    }
    assert!(scan(&text).finds.len() <= 1);
}

proptest! {
    #[test]
    fn any_stream_is_scanned(text in "([a-z]{1,5}: ?|- |image: |---\n|\n|  |[{}\\[\\],\"'|>&*!%@`#:/.=$-]|nginx:1|quay.io/x/y:1|kind: Pod\n|apiVersion: v1\n){0,60}") {
        let scan = scan(&text);
        let lines = u32::try_from(text.lines().count().max(1)).unwrap() + 1;
        for find in &scan.finds {
            prop_assert!(find.place.line >= 1 && find.place.line <= lines, "{:?}", find);
            prop_assert_eq!(find.text.parse().ok(), Some(find.reference.clone()));
        }
    }
}

//! What finds and problems say about themselves, and what users can change.

use larder_discover::cluster::Kubeadm;
use larder_discover::manifest::{
    AppVersions, Confidence, Limits, Misplaced, Reason, RuleFault, Rules, Scan, Scanner, ValuesOptions,
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
fn what_is_asked_for_elsewhere_is_told_with_the_command_for_it() {
    for (text, path, hint) in [
        (
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec: {chart: {spec: {chart: podinfo, version: 6.x, sourceRef: {kind: HelmRepository, name: p}}}}",
            "spec.chart.spec",
            "`larder discover podinfo --repo URL --version 6.x`",
        ),
        (
            "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec: {chartRef: {kind: OCIRepository, name: p}}",
            "spec.chartRef",
            "fetch what it names, and `larder discover` that, too",
        ),
        (
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nspec: {url: 'https://u:p@charts.example'}",
            "spec",
            "fetch what it names, and `larder discover` that, too",
        ),
        (
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nspec: {url: 'oci://r.example/x', ref: {tag: 1.2.3}}",
            "spec",
            "if it is a chart, `larder discover oci://r.example/x --version 1.2.3`",
        ),
        (
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nspec: {url: 'https://git.example/x', ref: {branch: main}}",
            "spec",
            "fetch what it names, and `larder discover` that, too",
        ),
        (
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nspec: {path: ./apps/prod, sourceRef: {kind: GitRepository, name: x}}",
            "spec",
            "`larder discover apps/prod` where its source is checked out",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec: {sources: [{repoURL: 'https://git.example/v', ref: values}, {repoURL: 'https://charts.example', chart: web, targetRevision: 1.2.3}]}",
            "spec.sources[1]",
            "`larder discover web --repo https://charts.example --version 1.2.3`",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec: {source: {repoURL: r.example/charts, chart: web, targetRevision: 1.2.3}}",
            "spec.source",
            "`larder discover oci://r.example/charts/web --version 1.2.3`",
        ),
        (
            "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nspec: {template: {spec: {source: {repoURL: 'https://git.example/x', path: apps, targetRevision: v1}}}}",
            "spec.template.spec.source",
            "`git clone https://git.example/x` at v1, and `larder discover apps` there",
        ),
        (
            "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nspec: {repo: 'https://charts.example', chart: web, version: 1.2.3}",
            "spec",
            "`larder discover web --repo https://charts.example --version 1.2.3`",
        ),
    ] {
        let scan = scan(text);
        let [problem] = scan.problems.as_slice() else { panic!("{text}: {:?}", scan.problems) };
        assert!(matches!(problem.reason, Reason::Elsewhere { .. }), "{text}");
        assert_eq!((problem.place.path.as_str(), problem.place.line), (path, 3), "{text}");
        let trouble = larder_discover::Trouble::from(problem);
        assert!(trouble.is_error() && !trouble.message.contains("u:p"), "{trouble}");
        assert_eq!(trouble.hints, [hint], "{text}");
    }
}

#[test]
fn a_chart_inside_of_an_object_is_told_too_and_its_values_are_scanned() {
    let content = "A".repeat(2_000);
    let scan = scan(&format!(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: helm.cattle.io/v1\n  kind: HelmChart\n  metadata: {{name: a}}\n  spec: {{chartContent: {content}, valuesContent: 'image: {{repository: w/hc, tag: 1}}'}}\n"
    ));
    assert_eq!(texts(&scan), ["w/hc:1"]);
    assert_eq!(scan.problems.len(), 1);
    assert_eq!(
        scan.problems[0].reason.to_string(),
        "a chart inside of the object is asked for here, and was not looked into"
    );
    assert_eq!(scan.problems[0].place.path, "items[0].spec");
}

#[test]
fn rules_of_ones_own_say_what_is_asked_for_elsewhere() {
    let own = Rules::parse("elsewhere:\n- name: mine\n  kinds: [example.org/App]\n  fields: ['spec.parts[*]']\n  keys: {chart: [what.name], version: [v]}\n").unwrap();
    let text = "apiVersion: example.org/v1\nkind: App\nspec: {parts: [{v: 1}, {what: {name: x}, v: 2}]}\n";
    let scan = Scanner::new(own.before(Rules::built_in())).scan("x", text.as_bytes());
    let [problem] = scan.problems.as_slice() else { panic!("{:?}", scan.problems) };
    let Reason::Elsewhere { what } = &problem.reason else { panic!("{problem:?}") };
    assert_eq!((what.chart.as_deref(), what.version.as_deref()), (Some("x"), Some("2")));
    let wrong = "elsewhere:\n- name: x\n  kinds: [A]\n  fields: ['**.b']\n  keys: {}\n";
    assert_eq!(Rules::parse(wrong).unwrap_err().line, 4);
}

#[test]
fn a_container_without_an_image_is_a_problem_where_kubernetes_wants_one() {
    let pod = |kind: &str, spec: &str| scan(&format!("{kind}\nmetadata: {{name: x}}\nspec: {spec}\n"));
    for image in ["", "image: ''", "image: ' '", "image: null", "image:", "image: 1.25"] {
        for (kind, before, after) in [
            ("apiVersion: v1\nkind: Pod", "", ""),
            ("apiVersion: apps/v1\nkind: Deployment", "{template: {spec: ", "}}"),
            ("apiVersion: batch/v1\nkind: CronJob", "{jobTemplate: {spec: {template: {spec: ", "}}}}"),
        ] {
            let scan = pod(kind, &format!("{before}{{initContainers: [{{name: a, {image}}}]}}{after}"));
            let [problem] = scan.problems.as_slice() else { panic!("{kind} {image}: {:?}", scan.problems) };
            assert_eq!(problem.reason, Reason::NoImage);
            assert!(problem.place.path.contains("initContainers[0]") && problem.place.line == 4);
            assert!(larder_discover::Trouble::from(problem).is_error());
        }
        let spec = format!("{{template: {{spec: {{containers: [{{name: a, {image}}}]}}}}}}");
        // Operators merge containers by name, and so do programs with what stands in their configuration.
        for kind in [
            "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus",
            "apiVersion: serving.kserve.io/v1\nkind: Deployment",
        ] {
            assert_eq!(pod(kind, &spec).problems, [], "{kind} {image}");
        }
    }
    let template = "apiVersion: v1\nkind: ConfigMap\ndata:\n  pod.yaml: |\n    apiVersion: v1\n    kind: Pod\n    metadata: {name: x}\n    spec: {containers: [{name: a, command: [/bin/x]}]}\n";
    assert_eq!(scan(template).problems, []);
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}\n";
    assert_eq!(scan(list).problems.len(), 1);
    let other = "apiVersion: x.example/v1\nkind: Patches\nspec:\n  patch: {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}\n";
    assert_eq!(scan(other).problems, []);
}

#[test]
fn a_document_of_one_line_is_read() {
    for text in [
        "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nspec:\n  valuesContent: 'image: {repository: w/hc, tag: 1}'\n",
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: 'image: w/hc:1'\n",
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: '- image: w/hc:1'\n",
        "apiVersion: v1\nkind: Secret\nstringData:\n  x: 'image: w/hc:1'\n",
        "apiVersion: v1\nkind: Secret\ndata:\n  x: aW1hZ2U6IHcvaGM6MQ==\n",
    ] {
        let scan = scan(text);
        assert_eq!((texts(&scan), scan.problems.len()), (vec!["w/hc:1"], 0), "{text}");
        assert_eq!(scan.finds[0].confidence, Confidence::Likely, "{text}");
    }
    // A sentence is words, as ever.
    let scan = scan(
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  x: 'run: docker run quay.io/a/b:1 now'\n  y: 'Note: images/are nice: here'\n",
    );
    assert_eq!((texts(&scan), scan.problems.len()), (vec!["quay.io/a/b:1"], 0));
    assert_eq!((&*scan.finds[0].rule, scan.finds[0].place.path.as_str()), ("script", "data.x"));
}

#[test]
fn a_very_long_line_takes_as_long_as_many_short_ones() {
    // Were the line looked through for each item, this would not end.
    let items: Vec<String> = (0..400_000).map(|at| format!("'{at} x'")).collect();
    let scan = scan(&format!("items: [{}, {{image: 'a/b:1'}}]\n", items.join(",")));
    assert_eq!((texts(&scan), scan.problems.len()), (vec!["a/b:1"], 0));
}

#[test]
fn the_control_plane_of_kubeadm_follows_from_its_version() {
    let configuration = |rest: &str| {
        scan(&format!("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n{rest}\n"))
    };
    let found = configuration("kubernetesVersion: v1.31.1");
    assert_eq!(found.problems, []);
    let listed = Kubeadm::built_in().control_plane("v1.31.1", None).unwrap().images;
    assert_eq!(texts(&found), listed);
    let find = &found.finds[0];
    assert_eq!((find.confidence, &*find.rule), (Confidence::Certain, "kubeadm"));
    assert_eq!((find.place.line, find.place.path.as_str()), (3, "kubernetesVersion"));
    assert!(Rules::built_in().names().any(|name| name == &*find.rule));

    let own = configuration(
        "kubernetesVersion: 1.31.1\nimageRepository: m.example/k8s\netcd: {local: {imageRepository: registry.k8s.io, imageTag: 3.5.1}}\ndns: {imageRepository: d.example}",
    );
    let images = texts(&own);
    assert_eq!(images.len(), 7, "{images:?}");
    for image in ["m.example/k8s/pause:3.10", "registry.k8s.io/etcd:3.5.1", "d.example/coredns:v1.11.3"] {
        assert!(images.contains(&image), "{images:?}");
    }
    let external = configuration("kubernetesVersion: v1.31.1\netcd: {external: {endpoints: [https://e]}}");
    assert!(!texts(&external).iter().any(|image| image.contains("etcd")), "{external:?}");

    for version in ["kubernetesVersion: v1.99.0", ""] {
        let unknown = configuration(&format!(
            "etcd: {{local: {{imageRepository: registry.k8s.io, imageTag: 3.5.1}}}}\n{version}"
        ));
        assert_eq!(texts(&unknown), ["registry.k8s.io/etcd:3.5.1"]);
        assert!(matches!(unknown.problems[0].reason, Reason::ControlPlane { .. }), "{unknown:?}");
        assert!(larder_discover::Trouble::from(&unknown.problems[0]).is_error());
    }
    // kind's nodes have theirs in them.
    let patch = |version: &str| {
        let patch = format!(
            "    kind: ClusterConfiguration\n    apiVersion: kubeadm.k8s.io/v1beta3\n{version}    apiServer: {{}}\n"
        );
        scan(&format!(
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n  kubeadmConfigPatches:\n  - |\n{patch}"
        ))
    };
    assert_eq!(patch("").problems, []);
    assert_eq!(patch("    kubernetesVersion: v1.99.0\n").problems.len(), 1);
}

#[test]
fn a_host_is_no_repository() {
    let scan = scan(
        "a: {imageRepository: registry.k8s.io, imageTag: 3.5.1}\nb: {imageRepository: 'r:5000', imageTag: 1}\nc: {imageRepository: r.example/etcd, imageTag: 3.5.1}\nd: {imageRepository: etcd, imageTag: 1}\n",
    );
    assert_eq!(texts(&scan), ["r.example/etcd:3.5.1", "etcd:1"]);
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
fn what_is_no_manifest_is_a_problem_and_not_an_empty_one() {
    let reason = |text: &str| -> Vec<Reason> {
        scan(text).problems.into_iter().map(|problem| problem.reason).collect()
    };
    assert_eq!(reason("# only a comment\n---\n~\n--- {}\n"), []);
    assert_eq!(reason("FROM alpine:3\nRUN x\n"), [Reason::NoObject]);
    assert_eq!(reason("---\n17\n"), [Reason::NoObject]);
    // Without quotes this is a map in a map to YAML.
    assert_eq!(
        reason("kind: Pod\nspec: {containers: [{image: {{ .Values.image }} }]}\n"),
        [Reason::Template]
    );
    assert_eq!(reason("metadata: {name: {{ a }} }\nspec: {x: {{ b }} }\n"), [Reason::Template], "said once");
    assert!(matches!(reason("? [a, b]\n: c\n")[..], [Reason::Document(_)]));
    let config = "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    image: {{ x }}\n    other: y/z:1\n";
    assert_eq!(reason(config), [], "what is embedded is a template of somebody else");
    for (text, what) in [
        (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [a]\n",
            Misplaced::Kustomization,
        ),
        ("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n", Misplaced::Kustomization),
        (
            "apiVersion: v1\nkind: Pod\n---\napiVersion: larder.dev/v1alpha1\nkind: Clutser\n",
            Misplaced::Cluster,
        ),
    ] {
        assert_eq!(reason(text), [Reason::Misplaced { what }], "{text}");
    }
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

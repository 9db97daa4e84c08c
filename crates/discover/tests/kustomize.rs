//! Kustomizations of our own, built here and by kustomize.

use anyhow::{Context as _, Result};
use larder_discover::kustomize::{Build, Fault, Options, build};
use larder_discover::manifest::{Rules, Scanner};
use larder_gotemplate::yaml;
use larder_testkit::tools::{Helm, Kustomize};
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kustomize").join(path)
}

fn built(path: &str) -> Build {
    build(&fixture(path), &Options::default())
}

/// Documents as text, in an order of their own: that of the output is not what is compared.
fn texts(build: &Build) -> Result<Vec<String>> {
    let values = build.objects.iter().map(yaml::to_value).collect::<Result<Vec<_>, _>>()?;
    let mut texts = values.iter().map(yaml::emit).collect::<Result<Vec<_>, _>>()?;
    texts.sort();
    Ok(texts)
}

/// The same for what kustomize printed.
fn printed(text: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for document in yaml::documents(text.as_bytes(), &yaml::Limits::default()) {
        texts.push(yaml::emit(&yaml::to_value(&document?)?)?);
    }
    texts.sort();
    Ok(texts)
}

fn same(path: &str, helm: Option<&Path>) -> Result<()> {
    let own = built(path);
    assert_eq!(own.problems, [], "{path}");
    let outcome =
        Kustomize::installed()?.build(&fixture(path), helm).run().with_context(|| path.to_owned())?;
    let (own, theirs) = (texts(&own)?, printed(&outcome.text())?);
    assert!(!own.is_empty(), "{path} comes to nothing");
    assert_eq!(own, theirs, "{path}");
    Ok(())
}

#[test]
fn images_are_renamed_as_kustomize_does_it() -> Result<()> {
    same("images/base", None)?;
    same("images/overlay", None)
}

#[test]
fn names_namespaces_labels_and_what_refers_to_them() -> Result<()> {
    same("names/base", None)?;
    same("names/overlay", None)?;
    same("names/twice", None)
}

#[test]
fn patches_of_both_kinds() -> Result<()> {
    same("patches/overlay", None)
}

#[test]
fn lists_of_kinds_that_are_described_are_merged() -> Result<()> {
    same("openapi", None)
}

#[test]
fn generated_objects_have_the_same_hashes() -> Result<()> {
    same("generators/base", None)?;
    same("generators/overlay", None)
}

#[test]
fn replacements_and_variables() -> Result<()> {
    same("replacements", None)
}

#[test]
fn components_change_what_they_are_added_to() -> Result<()> {
    same("components/overlay", None)
}

#[test]
fn builtin_generators_and_transformers() -> Result<()> {
    same("plugins", None)
}

#[test]
fn fields_of_older_versions() -> Result<()> {
    same("legacy/overlay", None)
}

#[test]
fn charts_beside_the_kustomization() -> Result<()> {
    same("charts", Some(Helm::installed()?.program()))
}

#[test]
fn an_image_leads_to_the_line_that_set_it() {
    let scan = built("images/overlay").scan(&Scanner::new(Rules::built_in()));
    let shown: Vec<String> = scan
        .finds
        .iter()
        .map(|found| {
            let object = found.object.as_ref().map(ToString::to_string).unwrap_or_default();
            let set = found.set_by.as_ref().map(larder_discover::kustomize::Origin::describe);
            let place = &found.find.place;
            let line = format!("{} in {object} at {}:{}", found.find.text, place.source, place.line);
            set.map_or(line.clone(), |set| format!("{line}, {set}"))
        })
        .map(|line| line.replace(&format!("{}/", fixture("images").display()), ""))
        .collect();
    let has = |line: &str| assert!(shown.iter().any(|shown| shown == line), "{line}\nis not in\n{shown:#?}");
    has("mirror.example/library/busybox:1.37 in base/app.yaml:1 at overlay/kustomization.yaml:6, \
         set by images in overlay/kustomization.yaml:6");
    has("mirror.example/any:1-x in base/app.yaml:1 at overlay/kustomization.yaml:17, \
         set by images in overlay/kustomization.yaml:17");
}

#[test]
fn what_cannot_be_done_is_named_with_its_line_and_the_rest_is_done() -> Result<()> {
    let build = built("problems");
    assert_eq!(
        texts(&build)?,
        [
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod\nspec:\n  containers:\n  - image: a:2\n    name: a\n"
        ]
    );
    let root = fixture("");
    let short = |text: String| text.replace(&root.display().to_string(), "");
    let shown: Vec<String> = build
        .problems
        .iter()
        .map(|problem| {
            let origin = problem.origin.as_ref().map(ToString::to_string).unwrap_or_default();
            short(format!("{origin}: {}", problem.fault))
        })
        .collect();
    for (line, word) in [
        (3, "curl -LO https://example.com/crds.yaml"),
        (4, "git clone --depth 1 --branch v1.0 https://github.com/example/repository"),
        (5, "there is no problems/missing.yaml"),
        (6, "images/base/app.yaml is not in problems or below it"),
        (7, "contains the kustomization that names it"),
        (8, "there is no kustomization.yaml"),
        (10, "a Component is wanted"),
        (12, "there is no /spec/none"),
        (16, "0 objects match Pod nobody"),
        (23, "SedTransformer is a program"),
        (
            26,
            "helm pull --untar --untardir charts/loki-1.2.3 --repo https://charts.example loki --version 1.2.3",
        ),
        (30, "replicas: 0 objects match the name pod"),
        (32, "no field \"imagez\""),
    ] {
        let place = format!("problems/kustomization.yaml:{line}: ");
        let is_said = shown.iter().any(|said| said.starts_with(&place) && said.contains(word));
        assert!(is_said || line == 10, "{place}{word}\nis not in\n{shown:#?}");
    }
    assert!(shown.iter().any(|said| said.starts_with("problems/pod.yaml:8: ")), "broken YAML: {shown:#?}");
    assert!(shown.iter().any(|said| said.starts_with("problems/pod.yaml:10: an object must have a name")));
    Ok(())
}

#[test]
fn files_outside_are_read_where_that_is_allowed() {
    let options = Options { unrestricted: true, ..Options::default() };
    let build = build(&fixture("problems"), &options);
    assert!(!build.problems.iter().any(|problem| matches!(problem.fault, Fault::Outside { .. })));
    assert!(
        build
            .objects
            .iter()
            .any(|object| object.get("kind").and_then(|kind| kind.as_text()) == Some("Deployment"))
    );
}

#[test]
fn more_objects_than_the_limit_are_a_problem() {
    let options = Options { objects: 2, ..Options::default() };
    let build = build(&fixture("names/base"), &options);
    assert!(build.problems.iter().any(|problem| matches!(problem.fault, Fault::Limit { limit: 2, .. })));
}

#[test]
fn what_doubles_with_every_step_comes_to_an_end() {
    let build_of = |files: &[(&str, &str)]| {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        build(directory.path(), &Options::default())
    };
    let is_limit = |build: &Build| {
        let reasons: Vec<String> = build.problems.iter().map(|problem| problem.fault.to_string()).collect();
        assert!(
            reasons.iter().any(|reason| reason.contains("bytes that are read and copied")),
            "{reasons:?}"
        );
    };
    let object = |text: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{x: {{k: '{text}'}}}}\n")
    };
    let large = object(&"x".repeat(1 << 20));
    let copies: String =
        (0..40).map(|at| format!("    - {{op: copy, from: /data, path: /data/c{at}}}\n")).collect();
    let patch =
        format!("resources: [cm.yaml]\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |-\n{copies}");
    is_limit(&build_of(&[("cm.yaml", &large), ("kustomization.yaml", &patch)]));
    let twice = "- source: {kind: ConfigMap, name: a, fieldPath: data.x.k}\n  targets:\n  - select: {kind: ConfigMap}\n    fieldPaths: [data.x.k]\n    options: {delimiter: ':', index: 1}\n";
    let replacements = format!("resources: [cm.yaml]\nreplacements:\n{}", twice.repeat(40));
    let parted = object(&format!("{}:y", "x".repeat(1 << 20)));
    is_limit(&build_of(&[("cm.yaml", &parted), ("kustomization.yaml", &replacements)]));
    let prefix = format!("resources: [all.yaml]\nnamePrefix: {}\n", "p".repeat(1 << 20));
    let all: String = (0..300)
        .map(|at| format!("---\n{}", object("x").replace("name: a", &format!("name: a{at}"))))
        .collect();
    is_limit(&build_of(&[("all.yaml", &all), ("kustomization.yaml", &prefix)]));
    // Two that name two each.
    let mut files: Vec<(String, String)> = Vec::new();
    for at in 0..20 {
        files.push((format!("d{at}/kustomization.yaml"), format!("resources: [../d{0}a, ../d{0}b]\n", at)));
        for side in ["a", "b"] {
            let inner = format!("nameSuffix: -{side}\nresources: [../d{}]\n", at + 1);
            files.push((format!("d{at}{side}/kustomization.yaml"), inner));
        }
    }
    files.push(("kustomization.yaml".into(), "resources: [d0]\n".into()));
    files.push(("d20/kustomization.yaml".into(), "resources: [cm.yaml]\n".into()));
    files.push(("d20/cm.yaml".into(), object("x")));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let many = build_of(&files);
    assert!(many.problems.iter().any(|problem| problem.fault.to_string() == "more than 4096 kustomizations"));
}

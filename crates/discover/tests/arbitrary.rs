//! Whatever is read, nothing panics, and what is found lies in what was read.

use larder_core::Reference;
use larder_discover::chart::{KubeVersion, SetKind, set};
use larder_discover::cluster::{Catalog, Description, Kubeadm, Release, is_description};
use larder_discover::dockerfile;
use larder_discover::kustomize::{Options, build};
use larder_discover::manifest::{Rules, Scanner};
use larder_gotemplate::{Map, yaml};
use larder_remote::Kubeconfig;
use proptest::prelude::*;
use std::collections::HashMap;

/// Pieces of what these formats are made of, and of what nobody expects.
fn pieces() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "apiVersion: v1",
        "kind: Pod",
        "kind: List",
        "kind: Cluster",
        "apiVersion: larder.dev/v1alpha1",
        "spec:",
        "containers:",
        "- image: a/b:1",
        "image: {repository: a, tag: 1}",
        "resources: [a, ../b]",
        "patches:",
        "- path: a",
        "images:",
        "- name: a",
        "newTag: 1",
        "FROM a AS b",
        "FROM $X",
        "ARG X=1",
        "COPY --from=a / /",
        "RUN <<E",
        "E",
        "\\",
        "kubernetesVersion: 1.34.2",
        "a[0].b=1",
        "a={1,2}",
        "a\\,b=c",
        "a[99999999]=1",
        "=",
        "clusters:",
        "contexts:",
        "users:",
        "&a",
        "*a",
        "<<:",
        "|",
        ">-",
        "{{ .x }}",
        "---",
        "\t",
        "\r\n",
        "\u{feff}",
        "\u{0}",
        "'",
        "\"",
        "[",
        "]",
        "{",
        "}",
        ":",
        ", ",
        "  ",
        "\n",
        "\n  ",
        "\n- ",
        "sha256:",
        "@",
        "[::1]:5000/a",
    ]);
    prop::collection::vec(prop_oneof![8 => word.prop_map(str::to_owned), 1 => any::<String>()], 0..40)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn manifests_and_dockerfiles(text in pieces()) {
        let lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX).saturating_add(1);
        let scanner = Scanner::new(Rules::built_in());
        for scan in [
            scanner.scan("source", text.as_bytes()),
            dockerfile::scan("source", &text, &HashMap::new()),
        ] {
            for find in scan.finds {
                prop_assert!(find.place.line <= lines.saturating_mul(2), "{:?}", find.place);
            }
        }
    }

    #[test]
    fn flags_rules_kubeconfigs_and_versions(text in pieces()) {
        for kind in [SetKind::Typed, SetKind::Text, SetKind::Json, SetKind::Literal] {
            let _ = set(&text, kind, &Map::new());
        }
        let _ = Rules::parse(&text);
        let _ = KubeVersion::parse(&text);
        let _ = Release::parse(&text);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config");
        std::fs::write(&path, &text).expect("a file");
        if let Ok(file) = Kubeconfig::read(&[path]) {
            let _ = file.access(None, &|_| Err("none is run".into()));
        }
    }

    #[test]
    fn descriptions_of_clusters(text in pieces()) {
        let lines = text.lines().count().max(1);
        let is_inside = |line: u32| line >= 1 && line as usize <= lines;
        for node in yaml::documents(text.as_bytes(), &yaml::Limits::default()).flatten() {
            let description = Description::read("source", &node, &Kubeadm::built_in(), &Catalog::built_in());
            for find in &description.finds {
                prop_assert!(is_inside(find.place.line), "{find:?}");
                prop_assert!(find.text.parse::<Reference>().is_ok(), "{find:?}");
            }
            prop_assert!(description.wanted.iter().all(|wanted| is_inside(wanted.line)), "{description:?}");
            prop_assert!(description.problems.iter().all(|problem| is_inside(problem.line)), "{description:?}");
            prop_assert!(is_description(&node) || !description.problems.is_empty(), "it is none, and says so");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn kustomizations(file in pieces(), other in pieces()) {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root");
        std::fs::create_dir(&root).expect("a directory");
        // `../b` is what the pieces name.
        std::fs::write(directory.path().join("b"), "apiVersion: v1\nkind: Pod\nmetadata: {name: outside}\n").expect("a file");
        std::fs::write(root.join("kustomization.yaml"), file).expect("a file");
        std::fs::write(root.join("a"), other).expect("a file");
        let first = build(&root, &Options::default());
        for find in first.scan(&Scanner::new(Rules::built_in())).finds {
            let place = &find.find.place;
            prop_assert!(!place.source.is_empty() && place.line >= 1, "{place:?}");
        }
        for object in &first.objects {
            let text = yaml::to_value(object).and_then(|value| yaml::emit(&value)).unwrap_or_default();
            prop_assert!(!text.contains("outside"), "it is outside");
        }
        let second = build(&root, &Options::default());
        prop_assert_eq!(first.objects, second.objects);
        prop_assert_eq!(first.problems, second.problems);
    }
}

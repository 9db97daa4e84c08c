//! What is found, where, and what is said when something cannot be read.

use super::{Ends as _, pod};
use larder_testkit::Home;
use serde_json::Value;

/// A directory with everything in it.
fn directory(home: &Home) {
    let write = |name: &str, text: &str| drop(home.write(name, text).unwrap());
    write(
        "all/pod.yaml",
        &pod(&[
            "nginx:1.27",
            "r.test:5000/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ]),
    );
    write(
        "all/list.json",
        r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"j"},"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"busybox:1"}]}}}}}}]}"#,
    );
    write("all/Dockerfile", "FROM alpine:3 AS a\nFROM scratch\nCOPY --from=a /x /x\n");
    write("all/deploy/base/kustomization.yaml", "resources: [pod.yaml]\n");
    write("all/deploy/base/pod.yaml", &pod(&["web:dev"]));
    write(
        "all/deploy/prod/kustomization.yaml",
        "resources: [../base]\nimages:\n- {name: web, newName: shop.test/web, newTag: v7}\n",
    );
    write("all/chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n");
    write(
        "all/chart/values.yaml",
        "tag: \"2\"\nextra: {enabled: false, image: {repository: quay.io/o/extra, tag: v1}}\n",
    );
    write("all/chart/templates/pod.yaml", &pod(&["ghcr.io/o/app:{{ .Values.tag }}"]));
    write("all/notes.txt", "image: not/read:1\n");
}

#[test]
fn everything_in_a_directory_is_read_once_and_as_what_it_is() {
    let home = Home::new().unwrap();
    directory(&home);
    let list = |args: &[&str]| {
        let outcome = home.run([&["discover", "all", "--output", "images"], args].concat()).ends(0);
        outcome.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = [
        "docker.io/library/alpine:3",
        "docker.io/library/busybox:1",
        "docker.io/library/nginx:1.27",
        "ghcr.io/o/app:2",
        "r.test:5000/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "shop.test/web:v7",
    ];
    assert_eq!(list(&[]), expected);
    let mut possible = expected.to_vec();
    possible.insert(4, "quay.io/o/extra:v1");
    assert_eq!(list(&["--confidence", "possible"]), possible);
    assert_eq!(list(&["--set", "tag=3"])[3], "ghcr.io/o/app:3");
    // Nothing of this needs a store.
    assert!(!home.store().exists());
}

#[test]
fn each_find_says_file_line_object_and_field() {
    let home = Home::new().unwrap();
    directory(&home);
    let found = home.run(["discover", "all", "-o", "json"]).ends(0).json().unwrap();
    let find = |image: &str| -> Value {
        let images = found["images"].as_array().unwrap();
        images.iter().find(|asked| asked["image"] == image).unwrap()["finds"][0].clone()
    };
    let nginx = find("docker.io/library/nginx:1.27");
    assert_eq!(nginx["source"], "all/pod.yaml");
    assert_eq!((&nginx["line"], &nginx["column"]), (&6.into(), &23.into()));
    assert_eq!((&nginx["object"], &nginx["path"]), (&"Pod p".into(), &"spec.containers[0].image".into()));
    assert_eq!(nginx["confidence"], "certain");
    let nested = "items[0].spec.jobTemplate.spec.template.spec.containers[0].image";
    assert_eq!(find("docker.io/library/busybox:1")["path"], nested);
    let changed = find("shop.test/web:v7");
    assert_eq!(changed["source"], "set by images in all/deploy/prod/kustomization.yaml");
    assert_eq!(changed["line"], 3);
    assert_eq!(find("ghcr.io/o/app:2")["source"], "app/templates/pod.yaml");
    assert_eq!(found["complete"], true);
    let why = home.run(["discover", "all", "--why", "nginx"]).ends(0);
    assert!(why.stdout.contains("all/pod.yaml:6: Pod p, spec.containers[0].image"), "{}", why.stdout);
    assert!(!why.stdout.contains("alpine"), "{}", why.stdout);
    let unknown = home.run(["discover", "all", "--why", "nothing-like-this"]).ends(2);
    assert!(unknown.stderr.contains("nothing asks for"), "{}", unknown.stderr);
}

#[test]
fn what_cannot_be_read_is_an_error_and_the_rest_is_listed_all_the_same() {
    let home = Home::new().unwrap();
    directory(&home);
    home.write("all/broken.yaml", "a: b\n--- \nc: [1, 2\nd: 'x\n").unwrap();
    let outcome = home.run(["discover", "all", "-o", "images"]).ends(8);
    assert_eq!(outcome.stdout.lines().count(), 6);
    assert!(outcome.stderr.contains("all/broken.yaml:"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the list may not be complete"), "{}", outcome.stderr);

    let absent = home.run(["discover", "all/absent"]).ends(3);
    assert!(absent.stderr.contains("all/absent: no such file or directory"), "{}", absent.stderr);
    // Templates are no manifests.
    let template = home.run(["discover", "all/chart/templates"]).ends(8);
    assert!(template.stderr.contains("Chart.yaml"), "{}", template.stderr);
    // A library gives nothing by itself; only who names it asks for it.
    home.write("all/lib/Chart.yaml", "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n").unwrap();
    assert!(!home.run(["discover", "all"]).ends(8).stderr.contains("library"));
    assert!(home.run(["discover", "all/lib"]).ends(8).stderr.contains("library"));
    // A chart that stops Helm says where.
    home.write("all/chart/templates/no.yaml", "{{ required \"name the owner\" .Values.owner }}").unwrap();
    let required = home.run(["discover", "all/chart", "-o", "images"]).ends(8);
    assert!(required.stderr.contains("app/templates/no.yaml:1"), "{}", required.stderr);
    assert!(required.stderr.contains("name the owner"), "{}", required.stderr);
    assert_eq!(required.stdout, "ghcr.io/o/app:2\n");
}

#[test]
fn what_is_neither_file_nor_directory_is_not_waited_for() {
    let home = Home::new().unwrap();
    home.write("all/pod.yaml", pod(&["nginx:1"])).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.path().join("all/x.yaml")).unwrap();
    let outcome = home.run(["discover", "all", "-o", "images"]).ends(8);
    assert_eq!(outcome.stdout, "docker.io/library/nginx:1\n");
    assert!(outcome.stderr.contains("all/x.yaml: neither a file nor a directory"), "{}", outcome.stderr);
    home.write("app/Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n").unwrap();
    std::os::unix::fs::symlink("/dev/zero", home.path().join("app/.helmignore")).unwrap();
    let endless = home.run(["discover", "app"]).ends(6);
    assert!(endless.stderr.contains("app/.helmignore: neither a file"), "{}", endless.stderr);
    std::os::unix::fs::symlink("/dev/zero", home.path().join("packed.tgz")).unwrap();
    let endless = home.run(["discover", "packed.tgz"]).ends(6);
    assert!(endless.stderr.contains("packed.tgz: more than 256 MiB"), "{}", endless.stderr);
}

#[test]
fn doubts_are_warnings_unless_they_are_to_be_errors() {
    let home = Home::new().unwrap();
    home.write("pod.yaml", pod(&["nginx"])).unwrap();
    let outcome = home.run(["discover", "pod.yaml", "-o", "images"]).ends(0);
    assert!(outcome.stderr.contains("neither tag nor digest"), "{}", outcome.stderr);
    home.run(["discover", "pod.yaml", "--strict"]).ends(8);
}

#[test]
fn standard_input_rules_of_ones_own_and_arguments_of_dockerfiles() {
    let home = Home::new().unwrap();
    let outcome = home.larder(["discover", "-", "-o", "images"]).input(pod(&["nginx:1"])).run().ends(0);
    assert_eq!(outcome.stdout, "docker.io/library/nginx:1\n");

    home.write(
        "own.yaml",
        "apiVersion: x.test/v1\nkind: Robot\nmetadata: {name: r}\nspec: {body: 'r.test/robot:1'}\n",
    )
    .unwrap();
    home.write(
        "rules.yaml",
        "rules:\n- name: robots\n  confidence: certain\n  kinds: [Robot]\n  fields: [spec.body]\n",
    )
    .unwrap();
    let with =
        home.run(["discover", "own.yaml", "--rules", "rules.yaml", "-o", "json"]).ends(0).json().unwrap();
    assert_eq!(with["images"][0]["finds"][0]["rule"], "robots");
    let wrong = home.write("rules.yaml", "rules:\n- name: robots\n  confidence: perhaps\n").unwrap();
    let outcome = home.run(["discover", "own.yaml", "--rules", wrong.to_str().unwrap()]).ends(2);
    assert!(outcome.stderr.contains("rules.yaml"), "{}", outcome.stderr);

    home.write("Dockerfile", "ARG BASE=alpine:3\nFROM $BASE\n").unwrap();
    let list =
        |args: &[&str]| home.run([&["discover", "Dockerfile", "-o", "images"], args].concat()).ends(0).stdout;
    assert_eq!(list(&[]), "docker.io/library/alpine:3\n");
    assert_eq!(list(&["--build-arg", "BASE=debian:13"]), "docker.io/library/debian:13\n");
}

#[test]
fn a_file_is_what_it_is_whatever_it_is_called() {
    let home = Home::new().unwrap();
    directory(&home);
    let dockerfile = "# by hand\nFROM alpine:3\n";
    home.write("build", dockerfile).unwrap();
    let images = |args: &[&str]| home.run([args, &["-o", "images"]].concat()).ends(0).stdout;
    assert_eq!(images(&["discover", "build"]), "docker.io/library/alpine:3\n");
    assert_eq!(images(&["discover", "all/chart/Chart.yaml"]), "ghcr.io/o/app:2\n");
    let said = |text: &str| home.larder(["discover", "-", "-o", "images"]).input(text).run();
    assert_eq!(said(dockerfile).ends(0).stdout, "docker.io/library/alpine:3\n");
    // What is nothing that can be read is not an empty list.
    for (text, word) in [
        ("just words\n", "no object"),
        (
            "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nspec: {controlPlane: false}\n",
            "larder discover FILE",
        ),
        ("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", "kustomization.yaml"),
    ] {
        let refused = said(text).ends(8);
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    let cluster = "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nspec: {controlPlane: false}\n";
    home.write("cluster.yaml", cluster).unwrap();
    assert_eq!(images(&["discover", "cluster.yaml"]), "");
    home.write("cluster.yaml", format!("{cluster}---\n{}", pod(&["a:1"]))).unwrap();
    let more = home.run(["discover", "cluster.yaml"]).ends(8);
    assert!(more.stderr.contains("nothing else is read"), "{}", more.stderr);
}

#[test]
fn mistakes_on_the_command_line_are_found_before_anything_is_read() {
    let home = Home::new().unwrap();
    directory(&home);
    let wrong: [&[&str]; 8] = [
        &["--set", "a"],
        &["--set-json", "a={"],
        &["--set-file", "a=absent"],
        &["--kube-version", "new"],
        &["--repo", "oci://r.test/charts"],
        &["--repo", "ftp://r.test"],
        &["-o", "text/plain"],
        &["oci://r.test"],
    ];
    for arguments in wrong {
        // A chart or not: `chart` is looked up in --repo.
        let outcome = home.run([&["discover", "all", "chart"], arguments].concat()).ends(2);
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
    let absent = home.run(["discover", "all/pod.yaml", "-f", "absent.yaml"]).ends(3);
    assert!(absent.stderr.contains("absent.yaml"), "{}", absent.stderr);
    home.run(["discover", "all/pod.yaml", "--values", "/dev/zero"]).ends(6);
    home.run(["discover", "all/pod.yaml", "--rules", "/dev/zero"]).ends(2);
    home.run(["render", "Web", "all/chart"]).ends(2);
    let known = home.run(["discover", "all", "-o", "words"]).ends(2);
    assert!(known.stderr.contains("table, json, yaml, images, lock"), "{}", known.stderr);
}

#[test]
fn links_are_followed_once_and_a_directory_with_nothing_in_it_is_an_error() {
    let home = Home::new().unwrap();
    home.write("manifests/pod.yaml", pod(&["nginx:1"])).unwrap();
    let linked = home.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink("../manifests", linked.join("a")).unwrap();
    std::os::unix::fs::symlink("../manifests", linked.join("b")).unwrap();
    std::os::unix::fs::symlink("..", linked.join("around")).unwrap();
    let found = home.run(["discover", "linked", "-o", "json"]).ends(0).json().unwrap();
    assert_eq!(found["images"][0]["finds"].as_array().unwrap().len(), 1);

    std::fs::create_dir(home.path().join("empty")).unwrap();
    let empty = home.run(["discover", "empty"]).ends(3);
    assert!(empty.stderr.contains("empty: there is no YAML"), "{}", empty.stderr);
    home.run(["ready", "empty"]).ends(3);
    home.run(["lock", "empty"]).ends(3);
}

#[test]
fn a_chart_that_is_asked_for_and_not_looked_into_is_no_success() {
    let home = Home::new().unwrap();
    home.write("release.yaml", "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: r}\nspec: {chart: {spec: {chart: podinfo, version: 6.1.0, sourceRef: {kind: HelmRepository, name: podinfo}}}}\n").unwrap();
    let outcome = home.run(["discover", "release.yaml"]).ends(8);
    assert!(outcome.stderr.contains("podinfo"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("hint: `larder discover"), "{}", outcome.stderr);
    home.run(["discover", "release.yaml", "--why", ""]).ends(2);
}

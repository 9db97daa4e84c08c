//! Every sentence of the distribution specification.

use larder_testkit::suite::distribution::{Target, conformance, conformance_of};
use larder_testkit::{Home, tools};

#[test]
fn every_sentence_of_the_specification_holds() {
    let home = Home::new().unwrap();
    let registry = home.serve(["--offline"]).unwrap();
    let report = conformance(&Target::new(&registry.host()));
    assert!(report.violations.is_empty(), "{report}");
}

/// Whoever logged in finds the same registry, and nobody else finds one at all.
#[test]
fn it_holds_for_those_who_log_in() {
    let home = Home::new().unwrap();
    let line =
        tools::tool("htpasswd").unwrap().args(["-nbB", "-C", "4", "ann", "s3cret"]).run().unwrap().text();
    let users = home.write("users", line).unwrap().display().to_string();
    let registry = home.serve(["--offline", "--htpasswd", &users]).unwrap();
    let mut target = Target::new(&registry.host());
    target.authorization = Some("Basic YW5uOnMzY3JldA==".into());
    let report = conformance(&target);
    assert!(report.violations.is_empty(), "{report}");
    // Errors are JSON with the codes of the specification also for strangers.
    target.authorization = None;
    let strangers = conformance_of(&target, |case| case.id != "errors/no-accidents");
    for id in
        ["pull/blob", "uploads/post", "manifests/put-by-tag", "tags/list", "referrers/list", "deletes/tag"]
    {
        assert!(strangers.violates(id), "{id} holds for a stranger\n{strangers}");
    }
    for id in ["errors/json-format", "errors/code-letters", "errors/known-codes", "errors/no-insides"] {
        assert!(!strangers.violates(id), "{strangers}");
    }
}

/// A server that stands in front of Docker's hub for names without a registry is still a registry of its own.
#[test]
fn it_holds_for_what_is_local_where_the_default_is_elsewhere() {
    let home = Home::new().unwrap();
    let registry = home.serve(["--offline", "--default-namespace", "docker.io"]).unwrap();
    let mut target = Target::new(&registry.host());
    target.prefix = "localhost/conformance".into();
    let report = conformance(&target);
    assert!(report.violations.is_empty(), "{report}");
}

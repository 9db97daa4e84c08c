//! The suite of the distribution specification notices what is wrong: with a real registry, and with one that lies on purpose.

use anyhow::Result;
use larder_testkit::suite::distribution::{Level, Report, Target, cases, conformance, conformance_of};
use larder_testkit::{DockerRegistry, Fault, FaultRegistry, Rule};

#[test]
fn a_registry_of_2020_does_what_was_asked_then_and_lacks_what_came_later() -> Result<()> {
    let registry = DockerRegistry::start()?;
    let report = conformance(&Target::new(&registry.host()));
    assert!(report.cases == cases().count() && report.cases > 200, "{} cases", report.cases);
    let held = [
        "pull/manifest-by-tag",
        "pull/manifest-by-digest",
        "pull/manifest-digest-header",
        "pull/manifest-unknown",
        "pull/blob",
        "pull/blob-unknown",
        "pull/blob-of-another-repository",
        "pull/head-manifest",
        "pull/head-blob",
        "ranges/first-and-last",
        "ranges/open",
        "uploads/post",
        "uploads/put",
        "uploads/wrong-digest",
        "chunked/patch",
        "chunked/final-put",
        "chunked/status",
        "chunked/cancel",
        "mounts/found",
        "mounts/not-found",
        "manifests/exact-bytes",
        "manifests/missing-blob",
        "documents/index",
        "documents/no-layers",
        "tags/list",
        "deletes/manifest-is-gone",
        "deletes/blob",
        "api/support",
        "api/head-has-no-body",
    ];
    for id in held {
        assert!(!report.violates(id), "{id}\n{report}");
    }
    let lacking = [
        "ranges/past-the-end",
        "chunked/out-of-order",
        "chunked/final-out-of-order",
        "uploads/single-post-supported",
        "manifests/tag-parameters",
        "manifests/sha512",
        "manifests/too-large",
        "documents/sparse-index",
        "documents/subject-header",
        "tags/order",
        "tags/n",
        "tags/last",
        "referrers/list",
        "referrers/never-404",
        "referrers/filter",
        "deletes/tag-supported",
        "errors/no-accidents",
    ];
    for id in lacking {
        assert!(report.violates(id), "{id} was not noticed\n{report}");
    }
    Ok(())
}

/// The case, alone, against a registry with one fault.
fn alone(id: &str, faulty: Option<&Rule>) -> Report {
    let registry = FaultRegistry::start();
    if let Some(rule) = faulty {
        registry.fault(rule.clone());
    }
    conformance_of(&Target::new(&registry.host()), |case| case.id == id)
}

fn header(name: &str, value: Option<&str>) -> Fault {
    Fault::Header(name.into(), value.map(str::to_owned))
}

/// Every one of these holds for our own test registry, and is noticed as soon as that has the fault.
#[test]
fn a_case_holds_until_the_registry_breaks_what_it_is_about() {
    let manifests = |methods: &str| Rule::on(methods, "/v2/*/manifests/*");
    let blobs = |methods: &str| Rule::on(methods, "/v2/*/blobs/sha256:*");
    let uploads = |methods: &str| Rule::on(methods, "/v2/*/blobs/uploads/*");
    let digest = "Docker-Content-Digest";
    let wrong = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (id, rule) in [
        ("pull/manifest-by-tag", manifests("GET").fault(Fault::WrongByte(5))),
        ("pull/manifest-by-tag", manifests("GET").fault(Fault::StatusOnly(203))),
        ("pull/manifest-by-tag", manifests("GET").fault(Fault::Cut(20))),
        ("pull/manifest-by-digest", manifests("GET").fault(Fault::LongBody(1))),
        ("pull/manifest-digest-header", manifests("GET").fault(header(digest, None))),
        ("pull/manifest-digest-header", manifests("GET").fault(header(digest, Some(wrong)))),
        ("pull/manifest-content-type", manifests("GET").fault(header("Content-Type", Some("text/plain")))),
        ("pull/manifest-unknown", manifests("GET").fault(Fault::Status(400))),
        ("pull/blob", blobs("GET").fault(Fault::WrongByte(500))),
        ("pull/blob", blobs("GET").fault(Fault::ShortBody(1))),
        ("pull/blob", blobs("GET").fault(Fault::Chunked)),
        ("pull/blob-digest-header", blobs("GET").fault(header(digest, None))),
        ("pull/blob-unknown", blobs("GET").fault(Fault::Html)),
        ("pull/head-blob", blobs("HEAD").fault(header("Content-Length", Some("1")))),
        ("pull/head-blob", blobs("HEAD").fault(Fault::StatusOnly(204))),
        ("pull/head-manifest", manifests("HEAD").fault(header(digest, None))),
        ("ranges/first-and-last", blobs("GET").fault(Fault::IgnoreRange)),
        ("ranges/first-and-last", blobs("GET").fault(Fault::WrongRange(1))),
        ("ranges/content-range", blobs("GET").fault(header("Content-Range", None))),
        ("uploads/post", uploads("POST").fault(header("Location", None))),
        ("uploads/post", uploads("POST").fault(Fault::StatusOnly(200))),
        ("uploads/put", uploads("PUT").fault(Fault::StatusOnly(200))),
        ("uploads/put", uploads("PUT").fault(header("Location", None))),
        ("uploads/put", uploads("PUT").fault(header("Location", Some("/v2/elsewhere")))),
        ("uploads/wrong-digest", uploads("PUT").fault(Fault::StatusOnly(201))),
        ("chunked/patch", uploads("PATCH").fault(header("Range", Some("0-1")))),
        ("chunked/patch", uploads("PATCH").fault(header("Location", None))),
        ("chunked/out-of-order", uploads("PATCH").fault(Fault::StatusOnly(202))),
        ("chunked/status", uploads("GET").fault(header("Range", None))),
        ("chunked/status", uploads("GET").fault(Fault::StatusOnly(200))),
        ("mounts/found", uploads("POST").fault(Fault::StatusOnly(202))),
        ("manifests/put-by-tag", manifests("PUT").fault(header("Location", None))),
        ("manifests/put-by-tag", manifests("PUT").fault(Fault::StatusOnly(200))),
        ("manifests/wrong-digest", manifests("PUT").fault(Fault::StatusOnly(201))),
        ("documents/subject-header", manifests("PUT").fault(header("OCI-Subject", None))),
        ("documents/subject-header", manifests("PUT").fault(header("OCI-Subject", Some(wrong)))),
        ("tags/format", Rule::on("GET", "*/tags/list").fault(Fault::Body("{\"tags\":[]}".into()))),
        ("tags/n-zero", Rule::on("GET", "*/tags/list").fault(header("Link", Some("</v2/>; rel=\"next\"")))),
        ("tags/order", Rule::on("GET", "*/tags/list").fault(Fault::Body("{\"tags\":[\"b\",\"a\"]}".into()))),
        ("referrers/list", Rule::on("GET", "*/referrers/*").fault(Fault::Status(404))),
        (
            "referrers/content-type",
            Rule::on("GET", "*/referrers/*").fault(header("Content-Type", Some("text/html"))),
        ),
        (
            "referrers/filters-applied",
            Rule::on("GET", "*/referrers/*").fault(header("OCI-Filters-Applied", None)),
        ),
        ("referrers/empty", Rule::on("GET", "*/referrers/*").fault(Fault::Body("{}".into()))),
        ("deletes/manifest", manifests("DELETE").fault(Fault::StatusOnly(200))),
        ("deletes/manifest-is-gone", manifests("DELETE").fault(Fault::Status(202))),
        ("deletes/blob", blobs("DELETE").fault(Fault::StatusOnly(204))),
        ("api/support", Rule::on("GET", "/v2/").fault(Fault::Status(404))),
    ] {
        let sound = alone(id, None);
        assert!(sound.cases == 1 && sound.violations.is_empty(), "{id} does not hold\n{sound}");
        let faulty = alone(id, Some(&rule));
        assert!(faulty.violates(id), "{id} holds in spite of {rule:?}");
    }
}

/// What is said of every answer is noticed in any of them.
#[test]
fn answers_to_other_questions_are_judged_too() {
    let with = |fault: Fault| {
        let registry = FaultRegistry::start();
        registry.fault(Rule::on("GET", "/v2/*/manifests/*").fault(fault));
        let wanted = ["pull/manifest-unknown", "errors/", "warnings/"];
        conformance_of(&Target::new(&registry.host()), |case| {
            case.level < Level::Own && wanted.iter().any(|prefix| case.id.starts_with(prefix))
        })
    };
    let answer = |status: u16, body: &'static str| Fault::Answer {
        status,
        headers: vec![("Content-Type".into(), "application/json".into())],
        body: body.into(),
    };
    for (id, fault) in [
        ("errors/json-format", answer(404, "{\"error\":\"no\"}")),
        ("errors/code-letters", answer(404, "{\"errors\":[{\"code\":\"not found\"}]}")),
        ("errors/known-codes", answer(404, "{\"errors\":[{\"code\":\"NOT_FOUND\"}]}")),
        ("errors/message", answer(404, "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":{}}]}")),
        ("errors/retry-after", answer(429, "")),
        ("warnings/form", header("Warning", Some("110 - \"Response is Stale\""))),
        ("warnings/size", header("Warning", Some(&format!("299 - \"{}\"", "x".repeat(4096))))),
    ] {
        let report = with(fault);
        assert!(report.violates(id), "{id} was not noticed\n{report}");
    }
    let sound = with(header("Warning", Some("299 - \"all is well\"")));
    assert!(sound.violations.is_empty(), "{sound}");
}

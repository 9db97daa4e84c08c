//! The requests of tools that are not in Debian, written down from their sources and sent as they stand.
//!
//! A recording is text. `> METHOD PATH` begins a request, `> Name: value` adds a header, `= NAME` its body. Then comes what the
//! tool makes sure of before it goes on: `< STATUS`, `< Name: value`, `< Name` (it is there), `< Location -> NAME` (it is
//! used later), `~ NAME` (the body is this content), `? TEXT` (the body has this in it), `! TEXT` (it has not).
//! `{NAME}` is a digest, `{NAME%}` the same in a query as Go writes it, `{NAME-}` in a tag, `{NAME#}` a size, `{@NAME}` a
//! location from before.

use larder_core::Digest;
use larder_testkit::{Home, RawEnd, RawRequest, RawResponse, Serve};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a recording is about.
struct Stage {
    server: Serve,
    contents: BTreeMap<&'static str, Vec<u8>>,
    locations: BTreeMap<String, String>,
    _home: Home,
}

#[derive(Default)]
struct Step {
    line: usize,
    request: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    wanted: Vec<String>,
}

impl Stage {
    fn new(contents: &[(&'static str, Vec<u8>)]) -> Self {
        let home = Home::new().unwrap();
        let server = home.serve(["--offline"]).unwrap();
        Self { server, contents: contents.iter().cloned().collect(), locations: BTreeMap::new(), _home: home }
    }

    fn play(&mut self, recording: &str) {
        let steps = parse(recording);
        assert!(!steps.is_empty());
        for step in steps {
            let answer = self.send(&step);
            for wanted in &step.wanted {
                let what =
                    format!("line {}: {} → {} {}", step.line, step.request, answer.status, answer.text());
                self.check(&answer, wanted, &what);
            }
        }
    }

    fn send(&self, step: &Step) -> RawResponse {
        let (method, target) = step.request.split_once(' ').unwrap();
        let target = self.fill(target);
        let url = if target.starts_with('/') { self.server.url(&target) } else { target };
        let mut request = RawRequest::new(method, &url);
        for (name, value) in &step.headers {
            request = request.header(name, &self.fill(value));
        }
        if let Some(name) = &step.body {
            request = request.body(self.contents[name.as_str()].clone());
        }
        let answer = request.send();
        assert_eq!(answer.end, RawEnd::Complete, "line {}: {}", step.line, step.request);
        answer
    }

    fn check(&mut self, answer: &RawResponse, wanted: &str, what: &str) {
        let (sign, rest) = wanted.split_once(' ').unwrap();
        match sign {
            "~" => assert!(answer.body == self.contents[rest], "{what}: not {rest}"),
            "?" => assert!(answer.text().contains(&self.fill(rest)), "{what}: no {rest}"),
            "!" => assert!(!answer.text().contains(&self.fill(rest)), "{what}: {rest}"),
            _ => match (rest.parse::<u16>(), rest.split_once(" -> "), rest.split_once(": ")) {
                (Ok(status), ..) => assert_eq!(answer.status, status, "{what}"),
                (_, Some((name, kept)), _) => {
                    let location = answer.header(name).unwrap_or_else(|| panic!("{what}: no {name}"));
                    self.locations.insert(kept.to_owned(), location.to_owned());
                }
                (_, _, Some((name, value))) => {
                    assert_eq!(answer.header(name), Some(self.fill(value).as_str()), "{what}: {name}");
                }
                _ => assert!(answer.header(rest).is_some(), "{what}: no {rest}"),
            },
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap();
            filled.push_str(before);
            filled.push_str(&self.value(name));
            rest = after;
        }
        filled.push_str(rest);
        // What a tool adds to a location that has a query already.
        match filled.match_indices('?').nth(1) {
            Some((at, _)) => format!("{}&{}", &filled[..at], &filled[at + 1..]),
            None => filled,
        }
    }

    fn value(&self, name: &str) -> String {
        if let Some(location) = name.strip_prefix('@') {
            return self.locations[location].clone();
        }
        let bare = name.trim_end_matches(['%', '-', '#']);
        let content = &self.contents.get(bare).unwrap_or_else(|| panic!("no content is called {bare}"));
        let digest = Digest::of(content).to_string();
        match &name[bare.len()..] {
            "%" => digest.replace(':', "%3A"),
            "-" => digest.replace(':', "-"),
            "#" => content.len().to_string(),
            _ => digest,
        }
    }
}

fn parse(recording: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in
        recording.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
    {
        match line.split_once(' ').unwrap() {
            (">", rest) => match rest.split_once(": ") {
                Some((name, value)) => {
                    let header = (name.to_owned(), value.to_owned());
                    steps.last_mut().unwrap().headers.push(header);
                }
                None => steps.push(Step { line: at + 1, request: rest.to_owned(), ..Step::default() }),
            },
            ("=", name) => steps.last_mut().unwrap().body = Some(name.to_owned()),
            _ => steps.last_mut().unwrap().wanted.push(line.to_owned()),
        }
    }
    steps
}

fn describe(media_type: &str, content: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(content).to_string(), "size": content.len() })
}

fn manifest(config: &Value, layers: &[Value], fields: &Value) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    manifest.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    manifest.to_string().into_bytes()
}

#[test]
fn helm_pushes_and_pulls_charts() {
    let config = br#"{"name":"app","version":"1.2.3","apiVersion":"v2","type":"application"}"#.to_vec();
    let (chart, provenance) = (vec![0x1f; 5000], b"-----BEGIN PGP SIGNED MESSAGE-----".to_vec());
    let layers = [
        describe("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &chart),
        describe("application/vnd.cncf.helm.chart.provenance.v1.prov", &provenance),
    ];
    let annotations = json!({ "annotations": { "org.opencontainers.image.title": "app" } });
    let manifest =
        manifest(&describe("application/vnd.cncf.helm.config.v1+json", &config), &layers, &annotations);
    let contents = [("config", config), ("chart", chart), ("provenance", provenance), ("manifest", manifest)];
    Stage::new(&contents).play(include_str!("recorded/helm.txt"));
}

#[test]
fn oras_pushes_attaches_discovers_copies_and_deletes() {
    let (empty, file, sbom) =
        (b"{}".to_vec(), b"a file".to_vec(), b"{\"spdxVersion\":\"SPDX-2.3\"}".to_vec());
    let nothing = || describe("application/vnd.oci.empty.v1+json", b"{}");
    let artifact = manifest(
        &nothing(),
        &[describe("text/plain", &file)],
        &json!({ "artifactType": "application/vnd.example.thing" }),
    );
    let attached = manifest(
        &nothing(),
        &[describe("application/spdx+json", &sbom)],
        &json!({
            "artifactType": "application/spdx+json",
            "subject": describe("application/vnd.oci.image.manifest.v1+json", &artifact),
            "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
        }),
    );
    let contents =
        [("empty", empty), ("file", file), ("sbom", sbom), ("artifact", artifact), ("attached", attached)];
    Stage::new(&contents).play(include_str!("recorded/oras.txt"));
}

#[test]
fn cosign_signs_and_verifies() {
    let (config, layer) = (br#"{"architecture":"amd64","os":"linux"}"#.to_vec(), vec![0x1f; 3000]);
    let image = manifest(
        &describe("application/vnd.oci.image.config.v1+json", &config),
        &[describe("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
        &json!({}),
    );
    let payload =
        &json!({ "critical": { "image": { "docker-manifest-digest": Digest::of(&image).to_string() } } });
    let payload = payload.to_string().into_bytes();
    let mut simple = describe("application/vnd.dev.cosign.simplesigning.v1+json", &payload);
    simple["annotations"] = json!({ "dev.cosignproject.cosign/signature": "MEUCIQ==" });
    let signature_config =
        br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
    let signature = manifest(
        &describe("application/vnd.oci.image.config.v1+json", &signature_config),
        &[simple],
        &json!({}),
    );
    let bundle = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#.to_vec();
    let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let attestation = manifest(
        &describe("application/vnd.oci.empty.v1+json", b"{}"),
        &[describe(kind, &bundle)],
        &json!({
            "artifactType": kind,
            "subject": describe("application/vnd.oci.image.manifest.v1+json", &image),
            "annotations": { "dev.sigstore.bundle.content": "dsse-envelope" },
        }),
    );
    let contents = [
        ("config", config),
        ("layer", layer),
        ("image", image),
        ("payload", payload),
        ("signature-config", signature_config),
        ("signature", signature),
        ("empty", b"{}".to_vec()),
        ("bundle", bundle),
        ("attestation", attestation),
    ];
    Stage::new(&contents).play(include_str!("recorded/cosign.txt"));
}

#[test]
fn a_recording_that_does_not_come_true_is_noticed() {
    let content = b"content".to_vec();
    let mut stage = Stage::new(&[("x", content), ("y", b"other".to_vec())]);
    stage.play("> POST /v2/app/blobs/uploads/?digest={x}\n= x\n< 201\n< Docker-Content-Digest: {x}");
    stage.play("> GET /v2/app/blobs/{x}\n< 200\n< ETag\n~ x\n? content\n! other");
    for wrong in [
        "> GET /v2/app/blobs/{x}\n< 404",
        "> GET /v2/app/blobs/{y}\n< 200",
        "> GET /v2/app/blobs/{x}\n< Docker-Content-Digest: {y}",
        "> GET /v2/app/blobs/{x}\n< X-Nothing",
        "> GET /v2/app/blobs/{x}\n< Location -> upload",
        "> GET /v2/app/blobs/{x}\n~ y",
        "> GET /v2/app/blobs/{x}\n? other",
        "> GET /v2/app/blobs/{x}\n! content",
    ] {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.play(wrong)));
        assert!(played.is_err(), "{wrong}");
    }
}

//! Every method of every route, by everybody.

use crate::house::{House, header};
use larder_core::Digest;
use larder_server::Settings;
use std::collections::BTreeMap;

/// Who asks, and with what right.
const WHO: [(&str, &[&str]); 6] = [
    ("nobody", &[]),
    ("puller", &["pull"]),
    ("pusher", &["push"]),
    ("deleter", &["delete"]),
    ("boss", &["admin"]),
    ("stranger", &[]),
];

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// The right that each method needs on each path of a repository; what is not listed does not exist.
fn table() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let mut table = BTreeMap::new();
    let mut add = |path, rows: &[(&'static str, &'static str)]| {
        for (method, right) in rows {
            table.insert((path, *method), *right);
        }
    };
    let read = [("GET", "pull"), ("HEAD", "pull")];
    add("manifests/latest", &[read[0], read[1], ("PUT", "push"), ("DELETE", "delete")]);
    add("manifests/DIGEST", &[read[0], read[1], ("PUT", "push"), ("DELETE", "delete")]);
    add("blobs/DIGEST", &[read[0], read[1], ("DELETE", "delete")]);
    add("blobs/uploads/", &[("POST", "push")]);
    let upload = [("GET", "push"), ("PATCH", "push"), ("PUT", "push"), ("DELETE", "push")];
    add("blobs/uploads/0123456789abcdef0123456789abcdef", &upload);
    add("tags/list", &read);
    add("referrers/DIGEST", &read);
    table
}

#[test]
fn every_method_needs_its_right_and_no_other_gives_it() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = directory.path().join("accounts");
    let hash = bcrypt::hash("secret", 4).unwrap();
    let lines: String = WHO.iter().skip(1).map(|(name, _)| format!("{name}:{hash}\n")).collect();
    std::fs::write(&accounts, lines).unwrap();
    let rules: Vec<_> = WHO
        .iter()
        .filter(|(_, rights)| !rights.is_empty())
        .map(|(name, rights)| serde_json::json!({"repositories": ["**"], "users": [name], "allow": rights}))
        .collect();
    let house = House::with(Settings::default(), serde_json::json!({"htpasswd": accounts, "rules": rules}));
    let digest = Digest::of(b"x").to_string();
    let table = table();
    let paths: std::collections::BTreeSet<_> = table.keys().map(|(path, _)| *path).collect();
    let mut asked = 0;
    for (name, rights) in WHO {
        for path in &paths {
            for method in METHODS {
                let url = format!("/v2/team/app/{}", path.replace("DIGEST", &digest));
                let mut request = house.send(method, &url);
                if name != "nobody" {
                    request = request.header("Authorization", &basic(name));
                }
                let answer = request.send();
                let told = format!("{name} {method} {path}: {}", answer.status);
                match table.get(&(*path, method)) {
                    None => assert_eq!(answer.status, 405, "{told}"),
                    Some(right) if rights.contains(right) => {
                        assert!(!matches!(answer.status, 401 | 403 | 405), "{told}");
                    }
                    Some(_) if name == "nobody" => {
                        assert_eq!(answer.status, 401, "{told}");
                        assert!(header(&answer, "www-authenticate").is_some(), "{told}");
                    }
                    Some(_) => assert_eq!(answer.status, 403, "{told}"),
                }
                asked += 1;
            }
        }
    }
    assert_eq!(asked, WHO.len() * paths.len() * METHODS.len());
    let denied = house.records.lock().unwrap().iter().filter(|r| matches!(r.status, 401 | 403)).count();
    assert!(denied > 50, "denials have records: {denied}");
}

/// What another repository holds cannot be told from what does not exist (CVE-2024-39897).
#[test]
fn a_digest_alone_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = directory.path().join("accounts");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&accounts, format!("alice:{hash}\nmallory:{hash}\n")).unwrap();
    let rules = serde_json::json!([
        {"repositories": ["alice/**"], "users": ["alice"], "allow": ["pull", "push", "delete"]},
        {"repositories": ["mallory/**"], "users": ["mallory"], "allow": ["pull", "push", "delete"]},
    ]);
    let house = House::with(Settings::default(), serde_json::json!({"htpasswd": accounts, "rules": rules}));
    let secret = house.hold("localhost/alice/app", b"alice's layer");
    let nothing = Digest::of(b"no such thing");
    let as_mallory = |method: &str, path: String| {
        let answer = house.send(method, &path).header("Authorization", &basic("mallory")).send();
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    for method in ["GET", "HEAD", "DELETE"] {
        let own = as_mallory(method, format!("/v2/mallory/app/blobs/{secret}"));
        let absent = as_mallory(method, format!("/v2/mallory/app/blobs/{nothing}"));
        assert_eq!(own.0, 404);
        assert_eq!(own.1.replace(&secret.to_string(), ""), absent.1.replace(&nothing.to_string(), ""));
        assert_eq!(as_mallory(method, format!("/v2/alice/app/blobs/{secret}")).0, 403);
    }
    for from in ["&from=alice/app", ""] {
        let (status, _) = as_mallory("POST", format!("/v2/mallory/app/blobs/uploads/?mount={secret}{from}"));
        assert_eq!(status, 202, "an upload session, as if there were nothing to mount");
    }
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{secret}","size":13}},"layers":[]}}"#
    );
    let put = house
        .send("PUT", "/v2/mallory/app/manifests/x")
        .header("Authorization", &basic("mallory"))
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest)
        .send();
    assert_eq!(
        put.status,
        404,
        "a manifest does not open what it names: {}",
        String::from_utf8_lossy(&put.body)
    );
    assert_eq!(as_mallory("GET", format!("/v2/mallory/app/blobs/{secret}")).0, 404);
    let alice =
        house.send("GET", &format!("/v2/alice/app/blobs/{secret}")).header("Authorization", &basic("alice"));
    assert_eq!(alice.send().body, b"alice's layer");
}

#[test]
fn a_catalog_shows_what_its_reader_may_pull() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = directory.path().join("accounts");
    std::fs::write(&accounts, format!("alice:{}\n", bcrypt::hash("secret", 4).unwrap())).unwrap();
    let rules = serde_json::json!([
        {"repositories": ["open/**"], "anonymous": true, "allow": ["pull", "push"]},
        {"repositories": ["alice/**"], "users": ["alice"], "allow": ["pull", "push"]},
    ]);
    let house = House::with(Settings::default(), serde_json::json!({"htpasswd": accounts, "rules": rules}));
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    for repository in ["open/a", "open/b", "alice/c"] {
        let put = house
            .send("PUT", &format!("/v2/{repository}/manifests/1"))
            .header("Authorization", &basic("alice"))
            .header("Content-Type", "application/vnd.oci.image.index.v1+json")
            .body(index);
        assert_eq!(put.send().status, 201);
    }
    let shown = |request: larder_testkit::RawRequest| String::from_utf8(request.send().body).unwrap();
    assert_eq!(shown(house.send("GET", "/v2/_catalog")), r#"{"repositories":["open/a","open/b"]}"#);
    let alice = house.send("GET", "/v2/_catalog?n=2").header("Authorization", &basic("alice")).send();
    assert_eq!(String::from_utf8(alice.body.clone()).unwrap(), r#"{"repositories":["alice/c","open/a"]}"#);
    let next = header(&alice, "link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
    assert_eq!(
        shown(house.send("GET", &next).header("Authorization", &basic("alice"))),
        r#"{"repositories":["open/b"]}"#
    );
}

fn basic(name: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{name}:secret")))
}

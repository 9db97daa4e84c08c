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

/// Naming a digest in a manifest of one's own is not enough to read it: whatever slot it stands in, and whatever it is called.
#[test]
fn a_manifest_opens_nothing_that_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let accounts = directory.path().join("accounts");
    let hash = bcrypt::hash("secret", 4).unwrap();
    std::fs::write(&accounts, format!("alice:{hash}\nmallory:{hash}\n")).unwrap();
    let rules = serde_json::json!([
        {"repositories": ["alice/**"], "users": ["alice"], "allow": ["pull", "push", "delete"]},
        {"repositories": ["mallory/**"], "users": ["mallory"], "allow": ["pull", "push", "delete"]},
    ]);
    let house = House::with(Settings::default(), serde_json::json!({"htpasswd": accounts, "rules": rules}));
    let layer = house.hold("localhost/alice/app", b"alice's layer");
    let config = house.hold("localhost/alice/app", b"{}");
    let image = "application/vnd.oci.image.manifest.v1+json";
    let index = "application/vnd.oci.image.index.v1+json";
    let put = |who: &str, path: &str, kind: &str, body: &str| {
        let request =
            house.send("PUT", path).header("Authorization", &basic(who)).header("Content-Type", kind);
        request.body(body).send().status
    };
    let secret = format!(
        r#"{{"schemaVersion":2,"mediaType":"{image}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":13}}]}}"#
    );
    assert_eq!(put("alice", "/v2/alice/app/manifests/1", image, &secret), 201);
    let secret_digest = Digest::of(secret.as_bytes());
    let own = house.hold("localhost/mallory/app", b"{\"mine\":1}");
    let foreign = [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ];
    let mut tries: Vec<(&str, String)> = Vec::new();
    for target in [(secret_digest, secret.len()), (layer, 13), (config, 2)] {
        for kind in [image, index, "application/octet-stream", foreign[0]] {
            let entry = format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, target.0, target.1);
            tries.push((
                index,
                format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{entry}]}}"#),
            ));
            let subject =
                format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[],"subject":{entry}}}"#);
            tries.push((index, subject));
        }
        for kind in foreign {
            let entry = format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, target.0, target.1);
            tries.push((image, format!(
                r#"{{"schemaVersion":2,"mediaType":"{image}","config":{{"mediaType":"a/b","digest":"{own}","size":10}},"layers":[{entry}]}}"#
            )));
        }
    }
    for (number, (kind, body)) in tries.iter().enumerate() {
        // Twice: what was refused once must not be opened by asking again.
        for _ in 0..2 {
            put("mallory", &format!("/v2/mallory/app/manifests/t{number}"), kind, body);
            for path in [
                format!("manifests/{secret_digest}"),
                format!("blobs/{secret_digest}"),
                format!("blobs/{layer}"),
                format!("blobs/{config}"),
            ] {
                let read = house.send("GET", &format!("/v2/mallory/app/{path}"));
                let read = read.header("Authorization", &basic("mallory")).send();
                assert_eq!(read.status, 404, "{path} after {body}");
            }
        }
    }
    // Alice's is as it was, also below an index of hers, and after the tag has moved.
    let entry = format!(r#"{{"mediaType":"{image}","digest":"{secret_digest}","size":{}}}"#, secret.len());
    let hers = format!(r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{entry}]}}"#);
    assert_eq!(put("alice", "/v2/alice/app/manifests/1", index, &hers), 201);
    for path in [format!("manifests/{secret_digest}"), format!("blobs/{layer}"), format!("blobs/{config}")] {
        let read = house.send("GET", &format!("/v2/alice/app/{path}"));
        assert_eq!(read.header("Authorization", &basic("alice")).send().status, 200, "{path}");
    }
}

/// What was put into the store on this machine is there for clients, and stays when a client moves its tag.
#[test]
fn what_the_operator_named_is_readable_and_stays() {
    let house = House::open();
    let lease = house.store.lease("test").unwrap();
    let layer = *house.store.put(b"a layer", larder_store::BlobKind::Layer, &lease).unwrap().digest();
    let config = *house.store.put(b"{}", larder_store::BlobKind::Config, &lease).unwrap().digest();
    let image = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{image}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":7}}]}}"#
    );
    let document = larder_core::Document::parse(manifest.as_bytes().to_vec(), None).unwrap();
    house.store.put_document(&document, &lease).unwrap();
    house.store.set_name(&"localhost/team/app:1".parse().unwrap(), &document.descriptor()).unwrap();
    let blob = format!("/v2/team/app/blobs/{layer}");
    assert_eq!(house.get(&blob).body, b"a layer");
    for tag in ["1", "2"] {
        let put = house.send("PUT", &format!("/v2/team/app/manifests/{tag}")).header("Content-Type", image);
        assert_eq!(put.body(manifest.as_str()).send().status, 201);
        assert_eq!(house.get(&blob).body, b"a layer");
    }
}

/// Names of other registries mean what those say, here and for every other command on this machine.
#[test]
fn nothing_is_pushed_into_the_name_of_another_registry() {
    let house = House::open();
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    for path in [
        "/v2/registry.internal/app/manifests/1",
        "/v2/docker.io/library/alpine/manifests/3",
        "/v2/library/x/manifests/1?ns=quay.io",
    ] {
        let put = house
            .send("PUT", path)
            .header("Content-Type", "application/vnd.oci.image.index.v1+json")
            .body(index);
        assert_eq!(put.send().status, 405, "{path}");
    }
    assert_eq!(house.send("POST", "/v2/registry.internal/app/blobs/uploads/").send().status, 405);
    assert!(house.store.names().unwrap().is_empty());
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

/// A token by form says in the records whose it is; a password in a URL is not taken at all.
#[test]
fn tokens_are_for_whom_the_form_names_and_never_for_a_url() {
    let directory = tempfile::tempdir().unwrap();
    let (accounts, key) = (directory.path().join("accounts"), directory.path().join("key.pem"));
    std::fs::write(&accounts, format!("alice:{}\n", bcrypt::hash("secret", 4).unwrap())).unwrap();
    larder_server::create_token_key(&key).unwrap();
    let house = House::with(
        Settings::default(),
        serde_json::json!({
            "htpasswd": accounts,
            "tokens": {"issuer": "larder", "service": "here", "key": key},
            "rules": [{"repositories": ["team/**"], "users": ["alice"], "allow": ["pull"]}],
        }),
    );
    let form =
        "grant_type=password&service=here&scope=repository:team/app:pull&username=alice&password=secret";
    let post = |form: &str| house.send("POST", "/token").body(form).send();
    let token = post(form);
    assert_eq!(token.status, 200);
    assert_eq!(post(&form.replace("=secret", "=wrong")).status, 401);
    let by_url = house.get(&format!("/token?{form}"));
    let of_nobody: serde_json::Value = serde_json::from_slice(&by_url.body).unwrap();
    let bearer = |value: &serde_json::Value| format!("Bearer {}", value["token"].as_str().unwrap());
    let tags = |path: &str, token: &str| house.send("GET", path).header("Authorization", token).send().status;
    assert_eq!(tags("/v2/team/app/tags/list", &bearer(&of_nobody)), 401);
    let of_alice: serde_json::Value = serde_json::from_slice(&token.body).unwrap();
    assert_eq!(tags("/v2/team/app/tags/list", &bearer(&of_alice)), 404);
    // The same path in another namespace is another repository.
    assert_ne!(tags("/v2/team/app/tags/list?ns=elsewhere.example", &bearer(&of_alice)), 404);
    let records = house.records.lock().unwrap();
    let of: Vec<_> =
        records.iter().filter(|r| r.route == "token").map(|r| (r.status, r.caller.as_deref())).collect();
    assert_eq!(of[..2], [(200, Some("alice")), (401, Some("alice"))]);
}

fn basic(name: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{name}:secret")))
}

//! What a server leaves in the audit log.

use crate::raw::noise;
use larder_core::Digest;
use larder_testkit::{Home, RawRequest, RawResponse, Serve, eventually, tools};
use serde_json::Value;
use std::time::Duration;

/// In the password, in tokens, and where clients put secrets that do not belong there.
const CANARY: &str = "c4n4ry";
/// `ann:c4n4ry-s3cret`, and with another password.
const RIGHT: &str = "Basic YW5uOmM0bjRyeS1zM2NyZXQ=";
const WRONG: &str = "Basic YW5uOmM0bjRyeS13cm9uZw==";

fn serve(home: &Home) -> Serve {
    let users = tools::tool("htpasswd")
        .unwrap()
        .args(["-nbB", "-C", "4", "ann", "c4n4ry-s3cret"])
        .run()
        .unwrap()
        .text();
    let users = home.write("users", users).unwrap().display().to_string();
    home.serve(["--offline", "--htpasswd", &users, "--anonymous", "pull"]).unwrap()
}

/// The records of requests, once there are so many. They are written some milliseconds after the answers.
fn records(home: &Home, number: usize) -> Vec<Value> {
    eventually("the records are written", Duration::from_secs(20), || {
        let text = home.run(["audit", "show", "--output", "json"]).text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines: Vec<Value> = lines.filter(|line| line["login"] != "local").collect();
        (lines.len() >= number).then_some(lines)
    })
}

fn manifest(text: &str) -> Vec<u8> {
    let head = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"#;
    format!("{head}\"annotations\":{{\"a\":\"{text}\"}}}}").into_bytes()
}

#[test]
fn who_did_what_is_written_down_and_no_secret_is() {
    let home = Home::new().unwrap();
    let server = serve(&home);
    let request =
        |method: &str, path: &str| RawRequest::new(method, &server.url(path)).header("User-Agent", "a test");
    let put = |content: &[u8]| {
        request("PUT", "/v2/team/app/manifests/1")
            .header("Authorization", RIGHT)
            .header("Content-Type", "application/vnd.oci.image.index.v1+json")
            .body(content)
            .send()
    };
    let blob = noise(1, 1_000);
    let digest = Digest::of(&blob);
    let (first, second) = (manifest("first"), manifest("second"));
    let upload = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    let answers: Vec<RawResponse> = vec![
        request("POST", &upload).body(&*blob).send(),
        request("POST", &upload).header("Authorization", WRONG).body(&*blob).send(),
        request("POST", &upload).header("Authorization", RIGHT).body(&*blob).send(),
        put(&first),
        put(&second),
        request("GET", &format!("/v2/team/app/blobs/{digest}")).send(),
        request("GET", "/v2/team/app/manifests/1").header("Authorization", RIGHT).send(),
        request("DELETE", "/v2/team/app/manifests/1").send(),
        request("GET", &format!("/v2/team/app/manifests/absent?token={CANARY}"))
            .header("Cookie", CANARY)
            .header("X-Secret", CANARY)
            .send(),
        request("GET", "/v2/team/app/manifests/1")
            .header("Authorization", &format!("Bearer {CANARY}"))
            .send(),
        request("GET", &format!("/token?service=x&account={CANARY}&password={CANARY}"))
            .header("Authorization", WRONG)
            .send(),
    ];
    let lines = records(&home, answers.len());
    assert_eq!(lines.len(), answers.len(), "{lines:#?}");
    for (answer, line) in answers.iter().zip(&lines) {
        assert_eq!(line["request"].as_str(), answer.header("x-request-id"), "{line}");
        assert_eq!(line["status"], answer.status, "{line}");
        assert_eq!((line["agent"].as_str(), line["address"].as_str()), (Some("a test"), Some("127.0.0.1")));
        let outcome = match answer.status {
            200..=299 => "allowed",
            401 | 403 => "denied",
            _ => "failed",
        };
        assert_eq!(line["outcome"], outcome, "{line}");
    }
    let told = |at: usize| {
        let line = &lines[at];
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        (text("action"), text("actor"), line["status"].as_u64().unwrap())
    };
    let expected = |action: &str, actor: &str, status| (action.to_owned(), actor.to_owned(), status);
    assert_eq!(told(0), expected("push", "-", 401));
    assert_eq!(told(1).2, 401);
    assert_eq!(told(2), expected("push", "ann", 201));
    assert_eq!(lines[2]["digest"], digest.to_string());
    assert_eq!(lines[2]["login"], "password");
    assert_eq!(lines[2]["repository"], "localhost/team/app");
    assert_eq!(told(4), expected("push", "ann", 201));
    assert_eq!(lines[4]["digest"], Digest::of(&second).to_string());
    assert_eq!(lines[4]["before"], Digest::of(&first).to_string(), "where the tag moved from");
    assert_eq!(told(5), expected("pull", "-", 200));
    assert_eq!((&lines[5]["bytes"], &lines[5]["login"]), (&1_000.into(), &"anonymous".into()));
    assert_eq!(told(6), expected("pull", "ann", 200));
    assert_eq!(told(7), expected("delete", "-", 401));
    assert_eq!(told(8).2, 404);

    server.kill().unwrap();
    home.run(["audit", "verify"]).success();
    for entry in std::fs::read_dir(home.store().join("audit")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains(CANARY));
    }
    let denied = home.run(["audit", "show", "--outcome", "denied", "--action", "delete"]).text();
    assert!(denied.lines().count() == 1 && denied.contains("localhost/team/app:1"), "{denied}");
}

#[test]
fn two_servers_and_commands_write_one_log() {
    let home = Home::new().unwrap();
    let servers = [serve(&home), serve(&home)];
    std::thread::scope(|scope| {
        for server in &servers {
            scope.spawn(|| {
                for number in 0..150 {
                    let path = format!("/v2/app/manifests/{number}");
                    assert_eq!(RawRequest::get(&server.url(&path)).send().status, 404);
                }
            });
        }
        for _ in 0..5 {
            home.run(["gc"]).success();
        }
    });
    assert_eq!(records(&home, 300).len(), 300);
    for server in servers {
        server.stop().unwrap().success();
    }
    let report = home.run(["audit", "verify", "--output", "json"]).text();
    let report: Value = serde_json::from_str(&report).unwrap();
    // Two starts, two ends, five collections.
    assert_eq!((&report["whole"], &report["records"]), (&true.into(), &309.into()), "{report}");
}

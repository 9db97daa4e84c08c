//! What a server says to clients, and what it writes down.

use crate::raw::{noise, stored};
use larder_core::Digest;
use larder_testkit::{Home, Process, RawRequest, RawResponse, eventually, tools};
use std::time::Duration;

/// Every kind of answer, good and bad.
fn answers(home: &Home, login: &str) -> (Vec<RawResponse>, String) {
    let mut server = home.serve(["--offline", "--htpasswd", "users", "--log", "json"]).unwrap();
    let content = noise(1, 200_000);
    let digest = Digest::of(&content);
    let request = |method: &str, path: &str| RawRequest::new(method, &server.url(path));
    let signed = |method: &str, path: &str| request(method, path).header("Authorization", login);
    let mut all = vec![
        request("GET", "/v2/").send(),
        signed("GET", "/v2/").send(),
        request("GET", "/v2/").header("Authorization", "Basic dXNlcjpodW50ZXIy").send(),
        request("GET", "/v2/").header("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30.").send(),
        request("GET", "/healthz").send(),
        request("GET", "/readyz").send(),
        request("GET", "/metrics").send(),
        request("GET", "/token?service=x&scope=repository:app:pull").send(),
        request("GET", "/nothing/here").send(),
        signed("GET", "/v2/_catalog").send(),
        signed("GET", "/v2/_catalog?n=x").send(),
        signed("GET", "/v2/UPPER/manifests/1").send(),
        signed("GET", "/v2/../../etc/passwd").send(),
        signed("GET", "/v2/app/manifests/absent").send(),
        signed("PUT", "/v2/app/manifests/1").body("not json").send(),
        signed("POST", "/v2/app/manifests/1").send(),
        signed("GET", "/v2/app/blobs/sha256:xyz").send(),
        signed("PATCH", "/v2/app/blobs/uploads/00000000000000000000000000000000").body("x").send(),
    ];
    let upload = signed("POST", &format!("/v2/app/blobs/uploads/?digest={digest}"));
    all.push(upload.body(content).send());
    all.push(signed("POST", &format!("/v2/app/blobs/uploads/?digest={digest}")).body("other").send());
    all.push(signed("GET", &format!("/v2/app/blobs/{digest}")).at_most(1000).send());
    // A storage that fails.
    let file = stored(home.store(), &digest);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    all.push(signed("GET", &format!("/v2/app/blobs/{digest}")).send());
    let uploads = home.store().join("uploads");
    std::fs::remove_dir_all(&uploads).unwrap();
    std::fs::write(&uploads, "in the way").unwrap();
    all.push(signed("POST", "/v2/app/blobs/uploads/").send());
    for failed in &all[all.len() - 2..] {
        assert!(failed.status == 404 || failed.status >= 500, "{} {}", failed.status, failed.text());
    }
    let ids = all.len();
    eventually("every request is in the log", Duration::from_secs(10), || {
        (server.log().lines().filter(|line| line.contains("\"request\"")).count() >= ids).then_some(())
    });
    let log = server.log();
    server.signal(rustix::process::Signal::TERM).unwrap();
    (all, log)
}

fn users(home: &Home) -> String {
    let htpasswd = Process::new(tools::find("htpasswd").unwrap()).args(["-B", "-C", "4", "-i", "-n", "user"]);
    let line = htpasswd.input("correct horse").run().unwrap().text();
    home.write("users", line).unwrap();
    // user:correct horse
    "Basic dXNlcjpjb3JyZWN0IGhvcnNl".into()
}

#[test]
fn no_answer_has_a_path_or_a_secret_in_it() {
    let home = Home::new().unwrap();
    let login = users(&home);
    let (answers, log) = answers(&home, &login);
    let forbidden = [
        home.path().to_string_lossy().into_owned(),
        "larder-home".into(),
        "correct horse".into(),
        "dXNlcjpjb3JyZWN0IGhvcnNl".into(),
        "os error".into(),
        "sqlite".into(),
        "$2y$".into(),
    ];
    for answer in &answers {
        let said = format!("{:?}\n{}", answer.headers, answer.text()).to_lowercase();
        for word in &forbidden {
            assert!(!said.contains(&word.to_lowercase()), "{word} in {said}");
        }
    }
    for word in [
        "correct horse",
        "dXNlcjpjb3JyZWN0IGhvcnNl",
        "eyJhbGciOiJub25lIn0",
        "$2y$",
        "hunter2",
        "dXNlcjpodW50ZXIy",
    ] {
        assert!(!log.contains(word), "{word} in the log");
    }
}

#[test]
fn the_log_has_the_request_ids_of_the_answers() {
    let home = Home::new().unwrap();
    let login = users(&home);
    let (answers, log) = answers(&home, &login);
    for answer in &answers {
        let id = answer.header("x-request-id").unwrap();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&format!("\"{id}\""))).collect();
        assert_eq!(lines.len(), 1, "{id} in {log}");
        assert!(lines[0].contains(&format!("\"status\":{}", answer.status)), "{}", lines[0]);
    }
}

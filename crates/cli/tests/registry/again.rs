//! What is read again while serving, loops, and what is wrong with flags.

use larder_testkit::{Home, Process, RawRequest, eventually, tools};
use rustix::process::Signal;
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[test]
fn rules_are_read_again_on_a_signal_and_stay_where_they_are_wrong() {
    let home = Home::new().unwrap();
    let htpasswd = Process::new(tools::find("htpasswd").unwrap()).args(["-B", "-C", "4", "-i", "-n", "ann"]);
    home.write("users", htpasswd.input("secret").run().unwrap().text()).unwrap();
    let rules = |allow: &str| {
        let access = format!(
            "serve:\n  offline: true\n  access:\n    htpasswd: {}\n    rules:\n      \
             - {{repositories: [\"**\"], anonymous: true, allow: [{allow}]}}\n",
            home.path().join("users").display()
        );
        home.write("serve.yaml", access).unwrap()
    };
    let config = rules("pull");
    let mut server = home.serve(["--config".as_ref(), config.as_os_str()]).unwrap();
    let url = server.url("/v2/app/blobs/uploads/");
    let push = || RawRequest::new("POST", &url).send().status;
    assert_eq!(push(), 401);
    rules("pull, push");
    assert_eq!(push(), 401, "nobody has said so yet");
    server.signal(Signal::HUP).unwrap();
    eventually("the new rule holds", Duration::from_secs(20), || (push() == 202).then_some(()));
    rules("pull, shove");
    server.signal(Signal::HUP).unwrap();
    eventually("the mistake is named", Duration::from_secs(20), || {
        server.log().contains("shove").then_some(())
    });
    assert_eq!(push(), 202, "{}", server.log());
    rules("pull");
    server.signal(Signal::HUP).unwrap();
    eventually("the old rule holds again", Duration::from_secs(20), || (push() == 401).then_some(()));
}

#[test]
fn a_server_that_is_its_own_upstream_says_so_at_once() {
    let home = Home::new().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = free.local_addr().unwrap().to_string();
    drop(free);
    let upstream = format!("loop.example=http://{own}");
    let server = home.serve(["--listen", &own, "--upstream", &upstream]).unwrap();
    for path in ["manifests/1", "tags/list", &format!("blobs/{}", larder_core::Digest::of(b"x"))] {
        let began = Instant::now();
        let answer = RawRequest::get(&server.url(&format!("/v2/loop.example/app/{path}"))).send();
        assert!(answer.status >= 500, "{path}: {}", answer.status);
        assert!(began.elapsed() < Duration::from_secs(10), "{path}: {:?}", began.elapsed());
    }
    assert!(server.log().contains("leads back to this server"), "{}", server.log());
}

#[test]
fn what_is_wrong_with_a_flag_is_said_by_its_name() {
    let home = Home::new().unwrap();
    let directory = home.path().display().to_string();
    for (args, words) in [
        (["--upstream", "docker.io=http://u:hunter2@h"], ["--upstream docker.io", "larder login"]),
        (["--upstream", "localhost=http://127.0.0.1:1"], ["--upstream localhost", "pushed"]),
        (["--anonymous", "pul"], ["--anonymous pul", "pull, push or delete"]),
        (["--listen", "foo"], ["--listen foo", ":5000"]),
        (["--default-namespace", "a/b"], ["--default-namespace a/b", "docker.io"]),
        (["--htpasswd", &directory], ["is a directory", "/users NAME"]),
    ] {
        let said = home.larder(["serve"].into_iter().chain(args)).run();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && said.stdout.is_empty(), "{args:?}");
        assert!(words.iter().all(|word| text.contains(word)), "{args:?}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

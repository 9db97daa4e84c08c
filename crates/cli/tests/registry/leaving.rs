//! A server that is told to go, or to read its certificates again.

use crate::raw::{files, noise, push_blob};
use larder_core::Digest;
use larder_testkit::{Certificate, Flaw, Home, Process, eventually, tools};
use rustix::process::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

#[test]
fn a_transfer_under_way_is_finished() {
    let home = Home::new().unwrap();
    let mut server = home.serve(["--offline"]).unwrap();
    let content = noise(1, 48 << 20);
    assert_eq!(push_blob(&server, "app", &content).status, 201);
    let digest = Digest::of(&content);
    let mut pull = TcpStream::connect(server.address()).unwrap();
    write!(pull, "GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut received = vec![0; 1 << 20];
    pull.read_exact(&mut received).unwrap();
    let url = crate::raw::open(&server, "app").unwrap();
    let path = url.split_once(&server.host()).unwrap().1;
    let small = noise(2, 300_000);
    let mut push = TcpStream::connect(server.address()).unwrap();
    write!(
        push,
        "PUT {path}?digest={} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        Digest::of(&small),
        small.len()
    )
    .unwrap();
    push.write_all(&small[..100_000]).unwrap();
    let idle = TcpStream::connect(server.address()).unwrap();
    // The push is under way once it has locked its upload. (Asking the server about the upload would lock it, too.)
    let upload = files(&home.store().join("uploads"))[0].metadata().unwrap().ino();
    eventually("the push is under way", Duration::from_secs(30), || {
        std::fs::read_to_string("/proc/locks").unwrap().contains(&format!(":{upload} ")).then_some(())
    });

    server.signal(Signal::TERM).unwrap();
    eventually("it takes no new connections", Duration::from_secs(10), || {
        TcpStream::connect(server.address()).is_err().then_some(())
    });
    push.write_all(&small[100_000..]).unwrap();
    let mut answer = String::new();
    push.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let start = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    pull.read_to_end(&mut received).unwrap();
    assert!(Digest::of(&received[start..]) == digest, "the transfer was cut");
    drop(idle);
    server.stop().unwrap().success();
    // What was acknowledged on the way out is there.
    let server = home.serve(["--offline"]).unwrap();
    let again = crate::raw::blob(&server, "app", &Digest::of(&small)).send();
    assert!(crate::raw::is_served(&again, &Digest::of(&small)));
}

#[test]
fn certificates_are_read_again_while_serving() {
    let home = Home::new().unwrap();
    let install = |certificate: &Certificate, name: &str| {
        home.write("server.crt", &certificate.server).unwrap();
        home.write("server.key", &certificate.key).unwrap();
        home.write(name, &certificate.authority).unwrap()
    };
    let first = install(&Certificate::new(Flaw::None).unwrap(), "first.crt");
    let mut server =
        home.serve(["--offline", "--tls-cert", "server.crt", "--tls-key", "server.key"]).unwrap();
    let url = format!("https://{}/v2/", server.host());
    let curl = tools::find("curl").unwrap();
    let trusts = |authority: &std::path::Path| {
        let call = Process::new(&curl).args(["-sS", "--fail", "--max-time", "10", "--cacert"]);
        call.arg(authority).arg(&url).outcome().unwrap().status.success()
    };
    assert!(trusts(&first));
    let second = install(&Certificate::new(Flaw::None).unwrap(), "second.crt");
    server.signal(Signal::HUP).unwrap();
    eventually("the new certificate is shown", Duration::from_secs(20), || trusts(&second).then_some(()));
    assert!(!trusts(&first));
    // Half a file, as somebody may leave it for a moment: the old one stays in use.
    home.write("server.crt", "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    server.signal(Signal::HUP).unwrap();
    eventually("the failure is said", Duration::from_secs(20), || {
        server.log().contains("warning").then_some(())
    });
    assert!(trusts(&second));
}

//! Ctrl-C and SIGTERM in the middle of a transfer.

use crate::program::{Larder, Ran};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;

/// Pulls from a registry that takes the request and never answers, and sends a signal once it has the request.
fn interrupt(signal: Signal, arguments: &[&str]) -> Ran {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("127.0.0.1:{}/app:1", silent.local_addr().unwrap().port());
    let larder = Larder::new();
    let mut command = larder.command(["pull", reference.as_str()]);
    let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut connection, _) = silent.accept().unwrap();
    // The request is on its way: whoever sends it watches for signals.
    let _ = connection.set_read_timeout(Some(std::time::Duration::from_secs(1)));
    let _ = connection.read(&mut [0; 64]);
    kill_process(Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn ctrl_c_leaves_at_once_and_says_how_to_go_on() {
    let ran = interrupt(Signal::INT, &[])
        .ends(130)
        .says("error: interrupted\nhint: ")
        .says("continues where it stopped");
    assert_eq!(ran.out, "");
}

#[test]
fn termination_is_told_in_json_too() {
    let error = interrupt(Signal::TERM, &["-o", "json"]).ends(143).json()["error"].clone();
    assert_eq!((&error["kind"], &error["exit_code"]), (&"terminated".into(), &143.into()));
}

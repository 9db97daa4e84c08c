//! The runner, with a shell in the program's place.

use anyhow::Result;
use larder_testkit::{Home, eventually};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn program(directory: &Path, script: &str) -> Result<PathBuf> {
    let program = directory.join("larder");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(program)
}

#[test]
fn the_world_of_the_program() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let script = "env | sort; pwd; echo args: \"$@\"; cat";
    let home = Home::with_program(&program(directory.path(), script)?)?.env("EXTRA", "1");
    let outcome = home.larder(["pull", "a b"]).env("MORE", "2").input("typed").run();
    let text = outcome.success().text();
    for line in [
        format!("HOME={}", home.path().display()),
        format!("LARDER_HOME={}", home.store().display()),
        "EXTRA=1".into(),
        "MORE=2".into(),
        "args: pull a b".into(),
        home.path().display().to_string(),
        "typed".into(),
    ] {
        assert!(text.lines().any(|have| have == line), "{line}: {text}");
    }
    assert!(!text.contains("CARGO"), "{text}");
    assert!(!home.store().exists(), "the program makes its own store");
    Ok(())
}

#[test]
fn killed_without_a_word() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let home = Home::with_program(&program(directory.path(), "echo ready; exec sleep $1")?)?;
    let running = home.larder(["600"]).spawn()?;
    eventually("it runs", Duration::from_secs(10), || running.stdout().contains("ready").then_some(()));
    let entry = format!("/proc/{}", running.id());
    assert_eq!(running.kill()?.signal(), Some(9));
    assert!(!Path::new(&entry).exists());
    home.run(["0"]).fails_with(0);
    Ok(())
}

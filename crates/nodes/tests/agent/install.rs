//! Putting the program on a node.

use crate::shell::{PATIENCE, changed, close, node_program, pipes, programs, shell, start};
use anyhow::{Context as _, Result};
use larder_core::{Classify as _, Kind};
use larder_nodes::agent::{self, AgentError, Architecture, COMMAND, Form, Hello, Program, Programs};
use larder_testkit::Tmpfs;
use std::path::Path;
use tokio::process::Command;

fn files(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.join("bin"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn the_program_is_sent_once_and_again_when_it_was_damaged() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let size = programs().iter().next().context("one")?.size;
    let (child, started) = start(directory.path()).await?;
    assert_eq!(started.installed_bytes, size);
    assert_eq!(started.agent.welcome().directory, directory.path().display().to_string());
    close(child, started).await?;
    let (child, started) = start(directory.path()).await?;
    assert_eq!(started.installed_bytes, 0);
    let names = files(directory.path())?;
    assert_eq!(names.len(), 1);
    close(child, started).await?;
    std::fs::write(directory.path().join("bin").join(&names[0]), "damaged")?;
    let (_child, started) = start(directory.path()).await?;
    assert_eq!(started.installed_bytes, size);
    assert_eq!(files(directory.path())?, names);
    Ok(())
}

#[tokio::test]
async fn another_version_replaces_the_one_that_nobody_runs() -> Result<()> {
    let (directory, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (child, first) = start(directory.path()).await?;
    let names = files(directory.path())?;
    let path = directory.path().to_str().context("a name")?;
    let changed = changed(other.path())?;
    let (second_child, stdout, stdin) = shell()?;
    let second = agent::start(stdout, stdin, &changed, path, Hello::default(), PATIENCE).await?;
    assert_eq!(files(directory.path())?.len(), 2);
    close(child, first).await?;
    close(second_child, second).await?;
    let (_third_child, stdout, stdin) = shell()?;
    let third = agent::start(stdout, stdin, &changed, path, Hello::default(), PATIENCE).await?;
    assert_eq!(third.installed_bytes, 0);
    let left = files(directory.path())?;
    assert!(left.len() == 1 && left != names, "{left:?}");
    Ok(())
}

#[tokio::test]
async fn a_noisy_login_does_not_matter_and_silence_is_an_error() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().context("a name")?;
    let mut noisy = Command::new("sh");
    noisy.args(["-c", r#"echo "welcome to this node"; echo; exec "$@""#, "login"]).args(COMMAND);
    let (_child, stdout, stdin) = pipes(&mut noisy)?;
    agent::start(stdout, stdin, &programs(), path, Hello::default(), PATIENCE).await?;

    let patience = std::time::Duration::from_millis(300);
    let (_child, stdout, stdin) = pipes(Command::new("sleep").arg("60").kill_on_drop(true))?;
    let error = agent::start(stdout, stdin, &programs(), path, Hello::default(), patience).await.unwrap_err();
    assert!(matches!(error, AgentError::Stalled { .. }), "{error:?}");

    let (_child, stdout, stdin) =
        pipes(Command::new("sh").args(["-c", "echo This account is not available."]))?;
    let error = agent::start(stdout, stdin, &programs(), path, Hello::default(), PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("This account is not available."), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() -> Result<()> {
    let tmpfs = Tmpfs::mount(1 << 20)?;
    let path = tmpfs.path().to_str().context("a name")?;
    let (mut child, stdout, stdin) = shell()?;
    let error = agent::start(stdout, stdin, &programs(), path, Hello::default(), PATIENCE).await.unwrap_err();
    assert!(matches!(error, AgentError::Install { .. }), "{error:?}");
    assert!(error.to_string().contains("cannot write in"), "{error}");
    child.wait().await?;
    assert_eq!(files(tmpfs.path())?, Vec::<String>::new());

    let (_child, stdout, stdin) = shell()?;
    let none = Programs::default();
    let error = agent::start(stdout, stdin, &none, path, Hello::default(), PATIENCE).await.unwrap_err();
    assert!(
        matches!(&error, AgentError::NoProgram { architecture } if *architecture == std::env::consts::ARCH)
    );

    // A file of the right architecture that does not run.
    let broken = tempfile::tempdir()?;
    let file = broken.path().join("larder-node-amd64");
    std::fs::write(&file, &std::fs::read(node_program())?[..2000])?;
    let programs = Programs::find(None, &[broken.path().to_owned()], None)?;
    let (mut child, stdout, stdin) = shell()?;
    let error = agent::start(stdout, stdin, &programs, path, Hello::default(), PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("it does not run there"), "{error}");
    child.wait().await?;
    assert_eq!(files(tmpfs.path())?, Vec::<String>::new());
    Ok(())
}

#[test]
fn programs_are_found_in_their_order() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let own = std::env::current_exe()?;
    let machine = std::env::consts::ARCH;
    let found = Programs::find(None, &[directory.path().to_owned()], Some(&own))?;
    assert_eq!(found.of(machine).context("its own")?.form, Form::Larder);
    let native = Architecture::ALL.into_iter().find(|known| known.machine() == machine).context("known")?;
    let beside = directory.path().join(format!("larder-node-{}", native.as_str()));
    std::fs::copy(node_program(), &beside)?;
    let found = Programs::find(None, &[directory.path().to_owned()], Some(&own))?;
    assert_eq!(found.of(machine).context("beside")?.path, beside);
    let found = Programs::find(Some(&node_program()), &[directory.path().to_owned()], Some(&own))?;
    assert_eq!(found.of(machine).context("named")?.path, node_program());
    let other = Architecture::ALL.into_iter().find(|known| *known != native).context("another")?;
    assert_eq!(found.of(other.machine()), None);
    std::fs::rename(&beside, directory.path().join(format!("larder-node-{}", other.as_str())))?;
    let error = Programs::find(None, &[directory.path().to_owned()], None).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    for content in ["", "#!/bin/sh\necho a script that is long enough\n"] {
        let path = directory.path().join("script");
        std::fs::write(&path, content)?;
        assert_eq!(Program::read(&path, Form::Node).unwrap_err().kind(), Kind::Invalid);
    }
    Ok(())
}

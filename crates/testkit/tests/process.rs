//! Nothing outlives the test process, not even when it is killed.

use anyhow::{Context as _, Result};
use larder_testkit::{Process, eventually};
use std::io::Write as _;
use std::time::Duration;

const NAME: &str = "children_die_with_the_process_that_started_them";
const VICTIM: &str = "LARDER_TESTKIT_VICTIM";

#[test]
#[expect(clippy::disallowed_methods, reason = "the test runs itself as a victim, told by a variable")]
fn children_die_with_the_process_that_started_them() -> Result<()> {
    if std::env::var_os(VICTIM).is_some() {
        let child = Process::new("/bin/sleep").arg("600").spawn()?;
        writeln!(std::io::stdout(), "child={}.", child.id())?;
        std::thread::sleep(Duration::from_secs(600));
    }
    let exe = std::env::current_exe()?;
    // What a killed process leaves in its temporary directory goes with this one.
    let directory = tempfile::tempdir()?;
    let mut victim = Process::new(exe)
        .args(["--exact", NAME, "--nocapture"])
        .env(VICTIM, "1")
        .env("TMPDIR", directory.path())
        .spawn()?;
    let child = eventually("the victim has a child", Duration::from_secs(20), || {
        let text = victim.stdout();
        Some(text.split_once("child=")?.1.split_once('.')?.0.to_owned())
    });
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    };
    assert!(state().is_some_and(|state| state != 'Z'));
    victim.signal(rustix::process::Signal::KILL).context("cannot kill the victim")?;
    eventually("the child is dead", Duration::from_secs(20), || {
        state().is_none_or(|state| state == 'Z').then_some(())
    });
    Ok(())
}

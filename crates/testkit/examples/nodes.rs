//! Starts nodes and keeps them until Enter is pressed or the process ends.

use anyhow::{Context as _, Result, bail};
use larder_testkit::nodes::{Engine, Fleet, Plan};

#[expect(clippy::print_stdout, reason = "a program's output")]
fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (count, engine) = match words[..] {
        [count] => (count, Engine::Containerd),
        [count, "containerd"] => (count, Engine::Containerd),
        [count, "docker"] => (count, Engine::Docker),
        [count, "none"] => (count, Engine::None),
        [count, directory] => (count, Engine::ContainerdIn(directory.into())),
        _ => bail!("usage: nodes COUNT [containerd | docker | none | DIRECTORY-WITH-CONTAINERD]"),
    };
    let count: usize = count.parse().context("COUNT is a number")?;
    let plans: Vec<Plan> = (1..=count).map(|at| Plan::new(&format!("worker-{at}"), engine.clone())).collect();
    let fleet = Fleet::with(&plans)?;
    for node in fleet.nodes() {
        println!(
            "{}: ssh -i {} -o UserKnownHostsFile={} {}@{}",
            node.name(),
            node.key().display(),
            node.known_hosts().display(),
            node.user(),
            node.address()
        );
    }
    println!("{}", fleet.inventory().display());
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).context("cannot read")? == 0 {
        // Started without a terminal: until it is killed.
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

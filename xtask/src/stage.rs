//! A row of timed stages: a failing one does not stop the rest, and the end names all that failed.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Stages run so far.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    done: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    ok: bool,
    took: Duration,
}

impl Stages {
    /// Runs one stage and remembers how it went.
    pub(crate) fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        println!("── {name} ──");
        let start = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("{name}: {error:#}");
        }
        self.done.push(Stage { name, ok: result.is_ok(), took: start.elapsed() });
    }

    /// Prints the table of stages; fails when one did.
    pub(crate) fn finish(self) -> Result<()> {
        print!("{}", self.table());
        let failed: Vec<&str> = self.done.iter().filter(|stage| !stage.ok).map(|stage| stage.name).collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        println!("all {} stages passed", self.done.len());
        Ok(())
    }

    fn table(&self) -> String {
        let line = |stage: &Stage| {
            let mark = if stage.ok { "ok    " } else { "FAILED" };
            format!("{mark}  {:<12} {:>8.1} s\n", stage.name, stage.took.as_secs_f64())
        };
        let total: Duration = self.done.iter().map(|stage| stage.took).sum();
        let rows: String = self.done.iter().map(line).collect();
        format!("── stages ──\n{rows}        {:<12} {:>8.1} s\n", "total", total.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_stages_run_and_all_failures_are_named() {
        let mut stages = Stages::default();
        let mut ran = Vec::new();
        stages.run("one", || bail!("no"));
        stages.run("two", || {
            ran.push("two");
            Ok(())
        });
        stages.run("three", || bail!("no"));
        assert_eq!(ran, ["two"]);
        let table = stages.table();
        assert!(table.contains("FAILED  one") && table.contains("ok      two"), "{table}");
        assert_eq!(stages.finish().unwrap_err().to_string(), "failed: one, three");
    }
}

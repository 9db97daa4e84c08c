//! What a piece of work costs: wall time, CPU time and memory of every process it starts, bytes from the network.

use crate::program;
use anyhow::{Context, Result};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The cost of one piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// User and system time of all processes, in steps of 10 ms.
    pub(crate) cpu: Duration,
    /// The highest sum of resident memory over the processes, sampled every 5 ms.
    pub(crate) peak_bytes: u64,
    pub(crate) received_bytes: u64,
}

/// Measures `work`, which waits for every process it starts. `daemons` ran before and belong to it; every other process
/// that exists at the start does not. `received` counts bytes from the network.
///
/// The enclosure has its own process table, so what appears in it during the work was started by the work.
pub(crate) fn measure(
    daemons: &[u32],
    received: impl Fn() -> u64,
    work: impl FnOnce() -> Result<()>,
) -> Result<Usage> {
    page_bytes();
    let mut foreign = processes();
    for daemon in daemons {
        foreign.remove(daemon);
    }
    let cpu = || -> Result<Duration> {
        let own = children_cpu(std::process::id())?;
        daemons.iter().try_fold(own, |sum, pid| Ok(sum + Times::read(*pid)?.total()))
    };
    let done = AtomicBool::new(false);
    let (cpu_before, received_before) = (cpu()?, received());
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                let sum: u64 = processes().difference(&foreign).map(|pid| resident_bytes(*pid)).sum();
                peak = peak.max(sum);
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let start = Instant::now();
        let result = work();
        let wall = start.elapsed();
        done.store(true, Ordering::Relaxed);
        let peak_bytes = sampler.join().expect("the sampler does not panic");
        result?;
        Ok(Usage { wall, cpu: cpu()? - cpu_before, peak_bytes, received_bytes: received() - received_before })
    })
}

/// User and system time of a process so far.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    Ok(Times::read(pid)?.own)
}

/// User and system time of all children of a process that ended and were waited for, theirs included.
pub(crate) fn children_cpu(pid: u32) -> Result<Duration> {
    Ok(Times::read(pid)?.children)
}

/// All process ids.
fn processes() -> HashSet<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// 0 for a process that has ended.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * page_bytes()
}

fn page_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let said = program::output(Command::new("getconf").arg("PAGESIZE"));
        said.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(4096)
    })
}

/// CPU times of a process.
#[derive(Debug, Clone, Copy)]
struct Times {
    own: Duration,
    /// Of children that were waited for, and theirs.
    children: Duration,
}

impl Times {
    fn read(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text =
            std::fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("cannot understand {path}"))
    }

    /// proc(5): the name in parentheses may contain anything; user and system time of the process and of its children
    /// are fields 14 to 17, in ticks of a hundredth of a second.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let ticks: Vec<u64> = rest.split(' ').skip(11).take(4).map_while(|word| word.parse().ok()).collect();
        let [user, system, children_user, children_system] = ticks[..] else { return None };
        let time = |ticks: u64| Duration::from_millis(ticks * 10);
        Some(Self { own: time(user + system), children: time(children_user + children_system) })
    }

    fn total(self) -> Duration {
        self.own + self.children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_past_a_strange_name() {
        let stat = "7 (a) b ( c) S 1 7 7 0 -1 4194560 1 0 0 0 12 3 40 5 20 0 1 0 100 1 2";
        let times = Times::parse(stat).unwrap();
        assert_eq!(times.own, Duration::from_millis(150));
        assert_eq!(times.children, Duration::from_millis(450));
    }

    #[test]
    fn a_child_that_works_costs_time_and_memory() {
        let usage = measure(
            &[],
            || 0,
            || {
                let script = "x=$(head -c 20000000 /dev/zero | tr '\\0' a); i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
                anyhow::ensure!(Command::new("sh").args(["-c", script]).status()?.success());
                Ok(())
            },
        )
        .unwrap();
        assert!(usage.cpu >= Duration::from_millis(20), "{usage:?}");
        assert!(usage.wall >= Duration::from_millis(20), "{usage:?}");
        assert!(usage.peak_bytes > 10_000_000, "{usage:?}");
    }
}

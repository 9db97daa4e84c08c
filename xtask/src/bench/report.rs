//! Raw figures into a table of ratios, and the facts without which the ratios mean nothing.

use super::usage::Usage;
use crate::program;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// All runs of one contestant.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) name: String,
    /// From an empty store.
    pub(crate) cold: Vec<Usage>,
    /// A further root file system of an image that is there.
    pub(crate) warm: Vec<Usage>,
    /// Asked to fetch what is there.
    pub(crate) again: Vec<Duration>,
}

impl Runs {
    fn wall(&self) -> f64 {
        median(self.cold.iter().map(|usage| usage.wall.as_secs_f64()))
    }

    /// As JSON, so that other questions can be asked of the same runs.
    pub(crate) fn raw(&self) -> Value {
        let usage = |usage: &Usage| {
            json!({
                "wall_seconds": usage.wall.as_secs_f64(),
                "cpu_seconds": usage.cpu.as_secs_f64(),
                "peak_bytes": usage.peak_bytes,
                "received_bytes": usage.received_bytes,
            })
        };
        json!({
            "name": self.name,
            "cold": self.cold.iter().map(usage).collect::<Vec<_>>(),
            "warm": self.warm.iter().map(usage).collect::<Vec<_>>(),
            "again_seconds": self.again.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
        })
    }
}

/// The middle of the values, 0 when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// The table: the first of `runs` is the yardstick, then the other tools; floors follow.
pub(crate) fn table(runs: &[Runs], floors: &[Runs]) -> String {
    let mut text = String::from(
        "| | cold pull to root file system | spread | warm, to a further root file system | nothing to do | CPU | peak memory | from the network |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let Some(first) = runs.first() else { return text };
    let all = |of: fn(&Usage) -> f64| move |runs: &[Usage]| median(runs.iter().map(of));
    let (cpu, peak, received) = (
        all(|usage| usage.cpu.as_secs_f64()),
        all(|usage| usage.peak_bytes as f64),
        all(|usage| usage.received_bytes as f64),
    );
    let warm = |runs: &Runs| median(runs.warm.iter().map(|usage| usage.wall.as_secs_f64()));
    let again = |runs: &Runs| median(runs.again.iter().map(Duration::as_secs_f64));
    for one in runs {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            one.name,
            ratio(one.wall(), first.wall()),
            spread(one),
            ratio(warm(one), warm(first)),
            ratio(again(one), again(first)),
            ratio(cpu(&one.cold), cpu(&first.cold)),
            ratio(peak(&one.cold), peak(&first.cold)),
            ratio(received(&one.cold), received(&first.cold)),
        );
    }
    for one in floors {
        let _ = writeln!(
            text,
            "| {} | {} | {} | | | {} | {} | |",
            one.name,
            ratio(one.wall(), first.wall()),
            spread(one),
            ratio(cpu(&one.cold), cpu(&first.cold)),
            ratio(peak(&one.cold), peak(&first.cold)),
        );
    }
    let _ = write!(
        text,
        "\n1.00 is {}: cold {}, warm {}, nothing to do {}, CPU {:.2} s, peak memory {:.0} MB, {:.1} MB from the network \
         (medians of {} rounds).\n",
        first.name,
        seconds(first.wall()),
        seconds(warm(first)),
        seconds(again(first)),
        cpu(&first.cold),
        peak(&first.cold) / 1e6,
        received(&first.cold) / 1e6,
        first.cold.len(),
    );
    text
}

/// The two figures that the project promises, in words.
pub(crate) fn verdict(runs: &[Runs], floors: &[Runs]) -> String {
    let mut text = String::new();
    let Some((first, peers)) = runs.split_first() else { return text };
    if let Some(best) = peers.iter().min_by(|a, b| a.wall().total_cmp(&b.wall())) {
        let _ = writeln!(
            text,
            "- Cold, {} is **{:.2}×** as fast as the fastest peer, {} (aim: 3×).",
            first.name,
            best.wall() / first.wall(),
            best.name
        );
    }
    for floor in floors {
        let times = first.wall() / floor.wall();
        let _ =
            writeln!(text, "- Cold, {} takes **{times:.2}×** the time of the {}.", first.name, floor.name);
    }
    text
}

fn ratio(value: f64, one: f64) -> String {
    if one > 0.0 && value > 0.0 { format!("{:.2}", value / one) } else { "–".into() }
}

/// How far the cold runs lie apart, relative to their median.
fn spread(runs: &Runs) -> String {
    let walls = || runs.cold.iter().map(|usage| usage.wall.as_secs_f64());
    let (low, high) = (walls().fold(f64::MAX, f64::min), walls().fold(0.0, f64::max));
    let middle = runs.wall();
    if middle > 0.0 { format!("{:.2}–{:.2}", low / middle, high / middle) } else { "–".into() }
}

fn seconds(value: f64) -> String {
    if value < 0.1 { format!("{:.1} ms", value * 1e3) } else { format!("{value:.2} s") }
}

/// The machine, without its name.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: f64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0.0);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String = kernel.trim().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cpus} CPUs ({model}), {:.0} GB of memory, Linux {kernel}", kib / 1048576.0)
}

/// How busy the machine was before the run began; other work falsifies what is measured.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// The commit that was measured.
pub(crate) fn commit() -> String {
    let mut describe = std::process::Command::new("git");
    describe.current_dir(crate::workspace::root()).args(["rev-parse", "--short", "HEAD"]);
    program::output(&mut describe).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(name: &str, walls: &[f64]) -> Runs {
        let usage = |wall: &f64| Usage {
            wall: Duration::from_secs_f64(*wall),
            cpu: Duration::from_secs_f64(wall * 2.0),
            peak_bytes: 50_000_000,
            received_bytes: 170_000_000,
        };
        Runs {
            name: name.into(),
            cold: walls.iter().map(usage).collect(),
            warm: vec![usage(&0.01)],
            again: vec![Duration::from_millis(5)],
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }

    #[test]
    fn ratios_are_against_the_first() {
        let all = [runs("larder", &[1.0, 1.1, 0.9]), runs("other", &[4.0, 4.0, 5.0])];
        let floor = [runs("floor", &[0.8])];
        let table = table(&all, &floor);
        assert!(table.contains("| other | 4.00 | 1.00–1.25 | 1.00 | 1.00 | 4.00 |"), "{table}");
        assert!(table.contains("| floor | 0.80 | 1.00–1.00 | | | 0.80 | 1.00 | |"), "{table}");
        let verdict = verdict(&all, &floor);
        assert!(verdict.contains("**4.00×** as fast as the fastest peer, other"), "{verdict}");
        assert!(verdict.contains("takes **1.25×** the time of the floor"), "{verdict}");
    }
}

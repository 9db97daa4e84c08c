//! The tables of `bench serve`, and whether the aims were reached.

use super::push::Push;
use super::through::Through;
use super::{Crowd, FLOOR, LARDER, Point, REGISTRY, Scenario};
use crate::bench::report::median;
use std::fmt::Write as _;
use std::time::Duration;

/// All of them, those without figures left out. Writing to a String cannot fail.
pub(super) fn tables(
    scenarios: &[Scenario],
    pushes: &[Push],
    crowd: &Crowd,
    first: &[(Duration, Duration)],
    through: &[Through],
) -> String {
    let mut text = String::new();
    blobs(&mut text, scenarios);
    manifests(&mut text, scenarios);
    pushed(&mut text, pushes);
    pull_through(&mut text, through);
    aims(&mut text, scenarios, crowd, through);
    if !first.is_empty() {
        let milliseconds = |of: fn(&(Duration, Duration)) -> Duration| {
            median(first.iter().map(|pair| of(pair).as_secs_f64() * 1e3))
        };
        let _ = writeln!(
            text,
            "- The first read of a blob since the start is hashed beside sending: 500 MB by one client take {:.0} ms, and {:.0} ms \
             from then on.",
            milliseconds(|pair| pair.0),
            milliseconds(|pair| pair.1),
        );
    }
    text
}

fn of_kind<'a>(scenarios: &'a [Scenario], kind: &'static str) -> impl Iterator<Item = &'a Scenario> {
    scenarios.iter().filter(move |scenario| scenario.kind == kind)
}

fn blobs(text: &mut String, scenarios: &[Scenario]) {
    if of_kind(scenarios, "blobs").next().is_none() {
        return;
    }
    let _ = writeln!(
        text,
        "| GET of | larder | of docker-registry | of `sendfile` | p50, p99: larder | docker-registry | CPU s/GB: larder | \
         docker-registry | `sendfile` |\n|---|---|---|---|---|---|---|---|---|"
    );
    for one in of_kind(scenarios, "blobs") {
        let rate = |point: &Point| point.bytes_per_second;
        let _ = writeln!(
            text,
            "| {} | {:.2} GB/s | {:.2}× | {:.2}× | {} | {} | {} | {} | {} |",
            one.name,
            one.middle(LARDER, rate) / 1e9,
            one.ratio(REGISTRY, rate),
            one.ratio(FLOOR, rate),
            one.latencies(LARDER),
            one.latencies(REGISTRY),
            one.cpu_per_gigabyte(LARDER),
            one.cpu_per_gigabyte(REGISTRY),
            one.cpu_per_gigabyte(FLOOR),
        );
    }
    text.push('\n');
}

fn manifests(text: &mut String, scenarios: &[Scenario]) {
    if of_kind(scenarios, "manifests").next().is_none() {
        return;
    }
    let _ = writeln!(
        text,
        "| GET of | larder | of docker-registry | p50, p99: larder | docker-registry | CPU µs each: larder | docker-registry |\n\
         |---|---|---|---|---|---|---|"
    );
    for one in of_kind(scenarios, "manifests") {
        let rate = |point: &Point| point.requests_per_second;
        let cpu = |point: &Point| point.cpu_seconds * 1e6 / point.requests.max(1.0);
        let _ = writeln!(
            text,
            "| {} | {:.0}/s | {:.2}× | {} | {} | {:.0} | {:.0} |",
            one.name,
            one.middle(LARDER, rate),
            one.ratio(REGISTRY, rate),
            one.latencies(LARDER),
            one.latencies(REGISTRY),
            one.middle(LARDER, cpu),
            one.middle(REGISTRY, cpu),
        );
    }
    text.push('\n');
}

fn pushed(text: &mut String, pushes: &[Push]) {
    if pushes.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "| POST and PUT of | larder | of docker-registry | CPU s/GB: larder | docker-registry |\n|---|---|---|---|---|"
    );
    for one in pushes {
        let middle = |server: usize, of: fn(&(f64, f64)) -> f64| median(one.points[server].iter().map(of));
        let ratio =
            one.points[LARDER].iter().zip(&one.points[REGISTRY]).map(|(larder, other)| larder.0 / other.0);
        let _ = writeln!(
            text,
            "| {} | {:.2} GB/s | {:.2}× | {:.2} | {:.2} |",
            one.name,
            middle(LARDER, |point| point.0) / 1e9,
            median(ratio),
            middle(LARDER, |point| point.1),
            middle(REGISTRY, |point| point.1),
        );
    }
    text.push('\n');
}

fn pull_through(text: &mut String, through: &[Through]) {
    if through.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "| 100 clients pull one cold image of 100 MB | until all have it | from the upstream | CPU | peak memory |\n\
         |---|---|---|---|---|"
    );
    for (name, server) in [("larder", LARDER), ("docker-registry as a mirror", REGISTRY)] {
        let of = |of: fn(&Through) -> f64| median(through.iter().filter(|one| one.server == server).map(of));
        let _ = writeln!(
            text,
            "| {name} | {:.2} s | {:.2}× the image | {:.2} s | {:.0} MB |",
            of(|one| one.wall.as_secs_f64()),
            of(|one| one.upstream),
            of(|one| one.cpu_seconds),
            of(|one| one.peak_bytes as f64 / 1e6),
        );
    }
    text.push('\n');
}

fn aims(text: &mut String, scenarios: &[Scenario], crowd: &Crowd, through: &[Through]) {
    let mut aim = |what: &str, is: String, reached: bool| {
        let _ = writeln!(text, "- {what}: **{is}**{}.", if reached { "" } else { ", which is not reached" });
    };
    let least = |ratios: &mut dyn Iterator<Item = f64>| ratios.fold(f64::INFINITY, f64::min);
    let blobs = least(
        &mut of_kind(scenarios, "blobs").map(|one| one.ratio(REGISTRY, |point| point.bytes_per_second)),
    );
    if blobs.is_finite() {
        aim("Blobs, never slower than docker-registry; the worst case", format!("{blobs:.2}×"), blobs >= 1.0);
        let large = of_kind(scenarios, "blobs").filter(|one| one.name.contains("500 MB"));
        let large = least(&mut large.map(|one| one.ratio(FLOOR, |point| point.bytes_per_second)));
        aim("Large blobs, 0.95× of `sendfile`; the worst case", format!("{large:.2}×"), large >= 0.95);
    }
    let manifests = least(
        &mut of_kind(scenarios, "manifests")
            .map(|one| one.ratio(REGISTRY, |point| point.requests_per_second)),
    );
    if manifests.is_finite() {
        aim(
            "Manifests, 3× as many each second; the worst case",
            format!("{manifests:.2}×"),
            manifests >= 3.0,
        );
    }
    if let [Some(larder), Some(registry)] = crowd.peaks.each_ref().map(|peaks| peaks.iter().max()) {
        let (larder, registry) = (*larder as f64 / 1e6, *registry as f64 / 1e6);
        let is = format!("{larder:.0} MB (docker-registry: {registry:.0} MB)");
        aim(
            "Memory with 500 clients in the middle of large blobs, under 150 MB; the most",
            is,
            larder < 150.0,
        );
    }
    let most = through.iter().filter(|one| one.server == LARDER).map(|one| one.upstream).fold(0.0, f64::max);
    if most > 0.0 {
        let is = format!("{most:.4}×");
        aim("Pull-through, every byte once from the upstream; the most of all rounds", is, most <= 1.000_1);
    }
}

impl Scenario {
    fn middle(&self, server: usize, of: impl Fn(&Point) -> f64) -> f64 {
        median(self.points[server].iter().map(of))
    }

    /// larder over another, round by round, then the median.
    fn ratio(&self, other: usize, of: impl Fn(&Point) -> f64) -> f64 {
        let pairs = self.points[LARDER].iter().zip(&self.points[other]);
        median(pairs.map(|(larder, other)| of(larder) / of(other)))
    }

    fn latencies(&self, server: usize) -> String {
        // Where hardly any request ends within the time, there is no distribution.
        if self.middle(server, |point| point.requests) < 100.0 {
            return "–".into();
        }
        let milliseconds =
            |of: fn(&Point) -> Duration| self.middle(server, |point| of(point).as_secs_f64() * 1e3);
        format!(
            "{}, {} ms",
            short(milliseconds(|point| point.middle)),
            short(milliseconds(|point| point.slow))
        )
    }

    fn cpu_per_gigabyte(&self, server: usize) -> String {
        format!("{:.2}", self.middle(server, |point| point.cpu_seconds * 1e9 / point.bytes.max(1.0)))
    }
}

fn short(milliseconds: f64) -> String {
    if milliseconds < 10.0 { format!("{milliseconds:.2}") } else { format!("{milliseconds:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(rate: f64) -> Point {
        Point {
            bytes_per_second: rate * 1e9,
            requests_per_second: rate * 1e3,
            middle: Duration::from_micros(1500),
            slow: Duration::from_millis(20),
            cpu_seconds: 1.0,
            bytes: 2e9,
            requests: 1000.0,
        }
    }

    fn scenario(kind: &'static str, larder: f64, registry: f64) -> Scenario {
        Scenario {
            name: "a blob of 500 MB, 10 clients".into(),
            kind,
            clients: 10,
            paths: Vec::new(),
            points: [vec![point(larder); 3], vec![point(registry); 3], vec![point(4.0); 3]],
        }
    }

    #[test]
    fn an_aim_that_is_missed_is_said() {
        let all = [scenario("blobs", 3.0, 1.5), scenario("manifests", 3.0, 1.5)];
        let text = tables(&all, &[], &Crowd::default(), &[], &[]);
        assert!(text.contains("| 3.00 GB/s | 2.00× | 0.75× | 1.50, 20 ms |"), "{text}");
        assert!(
            text.contains("0.95× of `sendfile`; the worst case: **0.75×**, which is not reached."),
            "{text}"
        );
        assert!(text.contains("never slower than docker-registry; the worst case: **2.00×**."), "{text}");
        assert!(
            text.contains("3× as many each second; the worst case: **2.00×**, which is not reached."),
            "{text}"
        );
    }
}

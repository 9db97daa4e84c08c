//! The tables of `bench deliver`.

use super::Series;
use super::cost::Cost;
use super::sample::Sample;
use super::way::Way;
use crate::bench::report::median;
use std::fmt::Write as _;

/// Which of the measurements a table is about.
type Costs = fn(&Series) -> &[Cost];

/// One table for each question, and what the project promises.
pub(super) fn tables(all: &[Series], sample: &Sample) -> String {
    let mut text = String::new();
    let kinds: [(&str, Costs); 3] = [
        ("First delivery", |series| &series.first),
        ("Update of the top layer", |series| &series.update),
        ("Nothing to do", |series| &series.again),
    ];
    for (title, costs) in kinds {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "#### {title}\n\n| | nodes | time | CPU of the sender | its peak memory | to each node | peak disk of a node |\n\
             |---|---|---|---|---|---|---|\n"
        );
        for series in all {
            let costs = costs(series);
            let of = |value: fn(&Cost) -> f64| median(costs.iter().map(value));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.2} s | {:.0} MB | {} | {} |",
                series.way.name(),
                series.nodes,
                seconds(of(|cost| cost.wall.as_secs_f64())),
                of(|cost| cost.cpu.as_secs_f64()),
                of(|cost| cost.peak_bytes as f64) / 1e6,
                size(of(|cost| cost.to_nodes as f64) / series.nodes as f64),
                size(of(|cost| cost.disk_bytes as f64)),
            );
        }
        text.push('\n');
    }
    text.push_str(&verdicts(all, sample));
    text
}

fn verdicts(all: &[Series], sample: &Sample) -> String {
    let mut text = String::new();
    let wall = |costs: &[Cost]| median(costs.iter().map(|cost| cost.wall.as_secs_f64()));
    let mut counts: Vec<usize> = all.iter().map(|series| series.nodes).collect();
    counts.dedup();
    for nodes in counts {
        let of = |way: Way| all.iter().find(|series| series.way == way && series.nodes == nodes);
        let ours = all.iter().filter(|series| series.way.is_larder() && series.nodes == nodes);
        let Some(best) = ours.min_by(|a, b| wall(&a.first).total_cmp(&wall(&b.first))) else { continue };
        let sent = median(best.first.iter().map(|cost| cost.to_nodes as f64)) / nodes as f64;
        let _ = write!(
            text,
            "- {}: {} sends {:.3}× the compressed bytes (aim: at most 1.05)",
            plural(nodes),
            best.way.name(),
            sent / sample.first_bytes as f64
        );
        if let Some(peer) = of(Way::Skopeo) {
            let _ = write!(
                text,
                ", is **{:.2}×** as fast as skopeo (aim: 2×), {:.1}× with an update",
                wall(&peer.first) / wall(&best.first),
                wall(&peer.update) / wall(&best.update)
            );
        }
        let _ = writeln!(text, ", and finds nothing to do in {}.", seconds(wall(&best.again)));
    }
    text
}

fn plural(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

fn seconds(value: f64) -> String {
    if value < 1.0 { format!("{:.0} ms", value * 1e3) } else { format!("{value:.2} s") }
}

fn size(bytes: f64) -> String {
    if bytes < 1e6 { format!("{:.0} kB", bytes / 1e3) } else { format!("{:.1} MB", bytes / 1e6) }
}

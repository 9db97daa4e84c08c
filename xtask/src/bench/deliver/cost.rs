//! What a delivery costs the sender, the line and the nodes.

use super::way::Commands;
use crate::program;
use anyhow::{Context, Result, bail};
use larder_testkit::nodes::Fleet;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The cost of one delivery to all nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    /// Of the sender's processes only; what runs on the nodes is not the sender's.
    pub(super) cpu: Duration,
    /// The highest sum of resident memory of the sender's processes, sampled every 10 ms.
    pub(super) peak_bytes: u64,
    /// Over the wires, headers included.
    pub(super) to_nodes: u64,
    pub(super) from_nodes: u64,
    /// The most that one node had on its disk beyond what it had before.
    pub(super) disk_bytes: u64,
}

/// Runs commands at the same time, and measures until the last has ended.
pub(super) fn measure(fleet: &Fleet, commands: Commands, directory: &Path) -> Result<Cost> {
    let disks =
        || fleet.nodes().iter().map(larder_testkit::nodes::Node::disk_used).collect::<Result<Vec<u64>>>();
    let wires = || -> Result<(u64, u64)> {
        let mut sum = (0, 0);
        for node in fleet.nodes() {
            let (to, from) = node.wire_bytes()?;
            sum = (sum.0 + to, sum.1 + from);
        }
        Ok(sum)
    };
    let (disks_before, wires_before, cpu_before) = (disks()?, wires()?, children()?);
    let mut running = Vec::new();
    let start = Instant::now();
    for (number, mut command) in commands.into_iter().enumerate() {
        let complaints = directory.join(format!("complaints-{number}"));
        let line = program::line(&command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&complaints)?);
        running.push((command.spawn().with_context(|| format!("cannot start {line}"))?, line, complaints));
    }
    let roots: Vec<u32> = running.iter().map(|(child, _, _)| child.id()).collect();
    let (mut peak_bytes, mut disk_bytes) = (0, 0);
    let mut left = running.len();
    while left > 0 {
        peak_bytes = peak_bytes.max(resident_bytes(&roots));
        for (now, before) in disks()?.into_iter().zip(&disks_before) {
            disk_bytes = disk_bytes.max(now.saturating_sub(*before));
        }
        std::thread::sleep(Duration::from_millis(10));
        left = 0;
        for (child, line, complaints) in &mut running {
            match child.try_wait()? {
                None => left += 1,
                Some(status) if status.success() => {}
                Some(status) => {
                    bail!("{line}: {status}\n{}", std::fs::read_to_string(complaints).unwrap_or_default())
                }
            }
        }
    }
    let wall = start.elapsed();
    let wires_after = wires()?;
    Ok(Cost {
        wall,
        cpu: children()?.saturating_sub(cpu_before),
        peak_bytes,
        to_nodes: wires_after.0 - wires_before.0,
        from_nodes: wires_after.1 - wires_before.1,
        disk_bytes,
    })
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} s, CPU {:.2} s, {:.1} MB of memory, {:.1} MB to and {:.1} MB from nodes, {:.0} MB of disk",
            self.wall.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.peak_bytes as f64 / 1e6,
            self.to_nodes as f64 / 1e6,
            self.from_nodes as f64 / 1e6,
            self.disk_bytes as f64 / 1e6
        )
    }
}

/// User and system time of all children that ended and were waited for, theirs included.
fn children() -> Result<Duration> {
    crate::bench::usage::children_cpu(std::process::id())
}

/// Of these processes and everything they started. The nodes' processes descend from others.
fn resident_bytes(roots: &[u32]) -> u64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut seen = HashSet::new();
    let mut open: Vec<u32> = roots.to_vec();
    let mut sum = 0;
    while let Some(pid) = open.pop() {
        if seen.insert(pid) {
            sum += crate::bench::usage::resident_bytes(pid);
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    sum
}

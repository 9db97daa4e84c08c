//! `soak resets`: a line that breaks a thousand times during one pull. The pull ends, goes forward only, and each break
//! costs at most the range in which it happened.

use super::{directory, hash_blobs};
use crate::larder::Larder;
use crate::program;
use anyhow::{Context, Result, ensure};
use larder_core::{Compression, Digest};
use larder_testkit::{Fault, FaultRegistry, ImageBuilder, Random, Rule};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many connections to reset.
    #[arg(long, default_value_t = 1000)]
    resets: u64,
}

/// So many that no layer is large enough to be fetched in several ranges at once, which would not go forward only.
const RESETS_PER_LAYER: u64 = 250;
/// A reset comes after at least one and at most this many bytes of an answer.
const LONGEST_RANGE_BYTES: u64 = 256 << 10;

pub(super) fn run(arguments: &Arguments, binary: &Path, random: &mut Random) -> Result<()> {
    let registry = FaultRegistry::start();
    // Enough that also if no reset loses a byte, all of them happen before the end.
    let layers = arguments.resets.div_ceil(RESETS_PER_LAYER).max(1) as usize;
    let size = (arguments.resets * LONGEST_RANGE_BYTES * 3 / 4) as usize / layers;
    let image = ImageBuilder::new(random.next_u64()).random_layers(layers, size, Compression::Gzip).build();
    image.push(&registry, "soak/resets", Some("1"));
    // One rule for each request of a layer, so that every one breaks somewhere else.
    let hits: Vec<_> = (1..=arguments.resets)
        .map(|nth| {
            let after = 1 + random.below(LONGEST_RANGE_BYTES);
            registry.fault(Rule::blobs().nth(nth).fault(Fault::Reset(after)))
        })
        .collect();
    let home = directory("resets")?.join("larder");
    let larder = Larder::new(binary, &home);
    let reference = registry.reference("soak/resets:1").to_string();

    let start = Instant::now();
    program::output(&mut larder.command(["pull", "--quiet", &reference])).context("the pull gave up")?;
    let took = start.elapsed();

    let struck: u64 = hits.iter().map(larder_testkit::Hits::count).sum();
    ensure!(
        struck == arguments.resets,
        "only {struck} of {} resets happened; the image is too small",
        arguments.resets
    );
    program::output(&mut larder.command(["verify"])).context("the store is damaged")?;
    hash_blobs(&home)?;
    let again = forward_only(&registry, &image.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>())?;
    let sent: u64 = image.layers.iter().map(|layer| registry.bytes_sent(&layer.digest)).sum();
    let whole: u64 = image.layers.iter().map(|layer| layer.blob.len() as u64).sum();
    let allowed = whole + struck * LONGEST_RANGE_BYTES;
    ensure!(sent <= allowed, "{sent} bytes were sent for layers of {whole} bytes");
    println!(
        "{struck} resets, {layers} layers of {:.0} MB in all, pulled in {:.1} s: {:.1} MB were sent, {:.1} kB again for each \
         reset; {again} requests began before the byte where the one before them broke.",
        whole as f64 / 1e6,
        took.as_secs_f64(),
        sent as f64 / 1e6,
        sent.saturating_sub(whole) as f64 / 1e3 / struck.max(1) as f64,
    );
    Ok(())
}

/// No request for a layer begins before an earlier one did. Returns how many began before the last byte that was sent: a
/// reset takes along what the client had not read yet.
fn forward_only(registry: &FaultRegistry, layers: &[Digest]) -> Result<u64> {
    let mut places: BTreeMap<Digest, (u64, u64)> = BTreeMap::new();
    let mut again = 0;
    for request in registry.requests_to("GET", "/v2/*/blobs/sha*") {
        let Some(digest) = request.digest().filter(|digest| layers.contains(digest)) else { continue };
        let start = request.range().map_or(Ok(0), first_byte)?;
        let (before, sent) = places.get(&digest).copied().unwrap_or((0, 0));
        ensure!(start >= before, "a request for {digest} went back from byte {before} to {start}");
        again += u64::from(start < sent);
        places.insert(digest, (start, start + request.sent));
    }
    Ok(again)
}

/// The start of `bytes=START-[END]`.
fn first_byte(range: &str) -> Result<u64> {
    let start = range.strip_prefix("bytes=").and_then(|range| range.split('-').next());
    start.and_then(|start| start.parse().ok()).with_context(|| format!("strange Range: {range}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(first_byte("bytes=4096-").unwrap(), 4096);
        assert_eq!(first_byte("bytes=7-9").unwrap(), 7);
        assert!(first_byte("pages=7").is_err());
    }
}

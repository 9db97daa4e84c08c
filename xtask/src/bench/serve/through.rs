//! A cold image that 100 clients want at once, through a server in front of a registry.

use super::content::{REPOSITORY, hash, push_image};
use super::contestant::Contestant;
use super::load::{Load, Until};
use super::{LARDER, REGISTRY};
use crate::bench::disk::Disk;
use crate::larder::Larder;
use anyhow::{Context, Result, ensure};
use larder_core::Compression;
use larder_testkit::{DockerRegistry, Image, ImageBuilder};
use std::time::Duration;

/// One round of one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Through {
    pub(super) server: usize,
    /// Until the last client has the image.
    pub(super) wall: Duration,
    /// Bodies that the upstream sent, over the size of the image.
    pub(super) upstream: f64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_bytes: u64,
}

pub(super) fn rounds(disk: &Disk, larder: &Larder, rounds: u32) -> Result<Vec<Through>> {
    let mut all = Vec::new();
    for round in 0..rounds {
        // Another image in each round, so that no cache anywhere knows it.
        let seed = u64::from(round) + 7;
        let image = ImageBuilder::new(seed).random_layers(LAYERS, LAYER, Compression::None).build();
        for server in [LARDER, REGISTRY] {
            println!("pull-through, round {}", round + 1);
            let upstream = DockerRegistry::start()?;
            push_image(upstream.address(), &image, "1")?;
            let before = sent(&upstream);
            let home = disk.path().join(format!("through{round}-{server}"));
            let one = match server {
                LARDER => {
                    let front = Contestant::larder(&larder.at(&home), Some(upstream.address()))?;
                    measure(&front, &format!("{}/", upstream.address()), &image)?
                }
                _ => measure(&Contestant::registry(&home, Some(upstream.address()))?, "", &image)?,
            };
            let fetched = settled(&upstream) - before;
            all.push(Through { server, upstream: fetched as f64 / size(&image) as f64, ..one });
            std::fs::remove_dir_all(&home).with_context(|| home.display().to_string())?;
        }
    }
    Ok(all)
}

/// `before` is what stands in front of the name of the repository.
fn measure(front: &Contestant, before: &str, image: &Image) -> Result<Through> {
    let repository = format!("/v2/{before}{REPOSITORY}");
    let mut paths = vec![format!("{repository}/manifests/1")];
    paths.extend(image.blobs.iter().map(|(blob, _)| format!("{repository}/blobs/{}", blob.digest)));
    let load = Load { address: front.address, clients: CLIENTS, paths: paths.clone(), until: Until::Done };
    let served = load.run(|| front.cpu_seconds())?;
    for (path, (blob, _)) in paths.iter().skip(1).zip(&image.blobs) {
        ensure!(hash(front.address, path)? == blob.digest, "{path} is not what is upstream");
    }
    Ok(Through {
        server: LARDER,
        wall: served.wall,
        upstream: 0.0,
        cpu_seconds: served.sampled,
        peak_bytes: front.peak_bytes()?,
    })
}

/// Manifest, config and layers.
fn size(image: &Image) -> u64 {
    let blobs = image.blobs.iter().map(|(_, content)| content.len() as u64).sum::<u64>();
    blobs + image.documents.iter().map(|(_, raw)| raw.len() as u64).sum::<u64>()
}

/// Bytes of bodies in answers to GET, from the registry's access log.
fn sent(registry: &DockerRegistry) -> u64 {
    crate::bench::pull::bytes_sent(registry)
}

/// The same once nothing more is being sent: the log has a request when it is over.
fn settled(registry: &DockerRegistry) -> u64 {
    let mut last = sent(registry);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = sent(registry);
        if now == last {
            return now;
        }
        last = now;
    }
}

const CLIENTS: usize = 100;
const LAYERS: usize = 4;
const LAYER: usize = 25_000_000;

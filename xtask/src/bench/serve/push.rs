//! Blobs on their way in: hashed, written, synced, acknowledged.

use super::content::{bytes, push_blob};
use super::contestant::Contestant;
use super::{LARDER, REGISTRY};
use crate::larder::Larder;
use anyhow::Result;
use larder_core::Digest;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// What is pushed at once.
pub(super) struct Push {
    pub(super) name: &'static str,
    clients: usize,
    blobs: u64,
    size: usize,
    /// Bytes per second and CPU seconds per gigabyte, of each round: larder, docker-registry.
    pub(super) points: [Vec<(f64, f64)>; 2],
}

pub(super) fn all() -> Vec<Push> {
    let push = |name, clients, blobs, size| Push { name, clients, blobs, size, points: Default::default() };
    vec![
        push("blobs of 1 MB, 1 client", 1, 50, 1_000_000),
        push("blobs of 1 MB, 10 clients", 10, 200, 1_000_000),
        push("a blob of 500 MB, 1 client", 1, 1, 500_000_000),
    ]
}

/// One round of each; nobody has seen these bytes before.
pub(super) fn measure(pushes: &mut [Push], round: u64, larder: &Larder, registry: &Path) -> Result<()> {
    let servers = [Contestant::larder(larder, None)?, Contestant::registry(registry, None)?];
    for (which, push) in (0..).zip(pushes.iter_mut()) {
        let seed = |number: u64| (round * 16 + which) << 32 | number;
        let blobs: Vec<(Digest, Vec<u8>)> = (0..push.blobs)
            .map(|number| bytes(seed(number + 1), push.size))
            .map(|content| (Digest::of(&content), content))
            .collect();
        for number in [LARDER, REGISTRY] {
            let point = push.run(&servers[number], blobs.clone())?;
            push.points[number].push(point);
        }
    }
    Ok(())
}

impl Push {
    fn run(&self, server: &Contestant, blobs: Vec<(Digest, Vec<u8>)>) -> Result<(f64, f64)> {
        let total = blobs.iter().map(|(_, content)| content.len() as f64).sum::<f64>();
        let queue = Mutex::new(blobs);
        let (start, cpu) = (Instant::now(), server.cpu_seconds()?);
        std::thread::scope(|scope| -> Result<()> {
            let work = || -> Result<()> {
                loop {
                    let next = queue.lock().expect("nothing panics while it holds the lock").pop();
                    let Some((digest, content)) = next else { return Ok(()) };
                    push_blob(server.address, &digest, content)?;
                }
            };
            let running: Vec<_> = (0..self.clients).map(|_| scope.spawn(work)).collect();
            running.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
        })?;
        let wall = start.elapsed().as_secs_f64();
        Ok((total / wall, (server.cpu_seconds()? - cpu) / (total / 1e9)))
    }
}

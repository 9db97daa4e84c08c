//! While somebody else writes into the store.

use crate::world::{World, anonymous, selector};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_store_keeps_nobody_else_from_going_on() {
    let world = Arc::new(World::new());
    let images: Vec<_> =
        (0..8).map(|n| world.image(n, &format!("library/app{n}"), "1", 1000 + n as usize)).collect();
    for n in 0..4 {
        world.tag(&format!("library/app{n}:1")).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(300));
    let database = world.engine.store().home().join("larder.db");
    let other = rusqlite::Connection::open(database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut asking = Vec::new();
    for (n, image) in images.iter().enumerate() {
        let (asked, digest) = (world.clone(), image.digest());
        asking.push(tokio::spawn(async move { asked.tag(&format!("library/app{n}:1")).await }));
        let asked = world.clone();
        asking.push(tokio::spawn(async move {
            let by_digest = selector(&digest.to_string());
            asked.manifest(&format!("library/app{n}"), &by_digest, &anonymous()).await
        }));
        let (asked, layer) = (world.clone(), image.layers[0].digest);
        let blob = async move { asked.blob(&format!("library/app{n}"), &layer, &anonymous()).await };
        // What it says does not matter here.
        tokio::spawn(async move { drop(blob.await) });
    }
    let mut late = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        let tick = tokio::spawn(tokio::time::sleep(Duration::from_millis(25)));
        tick.await.unwrap();
        late = late.max(began.elapsed());
    }
    let waiting = asking.iter().filter(|task| !task.is_finished()).count();
    other.execute_batch("ROLLBACK").unwrap();
    assert!(late < Duration::from_millis(450), "a timer of 25 ms took {late:?}");
    assert!(waiting > 0, "nobody waited: the lock was not in the way");
    for task in asking {
        task.await.unwrap().unwrap();
    }
}

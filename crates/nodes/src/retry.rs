//! Between two attempts at a node.

use crate::{Error, Node};
use larder_core::{Event, Progress, report};
use std::time::Duration;

/// The first pause between attempts, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Whether another attempt may end better.
pub(crate) fn may_pass(error: &Error) -> bool {
    match error {
        // A node that collects garbage in between loses blobs that were counted on.
        Error::NotThere { .. } => true,
        // Nobody makes room in the meantime.
        Error::Full { .. } | Error::NoSpace { .. } => false,
        error => error.is_passing(),
    }
}

/// Says why there is another attempt, and waits; the longer, the more attempts before were of no use.
pub(crate) async fn pause(node: &Node, error: &Error, fruitless: u32, progress: &Progress) {
    let delay = PAUSES.0.saturating_mul(1 << fruitless.min(8)).min(PAUSES.1);
    let (what, reason) = (node.name().to_owned(), report(error));
    let reason = reason.strip_prefix(&format!("{what}: ")).map_or(reason.clone(), str::to_owned);
    progress(Event::Retrying { what, reason, delay });
    tokio::time::sleep(delay).await;
}

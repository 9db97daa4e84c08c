//! Waiting for somebody else to finish the same work.

use crate::{Error, Result};
use std::thread;
use std::time::Duration;

/// Ever longer pauses, up to a bound on their sum.
#[derive(Debug)]
pub(crate) struct Patience {
    pause: Duration,
    waited: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { pause: Duration::from_millis(2), waited: Duration::ZERO }
    }

    /// Sleeps a little; fails once it slept too much. The one who works may be waiting for the network.
    pub(crate) fn wait(&mut self, name: &str) -> Result<()> {
        if self.waited >= BOUND {
            return Err(Error::Busy { name: name.into() });
        }
        thread::sleep(self.pause);
        self.waited += self.pause;
        self.pause = (self.pause * 3 / 2).min(Duration::from_millis(100));
        Ok(())
    }
}

const BOUND: Duration = Duration::from_secs(30 * 60);

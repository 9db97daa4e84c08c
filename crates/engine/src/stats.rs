//! `stats`: what the store holds and how well it served.

use crate::{Engine, Error, Result};

impl Engine {
    /// Counts, sizes, hit rates and latencies.
    pub fn stats(&self) -> Result<larder_store::Stats> {
        self.store()
            .stats()
            .map_err(|source| Error::Store { action: "cannot read the statistics".into(), source })
    }
}

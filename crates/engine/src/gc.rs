//! `gc` and `prune`: what nothing needs any more goes; what is in use stays.

use crate::{Engine, Error, Result};
use larder_materialize::Mounts;
use larder_store::MountRecord;
use std::cell::OnceCell;
use std::time::Duration;

/// Which images may go, besides those that have no name any more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// Largest size of the store; the least recently used images go first.
    pub quota: Option<u64>,
    /// Not used for so long.
    pub max_age: Option<Duration>,
    /// At most so many images.
    pub max_count: Option<usize>,
}

/// What went, or in a dry run would go.
pub type Collected = larder_store::GcReport;

/// Interrupted downloads that nobody continued for so long are dropped.
const PARTIALS: Duration = Duration::from_secs(7 * 24 * 3600);

impl Engine {
    /// The policy of the configuration.
    pub fn policy(&self) -> Policy {
        let config = self.config();
        Policy {
            quota: config.quota.map(|bytes| bytes.0),
            max_age: config.max_age.map(|span| span.0),
            max_count: config.max_count,
        }
    }

    /// Removes what nothing needs: names the policy gives up, then everything no name, mount or running operation holds.
    pub fn gc(&self, policy: &Policy, dry_run: bool) -> Result<Collected> {
        // Looked at when the first mount is asked for: its record is older than that. What cannot be seen may be there.
        let mounts = OnceCell::new();
        let is_mounted = |record: &MountRecord| match mounts.get_or_init(|| Mounts::look().ok()) {
            Some(mounts) => mounts.may_have(record),
            None => true,
        };
        let plan = larder_store::GcPlan {
            dry_run,
            quota_bytes: policy.quota,
            max_age: policy.max_age,
            max_count: policy.max_count,
            is_mounted: &is_mounted,
            remove_partials_older_than: Some(PARTIALS),
            ..larder_store::GcPlan::new(&is_mounted)
        };
        let collected = self
            .store()
            .gc(&plan)
            .map_err(|source| Error::Store { action: "cannot collect garbage".into(), source });
        if !dry_run {
            self.audit_gc(&collected);
        }
        collected
    }
}

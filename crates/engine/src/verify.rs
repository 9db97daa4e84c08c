//! `verify`: hash everything again; set aside and fetch again what is damaged.

use crate::{Engine, Error, Failure, Result};
use larder_core::{Digest, Reference};

/// The outcome of a verification.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Verified {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Unpacked layers and indexes that were hashed.
    pub derived: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// What is damaged.
    pub damaged: Vec<Damaged>,
}

impl Verified {
    /// Whether the store is whole: nothing was damaged, or everything was repaired.
    pub fn is_whole(&self) -> bool {
        self.damaged.iter().all(|damaged| damaged.repaired)
    }
}

/// One damaged thing.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Damaged {
    /// Which.
    pub what: String,
    /// What is wrong with it.
    pub problem: String,
    /// Images that need it.
    pub part_of: Vec<Reference>,
    /// Whether it is whole again.
    pub repaired: bool,
    /// Why it could not be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl Engine {
    /// Hashes everything. With `repair`, damaged blobs are moved to `quarantine/` and fetched again from where their images came
    /// from; damaged derived things (unpacked layers, indexes) are removed and made again when they are needed.
    pub async fn verify(&self, repair: bool, progress: &mut (dyn FnMut(&Digest) + Send)) -> Result<Verified> {
        let verified = self.hash_all(repair, progress).await;
        if repair {
            self.audit_repair(&verified);
        }
        verified
    }

    async fn hash_all(&self, repair: bool, progress: &mut (dyn FnMut(&Digest) + Send)) -> Result<Verified> {
        let failed = |source| Error::Store { action: "cannot verify the store".into(), source };
        let report = self.store().verify(progress).map_err(failed)?;
        let mut verified = Verified {
            blobs: report.blobs,
            derived: report.derived,
            bytes: report.bytes,
            damaged: self.rebuilt().into_iter().collect(),
        };
        for damage in &report.damage {
            let mut damaged = Damaged {
                what: damage.what.to_string(),
                problem: damage.problem.clone(),
                part_of: damage.part_of.clone(),
                repaired: false,
                failure: None,
            };
            if repair {
                match self.repair(damage).await {
                    Ok(repaired) => damaged.repaired = repaired,
                    Err(error) => damaged.failure = Some(Failure::from(&error)),
                }
            }
            verified.damaged.push(damaged);
        }
        Ok(verified)
    }

    /// What was wrong already when the store was opened.
    fn rebuilt(&self) -> Option<Damaged> {
        let larder_store::Repaired::Rebuilt { aside } = self.repaired() else { return None };
        let problem = match aside {
            Some(aside) => {
                format!("could not be opened, and is now {}; a new one was built", aside.display())
            }
            None => "was gone; a new one was built".into(),
        };
        let what = self.store().home().join("larder.db").display().to_string();
        Some(Damaged { what, problem, part_of: Vec::new(), repaired: true, failure: None })
    }
}

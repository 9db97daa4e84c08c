//! `doctor`: what this host can do, and why not.

use crate::{Engine, Result};

/// The findings.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Doctor {
    /// The driver that mounts use.
    pub driver: String,
    /// One line each.
    pub checks: Vec<Check>,
}

/// One finding.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Why, and what to do.
    pub detail: String,
}

impl Engine {
    /// Looks at the kernel, the store and the credential files.
    pub fn doctor(&self) -> Result<Doctor> {
        let mut checks = Vec::new();
        for finding in larder_materialize::probe(self.store().home()) {
            let name = format!("driver {}", finding.driver);
            checks.push(Check { name, ok: finding.usable, detail: finding.why });
        }
        let stats = self.stats()?;
        checks.push(Check {
            name: "store".into(),
            ok: stats.free_bytes > LOW_SPACE,
            detail: format!("{}, {} free", self.store().home().display(), crate::Bytes(stats.free_bytes)),
        });
        let files: Vec<String> = self
            .host()
            .credential_files
            .iter()
            .filter(|file| file.exists())
            .map(|file| file.display().to_string())
            .collect();
        checks.push(Check {
            name: "credentials".into(),
            ok: true,
            detail: if files.is_empty() {
                "no credential file; registries are asked anonymously".into()
            } else {
                files.join(", ")
            },
        });
        let certs: Vec<String> = self
            .config()
            .certs_dir
            .iter()
            .filter(|dir| dir.is_dir())
            .map(|dir| dir.display().to_string())
            .collect();
        checks.push(Check {
            name: "registry hosts".into(),
            ok: true,
            detail: if certs.is_empty() {
                "no certs.d directory; defaults apply".into()
            } else {
                certs.join(", ")
            },
        });
        Ok(Doctor { driver: self.materializer(None)?.driver().to_string(), checks })
    }
}

/// Below this, the next pull is likely to fail.
const LOW_SPACE: u64 = 1 << 30;

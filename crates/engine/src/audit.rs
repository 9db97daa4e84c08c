//! The audit log: what the verbs of this engine write into it, and how it is read and verified.

use crate::{Copied, Engine, Error, Mounted, Place, PullReport, Pushed, Result, Unpacked, Verified};
use larder_core::{Classify, Digest, Kind, Reference, Registry};
use larder_store::{
    AuditLimits, AuditLines, AuditLog, AuditMark, AuditOutcome, AuditRecord, AuditReport, AuditTrimmed,
    GcReport,
};
use std::path::Path;
use std::time::SystemTime;

impl Engine {
    /// The records of the store that are not older than `since`, oldest first.
    pub fn audit_lines(&self, since: Option<SystemTime>) -> Result<AuditLines> {
        AuditLog::read(self.store(), since).map_err(unreadable)
    }

    /// Reads the whole audit log and says what is wrong with it. `expected` is an end that was noted earlier.
    pub fn audit_verify(&self, expected: Option<&AuditMark>) -> Result<AuditReport> {
        AuditLog::verify(self.store(), expected).map_err(unreadable)
    }

    /// Removes the files of the audit log that hold no record younger than `before`, and records that.
    pub fn audit_trim(&self, before: SystemTime) -> Result<AuditTrimmed> {
        let log = AuditLog::open(self.store(), AuditLimits::default());
        log.trim(before, &self.about("audit-trim", None))
            .map_err(|source| Error::Store { action: "cannot trim the audit log".into(), source })
    }

    /// Records every image of a pull; `before` is what their names stood for, in the same order.
    pub(crate) fn audit_pull(&self, before: &[(Reference, Option<Digest>)], report: &PullReport) {
        let records = before.iter().zip(&report.images).map(|((_, before), image)| {
            let mut record = self.about("pull", Some(&image.reference));
            if let Some(pulled) = &image.pulled {
                (record.digest, record.bytes) = (Some(pulled.digest), pulled.downloaded);
                record.before = before.filter(|before| *before != pulled.digest);
            }
            if let Some(failure) = &image.failure {
                fail(&mut record, failure.kind);
            }
            record
        });
        self.audit(&records.collect::<Vec<_>>(), false);
    }

    /// Records a push.
    pub(crate) fn audit_push(&self, target: &Reference, pushed: &Result<Pushed>) {
        let mut record = self.about("push", Some(target));
        if let Some(pushed) = end(&mut record, pushed) {
            (record.digest, record.bytes) = (Some(pushed.digest), pushed.sent_bytes);
        }
        self.audit(&[record], true);
    }

    /// Records a copy; `before` is what its name in the store stood for, if it has one.
    pub(crate) fn audit_copy(
        &self,
        from: &Place,
        to: &Place,
        before: &[(Reference, Option<Digest>)],
        copied: &Result<Copied>,
    ) {
        let mut record = match to {
            Place::Store(reference) | Place::Registry(reference) => {
                let mut record = self.about("copy", Some(reference));
                record.reference = Some(format!("{} from {from}", reference.selector()));
                record
            }
            _ => {
                let mut record = self.about("copy", None);
                record.reference = Some(format!("{to} from {from}"));
                record
            }
        };
        if let Some(copied) = end(&mut record, copied) {
            (record.digest, record.bytes) = (Some(copied.digest), copied.sent_bytes);
            let before = before.first().and_then(|(_, before)| *before);
            record.before = before.filter(|before| *before != copied.digest);
        }
        self.audit(&[record], true);
    }

    /// Records that names changed what they stand for; `before` is what they stood for.
    pub(crate) fn audit_names(
        &self,
        action: &'static str,
        names: &[(Reference, Option<Digest>)],
        changed: &Result<()>,
    ) {
        let records = names.iter().map(|(name, before)| {
            let mut record = self.about(action, Some(name));
            record.before = *before;
            if end(&mut record, changed).is_some() {
                record.digest = self.stands_for(name);
            }
            record
        });
        self.audit(&records.collect::<Vec<_>>(), true);
    }

    /// What names stand for now, to be recorded after they changed. Nothing where nothing is recorded.
    pub(crate) fn before(&self, names: &[Reference]) -> Vec<(Reference, Option<Digest>)> {
        match self.audit_log().is_some() {
            true => names.iter().map(|name| (name.clone(), self.stands_for(name))).collect(),
            false => Vec::new(),
        }
    }

    /// Records a mount.
    pub(crate) fn audit_mount(&self, reference: &Reference, dir: &Path, mounted: &Result<Mounted>) {
        let mut record = self.about("mount", Some(reference));
        record.reference = Some(format!("{} at {}", reference.selector(), dir.display()));
        if let Some(mounted) = end(&mut record, mounted) {
            record.digest = Some(mounted.digest);
        }
        self.audit(&[record], false);
    }

    /// Records the end of a mount.
    pub(crate) fn audit_unmount(&self, dir: &Path, unmounted: &Result<()>) {
        let mut record = self.about("unmount", None);
        record.reference = Some(dir.display().to_string());
        end(&mut record, unmounted);
        self.audit(&[record], false);
    }

    /// Records that an image was unpacked into a directory.
    pub(crate) fn audit_unpack(&self, reference: &Reference, dir: &Path, unpacked: &Result<Unpacked>) {
        let mut record = self.about("unpack", Some(reference));
        record.reference = Some(format!("{} to {}", reference.selector(), dir.display()));
        if let Some(unpacked) = end(&mut record, unpacked) {
            (record.digest, record.bytes) = (Some(unpacked.digest), unpacked.bytes);
        }
        self.audit(&[record], false);
    }

    /// Records that somebody logged in to or out of a registry.
    pub(crate) fn audit_login<T>(&self, action: &'static str, registry: &Registry, result: &Result<T>) {
        let mut record = self.about(action, None);
        record.reference = Some(registry.to_string());
        end(&mut record, result);
        self.audit(&[record], true);
    }

    /// Records a collection, and every name that it gave up.
    pub(crate) fn audit_gc(&self, collected: &Result<GcReport>) {
        let mut record = self.about("gc", None);
        let mut records = Vec::new();
        if let Some(collected) = end(&mut record, collected) {
            record.bytes = collected.freed_bytes;
            records.extend(collected.names.iter().map(|name| self.about("gc", Some(name))));
            records.extend(collected.cached.iter().map(|(repository, selector)| {
                let mut record = self.about("gc", None);
                (record.repository, record.reference) =
                    (Some(repository.to_string()), Some(selector.clone()));
                record
            }));
        }
        records.push(record);
        self.audit(&records, true);
    }

    /// Records a repair, and what was or could not be repaired.
    pub(crate) fn audit_repair(&self, verified: &Result<Verified>) {
        let mut record = self.about("repair", None);
        let mut records = Vec::new();
        if let Some(verified) = end(&mut record, verified) {
            record.bytes = verified.bytes;
            records.extend(verified.damaged.iter().map(|damaged| {
                let mut record = self.about("repair", None);
                record.reference = Some(damaged.what.clone());
                if !damaged.repaired {
                    fail(&mut record, damaged.failure.as_ref().map_or(Kind::Corrupt, |failure| failure.kind));
                }
                record
            }));
        }
        records.push(record);
        self.audit(&records, true);
    }

    /// Records what was done with tool packages: each as `NAME VERSION ARCH` with the digest of its archive.
    pub(crate) fn audit_packages<'p>(
        &self,
        action: &'static str,
        packages: impl IntoIterator<Item = (String, std::result::Result<(Digest, u64), Kind>)> + 'p,
    ) {
        let records = packages.into_iter().map(|(title, outcome)| {
            let mut record = self.about(action, None);
            record.reference = Some(title);
            match outcome {
                Ok((digest, bytes)) => (record.digest, record.bytes) = (Some(digest), bytes),
                Err(kind) => fail(&mut record, kind),
            }
            record
        });
        self.audit(&records.collect::<Vec<_>>(), true);
    }

    /// A record of what the user of this machine does.
    pub(crate) fn about(&self, action: &'static str, reference: Option<&Reference>) -> AuditRecord {
        let mut record = AuditRecord::new((self.host().clock)(), action);
        record.actor.clone_from(&self.host().actor);
        record.agent = Some(self.host().user_agent.clone());
        if let Some(reference) = reference {
            record.repository = Some(reference.name());
            record.reference = Some(reference.selector());
        }
        record
    }

    /// What a name stands for. Only to be recorded, so a failure is not one of the operation.
    fn stands_for(&self, name: &Reference) -> Option<Digest> {
        self.store().name(name).ok().flatten().map(|name| name.descriptor.digest)
    }

    /// Makes the log where there is none, beside what is going to be recorded: that syncs.
    pub(crate) fn prepare_audit(&self) {
        let engine = self.clone();
        tokio::task::spawn_blocking(move || {
            // What is wrong with the log is told when something is written.
            engine.audit_log().map(AuditLog::prepare)
        });
    }

    /// Writes records. The operation is done by now: that it cannot be recorded is told, and does not undo it.
    fn audit(&self, records: &[AuditRecord], durable: bool) {
        let Some(log) = self.audit_log() else { return };
        if let Err(error) = log.append(records, durable) {
            let message = format!("cannot write the audit log: {}", larder_core::report(&error));
            (self.progress())(larder_core::Event::Warning { message });
        }
    }
}

/// Notes how it ended; returns what came of it.
fn end<'a, T>(record: &mut AuditRecord, result: &'a Result<T>) -> Option<&'a T> {
    result.as_ref().map_err(|error| fail(record, error.kind())).ok()
}

fn fail(record: &mut AuditRecord, kind: Kind) {
    record.outcome = if kind == Kind::Denied { AuditOutcome::Denied } else { AuditOutcome::Failed };
    record.reason = Some(kind.to_string().into());
}

fn unreadable(source: larder_store::Error) -> Error {
    Error::Store { action: "cannot read the audit log".into(), source }
}

//! From requests to the audit log.

use larder_server::{Record, Sink};
use larder_store::{AuditOutcome, AuditRecord, Auditor};
use std::sync::Arc;

/// A sink that writes down every request that is about content or accounts.
pub(super) fn sink(auditor: Arc<Auditor>) -> Sink {
    Arc::new(move |record| {
        if let Some(entry) = entry(record) {
            // Refused only once the server is leaving, or counted as dropped; `/metrics` tells.
            let _ = auditor.offer(entry);
        }
    })
}

fn entry(record: &Record) -> Option<AuditRecord> {
    let action = match record.route {
        "health" | "ready" | "metrics" | "keys" => return None,
        // `docker login` asks for this with its credentials.
        "base" if record.caller.is_none() && record.status == 200 => return None,
        "base" => "login",
        "token" => "token",
        "catalog" => "list",
        "tags" | "referrers" => "list",
        "upload" if record.path.ends_with("/uploads/") && record.digest.is_some() => "push",
        "other" => "unknown",
        _ => record.action.map_or("unknown", larder_server::Action::as_str),
    };
    let (outcome, reason) = match record.status {
        _ if record.broken => (AuditOutcome::Failed, Some("broken off")),
        401 => (AuditOutcome::Denied, Some("unauthenticated")),
        403 => (AuditOutcome::Denied, Some("denied")),
        0..=399 => (AuditOutcome::Allowed, None),
        404 => (AuditOutcome::Failed, Some("not found")),
        400..=499 => (AuditOutcome::Failed, Some("invalid")),
        _ => (AuditOutcome::Failed, Some("failed")),
    };
    Some(AuditRecord {
        time: record.time,
        request: record.id.clone(),
        actor: record.caller.clone(),
        login: record.login.as_str().into(),
        address: Some(record.address),
        agent: record.agent.clone(),
        action: action.into(),
        repository: record.repository.as_ref().map(ToString::to_string),
        reference: record.reference.clone(),
        digest: record.digest,
        before: record.before,
        bytes: record.sent + record.received,
        outcome,
        status: record.status,
        reason: reason.map(Into::into),
    })
}

//! The audit log: what is written is there, in one chain, whoever writes.

use crate::world::World;
use larder_store::{
    AuditLimits, AuditLog, AuditNote, AuditOutcome, AuditRecord, Auditor, AuditorOptions, RepairCause, Store,
};
use std::time::{Duration, SystemTime};

fn record(number: u64) -> AuditRecord {
    let mut record = AuditRecord::new(SystemTime::UNIX_EPOCH + Duration::from_secs(number), "pull");
    record.repository = Some("docker.io/library/debian".into());
    record.reference = Some("12".into());
    record.actor = Some("alice".into());
    record.bytes = number;
    record
}

fn lines(store: &Store) -> Vec<larder_store::AuditLine> {
    AuditLog::read(store, None).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_appended_is_read_back_in_order() {
    let world = World::new();
    let store = world.open();
    let log = AuditLog::open(&store, AuditLimits::default());
    log.append(&[record(1), record(2)], false).unwrap();
    let mut odd = record(3);
    odd.outcome = AuditOutcome::Denied;
    odd.address = Some("2001:db8::1".parse().unwrap());
    odd.reason = Some("denied".into());
    odd.status = 403;
    odd.digest = Some(larder_core::Digest::of(b"x"));
    odd.agent = Some("evil\n\"}\u{2028}\u{1b}[2J\u{202e}".into());
    log.append(std::slice::from_ref(&odd), true).unwrap();
    let lines = lines(&store);
    assert_eq!(lines.iter().map(|line| line.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(lines[2].record, odd);
    assert_eq!(lines[1].previous, lines[0].hash);
}

#[test]
fn an_auditor_writes_what_it_was_given_and_says_so() {
    let world = World::new();
    let store = world.open();
    let auditor = Auditor::start(&store, AuditLimits::default(), AuditorOptions::default()).unwrap();
    for number in 0..5_000 {
        auditor.record(record(number)).unwrap();
    }
    auditor.record_durably(record(5_000)).unwrap().wait().unwrap();
    auditor.close().unwrap();
    assert_eq!((auditor.counters().written, auditor.counters().dropped), (5_001, 0));
    let lines = lines(&store);
    assert!(lines.iter().map(|line| line.record.bytes).eq(0..=5_000));
    assert!(auditor.record(record(1)).is_err());
}

#[test]
fn a_torn_line_is_repaired_by_the_next_append() {
    let world = World::new();
    let store = world.open();
    AuditLog::open(&store, AuditLimits::default()).append(&[record(1)], false).unwrap();
    let file = world.home.join("audit").join(&world.files("audit")[0]);
    let line = std::fs::read_to_string(&file).unwrap();
    let hash = &line[line.len() - 67..line.len() - 3];
    let torn = format!("{line}{{\"format\":1,\"sequence\":2,\"previous\":\"{hash}\",\"ti");
    std::fs::write(&file, torn).unwrap();
    AuditLog::open(&store, AuditLimits::default()).append(&[record(2)], false).unwrap();
    let lines = lines(&store);
    assert_eq!(lines.len(), 3);
    let Some(AuditNote::Repaired { cause, missing: 0, .. }) = lines[1].note else { panic!("{lines:?}") };
    assert_eq!(cause, RepairCause::Crash);
    assert_eq!(lines[1].previous, lines[0].hash);
}

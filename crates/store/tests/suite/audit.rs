//! The audit log: what is written is there, in one chain, whoever writes.

use crate::full_disk::{Small, fill};
use crate::world::{World, noise};
use larder_core::{Classify as _, Digest, Kind};
use larder_store::{
    AuditLimits, AuditLine, AuditLog, AuditNote, AuditOutcome, AuditRecord, Auditor, AuditorOptions, Options,
    Store, WhenFull,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Tells this program that it is a child, and in which store to write.
const CHILD: &str = "LARDER_STORE_TEST_AUDIT";
const THREADS: u64 = 4;
const EACH: u64 = 1_250;
/// About 130 records.
const SMALL: AuditLimits = AuditLimits { file_bytes: 50_000 };

fn record(number: u64) -> AuditRecord {
    let mut record = AuditRecord::new(SystemTime::UNIX_EPOCH + Duration::from_secs(number), "pull");
    record.repository = Some("docker.io/library/debian".into());
    record.reference = Some("12".into());
    record.actor = Some("alice".into());
    record.bytes = number;
    record
}

fn lines(store: &Store) -> Vec<AuditLine> {
    AuditLog::read(store, None).unwrap().collect::<Result<_, _>>().unwrap()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_appended_is_read_back_in_order() {
    let world = World::new();
    let store = world.open();
    let log = AuditLog::open(&store, AuditLimits::default());
    log.append(&[record(1), record(2)], false).unwrap();
    let mut odd = record(3);
    odd.request = "01H".into();
    odd.outcome = AuditOutcome::Denied;
    odd.address = Some("2001:db8::1".parse().unwrap());
    odd.reason = Some("denied".into());
    odd.status = 403;
    odd.digest = Some(Digest::of(b"x"));
    odd.before = Some(format!("sha512:{}", "a".repeat(128)).parse().unwrap());
    odd.agent = Some("evil\n\"}\\\u{2028}\u{85}\u{1b}[2J\u{202e}ä€\u{10ffff}".into());
    log.append(std::slice::from_ref(&odd), true).unwrap();
    let lines = lines(&store);
    assert_eq!(lines.iter().map(|line| line.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(lines[2].record, odd);
    assert_eq!(lines[1].previous, lines[0].hash);
    let text = fs::read_to_string(world.home.join("audit/00000000000000000001.jsonl")).unwrap();
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{202e}')));
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn what_clients_send_is_cut_to_a_length() {
    let world = World::new();
    let store = world.open();
    let mut long = record(1);
    let endless = "€\u{1}".repeat(1 << 20);
    (long.agent, long.repository) = (Some(endless.clone()), Some(endless.clone()));
    (long.actor, long.reference) = (Some(endless.clone()), Some(endless.clone()));
    (long.request, long.reason) = (endless.clone(), Some(endless.into()));
    AuditLog::open(&store, AuditLimits::default()).append(&[long, record(2)], false).unwrap();
    let path = world.home.join("audit/00000000000000000001.jsonl");
    assert!(fs::metadata(path).unwrap().len() < 12_000);
    let lines = lines(&store);
    assert_eq!(lines.len(), 2, "a line that was cut is still a record");
    let agent = lines[0].record.agent.as_deref().unwrap();
    assert!(agent.len() <= 256 + '…'.len_utf8() && agent.ends_with('…'), "{agent}");
    assert!(AuditLog::verify(&store, None).unwrap().is_whole());
}

#[test]
fn nobody_else_may_read_it() {
    let world = World::new();
    let store = world.open();
    assert!(!world.home.join("audit").exists() || world.files("audit").is_empty(), "made when it is needed");
    assert!(AuditLog::verify(&store, None).unwrap().is_whole());
    assert!(lines(&store).is_empty());
    AuditLog::open(&store, SMALL).append(&[record(1)], false).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&world.home.join("audit")), 0o700);
    for file in world.files("audit") {
        assert_eq!(mode(&world.home.join("audit").join(&file)), 0o600, "{file}");
    }
}

#[test]
fn a_new_file_continues_the_chain() {
    let world = World::new();
    let store = world.open();
    let log = AuditLog::open(&store, SMALL);
    for number in 0..1_000 {
        log.append(&[record(number)], false).unwrap();
    }
    let files = world.files("audit");
    assert!(files.len() > 6, "{files:?}");
    for file in &files {
        assert!(fs::metadata(world.home.join("audit").join(file)).unwrap().len() <= SMALL.file_bytes);
    }
    let report = AuditLog::verify(&store, None).unwrap();
    assert_eq!((report.records, report.files, report.findings), (1_000, files.len() as u64 - 1, Vec::new()));
    assert!(lines(&store).windows(2).all(|pair| pair[1].previous == pair[0].hash));
}

#[test]
fn what_is_older_is_not_shown_and_what_comes_later_is() {
    let world = World::new();
    let store = world.open();
    let log = AuditLog::open(&store, SMALL);
    let numbers: Vec<AuditRecord> = (0..1_000).map(record).collect();
    for batch in numbers.chunks(10) {
        log.append(batch, false).unwrap();
    }
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(777);
    let mut shown = AuditLog::read(&store, Some(since)).unwrap();
    let bytes = |shown: &mut larder_store::AuditLines| -> Vec<u64> {
        shown.map(|line| line.unwrap().record.bytes).collect()
    };
    assert_eq!(bytes(&mut shown), (777..1_000).collect::<Vec<_>>());
    assert!(shown.next().is_none());
    for number in 1_000..1_300 {
        log.append(&[record(number)], false).unwrap();
    }
    assert_eq!(bytes(&mut shown), (1_000..1_300).collect::<Vec<_>>(), "over the end of files");
}

#[test]
fn half_a_line_is_shown_when_it_is_whole() {
    let world = World::new();
    let store = world.open();
    let log = AuditLog::open(&store, AuditLimits::default());
    log.append(&[record(1), record(2)], false).unwrap();
    let path = world.home.join("audit/00000000000000000001.jsonl");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let mut shown = AuditLog::read(&store, None).unwrap();
    assert_eq!(shown.by_ref().count(), 1);
    fs::write(&path, &whole).unwrap();
    assert_eq!(shown.by_ref().map(|line| line.unwrap().sequence).collect::<Vec<_>>(), [2]);
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
    auditor.record(record(5_001)).unwrap();
    auditor.close().unwrap();
    assert_eq!((auditor.counters().written, auditor.counters().dropped), (5_002, 0));
    assert!(lines(&store).iter().map(|line| line.record.bytes).eq(0..=5_001));
    assert!(auditor.record(record(1)).is_err(), "it is closed");
}

#[test]
fn a_full_disk_costs_records_only_if_nobody_may_wait_and_then_it_is_told() {
    let world = World::new();
    let _disk = Small::mount(&world.home);
    let store = world.open();
    let options = AuditorOptions { when_full: WhenFull::DropAndCount, ..AuditorOptions::default() };
    let auditor = Auditor::start(&store, AuditLimits::default(), options).unwrap();
    auditor.record_durably(record(1)).unwrap().wait().unwrap();
    let filler = world.home.join("rw/filler");
    fill(&filler);
    // The last page of the file has some room.
    let log = AuditLog::open(&store, AuditLimits::default());
    let beside = std::iter::repeat_with(|| log.append(&[record(0)], false)).take_while(Result::is_ok).count();
    for number in 2..=101 {
        auditor.record(record(number)).unwrap();
    }
    let error = auditor.record_durably(record(102)).unwrap().wait().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", larder_core::report(&*error));
    assert!(auditor.trouble().is_some());
    wait_for("the rest to be dropped", || auditor.counters().dropped == 101);
    fs::remove_file(&filler).unwrap();
    auditor.record_durably(record(103)).unwrap().wait().unwrap();
    assert!(auditor.trouble().is_none());
    auditor.close().unwrap();
    let counters = auditor.counters();
    assert!(counters.failed > 0);
    assert_eq!((counters.written, counters.dropped, counters.waiting), (2, 101, 0));
    let lines = lines(&store);
    let told: u64 = lines
        .iter()
        .map(|line| if let Some(AuditNote::Lost { records }) = line.note { records } else { 0 })
        .sum();
    assert_eq!(told, 101);
    assert_eq!(lines.iter().filter(|line| line.note.is_none()).count(), 2 + beside);
    let report = AuditLog::verify(&store, None).unwrap();
    assert!(report.is_whole(), "{report:#?}");
    assert!(report.findings[0].problem.contains("records before it could not be written"), "{report:#?}");
}

#[test]
fn a_full_disk_costs_no_record_if_everybody_waits() {
    let world = World::new();
    let _disk = Small::mount(&world.home);
    let store = world.open();
    let patience = Duration::from_millis(50);
    let options =
        AuditorOptions { when_full: WhenFull::Block { patience }, queue: 100, ..AuditorOptions::default() };
    let auditor = Auditor::start(&store, AuditLimits::default(), options).unwrap();
    auditor.record_durably(record(0)).unwrap().wait().unwrap();
    let filler = world.home.join("rw/filler");
    fill(&filler);
    let mut taken = 1;
    // The writer has at most as many in its hands as are in the queue.
    while auditor.record(record(taken)).is_ok() {
        taken += 1;
        assert!(taken < 400, "nobody is refused");
    }
    assert!(taken > 100);
    assert!(auditor.offer(record(0)).is_err());
    assert_eq!(auditor.counters().dropped, 1, "the one that was refused after waiting");
    fs::remove_file(&filler).unwrap();
    wait_for("the queue", || auditor.counters().waiting == 0);
    auditor.close().unwrap();
    let lines = lines(&store);
    let kept: Vec<u64> =
        lines.iter().filter(|line| line.note.is_none()).map(|line| line.record.bytes).collect();
    assert_eq!(kept, (0..taken).collect::<Vec<_>>());
    assert!(AuditLog::verify(&store, None).unwrap().is_whole());
}

#[test]
fn a_log_on_a_full_disk_takes_all_of_a_batch_or_nothing() {
    let world = World::new();
    let _disk = Small::mount(&world.home);
    let store = world.open();
    let log = AuditLog::open(&store, AuditLimits::default());
    log.append(&[record(0)], false).unwrap();
    let filler = world.home.join("rw/filler");
    fill(&filler);
    let batch: Vec<AuditRecord> = (1..=100).map(record).collect();
    assert_eq!(log.append(&batch, false).unwrap_err().kind(), Kind::Unavailable);
    let report = AuditLog::verify(&store, None).unwrap();
    assert_eq!((report.records, report.findings), (1, Vec::new()));
    fs::remove_file(&filler).unwrap();
    log.append(&batch, false).unwrap();
    assert!(lines(&store).iter().map(|line| line.record.bytes).eq(0..=100));
}

/// Not a test by itself: what a child does.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how the parent talks to the child")]
    let Some(task) = std::env::var_os(CHILD) else { return };
    let task = task.into_string().unwrap();
    let (task, home) = task.split_once(' ').unwrap();
    let options = Options { boot_id: "first".into(), clock: Arc::new(SystemTime::now) };
    let store = Store::open(Path::new(home), options).unwrap();
    match task {
        "append" => append(&store),
        _ => append_for_ever(&store),
    }
}

fn spawn(task: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "audit::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{task} {}", home.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Half of the threads through one handle, and one by itself.
fn append(store: &Store) {
    let shared = AuditLog::open(store, SMALL);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (own, shared) = (AuditLog::open(store, SMALL), &shared);
            scope.spawn(move || {
                let log = if thread % 2 == 0 { shared } else { &own };
                let batches = [1, 3, 7];
                let mut number = 0;
                while number < EACH {
                    let size = batches[number as usize % batches.len()].min(EACH - number);
                    let records: Vec<AuditRecord> = (number..number + size)
                        .map(|number| {
                            let mut record = record(number);
                            record.actor = Some(format!("{}/{thread}", std::process::id()));
                            record
                        })
                        .collect();
                    log.append(&records, number % 500 == 0).unwrap();
                    number += size;
                }
            });
        }
    });
}

#[test]
fn two_processes_with_many_threads_write_one_chain() {
    let world = World::new();
    let store = world.open();
    let children = [spawn("append", &world.home), spawn("append", &world.home)];
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let report = AuditLog::verify(&store, None).unwrap();
    assert_eq!((report.records, report.findings), (2 * THREADS * EACH, Vec::new()));
    assert!(report.files > 50, "{} files", report.files);
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for line in lines(&store) {
        let actor = line.record.actor.unwrap();
        let expected = next.entry(actor).or_default();
        assert_eq!(line.record.bytes, *expected, "what one thread writes stays in order");
        *expected += 1;
    }
    assert_eq!(next.len() as u64, 2 * THREADS);
}

fn append_for_ever(store: &Store) {
    let options = AuditorOptions { sync_every: Duration::from_millis(20), ..AuditorOptions::default() };
    let auditor = Auditor::start(store, SMALL, options).unwrap();
    let log = AuditLog::open(store, SMALL);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                auditor.record(record(number)).unwrap();
            }
        });
        let batch: Vec<AuditRecord> = (0..60).map(record).collect();
        for number in 0.. {
            log.append(&batch[..number % 60], false).unwrap();
        }
    });
}

/// Records of the log, by the name and the lines of its last file.
fn lines_from(world: &World) -> u64 {
    if !world.home.join("audit").exists() {
        return 0;
    }
    let files = world.files("audit");
    let Some(last) = files.iter().rev().find(|name| name.ends_with(".jsonl")) else { return 0 };
    let text = fs::read(world.home.join("audit").join(last)).unwrap();
    let first: u64 = last.trim_end_matches(".jsonl").parse().unwrap();
    first - 1 + text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[test]
fn a_writer_may_be_killed_at_any_moment() {
    let world = World::new();
    let store = world.open();
    let mut delays = noise(u64::from(std::process::id()), 64).into_iter();
    let mut records = 0;
    for round in 0..24 {
        // Of the lines of a round before, some may be what a killed writer left unfinished.
        let before = lines_from(&world);
        let child = spawn("forever", &world.home);
        wait_for("the child to write", || lines_from(&world) > before);
        std::thread::sleep(Duration::from_micros(u64::from(delays.next().unwrap()) * 100));
        let mut child = child;
        child.kill().unwrap();
        child.wait().unwrap();
        let report = AuditLog::verify(&store, None).unwrap();
        assert!(report.is_whole(), "round {round}: {report:#?}");
        assert!(report.records > records, "round {round}");
        AuditLog::open(&store, SMALL).append(&[record(1)], true).unwrap();
        let report = AuditLog::verify(&store, None).unwrap();
        assert!(report.is_whole(), "round {round}: {report:#?}");
        records = report.records;
    }
}

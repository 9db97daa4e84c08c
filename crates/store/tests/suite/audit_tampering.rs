//! Whoever changes the audit log is found out, and what a crash leaves is not taken for that.

use crate::world::World;
use larder_store::{
    AuditFinding, AuditLimits, AuditLog, AuditNote, AuditRecord, AuditReport, Damaged, Error, RepairCause,
    Store,
};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Three files of three records each; the last one is written to.
struct Log {
    world: World,
    store: Store,
    files: Vec<PathBuf>,
}

/// Three records fit.
const LIMITS: AuditLimits = AuditLimits { file_bytes: 1_200 };

fn record(number: u64) -> AuditRecord {
    let mut record = AuditRecord::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + number), "pull");
    record.repository = Some("docker.io/library/debian".into());
    record.reference = Some(format!("number-{number}"));
    record.actor = Some("alice".into());
    record
}

impl Log {
    fn new() -> Self {
        let world = World::new();
        let store = world.open();
        let log = AuditLog::open(&store, LIMITS);
        for number in 1..=9 {
            log.append(&[record(number)], false).unwrap();
        }
        let log = Self { files: files(&world), world, store };
        assert_eq!(log.files.len(), 3, "{:?}", log.files);
        let report = log.verify();
        assert_eq!((report.findings, report.records, report.files), (Vec::new(), 9, 3));
        log
    }

    fn verify(&self) -> AuditReport {
        AuditLog::verify(&self.store, None).unwrap()
    }

    fn append(&self) {
        AuditLog::open(&self.store, LIMITS).append(&[record(100)], false).unwrap();
    }

    fn edit(&self, file: usize, change: impl FnOnce(&mut Vec<String>)) {
        let text = fs::read_to_string(&self.files[file]).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&self.files[file], text).unwrap();
    }

    /// The one thing that is wrong, also after somebody innocent has written: file, line, record, problem.
    fn only_finding(&self) -> (usize, Option<u64>, Option<u64>, String) {
        let found = self.tampered();
        assert_eq!(found.len(), 1, "{found:#?}");
        let finding = &found[0];
        let file = self.files.iter().position(|file| *file == finding.file).unwrap();
        self.append();
        assert!(!self.verify().is_whole(), "forgotten after the next record");
        (file, finding.line, finding.sequence, finding.problem.clone())
    }

    fn tampered(&self) -> Vec<AuditFinding> {
        let report = self.verify();
        assert!(!report.is_whole());
        report.findings.into_iter().filter(|finding| finding.tampered).collect()
    }
}

fn files(world: &World) -> Vec<PathBuf> {
    let names = world.files("audit").into_iter().filter(|name| name.ends_with(".jsonl"));
    names.map(|name| world.home.join("audit").join(name)).collect()
}

#[test]
fn a_changed_byte_is_named() {
    let log = Log::new();
    log.edit(1, |lines| lines[1] = lines[1].replace("alice", "malic"));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (1, Some(2), Some(5)));
    assert!(problem.starts_with("was changed: it hashes to "), "{problem}");
}

#[test]
fn a_changed_byte_in_the_last_record_is_named() {
    let log = Log::new();
    log.edit(2, |lines| lines[2] = lines[2].replace("alice", "malic"));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (2, Some(3), Some(9)));
    assert!(problem.starts_with("was changed"), "{problem}");
}

#[test]
fn a_record_that_is_hashed_again_does_not_fit_its_neighbour() {
    let log = Log::new();
    log.edit(1, |lines| lines[1] = sealed(&lines[1].replace("alice", "malic")));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (1, Some(3), Some(6)));
    assert_eq!(problem, "does not follow record 5: one of the two was changed");
    // The last one has no neighbour; head knows it.
    let log = Log::new();
    log.edit(2, |lines| lines[2] = sealed(&lines[2].replace("alice", "malic")));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (2, Some(3), Some(9)));
    assert!(problem.starts_with("is not the record that was written"), "{problem}");
}

/// The line with the hash that it should have.
fn sealed(line: &str) -> String {
    let body = &line[..line.len() - 75];
    format!("{body},\"hash\":\"{}\"}}", larder_core::Digest::of(body.as_bytes()).hex())
}

#[test]
fn a_deleted_line_is_named() {
    let log = Log::new();
    log.edit(1, |lines| drop(lines.remove(1)));
    assert_eq!(
        log.only_finding(),
        (1, Some(2), Some(6), "shows that record 5 before it is missing".to_owned())
    );
}

#[test]
fn the_first_line_of_a_file_and_of_the_log_may_not_go_either() {
    let log = Log::new();
    log.edit(1, |lines| drop(lines.remove(0)));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (1, Some(1), Some(5)));
    assert!(problem.starts_with("shows that record 4 before it is missing"), "{problem}");
    let log = Log::new();
    log.edit(0, |lines| drop(lines.remove(0)));
    let found = log.tampered();
    assert!(
        found.iter().any(|finding| finding.problem.contains("records 1 to 1 before it are missing")),
        "{found:#?}"
    );
}

#[test]
fn swapped_lines_are_named() {
    let log = Log::new();
    log.edit(1, |lines| lines.swap(0, 1));
    let found = log.tampered();
    let told: Vec<_> =
        found.iter().map(|finding| (finding.line, finding.sequence, finding.problem.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                Some(1),
                Some(5),
                "shows that record 4 before it is missing: a file, or the end of one, was removed"
            ),
            (Some(2), Some(4), "is out of order: record 4 comes after record 5"),
        ]
    );
}

#[test]
fn a_repeated_line_is_named() {
    let log = Log::new();
    log.edit(1, |lines| lines.insert(1, lines[0].clone()));
    assert_eq!(log.only_finding(), (1, Some(2), Some(4), "repeats record 4".to_owned()));
}

#[test]
fn a_removed_end_is_named() {
    let log = Log::new();
    log.edit(2, |lines| lines.truncate(1));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (2, None, Some(8)));
    assert_eq!(problem, "lacks the last 2 records: the end of the log was removed");
    let said = log.tampered();
    assert!(said[0].problem.contains("2 records before it were removed"), "{said:#?}");
}

#[test]
fn an_end_that_is_removed_in_the_middle_of_a_record_is_no_crash() {
    let log = Log::new();
    let length = fs::metadata(&log.files[2]).unwrap().len();
    fs::File::options().write(true).open(&log.files[2]).unwrap().set_len(length - 10).unwrap();
    assert!(!log.verify().is_whole());
    log.append();
    assert!(!log.verify().is_whole());
}

#[test]
fn a_removed_file_is_named() {
    for (removed, expected) in [
        (0, "records 1 to 3 before it are missing"),
        (1, "records 4 to 6 before it are missing"),
        (2, "lacks the last 3 records"),
    ] {
        let log = Log::new();
        fs::remove_file(&log.files[removed]).unwrap();
        let found = log.tampered();
        assert!(found.len() == 1 && found[0].problem.contains(expected), "{found:#?}");
        log.append();
        assert!(!log.verify().is_whole(), "forgotten after the next record");
    }
}

#[test]
fn an_emptied_file_is_a_removed_file() {
    for emptied in 0..3 {
        let log = Log::new();
        fs::write(&log.files[emptied], b"").unwrap();
        assert!(!log.verify().is_whole());
        log.append();
        assert!(!log.verify().is_whole());
    }
}

#[test]
fn a_forged_record_with_a_wrong_hash_is_named() {
    let log = Log::new();
    log.edit(2, |lines| lines.push(lines[2].replace("\"sequence\":9", "\"sequence\":10")));
    let (file, line, sequence, problem) = log.only_finding();
    assert_eq!((file, line, sequence), (2, Some(4), Some(10)));
    assert!(problem.starts_with("was changed"), "{problem}");
}

#[test]
fn what_is_no_beginning_of_a_record_is_no_crash() {
    for rest in [
        "x",
        "{\"format\":1,\"sequence\":11,\"previous\":\"",
        "{\"format\":1,\"sequence\":10,\"previous\":\"0",
    ] {
        let log = Log::new();
        let mut content = fs::read(&log.files[2]).unwrap();
        content.extend_from_slice(rest.as_bytes());
        fs::write(&log.files[2], content).unwrap();
        let (file, line, sequence, problem) = log.only_finding();
        assert_eq!((file, line, sequence, problem.as_str()), (2, Some(4), Some(10), "has no end"), "{rest}");
    }
}

#[test]
fn a_forged_record_in_the_middle_is_named() {
    let log = Log::new();
    log.edit(1, |lines| lines.insert(1, "{\"format\":1}".into()));
    let (file, line, _, problem) = log.only_finding();
    assert_eq!((file, line, problem.as_str()), (1, Some(2), "is not a record"));
}

#[test]
fn a_log_without_head_is_told_now_and_later() {
    for head in [None, Some(&b"rubbish"[..]), Some(&b""[..])] {
        let log = Log::new();
        let path = log.world.home.join("audit/head");
        match head {
            None => fs::remove_file(&path).unwrap(),
            Some(content) => fs::write(&path, content).unwrap(),
        }
        assert!(log.tampered()[0].problem.starts_with("is missing or damaged"));
        log.append();
        assert!(log.tampered()[0].problem.contains("head was missing"));
    }
}

#[test]
fn a_process_that_runs_notices_that_the_log_is_gone() {
    let log = Log::new();
    let writer = AuditLog::open(&log.store, LIMITS);
    writer.append(&[record(10)], false).unwrap();
    fs::remove_dir_all(log.world.home.join("audit")).unwrap();
    writer.append(&[record(11)], false).unwrap();
    let report = log.verify();
    assert!(!report.is_whole());
    assert_eq!(report.end.unwrap().sequence, 12);
}

#[test]
fn a_head_that_is_older_than_the_log_is_brought_up_to_date() {
    let log = Log::new();
    let head = log.world.home.join("audit/head");
    for number in 10..=40 {
        let before = fs::read(&head).unwrap();
        AuditLog::open(&log.store, LIMITS).append(&[record(number)], false).unwrap();
        let after = fs::read(&head).unwrap();
        // As after a process that died right before it wrote head, or a head from a copy of the store.
        fs::write(&head, before).unwrap();
        let report = log.verify();
        assert!(report.is_whole() && report.findings.len() == 1, "{report:#?}");
        assert!(report.findings[0].problem.contains("records more than the file head knows"), "{report:#?}");
        if number % 2 == 0 {
            fs::write(&head, after).unwrap();
        }
    }
    log.append();
    let report = log.verify();
    assert_eq!((report.records, report.findings), (41, Vec::new()));
}

#[test]
fn numbers_of_a_stranger_do_no_harm() {
    let huge = u64::MAX.to_string();
    let zeros = "0".repeat(64);
    for (from, to) in [
        ("\"sequence\":5,", format!("\"sequence\":{huge},")),
        ("\"sequence\":5,", "\"sequence\":0,".into()),
        ("\"bytes\":0", format!("\"bytes\":{huge}")),
        (
            "\"bytes\":0",
            format!("\"bytes\":0,\"reason\":\"crash\",\"repaired_bytes\":{huge},\"repaired_missing\":{huge}"),
        ),
        (
            "\"bytes\":0",
            "\"bytes\":0,\"reason\":\"power-cut\",\"repaired_bytes\":200,\"repaired_missing\":0".into(),
        ),
        ("\"bytes\":0", format!("\"bytes\":0,\"lost\":{huge}")),
        ("\"bytes\":0", format!("\"bytes\":0,\"trimmed_through\":{huge},\"trimmed_hash\":\"{zeros}\"")),
        ("\"time\":\"1970", "\"time\":\"9999".into()),
        ("\"format\":1", "\"format\":2".into()),
    ] {
        for (file, line) in [(1, 1), (1, 0), (2, 2)] {
            let log = Log::new();
            let from = from.replace('5', &(file * 3 + line + 1).to_string());
            log.edit(file, |lines| {
                assert!(lines[line].contains(&from), "{from} is not in {}", lines[line]);
                lines[line] = sealed(&lines[line].replace(&from, &to));
            });
            assert!(!log.verify().is_whole(), "{to}");
            log.append();
            assert!(!log.verify().is_whole(), "{to}");
            assert!(AuditLog::read(&log.store, None).unwrap().all(|line| line.is_ok()));
            fs::remove_file(log.world.home.join("audit/head")).unwrap();
            log.append();
            assert!(!log.verify().is_whole(), "{to}");
        }
    }
}

#[test]
fn no_bit_of_the_log_can_change_unnoticed() {
    let log = Log::new();
    for file in &log.files {
        let content = fs::read(file).unwrap();
        for at in 0..content.len() {
            let mut changed = content.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(file, &changed).unwrap();
            assert!(!log.verify().is_whole(), "{} at {at}", file.display());
        }
        for length in 0..content.len() {
            fs::write(file, &content[..length]).unwrap();
            assert!(!log.verify().is_whole(), "{} cut at {length}", file.display());
        }
        fs::write(file, &content).unwrap();
    }
    assert!(log.verify().is_whole());
}

#[test]
fn a_mark_that_was_kept_elsewhere_finds_a_log_that_was_written_anew() {
    let log = Log::new();
    let mark = log.verify().end.unwrap();
    assert_eq!(mark.to_string().parse(), Ok(mark.clone()));
    log.append();
    assert!(AuditLog::verify(&log.store, Some(&mark)).unwrap().is_whole());
    // Everything anew, hashes and head too.
    fs::remove_dir_all(log.world.home.join("audit")).unwrap();
    let anew = AuditLog::open(&log.store, LIMITS);
    for number in 1..=12 {
        anew.append(&[record(number * 2)], false).unwrap();
    }
    assert!(log.verify().is_whole(), "nothing in the log itself can show it");
    let report = AuditLog::verify(&log.store, Some(&mark)).unwrap();
    assert!(report.findings[0].problem.starts_with("is not the record that was expected"), "{report:#?}");
    assert!(!report.is_whole());
}

#[test]
fn what_a_crash_cuts_off_is_no_tampering_and_is_noted() {
    let log = Log::new();
    let head = log.world.home.join("audit/head");
    let last = || files(&log.world).pop().unwrap();
    // What was there before the process died, and what it was about to write.
    let (head_before, before) = (fs::read(&head).unwrap(), fs::read(last()).unwrap());
    AuditLog::open(&log.store, AuditLimits::default()).append(&[record(10), record(11)], false).unwrap();
    let after = fs::read(last()).unwrap();
    let first = before.len() + after[before.len()..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in before.len() + 1..after.len() {
        fs::write(&head, &head_before).unwrap();
        fs::write(last(), &after[..cut]).unwrap();
        let report = log.verify();
        assert!(report.is_whole(), "cut at {cut}: {report:#?}");
        assert!(!report.findings.is_empty(), "cut at {cut}");
        AuditLog::open(&log.store, AuditLimits::default()).append(&[record(12)], false).unwrap();
        let report = log.verify();
        assert!(report.is_whole(), "cut at {cut}: {report:#?}");
        let lines: Vec<_> = AuditLog::read(&log.store, None).unwrap().map(Result::unwrap).collect();
        let whole = 9 + usize::from(cut + 1 >= first) + usize::from(cut + 1 == after.len());
        let Some(note) = lines[whole].note.clone() else {
            assert!(
                (cut == first || cut + 1 == first || cut + 1 == after.len()) && lines.len() == whole + 1,
                "cut at {cut}: {lines:#?}"
            );
            continue;
        };
        let rest = (cut - if cut > first { first } else { before.len() }) as u64;
        assert_eq!(note, AuditNote::Repaired { cause: RepairCause::Crash, bytes: rest, missing: 0 });
        assert_eq!(lines.len(), whole + 2);
        assert_eq!(report.findings.len(), 1, "{report:#?}");
    }
}

#[test]
fn what_a_power_cut_takes_is_no_tampering_but_what_was_durable_stays() {
    let log = Log::new();
    let open = || AuditLog::open(&log.store, AuditLimits::default());
    open().append(&[record(10)], true).unwrap();
    let last = files(&log.world).pop().unwrap();
    let durable = fs::read(&last).unwrap();
    open().append(&[record(11), record(12)], false).unwrap();
    let (all, head) = (fs::read(&last).unwrap(), fs::read(log.world.home.join("audit/head")).unwrap());
    let mut zeros = all.clone();
    zeros[durable.len() + 50..].fill(0);
    let lost: [(&[u8], bool); 7] = [
        (&all, true),
        (&all[..all.len() - 7], true),
        (&durable, true),
        (&zeros, true),
        (&durable[..durable.len() - 1], false),
        (&durable[..durable.len() - 7], false),
        (&durable[..10], false),
    ];
    for (content, is_whole) in lost {
        fs::write(&last, content).unwrap();
        fs::write(log.world.home.join("audit/head"), &head).unwrap();
        assert!(log.verify().is_whole() == (content == all), "in the same boot everything must be there");
        let rebooted = log.world.open_after_boot("second");
        let report = AuditLog::verify(&rebooted, None).unwrap();
        assert_eq!(report.is_whole(), is_whole, "{} bytes: {report:#?}", content.len());
        AuditLog::open(&rebooted, AuditLimits::default()).append(&[record(13)], false).unwrap();
        let report = AuditLog::verify(&rebooted, None).unwrap();
        assert_eq!(report.is_whole(), is_whole, "{} bytes: {report:#?}", content.len());
        assert_eq!(report.findings.is_empty(), content == all, "{report:#?}");
    }
}

#[test]
fn a_verification_of_the_store_finds_it_too_and_repairs_nothing() {
    let log = Log::new();
    assert!(log.store.verify(&mut |_| {}).unwrap().is_clean());
    let mut changed = fs::read(&log.files[1]).unwrap();
    changed[500] ^= 4;
    fs::write(&log.files[1], &changed).unwrap();
    let report = log.store.verify(&mut |_| {}).unwrap();
    assert_eq!(report.damage.len(), 1, "{report:#?}");
    assert_eq!(report.damage[0].what, Damaged::File(log.files[1].clone()));
    assert!(report.damage[0].problem.starts_with("line 2 was changed"), "{report:#?}");
    let error = log.store.restore(&log.files[1]).unwrap_err();
    assert!(matches!(error, Error::Evidence { .. }) && !larder_core::Classify::hints(&error).is_empty());
    assert_eq!(fs::read(&log.files[1]).unwrap(), changed);
}

#[test]
fn old_files_may_go_if_the_log_says_so() {
    let log = Log::new();
    let writer = AuditLog::open(&log.store, LIMITS);
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let who = record(50);
    assert_eq!(writer.trim(at(1_003), &who).unwrap().files, 0, "the next file begins with record 4");
    let before = fs::metadata(&log.files[0]).unwrap().len();
    let trimmed = writer.trim(at(1_006), &who).unwrap();
    assert_eq!((trimmed.files, trimmed.records, trimmed.bytes), (1, 3, before));
    assert!(!log.files[0].exists() && log.files[1].exists());
    let report = log.verify();
    assert_eq!((report.is_whole(), report.findings.len()), (true, 0), "{report:#?}");
    let last = AuditLog::read(&log.store, None).unwrap().last().unwrap().unwrap();
    assert_eq!((&*last.record.action, last.record.actor.as_deref()), ("audit-trim", Some("alice")));
    // Again, and everything that can go: the file that is written to stays.
    assert_eq!(writer.trim(at(9_999), &who).unwrap().files, 2);
    assert!(log.verify().is_whole());
    assert_eq!(writer.trim(at(9_999), &who).unwrap().files, 0);
    // Without the record that says so, or with more files gone than it says, it is what it looks like.
    let log = Log::new();
    AuditLog::open(&log.store, LIMITS).trim(at(1_006), &who).unwrap();
    fs::remove_file(&log.files[1]).unwrap();
    assert!(
        log.tampered()[0].problem.contains("records 1 to 6 before it are missing"),
        "{:#?}",
        log.tampered()
    );
}

//! `larder audit`.

use crate::args::Format;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::Usage;
use crate::words::{count, plain};
use anyhow::{Context, Result};
use larder_core::Digest;
use larder_engine::{
    AuditFinding, AuditLine, AuditMark, AuditNote, AuditOutcome, AuditReport, AuditTrimmed, Span, Timestamp,
};
use serde_json::json;
use std::io::{BufWriter, ErrorKind, Write};
use std::time::{Duration, SystemTime};

/// Show, verify or trim the audit log: who did what, when, and how it ended
///
/// Every operation on the store, by a command or through `larder serve`, is one record in HOME/audit, and every record
/// names the hash of the one before. docs/guide/audit.md says what that proves and what not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  larder audit show --since 2h --outcome denied\n  larder audit verify")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Check that nobody changed the log; ends with exit code 5 if somebody did
    #[command(after_help = VERIFY_EXAMPLES, after_long_help = format!("{VERIFY_EXAMPLES}\n\n{VERIFY_DOCUMENT}"))]
    Verify(VerifyArgs),
    /// Print records, oldest first
    #[command(after_help = SHOW_EXAMPLES, after_long_help = format!("{SHOW_EXAMPLES}\n\n{SHOW_DOCUMENT}"))]
    Show(Box<ShowArgs>),
    /// Remove the oldest files of the log, after a record that says so
    #[command(after_help = TRIM_EXAMPLES, after_long_help = format!("{TRIM_EXAMPLES}\n\n{TRIM_DOCUMENT}"))]
    Trim(TrimArgs),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// The end of the log as an earlier verification printed it: it must still be part of the log
    #[arg(long, value_name = "SEQUENCE:HASH")]
    expect: Option<AuditMark>,
}

#[derive(Debug, clap::Args)]
struct TrimArgs {
    /// Files that hold no record younger than this: 90d, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    before: Moment,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Only records that are not older: 2h, 30d, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Moment>,

    /// Only records that are older
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Moment>,

    /// Only by accounts whose name contains this
    #[arg(long, value_name = "TEXT")]
    actor: Option<String>,

    /// Only in repositories whose name contains this
    #[arg(long, value_name = "TEXT")]
    repository: Option<String>,

    /// Only about this content
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,

    /// Only these actions: pull, push, delete, login, …
    #[arg(long = "action", value_name = "ACTION", value_delimiter = ',')]
    actions: Vec<String>,

    /// Only what ended so
    #[arg(long = "outcome", value_enum, value_name = "OUTCOME", value_delimiter = ',')]
    outcomes: Vec<Outcome>,

    /// Do not end: print records as they come
    #[arg(short, long)]
    follow: bool,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Outcome {
    /// It was allowed, and done
    Allowed,
    /// It was refused
    Denied,
    /// It was allowed, and could not be done
    Failed,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  larder audit verify
  larder audit verify --expect \"$(cat /mnt/elsewhere/end)\"";

const VERIFY_DOCUMENT: &str = "\
The last line of the output is the end of the log. Kept where nobody who can write to the store can
write, it proves later that nothing before it was changed; the log alone cannot prove that against
somebody who writes all of it anew.

JSON:
  {\"whole\", \"files\", \"records\", \"bytes\", \"first\", \"last\", \"end\": \"SEQUENCE:HASH\" | null, \"findings\":
   [{\"file\", \"line\", \"record\", \"problem\", \"tampered\"}], \"more\": findings that are not listed}";

const SHOW_EXAMPLES: &str = "\
Examples:
  larder audit show --since 2h
  larder audit show --outcome denied,failed --actor alice
  larder audit show --follow --output json | jq .digest";

const SHOW_DOCUMENT: &str = "\
JSON: one object per line, not one document, exactly as it is in the log:
  {\"format\", \"sequence\", \"previous\", \"time\", \"request\", \"actor\", \"login\", \"address\", \"agent\",
   \"action\", \"repository\", \"reference\", \"digest\", \"before\", \"bytes\", \"outcome\": \"allowed\" |
   \"denied\" | \"failed\", \"status\", \"reason\", \"hash\"}; what is not known is left out.
  docs/formats/audit.md explains them.";

const TRIM_EXAMPLES: &str = "\
Examples:
  larder audit trim --before 90d";

const TRIM_DOCUMENT: &str = "\
Only whole files go, of 64 MiB each, and never the one that is written to. The log still verifies:
it says itself up to which record it was trimmed, by whom, and with which hash the rest continues.

JSON:
  {\"files\", \"records\", \"bytes\"}";

/// Between looks at the end of the log.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    match &args.what {
        What::Verify(args) => verify(args, invocation),
        What::Show(args) => show(args, invocation),
        What::Trim(args) => trim(args, invocation),
    }
}

fn verify(args: &VerifyArgs, invocation: &Invocation) -> Result<Exit> {
    let report = invocation.engine()?.audit_verify(args.expect.as_ref())?;
    let whole = report.is_whole();
    let since_1970 =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let findings = report.findings.iter().map(|finding| {
        json!({
            "file": finding.file, "line": finding.line, "record": finding.sequence,
            "problem": finding.problem, "tampered": finding.tampered,
        })
    });
    let document = json!({
        "whole": whole, "files": report.files, "records": report.records, "bytes": report.bytes,
        "first": report.first.map(since_1970), "last": report.last.map(since_1970), "end": report.end,
        "findings": findings.collect::<Vec<_>>(), "more": report.more,
    });
    invocation.answer(&document, || describe(&report))?;
    Ok(if whole { Exit::Done } else { Exit::Corrupt })
}

fn describe(report: &AuditReport) -> String {
    let mut text: String = report.findings.iter().map(finding).collect();
    if report.more > 0 {
        text.push_str(&format!("tampered: {} more findings\n", report.more));
    }
    let (records, files) = (count(report.records as usize, "record"), count(report.files as usize, "file"));
    let state = if report.is_whole() { "is whole" } else { "was changed" };
    text.push_str(&format!("the audit log {state}: {records} in {files}"));
    if let (Some(first), Some(last)) = (report.first, report.last) {
        text.push_str(&format!(", from {} to {}", brief(first), brief(last)));
    }
    text.push('\n');
    if let Some(end) = &report.end {
        text.push_str(&format!("end: {end}\n"));
    }
    text
}

fn finding(finding: &AuditFinding) -> String {
    let mut text = String::from(if finding.tampered { "tampered: " } else { "note: " });
    text.push_str(&finding.file.display().to_string());
    if let Some(line) = finding.line {
        text.push_str(&format!(", line {line}"));
    }
    if let Some(sequence) = finding.sequence {
        text.push_str(&format!(", record {sequence}"));
    }
    format!("{}\n", plain(&format!("{text}: {}", finding.problem)).replace('\n', "\\n"))
}

fn trim(args: &TrimArgs, invocation: &Invocation) -> Result<Exit> {
    let trimmed = invocation.engine()?.audit_trim(args.before.before(SystemTime::now()))?;
    let AuditTrimmed { files, records, bytes } = trimmed;
    invocation.done(&json!({ "files": files, "records": records, "bytes": bytes }), || {
        let (files, records) = (count(files as usize, "file"), count(records as usize, "record"));
        format!("{files} with {records} removed, {}\n", crate::words::size(bytes))
    })?;
    Ok(Exit::Done)
}

fn show(args: &ShowArgs, invocation: &Invocation) -> Result<Exit> {
    let now = SystemTime::now();
    let since = args.since.as_ref().map(|since| since.before(now));
    let until = args.until.as_ref().map(|until| until.before(now));
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(Usage::new("--since is not before --until: no record can be between them").into());
    }
    let mut lines = invocation.engine()?.audit_lines(since)?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let format = &invocation.global.output;
    loop {
        for line in &mut lines {
            let line = line?;
            if !args.admits(&line) || until.is_some_and(|until| line.record.time >= until) {
                continue;
            }
            let written = match format {
                Format::Json => writeln!(output, "{}", line.text),
                _ => writeln!(output, "{}", row(&line)),
            };
            if !goes_on(written)? {
                return Ok(Exit::Done);
            }
        }
        if !goes_on(output.flush())? || !args.follow {
            return Ok(Exit::Done);
        }
        std::thread::sleep(PAUSE);
    }
}

/// A reader that has seen enough, like `head`, is no error.
fn goes_on(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
    }
}

impl ShowArgs {
    fn admits(&self, line: &AuditLine) -> bool {
        let record = &line.record;
        let contains = |wanted: &Option<String>, text: &Option<String>| match wanted {
            Some(wanted) => text.as_ref().is_some_and(|text| text.contains(wanted.as_str())),
            None => true,
        };
        contains(&self.actor, &record.actor)
            && contains(&self.repository, &record.repository)
            && self.digest.is_none_or(|digest| [record.digest, record.before].contains(&Some(digest)))
            && (self.actions.is_empty() || self.actions.iter().any(|action| *action == record.action))
            && (self.outcomes.is_empty() || self.outcomes.iter().any(|outcome| outcome.is(record.outcome)))
    }
}

impl Outcome {
    fn is(self, outcome: AuditOutcome) -> bool {
        outcome
            == match self {
                Self::Allowed => AuditOutcome::Allowed,
                Self::Denied => AuditOutcome::Denied,
                Self::Failed => AuditOutcome::Failed,
            }
    }
}

/// A point in time, or so long ago.
#[derive(Debug, Clone)]
enum Moment {
    At(SystemTime),
    Ago(Duration),
}

impl Moment {
    fn before(&self, now: SystemTime) -> SystemTime {
        match self {
            Self::At(time) => *time,
            Self::Ago(span) => now.checked_sub(*span).unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(Timestamp(time)) = text.parse() {
        return Ok(Moment::At(time));
    }
    match text.parse::<Span>() {
        Ok(Span(span)) => Ok(Moment::Ago(span)),
        Err(_) => Err(format!(
            "{text:?} is neither a time like 2026-01-31T12:00:00Z nor a span like 90s, 2h or 30d"
        )),
    }
}

/// One line for people. Columns are as wide as what is usually in them, since the rest of the log is not known yet.
fn row(line: &AuditLine) -> String {
    let record = &line.record;
    let mut what = record.repository.clone().unwrap_or_default();
    // A digest is shown once, and short.
    let named = record.reference.as_deref().filter(|reference| reference.parse::<Digest>().is_err());
    if let Some(reference) = named {
        what.push_str(if what.is_empty() { "" } else { ":" });
        what.push_str(reference);
    }
    let digest = record.digest.or_else(|| record.reference.as_deref()?.parse().ok());
    if let Some(digest) = digest {
        what.push_str(&format!(" {}", digest.short()));
    }
    if let Some(before) = &record.before {
        what.push_str(&format!(" (was {})", before.short()));
    }
    if record.bytes > 0 {
        what.push_str(&format!(" {}", crate::words::size(record.bytes)));
    }
    match &line.note {
        Some(AuditNote::Repaired { bytes, missing, .. }) => {
            what.push_str(&format!("{bytes} bytes are no records, {missing} records are missing"));
        }
        Some(AuditNote::Lost { records }) => what.push_str(&format!("{records} records are lost")),
        Some(AuditNote::Trimmed { through, .. }) => what.push_str(&format!("up to record {through}")),
        None => {}
    }
    let status = if record.status == 0 { String::new() } else { record.status.to_string() };
    let reason = record.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let text = format!(
        "{}  {:<7} {status:<3}  {:<11}  {:<16}  {:<15}  {}{reason}",
        brief(record.time),
        record.outcome,
        record.action,
        record.actor.as_deref().unwrap_or("-"),
        record.address.map_or_else(|| "-".into(), |address| address.to_string()),
        what.trim_start(),
    );
    plain(text.trim_end()).replace('\n', "\\n")
}

/// `2026-01-31 12:00:00Z`.
fn brief(time: SystemTime) -> String {
    let text = Timestamp(time).to_string();
    format!("{} {}Z", &text[..10], &text[11..19])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let seconds = |text: &str| {
            moment(text).map(|moment| {
                moment.before(now).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
            })
        };
        assert_eq!(seconds("2h"), Ok(1_000_000 - 7_200));
        assert_eq!(seconds("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(seconds("1000000d"), Ok(0));
        assert!(seconds("yesterday").unwrap_err().contains("neither a time"));
    }
}

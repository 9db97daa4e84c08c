//! One line of the log.
//!
//! FORMAT: a line is `BODY,"hash":"HEX"}` and a line feed. BODY is everything before, beginning with `{`; HEX is the SHA-256 of
//! exactly these bytes. Whoever has the line can check it without knowing JSON. The fields are in docs/formats/audit.md.

use super::record::{AuditOutcome, AuditRecord};
use super::timestamp::Timestamp;
use larder_core::Digest;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

/// A place in the chain: after so many records, of which the last had this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) sequence: u64,
    pub(super) hash: Digest,
}

impl Link {
    /// Before the first record.
    pub(super) fn start() -> Self {
        Self { sequence: 0, hash: zero() }
    }
}

/// A line that was read, and that is what it says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its place: 1 is the first record of the log.
    pub sequence: u64,
    /// The hash of the record before it; zeros for the first.
    pub previous: Digest,
    /// Its own hash.
    pub hash: Digest,
    /// What happened.
    pub record: AuditRecord,
    /// What the log says about itself with this record.
    pub note: Option<AuditNote>,
    /// The line itself, one JSON object, as it is in the file.
    pub text: String,
}

/// What a log says about itself: written by the log, never by a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditNote {
    /// The log was found in another state than it was left in, and goes on from here.
    Repaired {
        /// What had happened, as far as can be told.
        cause: RepairCause,
        /// Bytes before this line that are no records. They stay where they are.
        bytes: u64,
        /// Records that had been written, right before this one, and are gone.
        missing: u64,
    },
    /// So many records could not be written or queued, and are lost.
    Lost {
        /// How many.
        records: u64,
    },
    /// The files with the records up to and including this one were removed on purpose.
    Trimmed {
        /// The last record that was removed.
        through: u64,
        /// Its hash, which the first record that was kept names as its previous one.
        hash: Digest,
    },
}

/// Why the log was not as it was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepairCause {
    /// A process died while it wrote.
    Crash,
    /// The machine stopped before what was written reached the disk.
    PowerCut,
    /// Somebody else changed the files.
    Changed,
    /// The file `head` was missing or damaged, so nothing says how the log ended.
    NoHead,
}

impl AuditLine {
    /// Reads a line without its line feed. The error says what is wrong, as the rest of a sentence that starts with it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Cow<'static, str>> {
        let body_length = line.len().checked_sub(SEAL).ok_or("is not a record")?;
        let (body, seal) = line.split_at(body_length);
        let stated = seal
            .strip_prefix(SEAL_START)
            .and_then(|rest| rest.strip_suffix(SEAL_END))
            .and_then(|hex| digest(std::str::from_utf8(hex).ok()?))
            .ok_or("is not a record")?;
        let actual = Digest::of(body);
        if actual != stated {
            return Err(format!("was changed: it hashes to {}", actual.hex()).into());
        }
        let fields: Fields<'_> =
            serde_json::from_slice(line).map_err(|error| format!("cannot be read: {error}"))?;
        if fields.format != FORMAT {
            return Err(format!("has format {}, and this larder knows {FORMAT}", fields.format).into());
        }
        let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?;
        fields.into_line(stated, text).ok_or_else(|| "has a field with an impossible value".into())
    }

    /// Whether it is the next one after `last`. A repair after records that are missing leaves their numbers out.
    pub(super) fn continues(&self, last: &Link) -> bool {
        let missing = match &self.note {
            Some(AuditNote::Repaired { missing, .. }) => *missing,
            _ => 0,
        };
        let expected = last.sequence.checked_add(missing).and_then(|sequence| sequence.checked_add(1));
        self.previous == last.hash && expected == Some(self.sequence)
    }

    /// The link after this line.
    pub(super) fn link(&self) -> Link {
        Link { sequence: self.sequence, hash: self.hash }
    }
}

impl AuditNote {
    pub(super) fn action(&self) -> &'static str {
        match self {
            Self::Repaired { .. } => "audit-repair",
            Self::Lost { .. } => "audit-lost",
            Self::Trimmed { .. } => "audit-trim",
        }
    }

    /// The record that carries it.
    pub(super) fn record(&self, time: SystemTime) -> AuditRecord {
        let mut record = AuditRecord::new(time, self.action());
        if let Self::Repaired { cause, .. } = self {
            record.reason = Some(cause.as_str().into());
        }
        if !matches!(self, Self::Trimmed { .. }) {
            record.outcome = AuditOutcome::Failed;
        }
        record
    }
}

impl RepairCause {
    const ALL: [Self; 4] = [Self::Crash, Self::PowerCut, Self::Changed, Self::NoHead];

    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::PowerCut => "power-cut",
            Self::Changed => "changed",
            Self::NoHead => "no-head",
        }
    }
}

/// Appends a line to `output` and returns the link after it.
pub(super) fn write(
    output: &mut Vec<u8>,
    after: &Link,
    record: &AuditRecord,
    note: Option<&AuditNote>,
) -> Link {
    let start = output.len();
    let sequence = after.sequence.saturating_add(1);
    output.extend_from_slice(br#"{"format":1,"sequence":"#);
    decimal(output, sequence);
    output.extend_from_slice(br#","previous":""#);
    hex(output, &after.hash);
    output.extend_from_slice(br#"","time":""#);
    Timestamp(record.time).write(output);
    output.push(b'"');
    if !record.request.is_empty() {
        text(output, "request", &record.request, 64);
    }
    optional(output, "actor", record.actor.as_deref(), 256);
    text(output, "login", &record.login, 32);
    if let Some(address) = record.address {
        // Of digits, dots and colons only.
        text(output, "address", &address.to_string(), 64);
    }
    optional(output, "agent", record.agent.as_deref(), 256);
    text(output, "action", &record.action, 32);
    optional(output, "repository", record.repository.as_deref(), 512);
    optional(output, "reference", record.reference.as_deref(), 512);
    for (name, digest) in [("digest", &record.digest), ("before", &record.before)] {
        if let Some(digest) = digest {
            name_of(output, name);
            output.push(b'"');
            output.extend_from_slice(digest.algorithm().as_str().as_bytes());
            output.push(b':');
            hex(output, digest);
            output.push(b'"');
        }
    }
    count(output, "bytes", record.bytes);
    text(output, "outcome", record.outcome.as_str(), 32);
    if record.status != 0 {
        count(output, "status", record.status.into());
    }
    optional(output, "reason", record.reason.as_deref(), 256);
    match note {
        None => {}
        Some(AuditNote::Repaired { cause: _, bytes, missing }) => {
            count(output, "repaired_bytes", *bytes);
            count(output, "repaired_missing", *missing);
        }
        Some(AuditNote::Lost { records }) => count(output, "lost", *records),
        Some(AuditNote::Trimmed { through, hash }) => {
            count(output, "trimmed_through", *through);
            name_of(output, "trimmed_hash");
            output.push(b'"');
            hex(output, hash);
            output.push(b'"');
        }
    }
    let hash = seal(output, start);
    output.push(b'\n');
    Link { sequence, hash }
}

/// Ends the object that begins at `start` with its own hash.
pub(super) fn seal(output: &mut Vec<u8>, start: usize) -> Digest {
    let hash = Digest::of(&output[start..]);
    output.extend_from_slice(SEAL_START);
    hex(output, &hash);
    output.extend_from_slice(SEAL_END);
    hash
}

/// How a line after `link` begins, up to its time.
pub(super) fn beginning(link: &Link) -> Vec<u8> {
    let mut line = Vec::new();
    write(&mut line, link, &AuditRecord::new(SystemTime::UNIX_EPOCH, ""), None);
    line.truncate(line.windows(8).position(|part| part == br#","time":"#).unwrap_or(0) + 9);
    line
}

/// Reads the hexadecimal digits of a SHA-256.
pub(super) fn digest(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}

/// Sixty-four zeros: what the first record names as its previous one.
fn zero() -> Digest {
    digest(&"0".repeat(64)).expect("64 hexadecimal digits are a digest")
}

#[derive(serde::Deserialize)]
struct Fields<'a> {
    format: u64,
    sequence: u64,
    previous: Cow<'a, str>,
    time: Timestamp,
    #[serde(default)]
    request: String,
    actor: Option<String>,
    login: String,
    address: Option<IpAddr>,
    agent: Option<String>,
    action: String,
    repository: Option<String>,
    reference: Option<String>,
    digest: Option<Digest>,
    before: Option<Digest>,
    #[serde(default)]
    bytes: u64,
    outcome: Cow<'a, str>,
    #[serde(default)]
    status: u16,
    reason: Option<String>,
    repaired_bytes: Option<u64>,
    repaired_missing: Option<u64>,
    lost: Option<u64>,
    trimmed_through: Option<u64>,
    trimmed_hash: Option<Cow<'a, str>>,
}

impl Fields<'_> {
    fn into_line(self, hash: Digest, text: &str) -> Option<AuditLine> {
        let note = match (self.repaired_bytes, self.lost, self.trimmed_through) {
            (Some(bytes), None, None) => {
                let word = self.reason.as_deref()?;
                let cause = RepairCause::ALL.into_iter().find(|cause| cause.as_str() == word)?;
                Some(AuditNote::Repaired { cause, bytes, missing: self.repaired_missing? })
            }
            (None, Some(records), None) => Some(AuditNote::Lost { records }),
            (None, None, Some(through)) => {
                Some(AuditNote::Trimmed { through, hash: digest(self.trimmed_hash.as_deref()?)? })
            }
            (None, None, None) => None,
            _ => return None,
        };
        Some(AuditLine {
            sequence: self.sequence,
            previous: digest(&self.previous)?,
            hash,
            record: AuditRecord {
                time: self.time.0,
                request: self.request,
                actor: self.actor,
                login: self.login.into(),
                address: self.address,
                agent: self.agent,
                action: self.action.into(),
                repository: self.repository,
                reference: self.reference,
                digest: self.digest,
                before: self.before,
                bytes: self.bytes,
                outcome: AuditOutcome::from_word(&self.outcome)?,
                status: self.status,
                reason: self.reason.map(Into::into),
            },
            note,
            text: text.to_owned(),
        })
    }
}

fn name_of(output: &mut Vec<u8>, name: &str) {
    output.extend_from_slice(b",\"");
    output.extend_from_slice(name.as_bytes());
    output.extend_from_slice(b"\":");
}

fn count(output: &mut Vec<u8>, name: &str, value: u64) {
    name_of(output, name);
    decimal(output, value);
}

fn decimal(output: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

fn hex(output: &mut Vec<u8>, digest: &Digest) {
    for byte in digest.as_bytes() {
        output.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn optional(output: &mut Vec<u8>, name: &str, value: Option<&str>, limit: usize) {
    if let Some(value) = value {
        text(output, name, value, limit);
    }
}

/// Text of at most `limit` bytes; what is longer ends with `…`.
fn text(output: &mut Vec<u8>, name: &str, value: &str, limit: usize) {
    name_of(output, name);
    output.push(b'"');
    if value.len() <= limit {
        escaped(output, value);
    } else {
        let mut end = limit;
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        escaped(output, &value[..end]);
        output.extend_from_slice("…".as_bytes());
    }
    output.push(b'"');
}

fn escaped(output: &mut Vec<u8>, value: &str) {
    if value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\') {
        output.extend_from_slice(value.as_bytes());
        return;
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => output.extend_from_slice(&[b'\\', c as u8]),
            _ if is_harmful(c) => {
                let code = c as u32;
                output.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    output.push(HEX[(code >> shift & 15) as usize]);
                }
            }
            _ => output.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// What ends a line in some program, drives a terminal, or reorders what is shown. All are below U+10000.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

const HEX: &[u8; 16] = b"0123456789abcdef";
/// FORMAT: of the log. Fields may be added under the same number; none goes or changes.
const FORMAT: u64 = 1;
const SEAL_START: &[u8] = br#","hash":""#;
const SEAL_END: &[u8] = br#""}"#;
/// Bytes of a line after its body, without the line feed.
pub(super) const SEAL: usize = SEAL_START.len() + 64 + SEAL_END.len();
/// A longer line is not ours. The longest that [`write()`] makes has all its text escaped to six times its length.
pub(super) const LONGEST: usize = 16 << 10;

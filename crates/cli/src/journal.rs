//! The log of a server: one line per request on standard error.

use larder_core::{Event, Progress};
use larder_engine::{Freshness, RequestRecord, RequestSink, Timestamp};
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
    /// Nothing about requests.
    None,
}

/// Writes lines. They go through a thread of their own, so that a slow terminal or pipe holds up no request; when it cannot
/// keep up, lines are dropped and counted.
pub(crate) struct Journal {
    format: LogFormat,
    lines: std::sync::mpsc::SyncSender<Line>,
    dropped: Arc<std::sync::atomic::AtomicU64>,
}

enum Line {
    Request(Box<RequestRecord>),
    Note(&'static str, String),
}

impl Journal {
    pub(crate) fn new(format: Option<LogFormat>, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let format = match format {
            Some(format) => format,
            None if quiet => LogFormat::None,
            None if terminal => LogFormat::Text,
            None => LogFormat::Json,
        };
        let (lines, waiting) = std::sync::mpsc::sync_channel::<Line>(QUEUE);
        let dropped = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let lost = dropped.clone();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            while let Ok(first) = waiting.recv() {
                for line in std::iter::once(first).chain(waiting.try_iter().take(256)) {
                    write_line(&mut text, format, &line);
                }
                let lost = lost.swap(0, std::sync::atomic::Ordering::Relaxed);
                if lost > 0 {
                    let message = format!("{lost} lines were left out: nobody reads them fast enough");
                    write_line(&mut text, format, &Line::Note("warning", message));
                }
                // A log that nobody takes is no reason to stop serving.
                let _ = std::io::stderr().lock().write_all(&text);
                text.clear();
            }
        });
        Self { format, lines, dropped }
    }

    /// Takes the records of requests.
    pub(crate) fn sink(&self) -> RequestSink {
        let (lines, dropped, format) = (self.lines.clone(), self.dropped.clone(), self.format);
        Arc::new(move |record| {
            if format != LogFormat::None && lines.try_send(Line::Request(Box::new(record.clone()))).is_err() {
                dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        })
    }

    /// Takes what the engine reports beside requests: what goes wrong with upstreams.
    pub(crate) fn progress(&self) -> Progress {
        let (lines, dropped) = (self.lines.clone(), self.dropped.clone());
        Arc::new(move |event| {
            let line = match event {
                Event::Warning { message } => Line::Note("warning", message),
                Event::Retrying { what, reason, delay } => {
                    Line::Note("retry", format!("{what}: {reason}; again in {delay:.0?}"))
                }
                _ => return,
            };
            if lines.try_send(line).is_err() {
                dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        })
    }

    /// Something about the server itself.
    pub(crate) fn note(&self, message: &str) {
        self.line("note", message);
    }

    /// Something that needs somebody's attention.
    pub(crate) fn warn(&self, message: &str) {
        self.line("warning", message);
    }

    fn line(&self, level: &'static str, message: &str) {
        // The queue is full only when nobody reads the log.
        let _ = self.lines.try_send(Line::Note(level, message.to_owned()));
    }
}

fn write_line(text: &mut Vec<u8>, format: LogFormat, line: &Line) {
    let line = match (format, line) {
        (LogFormat::Json, Line::Request(record)) => json(record).to_string(),
        (LogFormat::Json, Line::Note(level, message)) => {
            serde_json::json!({ "level": level, "message": message }).to_string()
        }
        (_, Line::Request(record)) => plain(record),
        (_, Line::Note(level, message)) => format!("{level}: {message}"),
    };
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
}

fn json(record: &RequestRecord) -> serde_json::Value {
    let level = if record.status >= 500 || record.broken { "warning" } else { "info" };
    let mut value = serde_json::json!({
        "time": Timestamp(record.time).to_string(),
        "level": level,
        "request": record.id,
        "method": record.method,
        "path": record.path,
        "route": record.route,
        "status": record.status,
        "address": record.address,
        "login": record.login.as_str(),
        "sent": record.sent,
        "received": record.received,
        "elapsed_us": u64::try_from(record.elapsed.as_micros()).unwrap_or(u64::MAX),
    });
    let fields = value.as_object_mut().expect("made above");
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(name.into(), value.into());
        }
    };
    add("caller", record.caller.clone());
    add("repository", record.repository.as_ref().map(ToString::to_string));
    add("reference", record.reference.clone());
    add("digest", record.digest.map(|digest| digest.to_string()));
    add("agent", record.agent.clone());
    add("from", record.freshness.map(|freshness| source(freshness).to_owned()));
    add("reason", record.reason.clone());
    if record.broken {
        fields.insert("broken".into(), true.into());
    }
    if record.freshness == Some(Freshness::Stale) {
        fields.insert("stale".into(), true.into());
    }
    value
}

fn plain(record: &RequestRecord) -> String {
    let mut line = format!(
        "{} {:<6} {} {} {} {:.1?}",
        record.status,
        record.method,
        record.path.escape_debug(),
        record.caller.as_deref().unwrap_or("-").escape_debug(),
        record.address,
        record.elapsed,
    );
    if record.sent > 0 {
        line.push_str(&format!(" {}", crate::words::size(record.sent)));
    }
    if let Some(freshness) = record.freshness {
        line.push_str(&format!(" from {}", source(freshness)));
    }
    if record.broken {
        line.push_str(" broken off");
    }
    if let Some(reason) = &record.reason {
        line.push_str(&format!(": {}", reason.escape_debug()));
    }
    line
}

fn source(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "store",
        Freshness::Confirmed => "store (confirmed)",
        Freshness::Fetched => "upstream",
        Freshness::Stale => "store (stale: the upstream is down)",
    }
}

const QUEUE: usize = 4_096;

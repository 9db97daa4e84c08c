//! What is shown while something goes on: bars on a terminal, lines elsewhere, nothing with `--quiet`. Always on standard error.

use crate::problem::Problem;
use crate::words::{count, plain, size, took};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use larder_core::{Digest, Event, Progress, Tier};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Errors only.
    Silent,
    /// One line per event, for logs.
    Lines,
    /// One bar per blob and one for all of them.
    Bars,
}

/// Standard error. Cheap to clone; may be used from any thread.
#[derive(Clone)]
pub(crate) struct Terminal {
    style: Style,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<What, Blob>,
    started: usize,
    finished: usize,
    /// Bytes of all blobs that have been started, and how many of them are here.
    bytes: u64,
    done: u64,
    layers: usize,
    /// What moves now goes to nodes.
    to_nodes: bool,
    last_line: Option<Instant>,
    last_retry: Option<Instant>,
    retries: usize,
    bars: Option<Bars>,
    /// The operation is over; stragglers have no say any more.
    closed: bool,
}

/// What moves: a blob that comes here, or what goes to a node.
#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Blob(Digest),
    Node(String),
}

impl What {
    fn short(&self) -> String {
        match self {
            Self::Blob(digest) => digest.short(),
            Self::Node(name) => plain(name).into_owned(),
        }
    }
}

struct Blob {
    name: String,
    size: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    shown: usize,
}

/// More bars than this would push the prompt off a small terminal.
const BARS: usize = 12;
/// In a log, a long transfer gives a sign of life this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A registry that resets a thousand times does not write a thousand lines.
const BETWEEN_RETRIES: Duration = Duration::from_secs(1);

impl Terminal {
    /// Shows in this style. Nothing is drawn before something happens.
    pub(crate) fn new(style: Style) -> Self {
        Self { style, state: Arc::default() }
    }

    /// What the engine reports to.
    pub(crate) fn progress(&self) -> Progress {
        match self.style {
            Style::Silent => larder_core::silent(),
            _ => {
                let terminal = self.clone();
                Arc::new(move |event| terminal.show(&event))
            }
        }
    }

    /// Something the user should know.
    pub(crate) fn warn(&self, message: &str) {
        if self.style != Style::Silent {
            self.state().line(&format!("warning: {message}"));
        }
    }

    /// A remark about what was done.
    pub(crate) fn note(&self, message: &str) {
        if self.style != Style::Silent {
            self.state().line(message);
        }
    }

    /// What another process has said, which is shown in every style.
    pub(crate) fn tell(&self, line: &str) {
        self.state().line(line);
    }

    /// An error, which is shown in every style.
    pub(crate) fn complain(&self, problem: &Problem) {
        self.state().line(problem.to_string().trim_end());
    }

    /// A counter that grows, for work whose amount is not known.
    pub(crate) fn counter(&self, what: &'static str) -> impl FnMut() + Send + 'static {
        let mut number = 0_usize;
        let bar = (self.style == Style::Bars).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {msg}"));
            bar
        });
        let mut last = Instant::now();
        let lines = (self.style == Style::Lines).then(|| self.clone());
        move || {
            number += 1;
            if let Some(bar) = &bar {
                bar.set_message(format!("{what} {number}"));
                bar.tick();
            }
            if let Some(terminal) = lines.as_ref().filter(|_| last.elapsed() >= SIGN_OF_LIFE) {
                last = Instant::now();
                terminal.note(&format!("{what} {number}"));
            }
        }
    }

    /// Takes the bars away. What is printed afterwards stands alone.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        state.closed = true;
        for blob in std::mem::take(&mut state.blobs).into_values() {
            if let Some(bar) = blob.bar {
                bar.finish_and_clear();
            }
        }
        if let Some(bars) = state.bars.take() {
            bars.total.finish_and_clear();
        }
    }

    fn show(&self, event: &Event) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        let lines = self.style == Style::Lines;
        match event {
            Event::Resolved { .. } => {}
            Event::BlobStarted { reference, digest, size, done } => {
                state.start(
                    What::Blob(*digest),
                    plain(reference).into_owned(),
                    *size,
                    (*done).min(*size),
                    lines,
                );
            }
            Event::BlobAdvanced { digest, bytes } => state.advance(&What::Blob(*digest), *bytes, lines),
            Event::BlobFinished { digest, tier } => state.end(&What::Blob(*digest), Some(*tier), lines),
            Event::NodeStarted { node, bytes } => {
                state.to_nodes = true;
                state.start(What::Node(node.clone()), String::new(), *bytes, 0, lines);
            }
            Event::NodeAdvanced { node, bytes } => state.advance(&What::Node(node.clone()), *bytes, lines),
            Event::NodeFinished { node } => state.end(&What::Node(node.clone()), None, lines),
            Event::Retrying { what, reason, delay } => state.retry(what, reason, *delay),
            Event::LayerReady { diff_id, size: bytes } => {
                state.layers += 1;
                if lines {
                    state.line(&format!("{}  unpacked, {}", diff_id.short(), size(*bytes)));
                }
                state.draw();
            }
            Event::Warning { message } => state.line(&format!("warning: {message}")),
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is drawn is not worth a second panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start(&mut self, what: What, name: String, size_bytes: u64, done: u64, lines: bool) {
        // A transfer that begins anew is counted once.
        if let Some(before) = self.blobs.remove(&what) {
            self.forget(&before);
        }
        self.last_line.get_or_insert_with(Instant::now);
        self.started += 1;
        self.bytes += size_bytes;
        self.done += done;
        let mut bar = None;
        if lines {
            if done > 0 {
                let (done, whole) = (size(done), size(size_bytes));
                self.line(&format!("{}  continued at {done} of {whole}  {name}", what.short()));
            }
        } else {
            let bars = self.bars.get_or_insert_with(Bars::new);
            if bars.shown < BARS {
                bars.shown += 1;
                let fresh = bars.all.insert_before(&bars.total, ProgressBar::new(size_bytes));
                fresh.set_style(style(
                    "{prefix:12}  [{bar:20}]  {decimal_bytes:>9} of {decimal_total_bytes:9}  {wide_msg}",
                ));
                fresh.set_prefix(what.short());
                // The end of a name tells more than its registry.
                fresh.set_message(name.rsplit('/').next().unwrap_or_default().to_owned());
                fresh.set_position(done);
                bar = Some(fresh);
            }
        }
        self.blobs.insert(what, Blob { name, size: size_bytes, done, bar });
        self.draw();
        if let Some(bars) = self.bars.as_ref().filter(|_| done > 0) {
            // What was here before says nothing about the speed.
            bars.total.reset_eta();
        }
    }

    fn advance(&mut self, what: &What, bytes: u64, lines: bool) {
        let Some(blob) = self.blobs.get_mut(what) else { return };
        let step = bytes.min(blob.size - blob.done);
        blob.done += step;
        self.done += step;
        if let Some(bar) = &blob.bar {
            bar.set_position(blob.done);
        }
        if let Some(bars) = &self.bars {
            bars.total.set_position(self.done);
        }
        if lines && self.last_line.is_none_or(|last| last.elapsed() >= SIGN_OF_LIFE) {
            let text = format!(
                "{} of {}, {} of {}",
                size(self.done),
                size(self.bytes),
                self.finished,
                count(self.started, if self.to_nodes { "node" } else { "blob" })
            );
            self.line(&text);
        }
    }

    fn end(&mut self, what: &What, tier: Option<Tier>, lines: bool) {
        let Some(blob) = self.blobs.remove(what) else { return };
        self.done += blob.size - blob.done;
        self.finished += 1;
        if let Some(bar) = &blob.bar {
            bar.finish_and_clear();
            if let Some(bars) = &mut self.bars {
                bars.all.remove(bar);
                bars.shown -= 1;
            }
        }
        // What became of a node is said of all of them in the end.
        if let Some(tier) = tier.filter(|_| lines) {
            let from = if tier == Tier::Registry { String::new() } else { format!(" from {tier}") };
            self.line(&format!("{}  {}{from}  {}", what.short(), size(blob.size), blob.name));
        }
        self.draw();
    }

    fn retry(&mut self, what: &str, reason: &str, delay: Duration) {
        self.retries += 1;
        if self.last_retry.is_some_and(|last| last.elapsed() < BETWEEN_RETRIES) {
            return;
        }
        self.last_retry = Some(Instant::now());
        let more = if self.retries > 1 {
            format!(" ({} so far)", count(self.retries, "failure"))
        } else {
            String::new()
        };
        self.line(&format!("retry: {what}: {reason}; again in {}{more}", took(delay)));
    }

    fn forget(&mut self, blob: &Blob) {
        self.started -= 1;
        self.bytes -= blob.size;
        self.done -= blob.done;
        if let (Some(bar), Some(bars)) = (&blob.bar, &mut self.bars) {
            bar.finish_and_clear();
            bars.all.remove(bar);
            bars.shown -= 1;
        }
    }

    fn draw(&self) {
        let Some(bars) = &self.bars else { return };
        bars.total.set_length(self.bytes);
        bars.total.set_position(self.done);
        bars.total.set_prefix(format!("{}/{} blobs", self.finished, self.started));
        if self.layers > 0 {
            bars.total.set_message(format!("  {} unpacked", count(self.layers, "layer")));
        }
    }

    fn line(&mut self, text: &str) {
        self.last_line = Some(Instant::now());
        let text = plain(text);
        // Nobody is left to tell when standard error is gone.
        let write = || drop(writeln!(std::io::stderr(), "{text}"));
        match &self.bars {
            Some(bars) => bars.all.suspend(write),
            None => write(),
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = all.add(ProgressBar::new(0));
        total.set_style(style(
            "{prefix:12}  [{bar:20}]  {decimal_bytes:>9} of {decimal_total_bytes:9}  {decimal_bytes_per_sec}  {eta}{wide_msg}",
        ));
        // The speed goes down while nothing arrives.
        total.enable_steady_tick(Duration::from_millis(200));
        Self { all, total, shown: 0 }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates in this file are well-formed");
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn started(digest: Digest, size: u64, done: u64) -> Event {
        Event::BlobStarted { reference: "a:1".into(), digest, size, done }
    }

    #[test]
    fn bytes_are_counted_once_however_a_transfer_goes() {
        for style in [Style::Lines, Style::Bars] {
            let terminal = Terminal::new(style);
            let (a, b) = (digest("a"), digest("b"));
            terminal.show(&started(a, 100, 0));
            terminal.show(&Event::BlobAdvanced { digest: a, bytes: 60 });
            terminal.show(&started(a, 100, 40));
            terminal.show(&started(b, 50, 50));
            terminal.show(&Event::BlobAdvanced { digest: a, bytes: 1_000 });
            terminal.show(&Event::BlobAdvanced { digest: digest("unknown"), bytes: 5 });
            {
                let state = terminal.state();
                assert_eq!((state.started, state.bytes, state.done), (2, 150, 150), "{style:?}");
            }
            for digest in [a, b, b] {
                terminal.show(&Event::BlobFinished { digest, tier: Tier::Registry });
            }
            let state = terminal.state();
            assert_eq!((state.finished, state.done, state.blobs.len()), (2, 150, 0), "{style:?}");
            assert_eq!(state.bars.as_ref().map_or(0, |bars| bars.shown), 0);
        }
    }

    #[test]
    fn bars_are_few_and_go_away() {
        let terminal = Terminal::new(Style::Bars);
        for number in 0..40 {
            terminal.show(&started(digest(&number.to_string()), 10, 0));
        }
        assert_eq!(terminal.state().bars.as_ref().map(|bars| bars.shown), Some(BARS));
        terminal.finish();
        terminal.show(&started(digest("late"), 10, 0));
        assert!(terminal.state().bars.is_none());
    }
}

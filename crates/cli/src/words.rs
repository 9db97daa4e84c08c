//! Numbers, times and foreign text as people read them.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// `170 MB`.
pub(crate) fn size(bytes: u64) -> String {
    larder_engine::Bytes(bytes).to_string()
}

/// `1 image`, `2 images`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// How long something took: `8 ms`, `1.2 s`, `2 min 5 s`.
pub(crate) fn took(elapsed: Duration) -> String {
    let millis = elapsed.as_millis();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.1} s", elapsed.as_secs_f64()),
        _ => format!("{} min {} s", millis / 60_000, millis / 1_000 % 60),
    }
}

/// How long ago something was: `just now`, `5 minutes ago`, `3 weeks ago`.
pub(crate) fn ago(time: SystemTime, now: SystemTime) -> String {
    let Ok(since) = now.duration_since(time) else { return "in the future".into() };
    let seconds = since.as_secs();
    let (number, unit) = match seconds {
        0..10 => return "just now".into(),
        10..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural} ago")
}

/// Text from a registry, an image or an archive, made harmless: control characters, with which a terminal could be
/// driven, and marks that reorder text are shown as escapes. Line ends stay.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        for (seconds, text) in [
            (0, "just now"),
            (45, "45 seconds ago"),
            (60, "1 minute ago"),
            (7_199, "1 hour ago"),
            (86_400 * 13, "13 days ago"),
            (86_400 * 14, "2 weeks ago"),
            (86_400 * 75, "2 months ago"),
            (86_400 * 1_000, "2 years ago"),
        ] {
            assert_eq!(ago(now - Duration::from_secs(seconds), now), text);
        }
        assert_eq!(ago(now + Duration::from_secs(5), now), "in the future");
    }

    #[test]
    fn spans() {
        assert_eq!(took(Duration::from_millis(8)), "8 ms");
        assert_eq!(took(Duration::from_millis(1_234)), "1.2 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\r\u{202e}c\nd\u{9b}1m"), "a\\u{1b}[2Jb\\r\\u{202e}c\nd\\u{9b}1m");
        assert!(matches!(plain("plain text: äöü €"), Cow::Borrowed(_)));
    }
}

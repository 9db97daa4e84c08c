//! Patterns of names and of paths.

/// A step on the way to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// A text in which `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Glob {
    Everything,
    Exact(String),
    Prefix(String),
    Suffix(String),
    /// What must stand there in this order; the first and the last at the ends.
    Pieces(Vec<String>),
}

/// A pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldPattern {
    pub(super) segments: Vec<Segment>,
}

/// A part of a pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`
    Steps,
    /// `[*]`
    Item,
    Key(Glob),
}

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        let pieces: Vec<&str> = text.split('*').collect();
        match pieces.as_slice() {
            [exact] => Self::Exact((*exact).to_owned()),
            ["", ""] => Self::Everything,
            [prefix, ""] => Self::Prefix((*prefix).to_owned()),
            ["", suffix] => Self::Suffix((*suffix).to_owned()),
            _ => Self::Pieces(pieces.into_iter().map(str::to_owned).collect()),
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Exact(exact) => exact == text,
            // One byte says it for nearly all.
            Self::Prefix(prefix) => begins_alike(text, prefix) && text.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => ends_alike(text, suffix) && text.ends_with(suffix.as_str()),
            Self::Pieces(pieces) => matches_pieces(pieces, text),
        }
    }
}

fn begins_alike(text: &str, prefix: &str) -> bool {
    prefix.is_empty() || text.as_bytes().first() == prefix.as_bytes().first()
}

fn ends_alike(text: &str, suffix: &str) -> bool {
    suffix.is_empty() || text.as_bytes().last() == suffix.as_bytes().last()
}

fn matches_pieces(pieces: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = pieces else {
        return false;
    };
    if !begins_alike(text, first) || !ends_alike(text, last) {
        return false;
    }
    let Some(rest) = text.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()))
    else {
        return false;
    };
    let mut rest = rest;
    for piece in middle {
        match rest.find(piece.as_str()) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

impl FieldPattern {
    /// `None` if it is not a pattern: an empty step, a quote without an end.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix('"') {
                let (key, after) = quoted.split_once('"')?;
                segments.push(Segment::Key(Glob::new(key)));
                rest = after;
            } else if let Some(after) = rest.strip_prefix("[*]") {
                segments.push(Segment::Item);
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (key, after) = rest.split_at(end);
                match key {
                    "" => return None,
                    "**" => segments.push(Segment::Steps),
                    _ => segments.push(Segment::Key(Glob::new(key))),
                }
                rest = after;
            }
            match rest.strip_prefix('.') {
                Some("") => return None,
                Some(after) => rest = after,
                None if rest.is_empty() || rest.starts_with('[') => {}
                None => return None,
            }
        }
        (!segments.is_empty()).then_some(Self { segments })
    }

    pub(super) fn matches(&self, path: &[Step<'_>]) -> bool {
        matches_segments(&self.segments, path)
    }
}

/// From the end, which is where patterns differ.
fn matches_segments(segments: &[Segment], path: &[Step<'_>]) -> bool {
    let Some((last, segments)) = segments.split_last() else {
        return path.is_empty();
    };
    if *last == Segment::Steps {
        return segments.is_empty()
            || (0..=path.len()).rev().any(|length| matches_segments(segments, &path[..length]));
    }
    let Some((step, path)) = path.split_last() else {
        return false;
    };
    let fits = match (last, step) {
        (Segment::Key(glob), Step::Key(key)) => glob.matches(key),
        (Segment::Item, Step::Index(_)) => true,
        _ => false,
    };
    fits && matches_segments(segments, path)
}

/// A path as people read it. Keys without end are cut, since every find below them would hold them.
pub(super) fn display(path: &[Step<'_>]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for step in path {
        let cut = match step {
            Step::Key(key) if key.len() > MAX_KEY => {
                let end = (0..=MAX_KEY).rev().find(|end| key.is_char_boundary(*end)).unwrap_or(0);
                Some(format!("{}…", &key[..end]))
            }
            _ => None,
        };
        let step = &cut.as_deref().map_or(*step, Step::Key);
        // Writing to a text cannot fail.
        let _ = match step {
            Step::Index(index) => write!(text, "[{index}]"),
            Step::Key(key)
                if key.is_empty()
                    || key.contains(['.', '[', ']', '"', ' '])
                    || key.contains(char::is_control) =>
            {
                write!(text, "[{key:?}]")
            }
            Step::Key(key) if text.is_empty() => write!(text, "{key}"),
            Step::Key(key) => write!(text, ".{key}"),
        };
    }
    text
}

/// Bytes of a key that are shown; names in Kubernetes have 253 at most.
const MAX_KEY: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Step<'_>> {
        let step = |part| match part {
            "0" => Step::Index(0),
            key => Step::Key(key),
        };
        text.split('/').map(step).collect()
    }

    #[test]
    fn any_number_of_steps_is_also_none() {
        let pattern = FieldPattern::new("**.containers[*].image").unwrap();
        assert!(pattern.matches(&path("containers/0/image")));
        assert!(pattern.matches(&path("spec/a/0/containers/0/image")));
        assert!(!pattern.matches(&path("containers/image")));
        assert!(!pattern.matches(&path("containers/0/image/x")));
        assert!(FieldPattern::new("status.**").unwrap().matches(&path("status/a/b")));
        assert!(!FieldPattern::new("status.**").unwrap().matches(&path("spec/status/a")));
    }

    #[test]
    fn keys_with_dots_are_quoted() {
        let pattern = FieldPattern::new("metadata.annotations.\"helm.sh/images\"").unwrap();
        assert!(
            pattern.matches(
                &path("metadata/annotations/helm.sh\u{2f}images")
                    .split_at(2)
                    .0
                    .iter()
                    .copied()
                    .chain([Step::Key("helm.sh/images")])
                    .collect::<Vec<_>>()
            )
        );
        assert_eq!(
            display(&[Step::Key("data"), Step::Key("a.yaml"), Step::Index(1), Step::Key("b")]),
            "data[\"a.yaml\"][1].b"
        );
    }

    #[test]
    fn keys_without_end_are_cut() {
        let key = "é".repeat(1000);
        assert_eq!(display(&[Step::Key(&key), Step::Key("b")]), format!("{}….b", "é".repeat(150)));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", ".a", "a.", "a..b", "\"a", "a]b[0]"] {
            assert_eq!(FieldPattern::new(text), None, "{text}");
        }
    }

    #[test]
    fn globs_have_any_number_of_stars() {
        assert!(Glob::new("*IMAGE_*").matches("RELATED_IMAGE_X"));
        assert!(Glob::new("a*b*c").matches("a1b2c"));
        assert!(!Glob::new("a*b*c").matches("a1c2"));
        assert!(!Glob::new("ab*ba").matches("aba"));
    }
}

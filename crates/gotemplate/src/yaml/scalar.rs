//! What scalars mean: go-yaml 2.4, `resolve.go`.

use super::node::{Scalar, Style};
use super::number;
use super::timestamp;
use base64::Engine as _;

/// The meaning of a scalar; a text stays where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Resolved {
    Nil,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    Text,
    /// A text that looks like a date.
    Timestamp,
    Binary(Vec<u8>),
}

/// A tag that does not fit the text.
#[derive(Debug)]
pub(super) enum Mismatch {
    Tag(&'static str),
    Base64,
}

pub(super) const TAG_PREFIX: &str = "tag:yaml.org,2002:";
pub(super) const TAG_TEXT: &str = "tag:yaml.org,2002:str";
pub(super) const TAG_MERGE: &str = "tag:yaml.org,2002:merge";

impl Resolved {
    /// The tag of YAML 1.1, short.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Nil => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Text => "!!str",
            Self::Timestamp => "!!timestamp",
            Self::Binary(_) => "!!binary",
        }
    }
}

/// Resolves a scalar with its tag and its style.
pub(super) fn resolve(scalar: &Scalar) -> Result<Resolved, Mismatch> {
    let Some(tag) = scalar.tag.as_deref() else {
        return Ok(if scalar.style == Style::Plain { plain(&scalar.text) } else { Resolved::Text });
    };
    let Some(short) = tag.strip_prefix(TAG_PREFIX) else {
        return Ok(Resolved::Text);
    };
    let found = match short {
        "str" => return Ok(Resolved::Text),
        "binary" => {
            let engine = &base64::engine::general_purpose::STANDARD;
            // Go's decoder ignores line ends.
            let text: Vec<u8> = scalar.text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
            return engine.decode(text).map(Resolved::Binary).map_err(|_| Mismatch::Base64);
        }
        "bool" | "int" | "float" | "null" | "timestamp" => tagged(&scalar.text, short == "timestamp"),
        _ => return Ok(Resolved::Text),
    };
    match (short, found) {
        ("float", Resolved::Int(number)) => Ok(Resolved::Float(number as f64)),
        (_, found) if found.tag().strip_prefix("!!") == Some(short) => Ok(found),
        (_, found) => Err(Mismatch::Tag(found.tag())),
    }
}

/// A plain scalar without a tag.
pub(super) fn plain(text: &str) -> Resolved {
    tagged(text, true)
}

fn tagged(text: &str, dates: bool) -> Resolved {
    let Some(first) = text.bytes().next() else {
        return Resolved::Nil;
    };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => word(text),
        b'.' => match text {
            ".nan" | ".NaN" | ".NAN" => Resolved::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" => Resolved::Float(f64::INFINITY),
            _ => number::float(text).map_or(Resolved::Text, Resolved::Float),
        },
        b'+' | b'-' | b'0'..=b'9' => match text {
            "+.inf" | "+.Inf" | "+.INF" => Resolved::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => Resolved::Float(f64::NEG_INFINITY),
            _ if dates && timestamp::is_timestamp(text) => Resolved::Timestamp,
            _ => number::number(text).unwrap_or(Resolved::Text),
        },
        _ => Resolved::Text,
    }
}

fn word(text: &str) -> Resolved {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Resolved::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Resolved::Bool(false)
        }
        "~" | "null" | "Null" | "NULL" => Resolved::Nil,
        _ => Resolved::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_yaml_1_1() {
        for text in ["y", "Yes", "ON", "true"] {
            assert_eq!(plain(text), Resolved::Bool(true), "{text}");
        }
        for text in ["yEs", "truE", "nope", "o"] {
            assert_eq!(plain(text), Resolved::Text, "{text}");
        }
    }

    #[test]
    fn numbers_are_those_of_go() {
        assert_eq!(plain("0777"), Resolved::Int(511));
        assert_eq!(plain("0o17"), Resolved::Int(15));
        assert_eq!(plain("0b101"), Resolved::Int(5));
        assert_eq!(plain("-0b101"), Resolved::Int(-5));
        assert_eq!(plain("0b-101"), Resolved::Int(-5));
        assert_eq!(plain("1_000"), Resolved::Int(1000));
        assert_eq!(plain("08"), Resolved::Float(8.0));
        assert_eq!(plain("1e3"), Resolved::Float(1000.0));
        assert_eq!(plain("1."), Resolved::Float(1.0));
        assert_eq!(plain("18446744073709551615"), Resolved::Uint(u64::MAX));
        assert_eq!(plain("1e400"), Resolved::Text);
        assert_eq!(plain("190:20:30"), Resolved::Text);
        assert_eq!(plain("0x1p4"), Resolved::Text);
        assert_eq!(plain("_1"), Resolved::Text);
        assert_eq!(plain("2001-01-01"), Resolved::Timestamp);
    }
}

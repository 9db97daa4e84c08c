//! What can be wrong with YAML.

/// Why a document could not be read, or a value not be written. Shown as go-yaml shows it, where it has words for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields say where and what by their names")]
pub enum Error {
    /// The text is not YAML.
    #[error("line {line}: {reason}")]
    Syntax { line: u32, column: u32, reason: String },
    /// Bytes that are neither UTF-8 nor UTF-16 with a byte order mark.
    #[error("line {line}: invalid UTF-8")]
    Encoding { line: u32 },
    /// A character that YAML does not allow.
    #[error("control characters are not allowed")]
    ControlCharacter { line: u32 },
    /// An alias without an anchor before it.
    #[error("line {line}: unknown anchor '{name}' referenced")]
    UnknownAnchor { line: u32, name: String },
    /// An anchor whose value contains its own alias.
    #[error("line {line}: anchor value contains itself")]
    AnchorLoop { line: u32 },
    /// `<<` with something else than maps.
    #[error("map merge requires map or sequence of maps as the value")]
    Merge { line: u32 },
    /// A list, a map or nothing as the key of a map.
    #[error("line {line}: unsupported map key")]
    Key { line: u32 },
    /// A tag that the text under it contradicts: `!!int abc`.
    #[error("cannot decode {found} `{text}` as a {tag}")]
    Tag { line: u32, found: &'static str, text: String, tag: String },
    /// `!!binary` with something else than base64.
    #[error("!!binary value contains invalid base64 data")]
    Binary { line: u32 },
    /// A number that JSON does not have: infinity or not a number.
    #[error("json: unsupported value: {text}")]
    Number { text: String },
    /// More bytes, levels or nodes than the limits allow; also what aliases multiply.
    #[error("line {line}: more than {limit} {what}")]
    Limit { line: u32, limit: usize, what: &'static str },
}

impl Error {
    /// The line it was noticed in, where there is one.
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::Number { .. } => None,
            Self::Syntax { line, .. }
            | Self::Encoding { line }
            | Self::ControlCharacter { line }
            | Self::UnknownAnchor { line, .. }
            | Self::AnchorLoop { line }
            | Self::Merge { line }
            | Self::Key { line }
            | Self::Tag { line, .. }
            | Self::Binary { line }
            | Self::Limit { line, .. } => Some(*line),
        }
    }

    /// The reason alone, without the line.
    pub fn reason(&self) -> String {
        let text = self.to_string();
        match text.strip_prefix("line ").and_then(|rest| rest.split_once(": ")) {
            Some((_, reason)) => reason.to_owned(),
            None => text,
        }
    }
}

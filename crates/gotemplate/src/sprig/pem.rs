//! PEM blocks (Go's `encoding/pem`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::encoding;

/// The first block of a text: its type and its bytes.
pub(crate) fn decode(text: &[u8]) -> Option<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (kind, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {kind}-----"))?;
    // Headers, if there are any, end with an empty line.
    let body = if body.contains(':') { body.split_once("\n\n")?.1 } else { body };
    let digits: String = body.chars().filter(|character| !character.is_whitespace()).collect();
    Some((kind.to_owned(), encoding::decode_base64(digits.as_bytes()).ok()?))
}

/// A block with lines of 64 characters.
pub(crate) fn encode(kind: &str, bytes: &[u8]) -> String {
    let digits = STANDARD.encode(bytes);
    let mut out = format!("-----BEGIN {kind}-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out + &format!("-----END {kind}-----\n")
}

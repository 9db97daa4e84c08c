//! Lines of a given width (`Masterminds/goutils`: `WrapCustom`, `AbbreviateFull`).

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::text::Text;
use crate::value::Value;

use Parameter::{Int, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("wrap", &[Int, Str], |args| {
        let text = args.text(1);
        wrap(args, &text, b"", false)
    }),
    Function::new("wrapWith", &[Int, Str, Str], |args| {
        let (separator, text) = (args.text(1), args.text(2));
        wrap(args, &text, separator.as_bytes(), true)
    }),
    Function::new("abbrev", &[Int, Str], |args| {
        let (width, text) = (args.int(0), args.text(1));
        Ok(if width < 4 { text } else { abbreviate(text.as_bytes(), 0, width) }.into())
    }),
    Function::new("abbrevboth", &[Int, Int, Str], |args| {
        let (left, right, text) = (args.int(0), args.int(1), args.text(2));
        Ok(if right < 4 || left > 0 && right < 7 { text } else { abbreviate(text.as_bytes(), left, right) }
            .into())
    }),
];

fn wrap(args: &mut Arguments<'_>, text: &Text, separator: &[u8], long_words: bool) -> Result<Value, Fault> {
    let width = usize::try_from(args.int(0)).unwrap_or(0).max(1);
    let separator = if separator.is_empty() { b"\n" } else { separator };
    let text = text.as_bytes();
    let most = text.len() / width + text.iter().filter(|byte| **byte == b' ').count() + 1;
    args.run.charge(text.len() + separator.len().saturating_mul(most))?;
    let mut out = Vec::new();
    let mut rest = text;
    while rest.len() > width {
        if rest[0] == b' ' {
            rest = &rest[1..];
            continue;
        }
        let blank = rest[..=width].iter().rposition(|byte| *byte == b' ');
        let blank = blank.or_else(|| if long_words { None } else { find_from(rest, width) });
        if let Some(at) = blank {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(separator);
            rest = &rest[at + 1..];
        } else if long_words {
            out.extend_from_slice(&rest[..width]);
            out.extend_from_slice(separator);
            rest = &rest[width..];
        } else {
            break;
        }
    }
    out.extend_from_slice(rest);
    Ok(Text::from(out).into())
}

fn find_from(text: &[u8], start: usize) -> Option<usize> {
    text[start..].iter().position(|byte| *byte == b' ').map(|at| at + start)
}

/// `goutils.AbbreviateFull`: at most `width` bytes, with dots where something was left out.
fn abbreviate(text: &[u8], offset: i64, width: i64) -> Text {
    let length = text.len() as i64;
    if text.is_empty() || width < 4 {
        return "".into();
    }
    if length <= width {
        return text.into();
    }
    let mut offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    if offset <= 4 {
        return [&text[..(width - 3) as usize], b"..."].concat().into();
    }
    if width < 7 {
        return "".into();
    }
    if offset + width - 3 < length {
        let rest = abbreviate(&text[offset as usize..], 0, width - 3);
        return [b"...", rest.as_bytes()].concat().into();
    }
    [b"...", &text[(length - (width - 3)) as usize..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_have_dots_where_something_is_missing() {
        assert_eq!(abbreviate(b"hello world", 0, 5), Text::from("he..."));
        assert_eq!(abbreviate(b"1234 5678 9123", 5, 10), Text::from("...5678..."));
        assert_eq!(abbreviate(b"short", 0, 5), Text::from("short"));
    }
}

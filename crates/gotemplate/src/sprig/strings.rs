//! Texts: trimming, searching, cutting, joining (Sprig's `strings.go`).

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::quote;
use crate::text::Text;
use crate::value::{Element, List, Map, Value};

use super::cast;
use super::runes;

use Parameter::{Any, Int, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("hello", &[], |_| Ok("Hello!".into())),
    Function::new("trim", &[Str], |args| Ok(trim_space(args.text(0).as_bytes()).into())),
    Function::new("trimAll", &[Str, Str], |args| Ok(trim_all(&args.text(1), &args.text(0)).into())),
    Function::new("trimall", &[Str, Str], |args| Ok(trim_all(&args.text(1), &args.text(0)).into())),
    Function::new("trimSuffix", &[Str, Str], |args| {
        let (suffix, text) = (args.text(0), args.text(1));
        Ok(text.as_bytes().strip_suffix(suffix.as_bytes()).map_or(text.clone(), Text::from).into())
    }),
    Function::new("trimPrefix", &[Str, Str], |args| {
        let (prefix, text) = (args.text(0), args.text(1));
        Ok(text.as_bytes().strip_prefix(prefix.as_bytes()).map_or(text.clone(), Text::from).into())
    }),
    Function::new("contains", &[Str, Str], |args| {
        Ok(find(args.text(1).as_bytes(), args.text(0).as_bytes()).is_some().into())
    }),
    Function::new("hasPrefix", &[Str, Str], |args| {
        Ok(args.text(1).as_bytes().starts_with(args.text(0).as_bytes()).into())
    }),
    Function::new("hasSuffix", &[Str, Str], |args| {
        Ok(args.text(1).as_bytes().ends_with(args.text(0).as_bytes()).into())
    }),
    Function::new("replace", &[Str, Str, Str], replace),
    Function::new("repeat", &[Int, Str], repeat),
    Function::new("trunc", &[Int, Str], |args| Ok(trunc(args.int(0), &args.text(1)).into())),
    Function::new("substr", &[Int, Int, Str], |args| {
        Ok(substring(args.int(0), args.int(1), args.text(2).as_bytes())?.into())
    }),
    Function::new("indent", &[Int, Str], |args| indent(args, b"")),
    Function::new("nindent", &[Int, Str], |args| indent(args, b"\n")),
    Function::variadic("quote", &[], Any, |args| {
        quoted(args, |value| Ok(quote::quote(cast::to_text(value)?.as_bytes()).into()))
    }),
    Function::variadic("squote", &[], Any, |args| {
        quoted(args, |value| Ok([b"'", cast::sprint(value)?.as_bytes(), b"'"].concat().into()))
    }),
    Function::variadic("cat", &[], Any, cat),
    Function::new("plural", &[Str, Str, Int], |args| {
        Ok(args.text(if args.int(2) == 1 { 0 } else { 1 }).into())
    }),
    Function::new("toString", &[Any], |args| {
        let text = cast::to_text(&args.value(0))?;
        args.run.charge(text.len())?;
        Ok(text.into())
    }),
    Function::new("toStrings", &[Any], |args| {
        let texts = match args.value(0) {
            Value::List(list) if list.element == Element::Text => return Ok(list.into()),
            other => cast::to_texts(&other, args.run)?,
        };
        list_of(args, texts)
    }),
    Function::new("join", &[Str, Any], join),
    Function::new("split", &[Str, Str], |args| {
        let (separator, text) = (args.text(0), args.text(1));
        split_map(args, &separator, &text, -1)
    }),
    Function::new("splitn", &[Str, Int, Str], |args| {
        let (separator, text, limit) = (args.text(0), args.text(2), args.int(1));
        split_map(args, &separator, &text, limit)
    }),
    Function::new("splitList", &[Str, Str], |args| {
        let (separator, text) = (args.text(0), args.text(1));
        charge_parts(args, &text, &separator)?;
        let parts = split(text.as_bytes(), separator.as_bytes(), -1);
        list_of(args, parts)
    }),
    Function::new("sortAlpha", &[Any], sort),
];

/// `strings.Index`.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, part)
}

/// `strings.TrimSpace`.
pub(crate) fn trim_space(text: &[u8]) -> Text {
    trim(text, |rune| rune.is_whitespace())
}

fn trim_all(text: &Text, set: &Text) -> Text {
    let set: Vec<char> = runes::of(set.as_bytes()).collect();
    trim(text.as_bytes(), |rune| set.contains(&rune))
}

fn trim(text: &[u8], mut goes: impl FnMut(char) -> bool) -> Text {
    let mut start = 0;
    while let Some((rune, size)) = runes::first(&text[start..]) {
        if !goes(rune) {
            break;
        }
        start += size;
    }
    let mut end = start;
    let mut at = start;
    for (rune, bytes) in runes::split(&text[start..]) {
        at += bytes.len();
        if !goes(rune) {
            end = at;
        }
    }
    text[start..end].into()
}

fn replace(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (old, new, text) = (args.text(0), args.text(1), args.text(2));
    let (old, new, text) = (old.as_bytes(), new.as_bytes(), text.as_bytes());
    // Go writes `new` before every rune and at the end, if there is nothing to look for.
    let count = match old {
        [] => runes::of(text).count() + 1,
        _ => memchr::memmem::find_iter(text, old).count(),
    };
    args.run.charge(text.len() + new.len().saturating_mul(count))?;
    let mut out = Vec::with_capacity(text.len());
    if old.is_empty() {
        for (_, rune) in runes::split(text) {
            out.extend_from_slice(new);
            out.extend_from_slice(rune);
        }
        out.extend_from_slice(new);
        return Ok(Text::from(out).into());
    }
    let mut start = 0;
    for at in memchr::memmem::find_iter(text, old) {
        out.extend_from_slice(&text[start..at]);
        out.extend_from_slice(new);
        start = at + old.len();
    }
    out.extend_from_slice(&text[start..]);
    Ok(Text::from(out).into())
}

fn repeat(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (count, text) = (args.int(0), args.text(1));
    let Ok(count) = usize::try_from(count) else { return Err(Fault::new("strings: negative Repeat count")) };
    args.run.charge(text.len().saturating_mul(count))?;
    Ok(Text::from(text.as_bytes().repeat(count)).into())
}

fn trunc(count: i64, text: &Text) -> Text {
    let length = text.len() as i64;
    let bytes = text.as_bytes();
    if count < 0 && length.saturating_add(count) > 0 {
        bytes[(length + count) as usize..].into()
    } else if count >= 0 && length > count {
        bytes[..count as usize].into()
    } else {
        text.clone()
    }
}

/// Sprig's `substr`, with Go's panics where the range is not one.
fn substring(start: i64, end: i64, text: &[u8]) -> Result<Text, Fault> {
    let length = text.len() as i64;
    let bounds = |words: String| Err(Fault::new(format!("runtime error: slice bounds out of range {words}")));
    if start < 0 {
        return match usize::try_from(end) {
            Ok(end) => match text.get(..end) {
                Some(part) => Ok(part.into()),
                None => bounds(format!("[:{end}] with length {length}")),
            },
            Err(_) => bounds(format!("[:{end}]")),
        };
    }
    if end < 0 || end > length {
        return match text.get(start as usize..) {
            Some(part) => Ok(part.into()),
            None => bounds(format!("[{start}:{length}]")),
        };
    }
    match text.get(start as usize..end as usize) {
        Some(part) => Ok(part.into()),
        None => bounds(format!("[{start}:{end}]")),
    }
}

fn indent(args: &mut Arguments<'_>, before: &[u8]) -> Result<Value, Fault> {
    let text = args.text(1);
    let Ok(spaces) = usize::try_from(args.int(0)) else {
        return Err(Fault::new("strings: negative Repeat count"));
    };
    let lines = memchr::memchr_iter(b'\n', text.as_bytes()).count() + 1;
    let size = before.len() + text.len() + spaces.saturating_mul(lines);
    args.run.charge(size)?;
    let pad = vec![b' '; spaces];
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(before);
    for (index, line) in text.as_bytes().split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(&pad);
        out.extend_from_slice(line);
    }
    Ok(Text::from(out).into())
}

fn quoted(args: &mut Arguments<'_>, quote: fn(&Value) -> Result<Text, Fault>) -> Result<Value, Fault> {
    let texts = cast::texts_of(&args.values, quote, args.run)?;
    glue(args, &texts, b" ")
}

/// Blanks between all values but nil. The *format* is what Sprig trims, so blanks of the values stay.
fn cat(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let texts = args
        .values
        .iter()
        .filter(|value| !value.is_nil())
        .map(cast::sprint)
        .collect::<Result<Vec<_>, _>>()?;
    glue(args, &texts, b" ")
}

fn join(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let separator = args.text(0);
    let texts = cast::to_texts(&args.value(1), args.run)?;
    glue(args, &texts, separator.as_bytes())
}

/// `strings.Join`, charged.
fn glue(args: &mut Arguments<'_>, texts: &[Text], separator: &[u8]) -> Result<Value, Fault> {
    let size = texts.iter().map(Text::len).sum::<usize>() + separator.len().saturating_mul(texts.len());
    args.run.charge(size)?;
    let parts: Vec<&[u8]> = texts.iter().map(Text::as_bytes).collect();
    Ok(Text::from(parts.join(separator)).into())
}

/// What the parts of a text will cost, as far as it is known before.
fn charge_parts(args: &mut Arguments<'_>, text: &Text, separator: &Text) -> Result<(), Fault> {
    let count = match separator.as_bytes() {
        [] => text.len(),
        separator => memchr::memmem::find_iter(text.as_bytes(), separator).count(),
    };
    args.run.charge(count.saturating_mul(2 * ITEM_BYTES))
}

/// `strings.SplitN`.
pub(crate) fn split(text: &[u8], separator: &[u8], limit: i64) -> Vec<Text> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Vec::new();
    }
    let mut parts: Vec<Text> = Vec::new();
    let mut rest = text;
    if separator.is_empty() {
        while parts.len() + 1 < limit
            && let Some((_, size)) = runes::first(rest)
        {
            parts.push(rest[..size].into());
            rest = &rest[size..];
        }
        if !rest.is_empty() {
            parts.push(rest.into());
        }
        return parts;
    }
    while parts.len() + 1 < limit
        && let Some(at) = find(rest, separator)
    {
        parts.push(rest[..at].into());
        rest = &rest[at + separator.len()..];
    }
    parts.push(rest.into());
    parts
}

fn split_map(args: &mut Arguments<'_>, separator: &Text, text: &Text, limit: i64) -> Result<Value, Fault> {
    charge_parts(args, text, separator)?;
    let parts = split(text.as_bytes(), separator.as_bytes(), limit);
    args.run.charge(text.len() + parts.len() * ITEM_BYTES)?;
    let map = Map::typed(Element::Text);
    for (index, part) in parts.into_iter().enumerate() {
        map.set(format!("_{index}"), part.into());
    }
    Ok(map.into())
}

fn sort(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut texts = match args.value(0) {
        Value::Nil => vec![cast::sprint(&Value::Nil)?],
        value => cast::to_texts(&value, args.run)?,
    };
    texts.sort_unstable();
    list_of(args, texts)
}

/// A `[]string`, charged.
pub(crate) fn list_of(args: &mut Arguments<'_>, texts: Vec<Text>) -> Result<Value, Fault> {
    args.run.charge(texts.iter().map(|text| text.len() + ITEM_BYTES).sum())?;
    Ok(List::typed(Element::Text, texts.into_iter().map(Value::from).collect()).into())
}

/// What an item of a list or a map costs, about.
pub(crate) const ITEM_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault};
    use super::*;

    #[test]
    fn an_empty_text_is_replaced_between_all_runes() {
        assert_eq!(call("replace", &["".into(), "-".into(), "aé".into()]), "-a-é-");
        assert_eq!(call("replace", &["".into(), "-".into(), "".into()]), "-");
        assert_eq!(call("replace", &["a".into(), "bb".into(), "aXa".into()]), "bbXbb");
    }

    #[test]
    fn cutting_counts_bytes() {
        assert_eq!(call("trunc", &[Value::int(-3), "abcdef".into()]), "def");
        assert_eq!(call("trunc", &[Value::int(-30), "abc".into()]), "abc");
        assert_eq!(call("substr", &[Value::int(1), Value::int(-1), "abc".into()]), "bc");
        let words = fault("substr", &[Value::int(5), Value::int(2), "abcdefgh".into()]);
        assert_eq!(words, "runtime error: slice bounds out of range [5:2]");
    }

    #[test]
    fn splitting_by_nothing_gives_runes() {
        assert_eq!(split("aé€".as_bytes(), b"", 2), [Text::from("a"), Text::from("é€")]);
        assert!(split(b"", b"", -1).is_empty());
        assert_eq!(split(b"", b",", -1), [Text::from("")]);
        assert!(split(b"a,b", b",", 0).is_empty());
    }

    #[test]
    fn what_would_be_large_is_charged_before_it_is_made() {
        let words = fault("repeat", &[Value::int(i64::MAX), "abc".into()]);
        assert_eq!(words, "spent");
        assert_eq!(fault("nindent", &[Value::int(1 << 40), "abc".into()]), "spent");
    }
}

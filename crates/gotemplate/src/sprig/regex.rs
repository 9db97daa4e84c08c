//! Regular expressions (Sprig's `regex.go`, Go's `regexp`).

use std::borrow::Cow;
use std::rc::Rc;

use crate::function::{Arguments, Fault, Function, Parameter, Run};
use crate::quote;
use crate::text::Text;
use crate::value::{Element, List, Value};

use super::pattern::{self, Pattern};
use super::replacement;
use super::runes;
use super::strings::{self, ITEM_BYTES};

use Parameter::{Int, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("regexMatch", &[Str, Str], |args| match given(args) {
        Ok(pattern) => Ok(pattern.regex.is_match(args.text(1).as_bytes()).into()),
        Err(fault) if fault.limit => Err(fault),
        Err(_) => Ok(false.into()),
    }),
    Function::new("mustRegexMatch", &[Str, Str], |args| {
        Ok(given(args)?.regex.is_match(args.text(1).as_bytes()).into())
    }),
    Function::new("regexFind", &[Str, Str], |args| find(args, compiled)),
    Function::new("mustRegexFind", &[Str, Str], |args| find(args, given)),
    Function::new("regexFindAll", &[Str, Str, Int], |args| find_all(args, compiled)),
    Function::new("mustRegexFindAll", &[Str, Str, Int], |args| find_all(args, given)),
    Function::new("regexReplaceAll", &[Str, Str, Str], |args| replace(args, compiled, true)),
    Function::new("mustRegexReplaceAll", &[Str, Str, Str], |args| replace(args, given, true)),
    Function::new("regexReplaceAllLiteral", &[Str, Str, Str], |args| replace(args, compiled, false)),
    Function::new("mustRegexReplaceAllLiteral", &[Str, Str, Str], |args| replace(args, given, false)),
    Function::new("regexSplit", &[Str, Str, Int], |args| split(args, compiled)),
    Function::new("mustRegexSplit", &[Str, Str, Int], |args| split(args, given)),
    Function::new("regexQuoteMeta", &[Str], |args| {
        Ok(Text::from(pattern::quote(args.text(0).as_bytes())).into())
    }),
];

type Compile = fn(&mut Arguments<'_>) -> Result<Rc<Pattern>, Fault>;

/// The first argument, compiled (`regexp.Compile`); once, however often it is used.
fn given(args: &mut Arguments<'_>) -> Result<Rc<Pattern>, Fault> {
    let expression = args.text(0);
    if let Some(pattern) = args.run.kept(&expression).and_then(|kept| kept.downcast().ok()) {
        return Ok(pattern);
    }
    let pattern = Rc::new(Pattern::new(expression.as_bytes(), |cost| args.run.charge(cost))?);
    args.run.keep(expression, pattern.clone());
    Ok(pattern)
}

/// `regexp.MustCompile`, whose panic names the whole expression.
fn compiled(args: &mut Arguments<'_>) -> Result<Rc<Pattern>, Fault> {
    given(args).map_err(|fault| {
        if fault.limit {
            return fault;
        }
        let expression = args.text(0);
        let bytes = expression.as_bytes();
        let shown = if quote::can_backquote(bytes) { format!("`{expression}`") } else { quote::quote(bytes) };
        Fault::new(format!("regexp: Compile({shown}): {fault}"))
    })
}

fn find(args: &mut Arguments<'_>, compile: Compile) -> Result<Value, Fault> {
    let pattern = compile(args)?;
    let text = args.text(1);
    let searched = Searched::new(text.as_bytes(), args.run)?;
    let found = pattern.regex.find(&searched.bytes);
    Ok(found.map_or(Text::from(""), |found| searched.original(found.start(), found.end()).into()).into())
}

/// A text as Go's expressions see it: every byte that is not UTF-8 is a U+FFFD.
struct Searched<'t> {
    text: &'t [u8],
    bytes: Cow<'t, [u8]>,
    /// Where each byte of `bytes` comes from, and its end; nothing if it is the text itself.
    origins: Vec<usize>,
}

impl<'t> Searched<'t> {
    fn new(text: &'t [u8], run: &mut dyn Run) -> Result<Self, Fault> {
        if std::str::from_utf8(text).is_ok() {
            return Ok(Self { text, bytes: Cow::Borrowed(text), origins: Vec::new() });
        }
        run.charge(text.len().saturating_mul(3 * size_of::<usize>()))?;
        let mut bytes = Vec::with_capacity(text.len() + 16);
        let mut origins = Vec::with_capacity(text.len() + 16);
        let mut at = 0;
        for (rune, own) in runes::split(text) {
            bytes.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
            origins.resize(bytes.len(), at);
            at += own.len();
        }
        origins.push(at);
        Ok(Self { text, bytes: Cow::Owned(bytes), origins })
    }

    fn origin(&self, at: usize) -> usize {
        self.origins.get(at).copied().unwrap_or(at)
    }

    /// The part of the text that was found from `start` to `end`.
    fn original(&self, start: usize, end: usize) -> &'t [u8] {
        &self.text[self.origin(start)..self.origin(end)]
    }
}

fn find_all(args: &mut Arguments<'_>, compile: Compile) -> Result<Value, Fault> {
    let pattern = compile(args)?;
    let text = args.text(1);
    let limit = args.int(2);
    let found = all_matches(args, &pattern, text.as_bytes(), limit)?;
    if found.is_empty() {
        return Ok(List::null(Element::Text).into());
    }
    strings::list_of(args, found.into_iter().map(|(start, end)| text.as_bytes()[start..end].into()).collect())
}

/// `Regexp.FindAllStringIndex`.
fn all_matches(
    args: &mut Arguments<'_>,
    pattern: &Pattern,
    text: &[u8],
    limit: i64,
) -> Result<Vec<(usize, usize)>, Fault> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let searched = Searched::new(text, args.run)?;
    let bytes = &*searched.bytes;
    let mut found = Vec::new();
    let mut walk = Walk::default();
    while found.len() < limit
        && walk.at <= bytes.len()
        && let Some(next) = pattern.regex.find_at(bytes, walk.at)
    {
        if walk.accepts(bytes, next.start(), next.end()) {
            found.push((searched.origin(next.start()), searched.origin(next.end())));
            args.run.charge(ITEM_BYTES)?;
        }
    }
    Ok(found)
}

/// Where the next search starts: no empty match follows right after another match (`Regexp.allMatches`).
#[derive(Default)]
struct Walk {
    at: usize,
    last_end: Option<usize>,
}

impl Walk {
    /// Whether the match counts; goes on behind it.
    fn accepts(&mut self, text: &[u8], start: usize, end: usize) -> bool {
        let mut accepted = true;
        if end == self.at {
            accepted = self.last_end != Some(start);
            self.at += runes::first(&text[self.at..]).map_or(1, |(_, size)| size);
        } else {
            self.at = end;
        }
        self.last_end = Some(end);
        accepted
    }
}

fn replace(args: &mut Arguments<'_>, compile: Compile, expands: bool) -> Result<Value, Fault> {
    let pattern = compile(args)?;
    let (text, template) = (args.text(1), args.text(2));
    let (text, template) = (text.as_bytes(), template.as_bytes());
    args.run.charge(text.len())?;
    let searched = Searched::new(text, args.run)?;
    let bytes = &*searched.bytes;
    let mut out = Vec::new();
    let mut walk = Walk::default();
    let mut copied = 0;
    while walk.at <= bytes.len()
        && let Some(groups) = pattern.regex.captures_at(bytes, walk.at)
    {
        let Some(whole) = groups.get(0) else { break };
        if !walk.accepts(bytes, whole.start(), whole.end()) {
            continue;
        }
        let before = out.len();
        out.extend_from_slice(searched.original(copied, whole.start()));
        if expands {
            let group =
                |index| groups.get(index).map(|group| searched.original(group.start(), group.end()).to_vec());
            replacement::expand(template, &pattern.names, group, &mut out);
        } else {
            out.extend_from_slice(template);
        }
        copied = whole.end();
        args.run.charge(out.len() - before)?;
    }
    out.extend_from_slice(searched.original(copied, bytes.len()));
    Ok(Text::from(out).into())
}

/// `Regexp.Split`.
fn split(args: &mut Arguments<'_>, compile: Compile) -> Result<Value, Fault> {
    let pattern = compile(args)?;
    let (text, limit) = (args.text(1), args.int(2));
    let text = text.as_bytes();
    if limit == 0 {
        return Ok(List::null(Element::Text).into());
    }
    if !pattern.is_empty && text.is_empty() {
        return strings::list_of(args, vec!["".into()]);
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut parts: Vec<Text> = Vec::new();
    let (mut start, mut end) = (0, 0);
    for (match_start, match_end) in all_matches(args, &pattern, text, limit)? {
        if parts.len() + 1 == most {
            break;
        }
        end = match_start;
        if match_end != 0 {
            parts.push(text[start..end].into());
        }
        start = match_end;
    }
    if end != text.len() {
        parts.push(text[start..].into());
    }
    strings::list_of(args, parts)
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault};
    use super::*;

    #[test]
    fn empty_matches_stand_between_runes() {
        assert_eq!(call("regexReplaceAll", &["x*".into(), "aéb".into(), "-".into()]), "-a-é-b-");
        assert_eq!(call("regexReplaceAll", &["a*".into(), "baac".into(), "-".into()]), "-b-c-");
    }

    #[test]
    fn replacements_name_groups_or_are_literal() {
        let args = ["a(x*)b".into(), "-ab-axxb-".into(), "${1}W".into()];
        assert_eq!(call("regexReplaceAll", &args), "-W-xxW-");
        assert_eq!(call("regexReplaceAllLiteral", &args), "-${1}W-${1}W-");
        assert_eq!(call("regexReplaceAll", &["a(x*)b".into(), "-ab-axxb-".into(), "$1W".into()]), "---");
    }

    #[test]
    fn splitting_counts_as_go_does() {
        assert_eq!(call("regexSplit", &["z+".into(), "pizza".into(), Value::int(-1)]), "[pi a]");
        assert_eq!(call("regexSplit", &["".into(), "abc".into(), Value::int(-1)]), "[a b c]");
        assert_eq!(call("regexSplit", &["a".into(), "banana".into(), Value::int(2)]), "[b nana]");
    }

    #[test]
    fn only_the_plain_match_forgives_a_bad_expression() {
        assert_eq!(call("regexMatch", &["[".into(), "a".into()]), "false");
        assert_eq!(
            fault("mustRegexFind", &["[".into(), "a".into()]),
            "error parsing regexp: missing closing ]: `[`"
        );
        assert_eq!(
            fault("regexFind", &["[".into(), "a".into()]),
            "regexp: Compile(`[`): error parsing regexp: missing closing ]: `[`"
        );
    }
}

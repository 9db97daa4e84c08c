//! Upper, lower and all the cases between (Sprig's `strings.go`, with `huandu/xstrings` 1.5.0 and `Masterminds/goutils`).

use crate::function::{Function, Parameter};
use crate::text::Text;

use super::runes;

use Parameter::Text as Str;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("upper", &[Str], |args| Ok(runes::map(args.text(0).as_bytes(), runes::to_upper).into())),
    Function::new("lower", &[Str], |args| Ok(runes::map(args.text(0).as_bytes(), runes::to_lower).into())),
    Function::new("title", &[Str], |args| Ok(title(args.text(0).as_bytes()).into())),
    Function::new("untitle", &[Str], |args| Ok(untitle(args.text(0).as_bytes()).into())),
    Function::new("swapcase", &[Str], |args| Ok(swap_case(args.text(0).as_bytes()).into())),
    Function::new("camelcase", &[Str], |args| Ok(pascal_case(args.text(0).as_bytes()).into())),
    Function::new("snakecase", &[Str], |args| Ok(joined_case(args.text(0).as_bytes(), '_').into())),
    Function::new("kebabcase", &[Str], |args| Ok(joined_case(args.text(0).as_bytes(), '-').into())),
    Function::new("initials", &[Str], |args| Ok(initials(args.text(0).as_bytes()).into())),
    Function::new("nospace", &[Str], |args| Ok(without_space(&args.text(0)).into())),
];

/// `strings.Title`: the first letter of every word; ASCII words end at everything but letters, digits and underscores.
fn title(text: &[u8]) -> Text {
    let mut before = ' ';
    runes::map(text, |rune| {
        let starts = if before.is_ascii() {
            !before.is_ascii_alphanumeric() && before != '_'
        } else {
            !before.is_alphabetic() && !before.is_numeric() && before.is_whitespace()
        };
        before = rune;
        if starts { runes::to_title(rune) } else { rune }
    })
}

/// `goutils.Uncapitalize`.
fn untitle(text: &[u8]) -> Text {
    let mut starts = true;
    runes::map(text, |rune| {
        if rune.is_whitespace() {
            starts = true;
            rune
        } else if std::mem::take(&mut starts) {
            runes::to_lower(rune)
        } else {
            rune
        }
    })
}

/// `goutils.SwapCase`: a small letter that starts a word becomes title case.
fn swap_case(text: &[u8]) -> Text {
    let mut space = true;
    runes::map(text, |rune| {
        if rune.is_uppercase() || runes::is_title(rune) {
            space = false;
            runes::to_lower(rune)
        } else if rune.is_lowercase() {
            if std::mem::take(&mut space) { runes::to_title(rune) } else { runes::to_upper(rune) }
        } else {
            space = rune.is_whitespace();
            rune
        }
    })
}

/// `xstrings.ToPascalCase`. Connectors at the start, and all but the last of several, stay.
fn pascal_case(text: &[u8]) -> Text {
    let mut out = String::new();
    let mut rest = runes::of(text);
    let Some(mut current) = rest.next() else { return "".into() };
    while is_connector(current) {
        out.push(current);
        match rest.next() {
            Some(rune) => current = rune,
            None => {
                // The last of nothing but connectors is written twice.
                out.push(current);
                return out.into();
            }
        }
    }
    // Capitals that follow a capital at the start of a word become small: `HTTP_server` is `HttpServer`.
    let mut capitals = current.is_uppercase();
    current = runes::to_upper(current);
    for rune in rest {
        let before = std::mem::replace(&mut current, rune);
        if is_connector(rune) && is_connector(before) {
            out.push(before);
        } else if is_connector(before) {
            capitals = rune.is_uppercase();
            current = runes::to_upper(rune);
        } else {
            if capitals {
                capitals = rune.is_uppercase();
                if capitals {
                    current = runes::to_lower(rune);
                }
            }
            out.push(before);
        }
    }
    out.push(current);
    out.into()
}

fn is_connector(rune: char) -> bool {
    rune == '-' || rune == '_' || rune.is_whitespace()
}

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Invalid,
    Number,
    Upper,
    Letters,
    Connector,
    Punctuation,
    Other,
}

/// `xstrings.camelCaseToLowerCase`: words of one case joined by `connector`.
fn joined_case(text: &[u8], connector: char) -> Text {
    let tokens = tokens(text);
    let mut out = Vec::new();
    let mut rest = tokens.as_slice();
    let (mut kind, mut word) = next_word(&mut rest);
    while !rest.is_empty() {
        if kind != Word::Connector {
            write_lower(&mut out, kind, word, connector);
        }
        let (before, last) = (kind, word);
        (kind, word) = next_word(&mut rest);
        match before {
            Word::Number => {
                while matches!(kind, Word::Letters | Word::Number) {
                    write_lower(&mut out, kind, word, connector);
                    (kind, word) = next_word(&mut rest);
                }
                if !matches!(kind, Word::Invalid | Word::Punctuation | Word::Connector) {
                    write_connector(&mut out, connector);
                }
            }
            Word::Connector => write_lower(&mut out, before, last, connector),
            Word::Punctuation => {}
            _ if kind != Word::Number => {
                if !matches!(kind, Word::Connector | Word::Punctuation) {
                    write_connector(&mut out, connector);
                }
            }
            _ if rest.is_empty() => {}
            _ => {
                let number = word;
                (kind, word) = next_word(&mut rest);
                if kind != Word::Letters {
                    // The number belongs to the word before it: `Bld4Floor` is `bld4_floor`.
                    write_lower(&mut out, Word::Number, number, connector);
                    if !matches!(kind, Word::Connector | Word::Punctuation) {
                        write_connector(&mut out, connector);
                    }
                    continue;
                }
                // Small letters follow: `HTTP2xx` is `http_2xx`.
                write_connector(&mut out, connector);
                write_lower(&mut out, Word::Number, number, connector);
                while matches!(kind, Word::Letters | Word::Number) {
                    write_lower(&mut out, kind, word, connector);
                    (kind, word) = next_word(&mut rest);
                }
                if !matches!(kind, Word::Invalid | Word::Connector | Word::Punctuation) {
                    write_connector(&mut out, connector);
                }
            }
        }
    }
    write_lower(&mut out, kind, word, connector);
    out.into()
}

/// A rune with its bytes, and those before it that are not UTF-8 (`nextValidRune`).
type Token<'t> = (char, &'t [u8]);

fn tokens(text: &[u8]) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let (mut start, mut end) = (0, 0);
    for (rune, bytes) in runes::split(text) {
        end += bytes.len();
        if rune != char::REPLACEMENT_CHARACTER {
            tokens.push((rune, &text[start..end]));
            start = end;
        }
    }
    if start < end {
        // What is at the end belongs to the word before it.
        let rune = tokens.last().map_or(char::REPLACEMENT_CHARACTER, |(rune, _)| *rune);
        tokens.push((rune, &text[start..]));
    }
    tokens
}

/// `xstrings.nextWord`: takes the next run of one kind from `rest`.
fn next_word<'r, 't>(rest: &mut &'r [Token<'t>]) -> (Word, &'r [Token<'t>]) {
    let text = *rest;
    let Some((first, _)) = text.first().copied() else { return (Word::Invalid, &[]) };
    let run = |goes: fn(char) -> bool| text[1..].iter().take_while(|(rune, _)| goes(*rune)).count() + 1;
    let (kind, length) = if first == char::REPLACEMENT_CHARACTER {
        (Word::Invalid, 1)
    } else if is_connector(first) {
        (Word::Connector, run(is_connector))
    } else if runes::is_punctuation(first) {
        (Word::Punctuation, run(runes::is_punctuation))
    } else if first.is_uppercase() {
        let capitals = run(char::is_uppercase);
        let length = match text.get(capitals) {
            // `HTTPStatus` is `HTTP` and `Status`.
            Some((next, _)) if capitals > 1 && is_letter(*next) => capitals - 1,
            Some((next, _)) if capitals == 1 && is_letter(*next) => run(is_small),
            _ => capitals,
        };
        (Word::Upper, length)
    } else if is_letter(first) {
        (Word::Letters, run(is_small))
    } else if first.is_numeric() {
        (Word::Number, run(char::is_numeric))
    } else {
        let other = |rune: char| {
            !is_connector(rune) && !is_letter(rune) && !rune.is_numeric() && !runes::is_punctuation(rune)
        };
        (Word::Other, run(other))
    };
    *rest = &text[length..];
    (kind, &text[..length])
}

/// `xstrings.isAlphabet`: a letter, but of none of the scripts of China, Japan and Korea that write words in one.
fn is_letter(rune: char) -> bool {
    let whole = matches!(rune, '\u{3400}'..='\u{4D85}' | '\u{4E00}'..='\u{9FCC}' | '\u{20000}'..='\u{2B81D}');
    rune.is_alphabetic() && !whole
}

fn is_small(rune: char) -> bool {
    is_letter(rune) && !rune.is_uppercase()
}

fn write_connector(out: &mut Vec<u8>, connector: char) {
    out.extend_from_slice(connector.encode_utf8(&mut [0; 4]).as_bytes());
}

fn write_lower(out: &mut Vec<u8>, kind: Word, word: &[Token<'_>], connector: char) {
    for (_, bytes) in word {
        if !matches!(kind, Word::Upper | Word::Connector) {
            out.extend_from_slice(bytes);
            continue;
        }
        for rune in runes::of(bytes) {
            let rune = if is_connector(rune) { connector } else { runes::to_lower(rune) };
            out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// `goutils.Initials`, which goes over bytes: other letters than ASCII's come out as Latin-1.
fn initials(text: &[u8]) -> Text {
    let mut gap = true;
    let mut out = String::new();
    for byte in text {
        if is_latin1_space(*byte) {
            gap = true;
        } else if std::mem::take(&mut gap) {
            out.push((*byte).into());
        }
    }
    out.into()
}

/// `goutils.DeleteWhiteSpace`, which goes over bytes, too, but leaves a text without blanks as it is.
fn without_space(text: &Text) -> Text {
    if !text.as_bytes().iter().copied().any(is_latin1_space) {
        return text.clone();
    }
    text.as_bytes()
        .iter()
        .filter(|byte| !is_latin1_space(**byte))
        .map(|byte| char::from(*byte))
        .collect::<String>()
        .into()
}

fn is_latin1_space(byte: u8) -> bool {
    char::from(byte).is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snakes_and_kebabs_are_those_of_xstrings() {
        let cases = [
            ("FirstName", "first_name"),
            ("HTTPServer", "http_server"),
            ("NoHTTPS", "no_https"),
            ("GO_PATH", "go_path"),
            ("GO-PATH", "go_path"),
            ("http2xx", "http_2xx"),
            ("HTTP20xOK", "http_20x_ok"),
            ("Duration2m3s", "duration_2m3s"),
            ("Bld4Floor3rd", "bld4_floor_3rd"),
        ];
        for (text, expected) in cases {
            assert_eq!(joined_case(text.as_bytes(), '_'), Text::from(expected), "{text}");
        }
    }

    #[test]
    fn camels_start_with_a_capital() {
        assert_eq!(pascal_case(b"HTTP_server fooBAR"), Text::from("HttpServerFooBAR"));
        assert_eq!(pascal_case(b"_complex__case_"), Text::from("_Complex_Case_"));
    }

    #[test]
    fn titles_keep_the_rest_of_a_word() {
        assert_eq!(title("hello wORLD o'neil a_b é".as_bytes()), Text::from("Hello WORLD O'Neil A_b É"));
        assert_eq!(swap_case(b"This Is a.Test"), Text::from("tHIS iS A.tEST"));
        assert_eq!(untitle(b"Hello World"), Text::from("hello world"));
    }
}

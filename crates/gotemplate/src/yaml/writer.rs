//! Characters, columns and styles: go-yaml 2.4, `emitterc.go`, as far as `Marshal` uses it.

use super::scalar::{self, Resolved};

/// Writes one document. Its state is that of the original, since where a line breaks depends on all of it.
pub(super) struct Writer {
    out: String,
    column: usize,
    /// Before the first collection there is none.
    indent: Option<usize>,
    indents: Vec<Option<usize>>,
    /// Whether the last character was a blank, or none.
    whitespace: bool,
    /// Whether the line has only indentation and indicators.
    indention: bool,
    place: Place,
    /// Lists stand to the right of their key, and lines are as long as they are (go-yaml 3).
    spacious: bool,
}

/// What the next node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    Value,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            out: String::new(),
            column: 0,
            indent: None,
            indents: Vec::new(),
            whitespace: true,
            indention: true,
            place: Place::Root,
            spacious: false,
        }
    }
}

impl Writer {
    /// Writes as go-yaml 3 does.
    pub(super) fn spacious() -> Self {
        Self { spacious: true, ..Self::default() }
    }

    /// The document, with a line end.
    pub(super) fn finish(mut self) -> String {
        self.write_indent();
        self.out
    }

    /// A number, a boolean or null.
    pub(super) fn plain(&mut self, text: &str) {
        self.scalar(text, Style::Plain, false);
    }

    /// A text, in the style go-yaml chooses.
    pub(super) fn text(&mut self, text: &str) {
        self.scalar(text, style_of(text), false);
    }

    /// `[]` or `{}`.
    pub(super) fn empty(&mut self, indicator: &str) {
        // As the opening bracket; the closing one needs no blank.
        self.indicator(indicator, true, false, false);
    }

    pub(super) fn begin_list(&mut self) {
        let indentless = self.place == Place::Value && !self.indention && !self.spacious;
        self.increase_indent(false, indentless);
    }

    /// Before each item.
    pub(super) fn item(&mut self) {
        self.write_indent();
        self.indicator("-", true, false, true);
        self.place = Place::Item;
    }

    pub(super) fn end_list(&mut self) {
        self.decrease_indent();
    }

    pub(super) fn begin_map(&mut self) {
        self.increase_indent(false, false);
    }

    /// Before each value.
    pub(super) fn key(&mut self, key: &str) {
        self.write_indent();
        let analysis = Analysis::of(key);
        let simple = !analysis.line_breaks && key.len() <= 128;
        if simple {
            self.scalar(key, style_of(key), true);
            self.indicator(":", false, false, false);
        } else {
            self.indicator("?", true, false, true);
            self.scalar(key, style_of(key), false);
            self.write_indent();
            self.indicator(":", true, false, true);
        }
        self.place = Place::Value;
    }

    pub(super) fn end_map(&mut self) {
        self.decrease_indent();
    }

    fn increase_indent(&mut self, flow: bool, indentless: bool) {
        self.indents.push(self.indent);
        self.indent = Some(match self.indent {
            None if flow => BEST_INDENT,
            None => 0,
            Some(indent) if indentless => indent,
            Some(indent) => indent + BEST_INDENT,
        });
    }

    fn decrease_indent(&mut self) {
        self.indent = self.indents.pop().flatten();
    }

    fn scalar(&mut self, text: &str, style: Style, key: bool) {
        let style = Analysis::of(text).allowed(style, key);
        self.increase_indent(true, false);
        match style {
            Style::Plain => self.write_plain(text, !key),
            Style::SingleQuoted => self.write_single_quoted(text, !key),
            Style::DoubleQuoted => self.write_double_quoted(text, !key),
            Style::Literal => self.write_literal(text),
        }
        self.decrease_indent();
    }

    /// Whether the line may be broken.
    fn is_full(&self) -> bool {
        self.column > BEST_WIDTH && !self.spacious
    }

    fn put(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn put_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn write_break(&mut self, character: char) {
        self.out.push(character);
        self.column = 0;
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break();
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, indicator: &str, blank: bool, whitespace: bool, indention: bool) {
        if blank && !self.whitespace {
            self.put(' ');
        }
        indicator.chars().for_each(|character| self.put(character));
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
    }

    fn write_plain(&mut self, text: &str, breaks: bool) {
        if !self.whitespace {
            self.put(' ');
        }
        let mut spaces = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            if character == ' ' {
                if breaks && !spaces && self.is_full() && characters.peek() != Some(&' ') {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                // Texts with line breaks are never plain.
                self.put(character);
                self.indention = false;
                spaces = false;
            }
        }
        self.whitespace = false;
        self.indention = false;
    }

    fn write_single_quoted(&mut self, text: &str, breaks: bool) {
        self.indicator("'", true, false, false);
        let mut spaces = false;
        let mut broken = false;
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if character == ' ' {
                let inside = at > 0 && at + 1 < text.len();
                let single = characters.peek().is_none_or(|(_, next)| *next != ' ');
                if breaks && !spaces && self.is_full() && inside && single {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else if is_break(character) {
                if !broken && character == '\n' {
                    self.put_break();
                }
                self.write_break(character);
                self.indention = true;
                broken = true;
            } else {
                if broken {
                    self.write_indent();
                }
                if character == '\'' {
                    self.put('\'');
                }
                self.put(character);
                self.indention = false;
                spaces = false;
                broken = false;
            }
        }
        self.indicator("'", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn write_double_quoted(&mut self, text: &str, breaks: bool) {
        self.indicator("\"", true, false, false);
        // The original looks at the first character only: a text that begins with a byte order mark is escaped throughout.
        let bom = text.starts_with('\u{feff}');
        let mut spaces = false;
        let mut characters = text.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if bom || !is_printable(character) || is_break(character) || matches!(character, '"' | '\\') {
                self.escape(character);
                spaces = false;
            } else if character == ' ' {
                if breaks && !spaces && self.is_full() && at > 0 && at + 1 < text.len() {
                    self.write_indent();
                    if characters.peek().is_some_and(|(_, next)| *next == ' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                self.put(character);
                spaces = false;
            }
        }
        self.indicator("\"", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn escape(&mut self, character: char) {
        let code = u32::from(character);
        let escape = match character {
            '\0' => "\\0".to_owned(),
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\t' => "\\t".to_owned(),
            '\n' => "\\n".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\r' => "\\r".to_owned(),
            '\u{1b}' => "\\e".to_owned(),
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\u{85}' => "\\N".to_owned(),
            '\u{a0}' => "\\_".to_owned(),
            '\u{2028}' => "\\L".to_owned(),
            '\u{2029}' => "\\P".to_owned(),
            _ if code <= 0xff => format!("\\x{code:02X}"),
            _ if code <= 0xffff => format!("\\u{code:04X}"),
            _ => format!("\\U{code:08X}"),
        };
        escape.chars().for_each(|character| self.put(character));
    }

    fn write_literal(&mut self, text: &str) {
        self.indicator("|", true, false, false);
        if text.starts_with(|first| first == ' ' || is_break(first)) {
            self.indicator("2", false, false, false);
        }
        let mut last = text.chars().rev();
        let chomp = match (last.next().is_some_and(is_break), last.next()) {
            (false, _) => "-",
            (true, None) => "+",
            (true, Some(before)) if is_break(before) => "+",
            (true, Some(_)) => "",
        };
        if !chomp.is_empty() {
            self.indicator(chomp, false, false, false);
        }
        self.put_break();
        self.indention = true;
        self.whitespace = true;
        let mut broken = true;
        for character in text.chars() {
            if is_break(character) {
                self.write_break(character);
                self.indention = true;
                broken = true;
            } else {
                if broken {
                    self.write_indent();
                }
                self.put(character);
                self.indention = false;
                broken = false;
            }
        }
    }
}

/// The styles that go-yaml uses by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Literal,
}

/// `stringv` of `encode.go`: a text is plain if it is still a text when it is read again.
fn style_of(text: &str) -> Style {
    if text.contains('\n') {
        return Style::Literal;
    }
    match scalar::plain(text) {
        Resolved::Text if !is_base_60(text) => Style::Plain,
        _ => Style::DoubleQuoted,
    }
}

/// `^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$`
fn is_base_60(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let Some((first, rest)) = text.split_once(':') else {
        return false;
    };
    let sixty = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    first.starts_with(|first: char| first.is_ascii_digit())
        && digits(first)
        && rest.split(':').all(sixty)
        && digits(fraction)
}

/// Which styles a text allows: `yaml_emitter_analyze_scalar`.
struct Analysis {
    line_breaks: bool,
    plain: bool,
    single_quoted: bool,
    block: bool,
    empty: bool,
}

impl Analysis {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { line_breaks: false, plain: true, single_quoted: true, block: false, empty: true };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let mut special = false;
        let (mut line_breaks, mut break_space, mut space_break) = (false, false, false);
        let (mut after_space, mut after_break, mut after_blank) = (false, false, true);
        let mut characters = text.chars().peekable();
        let mut first = true;
        while let Some(character) = characters.next() {
            let before_blank = characters.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
            indicators |= match character {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`'
                    if first =>
                {
                    true
                }
                '?' | ':' | '-' if first => before_blank,
                ':' => before_blank,
                '#' => after_blank,
                _ => false,
            };
            special |= !is_printable(character);
            line_breaks |= is_break(character);
            break_space |= character == ' ' && after_break;
            space_break |= is_break(character) && after_space;
            after_space = character == ' ';
            after_break = is_break(character);
            after_blank = matches!(character, ' ' | '\t' | '\0') || is_break(character);
            first = false;
        }
        let edge = |character: char| character == ' ' || is_break(character);
        let edges = text.starts_with(edge) || text.ends_with(edge);
        Self {
            line_breaks,
            plain: !(edges || break_space || space_break || special || line_breaks || indicators),
            single_quoted: !(break_space || space_break || special),
            block: !(text.ends_with(' ') || space_break || special),
            empty: false,
        }
    }

    /// `yaml_emitter_select_scalar_style`
    fn allowed(&self, wanted: Style, key: bool) -> Style {
        let mut style = wanted;
        if key && self.line_breaks {
            style = Style::DoubleQuoted;
        }
        if style == Style::Plain && (!self.plain || (self.empty && key)) {
            style = Style::SingleQuoted;
        }
        if style == Style::SingleQuoted && !self.single_quoted {
            style = Style::DoubleQuoted;
        }
        if style == Style::Literal && (!self.block || key) {
            style = Style::DoubleQuoted;
        }
        style
    }
}

/// Characters that go-yaml's reader lets in (`readerc.go`).
pub(super) fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Characters that are written as they are (`is_printable` of `yamlprivateh.go`): none beyond 16 bits.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && character != '\u{feff}'
}

fn is_break(character: char) -> bool {
    matches!(character, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

const BEST_INDENT: usize = 2;
const BEST_WIDTH: usize = 80;

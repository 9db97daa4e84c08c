//! From bytes to tokens (text/template/parse, `lex.go`).

use crate::rune;

/// Reads one text. What it reads last is always `Kind::Eof` or `Kind::Error`.
pub(crate) struct Lexer<'a> {
    input: &'a [u8],
    position: usize,
    start: usize,
    inside_action: bool,
    parentheses: usize,
    /// Once there was an error there is nothing else.
    failed: Option<Token>,
    /// What the error was.
    message: String,
}

/// A piece of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What a token is. The order matters: all after `Dot` are keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelimiter,
    LeftParenthesis,
    Number,
    Pipe,
    RawString,
    RightDelimiter,
    RightParenthesis,
    Space,
    String,
    Text,
    Variable,
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// What the lexer is to do after a step that gave no token.
enum Step {
    Token(Token),
    Text,
    RightDelimiter,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            position: 0,
            start: 0,
            inside_action: false,
            parentheses: 0,
            failed: None,
            message: String::new(),
        }
    }

    pub(crate) fn next_token(&mut self) -> Token {
        if let Some(token) = self.failed {
            return token;
        }
        let mut step = if self.inside_action { self.inside() } else { Step::Text };
        loop {
            step = match step {
                Step::Token(token) => return token,
                Step::Text => self.text(),
                Step::RightDelimiter => Step::Token(self.right_delimiter()),
            };
        }
    }

    /// What is wrong, once there was `Kind::Error`.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// A token as Go's errors show it.
    pub(crate) fn show(&self, token: Token) -> String {
        let value = &self.input[token.start..token.end];
        match token.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => self.message.clone(),
            kind if kind > Kind::Variable => format!("<{}>", String::from_utf8_lossy(value)),
            _ if value.len() > 10 => {
                let end = rune::runes(value).nth(10).map_or(value.len(), |(at, _)| at);
                format!("{}...", crate::quote::quote(&value[..end]))
            }
            _ => crate::quote::quote(value),
        }
    }

    fn emit(&mut self, kind: Kind) -> Step {
        Step::Token(self.token(kind))
    }

    fn token(&mut self, kind: Kind) -> Token {
        let token = Token { kind, start: self.start, end: self.position };
        self.start = self.position;
        token
    }

    fn error(&mut self, message: impl Into<String>) -> Step {
        self.message = message.into();
        let token = Token { kind: Kind::Error, start: self.start, end: self.start };
        self.failed = Some(token);
        Step::Token(token)
    }

    fn rest(&self) -> &'a [u8] {
        &self.input[self.position..]
    }

    fn ignore(&mut self) {
        self.start = self.position;
    }

    fn peek(&self) -> Option<char> {
        rune::first(self.rest()).map(|(character, _)| character)
    }

    fn next(&mut self) -> Option<char> {
        let (character, length) = rune::first(self.rest())?;
        self.position += length;
        Some(character)
    }

    fn accept(&mut self, valid: &str) -> bool {
        match self.peek() {
            Some(character) if valid.contains(character) => {
                self.position += character.len_utf8();
                true
            }
            _ => false,
        }
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn text(&mut self) -> Step {
        let Some(length) = find(self.rest(), LEFT) else {
            self.position = self.input.len();
            let kind = if self.position > self.start { Kind::Text } else { Kind::Eof };
            return self.emit(kind);
        };
        if length > 0 {
            let delimiter = self.position + length;
            let mut end = delimiter;
            if has_left_marker(&self.input[delimiter + LEFT.len()..]) {
                while end > self.start && is_space(self.input[end - 1]) {
                    end -= 1;
                }
            }
            self.position = end;
            let token = self.token(Kind::Text);
            self.position = delimiter;
            self.ignore();
            if token.end > token.start {
                return Step::Token(token);
            }
        }
        self.left_delimiter()
    }

    fn left_delimiter(&mut self) -> Step {
        self.position += LEFT.len();
        let marker = if has_left_marker(self.rest()) { MARKER } else { 0 };
        if self.rest()[marker..].starts_with(b"/*") {
            self.position += marker;
            self.ignore();
            return self.comment();
        }
        let token = self.token(Kind::LeftDelimiter);
        self.inside_action = true;
        self.position += marker;
        self.ignore();
        self.parentheses = 0;
        Step::Token(token)
    }

    fn comment(&mut self) -> Step {
        let Some(length) = find(&self.rest()[2..], b"*/") else { return self.error("unclosed comment") };
        self.position += 2 + length + 2;
        let Some(trims) = self.at_right_delimiter() else {
            return self.error("comment ends before closing delimiter");
        };
        self.skip_right_delimiter(trims);
        Step::Text
    }

    fn right_delimiter(&mut self) -> Token {
        let trims = self.at_right_delimiter().unwrap_or_default();
        if trims {
            self.position += MARKER;
            self.ignore();
        }
        self.position += RIGHT.len();
        let token = self.token(Kind::RightDelimiter);
        if trims {
            self.trim_left();
        }
        self.inside_action = false;
        token
    }

    fn skip_right_delimiter(&mut self, trims: bool) {
        self.position += if trims { MARKER + RIGHT.len() } else { RIGHT.len() };
        if trims {
            self.trim_left();
        }
        self.ignore();
    }

    fn trim_left(&mut self) {
        self.position += self.rest().iter().take_while(|byte| is_space(**byte)).count();
        self.ignore();
    }

    /// Whether here is a right delimiter, and whether it trims.
    fn at_right_delimiter(&self) -> Option<bool> {
        let rest = self.rest();
        if has_right_marker(rest) && rest[MARKER..].starts_with(RIGHT) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn inside(&mut self) -> Step {
        let byte = self.rest().first();
        if byte.is_some_and(|byte| *byte == b'}' || is_space(*byte)) && self.at_right_delimiter().is_some() {
            if self.parentheses == 0 {
                return Step::RightDelimiter;
            }
            return self.error("unclosed left paren");
        }
        let Some(&byte) = byte else { return self.error("unclosed action") };
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return self.space(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => return self.identifier(),
            b'+' | b'-' | b'0'..=b'9' => return self.number(),
            b'.' if self.rest().get(1).is_none_or(u8::is_ascii_digit) => return self.number(),
            128.. => return self.beyond_ascii(),
            _ => self.position += 1,
        }
        match byte {
            b'.' => self.field_or_variable(Kind::Field),
            b'$' => self.field_or_variable(Kind::Variable),
            b'"' => self.quoted(b'"', Kind::String, "unterminated quoted string"),
            b'\'' => self.quoted(b'\'', Kind::CharConstant, "unterminated character constant"),
            b'`' => self.raw(),
            b'|' => self.emit(Kind::Pipe),
            b'=' => self.emit(Kind::Assign),
            b':' => {
                if self.next() != Some('=') {
                    return self.error("expected :=");
                }
                self.emit(Kind::Declare)
            }
            b'(' => {
                self.parentheses += 1;
                self.emit(Kind::LeftParenthesis)
            }
            b')' => {
                if self.parentheses == 0 {
                    return self.error("unexpected right paren");
                }
                self.parentheses -= 1;
                self.emit(Kind::RightParenthesis)
            }
            b' '..=b'~' => self.emit(Kind::Char),
            _ => self.unrecognized(char::from(byte)),
        }
    }

    fn beyond_ascii(&mut self) -> Step {
        match self.peek() {
            Some(character) if !rune::is_alphanumeric(character) => self.unrecognized(character),
            _ => self.identifier(),
        }
    }

    fn unrecognized(&mut self, character: char) -> Step {
        self.error(format!("unrecognized character in action: {}", unicode(Some(character))))
    }

    fn space(&mut self) -> Step {
        let mut count = 0;
        while self.rest().first().is_some_and(|byte| is_space(*byte)) {
            self.position += 1;
            count += 1;
        }
        // A closing delimiter that trims starts with the last of these blanks.
        let last = &self.input[self.position - 1..];
        if has_right_marker(last) && last[MARKER..].starts_with(RIGHT) {
            self.position -= 1;
            if count == 1 {
                return Step::RightDelimiter;
            }
        }
        self.emit(Kind::Space)
    }

    fn identifier(&mut self) -> Step {
        self.skip_word();
        if !self.at_terminator() {
            let character = self.peek();
            return self.error(format!("bad character {}", unicode(character)));
        }
        let kind = match &self.input[self.start..self.position] {
            b"block" => Kind::Block,
            b"break" => Kind::Break,
            b"continue" => Kind::Continue,
            b"define" => Kind::Define,
            b"else" => Kind::Else,
            b"end" => Kind::End,
            b"if" => Kind::If,
            b"nil" => Kind::Nil,
            b"range" => Kind::Range,
            b"template" => Kind::Template,
            b"with" => Kind::With,
            b"true" | b"false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.emit(kind)
    }

    fn field_or_variable(&mut self, kind: Kind) -> Step {
        if self.at_terminator() {
            return self.emit(if kind == Kind::Variable { kind } else { Kind::Dot });
        }
        self.skip_word();
        if !self.at_terminator() {
            let character = self.peek();
            return self.error(format!("bad character {}", unicode(character)));
        }
        self.emit(kind)
    }

    fn skip_word(&mut self) {
        loop {
            let ascii = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
            self.position += self.rest().iter().take_while(ascii).count();
            match self.peek() {
                Some(character) if !character.is_ascii() && rune::is_alphanumeric(character) => self.next(),
                _ => return,
            };
        }
    }

    /// Whether here is what may follow a word.
    fn at_terminator(&self) -> bool {
        match self.rest().first() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b'.' | b',' | b'|' | b':' | b')' | b'(') => true,
            Some(_) => self.rest().starts_with(RIGHT),
        }
    }

    fn quoted(&mut self, mark: u8, kind: Kind, unterminated: &str) -> Step {
        loop {
            match self.next() {
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return self.error(unterminated);
                    }
                }
                None | Some('\n') => return self.error(unterminated),
                Some(character) if character == char::from(mark) => return self.emit(kind),
                Some(_) => {}
            }
        }
    }

    fn raw(&mut self) -> Step {
        match find(self.rest(), b"`") {
            Some(length) => {
                self.position += length + 1;
                self.emit(Kind::RawString)
            }
            None => self.error("unterminated raw quoted string"),
        }
    }

    fn number(&mut self) -> Step {
        let mut good = self.scan_number();
        let mut kind = Kind::Number;
        if good && matches!(self.peek(), Some('+' | '-')) {
            // Complex: `1+2i`, without blanks.
            good = self.scan_number() && self.input[self.position - 1] == b'i';
            kind = Kind::Complex;
        }
        if !good {
            let text = crate::quote::quote(&self.input[self.start..self.position]);
            return self.error(format!("bad number syntax: {text}"));
        }
        self.emit(kind)
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        let mut exponent = "eE";
        if self.accept("0") {
            if self.accept("xX") {
                (digits, exponent) = ("0123456789abcdefABCDEF_", "pP");
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (digits.len() == 10 + 1 || digits.len() == 22 + 1) && self.accept(exponent) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if self.peek().is_some_and(rune::is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }
}

/// The first place of `needle`, which is one byte or two.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memchr_iter(needle[0], bytes).find(|at| bytes[*at..].starts_with(needle))
}

fn has_left_marker(bytes: &[u8]) -> bool {
    matches!(bytes, [b'-', space, ..] if is_space(*space))
}

fn has_right_marker(bytes: &[u8]) -> bool {
    matches!(bytes, [space, b'-', ..] if is_space(*space))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `%#U`
fn unicode(character: Option<char>) -> String {
    match character {
        // Go's `eof` is the rune -1.
        None => "U+FFFFFFFFFFFFFFFF".to_owned(),
        Some(character) if rune::is_print(character) => {
            format!("U+{:04X} '{character}'", u32::from(character))
        }
        Some(character) => format!("U+{:04X}", u32::from(character)),
    }
}

const LEFT: &[u8] = b"{{";
const RIGHT: &[u8] = b"}}";
/// The marker that trims and the blank at its side.
const MARKER: usize = 2;

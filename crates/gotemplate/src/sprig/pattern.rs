//! Go's regular expressions (`regexp/syntax`, Perl flags) as the `regex` crate writes them.
//!
//! Both are RE2 at heart; they differ in what is a literal, in classes (`\d` is ASCII in Go), in names of groups, and in the
//! words of errors.

use crate::function::Fault;

/// A compiled expression.
pub(crate) struct Pattern {
    pub(crate) regex: regex::bytes::Regex,
    /// The names of the groups, from group 0 on; empty where there is none.
    pub(crate) names: Vec<String>,
    pub(crate) is_empty: bool,
}

impl Pattern {
    /// `regexp.Compile`. What is too large for the limits of compilation is an error, as it is in Go; `charge` is told before what
    /// the compilation will cost, about.
    pub(crate) fn new(
        expression: &[u8],
        charge: impl FnOnce(usize) -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        let Ok(text) = std::str::from_utf8(expression) else {
            return Err(error("invalid UTF-8", &String::from_utf8_lossy(expression)));
        };
        let mut reader = Reader {
            whole: text,
            rest: text,
            out: String::new(),
            names: vec![String::new()],
            depth: 0,
            repeated: 1,
        };
        reader.read()?;
        charge(reader.out.len().saturating_mul(reader.repeated).saturating_mul(16).min(SIZE_BYTES))?;
        let regex = regex::bytes::RegexBuilder::new(&reader.out)
            .size_limit(SIZE_BYTES)
            .nest_limit(DEPTH + 10)
            .build();
        let regex = regex.map_err(|failure| match failure {
            regex::Error::CompiledTooBig(_) => error("expression too large", text),
            _ => error("invalid character class range", text),
        })?;
        Ok(Self { regex, names: reader.names, is_empty: text.is_empty() })
    }
}

/// `regexp.QuoteMeta`.
pub(crate) fn quote(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if br"\.+*?()|[]{}^$".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

fn error(what: &str, expression: &str) -> Fault {
    Fault::new(format!("error parsing regexp: {what}: `{expression}`"))
}

/// Goes once over the expression and writes it anew.
struct Reader<'t> {
    whole: &'t str,
    rest: &'t str,
    out: String,
    names: Vec<String>,
    depth: u32,
    /// The product of all counts of repetitions.
    repeated: usize,
}

impl<'t> Reader<'t> {
    fn read(&mut self) -> Result<(), Fault> {
        // Whether there is something to repeat, and where the last repetition started if nothing came since.
        let mut atom = false;
        let mut repeated: Option<&'t str> = None;
        while let Some(rune) = self.rest.chars().next() {
            let before = self.rest;
            let last = repeated.take();
            match rune {
                '(' => {
                    atom = self.open()? && atom;
                }
                '|' => {
                    self.copy(1);
                    atom = false;
                }
                ')' => {
                    if self.depth == 0 {
                        return Err(error("unexpected )", self.whole));
                    }
                    self.depth -= 1;
                    self.copy(1);
                    atom = true;
                }
                '^' | '$' | '.' => {
                    self.copy(1);
                    atom = true;
                }
                '[' => {
                    self.class()?;
                    atom = true;
                }
                '*' | '+' | '?' | '{' => {
                    let Some(length) = self.repetition()? else {
                        self.literal(rune);
                        self.skip(1);
                        atom = true;
                        continue;
                    };
                    if !atom {
                        return Err(error("missing argument to repetition operator", &before[..length]));
                    }
                    let lazy = usize::from(self.rest[length..].starts_with('?'));
                    if let Some(last) = last {
                        let stacked = &last[..last.len() - self.rest.len() + length + lazy];
                        return Err(error("invalid nested repetition operator", stacked));
                    }
                    self.copy(length + lazy);
                    repeated = Some(before);
                }
                '\\' => {
                    self.escape()?;
                    atom = true;
                }
                other => {
                    self.literal(other);
                    self.skip(other.len_utf8());
                    atom = true;
                }
            }
        }
        if self.depth > 0 { Err(error("missing closing )", self.whole)) } else { Ok(()) }
    }

    fn skip(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }

    fn copy(&mut self, length: usize) {
        self.out.push_str(&self.rest[..length]);
        self.skip(length);
    }

    /// One rune that means itself.
    fn literal(&mut self, rune: char) {
        push_literal(&mut self.out, rune);
    }

    /// `(`, or flags for what follows; says whether what came before can still be repeated.
    fn open(&mut self) -> Result<bool, Fault> {
        let start = self.rest;
        if self.depth >= DEPTH {
            return Err(error("expression nests too deeply", self.whole));
        }
        if !start.starts_with("(?") {
            self.depth += 1;
            self.names.push(String::new());
            self.copy(1);
            return Ok(false);
        }
        let name = start.strip_prefix("(?P<").or_else(|| start.strip_prefix("(?<"));
        if let Some(name) = name {
            let Some(end) = name.find('>') else { return Err(error("invalid named capture", start)) };
            let whole = &start[..start.len() - name.len() + end + 1];
            let name = &name[..end];
            if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
                return Err(error("invalid named capture", whole));
            }
            if self.names.iter().any(|other| other == name) {
                return Err(error("duplicate capture group name", name));
            }
            self.depth += 1;
            self.names.push(name.to_owned());
            self.skip(whole.len());
            self.out.push('(');
            return Ok(false);
        }
        self.flags()
    }

    /// `(?i)`, `(?i-s:`.
    fn flags(&mut self) -> Result<bool, Fault> {
        let start = self.rest;
        let (mut negative, mut flagged) = (false, false);
        for (at, rune) in start.char_indices().skip(2) {
            match rune {
                'i' | 'm' | 's' | 'U' => flagged = true,
                '-' if !negative => {
                    negative = true;
                    flagged = false;
                }
                ':' | ')' if !negative || flagged => {
                    if rune == ':' {
                        self.depth += 1;
                    }
                    // `(?)` sets nothing, which the other side does not know.
                    if at == 2 && rune == ')' {
                        self.skip(3);
                    } else {
                        self.copy(at + 1);
                    }
                    return Ok(rune == ')');
                }
                other => {
                    let end = at + other.len_utf8();
                    return Err(error("invalid or unsupported Perl syntax", &start[..end]));
                }
            }
        }
        Err(error("missing argument to repetition operator", "?"))
    }

    /// The length of the repetition that starts here; `None` if the brace means itself.
    fn repetition(&mut self) -> Result<Option<usize>, Fault> {
        if !self.rest.starts_with('{') {
            return Ok(Some(1));
        }
        let Some(end) = self.rest.find('}') else { return Ok(None) };
        let inner = &self.rest[1..end];
        let (least, most) = inner.split_once(',').map_or((inner, None), |(least, most)| (least, Some(most)));
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            (plain && (digits.len() == 1 || !digits.starts_with('0')))
                .then(|| digits.parse().unwrap_or(u32::MAX))
        };
        let Some(least) = number(least) else { return Ok(None) };
        let most = match most {
            None => least,
            Some("") => u32::MAX - 1,
            Some(most) => match number(most) {
                Some(most) => most,
                None => return Ok(None),
            },
        };
        let open = most == u32::MAX - 1;
        if least > REPEAT || (!open && most > REPEAT) || least > most {
            return Err(error("invalid repeat count", &self.rest[..=end]));
        }
        let count = if open { least } else { most };
        self.repeated = self.repeated.saturating_mul(count.max(1) as usize);
        Ok(Some(end + 1))
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let Some(rune) = self.rest[1..].chars().next() else {
            return Err(error("trailing backslash at end of expression", ""));
        };
        match rune {
            'A' | 'z' => self.copy(2),
            'b' | 'B' => {
                self.out.push_str(if rune == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
                self.skip(2);
            }
            'Q' => {
                let quoted = &self.rest[2..];
                let end = quoted.find(r"\E");
                for rune in quoted[..end.unwrap_or(quoted.len())].chars() {
                    self.literal(rune);
                }
                self.skip(2 + end.map_or(quoted.len(), |end| end + 2));
            }
            _ => {
                if let Some(class) = self.perl_class()? {
                    self.out.push_str(&class);
                } else {
                    let rune = self.escaped_rune()?;
                    self.literal(rune);
                }
            }
        }
        Ok(())
    }

    /// `\d` or `\pL`, written as a class; takes it.
    fn perl_class(&mut self) -> Result<Option<String>, Fault> {
        let mut runes = self.rest.chars().skip(1);
        let class = match runes.next() {
            Some('d') => "[0-9]",
            Some('D') => "[^0-9]",
            Some('s') => r"[\t\n\x0C\r ]",
            Some('S') => r"[^\t\n\x0C\r ]",
            Some('w') => "[0-9A-Za-z_]",
            Some('W') => "[^0-9A-Za-z_]",
            Some('p' | 'P') => return self.property().map(Some),
            _ => return Ok(None),
        };
        self.skip(2);
        Ok(Some(class.to_owned()))
    }

    fn property(&mut self) -> Result<String, Fault> {
        let start = self.rest;
        let mut negative = start.starts_with(r"\P");
        let bad = |end: usize| error("invalid character class range", &start[..end]);
        let Some(rune) = start[2..].chars().next() else { return Err(bad(2)) };
        let (name, end) = if rune == '{' {
            let Some(end) = start.find('}') else { return Err(bad(start.len())) };
            (&start[3..end], end + 1)
        } else {
            let end = 2 + rune.len_utf8();
            (&start[2..end], end)
        };
        let name = match name.strip_prefix('^') {
            Some(name) => {
                negative = !negative;
                name
            }
            None => name,
        };
        let class = format!("\\{}{{{name}}}", if negative { 'P' } else { 'p' });
        let known = !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphabetic());
        if !known || regex::bytes::Regex::new(&class).is_err() {
            return Err(bad(end));
        }
        self.skip(end);
        Ok(class)
    }

    /// `\n`, `\x41`, `\.`: takes it.
    fn escaped_rune(&mut self) -> Result<char, Fault> {
        let start = self.rest;
        let mut rest = start[1..].chars();
        let Some(rune) = rest.next() else {
            return Err(error("trailing backslash at end of expression", ""));
        };
        let after = rest.as_str();
        let bad = || error("invalid escape sequence", &start[..1 + rune.len_utf8()]);
        let (value, used) = match rune {
            '1'..='7' if !after.starts_with(|next: char| ('0'..='7').contains(&next)) => return Err(bad()),
            '0'..='7' => {
                let digits = after.bytes().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                (u32::from_str_radix(&start[1..2 + digits], 8).ok(), 1 + digits)
            }
            'x' => match after.strip_prefix('{') {
                Some(inner) => {
                    let Some(end) = inner.find('}') else {
                        return Err(error("invalid escape sequence", start));
                    };
                    (u32::from_str_radix(&inner[..end], 16).ok(), end + 3)
                }
                None => (after.get(..2).and_then(|digits| u32::from_str_radix(digits, 16).ok()), 3),
            },
            'a' => (Some(7), 1),
            'f' => (Some(12), 1),
            'n' => (Some(10), 1),
            'r' => (Some(13), 1),
            't' => (Some(9), 1),
            'v' => (Some(11), 1),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => (Some(other.into()), 1),
            _ => return Err(bad()),
        };
        let value = value.and_then(char::from_u32).ok_or_else(bad)?;
        self.skip(1 + used);
        Ok(value)
    }

    /// `[…]`.
    fn class(&mut self) -> Result<(), Fault> {
        let start = self.rest;
        let missing = || error("missing closing ]", start);
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            if self.rest.is_empty() {
                return Err(missing());
            }
            first = false;
            if let Some(name) = self.rest.strip_prefix("[:")
                && let Some(end) = name.find(":]")
            {
                self.posix_class(&name[..end])?;
                continue;
            }
            if self.rest.starts_with('\\')
                && let Some(class) = self.perl_class()?
            {
                self.out.push_str(&class);
                continue;
            }
            let range = self.rest;
            let low = self.class_rune(start)?;
            let mut high = low;
            if let Some(after) = self.rest.strip_prefix('-')
                && !after.is_empty()
                && !after.starts_with(']')
            {
                self.skip(1);
                high = self.class_rune(start)?;
                if high < low {
                    return Err(error(
                        "invalid character class range",
                        &range[..range.len() - self.rest.len()],
                    ));
                }
            }
            self.literal(low);
            if high != low {
                self.out.push('-');
                self.literal(high);
            }
        }
        self.copy(1);
        Ok(())
    }

    fn class_rune(&mut self, class: &str) -> Result<char, Fault> {
        let Some(rune) = self.rest.chars().next() else { return Err(error("missing closing ]", class)) };
        if rune == '\\' {
            return self.escaped_rune();
        }
        self.skip(rune.len_utf8());
        Ok(rune)
    }

    fn posix_class(&mut self, name: &str) -> Result<(), Fault> {
        let length = name.len() + 4;
        let known = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        if !known.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(error("invalid character class range", &self.rest[..length]));
        }
        self.copy(length);
        Ok(())
    }
}

fn push_literal(out: &mut String, rune: char) {
    if rune.is_ascii_alphanumeric() || !rune.is_ascii() {
        out.push(rune);
    } else {
        out.push_str(&format!("\\x{:02X}", u32::from(rune)));
    }
}

/// Groups in groups; Go allows 1000 levels of syntax, which compilation here would pay for in stack.
const DEPTH: u32 = 200;
/// The largest count of a repetition (`regexp/syntax`, `repeat`).
const REPEAT: u32 = 1000;
/// Memory of a compiled expression.
const SIZE_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, text: &str) -> bool {
        Pattern::new(expression.as_bytes(), |_| Ok(())).expect(expression).regex.is_match(text.as_bytes())
    }

    fn words(expression: &str) -> String {
        Pattern::new(expression.as_bytes(), |_| Ok(())).map(|_| ()).expect_err(expression).message
    }

    #[test]
    fn what_go_takes_as_a_literal_is_one() {
        assert!(matches(r"^a{,2}$", "a{,2}"));
        assert!(matches(r"^{$", "{"));
        assert!(matches(r"^[a&&b]+$", "a&b"));
        assert!(matches(r"^[[a]$", "["));
        assert!(matches(r"^\<$", "<"));
        assert!(matches(r"^\Qa.b\E$", "a.b"));
        assert!(matches(r"^[]a]$", "]"));
        assert!(matches("^a b#$", "a b#"));
    }

    #[test]
    fn perl_classes_are_ascii() {
        assert!(!matches(r"\d", "٣"));
        assert!(!matches(r"^\w+$", "é"));
        assert!(!matches(r"\s", "\u{0B}"));
        assert!(matches(r"^\pL+$", "é"));
        assert!(matches(r"\bé", "aé"), "é is no letter to \\b");
    }

    #[test]
    fn errors_are_gos() {
        assert_eq!(words("["), "error parsing regexp: missing closing ]: `[`");
        assert_eq!(words("a(b"), "error parsing regexp: missing closing ): `a(b`");
        assert_eq!(words("a)b"), "error parsing regexp: unexpected ): `a)b`");
        assert_eq!(words("*"), "error parsing regexp: missing argument to repetition operator: `*`");
        assert_eq!(words("a**"), "error parsing regexp: invalid nested repetition operator: `**`");
        assert_eq!(words(r"\q"), r"error parsing regexp: invalid escape sequence: `\q`");
        assert_eq!(words("[z-a]"), "error parsing regexp: invalid character class range: `z-a`");
        assert_eq!(words("a{1001}"), "error parsing regexp: invalid repeat count: `{1001}`");
        assert_eq!(words("(?=a)"), "error parsing regexp: invalid or unsupported Perl syntax: `(?=`");
    }
}

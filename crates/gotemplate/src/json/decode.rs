//! `json.Unmarshal`, with Go's words for what is wrong: charts show them.

use crate::sprig::runes;
use crate::text::Text;
use crate::value::{Map, Value};

/// What `json.Unmarshal` into an `interface {}` gives: numbers are `float64`.
pub(crate) fn decode(text: &[u8]) -> Result<Value, String> {
    match document(text)? {
        (_, Some(error)) => Err(error),
        (value, None) => Ok(value),
    }
}

/// Into a `map[string]interface {}`, and what is wrong with it: a map may be there in spite of an error.
pub(crate) fn decode_as_map(text: &[u8]) -> (Map, Option<String>) {
    match document(text) {
        Err(error) => (Map::new(), Some(error)),
        Ok((Value::Map(map), error)) => (map, error),
        Ok((Value::Nil, _)) => (Map::null(), None),
        Ok((other, _)) => (Map::new(), Some(mismatch(&other, "map[string]interface {}"))),
    }
}

/// Into a `[]interface {}`. `null` is nothing.
pub(crate) fn decode_as_list(text: &[u8]) -> Result<Option<Vec<Value>>, String> {
    match document(text)? {
        (Value::List(list), None) => Ok(Some(list.items().to_vec())),
        (Value::List(_), Some(error)) => Err(error),
        (Value::Nil, _) => Ok(None),
        (other, _) => Err(mismatch(&other, "[]interface {}")),
    }
}

/// `UnmarshalTypeError`.
pub(crate) fn mismatch(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", value.json_kind())
}

/// Syntax comes first, over the whole text. Then, as the second result, the first number that does not fit; nil stands for it.
fn document(text: &[u8]) -> Result<(Value, Option<String>), String> {
    let mut reader = Reader { text, at: 0, depth: 0, too_large: None };
    reader.space();
    let value = reader.value()?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.invalid("after top-level value"));
    }
    let too_large = reader
        .too_large
        .map(|number| format!("json: cannot unmarshal number {number} into Go value of type float64"));
    // The type of the document matters more than its number.
    let value = if too_large.is_some() && value.is_nil() { Value::Float(0.0) } else { value };
    Ok((value, too_large))
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
    too_large: Option<String>,
}

impl Reader<'_> {
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// `SyntaxError` of the scanner: the byte here is not what belongs here.
    fn invalid(&self, context: &str) -> String {
        match self.peek() {
            // At the end the scanner is given a blank, which is wrong only inside of a word.
            None if context.starts_with("in string literal") || !inside(context) => {
                "unexpected end of JSON input".to_owned()
            }
            None => format!("invalid character ' ' {context}"),
            Some(byte) => format!("invalid character {} {context}", quote_byte(byte)),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::from(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Nil),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, String>) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, String> {
        let map = Map::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(map.into());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.invalid("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.invalid("after object key"));
            }
            self.at += 1;
            self.space();
            map.set(key, self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(map.into());
                }
                _ => return Err(self.invalid("after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<Value, String> {
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::list(items));
        }
        loop {
            self.space();
            items.push(self.value()?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::list(items));
                }
                _ => return Err(self.invalid("after array element")),
            }
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        self.at += 1;
        for expected in word.bytes().skip(1) {
            if self.peek() != Some(expected) {
                return Err(self.invalid(&format!("in literal {word} (expecting {})", quote_byte(expected))));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.invalid("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.invalid("in exponent of numeric literal"));
            }
            self.digits();
        }
        let digits = String::from_utf8_lossy(&self.text[start..self.at]);
        let number: f64 = digits.parse().map_err(|_| self.invalid("in numeric literal"))?;
        if number.is_infinite() {
            self.too_large.get_or_insert_with(|| digits.into_owned());
            return Ok(Value::Nil);
        }
        Ok(number.into())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<Text, String> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let rune = self.escape()?;
                    out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(0..0x20) | None => return Err(self.invalid("in string literal")),
                Some(_) => {
                    let Some((rune, size)) = runes::first(&self.text[self.at..]) else { continue };
                    out.extend_from_slice(rune.encode_utf8(&mut [0; 4]).as_bytes());
                    self.at += size;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let rune = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte.into(),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        Ok(rune)
    }

    /// The four digits after `\u`, and those of the second half of a pair.
    fn unicode(&mut self) -> Result<char, String> {
        let high = self.hex()?;
        if !(0xD800..0xDC00).contains(&high) {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        if self.text[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex()?;
            if (0xDC00..0xE000).contains(&low) {
                let rune = char::from_u32(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                return Ok(rune.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Err(self.invalid("in \\u hexadecimal character escape")) };
            value = value << 4 | digit;
            self.at += 1;
        }
        Ok(value)
    }
}

/// Whether this is within a literal, where no blank may be.
fn inside(context: &str) -> bool {
    context.starts_with("in ") || context.starts_with("after decimal point")
}

/// `quoteChar`.
fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        11 => r"'\v'".to_owned(),
        12 => r"'\f'".to_owned(),
        0..0x20 | 0x7F => format!("'\\x{byte:02x}'"),
        0x20..0x7F => format!("'{}'", char::from(byte)),
        // Go shows the byte as a rune of Latin-1.
        0x80..0xA0 | 0xAD => format!("'\\u{byte:04x}'"),
        0xA0 => r"'\u00a0'".to_owned(),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// Lists and objects in each other. Go allows 10,000.
const DEPTH: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        decode(text.as_bytes()).map(|_| ()).expect_err(text)
    }

    #[test]
    fn errors_are_gos() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1"#, "invalid character '1' after object key"),
            (r#"{"a":1 2"#, "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("1 2", "invalid character '2' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("-", "invalid character ' ' in numeric literal"),
            ("tru", "invalid character ' ' in literal true (expecting 'e')"),
            ("\"a", "unexpected end of JSON input"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            ("\"\n\"", r"invalid character '\n' in string literal"),
            ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(
            decode_as_map(b"[1]").1.as_deref(),
            Some("json: cannot unmarshal array into Go value of type map[string]interface {}"),
        );
    }

    #[test]
    fn escapes_and_pairs_are_runes() {
        let value = decode(br#""\u00e9\ud83d\ude00\ud800x\/""#).expect("a text");
        assert_eq!(value.as_text(), Some(&Text::from("é😀\u{FFFD}x/")));
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(words(&"[".repeat(100_000)), "exceeded max depth");
    }
}

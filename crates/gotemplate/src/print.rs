//! Values as texts (Go's `fmt`).

use crate::function::Fault;
use crate::value::{Element, IntKind, List, Map, Object, Value};
use crate::{float, quote, rune};

/// What an action prints: as `fmt.Fprint`, and `<no value>` for nil.
pub(crate) fn action(out: &mut Vec<u8>, value: &Value) -> Result<(), Fault> {
    match value {
        Value::Nil => out.extend_from_slice(b"<no value>"),
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        _ => {
            let mut printer = Printer::new(std::mem::take(out));
            printer.argument(value, 'v');
            let full = printer.full;
            *out = printer.out;
            if full {
                return Err(too_much());
            }
        }
    }
    Ok(())
}

/// `fmt.Sprint`: blanks between two that are not texts.
pub(crate) fn print(values: &[Value]) -> Result<Vec<u8>, Fault> {
    if let [Value::Text(text)] = values {
        return Ok(text.as_bytes().to_vec());
    }
    let mut printer = Printer::new(Vec::new());
    let mut after_text = false;
    for (index, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if index > 0 && !is_text && !after_text {
            printer.out.push(b' ');
        }
        printer.argument(value, 'v');
        after_text = is_text;
    }
    printer.finish()
}

/// `fmt.Sprintln`: blanks between all, and a newline.
pub(crate) fn println(values: &[Value]) -> Result<Vec<u8>, Fault> {
    let mut printer = Printer::new(Vec::new());
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.out.push(b' ');
        }
        printer.argument(value, 'v');
    }
    printer.out.push(b'\n');
    printer.finish()
}

/// `fmt.Sprintf`
pub(crate) fn printf(format: &[u8], values: &[Value]) -> Result<Vec<u8>, Fault> {
    let mut printer = Printer::new(Vec::with_capacity(format.len() + 16));
    printer.format(format, values);
    printer.finish()
}

/// As an error message shows a value that is at hand as `reflect.Value`.
pub(crate) fn shown(value: &Value) -> String {
    with_verb(value, 'v')
}

/// `shown` with another verb.
pub(crate) fn with_verb(value: &Value, verb: char) -> String {
    let mut printer = Printer::new(Vec::new());
    printer.value(value, verb, 0);
    String::from_utf8_lossy(&printer.out).into_owned()
}

/// Go's `pp` and `fmt` in one.
pub(crate) struct Printer {
    pub(crate) out: Vec<u8>,
    pub(crate) flags: Flags,
    /// More was to be printed than anybody can want, or it was nested too deeply.
    full: bool,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Flags {
    pub(crate) width: Option<usize>,
    pub(crate) precision: Option<usize>,
    pub(crate) minus: bool,
    pub(crate) plus: bool,
    pub(crate) sharp: bool,
    pub(crate) space: bool,
    pub(crate) zero: bool,
    /// `%+v`, in which `plus` is not set.
    pub(crate) plus_v: bool,
    /// `%#v`, in which `sharp` is not set.
    pub(crate) sharp_v: bool,
}

impl Printer {
    fn new(out: Vec<u8>) -> Self {
        Self { out, flags: Flags::default(), full: false }
    }

    fn finish(self) -> Result<Vec<u8>, Fault> {
        if self.full { Err(too_much()) } else { Ok(self.out) }
    }

    /// `printArg`
    pub(crate) fn argument(&mut self, value: &Value, verb: char) {
        match (value, verb) {
            (Value::Nil, 'T' | 'v') => self.pad(b"<nil>"),
            (Value::Nil, _) => self.bad_verb(value, verb),
            (_, 'T') => self.text(value.type_name().as_bytes()),
            (Value::Map(_) | Value::List(_), 'p') => self.number(ADDRESS, false, 16, 'p', false, true),
            (_, 'p') | (Value::Map(_) | Value::List(_) | Value::Object(_), 'w') => self.bad_verb(value, verb),
            (Value::List(list), _) if list.element == Element::Byte => self.bytes(list, verb, "[]byte"),
            _ => self.value(value, verb, 0),
        }
    }

    /// `printValue`
    fn value(&mut self, value: &Value, verb: char, depth: usize) {
        if depth > MAX_DEPTH || self.out.len() > MAX_BYTES {
            self.full = true;
            return;
        }
        if verb == 'w' && depth > 0 && !value.is_nil() {
            return self.bad_verb(value, verb);
        }
        match value {
            Value::Nil => {
                self.out.extend_from_slice(if self.flags.sharp_v { b"interface {}(nil)" } else { b"<nil>" });
            }
            Value::Bool(flag) => match verb {
                't' | 'v' => self.pad(if *flag { b"true" } else { b"false" }),
                _ => self.bad_verb(value, verb),
            },
            Value::Int(number, kind) => self.int(value, *number, *kind, verb),
            Value::Float(number) => match verb {
                'v' => self.float(*number, 'g', None),
                'b' | 'g' | 'G' | 'x' | 'X' => self.float(*number, verb, None),
                'f' | 'e' | 'E' => self.float(*number, verb, Some(6)),
                'F' => self.float(*number, 'f', Some(6)),
                _ => self.bad_verb(value, verb),
            },
            Value::Text(text) => self.string(value, text.as_bytes(), verb),
            Value::List(list) => self.list(list, verb, depth),
            Value::Map(map) => self.map(value, map, verb, depth),
            Value::Object(object) => self.object(value, &**object, verb),
        }
    }

    /// A value whose type has a `String` method, or that shows itself.
    fn object(&mut self, value: &Value, object: &dyn Object, verb: char) {
        match verb {
            'v' | 's' | 'x' | 'X' | 'q' if !self.flags.sharp_v => {
                self.string(value, object.print().as_bytes(), verb);
            }
            'v' => self.out.extend_from_slice(object.print().as_bytes()),
            _ => self.bad_verb(value, verb),
        }
    }

    fn list(&mut self, list: &List, verb: char, depth: usize) {
        if list.element == Element::Byte && matches!(verb, 's' | 'q' | 'x' | 'X') {
            return self.bytes(list, verb, "[]uint8");
        }
        let (open, between, close) = if self.flags.sharp_v { ("{", ", ", "}") } else { ("[", " ", "]") };
        if self.flags.sharp_v {
            self.out.extend_from_slice(Value::from(list.clone()).type_name().as_bytes());
            if list.is_null() {
                return self.out.extend_from_slice(b"(nil)");
            }
        }
        self.out.extend_from_slice(open.as_bytes());
        for (index, item) in list.items().iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(between.as_bytes());
            }
            self.value(item, verb, depth + 1);
            if self.full {
                return;
            }
        }
        self.out.extend_from_slice(close.as_bytes());
    }

    fn map(&mut self, value: &Value, map: &Map, verb: char, depth: usize) {
        let (between, close) = if self.flags.sharp_v { (", ", "}") } else { (" ", "]") };
        if self.flags.sharp_v {
            self.out.extend_from_slice(value.type_name().as_bytes());
            self.out.push(b'{');
        } else {
            self.out.extend_from_slice(b"map[");
        }
        for (index, (key, value)) in map.entries().into_iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(between.as_bytes());
            }
            self.value(&Value::from(key), verb, depth + 1);
            self.out.push(b':');
            self.value(&value, verb, depth + 1);
            if self.full {
                return;
            }
        }
        self.out.extend_from_slice(close.as_bytes());
    }

    /// `fmtBytes`
    fn bytes(&mut self, list: &List, verb: char, type_name: &str) {
        let bytes: Vec<u8> = list
            .items()
            .iter()
            .map(|item| match item {
                Value::Int(byte, _) => *byte as u8,
                _ => 0,
            })
            .collect();
        match verb {
            'v' | 'd' if self.flags.sharp_v => {
                self.out.extend_from_slice(type_name.as_bytes());
                if list.is_null() {
                    return self.out.extend_from_slice(b"(nil)");
                }
                self.out.push(b'{');
                for (index, byte) in bytes.iter().enumerate() {
                    if index > 0 {
                        self.out.extend_from_slice(b", ");
                    }
                    self.number(u64::from(*byte), false, 16, 'v', false, true);
                }
                self.out.push(b'}');
            }
            'v' | 'd' => {
                self.out.push(b'[');
                for (index, byte) in bytes.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b' ');
                    }
                    self.number(u64::from(*byte), false, 10, verb, false, self.flags.sharp);
                }
                self.out.push(b']');
            }
            's' => self.text(&bytes),
            'x' | 'X' => self.hexadecimal(&bytes, verb == 'X'),
            'q' => self.quoted(&bytes),
            _ => self.list(list, verb, 0),
        }
    }

    fn int(&mut self, value: &Value, number: i64, kind: IntKind, verb: char) {
        let signed =
            matches!(kind, IntKind::Int | IntKind::Int8 | IntKind::Int16 | IntKind::Int32 | IntKind::Int64);
        let negative = signed && number < 0;
        let size = if signed { number.unsigned_abs() } else { number as u64 };
        let sharp = self.flags.sharp;
        match verb {
            'v' if self.flags.sharp_v && !signed => self.number(size, false, 16, verb, false, true),
            'v' | 'd' => self.number(size, negative, 10, verb, false, sharp),
            'b' => self.number(size, negative, 2, verb, false, sharp),
            'o' | 'O' => self.number(size, negative, 8, verb, false, sharp),
            'x' => self.number(size, negative, 16, verb, false, sharp),
            'X' => self.number(size, negative, 16, verb, true, sharp),
            'c' => self.pad(character(number).to_string().as_bytes()),
            'q' => self.pad(quote::quote_rune(character(number), self.flags.plus).as_bytes()),
            'U' => self.unicode(number as u64),
            _ => self.bad_verb(value, verb),
        }
    }

    /// `fmtInteger`
    fn number(&mut self, size: u64, negative: bool, base: u64, verb: char, upper: bool, sharp: bool) {
        let flags = self.flags;
        let signed = negative || flags.plus || flags.space;
        let mut least = 0;
        if let Some(precision) = flags.precision {
            least = precision;
            if precision == 0 && size == 0 {
                return self.padding(flags.width.unwrap_or(0), b' ');
            }
        } else if let Some(width) = flags.width.filter(|_| flags.zero && !flags.minus) {
            least = width.saturating_sub(usize::from(signed));
        }
        let mut reversed = Vec::new();
        let mut left = size;
        loop {
            let digit = char::from_digit((left % base) as u32, 16).expect("bases are at most 16");
            reversed.push(if upper { digit.to_ascii_uppercase() } else { digit } as u8);
            left /= base;
            if left == 0 {
                break;
            }
        }
        while reversed.len() < least {
            reversed.push(b'0');
        }
        match base {
            2 if sharp => reversed.extend_from_slice(b"b0"),
            8 if sharp && reversed.last() != Some(&b'0') => reversed.push(b'0'),
            16 if sharp => reversed.extend_from_slice(if upper { b"X0" } else { b"x0" }),
            _ => {}
        }
        if verb == 'O' {
            reversed.extend_from_slice(b"o0");
        }
        if signed {
            reversed.push(if negative {
                b'-'
            } else if flags.plus {
                b'+'
            } else {
                b' '
            });
        }
        reversed.reverse();
        self.pad_with(&reversed, b' ');
    }

    fn unicode(&mut self, code: u64) {
        let digits = self.flags.precision.unwrap_or(0).max(4);
        let number = format!("{code:X}");
        let mut text = format!("U+{}{number}", "0".repeat(digits.saturating_sub(number.len())));
        if self.flags.sharp {
            let character = u32::try_from(code).ok().and_then(char::from_u32);
            if let Some(character) = character.filter(|character| rune::is_print(*character)) {
                text.push_str(&format!(" '{character}'"));
            }
        }
        self.pad_with(text.as_bytes(), b' ');
    }

    /// `fmtFloat`
    fn float(&mut self, value: f64, verb: char, precision: Option<usize>) {
        let flags = self.flags;
        let precision = flags.precision.or(precision);
        let mut text = float::format(value, verb, precision);
        if !text.starts_with(['-', '+']) {
            text.insert(0, '+');
        }
        if flags.space && text.starts_with('+') && !flags.plus {
            text.replace_range(..1, " ");
        }
        if text[1..].starts_with(['I', 'N']) {
            let bare = text[1..].starts_with('N') && !flags.space && !flags.plus;
            return self.pad_with(&text.as_bytes()[usize::from(bare)..], b' ');
        }
        if flags.sharp && verb != 'b' {
            text = with_point(&text, verb, precision);
        }
        if flags.plus || !text.starts_with('+') {
            if let Some(width) = flags.width.filter(|width| flags.zero && !flags.minus && *width > text.len())
            {
                self.out.extend_from_slice(&text.as_bytes()[..1]);
                self.padding(width - text.len(), b'0');
                return self.out.extend_from_slice(&text.as_bytes()[1..]);
            }
            return self.pad(text.as_bytes());
        }
        self.pad(&text.as_bytes()[1..]);
    }

    fn string(&mut self, value: &Value, text: &[u8], verb: char) {
        match verb {
            'v' if self.flags.sharp_v => self.quoted(text),
            'v' | 's' => self.text(text),
            'x' | 'X' => self.hexadecimal(text, verb == 'X'),
            'q' => self.quoted(text),
            _ => self.bad_verb(value, verb),
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.pad(self.truncated(text));
    }

    fn truncated<'b>(&self, text: &'b [u8]) -> &'b [u8] {
        match self.flags.precision.and_then(|precision| rune::runes(text).nth(precision)) {
            Some((end, _)) => &text[..end],
            None => text,
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        if self.flags.sharp && quote::can_backquote(text) {
            self.pad(&[b"`", text, b"`"].concat());
        } else if self.flags.plus {
            self.pad(quote::quote_ascii(text).as_bytes());
        } else {
            self.pad(quote::quote(text).as_bytes());
        }
    }

    /// `fmtSbx`: each byte as two digits.
    fn hexadecimal(&mut self, bytes: &[u8], upper: bool) {
        let flags = self.flags;
        let bytes = &bytes[..flags.precision.unwrap_or(usize::MAX).min(bytes.len())];
        if bytes.is_empty() {
            let fill = if flags.zero && !flags.minus { b'0' } else { b' ' };
            return self.padding(flags.width.unwrap_or(0), fill);
        }
        let mut text = String::new();
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 && flags.space {
                text.push(' ');
            }
            if flags.sharp && (index == 0 || flags.space) {
                text.push_str(if upper { "0X" } else { "0x" });
            }
            text.push_str(&if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        }
        self.pad(text.as_bytes());
    }

    pub(crate) fn pad(&mut self, text: &[u8]) {
        self.pad_with(text, if self.flags.zero && !self.flags.minus { b'0' } else { b' ' });
    }

    fn pad_with(&mut self, text: &[u8], fill: u8) {
        let Some(width) = self.flags.width.filter(|width| *width > 0) else {
            return self.out.extend_from_slice(text);
        };
        let missing = width.saturating_sub(rune::count(text));
        if !self.flags.minus {
            self.padding(missing, fill);
        }
        self.out.extend_from_slice(text);
        if self.flags.minus {
            self.padding(missing, b' ');
        }
    }

    fn padding(&mut self, count: usize, fill: u8) {
        self.out.resize(self.out.len() + count, fill);
    }

    /// `%!d(string=text)`
    fn bad_verb(&mut self, value: &Value, verb: char) {
        self.out.extend_from_slice(format!("%!{verb}(").as_bytes());
        self.typed(value);
        self.out.push(b')');
    }

    /// `string=text`, as errors have it.
    pub(crate) fn typed(&mut self, value: &Value) {
        if value.is_nil() {
            self.out.extend_from_slice(b"<nil>");
        } else {
            self.out.extend_from_slice(value.type_name().as_bytes());
            self.out.push(b'=');
            self.argument(value, 'v');
        }
    }
}

/// What `#` does to floats: there is always a point, and `%g` keeps its zeros.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let mut digits = match verb {
        'g' | 'G' | 'x' => precision.map_or(6, |precision| i64::try_from(precision).unwrap_or(0)),
        _ => 0,
    };
    let hexadecimal = matches!(verb, 'x' | 'X');
    let tail =
        text.find(|c| matches!(c, 'p' | 'P') || !hexadecimal && matches!(c, 'e' | 'E')).unwrap_or(text.len());
    let (number, tail) = text.split_at(tail);
    let significant = number[1..].chars().filter(|c| *c != '.').skip_while(|c| *c == '0').count();
    digits -= i64::try_from(significant).unwrap_or(0);
    let mut out = number.to_owned();
    if !number.contains('.') {
        if &number[1..] == "0" {
            digits -= 1;
        }
        out.push('.');
    }
    out.extend(std::iter::repeat_n('0', usize::try_from(digits).unwrap_or(0)));
    out + tail
}

fn character(code: i64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn too_much() -> Fault {
    Fault::limit("value is too large or nested too deeply to be printed")
}

/// Where `%p` says that things are. Go's answer differs from run to run.
const ADDRESS: u64 = 0xc0_0000_0000;
const MAX_DEPTH: usize = 300;
const MAX_BYTES: usize = 16 << 20;

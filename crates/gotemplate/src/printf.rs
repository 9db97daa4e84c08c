//! Formats of `printf` (Go's `fmt`, `doPrintf`).

use crate::print::{Flags, Printer};
use crate::rune;
use crate::value::{IntKind, Value};

/// How far a format is read, and which argument is next.
struct Cursor<'f> {
    format: &'f [u8],
    at: usize,
    argument: usize,
    /// Whether there was an index such as `[3]`, after which nobody looks for arguments that were not used.
    reordered: bool,
    good_index: bool,
    /// Whether an index was the last thing read.
    after_index: bool,
}

impl Printer {
    pub(crate) fn format(&mut self, format: &[u8], values: &[Value]) {
        let mut cursor =
            Cursor { format, at: 0, argument: 0, reordered: false, good_index: true, after_index: false };
        while cursor.at < format.len() {
            let rest = &format[cursor.at..];
            let length = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            self.out.extend_from_slice(&rest[..length]);
            cursor.at += length;
            if cursor.at < format.len() {
                cursor.at += 1;
                self.verb(&mut cursor, values);
            }
        }
        if !cursor.reordered && cursor.argument < values.len() {
            self.extra(&values[cursor.argument..]);
        }
        self.flags = Flags::default();
    }

    /// One verb, after its `%`.
    fn verb(&mut self, cursor: &mut Cursor<'_>, values: &[Value]) {
        cursor.good_index = true;
        cursor.after_index = false;
        self.flags = Flags::default();
        while let Some(byte) = cursor.byte() {
            match byte {
                b'#' => self.flags.sharp = true,
                b'0' => self.flags.zero = true,
                b'+' => self.flags.plus = true,
                b'-' => self.flags.minus = true,
                b' ' => self.flags.space = true,
                _ => break,
            }
            cursor.at += 1;
        }
        cursor.index(values.len());
        self.width(cursor, values);
        self.precision(cursor, values);
        if !cursor.after_index {
            cursor.index(values.len());
        }
        let Some((verb, length)) = rune::first(&cursor.format[cursor.at..]) else {
            return self.out.extend_from_slice(b"%!(NOVERB)");
        };
        cursor.at += length;
        if verb == '%' {
            self.out.push(b'%');
        } else if !cursor.good_index {
            self.out.extend_from_slice(format!("%!{verb}(BADINDEX)").as_bytes());
        } else if let Some(value) = values.get(cursor.argument) {
            if matches!(verb, 'v' | 'w') {
                self.flags.sharp_v = std::mem::take(&mut self.flags.sharp);
                self.flags.plus_v = std::mem::take(&mut self.flags.plus);
            }
            self.argument(value, verb);
            cursor.argument += 1;
        } else {
            self.out.extend_from_slice(format!("%!{verb}(MISSING)").as_bytes());
        }
    }

    fn width(&mut self, cursor: &mut Cursor<'_>, values: &[Value]) {
        if cursor.byte() != Some(b'*') {
            self.flags.width = cursor.number();
            if cursor.after_index && self.flags.width.is_some() {
                cursor.good_index = false;
            }
            return;
        }
        cursor.at += 1;
        match cursor.int(values) {
            Some(width) => {
                self.flags.width = Some(width.unsigned_abs() as usize);
                if width < 0 {
                    self.flags.minus = true;
                    self.flags.zero = false;
                }
            }
            None => self.out.extend_from_slice(b"%!(BADWIDTH)"),
        }
        cursor.after_index = false;
    }

    fn precision(&mut self, cursor: &mut Cursor<'_>, values: &[Value]) {
        if cursor.byte() != Some(b'.') || cursor.at + 1 >= cursor.format.len() {
            return;
        }
        cursor.at += 1;
        if cursor.after_index {
            cursor.good_index = false;
        }
        cursor.index(values.len());
        if cursor.byte() != Some(b'*') {
            self.flags.precision = Some(cursor.number().unwrap_or(0));
            return;
        }
        cursor.at += 1;
        match cursor.int(values).map(usize::try_from) {
            Some(Ok(precision)) => self.flags.precision = Some(precision),
            _ => self.out.extend_from_slice(b"%!(BADPREC)"),
        }
        cursor.after_index = false;
    }

    fn extra(&mut self, values: &[Value]) {
        self.flags = Flags::default();
        self.out.extend_from_slice(b"%!(EXTRA ");
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            self.typed(value);
        }
        self.out.push(b')');
    }
}

impl Cursor<'_> {
    fn byte(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    /// `parsenum`: a number that is too large ends the format.
    fn number(&mut self) -> Option<usize> {
        let (number, end) = number(self.format, self.at, self.format.len());
        self.at = end;
        number
    }

    /// `intFromArg`: the next argument, if it is an integer of a sensible size.
    fn int(&mut self, values: &[Value]) -> Option<i64> {
        let value = values.get(self.argument)?;
        self.argument += 1;
        match value {
            Value::Int(number, kind) if *kind != IntKind::Uint64 || *number >= 0 => {
                Some(*number).filter(|number| number.unsigned_abs() <= LARGEST as u64)
            }
            _ => None,
        }
    }

    /// `argNumber`: `[3]`, if that is here.
    fn index(&mut self, count: usize) {
        self.after_index = false;
        if self.byte() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let close = rest.iter().skip(1).position(|byte| *byte == b']').map(|at| at + 1);
        let Some(close) = close.filter(|_| rest.len() >= 3) else {
            self.at += 1;
            self.good_index = false;
            return;
        };
        let (index, end) = number(rest, 1, close);
        self.at += close + 1;
        let index = index.filter(|_| end == close);
        self.after_index = index.is_some();
        match index.and_then(|index| index.checked_sub(1)).filter(|index| *index < count) {
            Some(index) => self.argument = index,
            None => self.good_index = false,
        }
    }
}

/// A number in `bytes[start..end]` and where it stops; one that is too large reads on to the end.
fn number(bytes: &[u8], start: usize, end: usize) -> (Option<usize>, usize) {
    let mut value = None;
    let mut at = start;
    while at < end && bytes[at].is_ascii_digit() {
        if value.unwrap_or(0) > LARGEST {
            return (None, end);
        }
        value = Some(value.unwrap_or(0) * 10 + usize::from(bytes[at] - b'0'));
        at += 1;
    }
    (value, at.min(end))
}

/// The largest width and precision (`tooLarge`).
const LARGEST: usize = 1_000_000;

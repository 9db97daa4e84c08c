//! Checksums of rows: SQLite does not notice a flipped bit inside a value, so every row carries the sum of its own values.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

/// Makes the SQL function known that the tables are declared with. Innocuous: a function of its arguments and nothing else.
pub(crate) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function(FUNCTION, -1, flags, |context| {
        let mut sum = Sum::default();
        for at in 0..context.len() {
            sum.add(context.get_raw(at));
        }
        Ok(sum.finish())
    })
}

/// FORMAT: the name of the SQL function; part of the schema.
pub(crate) const FUNCTION: &str = "larder_sum";

/// FORMAT: the 64-bit FNV-1a of Fowler, Noll and Vo. Each value is one byte for its type (0 NULL, 1 integer, 2 real, 3 text, 4 blob) and then
/// eight bytes, little-endian: the integer, the bits of the real, or the length of text and blobs, whose bytes follow. One
/// changed byte always changes the sum: every step is a bijection of the state.
struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.bytes(&[0]),
            ValueRef::Integer(number) => self.sized(1, number as u64, &[]),
            ValueRef::Real(number) => self.sized(2, number.to_bits(), &[]),
            ValueRef::Text(text) => self.sized(3, text.len() as u64, text),
            ValueRef::Blob(bytes) => self.sized(4, bytes.len() as u64, bytes),
        }
    }

    fn sized(&mut self, kind: u8, number: u64, bytes: &[u8]) {
        self.bytes(&[kind]);
        self.bytes(&number.to_le_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// As SQLite keeps integers.
    fn finish(self) -> i64 {
        self.0.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[ValueRef<'_>]) -> i64 {
        let mut sum = Sum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum.finish()
    }

    #[test]
    fn values_are_told_apart() {
        use ValueRef::{Blob, Integer, Null, Real, Text};
        let different: &[&[ValueRef<'_>]] = &[
            &[],
            &[Null],
            &[Null, Null],
            &[Integer(0)],
            &[Integer(1)],
            &[Integer(i64::MIN)],
            &[Real(0.0)],
            &[Text(b"")],
            &[Blob(b"")],
            &[Text(b"ab")],
            &[Blob(b"ab")],
            &[Text(b"a"), Text(b"b")],
        ];
        let mut sums: Vec<i64> = different.iter().map(|values| sum(values)).collect();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), different.len());
    }

    #[test]
    fn known_answer() {
        let mut sum = Sum::default();
        sum.bytes(b"foobar");
        assert_eq!(sum.0, 0x8594_4171_f739_67e8, "the authors' test vector");
    }
}

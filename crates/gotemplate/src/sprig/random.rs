//! Random texts and numbers, from the seeded stream of the run: the same seed gives the same.

use crate::function::{Arguments, Fault, Function, Parameter, Run};
use crate::text::Text;
use crate::value::Value;

use base64::Engine as _;

use super::runes;

use Parameter::{Int, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("randAlphaNum", &[Int], |args| {
        text(args, b' '..=b'z', |byte| byte.is_ascii_alphanumeric())
    }),
    Function::new("randAlpha", &[Int], |args| text(args, b' '..=b'z', |byte| byte.is_ascii_alphabetic())),
    Function::new("randNumeric", &[Int], |args| text(args, b' '..=b'z', |byte| byte.is_ascii_digit())),
    Function::new("randAscii", &[Int], |args| text(args, b' '..=b'~', |_| true)),
    Function::new("randBytes", &[Int], bytes),
    Function::new("randInt", &[Int, Int], |args| {
        let (least, end) = (args.int(0), args.int(1));
        let count = u64::try_from(end.wrapping_sub(least)).unwrap_or(0);
        if count == 0 {
            return Err(Fault::new("invalid argument to Intn"));
        }
        Ok(Value::int(least + below(args.run, count) as i64))
    }),
    Function::new("shuffle", &[Str], |args| {
        let text = args.text(0);
        let mut runes: Vec<char> = runes::of(text.as_bytes()).collect();
        for end in (1..runes.len()).rev() {
            let index = below(args.run, end as u64 + 1) as usize;
            runes.swap(end, index);
        }
        Ok(runes.into_iter().collect::<String>().into())
    }),
    Function::new("uuidv4", &[], |args| {
        let mut bytes = [0; 16];
        args.run.random(&mut bytes);
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into())
    }),
];

/// `goutils.CryptoRandom`: nothing where the count is negative, since Sprig swallows the error.
fn text(
    args: &mut Arguments<'_>,
    range: std::ops::RangeInclusive<u8>,
    fits: fn(&u8) -> bool,
) -> Result<Value, Fault> {
    let count = usize::try_from(args.int(0)).unwrap_or(0);
    args.run.charge(count)?;
    let alphabet: Vec<u8> = range.filter(fits).collect();
    let mut text = Vec::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0; 32];
        args.run.random(&mut bytes);
        // Bytes from the last, partial round of the alphabet would favour its beginning.
        let fair = 256 - 256 % alphabet.len();
        let picks = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(picks.map(|byte| alphabet[byte % alphabet.len()]).take(count - text.len()));
    }
    Ok(Text::from(text).into())
}

fn bytes(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let Ok(count) = usize::try_from(args.int(0)) else {
        return Err(Fault::new("runtime error: makeslice: len out of range"));
    };
    args.run.charge(count.saturating_mul(3))?;
    let mut bytes = vec![0; count];
    args.run.random(&mut bytes);
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into())
}

/// A number below `count`. The bias of the remainder is 2⁻⁶⁴·count.
fn below(run: &mut dyn Run, count: u64) -> u64 {
    let mut bytes = [0; 8];
    run.random(&mut bytes);
    u64::from_le_bytes(bytes) % count
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault};
    use super::*;

    #[test]
    fn texts_have_their_length_and_letters() {
        assert!(call("randNumeric", &[Value::int(40)]).bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(call("randAlphaNum", &[Value::int(40)]).len(), 40);
        assert_eq!(call("randAlpha", &[Value::int(-1)]), "");
        assert_eq!(call("randBytes", &[Value::int(3)]).len(), 4);
        assert_eq!(fault("randAscii", &[Value::int(i64::MAX)]), "spent");
    }

    #[test]
    fn numbers_lie_between_their_bounds() {
        assert_eq!(call("randInt", &[Value::int(7), Value::int(8)]), "7");
        assert_eq!(fault("randInt", &[Value::int(7), Value::int(7)]), "invalid argument to Intn");
    }

    #[test]
    fn shuffling_keeps_all_letters() {
        let mut letters: Vec<char> = call("shuffle", &["héllo".into()]).chars().collect();
        letters.sort_unstable();
        assert_eq!(letters.into_iter().collect::<String>(), "hlloé");
    }

    #[test]
    fn a_uuid_says_its_version() {
        let uuid = call("uuidv4", &[]);
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    }
}

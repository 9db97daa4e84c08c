//! Base64 and base32 (Sprig's `strings.go`, Go's `encoding/base64` and `encoding/base32`).

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::text::Text;
use crate::value::Value;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use Parameter::Text as Str;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("b64enc", &[Str], |args| {
        let text = args.text(0);
        args.run.charge(text.len() / 3 * 4 + 4)?;
        Ok(STANDARD.encode(text.as_bytes()).into())
    }),
    Function::new("b64dec", &[Str], |args| decoded(args, decode_base64, "base64")),
    Function::new("b32enc", &[Str], |args| {
        let text = args.text(0);
        args.run.charge(text.len() / 5 * 8 + 8)?;
        Ok(encode_base32(text.as_bytes()).into())
    }),
    Function::new("b32dec", &[Str], |args| decoded(args, decode_base32, "base32")),
];

/// The bytes, or where the text is wrong, in Go's words: Sprig gives them for the result.
fn decoded(
    args: &mut Arguments<'_>,
    decode: fn(&[u8]) -> Result<Vec<u8>, usize>,
    name: &str,
) -> Result<Value, Fault> {
    Ok(match decode(args.text(0).as_bytes()) {
        Ok(bytes) => Text::from(bytes).into(),
        Err(at) => format!("illegal {name} data at input byte {at}").into(),
    })
}

/// Go's standard decoding: line ends are skipped, padding is needed, unused bits may be set. The error says where.
pub(crate) fn decode_base64(text: &[u8]) -> Result<Vec<u8>, usize> {
    decode(text, 6, 4, |byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    })
}

fn decode_base32(text: &[u8]) -> Result<Vec<u8>, usize> {
    // Go takes line ends out before it counts.
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    decode_base32_line(&text)
}

/// `base32.Encoding.decode`: the quantum is eight characters, and only some numbers of paddings are right.
fn decode_base32_line(text: &[u8]) -> Result<Vec<u8>, usize> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    };
    let mut out = Vec::with_capacity(text.len() / 8 * 5 + 5);
    let mut rest = text;
    while !rest.is_empty() {
        let mut quantum = [0u8; 8];
        let mut digits = 8;
        let mut ends = false;
        for (index, digit) in quantum.iter_mut().enumerate() {
            let Some((byte, after)) = rest.split_first() else {
                return Err(text.len() - index);
            };
            let at = text.len() - rest.len();
            rest = after;
            if *byte == b'=' && index >= 2 && rest.len() < 8 {
                if rest.len() + index < 7 {
                    return Err(text.len());
                }
                if let Some(bad) =
                    (0..7 - index).find(|position| rest.get(*position).is_some_and(|byte| *byte != b'='))
                {
                    return Err(text.len() - rest.len() + bad - 1);
                }
                digits = index;
                ends = true;
                if matches!(digits, 1 | 3 | 6) {
                    return Err(text.len() - rest.len() - 1);
                }
                break;
            }
            *digit = value(*byte).ok_or(at)?;
        }
        let bits = quantum.iter().fold(0u64, |bits, digit| bits << 5 | u64::from(*digit));
        out.extend_from_slice(&bits.to_be_bytes()[3..3 + digits * 5 / 8]);
        if ends {
            break;
        }
    }
    Ok(out)
}

/// Digits of `bits` bits in quanta of `size`, as `base64.Encoding.Decode` reads them.
fn decode(text: &[u8], bits: u32, size: usize, value: impl Fn(u8) -> Option<u8>) -> Result<Vec<u8>, usize> {
    let line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let mut at = 0;
    loop {
        let (mut buffer, mut digits) = (0u32, 0);
        while digits < size {
            let Some(byte) = text.get(at) else {
                return if digits == 0 { Ok(out) } else { Err(at - digits) };
            };
            at += 1;
            if let Some(digit) = value(*byte) {
                buffer = buffer << bits | u32::from(digit);
                digits += 1;
                continue;
            }
            if line_end(byte) {
                continue;
            }
            if *byte != b'=' {
                return Err(at - 1);
            }
            if digits < 2 {
                return Err(at - 1);
            }
            if digits == 2 {
                at += text[at..].iter().take_while(|byte| line_end(byte)).count();
                match text.get(at) {
                    None => return Err(text.len()),
                    Some(b'=') => at += 1,
                    Some(_) => return Err(at - 1),
                }
            }
            at += text[at..].iter().take_while(|byte| line_end(byte)).count();
            if at < text.len() {
                return Err(at);
            }
            buffer <<= bits * (size - digits) as u32;
            out.extend_from_slice(&buffer.to_be_bytes()[1..1 + digits * 6 / 8]);
            return Ok(out);
        }
        out.extend_from_slice(&buffer.to_be_bytes()[1..]);
    }
}

fn encode_base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut buffer = [0u8; 8];
        buffer[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(buffer);
        let digits = (chunk.len() * 8).div_ceil(5);
        for index in 0..8 {
            let digit = (bits >> (35 - 5 * index) & 31) as usize;
            out.push(if index < digits { ALPHABET[digit].into() } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::call::call;
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar", "hello world"] {
            assert_eq!(call("b64dec", &[call("b64enc", &[text.into()]).into()]), text);
            assert_eq!(call("b32dec", &[call("b32enc", &[text.into()]).into()]), text);
        }
        assert_eq!(call("b32enc", &["foobar".into()]), "MZXW6YTBOI======");
    }

    #[test]
    fn errors_are_results() {
        assert_eq!(call("b64dec", &["a!bc".into()]), "illegal base64 data at input byte 1");
        assert_eq!(call("b64dec", &["YWJ".into()]), "illegal base64 data at input byte 0");
        assert_eq!(decode_base64(b"YW\nJj\r\n").as_deref(), Ok(b"abc".as_slice()));
    }
}

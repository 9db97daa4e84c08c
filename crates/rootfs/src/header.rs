//! One 512-byte header block: ustar (POSIX.1-2017, pax, "ustar Interchange Format"), V7 and GNU (tar manual,
//! "Basic Tar Format").
//!
//! A number is read only if every reader reads it the same way.

use std::ops::Range;

pub(crate) const BLOCK: usize = 512;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'b>(&'b [u8; BLOCK]);

impl<'b> Header<'b> {
    /// Checks the sum of the bytes, taken as unsigned as the standard has it, or signed as some old writers
    /// did.
    pub(crate) fn new(block: &'b [u8; BLOCK]) -> Result<Self, &'static str> {
        let header = Self(block);
        let stored = header.number(CHECKSUM).map_err(|_| NO_HEADER)?;
        let blank = i64::from(b' ') * CHECKSUM.len() as i64;
        let rest: i64 = block[CHECKSUM].iter().map(|byte| i64::from(*byte)).sum();
        let sum = i64::from(block.iter().map(|byte| u32::from(*byte)).sum::<u32>()) - rest + blank;
        if stored == sum {
            return Ok(header);
        }
        let rest: i64 = block[CHECKSUM].iter().map(|byte| i64::from(*byte as i8)).sum();
        let sum = block.iter().map(|byte| i64::from(*byte as i8)).sum::<i64>() - rest + blank;
        if stored == sum { Ok(header) } else { Err(NO_HEADER) }
    }

    pub(crate) fn flag(&self) -> u8 {
        self.0[156]
    }

    pub(crate) fn is_gnu(&self) -> bool {
        self.0[257..265] == *b"ustar  \0"
    }

    /// The name, with the prefix where the format has one.
    pub(crate) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = if self.0[257..263] == *b"ustar\0" { text(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> &'b [u8] {
        text(&self.0[157..257])
    }

    /// The length of what follows. A blank field is no length.
    pub(crate) fn size(&self) -> Result<u64, &'static str> {
        if self.0[SIZE].iter().all(|byte| *byte == b' ') {
            return Err("the size is blank");
        }
        u64::try_from(self.number(SIZE)?).map_err(|_| "the size is negative")
    }

    /// Permission bits.
    pub(crate) fn mode(&self) -> Result<u16, &'static str> {
        Ok((self.number(100..108)? & 0o7777) as u16)
    }

    pub(crate) fn uid(&self) -> Result<u32, &'static str> {
        id(self.number(108..116)?)
    }

    pub(crate) fn gid(&self) -> Result<u32, &'static str> {
        id(self.number(116..124)?)
    }

    pub(crate) fn mtime(&self) -> Result<i64, &'static str> {
        self.number(136..148)
    }

    /// Major and minor number.
    pub(crate) fn device(&self) -> Result<(u32, u32), &'static str> {
        let number =
            |field| u32::try_from(self.number(field)?).map_err(|_| "the device number is out of range");
        Ok((number(329..337)?, number(337..345)?))
    }

    /// The regions of an old GNU sparse file: how many extension blocks follow is only known one by one.
    pub(crate) fn sparse(&self, map: &mut Vec<(u64, u64)>) -> Result<bool, &'static str> {
        regions(&self.0[386..386 + 4 * 24], self.0[482], map)
    }

    /// The logical size of an old GNU sparse file.
    pub(crate) fn real_size(&self) -> Result<u64, &'static str> {
        u64::try_from(self.number(483..495)?).map_err(|_| "the size is negative")
    }

    fn number(&self, field: Range<usize>) -> Result<i64, &'static str> {
        number(&self.0[field])
    }
}

/// An extension block of an old GNU sparse file; tells whether another one follows.
pub(crate) fn sparse_extension(block: &[u8; BLOCK], map: &mut Vec<(u64, u64)>) -> Result<bool, &'static str> {
    regions(&block[..21 * 24], block[504], map)
}

/// An owner. Negative numbers, which some writers have for `nobody`, wrap as they do in the kernel.
pub(crate) fn id(number: i64) -> Result<u32, &'static str> {
    u32::try_from(number)
        .or_else(|_| i32::try_from(number).map(|number| number as u32))
        .map_err(|_| "the owner or group is out of range")
}

/// Bytes up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    &field[..end]
}

fn regions(fields: &[u8], extended: u8, map: &mut Vec<(u64, u64)>) -> Result<bool, &'static str> {
    for field in fields.chunks_exact(24) {
        match (field[0], field[12]) {
            (0, 0) if extended == 0 => return Ok(false),
            // GNU tar stops here, others go on with the extension.
            (0, _) | (_, 0) => return Err("the sparse map is ambiguous"),
            _ => {}
        }
        let number = |field| u64::try_from(number(field)?).map_err(|_| "the sparse map has negative numbers");
        map.push((number(&field[..12])?, number(&field[12..])?));
    }
    Ok(extended != 0)
}

/// A numeric field: octal digits after any spaces, ended by NUL, space or the field; or GNU's base-256. All
/// blank is 0.
fn number(field: &[u8]) -> Result<i64, &'static str> {
    if let [first @ (0x80..), rest @ ..] = field {
        // Two's complement, the first bit of which says "binary" and the second is the sign.
        let mut value = i64::from(first & 0x3f) - i64::from(first & 0x40);
        for byte in rest {
            value = value.checked_mul(256).ok_or(RANGE)?;
            value = value.checked_add(i64::from(*byte)).ok_or(RANGE)?;
        }
        return Ok(value);
    }
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| !(b'0'..=b'7').contains(byte)).unwrap_or(digits.len());
    if digits[end..].iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err("a numeric field is not a number");
    }
    // At most 12 digits: 36 bits.
    Ok(digits[..end].iter().fold(0, |value, digit| value << 3 | i64::from(digit - b'0')))
}

const CHECKSUM: Range<usize> = 148..156;
const SIZE: Range<usize> = 124..136;
const NO_HEADER: &str = "not a tar header: the checksum is wrong";
const RANGE: &str = "a number is out of range";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let good: [(&[u8], i64); 12] = [
            (b"0000644\0", 0o644),
            (b"00000000017\0", 15),
            (b"    17 \0", 15),
            (b"777777777777", (1 << 36) - 1),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"        ", 0),
            (b"17 \0\0\0\0\0", 15),
            (b"\x80\0\0\0\0\0\0\x11", 17),
            (b"\x80\0\0\0\0\0\0\x01\0\0\0\0", 1 << 32),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -1),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
        ];
        for (field, value) in good {
            assert_eq!(number(field), Ok(value), "{field:?}");
        }
        let bad: [&[u8]; 8] = [
            b"0000648\0",
            b"12\0\x0034\0",
            b"12 34\0",
            b"\x000012\0\0",
            b"-1\0\0\0\0\0\0",
            b"0x10\0\0\0\0",
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
            b"+AAAAAA\0",
        ];
        for field in bad {
            assert!(number(field).is_err(), "{field:?}");
        }
    }

    #[test]
    fn owners() {
        assert_eq!(id(-2), Ok(u32::MAX - 1));
        assert_eq!(id(4_294_967_295), Ok(u32::MAX));
        assert!(id(4_294_967_296).is_err());
        assert!(id(-2_147_483_649).is_err());
    }
}

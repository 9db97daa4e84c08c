//! Extended headers (POSIX.1-2017, pax, "pax Extended Header"), with the records of GNU tar, star and
//! libarchive that matter.

use crate::entry::{Time, Xattr, Xattrs};
use crate::header;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What the records for one member say. The last of equal records counts.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Xattrs,
    pub(crate) sparse: SparseRecords,
}

/// `GNU.sparse.*` (tar manual, "Storing Sparse Files").
#[derive(Debug, Default)]
pub(crate) struct SparseRecords {
    pub(crate) any: bool,
    pub(crate) major: Option<Vec<u8>>,
    pub(crate) minor: Option<Vec<u8>>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// Offsets and lengths in turn: of format 0.1, else of 0.0.
    pub(crate) map: Vec<u64>,
}

impl Records {
    /// Reads the content of an `x` header.
    pub(crate) fn parse(content: &[u8], xattr_bytes: usize) -> Result<Self, &'static str> {
        let mut records = Self::default();
        let (mut libarchive, mut schily) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        each(content, |key, value| {
            let xattrs = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                Some((unescape(name, b"=%"), value.to_vec(), &mut schily))
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let value = BASE64.decode(value).map_err(|_| "a LIBARCHIVE.xattr record is not base64")?;
                Some((unescape(name, ANY), value, &mut libarchive))
            } else {
                None
            };
            let Some((name, value, xattrs)) = xattrs else { return records.take(key, value) };
            if name.is_empty() || name.len() > 255 || name.contains(&0) {
                return Err("the name of an extended attribute is empty, too long or contains NUL");
            }
            bytes += name.len() + value.len();
            if bytes > xattr_bytes {
                return Err("the extended attributes are larger than the limit");
            }
            if !is_forbidden(&name) {
                xattrs.push(Xattr { name: name.into(), value: value.into() });
            }
            Ok(())
        })?;
        // Libarchive writes both; others know only the second.
        libarchive.append(&mut schily);
        records.xattrs = libarchive.into_iter().collect();
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" if !value.is_empty() => self.uid = Some(owner(value)?),
            b"gid" if !value.is_empty() => self.gid = Some(owner(value)?),
            b"mtime" if !value.is_empty() => self.mtime = Some(time(value)?),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.any = true;
                    self.sparse.take(key, value)?;
                }
            }
        }
        Ok(())
    }
}

impl SparseRecords {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"major" => self.major = Some(value.to_vec()),
            b"minor" => self.minor = Some(value.to_vec()),
            b"name" => self.name = Some(name(value)?),
            b"size" | b"realsize" => {
                let size = decimal(value)?;
                if self.size.is_some_and(|other| other != size) {
                    return Err("the sparse file has two sizes");
                }
                self.size = Some(size);
            }
            b"map" if value.is_empty() => self.map.clear(),
            b"map" => {
                self.map = value.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?;
            }
            b"offset" | b"numbytes" => {
                if self.map.len().is_multiple_of(2) != (key == b"offset") {
                    return Err("the sparse map is out of order");
                }
                self.map.push(decimal(value)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks the content of a `g` header. Container tools ignore global records, others apply them: what would
/// change the structure of the archive is refused, the rest ignored.
pub(crate) fn check_global(content: &[u8]) -> Result<(), &'static str> {
    each(content, |key, _| match key {
        b"path" | b"linkpath" | b"size" => {
            Err("a global header gives every member the same path, link or size")
        }
        _ if key.starts_with(b"GNU.sparse.") => Err("a global header makes every member sparse"),
        _ => Ok(()),
    })
}

/// Calls `take` with each `LENGTH KEY=VALUE\n`.
fn each(
    mut content: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    while !content.is_empty() {
        let space = content.iter().take(20).position(|byte| *byte == b' ').ok_or(RECORD)?;
        let length = usize::try_from(decimal(&content[..space])?).map_err(|_| RECORD)?;
        if length > content.len() || length < space + 2 {
            return Err(RECORD);
        }
        let (record, rest) = content.split_at(length);
        let [record @ .., b'\n'] = &record[space + 1..] else { return Err(RECORD) };
        let equals = record.iter().position(|byte| *byte == b'=').ok_or(RECORD)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(RECORD);
        }
        take(key, value)?;
        content = rest;
    }
    Ok(())
}

fn name(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if value.is_empty() || value.contains(&0) {
        return Err("a path in an extended header is empty or contains NUL");
    }
    Ok(value.to_vec())
}

pub(crate) fn decimal(digits: &[u8]) -> Result<u64, &'static str> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err("an extended header has something else where a number belongs");
    }
    // At most 19 digits: below 2^64.
    Ok(digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

fn owner(value: &[u8]) -> Result<u32, &'static str> {
    let (digits, sign) = value.strip_prefix(b"-").map_or((value, 1), |digits| (digits, -1));
    let number = i64::try_from(decimal(digits)?).map_err(|_| "the owner or group is out of range")?;
    header::id(sign * number)
}

/// Seconds, optionally negative, optionally with a fraction; digits beyond nanoseconds are cut off.
fn time(value: &[u8]) -> Result<Time, &'static str> {
    let (value, negative) = value.strip_prefix(b"-").map_or((value, false), |value| (value, true));
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a time is not a number");
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    let nanos = (0..9).fold(0, |nanos, at| nanos * 10 + digit(at));
    let secs = i64::try_from(whole).map_err(|_| "a time is out of range")?;
    Ok(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos },
        // Half a second before -1 is the second -2 and half a second.
        (true, _) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Replaces `%XX` where it stands for one of `which`, or for any byte when `which` is empty.
fn unescape(name: &[u8], which: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let byte = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match byte.filter(|byte| which.is_empty() || which.contains(byte)) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// What a layer must not set: labels of another host, and marks by which overlayfs would be steered.
fn is_forbidden(name: &[u8]) -> bool {
    name == b"security.selinux" || name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

const RECORD: &str = "an extended header is malformed";
const ANY: &[u8] = b"";
/// Libarchive writes no padding, and nobody else writes this record.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &[u8]) -> Result<Records, &'static str> {
        Records::parse(content, 1000)
    }

    #[test]
    fn records() {
        let records =
            parse(b"12 path=a/b\n13 path=a/bc\n10 size=9\n16 mtime=-1.5000\n11 uid=-2\n20 gid=4294967295\n")
                .unwrap_err();
        assert_eq!(records, RECORD);
        let records =
            parse(b"12 path=a/b\n13 path=a/bc\n10 size=9\n17 mtime=-1.5000\n10 uid=-2\n18 gid=4294967295\n")
                .unwrap();
        assert_eq!(records.path.unwrap(), b"a/bc");
        assert_eq!(records.size, Some(9));
        assert_eq!(records.mtime, Some(Time { secs: -2, nanos: 500_000_000 }));
        assert_eq!((records.uid, records.gid), (Some(u32::MAX - 1), Some(u32::MAX)));
    }

    #[test]
    fn malformed_records() {
        let bad: [&[u8]; 14] = [
            b"x",
            b"5 a=b\n",
            b"7 a=b\n",
            b"6 a=b\n\0",
            b"6 a=b ",
            b"6 abc\n",
            b"6 =ab\n",
            b"6  a=\n6 a=b",
            b"-6 a=b\n",
            b"10 size=\n1",
            b"11 size=-1\n",
            b"11 size=1x\n",
            b"8 path=\n",
            b"99999999999999999999 a=b\n",
        ];
        for content in bad {
            assert!(parse(content).is_err(), "{}", content.escape_ascii());
        }
        assert!(parse(b"11 path=a\0b\n").is_err());
        assert!(parse(b"").is_ok());
    }

    #[test]
    fn times() {
        let good: [(&[u8], i64, u32); 6] = [
            (b"0", 0, 0),
            (b"1700000000.123456789123", 1_700_000_000, 123_456_789),
            (b"1.5", 1, 500_000_000),
            (b"-1", -1, 0),
            (b"-0.25", -1, 750_000_000),
            (b"7.", 7, 0),
        ];
        for (text, secs, nanos) in good {
            assert_eq!(time(text), Ok(Time { secs, nanos }), "{}", text.escape_ascii());
        }
        for text in [&b""[..], b"-", b".5", b"1.x", b"1.5.5", b"1e9", b"99999999999999999999"] {
            assert!(time(text).is_err(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn attributes() {
        let content = b"29 SCHILY.xattr.user.a=x\0y\nz\n".as_slice();
        assert_eq!(parse(content).unwrap().xattrs.get(b"user.a"), Some(&b"x\0y\nz"[..]));
        let content = b"32 LIBARCHIVE.xattr.user%2Eb=AQI\n".as_slice();
        assert!(parse(content).is_err(), "length is off by one");
        let content = b"33 LIBARCHIVE.xattr.user%2Eb=AQI\n".as_slice();
        assert_eq!(parse(content).unwrap().xattrs.get(b"user.b"), Some(&[1, 2][..]));
        assert_eq!(unescape(b"a%3Db%25%41%", b"=%"), b"a=b%%41%");
        for name in ["security.selinux", "trusted.overlay.opaque", "user.overlay.redirect"] {
            let record = format!("SCHILY.xattr.{name}=y\n");
            let content = format!("{} {record}", record.len() + 3);
            assert_eq!(parse(content.as_bytes()).unwrap().xattrs.len(), 0, "{name}");
        }
    }

    #[test]
    fn too_many_attributes() {
        let record = format!("SCHILY.xattr.user.a={}\n", "x".repeat(970));
        let content = format!("{} {record}", record.len() + 4);
        assert!(Records::parse(content.as_bytes(), 976).is_ok());
        assert!(Records::parse(content.as_bytes(), 975).is_err());
    }
}

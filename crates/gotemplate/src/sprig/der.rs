//! DER (ITU-T X.690): as much of it as certificates and keys need.

/// Tags.
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT: u8 = 0x06;
pub(crate) const UTF8: u8 = 0x0C;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// A value with its tag and length.
pub(crate) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// Values one after the other in one of the given tag.
pub(crate) fn write_all(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    write(tag, &parts.concat())
}

/// An integer that is not negative, from its bytes, most significant first.
pub(crate) fn write_integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign: &[u8] = if bytes.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    write(INTEGER, &[sign, bytes].concat())
}

/// Bits in whole bytes.
pub(crate) fn write_bits(bytes: &[u8]) -> Vec<u8> {
    write(BIT_STRING, &[&[0], bytes].concat())
}

/// A value that was read.
#[derive(Clone, Copy)]
pub(crate) struct Item<'b> {
    pub(crate) tag: u8,
    pub(crate) content: &'b [u8],
    /// With tag and length.
    pub(crate) whole: &'b [u8],
}

/// The first value, and what follows it.
pub(crate) fn read(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (tag, first) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = if first < 0x80 {
        (usize::from(first), 2)
    } else {
        let count = usize::from(first & 0x7F);
        let digits = bytes.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
        (digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
    };
    let end = header.checked_add(length)?;
    let content = bytes.get(header..end)?;
    Some((Item { tag, content, whole: &bytes[..end] }, &bytes[end..]))
}

/// The values of a sequence; `None` if it is not one.
pub(crate) fn read_sequence(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let (sequence, _) = read(bytes).filter(|(item, _)| item.tag == SEQUENCE)?;
    let mut rest = sequence.content;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (item, after) = read(rest)?;
        items.push(item);
        rest = after;
    }
    Some(items)
}

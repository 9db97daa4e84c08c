//! Members of the archive that a child reads.

use larder_core::Digest;
use serde::{Deserialize, Serialize};

/// A regular file in the archive, in the order given. Its mode is 0644, its owner 0:0, its time 0: the archive depends on names
/// and contents only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name in the archive: at most 4096 bytes.
    pub name: String,
    /// What is in it.
    pub content: Content,
}

/// The content of a [`Member`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// So many bytes of the data that follow the request, in the order of the members.
    Inline(u64),
    /// A blob of the spool, as it is.
    Blob(Digest),
}

impl Member {
    /// The longest name, in bytes.
    pub(crate) const NAME_LIMIT: usize = 4096;

    /// The blocks in front of the content.
    pub(crate) fn header(name: &str, size: u64) -> Vec<u8> {
        let mut records = String::new();
        if name.len() > NAME_FIELD || !name.is_ascii() {
            push_record(&mut records, "path", name);
        }
        if size > OCTAL_LIMIT {
            push_record(&mut records, "size", &size.to_string());
        }
        let mut out = Vec::new();
        if !records.is_empty() {
            out.extend_from_slice(&block(b"PaxHeaders/member", records.len() as u64, b'x'));
            out.extend_from_slice(records.as_bytes());
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        let shown: Vec<u8> = name.bytes().take(NAME_FIELD).collect();
        out.extend_from_slice(&block(&shown, size.min(OCTAL_LIMIT), b'0'));
        out
    }

    /// Zeros behind content of `size` bytes.
    pub(crate) fn padding(size: u64) -> u64 {
        size.next_multiple_of(BLOCK as u64) - size
    }

    /// Zeros behind the last member: two blocks.
    pub(crate) const TRAILER: u64 = 2 * BLOCK as u64;
}

const BLOCK: usize = 512;
const NAME_FIELD: usize = 100;
/// What eleven octal digits hold: 8 GiB less one.
const OCTAL_LIMIT: u64 = 0o777_7777_7777;

/// A ustar header (POSIX.1-1988, "tar").
fn block(name: &[u8], size: u64, flag: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A record of a pax header (POSIX.1-2001, "pax"): its own length counts.
fn push_record(records: &mut String, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.push_str(&format!("{length} {key}={value}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_records_count_themselves() {
        for length in [1, 85, 86, 87, 90, 91, 92, 985, 990, 991, 992, 995] {
            let mut records = String::new();
            push_record(&mut records, "path", &"n".repeat(length));
            let said: usize = records.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.len());
        }
    }
}

//! Sparse files: maps of which parts are stored (tar manual, "Storing Sparse Files").

use crate::entry::{Extent, Extents};
use crate::header::BLOCK;
use crate::pax::{self, SparseRecords};

/// Which of the pax formats a member is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The map is in the header.
    Header,
    /// The map precedes the data.
    Data,
}

impl SparseRecords {
    pub(crate) fn format(&self) -> Result<Option<Format>, &'static str> {
        match (self.major.as_deref(), self.minor.as_deref()) {
            (Some(b"1"), Some(b"0")) => Ok(Some(Format::Data)),
            (Some(b"0"), Some(b"0" | b"1")) => Ok(Some(Format::Header)),
            (None, None) if !self.map.is_empty() => Ok(Some(Format::Header)),
            (None, None) if !self.any => Ok(None),
            _ => Err("this form of sparse file is not known"),
        }
    }

    pub(crate) fn map(&self) -> Result<Vec<(u64, u64)>, &'static str> {
        if !self.map.len().is_multiple_of(2) {
            return Err("the sparse map is incomplete");
        }
        Ok(self.map.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

/// Turns regions of (offset, length) into extents; `stored` bytes at `offset` of the tar must be exactly
/// theirs.
pub(crate) fn extents(
    map: &[(u64, u64)],
    size: u64,
    stored: u64,
    mut offset: u64,
) -> Result<Extents, &'static str> {
    let (mut at, mut left) = (0, stored);
    let mut extents = Vec::with_capacity(map.len());
    for (start, len) in map {
        let end = start
            .checked_add(*len)
            .filter(|end| *end <= size)
            .ok_or("the sparse map goes beyond the file")?;
        if *start < at {
            return Err("the sparse map is not in order");
        }
        at = end;
        if *len == 0 {
            continue;
        }
        // GNU tar pads every region to a block, others do not: both are right only if there is nothing to
        // pad.
        if !offset.is_multiple_of(BLOCK as u64) {
            return Err("a region of the sparse file does not fill its last block");
        }
        left = left.checked_sub(*len).ok_or("the sparse map has more data than the member")?;
        extents.push(Extent { at: *start, source: 0, offset, len: *len });
        offset += len;
    }
    if left != 0 {
        return Err("the sparse map has less data than the member");
    }
    Ok(extents.into())
}

/// Reads a map of format 1.0: decimal numbers, each on a line, first how many pairs there are.
#[derive(Debug, Default)]
pub(crate) struct MapReader {
    digits: Vec<u8>,
    numbers: Vec<u64>,
    pairs: Option<u64>,
}

impl MapReader {
    /// Takes a block; tells whether the map is complete.
    pub(crate) fn feed(&mut self, block: &[u8; BLOCK], limit: u64) -> Result<bool, &'static str> {
        for byte in block {
            if self.is_complete() {
                break;
            }
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > 19 {
                    return Err("the sparse map is malformed");
                }
                continue;
            }
            let number = pax::decimal(&self.digits).map_err(|_| "the sparse map is malformed")?;
            self.digits.clear();
            match self.pairs {
                None if number > limit => return Err("the sparse map is larger than the limit"),
                None => self.pairs = Some(number),
                Some(_) => self.numbers.push(number),
            }
        }
        Ok(self.is_complete())
    }

    pub(crate) fn map(self) -> Vec<(u64, u64)> {
        self.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }

    fn is_complete(&self) -> bool {
        self.pairs.is_some_and(|pairs| self.numbers.len() as u64 == pairs * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let found = extents(&[(0, 512), (4096, 1024), (8192, 100), (9000, 0)], 9000, 1636, 2048).unwrap();
        let found: Vec<_> = found.iter().map(|extent| (extent.at, extent.offset, extent.len)).collect();
        assert_eq!(found, [(0, 2048, 512), (4096, 2560, 1024), (8192, 3584, 100)]);
        type Regions<'a> = &'a [(u64, u64)];
        let bad: [(Regions<'_>, u64, u64); 6] = [
            (&[(0, 512)], 511, 512),
            (&[(512, 512), (0, 512)], 2000, 1024),
            (&[(0, 512), (511, 512)], 2000, 1024),
            (&[(0, 100), (512, 512)], 2000, 612),
            (&[(0, 512)], 1000, 100),
            (&[(0, 512)], 1000, 1024),
        ];
        for (map, size, stored) in bad {
            assert!(extents(map, size, stored, 512).is_err(), "{map:?}");
        }
        assert!(extents(&[(u64::MAX, 2)], u64::MAX, 2, 512).is_err());
        assert!(extents(&[], 1 << 30, 0, 512).unwrap().is_empty());
    }

    #[test]
    fn a_map_in_the_data() {
        let block = |text: &str| {
            let mut block = [0; BLOCK];
            block[..text.len()].copy_from_slice(text.as_bytes());
            block
        };
        let mut reader = MapReader::default();
        assert_eq!(reader.feed(&block("2\n0\n512\n1024\n7\n"), 10), Ok(true));
        assert_eq!(reader.map(), [(0, 512), (1024, 7)]);
        assert_eq!(MapReader::default().feed(&block("0\n"), 10), Ok(true));
        assert!(MapReader::default().feed(&block("11\n"), 10).is_err());
        assert!(MapReader::default().feed(&block("1\n-1\n5\n"), 10).is_err());
        assert!(MapReader::default().feed(&block("1\n\n5\n"), 10).is_err());
    }
}

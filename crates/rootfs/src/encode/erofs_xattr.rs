//! Extended attributes behind the inode.
//!
//! FORMAT: a 12-byte header, then per attribute a 4-byte head, the name without its prefix and the value, padded to 4.

/// Collects the attributes of one inode.
#[derive(Debug, Default)]
pub(super) struct XattrArea {
    bytes: Vec<u8>,
    /// Attributes that Linux has no place for and that were therefore left out.
    pub(super) dropped: u32,
}

/// The attributes need more room than an inode can point at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl XattrArea {
    /// Replaces the content by `xattrs`, in the order of their names; empty where there is nothing to store.
    pub(super) fn fill<'a>(
        &mut self,
        xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), TooLarge> {
        self.bytes.clear();
        self.dropped = 0;
        let mut sorted: Vec<_> = xattrs.collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in sorted {
            let Some((index, rest)) = split(name) else {
                self.dropped += 1;
                continue;
            };
            let size = u16::try_from(value.len()).map_err(|_| TooLarge)?;
            if self.bytes.is_empty() {
                self.bytes.resize(HEADER, 0);
            }
            self.bytes.push(rest.len() as u8);
            self.bytes.push(index);
            self.bytes.extend_from_slice(&size.to_le_bytes());
            self.bytes.extend_from_slice(rest);
            self.bytes.extend_from_slice(value);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
            if self.bytes.len() > LIMIT {
                return Err(TooLarge);
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `i_xattr_icount`: 0 for none, else the units of 4 bytes behind the header, plus one.
    pub(super) fn count(&self) -> u16 {
        if self.bytes.is_empty() { 0 } else { ((self.bytes.len() - HEADER) / 4 + 1) as u16 }
    }
}

/// The number of the prefix and the rest of the name; `None` for names that no Linux file system keeps.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    [(&b"user."[..], 1), (b"trusted.", 4), (b"security.", 6)]
        .into_iter()
        .find_map(|(prefix, index)| name.strip_prefix(prefix).map(|rest| (index, rest)))
        .filter(|(_, rest)| !rest.is_empty() && name.len() <= 255 && !rest.contains(&0))
}

const HEADER: usize = 12;
/// What 16 bits of `i_xattr_icount` can say.
const LIMIT: usize = HEADER + 4 * (u16::MAX as usize - 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_sorted_and_padded() {
        let mut area = XattrArea::default();
        area.fill(
            [(&b"user.b"[..], &b"1"[..]), (b"security.capability", b"12345"), (b"btrfs.x", b"")].into_iter(),
        )
        .unwrap();
        assert_eq!(area.dropped, 1);
        assert_eq!(
            area.bytes().len(),
            12 + (4 + 10 + 5usize).next_multiple_of(4) + (4 + 1 + 1usize).next_multiple_of(4)
        );
        assert_eq!(usize::from(area.count()), (area.bytes().len() - 12) / 4 + 1);
        assert_eq!(&area.bytes()[12..16], &[10, 6, 5, 0]);
        area.fill(std::iter::empty()).unwrap();
        assert_eq!((area.count(), area.bytes().len()), (0, 0));
    }

    #[test]
    fn names_that_cannot_be() {
        for name in [
            &b"user."[..],
            b"system.nfs4_acl",
            b"noprefix",
            b"user.a\0b",
            &[b"user.", &[b'x'; 251][..]].concat(),
        ] {
            assert_eq!(split(name), None, "{}", String::from_utf8_lossy(name));
        }
        assert_eq!(split(&[b"user.", &[b'x'; 250][..]].concat()).map(|(_, rest)| rest.len()), Some(250));
    }

    #[test]
    fn too_much_is_refused() {
        let mut area = XattrArea::default();
        let value = vec![1; 65535];
        let four = [&b"user.a"[..], b"user.b", b"user.c"].map(|name| (name, &value[..]));
        assert_eq!(area.fill(four.into_iter()), Ok(()));
        let five =
            [&b"user.a"[..], b"user.b", b"user.c", b"user.d", b"user.e"].map(|name| (name, &value[..]));
        assert_eq!(area.fill(five.into_iter()), Err(TooLarge));
        assert_eq!(area.fill([(&b"user.a"[..], &[0; 65536][..])].into_iter()), Err(TooLarge));
    }
}

//! Directory content: blocks of entries, each block sorted and self-contained.
//!
//! FORMAT: a block is an array of 12-byte entries followed by their names without separators. Names are in byte order
//! over the whole directory, `.` and `..` included, so that readers can search by halves.

use super::erofs_format::FileType;

/// One name of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    /// Inode number; anything where only sizes are asked.
    pub(super) nid: u64,
    pub(super) kind: FileType,
}

/// Merges `.` and `..` into the sorted names of `children`.
pub(super) fn with_dots<'a>(
    own: u64,
    parent: u64,
    children: impl Iterator<Item = Entry<'a>>,
) -> impl Iterator<Item = Entry<'a>> {
    let mut dots = [
        Entry { name: b".", nid: own, kind: FileType::Directory },
        Entry { name: b"..", nid: parent, kind: FileType::Directory },
    ]
    .into_iter()
    .peekable();
    let mut children = children.peekable();
    std::iter::from_fn(move || match (dots.peek(), children.peek()) {
        (Some(dot), Some(child)) if dot.name < child.name => dots.next(),
        (Some(_), None) => dots.next(),
        _ => children.next(),
    })
}

/// The size of a directory: whole blocks and the used part of the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DirectorySize {
    pub(super) full_blocks: u64,
    pub(super) tail: u32,
}

/// Computes the size that [`blocks`] will produce for names of these lengths.
pub(super) fn size(lengths: impl Iterator<Item = usize>, block: u32) -> DirectorySize {
    let (mut full_blocks, mut used) = (0, 0);
    for length in lengths {
        let need = ENTRY + length as u32;
        if used + need > block {
            full_blocks += 1;
            used = 0;
        }
        used += need;
    }
    DirectorySize { full_blocks, tail: used }
}

/// Calls `each` with every block in order; the last one is cut after its last name.
pub(super) fn blocks<'a, E>(
    entries: impl Iterator<Item = Entry<'a>>,
    block: u32,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut pending: Vec<Entry<'a>> = Vec::new();
    let mut used = 0;
    let mut buffer = Vec::with_capacity(block as usize);
    for entry in entries {
        let need = ENTRY + entry.name.len() as u32;
        if used + need > block {
            put(&pending, &mut buffer);
            buffer.resize(block as usize, 0);
            each(&buffer)?;
            pending.clear();
            used = 0;
        }
        used += need;
        pending.push(entry);
    }
    if !pending.is_empty() {
        put(&pending, &mut buffer);
        each(&buffer)?;
    }
    Ok(())
}

fn put(entries: &[Entry<'_>], out: &mut Vec<u8>) {
    out.clear();
    let mut name_at = entries.len() * ENTRY as usize;
    for entry in entries {
        out.extend_from_slice(&entry.nid.to_le_bytes());
        out.extend_from_slice(&(name_at as u16).to_le_bytes());
        out.push(entry.kind.dirent());
        out.push(0);
        name_at += entry.name.len();
    }
    for entry in entries {
        out.extend_from_slice(entry.name);
    }
}

const ENTRY: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8]) -> Entry<'_> {
        Entry { name, nid: 7, kind: FileType::Regular }
    }

    #[test]
    fn dots_take_their_place_in_byte_order() {
        for (children, expected) in [
            (&[][..], &[".", ".."][..]),
            (&["a"], &[".", "..", "a"]),
            (&["!x", "-", "a"], &["!x", "-", ".", "..", "a"]),
            (&["!", "..a", ".a"], &["!", ".", "..", "..a", ".a"]),
            (&[".\x01"], &[".", ".\x01", ".."]),
        ] {
            let merged: Vec<_> = with_dots(1, 2, children.iter().map(|name| entry(name.as_bytes())))
                .map(|entry| entry.name)
                .collect();
            assert_eq!(merged, expected.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
            assert!(merged.is_sorted());
        }
    }

    #[test]
    fn computed_size_is_the_written_size() {
        for lengths in
            [vec![1, 2], vec![255; 5], (1..=255).collect(), vec![244, 244], vec![244, 245], vec![500]]
        {
            let names: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
            for block in [512, 4096] {
                let mut written = Vec::new();
                blocks::<()>(names.iter().map(|name| entry(name)), block, |bytes| {
                    written.push(bytes.len() as u32);
                    Ok(())
                })
                .unwrap();
                let size = size(lengths.iter().copied(), block);
                assert_eq!(written.len() as u64, size.full_blocks + 1);
                assert_eq!(*written.last().unwrap(), size.tail);
                assert!(written[..written.len() - 1].iter().all(|length| *length == block));
            }
        }
    }

    #[test]
    fn a_block_describes_itself() {
        let names: Vec<String> = (0..100).map(|number| format!("name-{number:04}")).collect();
        let mut seen = Vec::new();
        blocks::<()>(names.iter().map(|name| entry(name.as_bytes())), 512, |bytes| {
            let first = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            assert_eq!(first % 12, 0);
            for index in 0..first / 12 {
                let at = usize::from(u16::from_le_bytes([bytes[index * 12 + 8], bytes[index * 12 + 9]]));
                seen.push(String::from_utf8(bytes[at..at + 9].to_vec()).unwrap());
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, names);
    }
}

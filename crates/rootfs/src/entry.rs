//! One member of a layer: what the tar says, cleaned and checked.

use std::fmt;
use std::ops::Deref;

/// One member of a layer, in the words of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, without `.`, `..`, empty components or a slash at either end; empty is the root
    /// itself. Any byte but NUL and `/` may occur in a component, of which each has 1 to 255 bytes.
    pub path: Box<[u8]>,
    /// Owner, mode, time, attributes.
    pub meta: Meta,
    /// What it is.
    pub body: Body,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A directory.
    Directory,
    /// A regular file; its bytes stay in the tar.
    File(Content),
    /// A symbolic link with its target, unchanged: 1 to 4095 bytes.
    Symlink(Box<[u8]>),
    /// Another name of the file at this path, which is as clean as [`Entry::path`] and never empty.
    HardLink(Box<[u8]>),
    /// A device node.
    Device {
        /// Block device; otherwise a character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// `.wh.NAME`: the entry's path is that of the hidden NAME (OCI image-spec, layer.md, "Whiteouts").
    Whiteout,
    /// `.wh..wh..opq`: the entry's path is that of the directory (OCI image-spec, layer.md, "Opaque
    /// Whiteout").
    Opaque,
}

/// What `stat` and `listxattr` tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permissions with set-user-id, set-group-id and sticky: at most 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Meta {
    /// What a directory gets that nobody described: 0755, root:root, the epoch.
    pub fn implicit() -> Self {
        Self { mode: 0o755, ..Self::default() }
    }
}

/// A moment: `secs` since the epoch, possibly negative, plus `nanos` (below 1,000,000,000).
///
/// Packed, because a tree holds one per file; fields have to be copied out rather than borrowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(4))]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub secs: i64,
    /// Nanoseconds after that second.
    pub nanos: u32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name with its prefix, such as `security.capability`; 1 to 255 bytes, no NUL.
    pub name: Box<[u8]>,
    /// Any bytes.
    pub value: Box<[u8]>,
}

/// The extended attributes of one file: sorted by name, each name once. One word where there are none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Xattrs(
    #[expect(clippy::box_collection, reason = "one word instead of three in every node")]
    Option<Box<Vec<Xattr>>>,
);

impl Xattrs {
    /// Adds an attribute; replaces the one of the same name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let list = self.0.get_or_insert_default();
        match list.binary_search_by(|xattr| (*xattr.name).cmp(name)) {
            Ok(at) => list[at].value = value.into(),
            Err(at) => list.insert(at, Xattr { name: name.into(), value: value.into() }),
        }
    }

    /// The value of an attribute.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self.binary_search_by(|xattr| (*xattr.name).cmp(name)).ok()?;
        Some(&self[at].value)
    }
}

impl Deref for Xattrs {
    type Target = [Xattr];

    fn deref(&self) -> &[Xattr] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<'a> IntoIterator for &'a Xattrs {
    type Item = &'a Xattr;
    type IntoIter = std::slice::Iter<'a, Xattr>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Xattr> for Xattrs {
    /// The last of several of one name stays.
    fn from_iter<I: IntoIterator<Item = Xattr>>(xattrs: I) -> Self {
        let mut list: Vec<Xattr> = xattrs.into_iter().collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list.dedup_by(|later, kept| {
            let same = later.name == kept.name;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        list.shrink_to_fit();
        Self((!list.is_empty()).then(|| Box::new(list)))
    }
}

impl fmt::Debug for Xattrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter().map(|x| (x.name.escape_ascii().to_string(), x.value.escape_ascii().to_string())),
            )
            .finish()
    }
}

/// Where the bytes of a regular file are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Length of the file in bytes.
    pub size: u64,
    /// The parts that are stored, ascending by [`Extent::at`], none empty, none overlapping, none beyond
    /// `size`; what lies between them reads as zeros. One extent for a plain file, none for an empty one.
    pub extents: Extents,
}

impl Content {
    /// A file stored in one piece.
    pub fn whole(size: u64, source: u16, offset: u64) -> Self {
        let extents = (size > 0).then_some(Extent { at: 0, source, offset, len: size });
        Self { size, extents: extents.into_iter().collect() }
    }
}

/// A stored part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub at: u64,
    /// Which raw tar holds it: what was given to [`Tree::apply`](crate::Tree::apply); 0 in a
    /// [`Layer`](crate::Layer).
    pub source: u16,
    /// Offset in the raw tar; a multiple of 512.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A list of extents; nearly always one, which then needs no allocation. Read it as a slice.
#[derive(Clone, Default)]
pub struct Extents(List);

#[derive(Clone, Default)]
enum List {
    #[default]
    None,
    One(Extent),
    Many(Box<[Extent]>),
}

impl Extents {
    /// Says which raw tar the extents lie in.
    pub(crate) fn set_source(&mut self, source: u16) {
        match &mut self.0 {
            List::None => {}
            List::One(extent) => extent.source = source,
            List::Many(extents) => extents.iter_mut().for_each(|extent| extent.source = source),
        }
    }
}

impl Deref for Extents {
    type Target = [Extent];

    fn deref(&self) -> &[Extent] {
        match &self.0 {
            List::None => &[],
            List::One(extent) => std::slice::from_ref(extent),
            List::Many(extents) => extents,
        }
    }
}

impl From<Vec<Extent>> for Extents {
    fn from(extents: Vec<Extent>) -> Self {
        Self(match extents[..] {
            [] => List::None,
            [one] => List::One(one),
            _ => List::Many(extents.into()),
        })
    }
}

impl FromIterator<Extent> for Extents {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> Self {
        let mut extents = extents.into_iter();
        match (extents.next(), extents.next()) {
            (None, _) => Self(List::None),
            (Some(one), None) => Self(List::One(one)),
            (Some(one), Some(two)) => Self::from([one, two].into_iter().chain(extents).collect::<Vec<_>>()),
        }
    }
}

impl<'a> IntoIterator for &'a Extents {
    type Item = &'a Extent;
    type IntoIter = std::slice::Iter<'a, Extent>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Extents {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Extents {}

impl fmt::Debug for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_enough_for_a_million() {
        assert_eq!(size_of::<Meta>(), 32);
        assert_eq!(size_of::<Content>(), 48);
        assert!(size_of::<Body>() <= 48);
    }

    #[test]
    fn xattrs_are_sorted_and_unique() {
        let mut xattrs = Xattrs::default();
        assert_eq!(xattrs.len(), 0);
        for (name, value) in [("user.b", "1"), ("user.a", "2"), ("user.b", "3")] {
            xattrs.set(name.as_bytes(), value.as_bytes());
        }
        let list: Vec<_> = xattrs.iter().map(|x| (&*x.name, &*x.value)).collect();
        assert_eq!(list, [(&b"user.a"[..], &b"2"[..]), (b"user.b", b"3")]);
        assert_eq!(xattrs.get(b"user.a"), Some(&b"2"[..]));
        assert_eq!(xattrs.get(b"user.c"), None);
        let again = [("user.b", "0"), ("user.a", "2"), ("user.b", "1"), ("user.b", "3")];
        let again =
            again.map(|(name, value)| Xattr { name: name.as_bytes().into(), value: value.as_bytes().into() });
        assert_eq!(again.into_iter().collect::<Xattrs>(), xattrs);
        assert_eq!(Xattrs::from_iter([]), Xattrs::default());
    }

    #[test]
    fn extents_of_any_number() {
        for count in 0..4 {
            let list: Vec<Extent> =
                (0..count).map(|i| Extent { at: i * 1024, source: 0, offset: i * 512, len: 512 }).collect();
            let mut extents: Extents = list.iter().copied().collect();
            assert_eq!(*extents, *list);
            assert_eq!(extents, Extents::from(list));
            extents.set_source(7);
            assert!(extents.iter().all(|extent| extent.source == 7));
        }
        assert!(Content::whole(0, 1, 512).extents.is_empty());
    }
}

//! A tar writer that can write what tar tools refuse to.
//!
//! ustar headers with pax extensions (POSIX.1-2017, pax, "pax Interchange Format"); extended attributes as
//! `SCHILY.xattr.NAME`; sparse files in GNU's pax format 1.0.

/// Builds a raw tar stream in memory, entry by entry, in the order of the calls.
///
/// Names are written exactly as given: nothing is cleaned, sorted or checked, so that `../escape`, duplicate names and
/// missing parents are possible. Defaults: owner 0:0, mode 0644 (0755 for directories), mtime 1,700,000,000.
#[derive(Debug, Clone, Default)]
pub struct TarBuilder {
    out: Vec<u8>,
}

/// One entry before it is written; made by [`Member::new`] and the fields changed at will.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name as written.
    pub name: Vec<u8>,
    /// ustar type flag: `0` file, `1` hard link, `2` symlink, `3` char, `4` block, `5` directory, `6` fifo.
    pub flag: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Target of a link.
    pub link: Vec<u8>,
    /// Device number: major, minor.
    pub device: (u32, u32),
    /// Extended attributes, written as pax records.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// Further pax records, written as they are.
    pub pax: Vec<(String, Vec<u8>)>,
    /// The content.
    pub data: Vec<u8>,
    /// What the header says the size is, where it shall lie.
    pub size: Option<u64>,
}

impl Member {
    /// An entry with the defaults of [`TarBuilder`].
    pub fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: (1_700_000_000, 0),
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pax: Vec::new(),
            data: Vec::new(),
            size: None,
        }
    }

    /// A regular file.
    pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        Self { data: data.as_ref().to_vec(), ..Self::new(b'0', name) }
    }

    /// A directory.
    pub fn directory(name: impl AsRef<[u8]>) -> Self {
        Self::new(b'5', name)
    }

    /// Sets the permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets owner and group.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Sets the modification time.
    #[must_use]
    pub fn mtime(mut self, seconds: i64, nanos: u32) -> Self {
        self.mtime = (seconds, nanos);
        self
    }

    /// Adds an extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.xattrs.push((name.into(), value.as_ref().to_vec()));
        self
    }
}

impl TarBuilder {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.member(&Member::file(name, data))
    }

    /// A directory.
    #[must_use]
    pub fn directory(self, name: impl AsRef<[u8]>) -> Self {
        self.member(&Member::directory(name))
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.member(&Member { link: target.as_ref().to_vec(), mode: 0o777, ..Member::new(b'2', name) })
    }

    /// A hard link to the entry called `target`.
    #[must_use]
    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.member(&Member { link: target.as_ref().to_vec(), ..Member::new(b'1', name) })
    }

    /// A character device.
    #[must_use]
    pub fn char_device(self, name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        self.member(&Member { device: (major, minor), ..Member::new(b'3', name) })
    }

    /// A block device.
    #[must_use]
    pub fn block_device(self, name: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        self.member(&Member { device: (major, minor), ..Member::new(b'4', name) })
    }

    /// A named pipe.
    #[must_use]
    pub fn fifo(self, name: impl AsRef<[u8]>) -> Self {
        self.member(&Member::new(b'6', name))
    }

    /// Hides `name` of the lower layers (OCI image-spec, layer.md, "Whiteouts"): an empty file `.wh.NAME` beside it.
    #[must_use]
    pub fn whiteout(self, name: &str) -> Self {
        let (parent, last) = name.rsplit_once('/').map_or(("", name), |(parent, last)| (parent, last));
        let slash = if parent.is_empty() { "" } else { "/" };
        self.file(format!("{parent}{slash}.wh.{last}"), b"")
    }

    /// Hides everything the lower layers have in `directory` ("Opaque Whiteout"); empty for the root.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        let slash = if directory.is_empty() || directory.ends_with('/') { "" } else { "/" };
        self.file(format!("{directory}{slash}.wh..wh..opq"), b"")
    }

    /// A sparse file of `size` bytes (GNU sparse format 1.0): `pieces` are (offset, content), in ascending order. All but the
    /// last are filled up to whole blocks with zeros, since readers disagree about where the next one would begin.
    #[must_use]
    pub fn sparse(self, name: &str, size: u64, pieces: &[(u64, &[u8])]) -> Self {
        let mut map = format!("{}\n", pieces.len() + 1);
        let mut content = Vec::new();
        for (at, (offset, piece)) in pieces.iter().enumerate() {
            let start = content.len();
            content.extend_from_slice(piece);
            if at + 1 < pieces.len() {
                content.resize(content.len().next_multiple_of(BLOCK), 0);
            }
            map.push_str(&format!("{offset}\n{}\n", content.len() - start));
        }
        // The closing empty piece gives the length where the file ends in a hole.
        map.push_str(&format!("{size}\n0\n"));
        let mut data = map.into_bytes();
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        data.extend_from_slice(&content);
        let record = |key: &str, value: String| (key.to_owned(), value.into_bytes());
        let pax = vec![
            record("GNU.sparse.major", "1".into()),
            record("GNU.sparse.minor", "0".into()),
            record("GNU.sparse.name", name.into()),
            record("GNU.sparse.realsize", size.to_string()),
        ];
        self.member(&Member { pax, ..Member::file(format!("GNUSparseFile.0/{name}"), data) })
    }

    /// Any entry.
    #[must_use]
    pub fn member(mut self, member: &Member) -> Self {
        let mut records = member.pax.clone();
        for (name, value) in &member.xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        if member.name.len() > 100 {
            records.push(("path".into(), member.name.clone()));
        }
        if member.link.len() > 100 {
            records.push(("linkpath".into(), member.link.clone()));
        }
        if member.uid > OCTAL_7 {
            records.push(("uid".into(), member.uid.to_string().into_bytes()));
        }
        if member.gid > OCTAL_7 {
            records.push(("gid".into(), member.gid.to_string().into_bytes()));
        }
        let (seconds, nanos) = member.mtime;
        if nanos != 0 || !(0..=OCTAL_11).contains(&seconds) {
            records.push(("mtime".into(), pax_time(seconds, nanos).into_bytes()));
        }
        let size = member.size.unwrap_or(member.data.len() as u64);
        if size > OCTAL_11 as u64 {
            records.push(("size".into(), size.to_string().into_bytes()));
        }
        if !records.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &records {
                pax_record(&mut body, key, value);
            }
            let header = Member { data: body, ..Member::file("PaxHeaders/entry", b"") };
            self.block(&header, b'x', header.data.len() as u64);
            self.padded(&header.data);
        }
        self.block(member, member.flag, size);
        self.padded(&member.data);
        self
    }

    /// Bytes of your own, without padding: broken headers, garbage between entries.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// The archive with its two closing zero blocks.
    pub fn build(mut self) -> Vec<u8> {
        self.out.resize(self.out.len() + 2 * BLOCK, 0);
        self.out
    }

    /// The archive without an end: what a cut-off layer looks like.
    pub fn build_unfinished(self) -> Vec<u8> {
        self.out
    }

    fn block(&mut self, member: &Member, flag: u8, size: u64) {
        let mut block = [0u8; BLOCK];
        let mut put = |at: usize, limit: usize, bytes: &[u8]| {
            let len = bytes.len().min(limit);
            block[at..at + len].copy_from_slice(&bytes[..len]);
        };
        let octal = |value: u64, digits: usize| format!("{value:0digits$o}").into_bytes();
        put(0, 100, &member.name);
        put(100, 8, &octal(u64::from(member.mode & 0o7777), 7));
        put(108, 8, &octal(member.uid.min(OCTAL_7), 7));
        put(116, 8, &octal(member.gid.min(OCTAL_7), 7));
        put(124, 12, &octal(size.min(OCTAL_11 as u64), 11));
        put(136, 12, &octal(member.mtime.0.clamp(0, OCTAL_11) as u64, 11));
        put(148, 8, b"        ");
        put(156, 1, &[flag]);
        put(157, 100, &member.link);
        put(257, 8, b"ustar\x0000");
        if matches!(flag, b'3' | b'4') {
            put(329, 8, &octal(u64::from(member.device.0), 7));
            put(337, 8, &octal(u64::from(member.device.1), 7));
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.out.extend_from_slice(&block);
    }

    fn padded(&mut self, data: &[u8]) {
        self.out.extend_from_slice(data);
        self.out.resize(self.out.len().next_multiple_of(BLOCK), 0);
    }
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn pax_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A decimal fraction; before 1970 the nanoseconds still count forward in time.
fn pax_time(seconds: i64, nanos: u32) -> String {
    match (seconds, nanos) {
        (_, 0) => seconds.to_string(),
        (0.., _) => format!("{seconds}.{nanos:09}"),
        _ => {
            let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            format!("-{}.{:09}", -total / 1_000_000_000, -total % 1_000_000_000)
        }
    }
}

const BLOCK: usize = 512;
const OCTAL_7: u64 = 0o777_7777;
const OCTAL_11: i64 = 0o777_7777_7777;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_lengths_count_themselves() {
        for (value, expected) in [(&b"x"[..], "7 ab=x\n"), (b"xxxx", "11 ab=xxxx\n"), (b"xxx", "9 ab=xxx\n")]
        {
            let mut out = Vec::new();
            pax_record(&mut out, "ab", value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        pax_record(&mut out, "k", &[b'v'; 95]);
        assert_eq!(out.len(), 102);
        assert!(out.starts_with(b"102 k="));
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(pax_time(-2, 500_000_000), "-1.500000000");
        assert_eq!(pax_time(-1, 500_000_000), "-0.500000000");
        assert_eq!(pax_time(5, 1), "5.000000001");
    }

    #[test]
    fn everything_is_whole_blocks() {
        let tar =
            TarBuilder::new().file("a", b"1").directory("d").sparse("s", 1 << 20, &[(4096, b"x")]).build();
        assert_eq!(tar.len() % 512, 0);
        assert_eq!(&tar[257..262], b"ustar");
    }
}

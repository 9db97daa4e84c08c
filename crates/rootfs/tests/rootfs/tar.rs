//! A tar writer that checks nothing.

use larder_rootfs::{Error, Layer, Limits, Scanner, Tree, listing};

#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

/// A header block that can be wrong in any way.
#[derive(Clone)]
pub(crate) struct Head([u8; 512]);

impl Head {
    /// ustar, mode 0644, 0:0, at the time 1000, size 0.
    pub(crate) fn new(flag: u8, name: impl AsRef<[u8]>) -> Self {
        let mode = if flag == b'5' { "0000755\0" } else { "0000644\0" };
        let head = Self([0; 512]).raw(100, mode).raw(108, "0000000\0").raw(116, "0000000\0");
        let mut head = head.raw(124, "00000000000\0").raw(136, "00000001750\0").raw(257, "ustar\x0000");
        head.0[156] = flag;
        head.raw(0, name)
    }

    pub(crate) fn raw(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn size(self, size: u64) -> Self {
        self.raw(124, format!("{size:011o}\0"))
    }

    pub(crate) fn mode(self, mode: u16) -> Self {
        self.raw(100, format!("{mode:07o}\0"))
    }

    pub(crate) fn link(self, target: impl AsRef<[u8]>) -> Self {
        self.raw(157, target)
    }

    pub(crate) fn gnu(self) -> Self {
        self.raw(257, "ustar  \0")
    }

    pub(crate) fn device(self, major: u32, minor: u32) -> Self {
        self.raw(329, format!("{major:07o}\0")).raw(337, format!("{minor:07o}\0"))
    }

    /// With its checksum.
    fn sealed(mut self) -> [u8; 512] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.raw(148, format!("{sum:06o}\0 ")).0
    }
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn head(mut self, head: Head) -> Self {
        self.0.extend_from_slice(&head.sealed());
        self
    }

    /// Bytes, padded to a block.
    pub(crate) fn data(mut self, data: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(data.as_ref());
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.head(Head::new(b'0', name).size(data.len() as u64)).data(data)
    }

    pub(crate) fn directory(self, name: impl AsRef<[u8]>) -> Self {
        self.head(Head::new(b'5', name))
    }

    pub(crate) fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.head(Head::new(b'2', name).link(target))
    }

    pub(crate) fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.head(Head::new(b'1', name).link(target))
    }

    /// An extended header: `x` or `g`.
    pub(crate) fn records(self, flag: u8, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            content.extend_from_slice(format!("{length} {key}=").as_bytes());
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.head(Head::new(flag, "PaxHeaders/x").size(content.len() as u64)).data(content)
    }

    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let records: Vec<_> = records.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        self.records(b'x', &records)
    }

    /// GNU `L` and `K`.
    pub(crate) fn long(self, flag: u8, text: impl AsRef<[u8]>) -> Self {
        let text = [text.as_ref(), b"\0"].concat();
        self.head(Head::new(flag, "././@LongLink").gnu().size(text.len() as u64)).data(text)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    pub(crate) fn layer(self) -> Layer {
        scan(&self.end()).unwrap()
    }
}

pub(crate) fn scan(tar: &[u8]) -> Result<Layer, Error> {
    let mut scanner = Scanner::new(Limits::default());
    scanner.feed(tar)?;
    scanner.finish()
}

pub(crate) fn apply(layers: impl IntoIterator<Item = Tar>) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    for (source, tar) in layers.into_iter().enumerate() {
        tree.apply(&tar.layer(), source as u16)?;
    }
    Ok(tree)
}

/// The lines of a listing, without owner and time; the root is left out.
pub(crate) fn names(tree: &Tree) -> Vec<String> {
    listing(tree).lines().skip(1).map(short).collect()
}

pub(crate) fn short(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    words.drain(1..4);
    words.join(" ")
}

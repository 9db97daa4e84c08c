//! Layers: a tar, what it is compressed to, and both digests.

use crate::{Random, TarBuilder};
use bytes::Bytes;
use larder_core::{Compression, Descriptor, Digest, MediaType};
use std::io::Write as _;

/// Which family of media types to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// OCI image-spec.
    Oci,
    /// Docker schema 2.
    Docker,
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// With what.
    pub compression: Compression,
    /// Into how many gzip members or zstd frames; ignored for plain tars.
    pub pieces: usize,
    /// How hard: gzip 0–9, zstd 1–19.
    pub level: u32,
}

/// One layer, in memory.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The uncompressed tar.
    pub tar: Bytes,
    /// What is stored and sent.
    pub blob: Bytes,
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Digest of the blob.
    pub digest: Digest,
    /// How the blob is really compressed.
    pub compression: Compression,
    media_type: Option<MediaType>,
}

impl From<Compression> for Packing {
    /// One piece, fast.
    fn from(compression: Compression) -> Self {
        Self { compression, pieces: 1, level: 1 }
    }
}

impl Layer {
    /// Packs a tar. Nothing looks into it, so any bytes will do.
    pub fn new(tar: impl Into<Bytes>, packing: impl Into<Packing>) -> Self {
        let (tar, packing) = (tar.into(), packing.into());
        let blob = pack(&tar, packing);
        Self::from_parts(tar, blob, packing.compression)
    }

    /// A layer whose blob is `blob`, however that came to be.
    pub fn from_parts(tar: impl Into<Bytes>, blob: impl Into<Bytes>, compression: Compression) -> Self {
        let (tar, blob) = (tar.into(), blob.into());
        Self {
            diff_id: Digest::of(&tar),
            digest: Digest::of(&blob),
            tar,
            blob,
            compression,
            media_type: None,
        }
    }

    /// A valid tar of up to nine files with `size` bytes of content in all that do not compress: the blob is about as long
    /// (fast gzip adds a twentieth).
    pub fn random(random: &mut Random, size: usize, packing: impl Into<Packing>) -> Self {
        let files = (1 + random.below(9) as usize).min(size.max(1));
        let mut tar = TarBuilder::new();
        let mut left = size;
        for at in 0..files {
            let len = if at + 1 == files { left } else { random.below(left as u64 + 1) as usize };
            left -= len;
            tar = tar.file(format!("data-{}/{at}", random.hex(8)), random.bytes(len));
        }
        Self::new(tar.build(), packing)
    }

    /// A valid tar that looks like a system's: `files` text files in nested directories, `size` bytes in all, a tenth of the
    /// entries links. It compresses to about a third.
    pub fn tree(random: &mut Random, files: usize, size: usize, packing: impl Into<Packing>) -> Self {
        let mut tar = TarBuilder::new().directory("usr/").directory("usr/share/");
        let each = size / files.max(1);
        let mut names = Vec::new();
        let mut directory = String::from("usr/share/");
        for at in 0..files {
            if at % 20 == 0 {
                directory = format!("usr/share/{}{}/", random.word(6), at / 20);
                tar = tar.directory(&directory);
            }
            let name = format!("{directory}{}-{at}", random.word(8));
            if !names.is_empty() && random.one_in(10) {
                let target: &String = random.pick(&names);
                tar = if random.one_in(2) {
                    tar.symlink(&name, format!("/{target}"))
                } else {
                    tar.hard_link(&name, target)
                };
            } else {
                let len = random.within(each as u64 / 2..each as u64 * 3 / 2 + 1) as usize;
                tar = tar.file(&name, random.text(len));
                names.push(name);
            }
        }
        Self::new(tar.build(), packing)
    }

    /// Calls itself something else than it is.
    #[must_use]
    pub fn called(mut self, media_type: MediaType) -> Self {
        self.media_type = Some(media_type);
        self
    }

    /// What it calls itself in a manifest of `family`.
    pub fn media_type(&self, family: Family) -> MediaType {
        self.media_type.clone().unwrap_or_else(|| match (family, self.compression) {
            (Family::Oci, Compression::None) => MediaType::OCI_LAYER,
            (Family::Oci, Compression::Gzip) => MediaType::OCI_LAYER_GZIP,
            (Family::Oci, Compression::Zstd) => MediaType::OCI_LAYER_ZSTD,
            (Family::Docker, Compression::None) => MediaType::DOCKER_LAYER,
            (Family::Docker, Compression::Gzip) => MediaType::DOCKER_LAYER_GZIP,
            (Family::Docker, Compression::Zstd) => {
                MediaType::new("application/vnd.docker.image.rootfs.diff.tar.zstd")
            }
        })
    }

    /// Its descriptor in a manifest of `family`.
    pub fn descriptor(&self, family: Family) -> Descriptor {
        Descriptor::new(self.media_type(family), self.digest, self.blob.len() as u64)
    }
}

/// Compresses `content`; deterministic.
pub fn pack(content: &[u8], packing: impl Into<Packing>) -> Bytes {
    let packing = packing.into();
    let piece = content.len().div_ceil(packing.pieces.max(1)).max(1);
    let pieces: Vec<&[u8]> = if content.is_empty() { vec![content] } else { content.chunks(piece).collect() };
    match packing.compression {
        Compression::None => Bytes::copy_from_slice(content),
        Compression::Gzip => {
            let level = flate2::Compression::new(packing.level.min(9));
            let gzip = |piece: &&[u8]| {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(piece).and_then(|()| encoder.finish()).expect("writing to memory works")
            };
            pieces.iter().flat_map(gzip).collect()
        }
        Compression::Zstd => {
            let level = packing.level.clamp(1, 19) as i32;
            let frame = |piece: &&[u8]| {
                zstd::bulk::compress(piece, level).expect("a level in range and memory to write to")
            };
            pieces.iter().flat_map(frame).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn unpacks_to_what_was_packed() {
        let tar = Random::new(1).text(300_000);
        for pieces in [1, 3] {
            let gzip = pack(&tar, Packing { compression: Compression::Gzip, pieces, level: 6 });
            let mut back = Vec::new();
            flate2::read::MultiGzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, tar);
            let zstd = pack(&tar, Packing { compression: Compression::Zstd, pieces, level: 3 });
            assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), tar);
            assert_eq!(Compression::sniff(&zstd), Compression::Zstd);
        }
        assert_eq!(pack(b"", Compression::Gzip).len(), 20, "an empty gzip member, not nothing");
    }

    #[test]
    fn sizes_and_seeds() {
        let make = |seed| Layer::random(&mut Random::new(seed), 1 << 20, Compression::Gzip);
        let layer = make(1);
        assert!((1 << 20..(1 << 20) + 100_000).contains(&layer.blob.len()), "{}", layer.blob.len());
        assert_eq!(layer.digest, make(1).digest);
        assert_ne!(layer.digest, make(2).digest);
        let tree = Layer::tree(&mut Random::new(1), 200, 400_000, Compression::Zstd);
        assert!(tree.blob.len() < tree.tar.len() * 2 / 3);
        assert!(Layer::random(&mut Random::new(1), 0, Compression::None).tar.len() >= 1024);
    }
}

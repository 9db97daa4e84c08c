//! zstd frames that stand alone.

use std::io;

/// Compresses pieces into zstd frames (RFC 8878): each can be decompressed without the others, and all of them one after the other
/// are a valid stream. Equal pieces give equal frames. Memory is kept from piece to piece.
pub struct FramePacker {
    compressor: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl FramePacker {
    /// With the level that is faster than most lines; windows are at most 2 MiB.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self { compressor, out: Vec::new() })
    }

    /// One frame of `piece`; valid until the next.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn pack(&mut self, piece: &[u8]) -> io::Result<&[u8]> {
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(piece.len()));
        self.compressor.compress_to_buffer(piece, &mut self.out)?;
        Ok(&self.out)
    }
}

impl std::fmt::Debug for FramePacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FramePacker")
    }
}

const LEVEL: i32 = 3;
/// 2 MiB.
const WINDOW_LOG: u32 = 21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits};
    use std::io::Read;

    #[test]
    fn frames_one_after_the_other_are_what_went_in() {
        let content: Vec<u8> = (0..600_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let mut packer = FramePacker::new().unwrap();
        let mut packed = Vec::new();
        for piece in content.chunks(500_000) {
            packed.extend_from_slice(packer.pack(piece).unwrap());
        }
        assert!(packed.len() < content.len() / 2);
        let mut unpacked = Vec::new();
        Decoder::new(packed.as_slice(), None, &Limits::default()).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == content);
    }
}

//! The way back: bytes in, zstd out, on as many cores as there are.

use std::io::{Result, Write};
use zstd::stream::raw::CParameter;

/// Compresses with zstd (RFC 8878), with a checksum, on several threads.
///
/// The same bytes give the same result on any number of threads: the parts that are compressed side by side depend on the level
/// only. Another version of larder may give other bytes.
pub struct Compressor<W: Write> {
    encoder: zstd::stream::write::Encoder<'static, W>,
}

impl<W: Write> Compressor<W> {
    /// Compresses into `out`. `level` is zstd's, 1 to 19; `threads` beside the caller's, at least 1.
    ///
    /// # Errors
    /// `out` cannot be written to, or there is not enough memory.
    pub fn new(out: W, level: i32, threads: usize) -> Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(out, level.clamp(1, 19))?;
        encoder.include_checksum(true)?;
        // Without a worker the format is another one, and the result with it.
        let threads = u32::try_from(threads.clamp(1, 64)).unwrap_or(1);
        encoder.set_parameter(CParameter::NbWorkers(threads))?;
        Ok(Self { encoder })
    }

    /// Ends the frame and gives the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(self) -> Result<W> {
        self.encoder.finish()
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.encoder.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.encoder.flush()
    }
}

impl<W: Write> std::fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoder, Limits};
    use std::io::Read;

    #[test]
    fn the_number_of_threads_does_not_change_a_byte() {
        let mut content = Vec::new();
        let mut state = 1_u32;
        for _ in 0..6_000_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            content.push((state >> 28) as u8);
        }
        let compressed = |threads| {
            let mut out = Compressor::new(Vec::new(), 3, threads).unwrap();
            out.write_all(&content).unwrap();
            out.finish().unwrap()
        };
        let one = compressed(1);
        assert!(one.len() < content.len());
        assert!(one == compressed(2) && one == compressed(5));
        let mut back = Vec::new();
        Decoder::new(&one[..], None, &Limits::default()).read_to_end(&mut back).unwrap();
        assert!(back == content);
    }
}

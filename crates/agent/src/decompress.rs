//! zstd on its way into a part.

use crate::error::{Error, Result};
use crate::part::Part;
use larder_core::Digest;
use std::io;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Decompresses frames of zstd (RFC 8878), one after the other. Memory: the window, which is bounded, and one buffer.
pub(crate) struct Decompress {
    decoder: Decoder<'static>,
    buffer: Vec<u8>,
    digest: Digest,
}

impl Decompress {
    pub(crate) fn new(digest: Digest) -> Result<Self> {
        let damaged = |source| Error::Encoding { digest, source };
        let mut decoder = Decoder::new().map_err(damaged)?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(damaged)?;
        Ok(Self { decoder, buffer: vec![0; BUFFER], digest })
    }

    /// Appends what `bytes` stand for. The part bounds how much that may be.
    pub(crate) fn push(&mut self, bytes: &[u8], part: &mut Part) -> Result<()> {
        let mut input = InBuffer::around(bytes);
        loop {
            let mut output = OutBuffer::around(self.buffer.as_mut_slice());
            self.decoder
                .run(&mut input, &mut output)
                .map_err(|source: io::Error| Error::Encoding { digest: self.digest, source })?;
            let count = output.pos();
            part.append(&self.buffer[..count])?;
            // A full buffer may mean that there is more to come out.
            if input.pos() == bytes.len() && count < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

/// 8 MiB.
const WINDOW_LOG: u32 = 23;
const BUFFER: usize = 128 << 10;

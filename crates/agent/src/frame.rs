//! Frames: one byte of type, four bytes of length (big endian), the payload.

/// The longest payload of a frame of data, in bytes.
pub const DATA_LIMIT: usize = 256 << 10;

/// The longest payload of every other frame, in bytes.
pub const CONTROL_LIMIT: usize = 1 << 20;

/// What a frame is. FORMAT: the numbers are part of the protocol (docs/formats/node-protocol.md); those from 0x80 go from the
/// node to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the type of the message of the same name")]
pub enum FrameType {
    Hello = 0x01,
    Have = 0x02,
    Blob = 0x03,
    Data = 0x04,
    End = 0x05,
    Run = 0x06,
    Release = 0x07,
    Ping = 0x08,
    Cancel = 0x09,
    Sweep = 0x0a,
    Unpack = 0x0b,
    Await = 0x0c,
    Welcome = 0x81,
    Held = 0x82,
    Progress = 0x83,
    Stored = 0x84,
    Stdout = 0x85,
    Stderr = 0x86,
    Exit = 0x87,
    Released = 0x88,
    Pong = 0x89,
    Swept = 0x8a,
    Unpacking = 0x8b,
    Unpacked = 0x8c,
    Failure = 0x8f,
}

impl FrameType {
    const ALL: [Self; 25] = [
        Self::Hello,
        Self::Have,
        Self::Blob,
        Self::Data,
        Self::End,
        Self::Run,
        Self::Release,
        Self::Ping,
        Self::Cancel,
        Self::Sweep,
        Self::Unpack,
        Self::Await,
        Self::Welcome,
        Self::Held,
        Self::Progress,
        Self::Stored,
        Self::Stdout,
        Self::Stderr,
        Self::Exit,
        Self::Released,
        Self::Pong,
        Self::Swept,
        Self::Unpacking,
        Self::Unpacked,
        Self::Failure,
    ];

    /// True for those whose payload is a stretch of bytes: how it is cut into frames means nothing.
    pub fn is_raw(self) -> bool {
        matches!(self, Self::Data | Self::Stdout | Self::Stderr)
    }

    fn parse(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == byte)
    }

    /// The longest payload of this type, in bytes.
    pub fn limit(self) -> usize {
        match self {
            raw if raw.is_raw() => DATA_LIMIT,
            Self::End | Self::Ping | Self::Cancel | Self::Await | Self::Pong | Self::Unpacking => 0,
            _ => CONTROL_LIMIT,
        }
    }
}

/// Bytes that are no frame. Nothing after them can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A type that this version does not know.
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
    /// A payload that is longer than its type may have.
    #[error("a frame of type {frame_type:?} with {length} bytes, of at most {limit}", limit = .frame_type.limit())]
    Length {
        /// Of which type.
        frame_type: FrameType,
        /// As it was announced, in bytes.
        length: u32,
    },
}

/// One whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub frame_type: FrameType,
    /// Its bytes.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes in front of the payload.
    pub const HEADER: usize = 5;

    /// Adds the frame to `out`.
    ///
    /// # Panics
    ///
    /// If the payload is longer than the type allows: who builds frames keeps to the bounds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::header(self.frame_type, self.payload.len()));
        out.extend_from_slice(self.payload);
    }

    /// The bytes in front of a payload of `length` bytes, for payloads that are written by themselves.
    ///
    /// # Panics
    ///
    /// As [`Frame::encode`].
    pub fn header(frame_type: FrameType, length: usize) -> [u8; 5] {
        assert!(length <= frame_type.limit(), "a frame of type {frame_type:?} with {length} bytes");
        let length = u32::try_from(length).expect("the limits are below 4 GiB").to_be_bytes();
        [frame_type as u8, length[0], length[1], length[2], length[3]]
    }
}

/// Takes frames out of bytes that come in pieces. Memory: at most the longest frame and one piece, whatever is announced.
///
/// A frame of raw bytes that is not whole yet comes out in parts, each as a frame of its own: what arrived is of use also if
/// the line is cut in its middle.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out already.
    start: usize,
    /// End of the bytes that were put in.
    end: usize,
    /// The type of a raw frame of which a part was given out, and how many bytes are missing.
    rest: Option<(FrameType, usize)>,
}

impl Frames {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the next bytes go; never empty. Say how many came with [`Frames::filled`].
    ///
    /// # Errors
    ///
    /// If the bytes that are there already are no frame.
    pub fn space(&mut self) -> Result<&mut [u8], FrameError> {
        let wanted = match (self.rest, self.header()?) {
            (None, Some((frame_type, length))) if !frame_type.is_raw() => Frame::HEADER + length,
            _ => Frame::HEADER,
        };
        if self.start > 0 && (self.start == self.end || self.buffer.len() - self.start < wanted.max(PIECE)) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            // By pieces: who announces much has to send much before it costs memory.
            let more = self.buffer.len().clamp(PIECE, 4 * PIECE);
            self.buffer.resize(self.buffer.len() + more, 0);
        }
        Ok(&mut self.buffer[self.end..])
    }

    /// `count` bytes were put at the start of [`Frames::space`].
    ///
    /// # Panics
    ///
    /// If there was no room for that many.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more bytes than there was room for");
        self.end += count;
    }

    /// The next frame, if it is there.
    ///
    /// # Errors
    ///
    /// If the bytes are no frame; then also at every later call.
    pub fn take(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((frame_type, from, length)) = self.next()? else { return Ok(None) };
        let announced = match self.rest {
            Some((_, left)) => left,
            None => self.header()?.map_or(length, |(_, announced)| announced),
        };
        self.rest = (announced > length).then_some((frame_type, announced - length));
        self.start = from + length;
        Ok(Some(Frame { frame_type, payload: &self.buffer[from..from + length] }))
    }

    /// Of which type the one is that [`Frames::take`] would give.
    ///
    /// # Errors
    ///
    /// As [`Frames::take`].
    pub fn peek(&self) -> Result<Option<FrameType>, FrameError> {
        Ok(self.next()?.map(|(frame_type, ..)| frame_type))
    }

    /// True when [`Frames::take`] has one to give.
    ///
    /// # Errors
    ///
    /// As [`Frames::take`].
    pub fn is_ready(&self) -> Result<bool, FrameError> {
        Ok(self.peek()?.is_some())
    }

    /// True when a frame has begun that is not whole yet, or was not taken.
    pub fn is_pending(&self) -> bool {
        self.start < self.end || self.rest.is_some()
    }

    /// Where the payload to give out next begins, and how long it is.
    fn next(&self) -> Result<Option<(FrameType, usize, usize)>, FrameError> {
        if let Some((frame_type, left)) = self.rest {
            let there = left.min(self.end - self.start);
            return Ok((there > 0).then_some((frame_type, self.start, there)));
        }
        let Some((frame_type, length)) = self.header()? else { return Ok(None) };
        let from = self.start + Frame::HEADER;
        let there = length.min(self.end - from);
        let is_usable = there == length || frame_type.is_raw() && there > 0;
        Ok(is_usable.then_some((frame_type, from, there)))
    }

    /// Memory in use, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// What the bytes say where a frame begins; nothing in the middle of one.
    fn header(&self) -> Result<Option<(FrameType, usize)>, FrameError> {
        if self.rest.is_some() {
            return Ok(None);
        }
        let bytes = &self.buffer[self.start..self.end];
        let Some(byte) = bytes.first() else { return Ok(None) };
        let frame_type = FrameType::parse(*byte).ok_or(FrameError::Type(*byte))?;
        let Some(length) = bytes.get(1..Frame::HEADER) else { return Ok(None) };
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        match usize::try_from(length) {
            Ok(usable) if usable <= frame_type.limit() => Ok(Some((frame_type, usable))),
            _ => Err(FrameError::Length { frame_type, length }),
        }
    }
}

const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn put(frames: &mut Frames, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            let space = frames.space()?;
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            frames.filled(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_were_cut() {
        let mut bytes = Vec::new();
        let long = vec![7; DATA_LIMIT];
        let sent = [
            Frame { frame_type: FrameType::Hello, payload: b"{}" },
            Frame { frame_type: FrameType::Data, payload: &long },
            Frame { frame_type: FrameType::End, payload: b"" },
            Frame { frame_type: FrameType::Data, payload: b"xyz" },
            Frame { frame_type: FrameType::Ping, payload: b"" },
        ];
        for frame in &sent {
            frame.encode(&mut bytes);
        }
        for piece in [1, 3, 4096, 100_000, bytes.len()] {
            let mut frames = Frames::new();
            let mut seen: Vec<(FrameType, Vec<u8>)> = Vec::new();
            for chunk in bytes.chunks(piece) {
                put(&mut frames, chunk).unwrap();
                while let Some(frame) = frames.take().unwrap() {
                    match seen.last_mut() {
                        Some((FrameType::Data, kept)) if frame.frame_type == FrameType::Data => {
                            kept.extend_from_slice(frame.payload);
                        }
                        _ => seen.push((frame.frame_type, frame.payload.to_vec())),
                    }
                }
            }
            let expected: Vec<_> =
                sent.iter().map(|frame| (frame.frame_type, frame.payload.to_vec())).collect();
            assert!(seen == expected, "in pieces of {piece}");
            assert!(!frames.is_pending());
        }
    }

    #[test]
    fn what_arrived_of_raw_bytes_comes_out_before_the_rest() {
        let mut frames = Frames::new();
        put(&mut frames, &[FrameType::Data as u8, 0, 0, 0, 3, b'a']).unwrap();
        assert_eq!(frames.take().unwrap().unwrap().payload, b"a");
        assert!(frames.take().unwrap().is_none() && frames.is_pending());
        // What looks like a frame in the middle of one is none.
        put(&mut frames, &[FrameType::End as u8, 0x77, FrameType::End as u8, 0, 0, 0, 0]).unwrap();
        assert_eq!(frames.take().unwrap().unwrap().payload, [FrameType::End as u8, 0x77]);
        assert_eq!(frames.take().unwrap().unwrap().frame_type, FrameType::End);
        assert!(!frames.is_pending());
    }

    #[test]
    fn what_is_announced_costs_nothing_until_it_comes() {
        let mut frames = Frames::new();
        put(&mut frames, &[FrameType::Run as u8, 0, 0x10, 0, 0]).unwrap();
        assert!(frames.take().unwrap().is_none());
        frames.space().unwrap();
        assert!(frames.capacity() <= 2 * PIECE);
    }

    #[test]
    fn unknown_types_and_too_long_ones_are_refused_at_once() {
        let mut frames = Frames::new();
        put(&mut frames, &[0x77]).unwrap();
        assert_eq!(frames.take(), Err(FrameError::Type(0x77)));
        let mut frames = Frames::new();
        put(&mut frames, &[FrameType::Data as u8, 0, 4, 0, 1]).unwrap();
        let length = DATA_LIMIT as u32 + 1;
        assert_eq!(frames.take(), Err(FrameError::Length { frame_type: FrameType::Data, length }));
        assert!(frames.space().is_err());
    }
}

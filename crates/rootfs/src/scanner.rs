//! A push parser for tar: bytes go in as they come, members come out, file content is only counted.
//!
//! Reads V7, ustar, pax and GNU. Where GNU tar, Go's `archive/tar` (which container tools use) and Python's
//! `tarfile` would see different members in the same bytes, the archive is refused: nothing can be hidden
//! from one and shown to another.

use crate::entry::Body;
use crate::error::{Error, METADATA_OF_LAYER, Result};
use crate::header::{self, BLOCK, Header};
use crate::layer::Layer;
use crate::limits::Limits;
use crate::member::{Data, Member, Pending};
use crate::packed::Packed;
use crate::pax::{self, Records};
use crate::sparse::MapReader;

/// Scans one raw tar. Feed it everything, in pieces of any size, then call [`Scanner::finish`].
///
/// Costs well under a microsecond per member and nothing per byte of file content, which is neither copied
/// nor looked at.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    /// Bytes taken in.
    offset: u64,
    state: State,
    /// The part of a block that came so far.
    block: [u8; BLOCK],
    filled: usize,
    /// What precedes a member and changes it.
    pending: Pending,
    entries: Packed,
    count: u32,
    /// Where the content of the last file ends, before its padding.
    content_end: u64,
    /// Bytes of sparse maps; with those of the entries, what the limit is compared with.
    map_bytes: u64,
    sparse_bytes: u64,
}

#[derive(Debug)]
enum State {
    /// A header block comes.
    Header,
    /// File content and padding come.
    Data { left: u64 },
    /// The content of an extended header comes.
    Extended { flag: u8, size: usize, content: Vec<u8> },
    /// More blocks of an old GNU sparse map come.
    SparseHeader { member: Box<Member>, map: Vec<(u64, u64)> },
    /// The map of a pax sparse file comes, then its data.
    SparseData { member: Box<Member>, reader: MapReader },
    /// One block of zeros came.
    Zeros,
    /// The end marker came; whatever follows is nothing.
    End,
    /// An error was given out.
    Failed,
}

impl Scanner {
    /// Starts at the first byte of a tar.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            offset: 0,
            state: State::Header,
            block: [0; BLOCK],
            filled: 0,
            pending: Pending::default(),
            entries: Packed::default(),
            count: 0,
            content_end: u64::MAX,
            map_bytes: 0,
            sparse_bytes: 0,
        }
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::Member`], [`Error::Limit`]; the scanner is of no more use then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self.consume(bytes);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Bytes of memory that the members found so far take.
    pub fn memory(&self) -> u64 {
        self.entries.memory()
    }

    /// Takes out the members found since the last time. What [`Scanner::finish`] gives are then only those since.
    pub fn take(&mut self) -> Layer {
        Layer::packed(std::mem::take(&mut self.entries), self.offset)
    }

    /// How many bytes follow that need not be fed: file content and its padding.
    pub fn skippable(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Counts bytes as fed that were not: at most [`Scanner::skippable`] of them.
    pub fn skip(&mut self, count: u64) {
        if let State::Data { left } = &mut self.state {
            let count = count.min(*left);
            self.offset += count;
            *left -= count;
            if *left == 0 {
                self.state = State::Header;
            }
        }
    }

    /// Ends the archive. The end marker and the padding of the last file may be missing (`umoci insert` leaves both out), but no
    /// member may be cut off.
    pub fn finish(self) -> Result<Layer> {
        let whole = match self.state {
            State::Header | State::Zeros => self.filled == 0,
            State::End => true,
            State::Data { left } => left < BLOCK as u64 && self.offset >= self.content_end,
            _ => false,
        };
        if !whole {
            return Err(self.malformed("it ends early"));
        }
        if self.pending.any() {
            return Err(self.malformed("it ends with an extended header"));
        }
        Ok(Layer::packed(self.entries, self.offset))
    }

    fn keep(&mut self, member: Member) -> Result<()> {
        if let Some(entry) = member.into_entry() {
            self.content_end = match &entry.body {
                Body::File(content) => content.extents.last().map_or(0, |extent| extent.offset + extent.len),
                _ => u64::MAX,
            };
            self.entries.push(&entry);
        }
        self.charge(0)
    }

    fn consume(&mut self, mut bytes: &[u8]) -> Result<()> {
        let end = self.offset.saturating_add((self.filled + bytes.len()) as u64);
        if end > self.limits.bytes {
            return Err(self.limit("bytes of a layer", self.limits.bytes));
        }
        while !bytes.is_empty() {
            match &mut self.state {
                State::Data { left } => {
                    let count = (bytes.len() as u64).min(*left);
                    bytes = &bytes[count as usize..];
                    self.skip(count);
                }
                State::End => {
                    self.offset = end;
                    return Ok(());
                }
                State::Failed => return Err(self.malformed("it was given up before")),
                _ => {
                    if self.filled == 0
                        && let Some((block, rest)) = bytes.split_first_chunk()
                    {
                        bytes = rest;
                        self.block(block)?;
                        continue;
                    }
                    let count = bytes.len().min(BLOCK - self.filled);
                    self.block[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
                    self.filled += count;
                    bytes = &bytes[count..];
                    if self.filled == BLOCK {
                        self.filled = 0;
                        let block = self.block;
                        self.block(&block)?;
                    } else {
                        // Counted with its block.
                        debug_assert!(bytes.is_empty());
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a block that is not file content. `offset` is that of its first byte until it is taken.
    fn block(&mut self, block: &[u8; BLOCK]) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header if block.iter().all(|byte| *byte == 0) => {
                if self.pending.any() {
                    return Err(self.malformed("it ends with an extended header"));
                }
                self.state = State::Zeros;
            }
            State::Header => self.header(block)?,
            State::Zeros if block.iter().all(|byte| *byte == 0) => self.state = State::End,
            State::Zeros => return Err(self.malformed("something follows a single block of zeros")),
            State::Extended { flag, size, mut content } => {
                let count = (size - content.len()).min(BLOCK);
                content.extend_from_slice(&block[..count]);
                if content.len() == size {
                    self.extend(flag, &content)?;
                } else {
                    self.state = State::Extended { flag, size, content };
                }
            }
            State::SparseHeader { member, mut map } => {
                self.charge(21 * REGION)?;
                let more =
                    header::sparse_extension(block, &mut map).map_err(|problem| member.fails(problem))?;
                self.sparse_header(member, map, more, self.offset + BLOCK as u64)?;
            }
            State::SparseData { mut member, mut reader } => {
                member.stored = member
                    .stored
                    .checked_sub(BLOCK as u64)
                    .ok_or_else(|| member.fails("its sparse map is cut off"))?;
                let limit = self.limits.metadata_bytes / REGION;
                let done = reader.feed(block, limit).map_err(|problem| member.fails(problem))?;
                self.charge(BLOCK as u64 / 4 * REGION)?;
                if done {
                    self.file(*member, Some(&reader.map()), self.offset + BLOCK as u64)?;
                } else {
                    self.state = State::SparseData { member, reader };
                }
            }
            state @ (State::Data { .. } | State::End | State::Failed) => self.state = state,
        }
        self.offset += BLOCK as u64;
        Ok(())
    }

    fn header(&mut self, block: &[u8; BLOCK]) -> Result<()> {
        let at = self.offset;
        let malformed = |problem| Error::Archive { offset: at, problem };
        let header = Header::new(block).map_err(malformed)?;
        let flag = header.flag();
        if let b'x' | b'g' | b'L' | b'K' = flag {
            let size = header.size().map_err(malformed)?;
            let limit = self.limits.pax_bytes;
            let size = usize::try_from(size).ok().filter(|size| *size <= limit);
            let size = size.ok_or_else(|| self.limit("bytes of an extended header", limit as u64))?;
            if flag == b'x' && self.pending.records.is_some() {
                return Err(malformed("one extended header follows another"));
            }
            if size == 0 {
                return self.extend(flag, b"");
            }
            self.state = State::Extended { flag, size, content: Vec::new() };
            return Ok(());
        }
        if self.count >= self.limits.entries {
            return Err(self.limit("members of a layer", u64::from(self.limits.entries)));
        }
        self.count += 1;
        let pending = std::mem::take(&mut self.pending);
        let (member, data) = Member::read(&header, pending, at, &self.limits)?;
        let next = at + BLOCK as u64;
        match data {
            Data::None => self.keep(member),
            Data::Plain => self.file(member, None, next),
            Data::Mapped(map) => {
                self.charge(map.len() as u64 * REGION)?;
                self.file(member, Some(&map), next)
            }
            Data::MapAbove => {
                let mut map = Vec::new();
                let more = header.sparse(&mut map).map_err(|problem| member.fails(problem))?;
                self.sparse_header(Box::new(member), map, more, next)
            }
            Data::MapBefore => {
                self.state = State::SparseData { member: Box::new(member), reader: MapReader::default() };
                Ok(())
            }
        }
    }

    fn extend(&mut self, flag: u8, content: &[u8]) -> Result<()> {
        let malformed = |problem| Error::Archive { offset: self.offset, problem };
        match flag {
            b'x' => {
                let records = Records::parse(content, self.limits.xattr_bytes).map_err(malformed)?;
                self.pending.records = Some(Box::new(records));
            }
            b'g' => pax::check_global(content).map_err(malformed)?,
            b'L' => self.pending.name = Some(header::text(content).to_vec()),
            _ => self.pending.link = Some(header::text(content).to_vec()),
        }
        Ok(())
    }

    fn sparse_header(
        &mut self,
        member: Box<Member>,
        map: Vec<(u64, u64)>,
        more: bool,
        next: u64,
    ) -> Result<()> {
        if more {
            self.state = State::SparseHeader { member, map };
            return Ok(());
        }
        self.file(*member, Some(&map), next)
    }

    /// A regular file whose stored bytes start at `next`.
    fn file(&mut self, mut member: Member, map: Option<&[(u64, u64)]>, next: u64) -> Result<()> {
        let over = |scanner: &Self| scanner.limit("bytes of a layer", scanner.limits.bytes);
        let padded = member.stored.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| over(self))?;
        if next.checked_add(padded).is_none_or(|end| end > self.limits.bytes) {
            return Err(over(self));
        }
        if map.is_some() {
            self.sparse_bytes = self.sparse_bytes.saturating_add(member.size);
            if self.sparse_bytes > self.limits.bytes {
                return Err(self.limit("bytes of the sparse files of a layer", self.limits.bytes));
            }
        }
        member.place(map, next)?;
        self.keep(member)?;
        if padded > 0 {
            self.state = State::Data { left: padded };
        }
        Ok(())
    }

    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.map_bytes = self.map_bytes.saturating_add(bytes);
        if self.map_bytes.saturating_add(self.entries.memory()) > self.limits.metadata_bytes {
            return Err(self.limit(METADATA_OF_LAYER, self.limits.metadata_bytes));
        }
        Ok(())
    }

    fn malformed(&self, problem: &'static str) -> Error {
        Error::Archive { offset: self.offset + self.filled as u64, problem }
    }

    fn limit(&self, what: &'static str, limit: u64) -> Error {
        Error::Limit { what, limit }
    }
}

/// What a region of a sparse file costs: a pair of numbers, later an extent.
const REGION: u64 = 48;

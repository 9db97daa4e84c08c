//! Which chunk size suits a file, and where each chunk of it comes from.

use crate::entry::{Content, Extent};

/// How a file is cut: `count` chunks of `1 << bits` bytes, of which `copied` are stored in the image itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkPlan {
    pub(super) bits: u8,
    pub(super) count: u64,
    /// Blocks that the copied chunks take.
    pub(super) copied_blocks: u64,
}

/// Where one chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Zeros.
    Hole,
    /// A block of a device.
    Device { source: u16, block: u32 },
    /// Bytes to be stored in the image: this range of the file.
    Copied { start: u64, end: u64 },
}

/// Cuts the content of one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunker<'a> {
    content: &'a Content,
    block_bits: u8,
    /// Whether extents may be pointed at where they lie.
    external: bool,
}

impl<'a> Chunker<'a> {
    pub(super) fn new(content: &'a Content, block_bits: u8, external: bool) -> Self {
        Self { content, block_bits, external }
    }

    /// The chunk size with the least sum of index bytes and copied bytes; the larger one where two are equal.
    ///
    /// A file of one extent at a block boundary gets a single chunk and no copy. The sum can never exceed a small
    /// multiple of the file's own data plus what one index costs, however sparse the file claims to be.
    pub(super) fn plan(&self) -> ChunkPlan {
        let size = self.content.size.max(1);
        let largest =
            (u64::BITS - (size - 1).leading_zeros()).clamp(u32::from(self.block_bits), MOST_BITS) as u8;
        // What nearly every file is: one piece, where a block begins.
        if let [extent] = &self.content.extents[..]
            && (extent.at, extent.len) == (0, self.content.size)
            && self.fits(extent, largest)
            && size <= 1 << largest
        {
            return ChunkPlan { bits: largest, count: 1, copied_blocks: 0 };
        }
        let mut best: Option<(u128, ChunkPlan)> = None;
        for bits in (self.block_bits..=largest).rev() {
            let plan = self.plan_with(bits);
            let cost = u128::from(plan.count) * 8 + (u128::from(plan.copied_blocks) << self.block_bits);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, plan));
            }
        }
        best.map_or_else(|| self.plan_with(largest), |(_, plan)| plan)
    }

    fn plan_with(&self, bits: u8) -> ChunkPlan {
        let mut copied_blocks = 0;
        let mut next = 0;
        let count = self.content.size.div_ceil(1 << bits);
        for extent in self.content.extents.iter() {
            if extent.len == 0 {
                continue;
            }
            let first = (extent.at >> bits).max(next);
            let last = (extent.at + extent.len - 1) >> bits;
            if first > last {
                continue;
            }
            next = last + 1;
            let whole = if self.fits(extent, bits) { self.whole(extent, bits) } else { 0..0 };
            let mut copied = last + 1 - first;
            copied -= whole.end.min(last + 1).saturating_sub(whole.start.max(first));
            copied_blocks += copied << (bits - self.block_bits);
            // The last chunk of the file takes only the blocks up to the end.
            if last + 1 == count && !whole.contains(&last) {
                let rest = self.content.size - (last << bits);
                copied_blocks -= (1u64 << (bits - self.block_bits)) - rest.div_ceil(1 << self.block_bits);
            }
        }
        ChunkPlan { bits, count, copied_blocks }
    }

    /// The chunks of a plan in order.
    pub(super) fn chunks(&self, plan: ChunkPlan) -> impl Iterator<Item = Chunk> + 'a {
        let this = *self;
        let mut at = 0;
        (0..plan.count).map(move |index| {
            let start = index << plan.bits;
            let end = (start + (1 << plan.bits)).min(this.content.size);
            while this.content.extents.get(at).is_some_and(|extent| extent.at + extent.len <= start) {
                at += 1;
            }
            match this.content.extents.get(at) {
                Some(extent) if extent.at < end => {
                    if this.fits(extent, plan.bits) && this.whole(extent, plan.bits).contains(&index) {
                        let offset = extent.offset + (start - extent.at);
                        Chunk::Device { source: extent.source, block: (offset >> this.block_bits) as u32 }
                    } else {
                        Chunk::Copied { start, end }
                    }
                }
                _ => Chunk::Hole,
            }
        })
    }

    /// The chunks that an extent covers entirely.
    fn whole(&self, extent: &Extent, bits: u8) -> std::ops::Range<u64> {
        let end = extent.at + extent.len;
        let start = extent.at.div_ceil(1 << bits);
        let end = if end >= self.content.size { end.div_ceil(1 << bits) } else { end >> bits };
        start..end.max(start)
    }

    /// Whether chunks of this size inside the extent begin on a block of the device.
    fn fits(&self, extent: &Extent, bits: u8) -> bool {
        let block = 1u64 << self.block_bits;
        let into = (extent.at.next_multiple_of(1 << bits)) - extent.at;
        self.external && extent.offset.checked_add(into).is_some_and(|offset| offset % block == 0)
    }
}

/// 1 TiB: the most that block size and chunk format can express.
const MOST_BITS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: u64, extents: &[(u64, u64, u64)]) -> Content {
        Content {
            size,
            extents: extents
                .iter()
                .map(|(at, offset, len)| Extent { at: *at, source: 3, offset: *offset, len: *len })
                .collect(),
        }
    }

    fn all(content: &Content) -> (ChunkPlan, Vec<Chunk>) {
        let chunker = Chunker::new(content, 9, true);
        let plan = chunker.plan();
        let chunks: Vec<_> = chunker.chunks(plan).collect();
        assert_eq!(chunks.len() as u64, plan.count);
        let blocks: u64 = chunks
            .iter()
            .map(|chunk| match chunk {
                Chunk::Copied { start, end } => (end - start).div_ceil(512),
                _ => 0,
            })
            .sum();
        assert_eq!(blocks, plan.copied_blocks, "{chunks:?}");
        (plan, chunks)
    }

    #[test]
    fn an_ordinary_file_is_one_chunk() {
        for size in [1, 511, 512, 513, 100_000, 1 << 32] {
            let (plan, chunks) = all(&content(size, &[(0, 1024, size)]));
            assert_eq!((plan.count, plan.copied_blocks), (1, 0));
            assert_eq!(chunks, [Chunk::Device { source: 3, block: 2 }]);
        }
    }

    #[test]
    fn holes_at_block_boundaries_are_not_stored() {
        let (plan, chunks) = all(&content(4096 * 4, &[(4096, 512, 4096), (12288, 4608, 4096)]));
        assert_eq!(plan.bits, 12);
        assert_eq!(
            chunks,
            [
                Chunk::Hole,
                Chunk::Device { source: 3, block: 1 },
                Chunk::Hole,
                Chunk::Device { source: 3, block: 9 }
            ]
        );
        let (plan, chunks) = all(&content(1 << 30, &[]));
        assert_eq!((plan.count, &chunks[..]), (1, &[Chunk::Hole][..]));
    }

    #[test]
    fn unaligned_extents_are_copied() {
        let (plan, chunks) = all(&content(1000, &[(0, 100, 1000)]));
        assert_eq!(plan.copied_blocks, 2);
        assert!(chunks.iter().all(|chunk| matches!(chunk, Chunk::Copied { .. })));
        // Aligned where it lies, but the extent begins in the middle of a block of the file.
        let (plan, _) = all(&content(2048, &[(100, 512, 1948)]));
        assert!(plan.copied_blocks > 0);
    }

    #[test]
    fn several_extents_in_one_chunk() {
        let (_, chunks) = all(&content(2048, &[(0, 512, 10), (20, 1024, 10), (1024, 2048, 1024)]));
        assert!(matches!(chunks[0], Chunk::Copied { .. }), "{chunks:?}");
        assert!(matches!(chunks.last(), Some(Chunk::Device { .. })), "{chunks:?}");
    }

    #[test]
    fn claims_of_size_cost_little() {
        // 512 bytes of data in 64 GiB: neither 134 million indexes nor a copy of gigabytes.
        let (plan, _) = all(&content(64 << 30, &[(512, 512, 512)]));
        assert!(plan.count * 8 + plan.copied_blocks * 512 < 4 << 20, "{plan:?}");
    }

    #[test]
    fn random_contents_add_up() {
        let mut state = 1u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % limit
        };
        for _ in 0..2000 {
            let (mut extents, mut at, mut offset) = (Vec::new(), 0, 512);
            for _ in 0..next(6) {
                at += next(4) * 256;
                let len = 1 + next(3000);
                extents.push((at, offset, len));
                at += len;
                offset += if next(2) == 0 { len } else { len.next_multiple_of(512) };
            }
            let size = at + next(2000);
            if size > 0 {
                all(&content(size, &extents));
            }
        }
    }
}

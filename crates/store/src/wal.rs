//! SQLite's write-ahead log. Its frames have checksums, but what follows a damaged one is ignored without a word: transactions
//! that were committed are gone. This finds out whether that happened.
//!
//! FORMAT: sqlite.org/fileformat2.html, "The Write-Ahead Log".

/// What is wrong with a log; `None` if nothing is. A log that is being written must not be looked at.
///
/// A process that dies in the middle of a transaction leaves frames behind too, but never one that ends a transaction.
pub(crate) fn problem(log: &[u8]) -> Option<&'static str> {
    if log.is_empty() {
        return None;
    }
    let Some(head) = Head::read(log) else { return Some("has a damaged head: what it held is lost") };
    let mut at = HEAD;
    // Everything up to here is sound.
    let mut sum = head.sum;
    while let Some(frame) = head.frame(log, at) {
        if !frame.is_of(&head) || frame.sum_after(&head, sum) != frame.sum {
            break;
        }
        sum = frame.sum;
        at += frame.length();
    }
    let first = at;
    while let Some(frame) = head.frame(log, at) {
        // A flipped bit in the salt of a frame does not make it one of an earlier round.
        let is_ours = frame.salt[0] == head.salt[0] || frame.salt[1] == head.salt[1];
        let ends = frame.commit != 0 || at == first && frame.ended(&head, sum);
        if is_ours && ends {
            return Some("is damaged: transactions in it are lost");
        }
        at += frame.length();
    }
    None
}

struct Head {
    big_endian: bool,
    page: usize,
    salt: [u32; 2],
    sum: [u32; 2],
}

impl Head {
    fn read(log: &[u8]) -> Option<Self> {
        let big_endian = match word(log, 0)? {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let page = word(log, 8)? as usize;
        let sum = [word(log, 24)?, word(log, 28)?];
        let head = Self { big_endian, page, salt: [word(log, 16)?, word(log, 20)?], sum };
        let is_sound =
            page.is_power_of_two() && (512..=65_536).contains(&page) && head.add([0, 0], &log[..24]) == sum;
        is_sound.then_some(head)
    }

    fn frame<'a>(&self, log: &'a [u8], at: usize) -> Option<Frame<'a>> {
        let bytes = log.get(at..at + FRAME + self.page)?;
        Some(Frame {
            bytes,
            commit: word(bytes, 4)?,
            salt: [word(bytes, 8)?, word(bytes, 12)?],
            sum: [word(bytes, 16)?, word(bytes, 20)?],
        })
    }

    /// The checksum after more bytes; always a multiple of eight of them.
    fn add(&self, sum: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        let [mut first, mut second] = sum;
        for pair in bytes.chunks_exact(8) {
            let (left, right) = pair.split_at(4);
            first = first.wrapping_add(self.number(left)).wrapping_add(second);
            second = second.wrapping_add(self.number(right)).wrapping_add(first);
        }
        [first, second]
    }

    fn number(&self, bytes: &[u8]) -> u32 {
        let bytes = bytes.try_into().unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

struct Frame<'a> {
    bytes: &'a [u8],
    /// Pages of the database, if this frame ends a transaction; otherwise zero.
    commit: u32,
    salt: [u32; 2],
    sum: [u32; 2],
}

impl Frame<'_> {
    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn is_of(&self, head: &Head) -> bool {
        self.salt == head.salt
    }

    fn sum_after(&self, head: &Head, sum: [u32; 2]) -> [u32; 2] {
        let sum = head.add(sum, &self.bytes[..8]);
        head.add(sum, &self.bytes[FRAME..])
    }

    /// Whether it would be sound, and end a transaction, if one bit of the number that says so were set.
    fn ended(&self, head: &Head, sum: [u32; 2]) -> bool {
        (0..32).any(|bit| {
            let mut start = [0; 8];
            start.copy_from_slice(&self.bytes[..8]);
            start[4..].copy_from_slice(&(self.commit | 1 << bit).to_be_bytes());
            let sum = head.add(sum, &start);
            head.add(sum, &self.bytes[FRAME..]) == self.sum
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

const HEAD: usize = 32;
/// Bytes of a frame before its page.
const FRAME: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;

    /// A log of frames, each with a page number and what it says about the end of a transaction.
    fn log(frames: &[(u32, u32)]) -> Vec<u8> {
        let mut log = Vec::new();
        for word in [0x377f_0683, 3_007_000, PAGE as u32, 0, 7, 0xdead_beef] {
            log.extend(u32::to_be_bytes(word));
        }
        let head = Head { big_endian: true, page: PAGE, salt: [7, 0xdead_beef], sum: [0, 0] };
        let mut sum = head.add([0, 0], &log);
        log.extend(sum.map(u32::to_be_bytes).concat());
        for (number, commit) in frames {
            let start = [*number, *commit].map(u32::to_be_bytes).concat();
            let page: Vec<u8> = (0..PAGE).map(|at| (at as u32 * number) as u8).collect();
            sum = head.add(head.add(sum, &start), &page);
            log.extend(start);
            log.extend(head.salt.map(u32::to_be_bytes).concat());
            log.extend(sum.map(u32::to_be_bytes).concat());
            log.extend(page);
        }
        log
    }

    #[test]
    fn no_bit_of_a_committed_transaction_can_change_unnoticed() {
        // The number of pages is a power of two: one bit decides whether the transaction ended.
        let sound = log(&[(1, 0), (2, 16), (3, 0), (4, 16)]);
        assert_eq!(problem(&sound), None);
        for bit in 0..sound.len() * 8 {
            // The version and the number of checkpoints are covered by the checksum of the head like everything else.
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(problem(&damaged).is_some(), "bit {bit}");
        }
    }

    #[test]
    fn what_a_killed_process_leaves_is_no_damage() {
        let committed = log(&[(1, 0), (2, 2)]);
        let killed = log(&[(1, 0), (2, 2), (3, 0), (4, 0), (5, 0)]);
        assert_eq!(problem(&killed), None, "a transaction that did not end");
        assert_eq!(problem(&killed[..killed.len() - 100]), None, "nor its last write");
        // The next transaction was shorter.
        let mut next = log(&[(1, 0), (2, 2), (9, 3)]);
        next.extend(&killed[next.len()..]);
        assert_eq!(problem(&next), None);
        // Frames of an earlier round of the same file.
        let mut earlier = killed[committed.len()..].to_vec();
        for frame in earlier.chunks_mut(FRAME + PAGE) {
            frame[8..16].copy_from_slice(&[0, 0, 0, 6, 1, 2, 3, 4]);
            frame[7] = 1;
        }
        assert_eq!(problem(&[committed, earlier].concat()), None);
        assert_eq!(problem(&[]), None);
    }
}

//! Room on the disk for a file that is written from its front to its end.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;

/// Reserves blocks ahead of the writer. Without it the file system looks for each block as it comes; with it, ext4 spends
/// little more than half the time on a large file.
///
/// The size of the file is not touched, and nothing depends on it: where there is no room, or the file system cannot do it,
/// writing says so.
#[derive(Debug, Default)]
pub struct Reserve {
    until: u64,
}

impl Reserve {
    /// To be called before bytes up to `end` are written. `size` is what the file will have, where that is known.
    pub fn ahead(&mut self, file: &File, end: u64, size: Option<u64>) {
        if end < STEP || end <= self.until {
            return;
        }
        let until = (end + STEP).min(size.unwrap_or(u64::MAX)).max(end);
        // Once for each step, whatever comes of it.
        let _ = fallocate(file, FallocateFlags::KEEP_SIZE, self.until, until - self.until);
        self.until = until;
    }

    /// Gives back what is left behind the end of the whole file.
    pub fn release(self, file: &File, size: u64) {
        if self.until > size {
            // What remains reserved is a few megabytes, and goes with the file.
            let _ = file.set_len(size);
        }
    }
}

/// Little enough to be of no weight where a disk is nearly full.
const STEP: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    fn write(megabytes: u64, size: Option<u64>) -> (File, Reserve) {
        let mut file = tempfile::tempfile().unwrap();
        let mut reserve = Reserve::default();
        for megabyte in 0..megabytes {
            reserve.ahead(&file, (megabyte + 1) << 20, size);
            file.write_all(&vec![1; 1 << 20]).unwrap();
        }
        (file, reserve)
    }

    #[test]
    fn nothing_is_left_over_and_the_size_is_what_was_written() {
        for (megabytes, size) in
            [(1, None), (3, None), (21, None), (21, Some(21 << 20)), (21, Some(50 << 20))]
        {
            let (file, reserve) = write(megabytes, size);
            assert_eq!(file.metadata().unwrap().len(), megabytes << 20);
            reserve.release(&file, megabytes << 20);
            let metadata = file.metadata().unwrap();
            assert_eq!(metadata.len(), megabytes << 20);
            let taken = metadata.blocks() * 512;
            assert!(taken <= (megabytes << 20) + (64 << 10), "{taken} bytes for {megabytes} MiB");
        }
    }

    #[test]
    fn of_a_known_size_no_more_is_reserved() {
        let (file, reserve) = write(21, Some(21 << 20));
        assert_eq!(reserve.until, 21 << 20);
        let (_, reserve) = write(21, None);
        assert!(reserve.until > 21 << 20);
        drop(file);
    }
}

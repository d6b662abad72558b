//! A reader's mapping of another process's file.
#![expect(unsafe_code, reason = "memory that is shared with the file")]
#![expect(clippy::cast_ptr_alignment, reason = "each cast says why it is aligned")]

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use super::fault_guard::{self, GuardedRange};
use crate::prefetch::prefetch;

/// A read-only mapping of a file. It shows stores of the writer at once.
///
/// If the file is truncated, the next load beyond its end would raise SIGBUS and kill this process. So mappings are only
/// made after [`guard_mappings`](fault_guard::guard_mappings) has installed a handler.
pub(crate) struct ReadMap {
    raw: MmapRaw,
    words: usize,
    /// Tells the signal handler the addresses.
    range: &'static GuardedRange,
}

impl ReadMap {
    /// Maps the first `len` bytes of a file. Returns `None` if the mapping fails or mappings are not guarded.
    pub(crate) fn new(file: &File, len: u64) -> Option<ReadMap> {
        if len == 0 {
            return None;
        }
        let page_len = fault_guard::page_len()?;
        let len = len as usize;
        let raw = MmapOptions::new().len(len).map_raw_read_only(file).ok()?;
        let start = raw.as_ptr() as usize;
        // The last page extends beyond `len`.
        let range = GuardedRange::claim(start, start + len.next_multiple_of(page_len))?;
        Some(ReadMap { raw, words: len / size_of::<u64>(), range })
    }

    /// Reads the first word. Later loads see the entries that it makes visible.
    pub(crate) fn header(&self) -> u64 {
        let word = self.word(0);
        // ORDERING: acquire, pairs with the release store of `used`.
        fence(Ordering::Acquire);
        word
    }

    /// Reads a word of the file; 0 beyond its end.
    #[inline]
    pub(crate) fn word(&self, at: u32) -> u64 {
        let at = at as usize;
        if at >= self.words {
            return 0;
        }
        let address = self.raw.as_ptr().cast::<u64>().wrapping_add(at).cast_mut();
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as mappings are page-aligned. The memory
        // is read-only; relaxed loads of 8 bytes from it are allowed on all 64-bit processors.
        let word = unsafe { AtomicU64::from_ptr(address) };
        word.load(Ordering::Relaxed)
    }

    /// Prefetches a word.
    #[inline]
    pub(crate) fn prefetch(&self, at: u32) {
        prefetch(self.raw.as_ptr().cast::<u64>().wrapping_add(at as usize));
    }

    /// Whether a load has found the file truncated and returned 0 instead.
    pub(crate) fn has_faulted(&self) -> bool {
        self.range.has_faulted()
    }
}

impl Drop for ReadMap {
    fn drop(&mut self) {
        // Before the mapping is dropped, after which other memory may get the addresses.
        self.range.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::fault_guard::guard_mappings;
    use crate::file::sys;
    use crate::test_dir::TestDir;

    #[test]
    fn a_truncated_file_is_read_as_zeros_and_the_fault_is_reported() {
        guard_mappings().unwrap();
        let page_len = sys::page_len();
        let dir = TestDir::new();
        let path = dir.join("file");
        std::fs::write(&path, vec![1u8; 3 * page_len]).unwrap();
        let file = File::open(&path).unwrap();
        let map = ReadMap::new(&file, 3 * page_len as u64).unwrap();
        let other = ReadMap::new(&file, page_len as u64).unwrap();
        let ones = u64::from_le_bytes([1; 8]);
        let last = (3 * page_len / 8) as u32 - 1;
        assert_eq!((map.word(0), map.word(last), map.word(last + 1)), (ones, ones, 0));
        let writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.set_len(page_len as u64).unwrap();
        assert_eq!((map.word(0), map.has_faulted()), (ones, false));
        assert_eq!((map.word(last), map.has_faulted()), (0, true));
        assert_eq!((other.word(0), other.has_faulted()), (ones, false));
    }
}

//! Counters in a file that a program maps, by which a test knows what the processes have recorded.
#![expect(unsafe_code, reason = "atomic words in a mapped file")]
#![expect(clippy::cast_ptr_alignment, reason = "a mapping is aligned to pages")]

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

/// The words of a file.
pub struct Truth(MmapRaw);

/// Maps an existing file.
pub fn open(path: &str) -> Truth {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("TRUTH is a file");
    Truth(MmapRaw::map_raw(&file).expect("TRUTH is mapped"))
}

impl Truth {
    /// Adds one to a word.
    pub fn add(&self, at: usize) {
        assert!((at + 1) * size_of::<u64>() <= self.0.len());
        // SAFETY: within the mapping, by the assertion above.
        let word = unsafe { self.0.as_mut_ptr().cast::<u64>().add(at) };
        // SAFETY: aligned, as a mapping begins at a page; all processes access the words by atomic operations only.
        let word = unsafe { AtomicU64::from_ptr(word) };
        // ORDERING: after the operation that it counts, and before the next one.
        word.fetch_add(1, Ordering::AcqRel);
    }
}

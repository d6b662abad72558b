//! The writer's mapping of its own file, in segments that never move and are never unmapped.
//!
//! A segment reserves address space beyond the end of the file; only bytes that the file system has
//! reserved are touched. No reference into the mapping exists but to single atomic words.
#![expect(unsafe_code, reason = "memory that is shared with the file")]
#![expect(clippy::cast_ptr_alignment, reason = "each cast says why it is aligned")]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::cell::Cell;
use super::sys;

/// Address space of a segment, in bytes, where nothing limits it.
const SEGMENT_LEN: usize = 16 * 1024 * 1024;
/// What every segment is a multiple of: no page is larger.
const MIN_SEGMENT_LEN: usize = 64 * 1024;

struct Segment {
    /// Offset in the file.
    start: u64,
    /// Never dropped: cells point into it for the life of the process, and in a forked child the
    /// addresses may belong to somebody else.
    raw: ManuallyDrop<MmapRaw>,
}

/// The mapped bytes of one file.
pub(crate) struct Map {
    segments: Vec<Segment>,
    /// The end of the last segment, as offset in the file.
    end: u64,
}

impl Map {
    pub(crate) const fn new() -> Map {
        Map { segments: Vec::new(), end: 0 }
    }

    /// Maps segments until `end` is covered. What was mapped before stays where it is.
    ///
    /// Where address space is limited (RLIMIT_AS, locked memory) a segment is no longer than it must be: what
    /// is left is the host's, whose next allocation would end it.
    pub(crate) fn cover(&mut self, file: &File, end: u64) -> io::Result<()> {
        let needed = ((end - self.end.min(end)) as usize).next_multiple_of(MIN_SEGMENT_LEN);
        let mut len = if sys::is_address_space_limited() { needed } else { SEGMENT_LEN };
        while self.end < end {
            match MmapOptions::new().offset(self.end).len(len).map_raw(file) {
                Ok(raw) => {
                    // A kernel without an advice maps all the same: children would then keep a copy of
                    // the mapping, which they do not touch.
                    let _ = raw.advise(Advice::DontFork);
                    let _ = raw.advise(Advice::DontDump);
                    // A host that locks all its memory (MCL_FUTURE) keeps its limit for itself.
                    let _ = raw.unlock();
                    self.segments.push(Segment { start: self.end, raw: ManuallyDrop::new(raw) });
                    self.end += len as u64;
                }
                Err(_) if len > needed => len = needed,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts memory of this process in place of the file, which is then no longer mapped.
    ///
    /// Cells keep their addresses and, of the first `used` bytes, what they hold; what is stored to them
    /// from now on goes nowhere.
    pub(crate) fn detach(&self, used: u64) {
        let bytes = self.read(0, used as usize);
        let mut all_replaced = true;
        for segment in &self.segments {
            // SAFETY: replaces a mapping of ours, as a whole, that is never unmapped; only atomics point
            // into it. Where it fails the mapping stays as it is, and the file is seen as written.
            let replaced = unsafe {
                libc::mmap(
                    segment.raw.as_mut_ptr().cast(),
                    segment.raw.len(),
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            all_replaced &= replaced != libc::MAP_FAILED;
        }
        if all_replaced {
            self.write(0, &bytes);
        }
    }

    /// The address of `len` bytes at `offset`, which lie within one segment.
    fn address(&self, offset: u64, len: usize) -> *mut u8 {
        let at = self.segments.partition_point(|segment| segment.start <= offset) - 1;
        let segment = &self.segments[at];
        let within = (offset - segment.start) as usize;
        assert!(within + len <= segment.raw.len(), "offset {offset} lies outside the mapping");
        segment.raw.as_mut_ptr().wrapping_add(within)
    }

    /// Copies `bytes` to `offset`. The bytes are reserved, and nobody reads them yet: they lie beyond
    /// `used`.
    pub(crate) fn write(&self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.segments.partition_point(|segment| segment.start <= offset) - 1;
            let segment = &self.segments[at];
            let left = segment.start + segment.raw.len() as u64 - offset;
            let (now, later) = bytes.split_at(bytes.len().min(left as usize));
            let target = self.address(offset, now.len());
            // SAFETY: `address` checked that the target lies in a mapping, the caller reserved the bytes,
            // and no reference to mapped memory exists that `now` could overlap with.
            unsafe { target.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            offset += now.len() as u64;
            bytes = later;
        }
    }

    /// Copies `len` bytes of published entries, whose bytes nobody writes any more.
    pub(crate) fn read(&self, mut offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        let end = offset + len as u64;
        while offset < end {
            let word = self.cell(offset & !7).bits().to_le_bytes();
            let from = (offset & 7) as usize;
            let to = ((end - (offset & !7)) as usize).min(8);
            bytes.extend_from_slice(&word[from..to]);
            offset += (to - from) as u64;
        }
        bytes
    }

    /// The number at `offset`, a multiple of 4, among published entries.
    pub(crate) fn read_u32(&self, offset: u64) -> u32 {
        let word = self.cell(offset & !7).bits();
        if offset.is_multiple_of(8) { word as u32 } else { (word >> 32) as u32 }
    }

    /// Stores `used`, which makes all entries below it visible.
    pub(crate) fn publish(&self, used: u32) {
        let address = self.address(0, size_of::<u32>()).cast::<u32>();
        // SAFETY: the start of a mapping is page-aligned, mapped for the life of the process, and
        // accessed in no other way than by this store.
        let word = unsafe { AtomicU32::from_ptr(address) };
        // ORDERING: release, after the bytes of the entry; readers read `used` first.
        word.store(used.to_le(), Ordering::Release);
    }

    /// The word at `offset`, a multiple of 8.
    pub(crate) fn cell(&self, offset: u64) -> Cell {
        assert!(offset.is_multiple_of(8), "offset {offset} is no multiple of 8");
        let address = self.address(offset, size_of::<u64>()).cast::<u64>();
        // SAFETY: aligned, as mappings are page-aligned and the offset is a multiple of 8; mapped for
        // the life of the process, as segments are never dropped; from here on accessed by atomics only.
        let word: &'static AtomicU64 = unsafe { AtomicU64::from_ptr(address) };
        Cell::new(word)
    }
}

/// The bytes of `words`, to read a file into: 8-aligned, so that values are never torn.
pub(crate) fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    let len = size_of_val(words);
    // SAFETY: the same memory for the same lifetime; u64 has no padding and any bytes are one.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
}

/// The bytes of `words`.
pub(crate) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: the same memory for the same lifetime; u64 has no padding.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

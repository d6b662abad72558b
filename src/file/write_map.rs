//! The writer's mapping of its own file.
//!
//! The file is mapped in segments that never move. Once a cell points into a mapping, it is never unmapped. A segment
//! reserves address space beyond the end of the file; only bytes that the file system has reserved are accessed. The
//! only references into the mapping are to atomic words.
#![expect(unsafe_code, reason = "memory that is shared with the file")]
#![expect(clippy::cast_ptr_alignment, reason = "each cast says why it is aligned")]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::cell::Cell;
use super::sys;

/// The address space of a segment, in bytes, unless address space is limited.
const SEGMENT_LEN: usize = 16 * 1024 * 1024;
/// The length of every segment is a multiple of this. No page is larger.
const MIN_SEGMENT_LEN: usize = 64 * 1024;

struct Segment {
    /// Offset in the file.
    start: u64,
    /// Dropped by [`WriteMap::unmap`] only: cells point into it for the life of the process, and in a forked child
    /// another mapping may have the addresses.
    raw: ManuallyDrop<MmapRaw>,
}

impl Segment {
    /// Replaces the first `len` bytes, a multiple of the page size, by private memory and unmaps the rest. On failure
    /// a part of the file stays mapped, so readers still see it as open for writing.
    fn replace(&self, len: usize) -> bool {
        let start = self.raw.as_mut_ptr();
        if len > 0 {
            // SAFETY: replaces the start of this segment's mapping, which stays mapped at the same address; the only
            // references into it are to atomics.
            let replaced = unsafe {
                libc::mmap(
                    start.cast(),
                    len,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if replaced == libc::MAP_FAILED {
                return false;
            }
            // The memory does not count against the limit of a host that locks all its memory (MCL_FUTURE).
            // SAFETY: the memory that was mapped above.
            unsafe { libc::munlock(replaced, len) };
        }
        let rest = self.raw.len() - len;
        if rest > 0 {
            // SAFETY: the end of this segment's mapping. All cells lie before it, and no new ones are made, as
            // `WriteMap::detach` consumes the map.
            let unmapped = unsafe { libc::munmap(start.wrapping_add(len).cast(), rest) };
            return unmapped == 0;
        }
        true
    }
}

/// The mapped bytes of one file.
pub(crate) struct WriteMap {
    segments: Vec<Segment>,
    /// The end of the last segment, as an offset in the file.
    end: u64,
    /// Whether a cell points into it.
    has_cells: std::cell::Cell<bool>,
}

impl WriteMap {
    pub(crate) const fn new() -> WriteMap {
        WriteMap { segments: Vec::new(), end: 0, has_cells: std::cell::Cell::new(false) }
    }

    /// Maps segments until `end` is covered. Earlier segments stay where they are.
    ///
    /// Where address space is limited (RLIMIT_AS, locked memory) a segment is only as long as needed, so that the
    /// host's own allocations do not fail.
    pub(crate) fn cover(&mut self, file: &File, end: u64) -> io::Result<()> {
        let needed = ((end - self.end.min(end)) as usize).next_multiple_of(MIN_SEGMENT_LEN);
        let mut len = if sys::is_address_space_limited() { needed } else { SEGMENT_LEN };
        while self.end < end {
            match MmapOptions::new().offset(self.end).len(len).map_raw(file) {
                Ok(raw) => {
                    // OK because a child that keeps a copy of the mapping does not access it.
                    let _ = raw.advise(Advice::DontFork);
                    let _ = raw.advise(Advice::DontDump);
                    // The mapping does not count against the limit of a host that locks all its memory (MCL_FUTURE).
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

    /// Makes the reserved bytes from `from` to `to` resident by one system call, so that the first store to each page causes
    /// no page fault. Returns `false` if the kernel does not support that: before Linux 5.14, or in a sandbox.
    pub(crate) fn populate(&self, mut from: u64, to: u64) -> bool {
        while from < to {
            let (segment, within) = self.segment_of(from);
            let len = ((to - from) as usize).min(segment.raw.len() - within);
            if segment.raw.advise_range(Advice::PopulateWrite, within, len).is_err() {
                return false;
            }
            from += len as u64;
        }
        true
    }

    /// Reads a word in each aligned block of 64 KiB of the range. At such a read the kernel maps all pages of the block that have
    /// content. See: `fault_around_bytes` in debugfs.
    pub(crate) fn read_blocks(&self, from: u64, to: u64) {
        const BLOCK: usize = 64 * 1024;
        // The page in which the range begins may be mapped already: a read of it would map no other.
        let mut at = from.next_multiple_of(sys::page_len() as u64);
        while at < to {
            std::hint::black_box(self.cell(at).bits());
            at += (BLOCK - self.address(at, size_of::<u64>()).addr() % BLOCK) as u64;
        }
    }

    /// Unmaps the file, unless a cell points into it.
    pub(crate) fn unmap(self) {
        if !self.has_cells.get() {
            self.segments
                .into_iter()
                .for_each(|segment| drop(ManuallyDrop::into_inner(segment.raw)));
        }
    }

    /// Replaces the first `used` bytes, which hold the cells, by private memory and unmaps the rest.
    ///
    /// Cells keep their addresses and values; later stores do not reach the file.
    ///
    /// Returns `false` if a part of the file stays mapped: cells may still write to it.
    pub(crate) fn detach(self, used: u64) -> bool {
        let bytes = self.read(0, used as usize);
        let mut all_replaced = true;
        for segment in &self.segments {
            let held = used.saturating_sub(segment.start).min(segment.raw.len() as u64) as usize;
            // Only as long as needed: with MCL_FUTURE all of it becomes resident at once.
            all_replaced &= segment.replace(held.next_multiple_of(sys::page_len()));
        }
        if all_replaced {
            self.write(0, &bytes);
        }
        all_replaced
    }

    /// Returns the segment of `offset`, and the offset within it, which lies beyond the last segment if `offset` does.
    fn segment_of(&self, offset: u64) -> (&Segment, usize) {
        let at = self.segments.partition_point(|segment| segment.start <= offset) - 1;
        let segment = &self.segments[at];
        (segment, (offset - segment.start) as usize)
    }

    /// Returns the address of `len` bytes at `offset`, which lie within one segment.
    pub(super) fn address(&self, offset: u64, len: usize) -> *mut u8 {
        let (segment, within) = self.segment_of(offset);
        assert!(within + len <= segment.raw.len(), "offset {offset} lies outside the mapping");
        segment.raw.as_mut_ptr().wrapping_add(within)
    }

    /// Copies `bytes` to `offset`, a reserved range beyond `used`, where no reader looks yet.
    pub(crate) fn write(&self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (segment, within) = self.segment_of(offset);
            let (now, later) = bytes.split_at(bytes.len().min(segment.raw.len() - within));
            let target = self.address(offset, now.len());
            // SAFETY: `address` checked that the target lies in a mapping, the caller reserved the bytes,
            // and no reference to mapped memory exists that `now` could overlap with.
            unsafe { target.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            offset += now.len() as u64;
            bytes = later;
        }
    }

    /// Copies `len` bytes of published entries.
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

    /// Reads an integer at `offset`, a multiple of 4, in published entries.
    pub(crate) fn read_u32(&self, offset: u64) -> u32 {
        let word = self.cell(offset & !7).bits();
        if offset.is_multiple_of(8) { word as u32 } else { (word >> 32) as u32 }
    }

    /// Stores `used`, which makes all entries below it visible.
    pub(crate) fn publish(&self, used: u32) {
        let address = self.address(0, size_of::<u32>()).cast::<u32>();
        // SAFETY: the start of a mapping is page-aligned. It is mapped for the life of the process and accessed by
        // atomics only.
        let word = unsafe { AtomicU32::from_ptr(address) };
        // ORDERING: release, after the bytes of the entry; readers read `used` first.
        word.store(used.to_le(), Ordering::Release);
    }

    /// Returns the word at `offset`, a multiple of 8.
    pub(crate) fn cell(&self, offset: u64) -> Cell {
        assert!(offset.is_multiple_of(8), "offset {offset} is not a multiple of 8");
        let address = self.address(offset, size_of::<u64>()).cast::<u64>();
        self.has_cells.set(true);
        // SAFETY: aligned, as mappings are page-aligned and the offset is a multiple of 8; mapped for the life of the
        // process, as a map with cells is never unmapped; accessed by atomics only from now on.
        let word: &'static AtomicU64 = unsafe { AtomicU64::from_ptr(address) };
        Cell::new(word)
    }

    /// Returns the words from `offset`, a multiple of 8, if all `len` bytes lie within one segment.
    pub(crate) fn words(&self, offset: u64, len: usize) -> Option<&'static [AtomicU64]> {
        assert!(offset.is_multiple_of(8), "offset {offset} is not a multiple of 8");
        let (segment, within) = self.segment_of(offset);
        if within + len > segment.raw.len() {
            return None;
        }
        self.has_cells.set(true);
        let address = segment.raw.as_mut_ptr().wrapping_add(within).cast::<AtomicU64>();
        // SAFETY: aligned, as mappings are page-aligned and the offset is a multiple of 8; the words lie in the mapping, which
        // is there for the life of the process, as a map with cells is never unmapped; accessed by atomics only from now on.
        Some(unsafe { std::slice::from_raw_parts(address, len / size_of::<AtomicU64>()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn cells_outlive_the_mapping_of_their_file() {
        let dir = TestDir::new();
        let path = dir.join("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let len = SEGMENT_LEN as u64 + 64 * 1024;
        file.set_len(len).unwrap();
        let mut map = WriteMap::new();
        map.cover(&file, len).unwrap();
        assert_eq!(map.segments.len(), 2);
        let cells = [8, 4096, SEGMENT_LEN as u64 - 8, SEGMENT_LEN as u64].map(|at| map.cell(at));
        for cell in cells {
            cell.set(5.0);
        }
        assert!(map.detach(SEGMENT_LEN as u64 + 8));
        for cell in cells {
            assert_eq!(cell.get(), 5.0);
            cell.add(1.0);
            assert_eq!(cell.get(), 6.0);
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(path.to_str().unwrap()));
    }
}

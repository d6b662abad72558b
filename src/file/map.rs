//! The writer's mapping of its own file, in segments that never move. They are never unmapped once a cell points into
//! them.
//!
//! A segment reserves address space beyond the end of the file; only bytes that the file system has
//! reserved are touched. No reference into the mapping exists but to single atomic words.
#![expect(unsafe_code, reason = "memory that is shared with the file")]
#![expect(clippy::cast_ptr_alignment, reason = "each cast says why it is aligned")]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

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
    /// Dropped by [`Map::unmap`] only: cells point into it for the life of the process, and in a forked child
    /// the addresses may belong to somebody else.
    raw: ManuallyDrop<MmapRaw>,
}

impl Segment {
    /// Puts memory of this process in place of the first `len` bytes, whole pages, and unmaps the others. Where
    /// that fails the segment stays as it is, and the file is seen as written.
    fn replace(&self, len: usize) -> bool {
        let start = self.raw.as_mut_ptr();
        if len > 0 {
            // SAFETY: replaces the beginning of a mapping of ours, which stays mapped at the same address; only
            // atomics point into it.
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
            // SAFETY: the memory that was mapped above. A host that locks all its memory keeps its limit for itself.
            unsafe { libc::munlock(replaced, len) };
        }
        let rest = self.raw.len() - len;
        if rest > 0 {
            // SAFETY: the end of a mapping of ours. All cells lie before it, and `Map::detach` takes the map, so
            // nobody makes more.
            let unmapped = unsafe { libc::munmap(start.wrapping_add(len).cast(), rest) };
            return unmapped == 0;
        }
        true
    }
}

/// The mapped bytes of one file.
pub(crate) struct Map {
    segments: Vec<Segment>,
    /// The end of the last segment, as offset in the file.
    end: u64,
    /// Whether a cell points into it.
    has_cells: std::cell::Cell<bool>,
}

impl Map {
    pub(crate) const fn new() -> Map {
        Map { segments: Vec::new(), end: 0, has_cells: std::cell::Cell::new(false) }
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

    /// Unmaps the file, unless a cell points into it.
    pub(crate) fn unmap(self) {
        if !self.has_cells.get() {
            self.segments
                .into_iter()
                .for_each(|segment| drop(ManuallyDrop::into_inner(segment.raw)));
        }
    }

    /// Puts memory of this process in place of the first `used` bytes, where the cells are, and unmaps the rest.
    /// The file is then no longer mapped.
    ///
    /// Cells keep their addresses and what they hold; what is stored to them from now on goes nowhere.
    ///
    /// Returns `false` where a part of the file stays mapped: cells may still write to it.
    pub(crate) fn detach(self, used: u64) -> bool {
        let bytes = self.read(0, used as usize);
        let mut all_replaced = true;
        for segment in &self.segments {
            let held = used.saturating_sub(segment.start).min(segment.raw.len() as u64) as usize;
            // No longer than needed: a host that locks all its memory (MCL_FUTURE) has all of it in memory at once.
            all_replaced &= segment.replace(held.next_multiple_of(sys::page_len()));
        }
        if all_replaced {
            self.write(0, &bytes);
        }
        all_replaced
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
        self.has_cells.set(true);
        // SAFETY: aligned, as mappings are page-aligned and the offset is a multiple of 8; mapped for
        // the life of the process, as a map with cells is never unmapped; from here on accessed by atomics only.
        let word: &'static AtomicU64 = unsafe { AtomicU64::from_ptr(address) };
        Cell::new(word)
    }
}

/// A mapping to read another process's file through. A store of its writer is seen at once.
///
/// A file that is made shorter would end this process by SIGBUS at the next load, but for the guard: see
/// [`guard_mappings`], without which there are no such mappings.
pub(crate) struct ReadMap {
    raw: MmapRaw,
    words: usize,
    /// Where the guard finds it.
    range: &'static GuardedRange,
}

impl ReadMap {
    /// Maps the first `len` bytes of a file; `None` where it cannot be done, or nobody guards mappings.
    pub(crate) fn new(file: &File, len: u64) -> Option<ReadMap> {
        if !IS_GUARDED.load(Ordering::Acquire) || len == 0 {
            return None;
        }
        let len = len as usize;
        let raw = MmapOptions::new().len(len).map_raw_read_only(file).ok()?;
        let start = raw.as_ptr() as usize;
        // Its last page reaches beyond the length.
        let page_len = PAGE_LEN.load(Ordering::Relaxed);
        let range = GuardedRange::claim(start, start + len.next_multiple_of(page_len))?;
        Some(ReadMap { raw, words: len / size_of::<u64>(), range })
    }

    /// The first word, which what was stored before it is seen after.
    pub(crate) fn header(&self) -> u64 {
        let word = self.word(0);
        // ORDERING: acquire, so that entries below `used` are read as they were before it was stored.
        fence(Ordering::Acquire);
        word
    }

    /// A word of the file; 0 beyond its end.
    #[inline]
    pub(crate) fn word(&self, at: u32) -> u64 {
        let at = at as usize;
        if at >= self.words {
            return 0;
        }
        let address = self.raw.as_ptr().cast::<u64>().wrapping_add(at).cast_mut();
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as mappings are page-aligned. It is
        // read-only memory, of which relaxed loads of 8 bytes are allowed on all 64-bit processors.
        let word = unsafe { AtomicU64::from_ptr(address) };
        word.load(Ordering::Relaxed)
    }

    /// Has the processor bring a word near.
    #[inline]
    pub(crate) fn fetch(&self, at: u32) {
        fetch(self.raw.as_ptr().cast::<u64>().wrapping_add(at as usize));
    }

    /// Whether the file had become shorter: words beyond its end were read as 0.
    pub(crate) fn has_faulted(&self) -> bool {
        self.range.has_faulted.load(Ordering::Acquire)
    }
}

impl Drop for ReadMap {
    fn drop(&mut self) {
        // Before the addresses are given back, and may be somebody else's.
        self.range.release();
    }
}

/// Has the processor bring something near that will be read soon.
#[inline]
pub(crate) fn fetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which touches nothing: any address will do.
        unsafe { _mm_prefetch(place.cast(), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The length of a page, noted by [`guard_mappings`] for the signal handler.
static PAGE_LEN: AtomicUsize = AtomicUsize::new(0);

/// The start of the page that an address lies in.
const fn page_start(address: usize, page_len: usize) -> usize {
    address - address % page_len
}

/// Addresses of one mapping. Written by its owner, read by the signal handler.
struct GuardedRange {
    /// 0 where it is free.
    end: AtomicUsize,
    start: AtomicUsize,
    has_faulted: AtomicBool,
}

/// More mappings than these are not made; their files are read.
const MAX_GUARDED: usize = 16 * 1024;

static GUARDED: [GuardedRange; MAX_GUARDED] = [const {
    let (end, start) = (AtomicUsize::new(0), AtomicUsize::new(0));
    GuardedRange { end, start, has_faulted: AtomicBool::new(false) }
}; MAX_GUARDED];

/// Where a free range is looked for first.
static NEXT_GUARDED: AtomicUsize = AtomicUsize::new(0);

/// Whether the signal handler is there.
static IS_GUARDED: AtomicBool = AtomicBool::new(false);

/// The end of a range that is being filled.
const CLAIMED: usize = 1;

impl GuardedRange {
    fn claim(start: usize, end: usize) -> Option<&'static GuardedRange> {
        let first = NEXT_GUARDED.fetch_add(1, Ordering::Relaxed);
        let ranges = (0..MAX_GUARDED).map(|at| &GUARDED[(first + at) % MAX_GUARDED]);
        for range in ranges {
            let free = range.end.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
            if free.is_ok() {
                range.has_faulted.store(false, Ordering::Relaxed);
                range.start.store(start, Ordering::Relaxed);
                // ORDERING: release, so that who sees the end sees the start.
                range.end.store(end, Ordering::Release);
                return Some(range);
            }
        }
        None
    }

    fn release(&self) {
        self.end.store(0, Ordering::Release);
    }
}

/// Has loads beyond the end of a file give 0, by a handler of SIGBUS that is the whole process's: for programs
/// that are nothing but exporters. Other faults end the process, as they would without it.
pub(crate) fn guard_mappings() -> io::Result<()> {
    PAGE_LEN.store(sys::page_len(), Ordering::Relaxed);
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all bits zero are a valid `sigaction`.
    let action = unsafe { action.assume_init_mut() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_fault;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler calls async-signal-safe functions only; the structure is valid.
    let result = unsafe { libc::sigaction(libc::SIGBUS, action, std::ptr::null_mut()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    IS_GUARDED.store(true, Ordering::Release);
    Ok(())
}

extern "C" fn on_fault(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel gives a valid pointer to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: of SIGBUS the kernel sets the address.
    let address = unsafe { info.si_addr() } as usize;
    let holds = |range: &&GuardedRange| {
        let end = range.end.load(Ordering::Acquire);
        address < end && range.start.load(Ordering::Relaxed) <= address
    };
    if let Some(range) = GUARDED.iter().find(holds) {
        range.has_faulted.store(true, Ordering::Release);
        let page_len = PAGE_LEN.load(Ordering::Relaxed);
        let page = page_start(address, page_len);
        // SAFETY: replaces a page of a mapping of ours, which nothing but loads of words uses; mmap is a bare
        // system call.
        let zeros = unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                page_len,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    // The instruction is tried again, and ends the process as it would have without a handler.
    // SAFETY: takes numbers only.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// A line of the cache. Where buffers begin at one, the kernel copies into them more than twice as fast.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Line([u64; WORDS_PER_LINE]);

/// Words of a line.
pub(crate) const WORDS_PER_LINE: usize = 8;

/// The words of `lines`, to read a file into.
pub(crate) fn words_of_mut(lines: &mut [Line]) -> &mut [u64] {
    let len = size_of_val(lines) / size_of::<u64>();
    // SAFETY: the same memory for the same lifetime; a line is words and nothing else, and any are one.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_becomes_shorter_is_read_as_zeros_and_noticed() {
        guard_mappings().unwrap();
        let page_len = sys::page_len();
        let path = std::env::temp_dir().join(format!("multiprom-map-{}", std::process::id()));
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
        drop((map, other));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_page_of_an_address_is_aligned_to_pages_of_any_length() {
        for page_len in [4096, 16 * 1024, 64 * 1024] {
            let first = 7 * 64 * 1024;
            for at in [0, 1, 4095, 4096, 5000, page_len - 1] {
                assert_eq!(page_start(first + at % page_len, page_len), first, "{page_len} {at}");
            }
            assert_eq!(page_start(first + page_len, page_len), first + page_len);
        }
        assert!(sys::page_len().is_power_of_two() && sys::page_len() >= 4096);
    }

    #[test]
    fn cells_outlive_the_mapping_of_their_file() {
        let path = std::env::temp_dir().join(format!("multiprom-detach-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let len = SEGMENT_LEN as u64 + 64 * 1024;
        file.set_len(len).unwrap();
        let mut map = Map::new();
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
        std::fs::remove_file(&path).unwrap();
    }
}

//! Memory of series that are removed together, in pages that are given back to the kernel.
//!
//! An arena hands out addresses in chunks of address space, each once. A page is given back when all that was placed in it is
//! released, and reads as zeros from then on: see [`transient`](super::transient). Address space is never used again, so
//! no late access meets something else.
//!
//! All functions are called under the lock of the slow path. A child that is forked during one may find counts that are too
//! high, and then keeps some pages.
#![expect(unsafe_code, reason = "pages of memory")]

use std::alloc::Layout;
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

use super::transient::{Transient, TransientStr};
use super::{AppendList, StaticRef};

/// The length and the alignment of a chunk.
const CHUNK_LEN: usize = 1 << 20;
/// Not less than that of the kernel on any machine.
const PAGE_LEN: usize = 1 << page_bits();
const PAGES: usize = CHUNK_LEN / PAGE_LEN;

/// The most memory that is made resident before it is used.
const MAX_RESIDENT_AHEAD: usize = 1 << 16;

/// What is longer gets a mapping of its own.
const MAX_IN_CHUNK: usize = CHUNK_LEN / 4;

const fn page_bits() -> u32 {
    if cfg!(target_arch = "x86_64") { 12 } else { 16 }
}

/// The words of one series in cache lines of their own, so that threads which record other series do not slow this one down.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct WordLine(pub(crate) [AtomicU64; WordLine::WORDS]);

impl WordLine {
    pub(crate) const WORDS: usize = 8;
}

// SAFETY: numbers.
unsafe impl Transient for WordLine {}

/// Memory of one family. Empty until something is placed in it.
pub(crate) struct Arena {
    /// The newest chunk, which links to the others.
    chunk: StaticRef<Chunk>,
    /// The chunk in which something was released last.
    released: StaticRef<Chunk>,
    /// The range of addresses of all chunks.
    first: AtomicUsize,
    end: AtomicUsize,
    /// Addresses and lengths of mappings for long slices.
    long: AppendList<(usize, usize)>,
}

/// The start of a chunk.
struct Chunk {
    former: StaticRef<Chunk>,
    /// The distance to the first byte that is not handed out.
    used: AtomicUsize,
    /// The distance to the first byte that was not made resident in advance.
    resident: AtomicUsize,
    /// What is in each page. The page with this struct and the one with the next free byte have one more.
    live: [AtomicU16; PAGES],
}

impl Chunk {
    fn map(former: Option<&'static Chunk>) -> Option<&'static Chunk> {
        let start = sys::map_chunk(former.map_or(0, Chunk::start))?;
        let chunk = ptr::with_exposed_provenance::<Chunk>(start);
        // SAFETY: new memory of zeros, longer than a chunk's start and aligned, is a valid `Chunk`; it is never unmapped.
        let chunk: &'static Chunk = unsafe { &*chunk };
        if let Some(former) = former {
            chunk.former.set(former);
        }
        chunk.used.store(size_of::<Chunk>(), Ordering::Relaxed);
        chunk.count(0, 1);
        chunk.count(chunk.open_page(), 1);
        Some(chunk)
    }

    fn start(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// The page with the next free byte.
    fn open_page(&self) -> usize {
        self.used.load(Ordering::Relaxed) / PAGE_LEN
    }

    fn count(&self, page: usize, change: i16) -> u16 {
        let Some(live) = self.live.get(page) else {
            return u16::MAX;
        };
        // OK because a count below 0 keeps the page. Nothing may be released twice: that would give back what else is in the page.
        let count = live.load(Ordering::Relaxed).checked_add_signed(change);
        count.inspect(|count| live.store(*count, Ordering::Relaxed)).unwrap_or(u16::MAX)
    }

    /// Returns the address of memory of zeros, unless the chunk is full.
    fn take(&self, layout: Layout) -> Option<usize> {
        let start = self.used.load(Ordering::Relaxed).next_multiple_of(layout.align());
        let end = start + layout.size();
        if end > CHUNK_LEN {
            return None;
        }
        let open = self.open_page();
        for page in start / PAGE_LEN..=(end - 1) / PAGE_LEN {
            self.count(page, 1);
        }
        self.count(end / PAGE_LEN, 1);
        self.make_resident(end);
        self.used.store(end, Ordering::Relaxed);
        self.close(open);
        Some(self.start() + start)
    }

    /// Makes what follows resident, by one system call instead of a page fault for each page: as much as is used, up to a
    /// limit.
    fn make_resident(&self, end: usize) {
        let resident = self.resident.load(Ordering::Relaxed);
        if end <= resident {
            return;
        }
        let used = if self.former.get().is_some() { CHUNK_LEN } else { end };
        let ahead = (end + used.min(MAX_RESIDENT_AHEAD)).next_multiple_of(PAGE_LEN).min(CHUNK_LEN);
        // The page with the next free byte was used before.
        let start = self.used.load(Ordering::Relaxed).max(resident).next_multiple_of(PAGE_LEN);
        if start < ahead {
            sys::make_resident(self.start() + start, ahead - start);
        }
        self.resident.store(ahead, Ordering::Relaxed);
    }

    /// Called when a page is not the one with the next free byte any more.
    fn close(&self, page: usize) {
        if self.count(page, -1) == 0 {
            sys::give_back(self.start() + page * PAGE_LEN, PAGE_LEN);
        }
    }
}

impl Arena {
    pub(crate) const fn new() -> Arena {
        let (chunk, released) = (StaticRef::empty(), StaticRef::empty());
        let (first, end) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
        Arena { chunk, released, first, end, long: AppendList::new() }
    }

    /// Whether something was placed here.
    pub(crate) fn is_used(&self) -> bool {
        self.chunk.get().is_some()
    }

    /// Returns the address of memory of zeros, or `None` if there is none that can be given back.
    fn take(&self, layout: Layout) -> Option<usize> {
        if layout.size() > MAX_IN_CHUNK {
            let len = layout.size().next_multiple_of(PAGE_LEN);
            let start = sys::map(len)?;
            self.long.push((start, len));
            return Some(start);
        }
        let chunk = self.chunk.get();
        if let Some(address) = chunk.and_then(|chunk| chunk.take(layout)) {
            return Some(address);
        }
        let new = Chunk::map(chunk)?;
        self.first.fetch_min(new.start(), Ordering::Relaxed);
        self.end.fetch_max(new.start() + CHUNK_LEN, Ordering::Relaxed);
        self.chunk.set(new);
        if let Some(full) = chunk {
            full.close(full.open_page());
        }
        new.take(layout)
    }

    /// The chunk that contains an address.
    fn chunk_of(&self, address: usize) -> Option<&'static Chunk> {
        let (first, end) = (self.first.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        if !(first..end).contains(&address) {
            return None;
        }
        let start = address & !(CHUNK_LEN - 1);
        let is_it = |chunk: &&'static Chunk| chunk.start() == start;
        if let Some(chunk) = self.released.get().filter(is_it) {
            return Some(chunk);
        }
        let chunk = std::iter::successors(self.chunk.get(), |it| it.former.get()).find(is_it)?;
        self.released.set(chunk);
        Some(chunk)
    }
}

/// Where something is placed: in an arena, or on the heap, where it lives as long as the process.
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
#[derive(Clone, Copy)]
pub struct Home(Option<&'static Arena>);

impl Home {
    pub(crate) const HEAP: Home = Home(None);

    pub(crate) const fn in_arena(arena: &'static Arena) -> Home {
        Home(Some(arena))
    }

    pub(crate) const fn is_heap(self) -> bool {
        self.0.is_none()
    }

    /// Places a value at an address that is valid as long as the process.
    pub(crate) fn place<T: Transient>(self, value: T) -> &'static T {
        let Some(address) = self.take(Layout::new::<T>()) else {
            return Box::leak(Box::new(value));
        };
        let place = ptr::with_exposed_provenance_mut::<T>(address);
        // SAFETY: memory of this layout, which nothing else uses.
        unsafe { place.write(value) };
        // SAFETY: written above, never unmapped, and valid as zeros.
        unsafe { &*place }
    }

    /// Places several values.
    pub(crate) fn slice<T: Transient>(self, values: Vec<T>) -> &'static [T] {
        let address = Layout::array::<T>(values.len()).ok().and_then(|layout| self.take(layout));
        let Some(address) = address else {
            return values.leak();
        };
        let (place, len) = (ptr::with_exposed_provenance_mut::<T>(address), values.len());
        for (at, value) in values.into_iter().enumerate() {
            let place = place.wrapping_add(at);
            // SAFETY: memory of the layout of the array, which nothing else uses.
            unsafe { place.write(value) };
        }
        // SAFETY: written above, never unmapped, and valid as zeros.
        unsafe { std::slice::from_raw_parts(place, len) }
    }

    /// Places a copy of a text.
    pub(crate) fn text(self, text: &str) -> TransientStr {
        let bytes = self.slice(text.as_bytes().to_vec());
        // SAFETY: the bytes of a text.
        TransientStr::new(unsafe { std::str::from_utf8_unchecked(bytes) })
    }

    fn take(self, layout: Layout) -> Option<usize> {
        self.0.filter(|_| layout.size() > 0)?.take(layout)
    }
}

/// Releases what is in an arena. Values on the heap stay.
///
/// Nothing is undefined if a value is still in use, as it is [`Transient`].
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct Release {
    arena: Option<&'static Arena>,
    /// Pages to give back together.
    start: usize,
    end: usize,
}

impl Release {
    pub(crate) fn new(home: Home) -> Release {
        Release { arena: home.0, start: 0, end: 0 }
    }

    pub(crate) fn value<T: Transient>(&mut self, value: &'static T) {
        self.bytes(ptr::from_ref(value).addr(), size_of::<T>());
    }

    pub(crate) fn slice<T: Transient>(&mut self, values: &'static [T]) {
        self.bytes(values.as_ptr().addr(), size_of_val(values));
    }

    /// Releases lines that begin with this word.
    pub(crate) fn lines(&mut self, first: &'static AtomicU64, count: usize) {
        self.bytes(ptr::from_ref(first).addr(), count * size_of::<WordLine>());
    }

    fn bytes(&mut self, start: usize, len: usize) {
        let Some(arena) = self.arena.filter(|_| len > 0) else {
            return;
        };
        if let Some(chunk) = arena.chunk_of(start) {
            let at = start - chunk.start();
            for page in at / PAGE_LEN..=(at + len - 1) / PAGE_LEN {
                if chunk.count(page, -1) == 0 {
                    self.page(chunk.start() + page * PAGE_LEN);
                }
            }
        } else if len > MAX_IN_CHUNK
            && let Some(&(start, len)) = arena.long.iter().find(|(of, _)| *of == start)
        {
            sys::give_back(start, len);
        }
    }

    /// Gives back a page, together with those before it.
    fn page(&mut self, start: usize) {
        if start != self.end {
            self.flush();
            self.start = start;
        }
        self.end = start + PAGE_LEN;
    }

    fn flush(&mut self) {
        if self.end > self.start {
            sys::give_back(self.start, self.end - self.start);
        }
        (self.start, self.end) = (0, 0);
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod sys {
    use std::ptr;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::super::transient::{MAX_SLICE_LEN, SINK, SINK_LEN};
    use super::CHUNK_LEN;

    const UNKNOWN: u8 = 0;
    const MAPPED: u8 = 1;
    const FAILED: u8 = 2;

    /// Whether the sink and the zeros are mapped. Changed under a lock.
    static SINK_STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

    fn anonymous(address: usize, len: usize, protection: i32, flags: i32) -> Option<usize> {
        let address = ptr::with_exposed_provenance_mut(address);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags;
        // SAFETY: asks for new private memory; no existing mapping is touched, as `MAP_FIXED` is never among the flags.
        let start = unsafe { libc::mmap(address, len, protection, flags, -1, 0) };
        (start != libc::MAP_FAILED).then(|| start.expose_provenance())
    }

    fn unmap(start: usize, len: usize) {
        if len > 0 {
            // SAFETY: a part of a mapping that was made here and not used.
            unsafe { libc::munmap(ptr::with_exposed_provenance_mut(start), len) };
        }
    }

    fn map_sink() -> bool {
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_FIXED_NOREPLACE;
        for (address, len, protection) in
            [(SINK, SINK_LEN, write), (SINK + SINK_LEN, MAX_SLICE_LEN, read)]
        {
            match anonymous(address, len, protection, flags) {
                Some(start) if start == address => {}
                // NOTE: before Linux 4.17 the address is only a hint.
                Some(other) => {
                    unmap(other, len);
                    return false;
                }
                None => return false,
            }
        }
        true
    }

    /// Maps memory of zeros that may be given back, if what is read instead is mapped.
    pub(super) fn map(len: usize) -> Option<usize> {
        if SINK_STATE.load(Ordering::Relaxed) == UNKNOWN {
            let state = if map_sink() { MAPPED } else { FAILED };
            SINK_STATE.store(state, Ordering::Relaxed);
        }
        let is_mapped = SINK_STATE.load(Ordering::Relaxed) == MAPPED;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        is_mapped.then(|| anonymous(0, len, protection, 0)).flatten()
    }

    /// Maps a chunk, below the former one if that is possible, so that the kernel has one mapping for both.
    pub(super) fn map_chunk(former: usize) -> Option<usize> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        if former != 0 {
            let below = former - CHUNK_LEN;
            match anonymous(below, CHUNK_LEN, protection, libc::MAP_FIXED_NOREPLACE) {
                Some(start) if start == below => return Some(without_huge_pages(start)),
                Some(other) => unmap(other, CHUNK_LEN),
                None => {}
            }
        }
        let start = map(2 * CHUNK_LEN)?;
        let aligned = start.next_multiple_of(CHUNK_LEN);
        unmap(start, aligned - start);
        unmap(aligned + CHUNK_LEN, start + CHUNK_LEN - aligned);
        Some(without_huge_pages(aligned))
    }

    /// A huge page would make a small family resident as a whole.
    fn without_huge_pages(start: usize) -> usize {
        let place = ptr::with_exposed_provenance_mut(start);
        // SAFETY: a mapping that was made here. OK to fail, because a kernel without huge pages refuses.
        unsafe { libc::madvise(place, CHUNK_LEN, libc::MADV_NOHUGEPAGE) };
        start
    }

    /// Makes pages resident that were not used yet.
    pub(super) fn make_resident(start: usize, len: usize) {
        // SAFETY: pages of a mapping that was made here. OK to fail, because page faults do the same: before Linux 5.14, or if
        // there is no memory.
        unsafe {
            libc::madvise(ptr::with_exposed_provenance_mut(start), len, libc::MADV_POPULATE_WRITE)
        };
    }

    /// Makes pages read as zeros.
    pub(super) fn give_back(start: usize, len: usize) {
        // SAFETY: pages of a mapping that was made here. What is in them is `Transient`: valid as zeros.
        unsafe { libc::madvise(ptr::with_exposed_provenance_mut(start), len, libc::MADV_DONTNEED) };
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod sys {
    pub(super) fn map(_: usize) -> Option<usize> {
        None
    }

    pub(super) fn map_chunk(_: usize) -> Option<usize> {
        None
    }

    pub(super) fn make_resident(_: usize, _: usize) {}

    pub(super) fn give_back(_: usize, _: usize) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::transient::{TransientSlice, WordRef};
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn arena() -> (&'static Arena, Home) {
        let arena: &'static Arena = Box::leak(Box::new(Arena::new()));
        (arena, Home::in_arena(arena))
    }

    #[test]
    fn a_page_reads_as_zeros_when_all_that_was_placed_in_it_is_released() {
        let (arena, home) = arena();
        let words: Vec<&AtomicU64> =
            (1..=300_000).map(|value| home.place(AtomicU64::new(value))).collect();
        assert!(arena.is_used());
        let value = |at: usize| words[at].load(Ordering::Relaxed);
        // All but one word of each thousand.
        let mut release = Release::new(home);
        words
            .iter()
            .enumerate()
            .filter(|(at, _)| at % 1000 != 7)
            .for_each(|(_, word)| release.value(*word));
        drop(release);
        let kept = (0..words.len()).filter(|at| at % 1000 == 7);
        kept.clone().for_each(|at| assert_eq!(value(at), at as u64 + 1));
        let mut release = Release::new(home);
        kept.for_each(|at| release.value(words[at]));
        drop(release);
        let zeros = (0..words.len()).filter(|at| value(*at) == 0).count();
        // The first page of a chunk stays, and the last one that is in use.
        assert!(zeros > words.len() - 4 * PAGE_LEN / 8 && value(0) == 1, "{zeros}");
    }

    #[test]
    fn long_slices_are_given_back_and_values_on_the_heap_stay() {
        let (_, home) = arena();
        for len in [1, 100, MAX_IN_CHUNK / 8, MAX_IN_CHUNK] {
            let of_arena = home.slice((0..len).map(|_| AtomicU64::new(5)).collect());
            let of_heap = Home::HEAP.slice((0..len).map(|_| AtomicU64::new(5)).collect());
            assert!(of_arena.iter().chain(of_heap).all(|it| it.load(Ordering::Relaxed) == 5));
            let mut release = Release::new(home);
            release.slice(of_arena);
            release.slice(of_heap);
            drop(release);
            assert!(of_heap.iter().all(|it| it.load(Ordering::Relaxed) == 5));
            let is_long = len == MAX_IN_CHUNK;
            assert_eq!(of_arena[len - 1].load(Ordering::Relaxed) == 0, is_long);
        }
    }

    #[test]
    fn addresses_in_memory_that_was_given_back_are_those_of_the_sink_and_of_zeros() {
        static WORD: AtomicU64 = AtomicU64::new(3);
        static BYTES: [u8; 3] = *b"abc";
        let (_, home) = arena();
        let places: Vec<(&WordRef, &TransientSlice<u8>)> = (0..3 * PAGE_LEN)
            .map(|_| (home.place(WordRef::new(&WORD)), home.place(TransientSlice::new(&BYTES))))
            .collect();
        let mut release = Release::new(home);
        for (word, bytes) in &places {
            release.value(*word);
            release.value(*bytes);
        }
        drop(release);
        let given_back = places.iter().filter(|(word, _)| !ptr::eq(word.get(), &raw const WORD));
        let mut count = 0;
        for (word, bytes) in given_back {
            word.get().store(9, Ordering::Relaxed);
            // The address and the length may be in different pages.
            assert!(matches!(bytes.get(), b"" | b"abc" | [0, 0, 0]));
            count += 1;
        }
        assert!(count > PAGE_LEN && WORD.load(Ordering::Relaxed) == 3, "{count}");
    }
}

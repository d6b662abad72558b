//! Memory that is given back to the kernel while threads may still access it.
//!
//! Handles are addresses, and a thread may be interrupted in a recording for any time. So memory of removed series is neither
//! unmapped nor used again: its pages become pages of zeros (`MADV_DONTNEED`). Whoever still reads them finds zeros, and
//! whoever still writes them changes memory that belongs to nothing. What is in such memory is [`Transient`].
//!
//! Addresses that a recording follows without a check are stored as distances to a fixed address, at which a word is mapped
//! whose value is never exported. A word of zeros is then the address of that word. On x86-64 this costs nothing, because the fixed
//! address is a part of the instruction that follows the address.
//!
//! See: madvise(2), MADV_DONTNEED; mmap(2), MAP_FIXED_NOREPLACE (Linux 4.17).
#![expect(unsafe_code, reason = "addresses that are stored as numbers")]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::{ptr, slice, str};

use super::StaticRef;

/// The address of the word to which late recordings are written. Neither a program nor a library is usually loaded there.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) const SINK: usize = 0x6f00_0000;
/// Elsewhere no memory is given back, so no distance is 0.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(super) const SINK: usize = 1 << 16;

/// The bytes of the sink.
pub(super) const SINK_LEN: usize = 1 << 16;

/// The address of bytes that are always 0, after the sink.
pub(super) const ZEROS: usize = SINK + SINK_LEN;

/// The number of these bytes, and the greatest length in bytes of a [`TransientSlice`] in memory that may be given back.
pub(crate) const MAX_SLICE_LEN: usize = 1 << 20;

/// What may be in memory that is given back.
///
/// # Safety
///
/// Zeros are a valid value. All fields may become zeros at any time, one after the other, and then have any value that is
/// stored later: code that reads them after that follows no address but those of this module and of [`StaticRef`], reads no
/// more than one field for one decision, and records nothing in another series. A field that is not an atomic is read, but never changed,
/// while the memory is in use.
pub unsafe trait Transient: Sync {}

// SAFETY: a number.
unsafe impl Transient for u8 {}
// SAFETY: a number.
unsafe impl Transient for f64 {}
// SAFETY: numbers.
unsafe impl Transient for [u64; 2] {}
// SAFETY: a number.
unsafe impl Transient for AtomicU32 {}
// SAFETY: a number.
unsafe impl Transient for AtomicU64 {}
// SAFETY: zeros are no address.
unsafe impl<T: Sync> Transient for StaticRef<T> {}
// SAFETY: zeros are the address of the sink.
unsafe impl Transient for WordRef {}
// SAFETY: see `TransientSlice::get`.
unsafe impl<T: Transient> Transient for TransientSlice<T> {}
// SAFETY: as its bytes.
unsafe impl Transient for TransientStr {}
// SAFETY: two of them.
unsafe impl Transient for [TransientStr; 2] {}

/// The address of a word that lives as long as the process. Zeros are the address of the sink.
pub(crate) struct WordRef(AtomicUsize);

impl WordRef {
    pub(crate) fn new(word: &'static AtomicU64) -> WordRef {
        WordRef(AtomicUsize::new(WordRef::distance(word)))
    }

    fn distance(word: &'static AtomicU64) -> usize {
        ptr::from_ref(word).expose_provenance().wrapping_sub(SINK)
    }

    #[inline]
    pub(crate) fn get(&self) -> &'static AtomicU64 {
        // ORDERING: acquire, to see the word that was written before the address was published.
        let address = self.0.load(Ordering::Acquire).wrapping_add(SINK);
        // SAFETY: from a `&'static AtomicU64`, as every store here is, or that of the sink, which is mapped before memory is
        // given back.
        unsafe { &*ptr::with_exposed_provenance(address) }
    }

    pub(crate) fn set(&self, word: &'static AtomicU64) {
        self.0.store(WordRef::distance(word), Ordering::Release);
    }
}

/// The address and the length of a slice that lives as long as the process. Zeros are an empty slice.
pub(crate) struct TransientSlice<T: 'static> {
    // Not atomics, so that the compiler leaves out loads. It may also repeat them, as any combination of values is right.
    /// The address less that of the zeros. A pointer, so that the compiler adds the difference in each load.
    before: *const T,
    len: usize,
    marker: PhantomData<&'static [T]>,
}

// SAFETY: as a `&'static [T]`.
unsafe impl<T: Sync> Send for TransientSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for TransientSlice<T> {}

impl<T: Transient> TransientSlice<T> {
    /// In memory that may be given back, the slice has at most [`MAX_SLICE_LEN`] bytes.
    pub(crate) fn new(slice: &'static [T]) -> TransientSlice<T> {
        let before = slice.as_ptr().wrapping_byte_sub(ZEROS);
        let before = if slice.is_empty() { ptr::null() } else { before };
        TransientSlice { before, len: slice.len(), marker: PhantomData }
    }

    /// The slice, of which any part may have become zeros.
    #[inline]
    pub(crate) fn get(&self) -> &'static [T] {
        // SAFETY: both are from a `&'static [T]`. If the address became 0, this is that of the zeros, which are more than the length.
        // If the length did, nothing is accessed.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address, for a prefetch.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const T {
        self.before.wrapping_byte_add(ZEROS)
    }
}

/// As a [`TransientSlice`], with text.
pub(crate) struct TransientStr(TransientSlice<u8>);

impl TransientStr {
    pub(crate) fn new(text: &'static str) -> TransientStr {
        TransientStr(TransientSlice::new(text.as_bytes()))
    }

    #[inline]
    pub(crate) fn get(&self) -> &'static str {
        // SAFETY: the bytes of a text, of which whole pages may have become zeros. Characters that are cut at the end of a page
        // are only compared and copied as bytes.
        unsafe { str::from_utf8_unchecked(self.0.get()) }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_slices_are_those_that_were_stored() {
        static WORDS: [AtomicU64; 2] = [AtomicU64::new(7), AtomicU64::new(8)];
        let word = WordRef::new(&WORDS[0]);
        assert!(ptr::eq(word.get(), &raw const WORDS[0]));
        word.set(&WORDS[1]);
        assert!(ptr::eq(word.get(), &raw const WORDS[1]));
        assert!(ptr::eq(TransientSlice::new(&WORDS).get(), &raw const WORDS));
        assert!(TransientSlice::<u8>::new(&[]).is_empty());
        assert_eq!(TransientSlice::<u8>::new(&[]).get(), b"");
        assert_eq!(TransientStr::new("text").get(), "text");
    }
}

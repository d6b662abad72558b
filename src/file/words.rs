//! Buffers of 8-byte words that files are read into.
#![expect(unsafe_code, reason = "views of words as bytes")]

/// A cache line. The kernel copies more than twice as fast into buffers that are aligned to one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Line([u64; WORDS_PER_LINE]);

/// The words of a line.
pub(crate) const WORDS_PER_LINE: usize = 8;

/// Views lines as words.
pub(crate) fn words_of_mut(lines: &mut [Line]) -> &mut [u64] {
    let len = size_of_val(lines) / size_of::<u64>();
    // SAFETY: the same memory for the same lifetime; a line consists of words, and any words are valid.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
}

/// Views words as bytes. The bytes are 8-aligned, so the kernel copies each value whole.
pub(crate) fn bytes_of_mut(words: &mut [u64]) -> &mut [u8] {
    let len = size_of_val(words);
    // SAFETY: the same memory for the same lifetime; u64 has no padding, and any bytes are valid.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
}

/// Views words as bytes.
pub(crate) fn bytes_of(words: &[u64]) -> &[u8] {
    // SAFETY: the same memory for the same lifetime; u64 has no padding.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
}

//! Prefetches memory that will be read soon.
#![expect(unsafe_code, reason = "a processor hint")]

/// Hints the processor to load the cache line at `address`. Any address is allowed.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint that accesses no memory: any address is allowed.
        unsafe { _mm_prefetch(address.cast(), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Hints the processor to load all cache lines of a value.
pub(crate) fn prefetch_all<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    (0..size_of::<T>()).step_by(64).for_each(|at| prefetch(start.wrapping_add(at)));
}

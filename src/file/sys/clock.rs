//! The clock of the kernel's timer ticks.
#![expect(unsafe_code, reason = "a system call")]

use std::mem::MaybeUninit;

/// Returns the time of the last timer tick, in nanoseconds since an unspecified point. Ticks are 1 to 10 ms apart, so two
/// calls within one tick return the same. Costs a few nanoseconds, as the kernel's page is read without a system call.
pub(crate) fn tick() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `time` is large enough for the result.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, time.as_mut_ptr()) };
    if result != 0 {
        return 0;
    }
    // SAFETY: clock_gettime returned 0, so it filled the structure.
    let time = unsafe { time.assume_init() };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

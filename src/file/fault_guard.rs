//! A SIGBUS handler that lets an exporter map files that other processes may truncate.
//!
//! A load beyond the end of a mapped file raises SIGBUS. The handler maps a page of zeros there instead and marks the
//! mapping, whose reader then reads the file again.
#![expect(unsafe_code, reason = "a signal handler")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::sys;

/// The page size, stored by [`guard_mappings`] for the signal handler.
static PAGE_LEN: AtomicUsize = AtomicUsize::new(0);

/// Returns the start of the page that contains an address.
const fn page_start(address: usize, page_len: usize) -> usize {
    address - address % page_len
}

/// The addresses of one mapping. Written by the owner of the mapping, read by the signal handler.
pub(super) struct GuardedRange {
    /// 0 if the slot is free.
    end: AtomicUsize,
    start: AtomicUsize,
    /// Set by the signal handler.
    has_faulted: AtomicBool,
}

/// The most mappings at a time. Other files are read without one.
const MAX_GUARDED: usize = 16 * 1024;

static GUARDED: [GuardedRange; MAX_GUARDED] = [const {
    let (end, start) = (AtomicUsize::new(0), AtomicUsize::new(0));
    GuardedRange { end, start, has_faulted: AtomicBool::new(false) }
}; MAX_GUARDED];

/// The slot at which the next search for a free one begins.
static NEXT_GUARDED: AtomicUsize = AtomicUsize::new(0);

/// Whether the signal handler is installed.
static IS_GUARDED: AtomicBool = AtomicBool::new(false);

/// The `end` of a slot that is being filled.
const CLAIMED: usize = 1;

impl GuardedRange {
    /// Takes a slot for a mapping; `None` if all are taken.
    pub(super) fn claim(start: usize, end: usize) -> Option<&'static GuardedRange> {
        let first = NEXT_GUARDED.fetch_add(1, Ordering::Relaxed);
        let ranges = (0..MAX_GUARDED).map(|at| &GUARDED[(first + at) % MAX_GUARDED]);
        for range in ranges {
            let free = range.end.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed);
            if free.is_ok() {
                range.has_faulted.store(false, Ordering::Relaxed);
                range.start.store(start, Ordering::Relaxed);
                // ORDERING: release, so that a handler that sees the end sees the start.
                range.end.store(end, Ordering::Release);
                return Some(range);
            }
        }
        None
    }

    /// Frees the slot.
    pub(super) fn release(&self) {
        self.end.store(0, Ordering::Release);
    }

    /// Whether a load from the mapping has faulted.
    pub(super) fn has_faulted(&self) -> bool {
        self.has_faulted.load(Ordering::Acquire)
    }
}

/// Returns the page size if mappings are guarded.
pub(super) fn page_len() -> Option<usize> {
    IS_GUARDED.load(Ordering::Acquire).then(|| PAGE_LEN.load(Ordering::Relaxed))
}

/// Installs the SIGBUS handler, which makes loads beyond the end of a mapped file return 0.
///
/// The handler belongs to the whole process, so only programs that do nothing but export call this. Other faults
/// terminate the process, as they would without the handler.
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
    // SAFETY: the kernel passes a valid pointer to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: for SIGBUS the kernel sets the address.
    let address = unsafe { info.si_addr() } as usize;
    let holds = |range: &&GuardedRange| {
        let end = range.end.load(Ordering::Acquire);
        address < end && range.start.load(Ordering::Relaxed) <= address
    };
    if let Some(range) = GUARDED.iter().find(holds) {
        range.has_faulted.store(true, Ordering::Release);
        let page_len = PAGE_LEN.load(Ordering::Relaxed);
        let page = page_start(address, page_len);
        // SAFETY: replaces a page of a `ReadMap`, which is accessed by loads of words only; mmap is a bare system
        // call and so async-signal-safe.
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
    // The instruction is executed again and terminates the process as it would without a handler.
    // SAFETY: takes integers only.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_an_address_is_found_for_every_page_size() {
        for page_len in [4096, 16 * 1024, 64 * 1024] {
            let first = 7 * 64 * 1024;
            for at in [0, 1, 4095, 4096, 5000, page_len - 1] {
                assert_eq!(page_start(first + at % page_len, page_len), first, "{page_len} {at}");
            }
            assert_eq!(page_start(first + page_len, page_len), first + page_len);
        }
        assert!(sys::page_len().is_power_of_two() && sys::page_len() >= 4096);
    }
}

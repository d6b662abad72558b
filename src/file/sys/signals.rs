//! Guards that block signals in one thread.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

/// Blocks signals that a call in this thread may raise, and consumes them after the call.
pub(in crate::file) struct TakenSignals {
    signals: libc::sigset_t,
    before: libc::sigset_t,
}

impl TakenSignals {
    pub(in crate::file) fn new(signals: &[libc::c_int]) -> io::Result<TakenSignals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: initialized above.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: the set is valid, and the number is that of a signal.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        let mut before = set;
        // SAFETY: both sets are valid; only the mask of this thread changes.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // If the host has blocked a signal, a pending one belongs to the host and is not consumed.
        for signal in signals {
            // SAFETY: the set is valid, and the number is that of a signal.
            let had_blocked = unsafe { libc::sigismember(&raw const before, *signal) } == 1;
            if had_blocked {
                // SAFETY: as above.
                unsafe { libc::sigdelset(&raw mut set, *signal) };
            }
        }
        Ok(TakenSignals { signals: set, before })
    }

    /// Consumes signals that were raised meanwhile, and restores the mask of the thread.
    pub(in crate::file) fn restore(self) {
        let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            // SAFETY: set and time are valid; no information about the signal is requested.
            let taken = unsafe {
                libc::sigtimedwait(&raw const self.signals, ptr::null_mut(), &raw const no_wait)
            };
            if taken < 0 {
                break;
            }
        }
        // SAFETY: `before` is the mask that pthread_sigmask returned.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

/// The signals that a thread raises by its own instructions. If one of them is blocked, the kernel terminates the process
/// without calling its handler.
///
/// See: sigprocmask(2), NOTES; seccomp(2), `SECCOMP_RET_TRAP`.
const SYNCHRONOUS_SIGNALS: [libc::c_int; 6] =
    [libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

/// Blocks all signals but [`SYNCHRONOUS_SIGNALS`] in this thread until it is dropped.
pub(crate) struct BlockedSignals {
    before: libc::sigset_t,
    /// Each thread has its own mask.
    _not_send: PhantomData<*const ()>,
}

impl BlockedSignals {
    pub(crate) fn new() -> io::Result<BlockedSignals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initializes the set.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: initialized above.
        let mut set = unsafe { set.assume_init() };
        for signal in SYNCHRONOUS_SIGNALS {
            // SAFETY: the set is valid, and the number is that of a signal.
            unsafe { libc::sigdelset(&raw mut set, signal) };
        }
        let mut before = set;
        // SAFETY: both sets are valid; only the mask of this thread changes.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        Ok(BlockedSignals { before, _not_send: PhantomData })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` is the mask that pthread_sigmask returned for this thread.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}

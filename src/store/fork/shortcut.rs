//! A word that threads of one process use without a lock and without looking at anything else.

use std::sync::atomic::{AtomicU64, Ordering};

use super::bound::NO_EPOCH;
use super::epoch::{epoch, seen_epoch};
use super::slow_path::SlowPath;
use crate::fork_safe::WordRef;

/// The address of a word, and the process in which it may be used.
///
/// Set and cleared under the lock of the slow path; read by all threads. A thread that has found the shortcut open may still
/// use the word after it is closed.
///
/// In memory that was given back, a child that has not drawn its epoch finds the shortcut open, and the word is the sink.
// Aligned, so that both are in one page: an epoch that became zeros beside a word that did not would be taken for open.
#[repr(align(16))]
pub(crate) struct Shortcut {
    /// The epoch of the process in which the shortcut is open, else [`NO_EPOCH`].
    epoch: AtomicU64,
    word: WordRef,
}

impl Shortcut {
    /// Creates a closed shortcut. Its word is not used for anything.
    pub(crate) fn closed(word: &'static AtomicU64) -> Shortcut {
        Shortcut { epoch: AtomicU64::new(NO_EPOCH), word: WordRef::new(word) }
    }

    /// Whether this process may use the word. One comparison shows that the shortcut is open and that the process is not
    /// a child of the one that opened it.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        // ORDERING: acquire, so that the word is at least as new as its epoch.
        self.epoch.load(Ordering::Acquire) == seen_epoch()
    }

    /// The word. The caller has found the shortcut open.
    #[inline]
    pub(crate) fn word(&self) -> &'static AtomicU64 {
        self.word.get()
    }

    /// Opens the shortcut for this process.
    pub(crate) fn open(&self, word: &'static AtomicU64, _lock: &SlowPath) {
        self.word.set(word);
        // ORDERING: release, after the word.
        self.epoch.store(epoch(), Ordering::Release);
    }

    /// Closes the shortcut. Called under the lock of the slow path.
    pub(crate) fn close(&self) {
        self.epoch.store(NO_EPOCH, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork::lock;
    use std::ptr;

    #[test]
    fn a_shortcut_is_open_from_its_opening_until_it_is_closed() {
        static NOTHING: AtomicU64 = AtomicU64::new(0);
        static WORD: AtomicU64 = AtomicU64::new(5);
        let shortcut = Shortcut::closed(&NOTHING);
        assert!(!shortcut.is_open());
        shortcut.open(&WORD, &lock().unwrap());
        assert!(shortcut.is_open() && ptr::eq(shortcut.word(), &raw const WORD));
        shortcut.close();
        assert!(!shortcut.is_open());
    }
}

//! The token of a thread, which says what it owns and in which process.
//!
//! A thread that owns an index has a token: the epoch of the process and the index. The thread keeps it, and
//! it stands in a word of the page that a forked child finds wiped. So one comparison tells a recording
//! thread both that the process is still the same and which cells it may write: those that bear its
//! token. In a child the word may have the token of another thread by then, which is another one, as the
//! epoch is.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fork::{self, PerProcess};
use super::owners::{MAX_OWNERS, Owners};

/// The word of threads that own no index.
static NO_OWNER: AtomicU64 = AtomicU64::new(0);
/// The same for threads whose thread-local values are being dropped: they take no index any more.
static ENDED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<(&'static AtomicU64, Token)> = const { Cell::new((&NO_OWNER, Token(0))) };
    static END: End = const { End };
}

static OWNERS: PerProcess<Owners> = PerProcess::new();

/// Names a thread that owns an index in one process. 0 names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Token {
    fn new(epoch: u64, index: usize) -> Token {
        Token(epoch * MAX_OWNERS as u64 + index as u64)
    }

    /// The index; of no token, whatever.
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0 as usize % MAX_OWNERS
    }

    #[inline]
    pub(super) fn epoch(self) -> u64 {
        self.0 / MAX_OWNERS as u64
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        self.0
    }
}

/// Gives the index back when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let token = token();
        let (word, _) = OWN.replace((&ENDED, Token(0)));
        if token.epoch() == fork::epoch() {
            word.store(0, Ordering::Relaxed);
            OWNERS.get_or_create(Owners::new).give_back(token.index());
        }
    }
}

/// The token of this thread, or 0.
#[inline]
pub(crate) fn token() -> Token {
    let (word, token) = OWN.get();
    if word.load(Ordering::Relaxed) == token.0 { token } else { Token(0) }
}

/// The token of this thread, which takes an index if need be; `None` where all are taken, or the
/// thread is ending.
pub(crate) fn claim() -> Option<Token> {
    let epoch = fork::epoch();
    let token = token();
    if token.epoch() == epoch {
        return Some(token);
    }
    // The thread-local value whose drop gives the index back must exist before it is taken.
    if std::ptr::eq(OWN.get().0, &raw const ENDED) || END.try_with(|_| ()).is_err() {
        return None;
    }
    let index = OWNERS.get_or_create(Owners::new).take()?;
    let token = Token::new(epoch, index);
    let word = fork::owner_word(index);
    word.store(token.0, Ordering::Relaxed);
    OWN.set((word, token));
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_owned_by_one_thread_at_a_time_and_used_again() {
        let own = claim();
        assert_eq!(claim(), own);
        let other = std::thread::spawn(claim).join().unwrap();
        assert_ne!(other, own);
        for _ in 0..100 {
            std::thread::spawn(|| assert!(claim().is_some())).join().unwrap();
        }
    }

    #[test]
    fn a_thread_that_ends_takes_no_index_any_more() {
        thread_local!(static LATE: Late = const { Late });
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                // Whichever of the two is dropped first, this must not hang or panic.
                let _ = claim();
            }
        }
        std::thread::spawn(|| {
            LATE.with(|_| ());
            claim();
        })
        .join()
        .unwrap();
    }
}

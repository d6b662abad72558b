//! The token of a thread, which identifies the cells that the thread owns and its process.
//!
//! A thread that owns an index has a token: the epoch of the process and the index. The token is in a word of
//! the page that a forked child finds wiped, and the thread keeps the address of that word. So one load
//! shows a recording thread both that the process is still the same and which cells it may write:
//! those that bear its token.
//!
//! Words are not assigned by index: the thread that forked keeps its word in the child, where another thread
//! may take its index first. Words of the parent's other threads are never used in the child.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fork::{self, AtomicTag, Inside, PerProcess, Tag};
use super::owners::{MAX_OWNERS, Owners};

/// The word of all threads that own no index.
static NO_OWNER: AtomicTag = AtomicTag::new();
/// The word of threads whose thread-local values are being dropped. They take no index any more.
static ENDED: AtomicTag = AtomicTag::new();

thread_local! {
    static WORD: Cell<&'static AtomicTag> = const { Cell::new(&NO_OWNER) };
    static END: End = const { End };
}

static OWNERS: PerProcess<Owners> = PerProcess::new();

/// The index of the first word that no thread of this process or of its ancestors has had.
static NEXT_WORD: AtomicUsize = AtomicUsize::new(0);
/// The words of threads of this process that have ended.
static FREE_WORDS: PerProcess<Mutex<Vec<&'static AtomicTag>>> = PerProcess::new();

fn free_words() -> MutexGuard<'static, Vec<&'static AtomicTag>> {
    let words = FREE_WORDS.get_or_create(|| Mutex::new(Vec::new()));
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a word that no other thread has. Returns `None` after many generations of forks.
fn take_word() -> Option<&'static AtomicTag> {
    let free = free_words().pop();
    free.or_else(|| fork::owner_word(NEXT_WORD.fetch_add(1, Ordering::Relaxed)))
}

/// Identifies a thread that owns an index in one process. 0 identifies none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(Tag);

impl Token {
    fn new(epoch: u64, index: usize) -> Token {
        Token(Tag::new(epoch * MAX_OWNERS as u64 + index as u64))
    }

    /// Returns the index; any value if the token is 0.
    #[inline]
    pub(super) fn index(self) -> usize {
        self.0.bits() as usize % MAX_OWNERS
    }

    #[inline]
    pub(super) fn epoch(self) -> u64 {
        self.0.bits() / MAX_OWNERS as u64
    }

    #[inline]
    pub(super) fn tag(self) -> Tag {
        self.0
    }
}

/// Releases the index when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let word = WORD.replace(&ENDED);
        let token = Token(word.swap(Tag::new(0), Ordering::Relaxed));
        if token.epoch() == fork::epoch() {
            OWNERS.get_or_create(Owners::new).release(token.index());
        }
        if !std::ptr::eq(word, &raw const NO_OWNER) {
            free_words().push(word);
        }
    }
}

/// Returns the token of this thread, or 0.
#[inline]
pub(crate) fn token() -> Token {
    Token(WORD.get().load(Ordering::Relaxed))
}

/// Returns the token of this thread, which takes an index if necessary. Returns `None` if all are taken or the
/// thread is ending.
pub(crate) fn claim(_inside: &Inside) -> Option<Token> {
    let epoch = fork::epoch();
    let token = token();
    if token.epoch() == epoch {
        return Some(token);
    }
    // The thread-local value whose drop releases the index must exist before the index is taken.
    let word = WORD.get();
    if std::ptr::eq(word, &raw const ENDED) || END.try_with(|_| ()).is_err() {
        return None;
    }
    let index = OWNERS.get_or_create(Owners::new).take()?;
    let is_first = std::ptr::eq(word, &raw const NO_OWNER);
    let Some(word) = (if is_first { take_word() } else { Some(word) }) else {
        OWNERS.get_or_create(Owners::new).release(index);
        return None;
    };
    let token = Token::new(epoch, index);
    word.store(token.0, Ordering::Relaxed);
    WORD.set(word);
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Option<Token> {
        super::claim(&fork::enter().unwrap())
    }

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
                // Whichever of the two values is dropped first, this must not hang or panic.
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

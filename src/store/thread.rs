//! The index of a thread, under which it owns cells.
//!
//! A thread keeps its index in a thread-local word that has no destructor. Whether that index holds is
//! written beside the epoch, in the page that a forked child finds wiped: there the entry of each owner
//! has the epoch in which it took its index. So one comparison tells a recording thread both that
//! the process is still the same and that it owns what it is about to write.

use std::cell::Cell;

use super::fork::{self, PerProcess};
use super::owners::{MAX_OWNERS, Owners};

/// The entry of a thread without an index; its epoch stays 0.
const NONE: usize = MAX_OWNERS;
/// The same for a thread whose thread-local values are being dropped: it takes no index any more.
const ENDED: usize = MAX_OWNERS + 1;

/// Entries in the page.
pub(super) const ENTRIES: usize = MAX_OWNERS + 2;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(NONE) };
    static END: End = const { End };
}

static OWNERS: PerProcess<Owners> = PerProcess::new();

/// Gives the index back when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let index = INDEX.replace(ENDED);
        if index < MAX_OWNERS && fork::owner_epoch(index) == fork::epoch() {
            fork::set_owner_epoch(index, 0);
            OWNERS.get_or_create(Owners::new).give_back(index);
        }
    }
}

/// The epoch in which this thread took its index, 0 if it has none in this process, and the index.
#[inline]
pub(crate) fn owner() -> (u64, usize) {
    let index = INDEX.get();
    (fork::owner_epoch(index), index)
}

/// The index of this thread, taken if need be; `None` where all are taken, or the thread is ending.
pub(crate) fn claim() -> Option<usize> {
    let epoch = fork::epoch();
    let (owned_in, index) = owner();
    if owned_in == epoch {
        return Some(index);
    }
    // The thread-local value whose drop gives the index back must exist before it is taken.
    if index == ENDED || END.try_with(|_| ()).is_err() {
        return None;
    }
    let index = OWNERS.get_or_create(Owners::new).take()?;
    fork::set_owner_epoch(index, epoch);
    INDEX.set(index);
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_owned_by_one_thread_at_a_time_and_used_again() {
        let own = claim();
        assert_eq!(claim(), own);
        let other = std::thread::spawn(|| claim().unwrap()).join().unwrap();
        assert_ne!(Some(other), own);
        for _ in 0..100 {
            let next = std::thread::spawn(|| claim().unwrap()).join().unwrap();
            assert!(next < MAX_OWNERS);
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

//! Cells of one series, split by thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fork::{self, StaticRef};
use super::owners::MAX_OWNERS;
use super::thread::Token;

/// No thread has this token.
const NO_TOKEN: u64 = u64::MAX;

/// The cells of a series in this process: some that one thread owns each, some that all may share.
///
/// `C` is what one thread needs for a series: of a counter one word, of a histogram one for each
/// bucket. Only the owner writes owned cells. All are entries of their own in the series file, which
/// readers add up.
pub struct Split<C: 'static> {
    /// The process that these cells belong to.
    epoch: u64,
    /// The token of the thread that recorded here first, and its cells once more: a short cut. Set once
    /// together, the token last; a later owner of the index has the same token and the same cells.
    first_token: AtomicU64,
    first: StaticRef<C>,
    owned: [StaticRef<C>; MAX_OWNERS],
    shared: StaticRef<C>,
    /// Cells of this process that nobody records into any more: their files were lost or closed.
    former: Option<&'static Split<C>>,
}

/// Cells, and how they may be written.
pub(crate) enum Claimed<C: 'static> {
    /// By plain loads and stores: this thread is their only writer.
    Owned(&'static C),
    /// Atomically: other threads write them too.
    Shared(&'static C),
}

impl<C: Sync> Split<C> {
    /// A split without cells, for this process, which goes on with what was counted in `former`.
    pub(crate) fn following(former: Option<&'static Split<C>>) -> Split<C> {
        Split { former, ..Split::new() }
    }

    fn new() -> Split<C> {
        Split {
            epoch: fork::epoch(),
            first_token: AtomicU64::new(NO_TOKEN),
            first: StaticRef::empty(),
            owned: [const { StaticRef::empty() }; MAX_OWNERS],
            shared: StaticRef::empty(),
            former: None,
        }
    }

    /// A split for this process that goes on with the cells of its parent, which are on the heap.
    pub(crate) fn inherit(parent: &Split<C>) -> Split<C> {
        let split = Split::new();
        for (own, inherited) in split.owned.iter().zip(&parent.owned) {
            own.copy(inherited);
        }
        split.shared.copy(&parent.shared);
        split
    }

    /// The cells that the thread with this token owns, if it has recorded here.
    #[inline]
    pub(crate) fn owned(&self, token: Token) -> Option<&'static C> {
        // ORDERING: acquire, so that the cells are there.
        if self.first_token.load(Ordering::Acquire) == token.bits() {
            return self.first.get();
        }
        if token.epoch() == self.epoch { self.owned[token.index()].get() } else { None }
    }

    pub(crate) fn shared(&self) -> Option<&'static C> {
        self.shared.get()
    }

    /// The cells for the thread with this token, made if need be. Called under the slow path's lock.
    pub(crate) fn claim(
        &self,
        token: Option<Token>,
        make: impl FnOnce() -> &'static C,
    ) -> Claimed<C> {
        let Some(token) = token else {
            let shared = &self.shared;
            return Claimed::Shared(shared.get().unwrap_or_else(|| shared.set_once(make())));
        };
        let owned = &self.owned[token.index()];
        let cells = owned.get().unwrap_or_else(|| owned.set_once(make()));
        if self.first_token.load(Ordering::Relaxed) == NO_TOKEN {
            self.first.set(cells);
            self.first_token.store(token.bits(), Ordering::Release);
        }
        Claimed::Owned(cells)
    }

    /// All cells, whoever writes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static C> {
        let splits = std::iter::successors(Some(self), |split| split.former);
        splits
            .flat_map(|split| split.owned.iter().chain([&split.shared]))
            .filter_map(StaticRef::get)
    }
}

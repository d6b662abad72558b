//! Cells of one series, split by thread.

use super::fork::StaticRef;
use super::owners::MAX_OWNERS;

/// The cells of a series in this process: some that one thread owns each, some that all may share.
///
/// `C` is what one thread needs for a series: of a counter one word, of a histogram one for each
/// bucket. Only the owner writes owned cells; nobody but [`crate::store::thread`] says who that is. All are
/// entries of their own in the series file, which readers add up.
pub struct Split<C: 'static> {
    owned: [StaticRef<C>; MAX_OWNERS],
    shared: StaticRef<C>,
}

/// Cells, and how they may be written.
pub(crate) enum Claimed<C: 'static> {
    /// By plain loads and stores: this thread is their only writer.
    Owned(&'static C),
    /// Atomically: other threads write them too.
    Shared(&'static C),
}

impl<C: Sync> Split<C> {
    pub(crate) const fn new() -> Split<C> {
        Split { owned: [const { StaticRef::empty() }; MAX_OWNERS], shared: StaticRef::empty() }
    }

    /// What the thread with this index owns. An index that is none gives whatever: the caller has
    /// compared epochs, and a thread without an index has none.
    #[inline]
    pub(crate) fn owned(&self, index: usize) -> Option<&'static C> {
        self.owned[index % MAX_OWNERS].get()
    }

    pub(crate) fn shared(&self) -> Option<&'static C> {
        self.shared.get()
    }

    /// The cells for the thread with this index, made if need be. Called under the slow path's lock.
    pub(crate) fn claim(
        &self,
        index: Option<usize>,
        make: impl FnOnce() -> &'static C,
    ) -> Claimed<C> {
        let (place, wrap): (_, fn(_) -> _) = match index {
            Some(index) => (&self.owned[index % MAX_OWNERS], Claimed::Owned),
            None => (&self.shared, Claimed::Shared),
        };
        wrap(place.get().unwrap_or_else(|| place.set_once(make())))
    }

    /// All cells, whoever writes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static C> {
        self.owned.iter().chain([&self.shared]).filter_map(StaticRef::get)
    }
}

//! Cells of one series, split by thread.

use std::sync::atomic::{AtomicU32, Ordering};

use super::fork::{self, SlowPath, StaticRef, Tagged};
use super::gate::Gate;
use super::owners::MAX_OWNERS;
use super::thread::Token;

/// The cells of a series in this process: some that one thread owns each, some that all may share.
///
/// `C` is what one thread needs for a series: of a counter one word, of a histogram one for each
/// bucket. Only the owner writes owned cells. All are entries of their own in the series file, which
/// readers add up.
// What scrapes read of most series comes first, in as few lines of the cache as there can be.
#[repr(C)]
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct Split<C: 'static> {
    /// The cells of the thread that recorded here first, by its token: at hand without another load. A
    /// later owner of the index has the same token and the same cells.
    first: Tagged<C>,
    /// The process that these cells belong to.
    epoch: u64,
    /// Which owners there are besides the first, a bit for each, so that a scrape need not look at all places.
    others: AtomicU32,
    shared: StaticRef<C>,
    /// Cells for all threads while the series waits. Those of earlier waits are linked to them.
    waiting: StaticRef<Waiting<C>>,
    /// Cells of this process that nobody records into any more: their files were lost or closed.
    former: Option<&'static Split<C>>,
    /// The first one's too.
    owned: [StaticRef<C>; MAX_OWNERS],
}

/// The cells of a waiting series.
pub(crate) struct Waiting<C: 'static> {
    gate: &'static Gate,
    cells: C,
    /// Cells of the wait before, whose values are in a file.
    former: Option<&'static Waiting<C>>,
}

impl<C> Waiting<C> {
    /// Records into the cells and returns `true`; returns `false` if they were moved into a file. `record` writes
    /// atomically.
    pub(crate) fn record(&self, record: impl FnOnce(&C)) -> bool {
        self.gate.pass(|| record(&self.cells))
    }
}

/// Cells, and how they may be written.
pub(crate) enum Claimed<C: 'static> {
    /// By plain loads and stores: this thread is their only writer.
    Owned(&'static C),
    /// Atomically: other threads write them too.
    Shared(&'static C),
    /// Through the gate.
    Waiting(&'static Waiting<C>),
}

impl<C: Sync> Split<C> {
    /// A split without cells, for this process, which goes on with what was counted in `former`.
    pub(crate) fn following(former: Option<&'static Split<C>>) -> Split<C> {
        Split { former, ..Split::new() }
    }

    fn new() -> Split<C> {
        Split {
            epoch: fork::epoch(),
            first: Tagged::empty(),
            others: AtomicU32::new(0),
            shared: StaticRef::empty(),
            waiting: StaticRef::empty(),
            former: None,
            owned: [const { StaticRef::empty() }; MAX_OWNERS],
        }
    }

    /// A split for this process that goes on with the cells of its parent, which are on the heap.
    pub(crate) fn inherit(parent: &Split<C>) -> Split<C> {
        let split = Split::new();
        for (own, inherited) in split.owned.iter().zip(&parent.owned) {
            own.copy(inherited);
        }
        split.shared.copy(&parent.shared);
        let others = (0..MAX_OWNERS).filter(|at| split.owned[*at].get().is_some());
        split.others.store(others.fold(0, |bits, at| bits | 1 << at), Ordering::Relaxed);
        split
    }

    /// The cells that the thread with this token owns, if it has recorded here.
    #[inline]
    pub(crate) fn owned(&'static self, token: Token) -> Option<&'static C> {
        let first = self.first.get(token.bits());
        if first.is_some() {
            return first;
        }
        if token.epoch() == self.epoch { self.owned[token.index()].get() } else { None }
    }

    pub(crate) fn shared(&self) -> Option<&'static C> {
        self.shared.get()
    }

    /// The waiting cells, or the moved ones of the last wait.
    pub(crate) fn waiting(&self) -> Option<&'static Waiting<C>> {
        self.waiting.get()
    }

    /// The cells for the thread with this token, made if need be. Gates are only closed under the slow path's lock, which
    /// the caller holds.
    pub(crate) fn claim(
        &'static self,
        token: Option<Token>,
        make: impl FnOnce() -> (C, Option<&'static Gate>),
        lock: &SlowPath,
    ) -> Claimed<C> {
        let place = token.map_or(&self.shared, |token| &self.owned[token.index()]);
        if let Some(cells) = place.get() {
            return if token.is_some() { Claimed::Owned(cells) } else { Claimed::Shared(cells) };
        }
        if let Some(waiting) = self.waiting.get().filter(|waiting| !waiting.gate.is_closed()) {
            return Claimed::Waiting(waiting);
        }
        let leak = |cells| &*Box::leak(Box::new(cells));
        let (cells, gate) = make();
        if let Some(gate) = gate {
            let waiting = Waiting { gate, cells, former: self.waiting.get() };
            let waiting = &*Box::leak(Box::new(waiting));
            self.waiting.set(waiting);
            return Claimed::Waiting(waiting);
        }
        let Some(token) = token else {
            return Claimed::Shared(place.set_once(leak(cells)));
        };
        Claimed::Owned(match self.first.fill(token.bits(), cells, lock) {
            Ok(first) => place.set_once(first),
            Err(cells) => {
                let cells = place.set_once(leak(cells));
                // ORDERING: release, so that who sees the bit sees the cells.
                self.others.fetch_or(1 << token.index(), Ordering::Release);
                cells
            }
        })
    }

    /// The cells of the thread that recorded first.
    pub(crate) fn first(&self) -> Option<&C> {
        self.first.any()
    }

    /// All cells, whoever writes them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &C> {
        let splits = std::iter::successors(Some(self), |split| split.former);
        splits.flat_map(|split| {
            let mut bits = split.others.load(Ordering::Acquire);
            let others = std::iter::from_fn(move || {
                let at = bits.trailing_zeros() as usize;
                let cells = split.owned.get(at)?.get();
                bits &= bits - 1;
                cells
            });
            let waiting = std::iter::successors(split.waiting.get(), |waiting| waiting.former);
            let waiting = waiting.map(|waiting| &waiting.cells);
            split.first.any().into_iter().chain(others).chain(split.shared.get()).chain(waiting)
        })
    }
}

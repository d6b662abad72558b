//! The cells of one series, split by thread.

use std::sync::atomic::{AtomicU32, Ordering};

use super::fork::{self, SlowPath, StaticRef, Tagged};
use super::gate::Gate;
use super::owners::MAX_OWNERS;
use super::thread::Token;

/// The cells of a series in this process: those that one thread owns, and those that all threads share.
///
/// `C` is the set of cells that one thread needs for a series: one word for a counter, one for each bucket for a
/// histogram. Only the owner writes owned cells. Each set has entries of its own in the series file, which readers add up.
// The fields that scrapes read for most series come first, in as few cache lines as possible.
#[repr(C)]
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct Split<C: 'static> {
    /// The cells of the thread that recorded here first, by its token. They are stored in place, which saves a load. A later
    /// owner of the same index has the same token and so the same cells.
    first: Tagged<C>,
    /// The epoch of the process that these cells belong to.
    epoch: u64,
    /// Bitmap of the other owners; scrapes skip unset slots.
    others: AtomicU32,
    shared: StaticRef<C>,
    /// Cells for all threads while the series waits. They link to those of earlier waits.
    waiting: StaticRef<Waiting<C>>,
    /// Former cells of this process, whose files were lost or closed. No thread records into them.
    former: Option<&'static Split<C>>,
    /// The totals when the series was removed, which are subtracted from what this process shows.
    base: StaticRef<C>,
    /// The cells of all owners by index, including the first.
    owned: [StaticRef<C>; MAX_OWNERS],
}

/// The cells of a waiting series.
pub(crate) struct Waiting<C: 'static> {
    gate: &'static Gate,
    cells: C,
    /// The cells of the previous wait, whose values are in a file.
    former: Option<&'static Waiting<C>>,
}

impl<C> Waiting<C> {
    /// Records into the cells and returns `true`, or returns `false` if they were moved to a file. `record` must use atomic
    /// additions.
    pub(crate) fn record(&self, record: impl FnOnce(&C)) -> bool {
        self.gate.pass(|| record(&self.cells))
    }
}

/// Cells, and how the thread may write them.
pub(crate) enum Claimed<C: 'static> {
    /// With plain loads and stores: this thread is their only writer.
    Owned(&'static C),
    /// With atomic additions: other threads write them too.
    Shared(&'static C),
    /// Through the gate.
    Waiting(&'static Waiting<C>),
}

impl<C: Sync> Split<C> {
    /// Creates a split without cells for this process. Values in `former` still count.
    pub(crate) fn following(former: Option<&'static Split<C>>) -> Split<C> {
        let split = Split { former, ..Split::new() };
        if let Some(former) = former {
            split.base.copy(&former.base);
        }
        split
    }

    fn new() -> Split<C> {
        Split {
            epoch: fork::epoch(),
            first: Tagged::empty(),
            others: AtomicU32::new(0),
            shared: StaticRef::empty(),
            waiting: StaticRef::empty(),
            former: None,
            base: StaticRef::empty(),
            owned: [const { StaticRef::empty() }; MAX_OWNERS],
        }
    }

    /// Creates a split for this process that continues with the cells of its parent, which are on the heap.
    pub(crate) fn inherit(parent: &Split<C>) -> Split<C> {
        let split = Split::new();
        for (own, inherited) in split.owned.iter().zip(&parent.owned) {
            own.copy(inherited);
        }
        split.shared.copy(&parent.shared);
        split.base.copy(&parent.base);
        let others = (0..MAX_OWNERS).filter(|at| split.owned[*at].get().is_some());
        split.others.store(others.fold(0, |bits, at| bits | 1 << at), Ordering::Relaxed);
        split
    }

    /// Returns the cells that the thread with this token owns, if it has recorded here.
    #[inline]
    pub(crate) fn owned(&'static self, token: Token) -> Option<&'static C> {
        let first = self.first.get(token.tag());
        if first.is_some() {
            return first;
        }
        if token.epoch() == self.epoch { self.owned[token.index()].get() } else { None }
    }

    /// Returns the shared cells, if there are any.
    pub(crate) fn shared(&self) -> Option<&'static C> {
        self.shared.get()
    }

    /// Returns the waiting cells, or those of the last wait, which were moved.
    pub(crate) fn waiting(&self) -> Option<&'static Waiting<C>> {
        self.waiting.get()
    }

    /// Returns the cells for the thread with this token, which `make` creates if necessary. No gate closes meanwhile, as
    /// that requires the lock of the slow path.
    pub(crate) fn claim(
        &'static self,
        token: Option<Token>,
        make: impl FnOnce() -> (C, Option<&'static Gate>),
        lock: &SlowPath,
    ) -> Claimed<C> {
        let slot = token.map_or(&self.shared, |token| &self.owned[token.index()]);
        if let Some(cells) = slot.get() {
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
            return Claimed::Shared(slot.set_once(leak(cells)));
        };
        Claimed::Owned(match self.first.fill(token.tag(), cells, lock) {
            Ok(first) => slot.set_once(first),
            Err(cells) => {
                let cells = slot.set_once(leak(cells));
                // ORDERING: release, so that a thread that sees the bit sees the cells.
                self.others.fetch_or(1 << token.index(), Ordering::Release);
                cells
            }
        })
    }

    /// Returns the cells of the thread that recorded first.
    pub(crate) fn first(&self) -> Option<&C> {
        self.first.any()
    }

    /// Returns the totals when the series was removed last.
    pub(crate) fn base(&self) -> Option<&'static C> {
        self.base.get()
    }

    /// Sets the cells that hold the totals when the series was removed last.
    pub(crate) fn set_base(&self, base: &'static C, _lock: &SlowPath) {
        self.base.set(base);
    }

    /// Iterates over all cells of this process.
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

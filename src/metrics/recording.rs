//! Recording into series whose cells threads own or share.

use super::core::{Child, SplitTyped};
use crate::model::clock::now;
use crate::store::contention;
use crate::store::fork::{self, Home, SlowPath};
use crate::store::thread::{self, Token};
use crate::store::{
    Claimed, Gate, OpenCells, Opened, Shared, Split, Store, Wish, recording_ignored,
};

/// Why a thread gets cells of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Compare-and-swaps on the series failed often.
    Contention,
    /// The thread records often there. Bounded by a budget.
    Frequency,
}

impl<M: SplitTyped> Child<M> {
    /// The cells that this thread owns, if it owns any: the fast path of recording.
    ///
    /// The storage may be that of an ancestor, but no cells in it have a token of this process.
    #[inline]
    pub(super) fn owned(&self) -> Option<&'static M::Cells> {
        self.bound_or_inherited()?.owned(thread::token())
    }

    #[inline]
    pub(super) fn record(&'static self, value: f64) {
        match self.owned() {
            Some(cells) => M::record(cells, value),
            None => self.record_shared(value),
        }
    }

    /// Records if this thread owns no cells of the series. Cold, so that the callers are laid out for owners.
    #[cold]
    #[inline(never)]
    pub(super) fn record_shared(&'static self, value: f64) {
        let Some(shared) = self.shared() else {
            return self.record_first(value);
        };
        let failures = M::record_shared(shared.cells(), value);
        let is_sample = contention::is_sample();
        if failures > 0 || is_sample {
            self.review(shared, failures, is_sample);
        }
    }

    /// The shared cells, if there are any.
    fn shared(&self) -> Option<&'static Shared<M::Cells>> {
        self.bound().and_then(Split::shared)
    }

    /// Gives this thread cells of its own if they are worth their space.
    #[cold]
    #[inline(never)]
    fn review(&'static self, shared: &Shared<M::Cells>, failures: u32, is_sample: bool) {
        let is_hot = is_sample && {
            shared.contention().decay();
            contention::sample(std::ptr::from_ref(self).addr())
        };
        let cause = if failures > 0 && shared.contention().add(failures) {
            Cause::Contention
        } else if is_hot {
            Cause::Frequency
        } else {
            return;
        };
        if self.promote(cause) {
            shared.contention().reset();
        } else {
            if cause == Cause::Contention {
                shared.contention().refuse();
            }
            contention::pause();
        }
    }

    /// Makes this thread the owner of cells. Returns whether it is.
    fn promote(&'static self, cause: Cause) -> bool {
        let (entries, budget) = (self.entries(), self.store().budget());
        if cause == Cause::Frequency && !budget.take(entries) {
            return false;
        }
        let is_owner = self.own();
        if cause == Cause::Frequency && !is_owner {
            budget.give_back(entries);
        }
        is_owner
    }

    fn own(&'static self) -> bool {
        // OK because a signal handler that interrupted the slow path has recorded into the shared cells.
        let Some(inside) = fork::enter() else {
            return false;
        };
        let token = thread::claim(&inside);
        let lock = inside.lock();
        // OK because the series may have been removed while this thread waited for the lock.
        token.is_some()
            && !self.is_removed()
            && matches!(self.claim(token, Wish::Own, &lock), Claimed::Owned(_))
    }

    /// The number of entries of one set of cells.
    fn entries(&self) -> u64 {
        M::samples(self.family().options()).count() as u64
    }

    /// Records if this thread owns no cells of the series and there are no shared ones: at the first recording in this
    /// process, at the second thread's first recording, or while the series waits.
    #[cold]
    #[inline(never)]
    fn record_first(&'static self, value: f64) {
        if self.is_removed() {
            return;
        }
        self.store().prepare();
        let Some(inside) = fork::enter() else {
            // A signal handler or an allocator that interrupted the slow path.
            if !self.record_waiting(value) && !self.add_shared(value) {
                recording_ignored();
            }
            return;
        };
        let token = thread::claim(&inside);
        if self.record_waiting(value) {
            drop(inside);
            return self.store().retry();
        }
        // Cells that an earlier thread with this index owned, or that no thread owns: of a series that was only registered, or of
        // the parent's threads in a forked child.
        let owned = token.and_then(|token| self.bound()?.owned_or_unowned(token));
        if let Some(cells) = owned {
            return M::record(cells, value);
        }
        let lock = inside.lock();
        // OK because the series may have been removed while this thread waited for the lock.
        if self.is_removed() {
            return;
        }
        match self.claim(token, Wish::Any, &lock) {
            Claimed::Owned(cells) => M::record(cells, value),
            Claimed::Shared(cells) => _ = M::record_shared(cells, value),
            Claimed::Waiting(cells) => _ = cells.record(|cells| _ = M::record_shared(cells, value)),
        }
    }

    /// Records into the shared cells, if there are any.
    fn add_shared(&self, value: f64) -> bool {
        let shared = self.shared();
        shared.inspect(|shared| _ = M::record_shared(shared.cells(), value)).is_some()
    }

    /// Records into the waiting cells, if there are any.
    fn record_waiting(&self, value: f64) -> bool {
        let waiting = self.bound().and_then(Split::waiting);
        waiting.is_some_and(|waiting| waiting.record(|cells| _ = M::record_shared(cells, value)))
    }

    /// The cells of this thread, created if necessary.
    fn claim(
        &'static self,
        token: Option<Token>,
        wish: Wish,
        lock: &SlowPath,
    ) -> Claimed<M::Cells> {
        self.bind(lock).claim(token, wish, &CellsOf(self), lock)
    }

    /// Records under the lock of the slow path, into cells that threads share: the thread that refreshes computed values
    /// takes none of the indexes of owners.
    pub(super) fn record_locked(&'static self, value: f64, lock: &SlowPath) {
        if self.is_removed() {
            return;
        }
        match self.claim(None, Wish::Any, lock) {
            Claimed::Owned(cells) | Claimed::Shared(cells) => _ = M::record_shared(cells, value),
            Claimed::Waiting(cells) => _ = cells.record(|cells| _ = M::record_shared(cells, value)),
        }
    }

    /// Exports the zeros of the series, whose cells no thread owns yet.
    pub(super) fn export_zeros(&'static self, lock: &SlowPath) {
        self.bind(lock).register(&CellsOf(self), lock);
    }
}

/// Creates the cells of a series.
struct CellsOf<M: SplitTyped>(&'static Child<M>);

impl<M: SplitTyped> OpenCells<M::Cells> for CellsOf<M> {
    fn open(&self) -> (M::Cells, Option<&'static Gate>) {
        let options = self.0.family().options();
        let Opened { cells, gate } = self.0.opener().open(M::samples(options), now());
        self.0.store().budget().add(cells.len() as u64);
        (M::cells(options, &cells, self.home()), gate)
    }

    fn open_more(&self) -> Option<M::Cells> {
        let options = self.0.family().options();
        let cells = self.0.opener().open_more(M::samples(options), now())?;
        Some(M::cells(options, &cells, self.home()))
    }

    fn max_owned(&self) -> usize {
        Store::max_owned(self.0.store())
    }

    fn home(&self) -> Home {
        self.0.home()
    }
}

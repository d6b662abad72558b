//! The cells of one series: those that threads own, and those that all other threads share.
#![expect(unsafe_code, reason = "what may be in memory that is given back")]

use std::sync::atomic::{AtomicU32, Ordering};

use super::contention::Contention;
use super::fork::{self, Home, Release, SlowPath, StaticRef, Tagged, Transient};
use super::gate::Gate;
use super::owners::MAX_OWNERS;
use super::thread::Token;

/// The cells of a series in this process: those that one thread owns, and those that all threads share.
///
/// `C` is the set of cells that one thread needs for a series: one word for a counter, one for each bucket for a
/// histogram. Only the owner writes owned cells. Each set has entries of its own in the series file, which readers add up.
///
/// The first set is owned by the thread that records first. All other threads share another one, until a thread is given
/// cells of its own. Owned cells never become shared ones: the plain stores of their owner would overwrite what
/// others add.
///
/// `A` is a type with the alignment of the split.
// What scrapes read of most series is in one cache line.
#[repr(C)]
#[allow(missing_debug_implementations, reason = "programs cannot name it")]
pub struct Split<C: 'static, A: 'static = ()> {
    alignment: [A; 0],
    /// The cells of the thread that recorded here first, by its token, or of none yet. They are stored in place, which saves a
    /// load. A later owner of the same index has the same token and so the same cells.
    first: Tagged<C>,
    /// The cells of the thread that was given its own first. Their address is beside the tag, so that this thread is about as
    /// fast as the first one.
    // In memory of zeros the tag matches threads without an index; they then find no address.
    second: Tagged<StaticRef<C>>,
    more: StaticRef<More<C, A>>,
}

/// The cells of all owners but the first two.
struct Others<C: 'static> {
    /// The epoch of the process in which the owners are threads.
    epoch: u64,
    /// Bitmap of the indexes that have cells; scrapes skip the rest.
    indexes: AtomicU32,
    cells: [StaticRef<C>; MAX_OWNERS],
}

/// The cells of all threads that own none.
pub(crate) struct Shared<C> {
    cells: C,
    contention: Contention,
}

impl<C> Shared<C> {
    pub(crate) fn cells(&self) -> &C {
        &self.cells
    }

    pub(crate) fn contention(&self) -> &Contention {
        &self.contention
    }
}

/// What most series do not have.
struct More<C: 'static, A: 'static> {
    shared: StaticRef<Shared<C>>,
    /// The cells of further owners.
    others: StaticRef<Others<C>>,
    /// Former cells of this process, whose files were lost or closed. No thread records into them.
    former: StaticRef<Split<C, A>>,
    /// Cells for all threads while the series waits. They link to those of earlier waits.
    waiting: StaticRef<Waiting<C>>,
    /// The totals when the series was removed, which are subtracted from what this process shows.
    base: StaticRef<C>,
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

/// The cells that a thread asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The shared ones, if there are any.
    Any,
    /// Cells of its own.
    Own,
}

/// Creates cells.
pub(crate) trait OpenCells<C> {
    /// Creates the cells of a series without any. They have a gate if the series waits.
    fn open(&self) -> (C, Option<&'static Gate>);

    /// Creates further cells, unless they cannot be written.
    fn open_more(&self) -> Option<C>;

    /// The most sets of cells that threads own.
    fn max_owned(&self) -> usize;

    /// Where cells are placed.
    fn home(&self) -> Home;
}

// SAFETY: zeros are cells that bear the tag of a thread without an index, or of none, and no addresses of others.
unsafe impl<C: Transient + Send, A: Send + Sync> Transient for Split<C, A> {}
// SAFETY: zeros are no addresses of cells.
unsafe impl<C: Transient> Transient for Others<C> {}
// SAFETY: as the cells; the count of failures is any number.
unsafe impl<C: Transient> Transient for Shared<C> {}
// SAFETY: zeros are no addresses.
unsafe impl<C: Transient + Send, A: Send + Sync> Transient for More<C, A> {}

impl<C: Transient + Send, A: Send + Sync> Split<C, A> {
    /// Creates a split without cells for this process. Values in `former` still count.
    pub(crate) fn following(former: Option<&'static Split<C, A>>, home: Home) -> Split<C, A> {
        let more = former.map(|former| home.place(More::new(Some(former))));
        let (first, second, more) = (Tagged::empty(), Tagged::empty(), StaticRef::new(more));
        Split { alignment: [], first, second, more }
    }

    /// Continues in a forked child with the cells of its parent, which are on the heap. The threads of the parent do not
    /// exist here, so the first and second cells are those of the first threads that record here, and the indexes of the
    /// others are those of this process. Called under the lock of the slow path.
    pub(crate) fn inherit(&self) {
        self.first.disown();
        self.second.disown();
        let Some(more) = self.more.get() else {
            return;
        };
        if let Some(others) = more.others.get().filter(|others| others.epoch != fork::epoch()) {
            let own = Others::new();
            for (own, inherited) in own.cells.iter().zip(&others.cells) {
                own.copy(inherited);
            }
            own.indexes.store(others.indexes.load(Ordering::Acquire), Ordering::Relaxed);
            more.others.set(Home::HEAP.place(own));
        }
    }

    fn more(&self, home: Home) -> &'static More<C, A> {
        self.more.get().unwrap_or_else(|| self.more.set_once(home.place(More::new(None))))
    }

    /// Returns the cells that the thread with this token owns, if it owns any.
    #[inline]
    pub(crate) fn owned(&'static self, token: Token) -> Option<&'static C> {
        let first = self.first.get(token.tag());
        if first.is_some() {
            return first;
        }
        if let Some(second) = self.second.get(token.tag()) {
            return second.get();
        }
        let others = self.more.get()?.others.get()?;
        if token.epoch() == others.epoch { others.cells[token.index()].get() } else { None }
    }

    /// Returns the cells that the thread with this token owns, or cells that no thread owned: from now on it does.
    pub(crate) fn owned_or_unowned(&'static self, token: Token) -> Option<&'static C> {
        let unowned =
            || self.first.claim(token.tag()).or_else(|| self.second.claim(token.tag())?.get());
        self.owned(token).or_else(unowned)
    }

    /// Returns the shared cells, if there are any.
    #[inline]
    pub(crate) fn shared(&self) -> Option<&'static Shared<C>> {
        self.more.get()?.shared.get()
    }

    /// Returns the waiting cells, or those of the last wait, which were moved.
    pub(crate) fn waiting(&self) -> Option<&'static Waiting<C>> {
        self.more.get()?.waiting.get()
    }

    fn open_waiting(&self) -> Option<&'static Waiting<C>> {
        self.waiting().filter(|waiting| !waiting.gate.is_closed())
    }

    /// Returns the cells for the thread with this token, which are created if necessary. No gate closes meanwhile, as that
    /// requires the lock of the slow path.
    pub(crate) fn claim(
        &'static self,
        token: Option<Token>,
        wish: Wish,
        cells: &impl OpenCells<C>,
        lock: &SlowPath,
    ) -> Claimed<C> {
        let token = token.filter(|_| cells.max_owned() > 0);
        let owned = token.and_then(|token| self.owned_or_unowned(token));
        if let Some(owned) = owned {
            return Claimed::Owned(owned);
        }
        if let Some(shared) = self.shared() {
            let own = token.filter(|_| wish == Wish::Own && self.owned_len() < cells.max_owned());
            let own =
                own.and_then(|token| Some(self.own(token, cells.open_more()?, cells.home(), lock)));
            return own.map_or(Claimed::Shared(&shared.cells), Claimed::Owned);
        }
        if let Some(waiting) = self.open_waiting() {
            return Claimed::Waiting(waiting);
        }
        let opened = match cells.open() {
            (opened, None) => opened,
            (opened, Some(gate)) => {
                return Claimed::Waiting(self.wait(opened, gate, cells.home()));
            }
        };
        let opened = match token {
            Some(token) => match self.first.fill(Some(token.tag()), opened, lock) {
                Ok(first) => return Claimed::Owned(first),
                Err(opened) => opened,
            },
            None => opened,
        };
        Claimed::Shared(self.share(opened, cells.home()))
    }

    /// Creates the first cells of a series, which no thread owns yet, so that its zeros are exported.
    pub(crate) fn register(&'static self, cells: &impl OpenCells<C>, lock: &SlowPath) {
        let has_cells = self.first.any().is_some() || self.shared().is_some();
        if has_cells || self.open_waiting().is_some() {
            return;
        }
        match cells.open() {
            (opened, Some(gate)) => _ = self.wait(opened, gate, cells.home()),
            (opened, None) if cells.max_owned() == 0 => _ = self.share(opened, cells.home()),
            (opened, None) => _ = self.first.fill(None, opened, lock),
        }
    }

    fn share(&self, cells: C, home: Home) -> &'static C {
        let shared = Shared { cells, contention: Contention::new() };
        &self.more(home).shared.set_once(home.place(shared)).cells
    }

    fn wait(&self, cells: C, gate: &'static Gate, home: Home) -> &'static Waiting<C> {
        // On the heap, as a gate is an address that recordings follow without a check.
        let waiting = Waiting { gate, cells, former: self.waiting() };
        let waiting: &Waiting<C> = Box::leak(Box::new(waiting));
        self.more(home).waiting.set(waiting);
        waiting
    }

    /// The number of sets of cells that threads own.
    fn owned_len(&self) -> usize {
        let others = self.more.get().and_then(|more| more.others.get());
        let others = others.map_or(0, |others| others.indexes.load(Ordering::Relaxed));
        let in_place = [self.first.any().is_some(), self.second.any().is_some()];
        in_place.into_iter().map(usize::from).sum::<usize>() + others.count_ones() as usize
    }

    /// Makes the thread with this token the owner of new cells.
    fn own(&'static self, token: Token, cells: C, home: Home, lock: &SlowPath) -> &'static C {
        let cells = match self.first.fill(Some(token.tag()), cells, lock) {
            Ok(first) => return first,
            Err(cells) => home.place(cells),
        };
        if self.second.fill(Some(token.tag()), StaticRef::new(Some(cells)), lock).is_ok() {
            return cells;
        }
        let others = &self.more(home).others;
        let others = others.get().unwrap_or_else(|| others.set_once(home.place(Others::new())));
        let (index, bit) = (token.index(), 1 << token.index());
        let cells = others.cells[index].set_once(cells);
        // ORDERING: release, so that a thread that sees the bit sees the cells.
        others.indexes.fetch_or(bit, Ordering::Release);
        cells
    }

    /// Returns the cells of the thread that recorded first.
    pub(crate) fn first(&self) -> Option<&C> {
        self.first.any()
    }

    /// Returns the totals when the series was removed last.
    pub(crate) fn base(&self) -> Option<&'static C> {
        self.more.get()?.base.get()
    }

    /// Sets the cells that hold the totals when the series was removed last.
    pub(crate) fn set_base(&self, base: &'static C, home: Home, _lock: &SlowPath) {
        self.more(home).base.set(base);
    }

    /// Releases the split and what it leads to. `release_cells` releases what cells lead to.
    pub(crate) fn release(
        &'static self,
        release: &mut Release,
        release_cells: fn(&'static C, &mut Release),
    ) {
        if let Some(first) = self.first.any() {
            release_cells(first, release);
        }
        let release_all = |cells: &'static C, release: &mut Release| {
            release_cells(cells, release);
            release.value(cells);
        };
        if let Some(second) = self.second.any().and_then(StaticRef::get) {
            release_all(second, release);
        }
        if let Some(more) = self.more.get() {
            if let Some(others) = more.others.get() {
                let all = others.cells.iter().filter_map(StaticRef::get);
                all.for_each(|cells| release_all(cells, release));
                release.value(others);
            }
            if let Some(shared) = more.shared.get() {
                release_cells(&shared.cells, release);
                release.value(shared);
            }
            // The cells themselves are on the heap: see `wait`.
            let waiting = std::iter::successors(more.waiting.get(), |waiting| waiting.former);
            waiting.for_each(|waiting| release_cells(&waiting.cells, release));
            let former = more.former.get();
            // The base of a former split is this one: see `More::new`.
            let shares_base = former.is_some_and(|former| former.base().is_some());
            if let Some(former) = former {
                former.release(release, release_cells);
            }
            if let Some(base) = more.base.get().filter(|_| !shares_base) {
                release_cells(base, release);
                release.value(base);
            }
            release.value(more);
        }
        release.value(self);
    }

    /// Iterates over all cells of this process.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &C> {
        let former = |split: &&Split<C, A>| split.more.get().and_then(|more| more.former.get());
        std::iter::successors(Some(self), former).flat_map(|split| {
            let others = split.more.get().and_then(|more| more.others.get());
            let mut bits = others.map_or(0, |others| others.indexes.load(Ordering::Acquire));
            let others = std::iter::from_fn(move || {
                let at = bits.trailing_zeros() as usize;
                let cells = others?.cells.get(at)?.get();
                bits &= bits - 1;
                cells
            });
            let waiting = std::iter::successors(split.waiting(), |waiting| waiting.former);
            let waiting = waiting.map(|waiting| &waiting.cells);
            let shared = split.shared().map(|shared| &shared.cells);
            let second = split.second.any().and_then(StaticRef::get);
            split.first.any().into_iter().chain(second).chain(others).chain(shared).chain(waiting)
        })
    }
}

impl<C: Transient + Send, A: Send + Sync> More<C, A> {
    /// What a series has that continues another one. The base is that of the former one.
    fn new(former: Option<&'static Split<C, A>>) -> More<C, A> {
        More {
            shared: StaticRef::empty(),
            others: StaticRef::empty(),
            former: StaticRef::new(former),
            waiting: StaticRef::empty(),
            base: StaticRef::new(former.and_then(Split::base)),
        }
    }
}

impl<C: 'static> Others<C>
where
    C: Sync,
{
    fn new() -> Others<C> {
        let cells = [const { StaticRef::empty() }; MAX_OWNERS];
        Others { epoch: fork::epoch(), indexes: AtomicU32::new(0), cells }
    }
}

//! The children of a family by label values: looked up without a lock or an allocation.
//!
//! An open-addressed table of addresses for lookups, and a row of the same addresses for scrapes. Both are
//! read at any time; inserts happen under the lock of the slow path. A table that is half full is replaced by a larger one, and
//! a row that is full. Removed entries that do not come back are *buried*: both are replaced by ones without them.
//!
//! A lookup may be in a table that was replaced, whose memory may have been given back: it then finds nothing. `find_surely`
//! looks again if there is another table; callers of `find` look again under the lock. A full row that was replaced stays,
//! because scrapes may be in it; all such rows together are smaller than the largest one. Scrapes exclude burials (`reading`), as
//! they must find all entries of their row.
//!
//! A process can be forked in the middle of an insert, which makes three stores: the entry is put into the row, then
//! into the table, then counted. The store to the table decides whether the entry exists. A child can find one entry
//! in its row that is not counted: its next insert counts the entry if it is in the table, and overwrites it
//! otherwise, because no lookup has returned it. A burial replaces the table first: an entry that lookups find is in the row.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::lookup_key::{LookupHasher, LookupKey, PairsKey};
use crate::store::fork::{self, Home, PerProcess, Release, SlowPath, StaticRef, Transient};

/// Slots of the first table.
const FIRST_LEN: usize = 8;

pub(super) struct Children<C: 'static> {
    hasher: LookupHasher,
    table: StaticRef<Table<C>>,
    /// In the order of their first use, so that a scrape can prefetch.
    row: StaticRef<Row<C>>,
    /// Number of entries that lookups find. Written under the lock: before an entry is listed, and after it is unlisted.
    listed: AtomicUsize,
}

/// How many children ahead of the current one are fetched by a scrape, what they point to, and what that leads
/// to.
const AHEAD: [usize; 3] = [24, 16, 8];

struct Table<C: 'static> {
    slots: &'static [StaticRef<Entry<C>>],
}

struct Row<C: 'static> {
    entries: &'static [StaticRef<Entry<C>>],
    /// Number of entries in the row and the table. Written under the lock, after both.
    count: AtomicUsize,
}

fn slots<C: Send + Sync>(len: usize, home: Home) -> &'static [StaticRef<Entry<C>>] {
    home.slice((0..len).map(|_| StaticRef::empty()).collect())
}

/// Locked for reading while a row is read, and for writing during a burial, which does not wait.
static ROWS: PerProcess<RwLock<()>> = PerProcess::new();

/// Excludes burials until the guard is dropped. `None` in what has interrupted the slow path, where one may be in progress.
pub(super) fn reading() -> Option<RwLockReadGuard<'static, ()>> {
    let rows = || ROWS.get_or_create(|| RwLock::new(()));
    (!fork::is_inside()).then(|| rows().read().unwrap_or_else(PoisonError::into_inner))
}

/// Excludes scrapes until it is dropped.
pub(super) type Burying<'a> = RwLockWriteGuard<'a, ()>;

/// Excludes scrapes, if none is in progress.
pub(super) fn burying(_lock: &SlowPath) -> Option<Burying<'static>> {
    ROWS.get_or_create(|| RwLock::new(())).try_write().ok()
}

pub(super) struct Entry<C> {
    /// The hash of the label values; with the bit [`UNLISTED`] if no lookup should find the entry. The position in tables is
    /// the same.
    hash: AtomicU64,
    /// See [`LookupKey`].
    lengths: u64,
    child: C,
}

/// Where an insert places an entry, and tables that grow.
pub(super) struct Places<C: 'static> {
    tables: Home,
    entry: Home,
    place: fn(Home, Entry<C>) -> &'static Entry<C>,
}

impl<C> Places<C> {
    /// All on the heap.
    #[cfg(any(test, feature = "metrics-facade"))]
    pub(super) const HEAP: Places<C> = Places {
        tables: Home::HEAP,
        entry: Home::HEAP,
        place: |_, entry| Box::leak(Box::new(entry)),
    };
}

impl<C: Transient> Places<C> {
    pub(super) fn new(tables: Home, entry: Home) -> Places<C> {
        Places { tables, entry, place: |home, entry| home.place(entry) }
    }
}

/// Set in the hash of an entry that no lookup should find, and in no other hash. Tables use lower bits.
const UNLISTED: u64 = 1 << 63;

impl<C> Entry<C> {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash.load(Ordering::Relaxed)
    }
}

impl<C: Send + Sync> Table<C> {
    fn new(len: usize, home: Home) -> Table<C> {
        Table { slots: slots(len, home) }
    }

    /// The slot at a position, which wraps around.
    #[inline]
    fn slot(&self, at: usize) -> &StaticRef<Entry<C>> {
        &self.slots[at & (self.slots.len() - 1)]
    }

    /// The slots where an entry with this hash may be, the likeliest first.
    fn probe(&self, hash: u64) -> impl Iterator<Item = &StaticRef<Entry<C>>> {
        (0..self.slots.len()).map(move |step| self.slot((hash as usize).wrapping_add(step)))
    }

    fn put(&self, entry: &'static Entry<C>) {
        if let Some(slot) = self.probe(entry.hash()).find(|slot| slot.get().is_none()) {
            slot.set(entry);
        }
    }

    /// Whether this very entry is in the table.
    fn has(&self, entry: &'static Entry<C>) -> bool {
        let found = self.probe(entry.hash()).map_while(StaticRef::get);
        found.into_iter().any(|found| std::ptr::eq(found, entry))
    }
}

impl<C: Send + Sync> Children<C> {
    pub(super) fn new() -> Children<C> {
        let hasher = LookupHasher::new();
        let listed = AtomicUsize::new(0);
        Children { hasher, table: StaticRef::empty(), row: StaticRef::empty(), listed }
    }

    /// The key of label values.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn key<'a>(&self, values: impl Iterator<Item = &'a str>) -> LookupKey {
        let key = self.hasher.key(values);
        key.with_hash(key.hash & !UNLISTED)
    }

    /// The key of pairs of name and value, and the key by which they are found.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn key_of_pairs(&self, pairs: &[(&str, &str)]) -> (PairsKey, LookupKey) {
        let pairs = self.hasher.pairs_key(pairs);
        let key = pairs.of_table();
        (pairs, key.with_hash(key.hash & !UNLISTED))
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn find(&self, key: LookupKey, is_it: impl Fn(&C) -> bool) -> Option<&'static C> {
        self.find_entry(key, is_it).map(|entry| &entry.child)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    fn find_entry(&self, key: LookupKey, is_it: impl Fn(&C) -> bool) -> Option<&'static Entry<C>> {
        let table = self.table.get()?;
        let mut at = key.hash as usize;
        // The table is at most half full.
        for _ in table.slots {
            let entry = table.slot(at).get()?;
            if entry.hash() == key.hash && entry.lengths == key.lengths && is_it(&entry.child) {
                return Some(entry);
            }
            at = at.wrapping_add(1);
        }
        None
    }

    /// As `find`, also if the table is replaced and its memory given back meanwhile.
    pub(super) fn find_surely(
        &self,
        key: LookupKey,
        is_it: impl Fn(&C) -> bool,
    ) -> Option<&'static C> {
        loop {
            let table = self.table.get();
            if let Some(child) = self.find(key, &is_it) {
                return Some(child);
            }
            let now = self.table.get();
            if table.map(std::ptr::from_ref) == now.map(std::ptr::from_ref) {
                return None;
            }
        }
    }

    /// Hides a child from lookups until it is inserted again. Returns it.
    pub(super) fn unlist(
        &self,
        key: LookupKey,
        is_it: impl Fn(&C) -> bool,
        _lock: &SlowPath,
    ) -> Option<&'static C> {
        self.find_entry(key, is_it).map(|entry| self.unlist_entry(entry))
    }

    /// The same for the listed children for which `is_it` returns `true`.
    pub(super) fn unlist_where(
        &self,
        is_it: impl Fn(&C) -> bool,
        _lock: &SlowPath,
    ) -> impl Iterator<Item = &'static C> {
        let found = self.listed_entries().filter(move |entry| is_it(&entry.child));
        found.map(|entry| self.unlist_entry(entry))
    }

    /// Hides an entry from lookups. Called under the lock.
    fn unlist_entry(&self, entry: &'static Entry<C>) -> &'static C {
        entry.hash.store(entry.hash() | UNLISTED, Ordering::Relaxed);
        self.add_listed(-1);
        &entry.child
    }

    /// The children that lookups find. Needs no lock.
    pub(super) fn listed(&self) -> impl Iterator<Item = &'static C> {
        self.listed_entries().map(|entry| &entry.child)
    }

    /// The children that no lookup finds.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = &'static C> {
        let unlisted = self.entries().filter(|entry| entry.hash() & UNLISTED != 0);
        unlisted.map(|entry| &entry.child)
    }

    /// The slots of the row.
    fn row(&self) -> &'static [StaticRef<Entry<C>>] {
        self.row.get().map_or(&[], |row| row.entries)
    }

    /// The entries of the row, in the order of their first use.
    fn entries(&self) -> impl Iterator<Item = &'static Entry<C>> {
        self.row().iter().map_while(StaticRef::get)
    }

    fn listed_entries(&self) -> impl Iterator<Item = &'static Entry<C>> {
        self.entries().filter(|entry| entry.hash() & UNLISTED == 0)
    }

    /// The number of children that lookups find. In a child that was forked during an insert it may be one too many.
    pub(super) fn listed_len(&self) -> usize {
        self.listed.load(Ordering::Relaxed)
    }

    /// Called under the lock.
    fn add_listed(&self, change: isize) {
        let listed = self.listed_len().saturating_add_signed(change);
        self.listed.store(listed, Ordering::Relaxed);
    }

    /// The number of children that no lookup finds.
    pub(super) fn unlisted_len(&self) -> usize {
        self.settled_count().saturating_sub(self.listed_len())
    }

    /// The number of children.
    pub(super) fn len(&self) -> usize {
        self.row.get().map_or(0, |row| row.count.load(Ordering::Relaxed))
    }

    /// Finds the child with a key, or inserts the one that `make` returns.
    pub(super) fn find_or_insert(
        &self,
        places: &Places<C>,
        key: LookupKey,
        is_it: impl Fn(&C) -> bool,
        _lock: &SlowPath,
        relist: impl FnOnce(&C),
        make: impl FnOnce() -> C,
    ) -> &'static C {
        if let Some(child) = self.find(key, &is_it) {
            return child;
        }
        let LookupKey { hash, lengths, .. } = key;
        if let Some(entry) = self.find_entry(key.with_hash(hash | UNLISTED), is_it) {
            relist(&entry.child);
            self.add_listed(1);
            entry.hash.store(hash, Ordering::Relaxed);
            return &entry.child;
        }
        let entry = Entry { hash: AtomicU64::new(hash), lengths, child: make() };
        let entry = (places.place)(places.entry, entry);
        let count = self.settled_count();
        self.add_listed(1);
        self.put_in_row(count, entry, places.tables);
        self.put_in_table(count, entry, places.tables);
        self.set_count(count + 1);
        &entry.child
    }

    fn set_count(&self, count: usize) {
        if let Some(row) = self.row.get() {
            row.count.store(count, Ordering::Relaxed);
        }
    }

    /// The number of entries, including one whose insert was interrupted by a fork after the store to the table.
    fn settled_count(&self) -> usize {
        let count = self.len();
        let uncounted = self.row.get().and_then(|row| row.entries.get(count)?.get());
        let table = self.table.get();
        let is_inserted =
            uncounted.is_some_and(|entry| table.is_some_and(|table| table.has(entry)));
        count + usize::from(is_inserted)
    }

    /// Puts an entry at position `count` of the row.
    fn put_in_row(&self, count: usize, entry: &'static Entry<C>, home: Home) {
        let former = self.row.get();
        if let Some(row) = former.filter(|row| count < row.entries.len()) {
            return row.entries[count].set(entry);
        }
        let entries = slots((count * 2).max(FIRST_LEN), home);
        let former = former.map_or(&[][..], |former| former.entries);
        entries.iter().zip(former).for_each(|(new, old)| new.copy(old));
        entries[count].set(entry);
        self.set_row(entries, count);
    }

    fn set_row(&self, entries: &'static [StaticRef<Entry<C>>], count: usize) {
        let count = AtomicUsize::new(count);
        self.row.set(Box::leak(Box::new(Row { entries, count })));
    }

    /// Puts the entry at position `count` of the row into the table.
    fn put_in_table(&self, count: usize, entry: &'static Entry<C>, home: Home) {
        let former = self.table.get();
        if let Some(table) = former.filter(|table| (count + 1) * 2 <= table.slots.len()) {
            return table.put(entry);
        }
        let len = ((count + 1) * 2).next_power_of_two().max(FIRST_LEN);
        let table = Box::leak(Box::new(Table::new(len, home)));
        self.entries().for_each(|entry| table.put(entry));
        self.table.set(table);
        if let Some(former) = former {
            Release::new(home).slice(former.slots);
        }
    }

    /// All children. What one needs is fetched some time before it is given, in two steps, for there may be more
    /// than any cache holds.
    pub(super) fn iter(
        &self,
        first: impl Fn(&'static C),
        second: impl Fn(&'static C),
    ) -> impl Iterator<Item = &'static C> {
        let row = self.row();
        let [own, of_first, of_second] = AHEAD;
        row.iter().enumerate().map_while(move |(at, entry)| {
            if let Some(ahead) = row.get(at + own) {
                ahead.prefetch();
            }
            if let Some(ahead) = row.get(at + of_first).and_then(StaticRef::get) {
                first(&ahead.child);
            }
            if let Some(ahead) = row.get(at + of_second).and_then(StaticRef::get) {
                second(&ahead.child);
            }
            Some(&entry.get()?.child)
        })
    }
}

impl<C: Transient + Send> Children<C> {
    /// Takes unlisted children for which `is_over` returns `true` out of the row and the table. `release` releases what each
    /// leads to. Called while no row is read.
    pub(super) fn bury(
        &self,
        home: Home,
        is_over: impl Fn(&'static C) -> bool,
        release: impl Fn(&'static C, &mut Release),
        _burying: &Burying<'_>,
    ) {
        let (Some(row), Some(table)) = (self.row.get(), self.table.get()) else {
            return;
        };
        let entries = row.entries[..self.settled_count()].iter().filter_map(StaticRef::get);
        let is_buried =
            |entry: &&'static Entry<C>| entry.hash() & UNLISTED != 0 && is_over(&entry.child);
        let (buried, kept): (Vec<_>, Vec<_>) = entries.partition(is_buried);
        // As long as before, so that they do not grow again soon, unless few children are left.
        let len = |before: usize, least: usize| if before / 8 > least { least * 2 } else { before };
        let table_len = (kept.len() * 2 + 2).next_power_of_two().max(FIRST_LEN);
        let new_table = Box::leak(Box::new(Table::new(len(table.slots.len(), table_len), home)));
        let new_row = slots(len(row.entries.len(), kept.len().max(FIRST_LEN)), home);
        for (slot, entry) in new_row.iter().zip(&kept) {
            slot.set(entry);
            new_table.put(entry);
        }
        self.table.set(new_table);
        self.set_row(new_row, kept.len());
        let mut of_tables = Release::new(home);
        of_tables.slice(table.slots);
        of_tables.slice(row.entries);
        drop(of_tables);
        let mut of_children = Release::new(home);
        for entry in buried {
            release(&entry.child, &mut of_children);
            of_children.value(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork;

    #[test]
    fn every_child_is_found_again_while_the_table_grows() {
        let children = Children::new();
        for at in 0..1_000u32 {
            let text = at.to_string();
            let key = children.key([&*text].into_iter());
            assert!(children.find(key, |&child| child == at).is_none());
            children.find_or_insert(
                &Places::HEAP,
                key,
                |&child| child == at,
                &fork::lock().unwrap(),
                |_| (),
                || at,
            );
        }
        for at in 0..1_000u32 {
            let key = children.key([&*at.to_string()].into_iter());
            assert_eq!(children.find(key, |&child| child == at), Some(&at));
        }
        assert_eq!(
            children.iter(|_| {}, |_| {}).copied().collect::<Vec<_>>(),
            (0..1_000).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_insert_that_a_fork_interrupts_leaves_one_entry_for_each_child() {
        // The child finds the entry in the row, and in the table or not. The fifth entry makes the table grow, the ninth
        // one the row.
        for before in 0..20u32 {
            for is_in_table in [false, true] {
                let children = Children::new();
                let insert = |at: u32| {
                    let key = children.key([&*at.to_string()].into_iter());
                    children.find_or_insert(
                        &Places::HEAP,
                        key,
                        |&child| child == at,
                        &fork::lock().unwrap(),
                        |_| (),
                        || at,
                    )
                };
                (0..before).for_each(|at| _ = insert(at));
                let key = children.key([&*before.to_string()].into_iter());
                let LookupKey { hash, lengths, .. } = key;
                let hash = AtomicU64::new(hash);
                let entry = Box::leak(Box::new(Entry { hash, lengths, child: before }));
                children.put_in_row(before as usize, entry, Home::HEAP);
                if is_in_table {
                    children.put_in_table(before as usize, entry, Home::HEAP);
                }
                // The order of first use in the child.
                let order: Vec<u32> = (0..before).chain([before + 1, before, before + 2]).collect();
                let first: Vec<&u32> = order.iter().map(|at| insert(*at)).collect();
                let again: Vec<&u32> = order.iter().map(|at| insert(*at)).collect();
                assert!(first.iter().zip(again).all(|(first, again)| std::ptr::eq(*first, again)));
                let is_taken_up = std::ptr::eq(first[before as usize + 1], &raw const entry.child);
                assert_eq!(is_taken_up, is_in_table);
                let mut found: Vec<u32> = children.iter(|_| {}, |_| {}).copied().collect();
                found.sort_unstable();
                assert_eq!(found, (0..before + 3).collect::<Vec<_>>(), "{is_in_table}");
            }
        }
    }
}

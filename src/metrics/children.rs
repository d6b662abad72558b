//! The children of a family by label values: looked up without a lock or an allocation.
//!
//! An open-addressed table of addresses for lookups, and a row of the same addresses for scrapes. Both are
//! read at any time; inserts happen under the lock of the slow path. A table that is half full is replaced by
//! one of twice the size and never freed: a reader may still be in it. All old tables together are smaller
//! than the current one. The same holds for the row.
//!
//! A process can be forked in the middle of an insert, which makes three stores: the entry is put into the row, then
//! into the table, then counted. The store to the table decides whether the entry exists. A child can find one entry
//! in its row that is not counted: its next insert counts the entry if it is in the table, and overwrites it
//! otherwise, because no lookup has returned it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::lookup_key::{LookupHasher, LookupKey, PairsKey};
use crate::store::fork::{SlowPath, StaticRef};

/// Slots of the first table.
const FIRST_LEN: usize = 8;

pub(super) struct Children<C: 'static> {
    hasher: LookupHasher,
    table: StaticRef<Table<C>>,
    /// In the order of their first use, so that a scrape can prefetch.
    row: StaticRef<Row<C>>,
    /// Number of entries in the row and the table. Written under the lock, after both.
    count: AtomicUsize,
    /// Number of entries that lookups find. Written under the lock: before an entry is listed, and after it is unlisted.
    listed: AtomicUsize,
}

/// How many children ahead of the current one are fetched by a scrape, what they point to, and what that leads
/// to.
const AHEAD: [usize; 3] = [24, 16, 8];

struct Table<C: 'static> {
    slots: Box<[StaticRef<Entry<C>>]>,
}

struct Row<C: 'static> {
    entries: Box<[StaticRef<Entry<C>>]>,
}

struct Entry<C> {
    /// The hash of the label values; with the bit [`UNLISTED`] if no lookup should find the entry. The position in tables is
    /// the same.
    hash: AtomicU64,
    /// See [`LookupKey`].
    lengths: u64,
    child: C,
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
    fn new(len: usize) -> Table<C> {
        Table { slots: (0..len).map(|_| StaticRef::empty()).collect() }
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
        let (count, listed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Children { hasher, table: StaticRef::empty(), row: StaticRef::empty(), count, listed }
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
        for _ in &table.slots {
            let entry = table.slot(at).get()?;
            if entry.hash() == key.hash && entry.lengths == key.lengths && is_it(&entry.child) {
                return Some(entry);
            }
            at = at.wrapping_add(1);
        }
        None
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

    fn listed_entries(&self) -> impl Iterator<Item = &'static Entry<C>> {
        let row = self.row.get().map_or(&[][..], |row| &row.entries);
        row.iter().map_while(StaticRef::get).filter(|entry| entry.hash() & UNLISTED == 0)
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

    pub(super) fn find_or_insert(
        &self,
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
        let entry: &'static Entry<C> = Box::leak(Box::new(entry));
        let count = self.settled_count();
        self.add_listed(1);
        self.put_in_row(count, entry);
        self.put_in_table(count, entry);
        self.count.store(count + 1, Ordering::Relaxed);
        &entry.child
    }

    /// The number of entries, including one whose insert was interrupted by a fork after the store to the table.
    fn settled_count(&self) -> usize {
        let count = self.count.load(Ordering::Relaxed);
        let uncounted = self.row.get().and_then(|row| row.entries.get(count)?.get());
        let table = self.table.get();
        let is_inserted =
            uncounted.is_some_and(|entry| table.is_some_and(|table| table.has(entry)));
        count + usize::from(is_inserted)
    }

    /// Puts an entry at position `count` of the row.
    fn put_in_row(&self, count: usize, entry: &'static Entry<C>) {
        let former = self.row.get();
        if let Some(row) = former.filter(|row| count < row.entries.len()) {
            return row.entries[count].set(entry);
        }
        let len = (count * 2).max(FIRST_LEN);
        let entries: Box<[_]> = (0..len).map(|_| StaticRef::empty()).collect();
        let former = former.map_or(&[][..], |former| &former.entries);
        entries.iter().zip(former).for_each(|(new, old)| new.copy(old));
        entries[count].set(entry);
        self.row.set(Box::leak(Box::new(Row { entries })));
    }

    /// Puts the entry at position `count` of the row into the table.
    fn put_in_table(&self, count: usize, entry: &'static Entry<C>) {
        if let Some(table) = self.table.get()
            && (count + 1) * 2 <= table.slots.len()
        {
            return table.put(entry);
        }
        let len = ((count + 1) * 2).next_power_of_two().max(FIRST_LEN);
        let table = Box::leak(Box::new(Table::new(len)));
        let row = self.row.get().map_or(&[][..], |row| &row.entries);
        row.iter().map_while(StaticRef::get).for_each(|entry| table.put(entry));
        self.table.set(table);
    }

    /// All children. What one needs is fetched some time before it is given, in two steps, for there may be more
    /// than any cache holds.
    pub(super) fn iter(
        &self,
        first: impl Fn(&'static C),
        second: impl Fn(&'static C),
    ) -> impl Iterator<Item = &'static C> {
        let row = self.row.get().map_or(&[][..], |row| &row.entries);
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
                children.put_in_row(before as usize, entry);
                if is_in_table {
                    children.put_in_table(before as usize, entry);
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

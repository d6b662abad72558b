//! The children of a family by label values: looked up without a lock or an allocation.
//!
//! An open-addressed table of addresses. Lookups read it at any time; inserts happen under the lock of
//! the slow path, each by one store, so that a forked child finds the table whole. A table that is
//! half full is replaced by one of twice the size and never freed: a reader may still be in it. All
//! old tables together are smaller than the current one. So is the row of all children.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;

use crate::store::fork::StaticRef;

/// Slots of the first table.
const FIRST_LEN: usize = 8;

pub(super) struct Children<C: 'static> {
    hasher: RandomState,
    table: StaticRef<Table<C>>,
    /// In the order of their first use, in a row, so that a scrape can look ahead.
    all: StaticRef<Row<C>>,
    /// How many there are; written under the lock.
    count: AtomicUsize,
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
    hash: u64,
    child: C,
}

impl<C: Send + Sync> Table<C> {
    fn new(len: usize) -> Table<C> {
        Table { slots: (0..len).map(|_| StaticRef::empty()).collect() }
    }

    /// The slots where an entry with this hash may be, the likeliest first.
    fn probe(&self, hash: u64) -> impl Iterator<Item = &StaticRef<Entry<C>>> {
        let mask = self.slots.len() - 1;
        let start = hash as usize & mask;
        (0..self.slots.len()).map(move |step| &self.slots[(start + step) & mask])
    }

    fn put(&self, entry: &'static Entry<C>) {
        if let Some(slot) = self.probe(entry.hash).find(|slot| slot.get().is_none()) {
            slot.set(entry);
        }
    }
}

impl<C: Send + Sync> Children<C> {
    pub(super) fn new() -> Children<C> {
        let hasher = RandomState::default();
        let count = AtomicUsize::new(0);
        Children { hasher, table: StaticRef::empty(), all: StaticRef::empty(), count }
    }

    /// The hash of label values; their lengths are part of it.
    #[inline]
    pub(super) fn hash(&self, values: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for value in values {
            hasher.write_usize(value.len());
            hasher.write(value.as_bytes());
        }
        hasher.finish()
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&C) -> bool) -> Option<&'static C> {
        for slot in self.table.get()?.probe(hash) {
            let entry = slot.get()?;
            if entry.hash == hash && is_it(&entry.child) {
                return Some(&entry.child);
            }
        }
        None
    }

    pub(super) fn find_or_insert(
        &self,
        hash: u64,
        is_it: impl Fn(&C) -> bool,
        _lock: &MutexGuard<'static, ()>,
        make: impl FnOnce() -> C,
    ) -> &'static C {
        if let Some(child) = self.find(hash, is_it) {
            return child;
        }
        let entry: &'static Entry<C> = Box::leak(Box::new(Entry { hash, child: make() }));
        // A process that is forked between these steps has an entry in the row that no lookup finds; another
        // child takes its place.
        let count = self.count.load(Ordering::Relaxed);
        let row = match self.all.get() {
            Some(row) if count < row.entries.len() => row,
            former => {
                let len = (count * 2).max(FIRST_LEN);
                let entries: Box<[_]> = (0..len).map(|_| StaticRef::empty()).collect();
                let former = former.map_or(&[][..], |former| &former.entries);
                entries.iter().zip(former).for_each(|(new, old)| new.copy(old));
                let row = &*Box::leak(Box::new(Row { entries }));
                self.all.set(row);
                row
            }
        };
        row.entries[count].set(entry);
        self.count.store(count + 1, Ordering::Relaxed);
        match self.table.get() {
            Some(table) if (count + 1) * 2 <= table.slots.len() => table.put(entry),
            _ => {
                let len = ((count + 1) * 2).next_power_of_two().max(FIRST_LEN);
                let table = Box::leak(Box::new(Table::new(len)));
                row.entries.iter().map_while(StaticRef::get).for_each(|entry| table.put(entry));
                self.table.set(table);
            }
        }
        &entry.child
    }

    /// All children. What one needs is fetched some time before it is given, in two steps, for there may be more
    /// than any cache holds.
    pub(super) fn iter(
        &self,
        first: impl Fn(&'static C),
        second: impl Fn(&'static C),
    ) -> impl Iterator<Item = &'static C> {
        let row = self.all.get().map_or(&[][..], |row| &row.entries);
        let [own, of_first, of_second] = AHEAD;
        row.iter().enumerate().map_while(move |(at, entry)| {
            if let Some(ahead) = row.get(at + own) {
                ahead.fetch();
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
            let hash = children.hash(&[&text]);
            assert!(children.find(hash, |&child| child == at).is_none());
            children.find_or_insert(hash, |&child| child == at, &fork::lock(), || at);
        }
        for at in 0..1_000u32 {
            let hash = children.hash(&[&at.to_string()]);
            assert_eq!(children.find(hash, |&child| child == at), Some(&at));
        }
        assert_eq!(
            children.iter(|_| {}, |_| {}).copied().collect::<Vec<_>>(),
            (0..1_000).collect::<Vec<_>>()
        );
    }

    #[test]
    fn values_that_join_to_the_same_text_differ() {
        let children = Children::<()>::new();
        assert_ne!(children.hash(&["ab", "c"]), children.hash(&["a", "bc"]));
        assert_ne!(children.hash(&["", "a"]), children.hash(&["a", ""]));
    }
}

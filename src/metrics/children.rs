//! The children of a family by label values: looked up without a lock or an allocation.
//!
//! An open-addressed table of addresses. Lookups read it at any time; inserts happen under the lock of
//! the slow path, each by one store, so that a forked child finds the table whole. A table that is
//! half full is replaced by one of twice the size and never freed: a reader may still be in it. All
//! old tables together are smaller than the current one.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;

use crate::store::fork::{AppendList, StaticRef};

/// Slots of the first table.
const FIRST_LEN: usize = 8;

pub(super) struct Children<C: 'static> {
    hasher: RandomState,
    table: StaticRef<Table<C>>,
    /// In the order of their first use.
    all: AppendList<&'static Entry<C>>,
    /// How many there are; written under the lock. In a forked child it may lack one.
    count: AtomicUsize,
}

struct Table<C: 'static> {
    slots: Box<[StaticRef<Entry<C>>]>,
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
        Children { hasher, table: StaticRef::empty(), all: AppendList::new(), count }
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
        // A child that is forked between these two steps has an entry in the list that no lookup finds;
        // it makes another one, and the first stays unbound there, so nothing is exported twice.
        self.all.push(entry);
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        match self.table.get() {
            Some(table) if count * 2 <= table.slots.len() => table.put(entry),
            _ => {
                let len = (count * 2).next_power_of_two().max(FIRST_LEN);
                let table = Box::leak(Box::new(Table::new(len)));
                self.all.iter().for_each(|entry| table.put(entry));
                self.table.set(table);
            }
        }
        &entry.child
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static C> {
        self.all.iter().map(|entry| &entry.child)
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
        assert_eq!(children.iter().copied().collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn values_that_join_to_the_same_text_differ() {
        let children = Children::<()>::new();
        assert_ne!(children.hash(&["ab", "c"]), children.hash(&["a", "bc"]));
        assert_ne!(children.hash(&["", "a"]), children.hash(&["a", ""]));
    }
}

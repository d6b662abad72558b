//! A hash table of indices, with 8 bytes per slot. The keys themselves are stored elsewhere, once.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::RandomState;

/// An open-addressed table, at most three quarters full.
#[derive(Debug, Default)]
pub(crate) struct HashIndex {
    hasher: RandomState,
    /// Hash and index plus one; 0 in an empty slot.
    slots: Vec<u64>,
    len: usize,
}

/// Length of the first table.
const FIRST_LEN: usize = 8;

impl HashIndex {
    /// The hash of a key.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        (hasher.finish() >> 32) as u32
    }

    /// The first index with this hash for which `is_it` returns `true`; it is called with every index before that one.
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            let index = (slot as u32).checked_sub(1)?;
            if (slot >> 32) as u32 == hash && is_it(index) {
                return Some(index);
            }
            at = self.next(at);
        }
    }

    /// Adds an index, which is in the table for no key that is equal to this one.
    pub(crate) fn insert(&mut self, hash: u32, index: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.len += 1;
        self.put(u64::from(hash) << 32 | u64::from(index + 1));
    }

    fn put(&mut self, slot: u64) {
        let mut at = self.start((slot >> 32) as u32);
        while self.slots[at] != 0 {
            at = self.next(at);
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let len = (self.slots.len() + self.slots.len() / 2).max(FIRST_LEN);
        let former = std::mem::replace(&mut self.slots, vec![0; len]);
        former.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.put(slot));
    }

    /// The slot at which the search for a hash begins. The upper bits spread hashes over any number of slots.
    fn start(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_found_while_the_table_grows() {
        let mut table = HashIndex::default();
        for index in 0..5_000u32 {
            let hash = table.hash(&index.to_le_bytes());
            assert_eq!(table.find(hash, |other| other == index), None);
            table.insert(hash, index);
        }
        for index in 0..5_000u32 {
            let hash = table.hash(&index.to_le_bytes());
            assert_eq!(table.find(hash, |other| other == index), Some(index));
        }
        assert!(table.slots.len() <= 5_000 * 2);
    }

    #[test]
    fn indices_with_equal_hashes_are_distinguished() {
        let mut table = HashIndex::default();
        (0..20).for_each(|index| table.insert(u32::MAX, index));
        assert!((0..20).all(|index| table.find(u32::MAX, |other| other == index) == Some(index)));
        assert_eq!(table.find(u32::MAX, |other| other == 20), None);
        assert_eq!(table.find(7, |_| true), None);
    }
}

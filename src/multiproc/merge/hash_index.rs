//! Numbers by what they stand for, in 8 bytes each: what they stand for is kept elsewhere, once.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::RandomState;

/// An open-addressed table, at most three quarters full.
#[derive(Default)]
pub(crate) struct Index {
    hasher: RandomState,
    /// Hash and number plus one; 0 where nothing is.
    slots: Vec<u64>,
    len: usize,
}

/// Slots of the first table.
const FIRST_LEN: usize = 8;

impl Index {
    /// The hash of what a number stands for.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        (hasher.finish() >> 32) as u32
    }

    /// The number with this hash for which `is_it` holds.
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.start(hash);
        loop {
            let slot = self.slots[at];
            let number = (slot as u32).checked_sub(1)?;
            if (slot >> 32) as u32 == hash && is_it(number) {
                return Some(number);
            }
            at = self.next(at);
        }
    }

    /// Adds a number that is not in the table.
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.len += 1;
        self.put(u64::from(hash) << 32 | u64::from(number + 1));
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

    /// Where a hash is looked for first: hashes are spread over any number of slots by their upper bits.
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
    fn every_number_is_found_while_the_table_grows() {
        let mut index = Index::default();
        for number in 0..5_000u32 {
            let hash = index.hash(&number.to_le_bytes());
            assert_eq!(index.find(hash, |other| other == number), None);
            index.insert(hash, number);
        }
        for number in 0..5_000u32 {
            let hash = index.hash(&number.to_le_bytes());
            assert_eq!(index.find(hash, |other| other == number), Some(number));
        }
        assert!(index.slots.len() <= 5_000 * 2);
    }

    #[test]
    fn numbers_of_one_hash_are_told_apart() {
        let mut index = Index::default();
        (0..20).for_each(|number| index.insert(u32::MAX, number));
        assert!(
            (0..20).all(|number| index.find(u32::MAX, |other| other == number) == Some(number))
        );
        assert_eq!(index.find(u32::MAX, |other| other == 20), None);
        assert_eq!(index.find(7, |_| true), None);
    }
}

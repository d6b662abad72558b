//! What the bytes of keys stand for.

use super::hash_index::Index;
use crate::file::layout::{Entries, Entry, WORD_LEN};

/// The keys of one metric type, each looked at once, and what they stand for.
///
/// Processes that run the same program write the same keys in the same order. So the key behind the
/// last one is tried first, by comparing bytes: most entries are neither hashed nor checked.
pub(crate) struct Targets<T> {
    /// The heads of the keys in the order of their first appearance, back to back.
    heads: Vec<u8>,
    known: Vec<Known<T>>,
    by_head: Index,
    /// Which of the known keys comes next, if this file is like those before.
    expected: usize,
}

struct Known<T> {
    /// Where its head is, in words.
    start: u32,
    len: u16,
    target: T,
}

impl<T> Known<T> {
    fn head<'h>(&self, heads: &'h [u8]) -> &'h [u8] {
        let start = self.start as usize * WORD_LEN;
        &heads[start..start + usize::from(self.len) * WORD_LEN]
    }
}

impl<T> Default for Targets<T> {
    fn default() -> Targets<T> {
        let by_head = Index::default();
        Targets { heads: Vec::new(), known: Vec::new(), by_head, expected: 0 }
    }
}

impl<T: Copy> Targets<T> {
    /// Expects the keys of a file from one on: mostly from the first.
    pub(crate) fn begin_at(&mut self, number: u32) {
        self.expected = number as usize;
    }

    /// The next entry, if its key is the expected one.
    #[inline]
    pub(crate) fn next<'a>(&mut self, entries: &mut Entries<'a>) -> Option<(Entry<'a>, T)> {
        let known = self.known.get(self.expected)?;
        let entry = entries.next_with_head(known.head(&self.heads))?;
        self.expected += 1;
        Some((entry, known.target))
    }

    /// Whether all entries have the keys that were met from one on, in the same order. Gives each value.
    pub(crate) fn is_run(
        &self,
        mut entries: Entries<'_>,
        first: u32,
        count: usize,
        mut give: impl FnMut(f64),
    ) -> bool {
        let first = first as usize;
        let run = self.known.get(first..first + count).unwrap_or_default();
        let is_like = run.iter().all(|known| {
            let entry = entries.next_with_head(known.head(&self.heads));
            entry.map(|entry| give(entry.value)).is_some()
        });
        is_like && run.len() == count && entries.is_at_end()
    }

    /// The number of the key that is expected next.
    pub(crate) fn expected(&self) -> u32 {
        self.expected as u32
    }

    /// What an entry stands for, if its key is known; the one behind it is expected next.
    pub(crate) fn find(&mut self, entry: &Entry<'_>) -> Option<T> {
        let is_it = |at: u32| self.known[at as usize].head(&self.heads) == entry.head;
        let at = self.by_head.find(self.by_head.hash(entry.head), is_it)? as usize;
        self.expected = at + 1;
        Some(self.known[at].target)
    }

    pub(crate) fn insert(&mut self, entry: &Entry<'_>, target: T) {
        // OK because heads are words, of which a key has fewer than 2^16, and all keys fewer than 2^32.
        let (start, len) = ((self.heads.len() / WORD_LEN) as u32, entry.head.len() / WORD_LEN);
        make_room(&mut self.heads, entry.head.len());
        self.heads.extend_from_slice(entry.head);
        self.by_head.insert(self.by_head.hash(entry.head), self.known.len() as u32);
        make_room(&mut self.known, 1);
        self.known.push(Known { start, len: len as u16, target });
        self.expected = self.known.len();
    }
}

/// Makes room for some more in steps of an eighth: there may be very many, and doubling would waste as much again.
pub(crate) fn make_room<T>(items: &mut Vec<T>, count: usize) {
    if items.capacity() - items.len() < count {
        items.reserve_exact(count.max(items.len() / 8).max(4));
    }
}

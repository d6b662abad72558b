//! What the bytes of keys stand for.

use std::collections::HashMap;

use crate::file::layout::{Entries, Entry};

/// The keys of one metric type, each looked at once, and what they stand for.
///
/// Processes that run the same program write the same keys in the same order. So the key behind the
/// last one is tried first, by comparing bytes: most entries are neither hashed nor checked.
pub(super) struct Targets<T> {
    /// In the order of their first appearance.
    known: Vec<Known<T>>,
    by_head: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    /// Which of the known keys comes next, if this file is like those before.
    expected: usize,
}

struct Known<T> {
    head: Box<[u8]>,
    target: T,
}

impl<T> Default for Targets<T> {
    fn default() -> Targets<T> {
        Targets { known: Vec::new(), by_head: HashMap::default(), expected: 0 }
    }
}

impl<T: Copy> Targets<T> {
    /// Expects the keys from the start again.
    pub(super) fn begin_file(&mut self) {
        self.expected = 0;
    }

    /// The next entry, if its key is the expected one.
    #[inline]
    pub(super) fn next<'a>(&mut self, entries: &mut Entries<'a>) -> Option<(Entry<'a>, T)> {
        let known = self.known.get(self.expected)?;
        let entry = entries.next_with_head(&known.head)?;
        self.expected += 1;
        Some((entry, known.target))
    }

    /// What an entry stands for, if its key is known; the one behind it is expected next.
    pub(super) fn find(&mut self, entry: &Entry<'_>) -> Option<T> {
        let at = *self.by_head.get(entry.head)?;
        self.expected = at + 1;
        Some(self.known[at].target)
    }

    pub(super) fn insert(&mut self, entry: &Entry<'_>, target: T) {
        self.by_head.insert(entry.head.into(), self.known.len());
        self.known.push(Known { head: entry.head.into(), target });
        self.expected = self.known.len();
    }
}

//! A table from the bytes of keys to what they resolve to.

use crate::file::layout::{Entries, Entry, LayoutError, WORD_LEN};
use crate::model::HashIndex;

/// The keys of one metric type without repetitions, each with what it resolves to.
///
/// Processes that run the same program write the same keys in the same order. So the bytes of a key are compared with
/// the key that followed the last one before: most entries are neither hashed nor checked.
pub(crate) struct KeyTable<T> {
    /// The heads of the keys in the order of their first appearance, back to back.
    heads: Vec<u8>,
    keys: Vec<TableKey<T>>,
    by_head: HashIndex,
    /// The index of the key that comes next if this file is like those before.
    expected: usize,
}

struct TableKey<T> {
    /// The position of its head, in words.
    start: u32,
    len: u32,
    resolved: T,
}

/// A key that the table does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MissingKey {
    hash: u32,
}

impl<T> TableKey<T> {
    fn head<'h>(&self, heads: &'h [u8]) -> &'h [u8] {
        let start = self.start as usize * WORD_LEN;
        &heads[start..start + self.len as usize * WORD_LEN]
    }
}

impl<T> Default for KeyTable<T> {
    fn default() -> KeyTable<T> {
        let by_head = HashIndex::default();
        KeyTable { heads: Vec::new(), keys: Vec::new(), by_head, expected: 0 }
    }
}

impl<T: Copy> KeyTable<T> {
    /// Expects the keys of the table from an index on, mostly from the first.
    pub(crate) fn expect_from(&mut self, index: u32) {
        self.expected = index as usize;
    }

    /// The next entry, if its key is the expected one.
    #[inline]
    pub(crate) fn next_expected<'a>(
        &mut self,
        entries: &mut Entries<'a>,
    ) -> Option<(Entry<'a>, T)> {
        let key = self.keys.get(self.expected)?;
        let entry = entries.next_with_head(key.head(&self.heads))?;
        self.expected += 1;
        Some((entry, key.resolved))
    }

    /// The next entry, and what its key resolves to. A key that the table does not have is added with what `resolve` returns.
    pub(crate) fn next_or_add<'a>(
        &mut self,
        entries: &mut Entries<'a>,
        resolve: impl FnOnce(&Entry<'a>) -> T,
    ) -> Option<Result<(Entry<'a>, T), LayoutError>> {
        if let Some(found) = self.next_expected(entries) {
            return Some(Ok(found));
        }
        Some(entries.next()?.map(|entry| {
            let resolved = self.find(&entry).unwrap_or_else(|missing| {
                let resolved = resolve(&entry);
                self.insert(&entry, missing, resolved);
                resolved
            });
            (entry, resolved)
        }))
    }

    /// How many of the next entries have the keys of the table that begin at `first`, at most `count`, in the same order.
    /// The entries are advanced behind them. Passes on what the keys resolve to.
    pub(super) fn skip_run(
        &self,
        entries: &mut Entries<'_>,
        first: u32,
        count: usize,
        mut take: impl FnMut(T),
    ) -> usize {
        let first = first as usize;
        let run = self.keys.get(first..first + count).unwrap_or_default();
        let is_next = |key: &&TableKey<T>| {
            let is_next = entries.next_with_head(key.head(&self.heads)).is_some();
            if is_next {
                take(key.resolved);
            }
            is_next
        };
        run.iter().take_while(is_next).count()
    }

    /// Whether the entries have exactly the `count` keys of the table that begin at `first`, in the same order.
    /// Passes each value on as soon as its key matches.
    pub(super) fn matches_run(
        &self,
        mut entries: Entries<'_>,
        first: u32,
        count: usize,
        mut take_value: impl FnMut(f64),
    ) -> bool {
        let first = first as usize;
        let run = self.keys.get(first..first + count).unwrap_or_default();
        let is_like = run.iter().all(|key| {
            let entry = entries.next_with_head(key.head(&self.heads));
            entry.map(|entry| take_value(entry.value)).is_some()
        });
        is_like && run.len() == count && entries.is_at_end()
    }

    /// Whether the bytes of a file before a value end with a key.
    pub(super) fn is_key_before_value(&self, key: usize, bytes: &[u8]) -> bool {
        self.keys.get(key).is_some_and(|key| bytes.ends_with(key.head(&self.heads)))
    }

    /// The index of the key that is expected next.
    pub(super) fn expected(&self) -> u32 {
        self.expected as u32
    }

    /// What the key of an entry resolves to, if the table has it. The key behind it is expected next.
    pub(crate) fn find(&mut self, entry: &Entry<'_>) -> Result<T, MissingKey> {
        let hash = self.by_head.hash(entry.head);
        let is_it = |at: u32| self.keys[at as usize].head(&self.heads) == entry.head;
        let at = self.by_head.find(hash, is_it).ok_or(MissingKey { hash })? as usize;
        self.expected = at + 1;
        Ok(self.keys[at].resolved)
    }

    /// Adds the key of an entry that was not found.
    pub(crate) fn insert(&mut self, entry: &Entry<'_>, missing: MissingKey, resolved: T) {
        let MissingKey { hash } = missing;
        // OK because heads are words, of which all keys have fewer than 2^32.
        let (start, len) = ((self.heads.len() / WORD_LEN) as u32, entry.head.len() / WORD_LEN);
        reserve_lean(&mut self.heads, entry.head.len());
        self.heads.extend_from_slice(entry.head);
        self.by_head.insert(hash, self.keys.len() as u32);
        reserve_lean(&mut self.keys, 1);
        self.keys.push(TableKey { start, len: len as u32, resolved });
        self.expected = self.keys.len();
    }
}

/// Reserves capacity in steps of an eighth: doubling would waste as much memory as these long tables have.
pub(super) fn reserve_lean<T>(items: &mut Vec<T>, count: usize) {
    if items.capacity() - items.len() < count {
        items.reserve_exact(count.max(items.len() / 8).max(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::entries::push_entry;
    use crate::file::layout::{EntryKind, HEADER_LEN, Header};

    #[test]
    fn a_key_of_any_length_is_found_again() {
        let mut bytes = Vec::new();
        // No writer of this crate writes such a key.
        push_entry(&mut bytes, EntryKind::Value, &vec![b'x'; 600 * 1024], 1.0, 1.0);
        let header = Header::new((HEADER_LEN + bytes.len()) as u32);
        let mut entries = Entries::detect(header, &bytes).unwrap();
        let entry = entries.next().unwrap().unwrap();
        let mut table = KeyTable::default();
        let missing = table.find(&entry).unwrap_err();
        table.insert(&entry, missing, 7);
        assert_eq!(table.find(&entry).ok(), Some(7));
    }
}

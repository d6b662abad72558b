//! The publication of an entry in a series file.
//!
//! Mirrors `SeriesWriter::append` in `file/writer.rs` with `write` and `publish` in `file/write_map.rs`. The bytes of an entry
//! are words here, stored relaxed, which orders as little as stores of plain bytes. A reader in another process reads
//! through the kernel; the reader of this model uses an acquire load instead.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;

use crate::model;

const ENTRIES: usize = 2;
/// Key, value and time.
const ENTRY_WORDS: usize = 3;

struct File {
    used: AtomicU32,
    words: Vec<AtomicU64>,
}

impl File {
    fn new() -> Arc<File> {
        let words = (0..ENTRIES * ENTRY_WORDS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(File { used: AtomicU32::new(0), words })
    }

    /// `Map::write` of an entry.
    fn write(&self, entry: usize) {
        for word in &self.words[entry * ENTRY_WORDS..][..ENTRY_WORDS] {
            word.store(1, Ordering::Relaxed);
        }
    }

    /// `Map::publish`.
    fn publish(&self, entry: usize, ordering: Ordering) {
        self.used.store(((entry + 1) * ENTRY_WORDS) as u32, ordering);
    }

    fn read(&self) {
        let used = self.used.load(Ordering::Acquire) as usize;
        assert_eq!(used % ENTRY_WORDS, 0);
        let whole = self.words[..used].iter().all(|word| word.load(Ordering::Relaxed) == 1);
        assert!(whole, "an entry is incomplete");
    }
}

fn append_and_read(append: fn(&File, usize)) {
    model(move || {
        let file = File::new();
        let own = file.clone();
        let writer = thread::spawn(move || (0..ENTRIES).for_each(|entry| append(&own, entry)));
        file.read();
        file.read();
        writer.join().unwrap();
        assert_eq!(file.used.load(Ordering::Relaxed) as usize, file.words.len());
        file.read();
    });
}

#[test]
fn an_entry_is_complete_once_used_covers_it() {
    append_and_read(|file, entry| {
        file.write(entry);
        file.publish(entry, Ordering::Release);
    });
}

#[test]
#[should_panic(expected = "an entry is incomplete")]
fn storing_used_before_the_entry_shows_an_incomplete_entry() {
    append_and_read(|file, entry| {
        file.publish(entry, Ordering::Release);
        file.write(entry);
    });
}

#[test]
#[should_panic(expected = "an entry is incomplete")]
fn storing_used_relaxed_shows_an_incomplete_entry() {
    append_and_read(|file, entry| {
        file.write(entry);
        file.publish(entry, Ordering::Relaxed);
    });
}

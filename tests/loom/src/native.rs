//! The publication of the current record of a native histogram: `file/companion/publish.rs`.
//!
//! A record is written with relaxed stores, and current from the store of its offset on, with release. A reader loads the
//! offset with acquire. Records are not reused.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::model;
use crate::native_publish::{current, publish};
use crate::slots::without_release;

const RECORD_WORDS: usize = 3;
/// Records with 0 to 2 operations. Offset 0 is no record.
const RECORDS: usize = 3;

struct File {
    current: AtomicU64,
    words: Vec<AtomicU64>,
}

impl File {
    fn new() -> File {
        let words = (0..RECORDS * RECORD_WORDS).map(|_| AtomicU64::new(0)).collect();
        File { current: AtomicU64::new(0), words }
    }

    fn record(&self, offset: u64) -> &[AtomicU64] {
        &self.words[(offset as usize - 1) * RECORD_WORDS..][..RECORD_WORDS]
    }

    /// Writes the record at this offset, whose words all are the offset.
    fn write(&self, offset: u64) {
        self.record(offset).iter().for_each(|word| word.store(offset, Ordering::Relaxed));
    }

    /// Returns the offset of the current record.
    fn read(&self, current: fn(&AtomicU64) -> u64) -> u64 {
        let offset = current(&self.current);
        if offset > 0 {
            let is_whole = |word: &AtomicU64| word.load(Ordering::Relaxed) == offset;
            assert!(self.record(offset).iter().all(is_whole), "a record is incomplete");
        }
        offset
    }
}

/// One thread replaces the record while another one reads the current one.
fn replace_and_read(replace: fn(&File, u64), current: fn(&AtomicU64) -> u64) {
    model(move || {
        let file = Arc::new(File::new());
        let own = file.clone();
        let writer = thread::spawn(move || (1..=RECORDS as u64).for_each(|at| replace(&own, at)));
        let early = file.read(current);
        assert!(early <= file.read(current), "a record is older");
        writer.join().unwrap();
        assert_eq!(file.read(current), RECORDS as u64);
    });
}

#[test]
fn a_reader_sees_the_old_or_the_new_record_complete() {
    let replace = |file: &File, at| {
        file.write(at);
        publish(&file.current, at);
    };
    replace_and_read(replace, current);
}

#[test]
#[should_panic(expected = "a record is incomplete")]
fn storing_the_offset_before_the_record_shows_an_incomplete_record() {
    let replace = |file: &File, at| {
        publish(&file.current, at);
        file.write(at);
    };
    replace_and_read(replace, current);
}

#[test]
#[should_panic(expected = "a record is incomplete")]
fn storing_the_offset_relaxed_shows_an_incomplete_record() {
    let replace = |file: &File, at| {
        file.write(at);
        without_release::publish::publish(&file.current, at);
    };
    replace_and_read(replace, without_release::publish::current);
}

#[test]
#[should_panic(expected = "a record is incomplete")]
fn loading_the_offset_relaxed_shows_an_incomplete_record() {
    let replace = |file: &File, at| {
        file.write(at);
        publish(&file.current, at);
    };
    replace_and_read(replace, |word| word.load(Ordering::Relaxed));
}

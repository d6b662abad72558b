//! The integers up to which totals are exact.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use multiprom::{Backend, Counter, Registry};

use super::{MAGIC, counter_key, entry, run_in, series_file};
use crate::support::TestDir;
use crate::support::http::sum_of;
use crate::threads::INDEXES;

/// The last integer up to which floats represent each integer.
const LIMIT: u64 = 1 << 53;

/// The total of the counter `big` in a directory.
fn big_total(dir: &Path) -> u64 {
    let outcome = run_in(dir, "dump");
    assert_eq!((outcome.status, &*outcome.stderr), (0, ""));
    sum_of(&outcome.stdout, "big_total") as u64
}

#[test]
fn a_merged_total_is_the_exact_sum_of_all_entries_rounded_once_also_of_an_archive() {
    let (archived, unarchived) = (TestDir::new("exact-archived"), TestDir::new("exact"));
    let mut exact = 0;
    // The second process has entries of two threads. A sum of floats would stay at the limit.
    for (process, values) in
        [&[LIMIT - 1][..], &[1, 1], &[1], &[LIMIT - 1], &[3], &[1]].into_iter().enumerate()
    {
        let key = counter_key("big");
        let entries: Vec<_> =
            values.iter().map(|value| entry(&key, 0, *value as f64, 1.0)).collect();
        for dir in [&archived, &unarchived] {
            let path = dir.path().join(format!("counter_{process}-00000000.db"));
            fs::write(path, series_file(MAGIC, &entries)).unwrap();
        }
        exact += values.iter().sum::<u64>();
        // OK because the conversion rounds once, to the nearest float.
        let rounded = exact as f64 as u64;
        assert_eq!(big_total(unarchived.path()), rounded, "after process {process}");
        assert_eq!(big_total(archived.path()), rounded, "after process {process}");
        let outcome = run_in(archived.path(), "compact");
        assert_eq!((outcome.status, &*outcome.stdout), (0, "1 files compacted\n"));
        assert_eq!(big_total(archived.path()), rounded, "after the compaction of {process}");
    }
    assert_eq!(exact, 2 * LIMIT + 5);
}

#[test]
fn increments_by_1_beyond_the_limit_of_floats_are_exported_from_memory_and_from_files() {
    let _indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = TestDir::new("exact-recorded");
    let backend = Backend::directory(dir.path()).unwrap();
    for registry in [Registry::new(), Registry::builder().backend(backend).build().unwrap()] {
        let big = Counter::builder("big_total", "Help.").register(&registry).unwrap();
        big.inc_by(LIMIT as f64);
        (0..4).for_each(|_| big.inc());
        assert_eq!(big.get() as u64, LIMIT + 4);
    }
    assert_eq!(big_total(dir.path()), LIMIT + 4);
}

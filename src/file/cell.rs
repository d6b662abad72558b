//! One 64-bit word that holds a sample's value or time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::fork_safe::{Home, Release, WordLine, WordRef};
use crate::prefetch::prefetch;

/// The address of a word that lives as long as the process: in a mapped series file or on the heap.
///
/// Written by threads of the process that owns the file, and read by them and, through the file, by
/// every reader of the directory.
///
/// ORDERING: relaxed everywhere, as nothing else is published through a word.
#[derive(Clone, Copy, Debug)]
pub struct Cell(&'static AtomicU64);

impl Cell {
    pub(crate) const fn new(word: &'static AtomicU64) -> Cell {
        Cell(word)
    }

    /// The cell at an address in memory that may be given back.
    #[inline]
    pub(crate) fn at(word: &WordRef) -> Cell {
        Cell(word.get())
    }

    /// The address of the cell, for such memory.
    pub(crate) fn address(self) -> WordRef {
        WordRef::new(self.0)
    }

    /// Prefetches the word.
    #[inline]
    pub(crate) fn prefetch(self) {
        prefetch(self.0);
    }

    /// The word itself.
    pub(crate) const fn word(self) -> &'static AtomicU64 {
        self.0
    }

    pub(crate) fn bits(self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn get(self) -> f64 {
        Cell::read(self.0)
    }

    /// Reads the value of a word.
    #[inline]
    pub(crate) fn read(word: &AtomicU64) -> f64 {
        f64::from_bits(word.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set(self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Replaces the value unless it has changed since it was `seen`.
    #[inline]
    pub(crate) fn replace(self, seen: f64, value: f64) {
        let (seen, value) = (seen.to_bits(), value.to_bits());
        // OK because another thread has just stored a value of its own.
        let _ = self.0.compare_exchange(seen, value, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Adds by a plain load and store. The caller is the only writer of the word.
    #[inline]
    pub(crate) fn add_owned(self, amount: f64) {
        self.set(self.get() + amount);
    }

    /// Adds by compare-and-swap, for words that several threads write.
    #[inline]
    pub(crate) fn add(self, amount: f64) {
        self.add_counting_failures(amount);
    }

    /// As [`add`](Cell::add). Returns how often another thread changed the word in between.
    #[inline]
    pub(crate) fn add_counting_failures(self, amount: f64) -> u32 {
        let (mut seen, mut failures) = (self.0.load(Ordering::Relaxed), 0);
        loop {
            let sum = (f64::from_bits(seen) + amount).to_bits();
            match self.0.compare_exchange_weak(seen, sum, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return failures,
                Err(now) => seen = now,
            }
            failures += 1;
        }
    }
}

/// The words of one sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleCells {
    pub(crate) value: Cell,
    /// Unix seconds; the meaning depends on the metric type.
    pub(crate) time: Cell,
}

impl SampleCells {
    /// Makes a gauge one that was never set.
    pub(crate) fn reset(&self) {
        // The value first: while the time says that the gauge is removed, readers ignore it.
        self.value.set(0.0);
        self.time.set(0.0);
    }

    /// Allocates the words of one sample, which are never freed.
    pub(crate) fn on_heap(value: f64, time: f64) -> SampleCells {
        let line: &'static WordLine = Box::leak(Box::default());
        let [time_word, value_word, ..] = &line.0;
        let cells = SampleCells { value: Cell(value_word), time: Cell(time_word) };
        cells.value.set(value);
        cells.time.set(time);
        cells
    }

    /// Allocates the words of all samples of a series together. The samples have one time: it is that of the series.
    pub(crate) fn all_in(home: Home, count: usize, time: f64) -> Vec<SampleCells> {
        let lines = (0..lines(count)).map(|_| WordLine::default());
        let lines = home.slice(lines.collect());
        let mut words = lines.iter().flat_map(|line| &line.0).map(Cell);
        let Some(time_word) = words.next() else {
            return Vec::new();
        };
        time_word.set(time);
        words.take(count).map(|value| SampleCells { value, time: time_word }).collect()
    }
}

/// Releases the words of all samples of a series, whose first word is that of their time.
pub(crate) fn release_words(time: Cell, count: usize, release: &mut Release) {
    release.lines(time.0, lines(count));
}

const fn lines(count: usize) -> usize {
    (count + 1).div_ceil(WORDS_PER_LINE)
}

const WORDS_PER_LINE: usize = WordLine::WORDS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_add_to_one_cell_lose_nothing() {
        let cell = SampleCells::on_heap(0.0, 0.0).value;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| cell.add(1.0)));
            }
        });
        assert_eq!(cell.get(), 40_000.0);
    }
}

//! Adds the values of files to sums and gauges.
//!
//! Each value is in a cache line of its own, behind its key. So values are prefetched, and those of several files that begin
//! with the same keys are added together, one value of each file at a time: the loads, which need different pages, overlap,
//! and the sum is loaded once for all of them.

use std::marker::PhantomData;

use super::exact_sum::ExactSum;
use super::gauge::{
    Contribution, Count, Ignored, Max, Mean, Min, MostRecent, ReducedGauge, Reduction, Sum,
};
use super::source::WordSource;
use super::value_refs::{FILLER, PREFETCH_DISTANCE, Part, Visitor};
use crate::file::layout::{Layout, RemovalState};
use crate::model::GaugeMode;

/// How many files are added together. More do not make it faster.
pub(super) const BATCH: usize = 4;

/// How many values ahead of the current ones are prefetched if several files are added together.
const BATCH_DISTANCE: usize = 12;

const fn distance(files: usize) -> usize {
    if files == 1 { PREFETCH_DISTANCE } else { BATCH_DISTANCE }
}

/// Adds the values of files to the sums.
pub(super) struct AddSums<'a, W, const N: usize> {
    pub(super) sums: &'a mut [ExactSum],
    pub(super) files: [&'a W; N],
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl<W: WordSource, const N: usize> Visitor for AddSums<'_, W, N> {
    const DISTANCE: usize = distance(N);

    #[inline(always)]
    fn prefetch(&self, word: u32) {
        self.files.iter().for_each(|words| words.prefetch(word));
    }

    #[inline(always)]
    fn visit(&mut self, word: u32, id: usize) {
        let sum = &mut self.sums[id];
        let mut total = *sum;
        for words in self.files {
            total.add(f64::from_bits(words.word(word)));
        }
        *sum = total;
    }
}

/// Adds values that were read before to the sums, in the order of the plan.
pub(super) struct AddInOrder<'a> {
    pub(super) sums: &'a mut [ExactSum],
    pub(super) values: std::slice::Iter<'a, f64>,
}

#[expect(clippy::inline_always, reason = "for every value of every file")]
impl Visitor for AddInOrder<'_> {
    #[inline(always)]
    fn visit(&mut self, _: u32, id: usize) {
        if let Some(value) = self.values.next() {
            self.sums[id].add(*value);
        }
    }
}

/// Reads the values of files with gauges.
pub(super) struct GaugeEntries<'a, W, const N: usize> {
    files: [&'a W; N],
    /// The source of the values that are kept.
    source: u32,
    is_merged: bool,
    has_time: bool,
    /// Whether the files are in the layout of this crate: then a time of 0 means that a gauge was never set, and a negative
    /// one that it is removed.
    is_own: bool,
    has_removed: &'a mut bool,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl<'a, W: WordSource, const N: usize> GaugeEntries<'a, W, N> {
    /// The entries of files of this layout. `is_merged` says whether the values are merged ones of an archive.
    pub(super) fn new(
        files: [&'a W; N],
        source: u32,
        is_merged: bool,
        layout: Layout,
        has_removed: &'a mut bool,
    ) -> GaugeEntries<'a, W, N> {
        let (has_time, is_own) = (layout.has_time(), layout == Layout::Own);
        GaugeEntries { files, source, is_merged, has_time, is_own, has_removed }
    }

    /// Prefetches values and the times behind them, which may be in the next cache line.
    #[inline(always)]
    fn prefetch(&self, word: u32) {
        for words in self.files {
            words.prefetch(word);
            words.prefetch(word + 1);
        }
    }

    /// The value of an entry of a file; `None` if it is removed.
    #[inline(always)]
    fn read(&mut self, file: usize, word: u32) -> Option<Contribution> {
        let value = |word| f64::from_bits(self.files[file].word(word));
        let time = if self.has_time { value(word + 1) } else { 0.0 };
        if self.is_own && matches!(RemovalState::of(time), RemovalState::Removed(_)) {
            *self.has_removed = true;
            return None;
        }
        let is_unset = self.is_own && time == 0.0;
        let (source, is_merged) = (self.source, self.is_merged);
        Some(Contribution { source, value: value(word), time, is_merged, is_unset })
    }
}

/// Adds the values of a file to those that are kept.
pub(super) struct KeepGauges<'a, W> {
    pub(super) gauges: &'a mut [Vec<Contribution>],
    pub(super) entries: GaugeEntries<'a, W, 1>,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl<W: WordSource> Visitor for KeepGauges<'_, W> {
    #[inline(always)]
    fn prefetch(&self, word: u32) {
        self.entries.prefetch(word);
    }

    #[inline(always)]
    fn visit(&mut self, word: u32, id: usize) {
        if id != FILLER
            && let Some(new) = self.entries.read(0, word)
        {
            push_lean(&mut self.gauges[id], new);
        }
    }
}

/// Reduces values of files by their mode. `is_counted` says whether they count in it. Returns the position of the last value.
pub(super) fn reduce_by<W: WordSource, const N: usize>(
    mode: GaugeMode,
    is_counted: bool,
    part: Part<'_>,
    gauges: &mut [ReducedGauge],
    entries: GaugeEntries<'_, W, N>,
) -> u32 {
    let mode = if is_counted { mode } else { GaugeMode::All };
    match mode {
        GaugeMode::All | GaugeMode::LiveAll => reduce::<Ignored, _, N>(part, gauges, entries),
        GaugeMode::Sum | GaugeMode::LiveSum => reduce::<Sum, _, N>(part, gauges, entries),
        GaugeMode::Avg | GaugeMode::LiveAvg => reduce::<Mean, _, N>(part, gauges, entries),
        GaugeMode::Count | GaugeMode::LiveCount => reduce::<Count, _, N>(part, gauges, entries),
        GaugeMode::Min | GaugeMode::LiveMin => reduce::<Min, _, N>(part, gauges, entries),
        GaugeMode::Max | GaugeMode::LiveMax => reduce::<Max, _, N>(part, gauges, entries),
        GaugeMode::MostRecent | GaugeMode::LiveMostRecent => {
            reduce::<MostRecent, _, N>(part, gauges, entries)
        }
    }
}

fn reduce<R: Reduction, W: WordSource, const N: usize>(
    part: Part<'_>,
    gauges: &mut [ReducedGauge],
    entries: GaugeEntries<'_, W, N>,
) -> u32 {
    part.visit(&mut ReduceGauges::<'_, W, R, N> { gauges, entries, by: PhantomData })
}

/// Reduces the values of files.
struct ReduceGauges<'a, W, R, const N: usize> {
    gauges: &'a mut [ReducedGauge],
    entries: GaugeEntries<'a, W, N>,
    by: PhantomData<R>,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl<W: WordSource, R: Reduction, const N: usize> Visitor for ReduceGauges<'_, W, R, N> {
    const DISTANCE: usize = distance(N);

    #[inline(always)]
    fn prefetch(&self, word: u32) {
        self.entries.prefetch(word);
    }

    #[inline(always)]
    fn visit(&mut self, word: u32, id: usize) {
        if id == FILLER {
            return;
        }
        let mut gauge = self.gauges[id];
        for file in 0..N {
            if let Some(new) = self.entries.read(file, word) {
                gauge.add_by::<R>(&new);
            }
        }
        self.gauges[id] = gauge;
    }
}

/// Appends to one of many lists, most of which are short: capacity begins at 1.
fn push_lean<T>(items: &mut Vec<T>, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len().max(1));
    }
    items.push(item);
}

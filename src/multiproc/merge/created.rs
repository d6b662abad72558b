//! Start timestamps of merged series: the earliest of all files.
//!
//! The time of an entry is the word behind its value. It is read only in scrapes whose sink wants start timestamps.

use super::plan::Plan;
use super::source::WordSource;
use super::value_refs::Visitor;
use crate::model::FamilySink;

/// Whether a scrape reads the start timestamps of counters, histograms and summaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EntryTimes {
    #[default]
    Skipped,
    Read,
}

impl EntryTimes {
    /// What a sink needs.
    pub(crate) fn wanted_by(out: &dyn FamilySink) -> EntryTimes {
        if out.wants_created() { EntryTimes::Read } else { EntryTimes::Skipped }
    }
}

/// The start timestamps of the sums of one scrape.
#[derive(Default)]
pub(super) struct StartTimes {
    times: EntryTimes,
    /// By the id of the sum, in Unix seconds; infinite if no file has a time.
    by_id: Vec<f64>,
}

impl StartTimes {
    /// Selects what the scrapes that follow read.
    pub(super) fn select(&mut self, times: EntryTimes) {
        self.times = times;
    }

    /// Discards the times of a scrape.
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    /// Adds the times of a file from a value on. `sums` is the number of ids.
    pub(super) fn add(&mut self, plan: &Plan, from: usize, words: &impl WordSource, sums: usize) {
        if self.times == EntryTimes::Read && plan.layout.has_time() {
            self.by_id.resize(sums, f64::INFINITY);
            plan.values.visit(from, &mut KeepEarliest { by_id: &mut self.by_id, words });
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The earliest time of a sum.
    pub(super) fn get(&self, id: usize) -> Option<f64> {
        self.by_id.get(id).copied().filter(|time| time.is_finite())
    }
}

struct KeepEarliest<'a, W> {
    by_id: &'a mut [f64],
    words: &'a W,
}

impl<W: WordSource> Visitor for KeepEarliest<'_, W> {
    #[inline]
    fn visit(&mut self, word: u32, id: usize) {
        let time = f64::from_bits(self.words.word(word + 1));
        let earliest = &mut self.by_id[id];
        // Files of the Python client have the time 0.
        if time > 0.0 && time < *earliest {
            *earliest = time;
        }
    }
}

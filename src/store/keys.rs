//! The keys of one series.

use crate::file::key::SampleName;
use crate::file::layout::EntryKind;
use crate::file::{Entries, EntryTemplate};
use crate::model::Labels;
use crate::model::number::{self, Style};

/// The keys of the samples of one series, in entries with the value 0.
#[derive(Default)]
pub(crate) struct Keys {
    entries: Entries,
    /// The time in the next entries.
    time: f64,
    bounds: BoundTexts,
    /// The template of the keys of buckets.
    buckets: Option<Box<EntryTemplate>>,
}

/// A cache of the texts of upper bounds, in slots chosen by a hash of the bits: the series of a family have the same bounds.
#[derive(Default)]
pub(super) struct BoundTexts(Vec<(f64, Vec<u8>)>);

const KEPT_BOUNDS: usize = 128;

impl BoundTexts {
    /// The text of a bound as a label value.
    fn get(&mut self, bound: f64) -> &[u8] {
        if self.0.is_empty() {
            self.0.resize(KEPT_BOUNDS, (0.0, Vec::new()));
        }
        // The high bits of a product depend on all bits. The constant is 2^64 divided by the golden ratio.
        let place =
            bound.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - KEPT_BOUNDS.ilog2());
        let (kept, text) = &mut self.0[place as usize];
        if text.is_empty() || kept.to_bits() != bound.to_bits() {
            *kept = bound;
            text.clear();
            number::push_f64(text, bound, Style::Canonical);
        }
        text
    }
}

/// A buffer that has grown beyond this is not kept.
const MAX_KEPT_LEN: usize = 64 * 1024;

impl Keys {
    /// Removes the keys, for use as a buffer.
    pub(super) fn clear(&mut self) {
        self.entries.clear(MAX_KEPT_LEN);
        self.buckets.take_if(|template| template.key_len(&[]).padded > MAX_KEPT_LEN);
    }

    /// Sets the time of the entries that follow.
    pub(super) fn set_time(&mut self, time: f64) {
        self.time = time;
    }

    /// Adds a key, which `encode` appends to its argument.
    pub(super) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.entries.push_with(EntryKind::Value, encode, 0.0, self.time);
    }

    /// Sets what the keys of the buckets that follow have in common.
    pub(super) fn set_buckets(&mut self, sample: SampleName<'_>, labels: Labels<'_>, help: &str) {
        let template = self.buckets.get_or_insert_with(|| Box::new(EntryTemplate::new()));
        template.set(sample, labels, "le", help);
    }

    /// Adds the key of a bucket.
    pub(super) fn push_bucket(&mut self, bound: f64) {
        if let Some(template) = &mut self.buckets {
            self.entries.push_from(template, bound, || self.bounds.get(bound), self.time);
        }
    }

    /// The keys as entries.
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_bounds_are_those_of_each_bound() {
        let mut texts = BoundTexts::default();
        let bounds = (0..1_000).map(|at| f64::from(at) / 64.0).chain([f64::INFINITY, -0.0, -1.5]);
        let bounds: Vec<f64> = bounds.chain([f64::NAN, 0.0, 1.0]).collect();
        for bound in bounds.iter().chain(&bounds) {
            let mut text = Vec::new();
            number::push_f64(&mut text, *bound, Style::Canonical);
            assert_eq!(texts.get(*bound), text);
        }
    }
}

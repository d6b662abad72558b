//! The keys of one series.

use crate::model::number::{self, Style};

/// The keys of the samples of one series.
#[derive(Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    bounds: BoundTexts,
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
        if self.bytes.capacity() > MAX_KEPT_LEN {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a key, which `encode` appends to its argument.
    pub(super) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds the key of a bucket, which `encode` appends to its first argument. The second one is the text of the bound.
    pub(super) fn push_bucket(&mut self, bound: f64, encode: impl FnOnce(&mut Vec<u8>, &[u8])) {
        encode(&mut self.bytes, self.bounds.get(bound));
        self.ends.push(self.bytes.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
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

//! The labels of a series, in memory that may be given back.

use crate::model::{KeptLabels, LabelPairs, Labels};
use crate::store::fork::{Home, MAX_SLICE_LEN, Release, TransientSlice, TransientStr};

/// The labels of a series: as text, or as pairs if a value needs escapes, as [`KeptLabels`] are.
pub(super) struct ChildLabels {
    /// Empty if there are pairs.
    text: TransientStr,
    /// Empty if there is a text.
    pairs: TransientSlice<[TransientStr; 2]>,
}

impl ChildLabels {
    /// Whether labels are short enough for memory that may be given back.
    pub(super) fn is_short<'a>(values: impl Iterator<Item = &'a str>) -> bool {
        // For each text 32 bytes more: punctuation, or its address as one of a pair.
        values.map(|text| text.len() + 32).sum::<usize>() < MAX_SLICE_LEN / 4
    }

    pub(super) fn new(labels: &KeptLabels, home: Home) -> ChildLabels {
        let mut pairs = Vec::new();
        if labels.text().is_none() {
            labels.push_pairs(&mut pairs);
        }
        let pairs = pairs.iter().map(|(name, value)| [home.text(name), home.text(value)]);
        ChildLabels {
            text: home.text(labels.text().unwrap_or_default()),
            pairs: TransientSlice::new(home.slice(pairs.collect())),
        }
    }

    /// Whether there is a text.
    #[inline]
    pub(super) fn is_rendered(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The text of rendered labels, else an empty one.
    #[inline]
    pub(super) fn rendered(&self) -> &'static str {
        self.text.get()
    }

    /// The labels as pairs, if they have no text.
    pub(super) fn others(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str)> + Clone + use<> {
        self.pairs.get().iter().map(|[name, value]| (name.get(), value.get()))
    }

    /// The address of the text, for a prefetch.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.text.as_ptr()
    }

    /// Releases the labels of a series that does not come back.
    pub(super) fn release(&self, release: &mut Release) {
        release.slice(self.text.get().as_bytes());
        for [name, value] in self.pairs.get() {
            release.slice(name.get().as_bytes());
            release.slice(value.get().as_bytes());
        }
        release.slice(self.pairs.get());
    }
}

impl LabelPairs for ChildLabels {
    fn push_pairs<'a>(&'a self, pairs: &mut Vec<(&'a str, &'a str)>) {
        match self.text() {
            Some(text) => pairs.extend(Labels::from_rendered(text).iter()),
            None => self.others().for_each(|pair| pairs.push(pair)),
        }
    }

    #[inline]
    fn text(&self) -> Option<&str> {
        if self.is_rendered() { Some(self.rendered()) } else { None }
    }
}

//! A sink that forwards some families.

use super::{FamilyMetadata, FamilySink, Labels, NativeHistogram, Sample};
use crate::error::Error;

/// Forwards the families for whose metadata a filter returns `true`.
pub(crate) struct FilteredSink<'a, F> {
    out: &'a mut dyn FamilySink,
    is_kept: F,
    is_skipping: bool,
}

impl<'a, F: FnMut(&FamilyMetadata<'_>) -> bool> FilteredSink<'a, F> {
    pub(crate) fn new(out: &'a mut dyn FamilySink, is_kept: F) -> FilteredSink<'a, F> {
        FilteredSink { out, is_kept, is_skipping: false }
    }
}

impl<F: FnMut(&FamilyMetadata<'_>) -> bool> FamilySink for FilteredSink<'_, F> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.is_skipping = !(self.is_kept)(head);
        if !self.is_skipping {
            self.out.family(head);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if !self.is_skipping {
            self.out.sample(sample);
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        if !self.is_skipping {
            self.out.native_histogram(labels, histogram);
        }
    }

    fn wants_created(&self) -> bool {
        self.out.wants_created()
    }

    fn fail(&mut self, error: Error) {
        self.out.fail(error);
    }
}

//! A sink that forwards some families.

use super::{
    FamilyMetadata, FamilySink, MetricType, NativeHistogram, RenderedLabels, Sample, SampleKind,
};
use crate::error::Error;

/// Forwards the families for whose name and type a filter holds.
pub(crate) struct FilteredSink<'a, F> {
    out: &'a mut dyn FamilySink,
    is_kept: F,
    is_skipping: bool,
}

impl<'a, F: Fn(&str, MetricType) -> bool> FilteredSink<'a, F> {
    pub(crate) fn new(out: &'a mut dyn FamilySink, is_kept: F) -> FilteredSink<'a, F> {
        FilteredSink { out, is_kept, is_skipping: false }
    }
}

impl<F: Fn(&str, MetricType) -> bool> FamilySink for FilteredSink<'_, F> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.is_skipping = !(self.is_kept)(head.name, head.metric_type);
        if !self.is_skipping {
            self.out.family(head);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if !self.is_skipping {
            self.out.sample(sample);
        }
    }

    fn rendered(&mut self, kind: SampleKind, labels: RenderedLabels<'_>, value: f64) {
        if !self.is_skipping {
            self.out.rendered(kind, labels, value);
        }
    }

    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
        if !self.is_skipping {
            self.out.native_histogram(labels, histogram);
        }
    }

    fn fail(&mut self, error: Error) {
        self.out.fail(error);
    }
}

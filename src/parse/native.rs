//! Native histograms that own their buckets.

use super::family::{OwnedExemplar, borrowed, borrowed_exemplars, owned};
use crate::model::{BucketSpan, Exemplar, FamilySink, NativeBuckets, NativeHistogram};

/// A native histogram of a [`Family`](super::Family).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedNativeHistogram {
    /// How many samples of the family come before it: those of its classic buckets are the last of them.
    pub after: usize,
    /// The labels in their order.
    pub labels: Vec<(String, String)>,
    /// All observations.
    pub count: f64,
    /// The sum of the observations.
    pub sum: f64,
    /// How fine the buckets are, -4 to 8.
    pub schema: i32,
    /// Observations from minus this to this are in the zero bucket.
    pub zero_threshold: f64,
    /// The observations in the zero bucket.
    pub zero_count: f64,
    /// The observations below the zero bucket.
    pub negative: OwnedNativeBuckets,
    /// The observations above the zero bucket.
    pub positive: OwnedNativeBuckets,
    /// Observations that stand for others.
    pub exemplars: Vec<OwnedExemplar>,
    /// When counting began, in seconds since the Unix epoch.
    pub created: Option<f64>,
    /// When the value was taken, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
}

/// The buckets of an [`OwnedNativeHistogram`] on one side of zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedNativeBuckets {
    /// Which buckets there are.
    pub spans: Vec<BucketSpan>,
    /// The observations in each of them, not cumulative.
    pub counts: Vec<f64>,
}

impl OwnedNativeBuckets {
    fn copy(buckets: &NativeBuckets<'_>) -> OwnedNativeBuckets {
        OwnedNativeBuckets { spans: buckets.spans.to_vec(), counts: buckets.counts.to_vec() }
    }

    /// The buckets, borrowed.
    pub(super) fn borrow(&self) -> NativeBuckets<'_> {
        NativeBuckets { spans: &self.spans, counts: &self.counts }
    }
}

impl OwnedNativeHistogram {
    pub(super) fn copy(
        after: usize,
        labels: &[(&str, &str)],
        histogram: &NativeHistogram<'_>,
    ) -> OwnedNativeHistogram {
        OwnedNativeHistogram {
            after,
            labels: owned(labels),
            count: histogram.count,
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            negative: OwnedNativeBuckets::copy(&histogram.negative),
            positive: OwnedNativeBuckets::copy(&histogram.positive),
            exemplars: histogram.exemplars.iter().map(OwnedExemplar::copy).collect(),
            created: histogram.created,
            timestamp: histogram.timestamp,
        }
    }

    pub(super) fn give(&self, sink: &mut dyn FamilySink) {
        borrowed_exemplars(&self.exemplars, |exemplars: &[Exemplar<'_>]| {
            let histogram = NativeHistogram {
                count: self.count,
                sum: self.sum,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                zero_count: self.zero_count,
                negative: self.negative.borrow(),
                positive: self.positive.borrow(),
                exemplars,
                created: self.created,
                timestamp: self.timestamp,
            };
            sink.native_histogram(&borrowed(&self.labels), &histogram);
        });
    }
}

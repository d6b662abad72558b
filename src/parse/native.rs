//! Owned native histograms.

use super::exemplar::{OwnedExemplar, borrowed, borrowed_exemplars, owned};
use crate::model::{BucketSpan, Exemplar, FamilySink, Labels, NativeBuckets, NativeHistogram};

/// A native histogram of a [`OwnedFamily`](super::OwnedFamily).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OwnedNativeHistogram {
    /// The number of samples of the family that precede it in the exposition. The last of these are its
    /// classic samples, if it has any.
    pub after: usize,
    /// The labels, in the order of the exposition.
    pub labels: Vec<(String, String)>,
    /// The number of observations.
    pub count: f64,
    /// The sum of the observations.
    pub sum: f64,
    /// The resolution: bucket bounds grow by a factor of `2^(2^-schema)`. From -4 to 8.
    pub schema: i32,
    /// The upper bound of the zero bucket, which holds the observations from `-zero_threshold` to
    /// `zero_threshold`.
    pub zero_threshold: f64,
    /// The number of observations in the zero bucket.
    pub zero_count: f64,
    /// The buckets of observations below the zero bucket.
    pub negative: OwnedNativeBuckets,
    /// The buckets of observations above the zero bucket.
    pub positive: OwnedNativeBuckets,
    /// The exemplars.
    pub exemplars: Vec<OwnedExemplar>,
    /// The start timestamp, in seconds since the Unix epoch.
    pub created: Option<f64>,
    /// The timestamp of the sample, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
}

/// The buckets of an [`OwnedNativeHistogram`] on one side of zero.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct OwnedNativeBuckets {
    /// The indexes of the populated buckets, as runs.
    pub spans: Vec<BucketSpan>,
    /// The number of observations in each bucket, in the order of the spans; not cumulative.
    pub counts: Vec<f64>,
}

impl OwnedNativeBuckets {
    fn copy(buckets: &NativeBuckets<'_>) -> OwnedNativeBuckets {
        OwnedNativeBuckets { spans: buckets.spans.to_vec(), counts: buckets.counts.to_vec() }
    }

    pub(super) fn borrow(&self) -> NativeBuckets<'_> {
        NativeBuckets { spans: &self.spans, counts: &self.counts }
    }
}

impl OwnedNativeHistogram {
    pub(super) fn copy(
        after: usize,
        labels: Labels<'_>,
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

    pub(super) fn emit(&self, sink: &mut dyn FamilySink) {
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
            sink.native_histogram(Labels::new(&borrowed(&self.labels)), &histogram);
        });
    }
}

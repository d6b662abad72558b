//! Native histograms, whose bucket bounds are computed from a schema.
//!
//! See: <https://prometheus.io/docs/specs/native_histograms/>

use super::Exemplar;

/// The standard, exponential schemas.
const STANDARD_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// 2^53: smaller integers are exact in an `f64`.
const MAX_EXACT_COUNT: f64 = 9_007_199_254_740_992.0;

/// The native histogram of one label set of a histogram or gauge histogram family.
///
/// The label set may have classic buckets too, as samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NativeHistogram<'a> {
    /// The number of observations, NaN included.
    pub count: f64,
    /// The sum of the observations, in base units.
    pub sum: f64,
    /// The resolution, from -4 to 8: the factor between two bucket bounds is 2 to the power of 2^-schema.
    pub schema: i32,
    /// The upper bound of the zero bucket, which holds the observations from `-zero_threshold` to
    /// `zero_threshold`; not negative, in base units.
    pub zero_threshold: f64,
    /// The number of observations in the zero bucket.
    pub zero_count: f64,
    /// The buckets of observations below the zero bucket.
    pub negative: NativeBuckets<'a>,
    /// The buckets of observations above the zero bucket.
    pub positive: NativeBuckets<'a>,
    /// The exemplars.
    pub exemplars: &'a [Exemplar<'a>],
    /// The start timestamp, in seconds since the Unix epoch.
    pub created: Option<f64>,
    /// The time of the value, in seconds since the Unix epoch. `None`, as usual, means the time of the scrape.
    pub timestamp: Option<f64>,
}

/// The buckets of a native histogram on one side of zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NativeBuckets<'a> {
    /// The indexes of the buckets, as runs of consecutive indexes.
    pub spans: &'a [BucketSpan],
    /// The number of observations in each bucket, not cumulative. The length is the sum of the lengths of the spans.
    pub counts: &'a [f64],
}

/// A run of buckets with consecutive indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketSpan {
    /// The number of buckets between the previous span and this one. In the first span, the index of its first
    /// bucket; the upper bound of the bucket with index 0 is 1.
    pub offset: i32,
    /// The number of buckets in the span.
    pub length: u32,
}

impl BucketSpan {
    /// A span of `length` buckets at this offset.
    pub const fn new(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }
}

impl<'a> NativeBuckets<'a> {
    /// Buckets from their spans and counts.
    pub const fn new(spans: &'a [BucketSpan], counts: &'a [f64]) -> NativeBuckets<'a> {
        NativeBuckets { spans, counts }
    }

    fn is_valid(&self) -> bool {
        let length: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        let only_advances = self.spans.iter().skip(1).all(|span| span.offset >= 0);
        length == self.counts.len() as u64 && only_advances
    }
}

impl<'a> NativeHistogram<'a> {
    /// A native histogram whose zero bucket has the threshold 0 and no observations, without other buckets.
    pub fn new(schema: i32, count: f64, sum: f64) -> NativeHistogram<'a> {
        NativeHistogram { count, sum, schema, ..NativeHistogram::default() }
    }

    /// The same histogram with this zero bucket: its upper bound and its number of observations.
    pub const fn with_zero_bucket(self, threshold: f64, count: f64) -> NativeHistogram<'a> {
        NativeHistogram { zero_threshold: threshold, zero_count: count, ..self }
    }

    /// The same histogram with these buckets below the zero bucket.
    pub const fn with_negative(self, buckets: NativeBuckets<'a>) -> NativeHistogram<'a> {
        NativeHistogram { negative: buckets, ..self }
    }

    /// The same histogram with these buckets above the zero bucket.
    pub const fn with_positive(self, buckets: NativeBuckets<'a>) -> NativeHistogram<'a> {
        NativeHistogram { positive: buckets, ..self }
    }

    /// The same histogram with these exemplars.
    pub const fn with_exemplars(self, exemplars: &'a [Exemplar<'a>]) -> NativeHistogram<'a> {
        NativeHistogram { exemplars, ..self }
    }

    /// The same histogram with this start timestamp, in seconds since the Unix epoch.
    pub const fn with_created(self, seconds: f64) -> NativeHistogram<'a> {
        NativeHistogram { created: Some(seconds), ..self }
    }

    /// The same histogram with this time of its value, in seconds since the Unix epoch.
    pub const fn with_timestamp(self, seconds: f64) -> NativeHistogram<'a> {
        NativeHistogram { timestamp: Some(seconds), ..self }
    }

    /// Whether the schema is from -4 to 8, the zero threshold is neither NaN nor negative, the spans do not overlap,
    /// and there is one count for each of their buckets. Encoders omit invalid native histograms.
    pub fn is_valid(&self) -> bool {
        STANDARD_SCHEMAS.contains(&self.schema)
            && self.zero_threshold >= 0.0
            && self.negative.is_valid()
            && self.positive.is_valid()
    }
}

/// Whether a count is a non-negative integer that an `f64` holds exactly.
pub(crate) fn is_whole_count(count: f64) -> bool {
    (0.0..MAX_EXACT_COUNT).contains(&count) && count.trunc() == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_schemas_thresholds_and_spans_are_detected() {
        let spans = [BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 1, length: 2 }];
        let buckets = NativeBuckets { spans: &spans, counts: &[1.0, 2.0, 3.0] };
        let good = NativeHistogram { positive: buckets, count: 6.0, ..NativeHistogram::default() };
        assert!(good.is_valid());
        let short = NativeBuckets { counts: &[1.0], ..buckets };
        let back = NativeBuckets { spans: &[spans[1], spans[0]], ..buckets };
        for bad in [
            NativeHistogram { positive: short, ..good },
            NativeHistogram { negative: back, ..good },
            NativeHistogram { schema: 9, ..good },
            NativeHistogram { zero_threshold: f64::NAN, ..good },
        ] {
            assert!(!bad.is_valid(), "{bad:?}");
        }
    }
}

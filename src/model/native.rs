//! Native histograms: the bounds of their buckets follow from a schema.
//!
//! See: <https://prometheus.io/docs/specs/native_histograms/>

use super::Exemplar;

/// The schemas whose bounds are powers of a root of 2.
const STANDARD_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// Counts up to here are exact in an `f64`.
const MAX_EXACT_COUNT: f64 = 9_007_199_254_740_992.0;

/// A native histogram of one label set: a value of a histogram or gauge histogram family, alone or
/// together with classic buckets, which are given as samples of the same label set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NativeHistogram<'a> {
    /// All observations, those that are NaN included.
    pub count: f64,
    /// The sum of the observations, in base units.
    pub sum: f64,
    /// How fine the buckets are, -4 to 8: each bound is the one before times 2 to the power of
    /// 2^-schema.
    pub schema: i32,
    /// Observations from minus this to this are in the zero bucket; 0 or more, in base units.
    pub zero_threshold: f64,
    /// The observations in the zero bucket.
    pub zero_count: f64,
    /// The observations below the zero bucket.
    pub negative: NativeBuckets<'a>,
    /// The observations above the zero bucket.
    pub positive: NativeBuckets<'a>,
    /// Observations that stand for others.
    pub exemplars: &'a [Exemplar<'a>],
    /// When counting began, in seconds since the Unix epoch.
    pub created: Option<f64>,
    /// When the value was taken, in seconds since the Unix epoch, if the source says so.
    pub timestamp: Option<f64>,
}

/// The buckets of a native histogram on one side of zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NativeBuckets<'a> {
    /// Which buckets there are.
    pub spans: &'a [BucketSpan],
    /// The observations in each of them, not cumulative: as many as the lengths of the spans add up to.
    pub counts: &'a [f64],
}

/// Buckets in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    /// How many buckets lie between the end of the span before and this one; of the first span the index
    /// of its first bucket, where the bucket with the index 0 ends at 1.
    pub offset: i32,
    /// How many buckets it has.
    pub length: u32,
}

impl NativeBuckets<'_> {
    fn is_valid(&self) -> bool {
        let length: u64 = self.spans.iter().map(|span| u64::from(span.length)).sum();
        let only_advances = self.spans.iter().skip(1).all(|span| span.offset >= 0);
        length == self.counts.len() as u64 && only_advances
    }
}

impl NativeHistogram<'_> {
    /// Whether the schema is a standard one, the threshold a number, and spans and counts agree.
    /// Encoders leave out what is not.
    pub fn is_valid(&self) -> bool {
        STANDARD_SCHEMAS.contains(&self.schema)
            && self.zero_threshold >= 0.0
            && self.negative.is_valid()
            && self.positive.is_valid()
    }
}

/// Whether a count is a whole number that is exact.
pub(crate) fn is_whole_count(count: f64) -> bool {
    (0.0..MAX_EXACT_COUNT).contains(&count) && count.trunc() == count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_counts_must_agree() {
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

//! Collects the samples of one metric, for the formats that write a metric as a unit.

use crate::model::SampleKind;

/// The samples of one metric. Repeated parts are stored in the encoding of the format.
#[derive(Default)]
pub(super) struct Pending {
    is_open: bool,
    /// The encoded labels.
    pub(super) labels: Vec<u8>,
    pub(super) timestamp: Option<f64>,
    /// The value of a counter, gauge, info, state or metric of unknown type.
    pub(super) value: Option<f64>,
    pub(super) count: Option<f64>,
    pub(super) sum: Option<f64>,
    pub(super) created: Option<f64>,
    /// The bound of the last bucket.
    pub(super) last_bound: Option<f64>,
    /// The value of the last bucket.
    last_bucket: f64,
    pub(super) buckets: Vec<u8>,
    pub(super) quantiles: Vec<u8>,
    /// The bits of the quantiles.
    quantile_bits: Vec<u64>,
    /// Whether the last sample is a quantile.
    is_after_quantile: bool,
    pub(super) native: Vec<u8>,
    /// Whether the native histogram has counts that are not exact integers.
    pub(super) has_float_counts: bool,
    pub(super) exemplars: Vec<u8>,
}

impl Pending {
    /// The number of observations, or if it is missing the value of the last bucket.
    pub(super) fn total(&self) -> Option<f64> {
        self.count.or(self.last_bound.map(|_| self.last_bucket))
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a sample belongs to this metric: it has the same labels and timestamp, and the metric does not have its
    /// part yet.
    #[inline]
    pub(super) fn accepts(&self, labels: &[u8], timestamp: Option<f64>, kind: SampleKind) -> bool {
        let is_free = match kind {
            SampleKind::Count | SampleKind::GaugeCount => self.count.is_none(),
            SampleKind::Sum | SampleKind::GaugeSum => self.sum.is_none(),
            SampleKind::Bucket(bound) => self.last_bound.is_none_or(|last| bound > last),
            SampleKind::Quantile(quantile) => self.accepts_quantile(quantile),
            SampleKind::Created => self.created.is_none(),
            SampleKind::Value | SampleKind::Total | SampleKind::Info | SampleKind::State => {
                self.value.is_none()
            }
        };
        let is_same_time = kind == SampleKind::Created || self.timestamp == timestamp;
        self.is_open && is_free && is_same_time && self.labels == labels
    }

    /// Whether a quantile belongs to this metric. The quantiles of a metric are consecutive, before or after its count and
    /// sum. Others belong to it only as long as its count or sum is missing.
    fn accepts_quantile(&self, quantile: f64) -> bool {
        let is_consecutive = self.quantile_bits.is_empty() || self.is_after_quantile;
        let is_complete = self.count.is_some() && self.sum.is_some();
        is_consecutive || !(is_complete || self.quantile_bits.contains(&quantile.to_bits()))
    }

    /// Whether a native histogram belongs to this metric.
    pub(super) fn accepts_native(&self, labels: &[u8], timestamp: Option<f64>) -> bool {
        let is_free = self.native.is_empty() && self.timestamp == timestamp;
        self.is_open && is_free && self.labels == labels
    }

    /// Begins a metric, whose encoded labels are moved out of `labels`.
    #[inline]
    pub(super) fn open(&mut self, labels: &mut Vec<u8>, timestamp: Option<f64>) {
        self.close();
        std::mem::swap(&mut self.labels, labels);
        self.timestamp = timestamp;
        self.is_open = true;
    }

    /// Clears the metric, but keeps the allocated memory.
    pub(super) fn close(&mut self) {
        let Pending { labels, buckets, quantiles, native, exemplars, .. } = self;
        for part in [labels, buckets, quantiles, native, exemplars] {
            part.clear();
        }
        self.quantile_bits.clear();
        self.is_open = false;
        self.timestamp = None;
        for part in [&mut self.value, &mut self.count, &mut self.sum, &mut self.created] {
            *part = None;
        }
        self.last_bound = None;
        self.has_float_counts = false;
    }

    /// Stores the value of a part.
    #[inline]
    pub(super) fn set(&mut self, kind: SampleKind, value: f64) {
        self.is_after_quantile = matches!(kind, SampleKind::Quantile(_));
        match kind {
            SampleKind::Count | SampleKind::GaugeCount => self.count = Some(value),
            SampleKind::Sum | SampleKind::GaugeSum => self.sum = Some(value),
            SampleKind::Created => self.created = Some(value),
            SampleKind::Bucket(bound) => {
                self.last_bound = Some(bound);
                self.last_bucket = value;
            }
            SampleKind::Quantile(quantile) => self.quantile_bits.push(quantile.to_bits()),
            SampleKind::Value | SampleKind::Total | SampleKind::Info | SampleKind::State => {
                self.value = Some(value);
            }
        }
    }
}

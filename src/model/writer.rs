//! Methods with which collectors write families and samples.

use std::fmt;

use super::family::{Exemplar, FamilyMetadata, MetricType, Sample, SampleKind};
use super::{FamilySink, Labels, NativeHistogram};

impl<'s> dyn FamilySink + 's {
    /// Sets the unit of the next family, such as `seconds` or `bytes`. The name of the family, without `_total`,
    /// should end in `_` and the unit; otherwise OpenMetrics 1.0 omits the unit.
    pub fn with_unit<'a, 'u>(&'a mut self, unit: &'u str) -> WithUnit<'a, 's, 'u> {
        WithUnit { sink: self, unit }
    }

    /// Begins a counter family. The suffix `_total` is removed from `name` if it has it; the encoders append it.
    pub fn counter<'a>(&'a mut self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.with_unit("").counter(name, help)
    }

    /// Begins a gauge family.
    pub fn gauge<'a>(&'a mut self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.with_unit("").gauge(name, help)
    }

    /// Begins a family of unknown type.
    pub fn unknown<'a>(&'a mut self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.with_unit("").unknown(name, help)
    }

    /// Begins a histogram family.
    pub fn histogram<'a>(&'a mut self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        self.with_unit("").histogram(name, help)
    }

    /// Begins a gauge histogram family, whose counts can decrease.
    pub fn gauge_histogram<'a>(&'a mut self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        self.with_unit("").gauge_histogram(name, help)
    }

    /// Begins a summary family.
    pub fn summary<'a>(&'a mut self, name: &str, help: &str) -> SummaryWriter<'a, 's> {
        self.with_unit("").summary(name, help)
    }

    /// Begins an info family. The suffix `_info` is removed from `name` if it has it; the encoders append it.
    pub fn info<'a>(&'a mut self, name: &str, help: &str) -> InfoWriter<'a, 's> {
        let name = name.strip_suffix("_info").unwrap_or(name);
        InfoWriter {
            family: self.with_unit("").begin(name, help, MetricType::Info, SampleKind::Info),
        }
    }

    /// Begins a state set family.
    pub fn state_set<'a>(&'a mut self, name: &str, help: &str) -> StateSetWriter<'a, 's> {
        let family = self.with_unit("").begin(name, help, MetricType::StateSet, SampleKind::State);
        StateSetWriter { family, name: name.to_owned() }
    }
}

/// Begins a family with a unit; see [`with_unit`](trait@FamilySink#method.with_unit).
pub struct WithUnit<'a, 's, 'u> {
    sink: &'a mut (dyn FamilySink + 's),
    unit: &'u str,
}

impl fmt::Debug for WithUnit<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithUnit").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl<'a, 's> WithUnit<'a, 's, '_> {
    fn begin(
        self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        kind: SampleKind,
    ) -> FamilyWriter<'a, 's> {
        let WithUnit { sink, unit } = self;
        sink.family(&FamilyMetadata::new(name, help, metric_type).with_unit(unit));
        FamilyWriter { sink, kind }
    }

    /// Begins a counter family. The suffix `_total` is removed from `name` if it has it; the encoders append it.
    pub fn counter(self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        let name = name.strip_suffix("_total").unwrap_or(name);
        self.begin(name, help, MetricType::Counter, SampleKind::Total)
    }

    /// Begins a gauge family.
    pub fn gauge(self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.begin(name, help, MetricType::Gauge, SampleKind::Value)
    }

    /// Begins a family of unknown type.
    pub fn unknown(self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.begin(name, help, MetricType::Unknown, SampleKind::Value)
    }

    /// Begins a histogram family.
    pub fn histogram(self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        let family = self.begin(name, help, MetricType::Histogram, SampleKind::Count);
        HistogramWriter { family, sum: SampleKind::Sum }
    }

    /// Begins a gauge histogram family, whose counts can decrease.
    pub fn gauge_histogram(self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        let family = self.begin(name, help, MetricType::GaugeHistogram, SampleKind::GaugeCount);
        HistogramWriter { family, sum: SampleKind::GaugeSum }
    }

    /// Begins a summary family.
    pub fn summary(self, name: &str, help: &str) -> SummaryWriter<'a, 's> {
        SummaryWriter { family: self.begin(name, help, MetricType::Summary, SampleKind::Count) }
    }
}

/// Writes the samples of a family of counters, gauges or metrics of unknown type: one per label set.
pub struct FamilyWriter<'a, 's> {
    sink: &'a mut (dyn FamilySink + 's),
    kind: SampleKind,
}

impl fmt::Debug for FamilyWriter<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FamilyWriter").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl FamilyWriter<'_, '_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.sink.sample(&Sample::new(self.kind, labels, value));
        self
    }

    /// Writes one sample of a counter with an exemplar.
    pub fn sample_with_exemplar(
        &mut self,
        labels: &[(&str, &str)],
        value: f64,
        exemplar: Exemplar<'_>,
    ) -> &mut Self {
        self.sink.sample(&Sample::new(self.kind, labels, value).with_exemplar(&exemplar));
        self
    }

    /// Writes the start timestamp of the counter with these labels, in seconds since the Unix epoch. The call must
    /// directly follow that of its sample.
    pub fn created(&mut self, labels: &[(&str, &str)], seconds: f64) -> &mut Self {
        self.sink.sample(&Sample::new(SampleKind::Created, labels, seconds));
        self
    }
}

/// The state of the histogram of one label set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HistogramPoint<'a> {
    /// The buckets: upper bound in base units, increasing, and the number of observations less than or equal to it.
    /// The bucket `+Inf` is added if it is missing.
    pub buckets: &'a [(f64, f64)],
    /// The number of all observations.
    pub count: f64,
    /// The sum of all observations, in base units.
    pub sum: f64,
    /// The exemplars. Each one is assigned to the bucket of its value; if a bucket has several, the last is written.
    pub exemplars: &'a [Exemplar<'a>],
    /// The start timestamp, in seconds since the Unix epoch. Ignored in gauge histograms.
    pub created: Option<f64>,
}

impl<'a> HistogramPoint<'a> {
    /// A point without exemplars and start timestamp: the buckets, the number of all observations, and their sum.
    pub const fn new(buckets: &'a [(f64, f64)], count: f64, sum: f64) -> HistogramPoint<'a> {
        HistogramPoint { buckets, count, sum, exemplars: &[], created: None }
    }

    /// The same point with these exemplars.
    pub const fn with_exemplars(self, exemplars: &'a [Exemplar<'a>]) -> HistogramPoint<'a> {
        HistogramPoint { exemplars, ..self }
    }

    /// The same point with this start timestamp, in seconds since the Unix epoch.
    pub const fn with_created(self, seconds: f64) -> HistogramPoint<'a> {
        HistogramPoint { created: Some(seconds), ..self }
    }
}

/// Writes histograms, or gauge histograms: one per label set.
#[derive(Debug)]
pub struct HistogramWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
    sum: SampleKind,
}

impl HistogramWriter<'_, '_> {
    /// Writes one histogram with classic buckets.
    pub fn sample(&mut self, labels: &[(&str, &str)], point: &HistogramPoint<'_>) -> &mut Self {
        let mut below = f64::NEG_INFINITY;
        let has_last = point.buckets.last().is_some_and(|(bound, _)| *bound == f64::INFINITY);
        let last = (!has_last).then_some((f64::INFINITY, point.count));
        for (bound, count) in point.buckets.iter().copied().chain(last) {
            let is_inside = |exemplar: &&Exemplar<'_>| {
                exemplar.value <= bound && (exemplar.value > below || below == f64::NEG_INFINITY)
            };
            let exemplar = point.exemplars.iter().rfind(is_inside);
            let sample = Sample::new(SampleKind::Bucket(bound), labels, count);
            self.family.sink.sample(&Sample { exemplar, ..sample });
            below = bound;
        }
        self.family.sink.sample(&Sample::new(self.sum, labels, point.sum));
        self.family.sink.sample(&Sample::new(self.family.kind, labels, point.count));
        if let (Some(seconds), SampleKind::Sum) = (point.created, self.sum) {
            self.family.sink.sample(&Sample::new(SampleKind::Created, labels, seconds));
        }
        self
    }

    /// Writes one native histogram. If the label set has classic buckets too, the call must directly follow theirs.
    pub fn native(
        &mut self,
        labels: &[(&str, &str)],
        histogram: &NativeHistogram<'_>,
    ) -> &mut Self {
        self.family.sink.native_histogram(Labels::new(labels), histogram);
        self
    }
}

/// Writes summaries: one per label set.
#[derive(Debug)]
pub struct SummaryWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
}

impl SummaryWriter<'_, '_> {
    /// Writes one summary: pairs of quantile, from 0 to 1, and value; the number of observations; and their sum.
    pub fn sample(
        &mut self,
        labels: &[(&str, &str)],
        quantiles: &[(f64, f64)],
        count: f64,
        sum: f64,
    ) -> &mut Self {
        for (quantile, value) in quantiles {
            self.family.sink.sample(&Sample::new(SampleKind::Quantile(*quantile), labels, *value));
        }
        self.family.sink.sample(&Sample::new(SampleKind::Sum, labels, sum));
        self.family.sink.sample(&Sample::new(SampleKind::Count, labels, count));
        self
    }

    /// Writes the start timestamp of the summary with these labels, in seconds since the Unix epoch. The call must
    /// directly follow that of its sample.
    pub fn created(&mut self, labels: &[(&str, &str)], seconds: f64) -> &mut Self {
        self.family.sink.sample(&Sample::new(SampleKind::Created, labels, seconds));
        self
    }
}

/// Writes infos: labels of a sample with the value 1, one per label set.
#[derive(Debug)]
pub struct InfoWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
}

impl InfoWriter<'_, '_> {
    /// Writes one info.
    pub fn sample(&mut self, labels: &[(&str, &str)]) -> &mut Self {
        self.family.sink.sample(&Sample::new(SampleKind::Info, labels, 1.0));
        self
    }
}

/// Writes state sets: one per label set.
#[derive(Debug)]
pub struct StateSetWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
    name: String,
}

impl StateSetWriter<'_, '_> {
    /// Writes one state set: the names of all its states, and whether each is active.
    pub fn sample(&mut self, labels: &[(&str, &str)], states: &[(&str, bool)]) -> &mut Self {
        for (state, is_active) in states {
            let state = (self.name.as_str(), *state);
            let labels: Vec<_> = labels.iter().copied().chain([state]).collect();
            self.family.sink.sample(&Sample::new(
                SampleKind::State,
                &labels,
                f64::from(u8::from(*is_active)),
            ));
        }
        self
    }
}

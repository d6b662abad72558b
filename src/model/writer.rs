//! The short forms in which a collector gives its families.

use super::family::{Exemplar, FamilyHead, MetricType, Part, Sample};
use super::{FamilySink, NativeHistogram};

impl<'s> dyn FamilySink + 's {
    /// Begins families whose values have a unit: `seconds`, `bytes`. Their names end in `_` and the unit,
    /// before `_total`.
    pub fn with_unit<'a, 'u>(&'a mut self, unit: &'u str) -> WithUnit<'a, 's, 'u> {
        WithUnit { sink: self, unit }
    }

    /// Begins a counter family. A name that ends in `_total` is taken without that ending.
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

    /// Begins a gauge histogram family, whose counts may become smaller.
    pub fn gauge_histogram<'a>(&'a mut self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        self.with_unit("").gauge_histogram(name, help)
    }

    /// Begins a summary family.
    pub fn summary<'a>(&'a mut self, name: &str, help: &str) -> SummaryWriter<'a, 's> {
        self.with_unit("").summary(name, help)
    }

    /// Begins an info family. A name that ends in `_info` is taken without that ending.
    pub fn info<'a>(&'a mut self, name: &str, help: &str) -> InfoWriter<'a, 's> {
        let name = name.strip_suffix("_info").unwrap_or(name);
        InfoWriter { family: self.with_unit("").begin(name, help, MetricType::Info, Part::Info) }
    }

    /// Begins a family of state sets.
    pub fn state_set<'a>(&'a mut self, name: &str, help: &str) -> StateSetWriter<'a, 's> {
        let family = self.with_unit("").begin(name, help, MetricType::StateSet, Part::State);
        StateSetWriter { family, name: name.to_owned() }
    }
}

/// Begins families of one unit.
pub struct WithUnit<'a, 's, 'u> {
    sink: &'a mut (dyn FamilySink + 's),
    unit: &'u str,
}

impl<'a, 's> WithUnit<'a, 's, '_> {
    fn begin(
        self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        part: Part,
    ) -> FamilyWriter<'a, 's> {
        let WithUnit { sink, unit } = self;
        sink.family(&FamilyHead { unit, ..FamilyHead::new(name, help, metric_type) });
        FamilyWriter { sink, part }
    }

    /// Begins a counter family. A name that ends in `_total` is taken without that ending.
    pub fn counter(self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        let name = name.strip_suffix("_total").unwrap_or(name);
        self.begin(name, help, MetricType::Counter, Part::Total)
    }

    /// Begins a gauge family.
    pub fn gauge(self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.begin(name, help, MetricType::Gauge, Part::Value)
    }

    /// Begins a family of unknown type.
    pub fn unknown(self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        self.begin(name, help, MetricType::Unknown, Part::Value)
    }

    /// Begins a histogram family.
    pub fn histogram(self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        let family = self.begin(name, help, MetricType::Histogram, Part::Count);
        HistogramWriter { family, sum: Part::Sum }
    }

    /// Begins a gauge histogram family, whose counts may become smaller.
    pub fn gauge_histogram(self, name: &str, help: &str) -> HistogramWriter<'a, 's> {
        let family = self.begin(name, help, MetricType::GaugeHistogram, Part::GaugeCount);
        HistogramWriter { family, sum: Part::GaugeSum }
    }

    /// Begins a summary family.
    pub fn summary(self, name: &str, help: &str) -> SummaryWriter<'a, 's> {
        SummaryWriter { family: self.begin(name, help, MetricType::Summary, Part::Count) }
    }
}

/// Writes the samples of a counter, a gauge or a family of unknown type: one per label set.
pub struct FamilyWriter<'a, 's> {
    sink: &'a mut (dyn FamilySink + 's),
    part: Part,
}

impl FamilyWriter<'_, '_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.sink.sample(&Sample::new(self.part, labels, value));
        self
    }

    /// Writes one sample of a counter, with an observation that stands for others.
    pub fn sample_with_exemplar(
        &mut self,
        labels: &[(&str, &str)],
        value: f64,
        exemplar: Exemplar<'_>,
    ) -> &mut Self {
        let exemplar = Some(exemplar);
        self.sink.sample(&Sample { exemplar, ..Sample::new(self.part, labels, value) });
        self
    }

    /// Writes when the counter with these labels began, in seconds since the Unix epoch; right after its
    /// sample.
    pub fn created(&mut self, labels: &[(&str, &str)], seconds: f64) -> &mut Self {
        self.sink.sample(&Sample::new(Part::Created, labels, seconds));
        self
    }
}

/// What a histogram of one label set shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistogramPoint<'a> {
    /// Bounds in base units, rising, each with the number of observations up to it. The bucket `+Inf`
    /// is added where it is missing.
    pub buckets: &'a [(f64, f64)],
    /// All observations.
    pub count: f64,
    /// The sum of all observations, in base units.
    pub sum: f64,
    /// Observations that stand for others. Each goes to the bucket it was counted in, which shows the
    /// last of them.
    pub exemplars: &'a [Exemplar<'a>],
    /// When counting began, in seconds since the Unix epoch; gauge histograms do not show it.
    pub created: Option<f64>,
}

/// Writes histograms, or gauge histograms: one per label set.
pub struct HistogramWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
    sum: Part,
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
            let exemplar = point.exemplars.iter().rfind(is_inside).copied();
            let sample = Sample::new(Part::Bucket(bound), labels, count);
            self.family.sink.sample(&Sample { exemplar, ..sample });
            below = bound;
        }
        self.family.sink.sample(&Sample::new(self.sum, labels, point.sum));
        self.family.sink.sample(&Sample::new(self.family.part, labels, point.count));
        if let (Some(seconds), Part::Sum) = (point.created, self.sum) {
            self.family.sink.sample(&Sample::new(Part::Created, labels, seconds));
        }
        self
    }

    /// Writes one native histogram; where there are classic buckets too, right after them.
    pub fn native(
        &mut self,
        labels: &[(&str, &str)],
        histogram: &NativeHistogram<'_>,
    ) -> &mut Self {
        self.family.sink.native_histogram(labels, histogram);
        self
    }
}

/// Writes summaries: one per label set.
pub struct SummaryWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
}

impl SummaryWriter<'_, '_> {
    /// Writes one summary: the values at some quantiles (0 to 1), the number and the sum of all
    /// observations.
    pub fn sample(
        &mut self,
        labels: &[(&str, &str)],
        quantiles: &[(f64, f64)],
        count: f64,
        sum: f64,
    ) -> &mut Self {
        for (quantile, value) in quantiles {
            self.family.sink.sample(&Sample::new(Part::Quantile(*quantile), labels, *value));
        }
        self.family.sink.sample(&Sample::new(Part::Sum, labels, sum));
        self.family.sink.sample(&Sample::new(Part::Count, labels, count));
        self
    }

    /// Writes when the summary with these labels began, in seconds since the Unix epoch; right after it.
    pub fn created(&mut self, labels: &[(&str, &str)], seconds: f64) -> &mut Self {
        self.family.sink.sample(&Sample::new(Part::Created, labels, seconds));
        self
    }
}

/// Writes infos: texts as labels of a constant 1.
pub struct InfoWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
}

impl InfoWriter<'_, '_> {
    /// Writes one info.
    pub fn sample(&mut self, labels: &[(&str, &str)]) -> &mut Self {
        self.family.sink.sample(&Sample::new(Part::Info, labels, 1.0));
        self
    }
}

/// Writes state sets: one per label set.
pub struct StateSetWriter<'a, 's> {
    family: FamilyWriter<'a, 's>,
    name: String,
}

impl StateSetWriter<'_, '_> {
    /// Writes one state set: all its states, and which of them hold.
    pub fn sample(&mut self, labels: &[(&str, &str)], states: &[(&str, bool)]) -> &mut Self {
        for (state, holds) in states {
            let state = (self.name.as_str(), *state);
            let labels: Vec<_> = labels.iter().copied().chain([state]).collect();
            self.family.sink.sample(&Sample::new(
                Part::State,
                &labels,
                f64::from(u8::from(*holds)),
            ));
        }
        self
    }
}

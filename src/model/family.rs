//! Families and samples as they travel from collectors to encoders: borrowed, nothing owned.

use std::fmt;

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricType {
    /// A total that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Observations counted in buckets.
    Histogram,
    /// Current observations counted in buckets, which may become fewer.
    GaugeHistogram,
    /// Observations as count and sum, with quantiles where a source has them.
    Summary,
    /// Text that does not change while the process runs, as labels of a constant 1.
    Info,
    /// Which of a set of states hold.
    StateSet,
    /// Anything whose type is not known.
    Unknown,
}

impl MetricType {
    /// Every type.
    pub(crate) const ALL: [MetricType; 8] = [
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
        MetricType::Unknown,
    ];

    /// What the names of samples of any type end in.
    pub(crate) const SUFFIXES: [&'static str; 9] =
        ["", "_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum", "_info"];

    /// The length of the longest of them.
    pub(crate) const MAX_SUFFIX_LEN: usize = "_created".len();

    /// What is appended to the name of the family where a format names it by its only sample.
    pub(crate) const fn own_suffix(self) -> &'static str {
        match self {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        }
    }

    /// The word of the OpenMetrics format.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
            MetricType::Unknown => "unknown",
        }
    }

    /// What the names of its samples end in, the bare name of the family included.
    pub(crate) const fn suffixes(self) -> &'static [&'static str] {
        match self {
            MetricType::Counter => &["", "_total", "_created"],
            MetricType::Summary => &["", "_count", "_sum", "_created"],
            MetricType::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            MetricType::GaugeHistogram => &["", "_bucket", "_gcount", "_gsum"],
            MetricType::Info => &["", "_info"],
            MetricType::Gauge | MetricType::StateSet | MetricType::Unknown => &[""],
        }
    }

    /// Whether a metric of this type may have such a sample.
    pub(crate) const fn has(self, part: Part) -> bool {
        match part {
            Part::Value => matches!(self, MetricType::Gauge | MetricType::Unknown),
            Part::Total => matches!(self, MetricType::Counter),
            Part::Count | Part::Sum => matches!(self, MetricType::Histogram | MetricType::Summary),
            Part::Bucket(_) => matches!(self, MetricType::Histogram | MetricType::GaugeHistogram),
            Part::Quantile(_) => matches!(self, MetricType::Summary),
            Part::GaugeCount | Part::GaugeSum => matches!(self, MetricType::GaugeHistogram),
            Part::Info => matches!(self, MetricType::Info),
            Part::State => matches!(self, MetricType::StateSet),
            Part::Created => {
                matches!(self, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
            }
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What all samples of a family have in common.
#[derive(Clone, Copy, Debug)]
pub struct FamilyHead<'a> {
    /// The name; of a counter without `_total`, of an info without `_info`.
    pub name: &'a str,
    /// The help text; may be empty.
    pub help: &'a str,
    /// The unit, which is the end of the name; may be empty.
    pub unit: &'a str,
    /// The type.
    pub metric_type: MetricType,
}

impl<'a> FamilyHead<'a> {
    /// The head of a family without a unit.
    pub const fn new(name: &'a str, help: &'a str, metric_type: MetricType) -> FamilyHead<'a> {
        FamilyHead { name, help, unit: "", metric_type }
    }
}

/// Which part of its metric a sample is: it decides suffix and extra label.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The value of a gauge or of an unknown type: no suffix.
    Value,
    /// The total of a counter: `_total`.
    Total,
    /// The number of observations: `_count`.
    Count,
    /// The sum of the observations: `_sum`.
    Sum,
    /// The observations up to this bound, in base units: `_bucket` with the label `le`.
    Bucket(f64),
    /// The value at this quantile, 0 to 1: no suffix, the label `quantile`.
    Quantile(f64),
    /// The number of observations of a gauge histogram: `_gcount`.
    GaugeCount,
    /// The sum of the observations of a gauge histogram: `_gsum`.
    GaugeSum,
    /// The constant 1 of an info: `_info`.
    Info,
    /// Whether a state of a state set holds, 0 or 1: no suffix; the state is the value of the label that
    /// has the name of the family.
    State,
    /// When counting began, in seconds since the Unix epoch: `_created`.
    Created,
}

impl Part {
    /// What is appended to the name of the family.
    pub const fn suffix(self) -> &'static str {
        match self {
            Part::Value | Part::Quantile(_) | Part::State => "",
            Part::Total => "_total",
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Bucket(_) => "_bucket",
            Part::GaugeCount => "_gcount",
            Part::GaugeSum => "_gsum",
            Part::Info => "_info",
            Part::Created => "_created",
        }
    }
}

/// One sample of a family.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Which part of its metric it is.
    pub part: Part,
    /// The labels in the order in which they are shown, without `le` and `quantile`.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value.
    pub value: f64,
    /// When the value was taken, in seconds since the Unix epoch, if the source says so.
    pub timestamp: Option<f64>,
    /// One observation that stands for others: of counters and buckets.
    pub exemplar: Option<Exemplar<'a>>,
}

impl<'a> Sample<'a> {
    /// A sample without timestamp and exemplar.
    pub const fn new(part: Part, labels: &'a [(&'a str, &'a str)], value: f64) -> Sample<'a> {
        Sample { part, labels, value, timestamp: None, exemplar: None }
    }
}

/// The most characters of the label names and values of an exemplar in OpenMetrics 1.0.
pub(crate) const MAX_EXEMPLAR_CHARS: usize = 128;

/// One observation, told apart by labels such as the id of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// Its labels: names and values have at most 128 characters together.
    pub labels: &'a [(&'a str, &'a str)],
    /// The value that was observed.
    pub value: f64,
    /// When, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
}

impl Exemplar<'_> {
    /// The characters of its label names and values.
    pub(crate) fn chars(&self) -> usize {
        let chars = |(name, value): &(&str, &str)| name.chars().count() + value.chars().count();
        self.labels.iter().map(chars).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_suffixes_has_those_of_every_type() {
        let all = MetricType::ALL.iter().flat_map(|metric_type| metric_type.suffixes());
        for suffix in all {
            assert!(MetricType::SUFFIXES.contains(suffix), "{suffix}");
            assert!(suffix.len() <= MetricType::MAX_SUFFIX_LEN);
        }
    }
}

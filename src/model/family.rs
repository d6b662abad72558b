//! Families and samples as collectors pass them to encoders, as borrowed data.

use std::fmt;

use super::Labels;

/// The type of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricType {
    /// A total that never decreases, except to restart from zero.
    Counter,
    /// A value that can go up and down.
    Gauge,
    /// Observations, counted in cumulative buckets.
    Histogram,
    /// A distribution of current values, counted in buckets, whose counts can decrease.
    GaugeHistogram,
    /// The count and the sum of observations, with quantiles if the source computes them.
    Summary,
    /// Text that is constant while the process runs, as labels of a sample with the value 1.
    Info,
    /// A set of states, each of which is active or not.
    StateSet,
    /// A value of unknown type.
    Unknown,
}

impl MetricType {
    /// All types.
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

    /// The suffixes of sample names, over all types.
    pub(crate) const SUFFIXES: [&'static str; 9] =
        ["", "_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum", "_info"];

    /// The length of the longest of [`SUFFIXES`](Self::SUFFIXES).
    pub(crate) const MAX_SUFFIX_LEN: usize = "_created".len();

    /// Splits a name into a base and one of [`SUFFIXES`](Self::SUFFIXES) that is not empty. There is at most one way, because
    /// a suffix has a `_` only at its start.
    pub(crate) fn split_suffix(name: &str) -> Option<(&str, &str)> {
        let end = name.len().saturating_sub(MetricType::MAX_SUFFIX_LEN);
        let at = end + name.as_bytes()[end..].iter().rposition(|byte| *byte == b'_')?;
        let (base, suffix) = name.split_at(at);
        MetricType::SUFFIXES.contains(&suffix).then_some((base, suffix))
    }

    /// The suffix that the metadata lines of the text format and OpenMetrics 2.0 append to the name of the family.
    pub(crate) const fn own_suffix(self) -> &'static str {
        match self {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            _ => "",
        }
    }

    /// The label name that samples of this type set.
    pub(crate) const fn reserved_label(self) -> Option<&'static str> {
        match self {
            MetricType::Histogram | MetricType::GaugeHistogram => Some("le"),
            MetricType::Summary => Some("quantile"),
            _ => None,
        }
    }

    /// The name of the type in OpenMetrics, such as `gaugehistogram`.
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

    /// The suffixes of the names that a family of this type reserves: its own name, "", and those of its samples.
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

    /// Whether a metric of this type may have a sample of this part.
    pub(crate) const fn has(self, kind: SampleKind) -> bool {
        match kind {
            SampleKind::Value => matches!(self, MetricType::Gauge | MetricType::Unknown),
            SampleKind::Total => matches!(self, MetricType::Counter),
            SampleKind::Count | SampleKind::Sum => {
                matches!(self, MetricType::Histogram | MetricType::Summary)
            }
            SampleKind::Bucket(_) => {
                matches!(self, MetricType::Histogram | MetricType::GaugeHistogram)
            }
            SampleKind::Quantile(_) => matches!(self, MetricType::Summary),
            SampleKind::GaugeCount | SampleKind::GaugeSum => {
                matches!(self, MetricType::GaugeHistogram)
            }
            SampleKind::Info => matches!(self, MetricType::Info),
            SampleKind::State => matches!(self, MetricType::StateSet),
            SampleKind::Created => {
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

/// The metadata of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FamilyMetadata<'a> {
    /// The name, without the suffix `_total` of a counter and `_info` of an info.
    pub name: &'a str,
    /// The help text; may be empty.
    pub help: &'a str,
    /// The unit, which is a suffix of the name, such as `seconds`; may be empty.
    pub unit: &'a str,
    /// The type.
    pub metric_type: MetricType,
}

impl<'a> FamilyMetadata<'a> {
    /// Metadata without a unit.
    pub const fn new(name: &'a str, help: &'a str, metric_type: MetricType) -> FamilyMetadata<'a> {
        FamilyMetadata { name, help, unit: "", metric_type }
    }

    /// The same metadata with this unit.
    pub const fn with_unit(self, unit: &'a str) -> FamilyMetadata<'a> {
        FamilyMetadata { unit, ..self }
    }
}

/// The part of its metric that a sample is. It determines the suffix of the sample's name and the labels `le` and
/// `quantile`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SampleKind {
    /// The value of a gauge or of a metric of unknown type: no suffix.
    Value,
    /// The total of a counter: `_total`.
    Total,
    /// The number of observations: `_count`.
    Count,
    /// The sum of the observations: `_sum`.
    Sum,
    /// The number of observations less than or equal to this bound, in base units: `_bucket` with the label `le`.
    Bucket(f64),
    /// The value at this quantile, from 0 to 1: no suffix, the label `quantile`.
    Quantile(f64),
    /// The number of observations of a gauge histogram: `_gcount`.
    GaugeCount,
    /// The sum of the observations of a gauge histogram: `_gsum`.
    GaugeSum,
    /// The value of an info, always 1: `_info`.
    Info,
    /// Whether a state of a state set is active, 0 or 1: no suffix. The state is the value of the label whose
    /// name is that of the family.
    State,
    /// The start timestamp of a counter, histogram or summary, in seconds since the Unix epoch: `_created`.
    Created,
}

impl SampleKind {
    /// The label that samples of this kind have besides those of their series, with its value: `le` or `quantile`.
    pub(crate) const fn own_label(self) -> Option<(&'static str, f64)> {
        match self {
            SampleKind::Bucket(bound) => Some(("le", bound)),
            SampleKind::Quantile(quantile) => Some(("quantile", quantile)),
            _ => None,
        }
    }

    /// The suffix that the sample's name appends to the name of the family.
    pub const fn suffix(self) -> &'static str {
        match self {
            SampleKind::Value | SampleKind::Quantile(_) | SampleKind::State => "",
            SampleKind::Total => "_total",
            SampleKind::Count => "_count",
            SampleKind::Sum => "_sum",
            SampleKind::Bucket(_) => "_bucket",
            SampleKind::GaugeCount => "_gcount",
            SampleKind::GaugeSum => "_gsum",
            SampleKind::Info => "_info",
            SampleKind::Created => "_created",
        }
    }
}

/// One sample of a family.
///
/// A sink that changes a sample before it passes it on copies the sample and changes the copy, so that parts which it
/// does not know are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample<'a> {
    /// The part of the metric.
    pub kind: SampleKind,
    /// The labels, in the order of the exposition, without `le` and `quantile`.
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
    /// The time of the value, in seconds since the Unix epoch. `None`, as usual, means the time of the scrape.
    pub timestamp: Option<f64>,
    /// An exemplar, allowed on counters and buckets.
    pub exemplar: Option<&'a Exemplar<'a>>,
}

impl<'a> Sample<'a> {
    /// A sample without a timestamp and an exemplar.
    #[inline]
    pub fn new(kind: SampleKind, labels: impl Into<Labels<'a>>, value: f64) -> Sample<'a> {
        Sample { kind, labels: labels.into(), value, timestamp: None, exemplar: None }
    }

    /// The same sample with other labels.
    pub fn with_labels<'b>(self, labels: impl Into<Labels<'b>>) -> Sample<'b>
    where
        'a: 'b,
    {
        Sample { labels: labels.into(), ..self }
    }

    /// The same sample with this timestamp, in seconds since the Unix epoch.
    pub fn with_timestamp(self, seconds: f64) -> Sample<'a> {
        Sample { timestamp: Some(seconds), ..self }
    }

    /// The same sample with this exemplar.
    pub fn with_exemplar<'b>(self, exemplar: &'b Exemplar<'b>) -> Sample<'b>
    where
        'a: 'b,
    {
        Sample { exemplar: Some(exemplar), ..self }
    }
}

/// The maximum number of characters in the label names and values of an exemplar.
///
/// See: OpenMetrics 1.0.0, "Exemplars".
pub(crate) const MAX_EXEMPLAR_CHARS: usize = 128;

/// An exemplar: one observation, whose labels refer to data outside of the metrics, such as a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Exemplar<'a> {
    /// The labels, such as `trace_id`. OpenMetrics 1.0 allows 128 characters in all names and values together.
    pub labels: &'a [(&'a str, &'a str)],
    /// The observed value.
    pub value: f64,
    /// The time of the observation, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
}

impl<'a> Exemplar<'a> {
    /// An exemplar without a timestamp.
    pub const fn new(labels: &'a [(&'a str, &'a str)], value: f64) -> Exemplar<'a> {
        Exemplar { labels, value, timestamp: None }
    }

    /// The same exemplar with the time of its observation, in seconds since the Unix epoch.
    pub const fn with_timestamp(self, seconds: f64) -> Exemplar<'a> {
        Exemplar { timestamp: Some(seconds), ..self }
    }

    /// The number of characters in the label names and values.
    pub(crate) fn chars(&self) -> usize {
        let chars = |(name, value): &(&str, &str)| name.chars().count() + value.chars().count();
        self.labels.iter().map(chars).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_suffixes_includes_those_of_every_type() {
        let all = MetricType::ALL.iter().flat_map(|metric_type| metric_type.suffixes());
        for suffix in all {
            assert!(MetricType::SUFFIXES.contains(suffix), "{suffix}");
            assert!(suffix.len() <= MetricType::MAX_SUFFIX_LEN);
            assert!(suffix.is_empty() || suffix.rfind('_') == Some(0), "{suffix}");
        }
    }
}

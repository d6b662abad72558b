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
    /// Observations as count and sum, with quantiles where a source has them.
    Summary,
    /// Anything whose type is not known.
    Unknown,
}

impl MetricType {
    /// The word of the OpenMetrics format.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Summary => "summary",
            MetricType::Unknown => "unknown",
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
    /// The name; of a counter without `_total`.
    pub name: &'a str,
    /// The help text; may be empty.
    pub help: &'a str,
    /// The type.
    pub metric_type: MetricType,
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
}

impl Part {
    /// What is appended to the name of the family.
    pub const fn suffix(self) -> &'static str {
        match self {
            Part::Value | Part::Quantile(_) => "",
            Part::Total => "_total",
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Bucket(_) => "_bucket",
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
}

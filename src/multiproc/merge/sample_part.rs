//! Which sample of its family a key names.

use crate::model::MetricType;

/// What a sample is in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SamplePart {
    /// The total of a counter, or the value of a gauge.
    Value,
    Sum,
    Count,
    Bucket,
}

impl SamplePart {
    /// Returns the part that a sample is by its name; `None` if it does not belong to the family. `family` is the name that
    /// [`family_name`] returns.
    pub(crate) fn of(metric_type: MetricType, family: &str, sample: &str) -> Option<SamplePart> {
        Some(match (metric_type, sample.strip_prefix(family)?) {
            (MetricType::Counter, "" | "_total") | (MetricType::Gauge, "") => SamplePart::Value,
            (MetricType::Summary | MetricType::Histogram, "_sum") => SamplePart::Sum,
            (MetricType::Summary | MetricType::Histogram, "_count") => SamplePart::Count,
            (MetricType::Histogram, "_bucket") => SamplePart::Bucket,
            _ => return None,
        })
    }
}

/// Returns the exported name of the family of a key.
pub(crate) fn family_name(metric_type: MetricType, family: &str) -> &str {
    match metric_type {
        // NOTE: the Python client up to 0.3.1 keeps `_total` in the name of the family, or omits it from that of the
        // sample.
        MetricType::Counter => family.strip_suffix("_total").unwrap_or(family),
        _ => family,
    }
}

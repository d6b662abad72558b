//! The forms of samples in OpenMetrics.

use crate::model::{MetricType, SampleKind};

/// The form of a sample, as its name and the type of its family determine it: a [`SampleKind`] without the value of `le` or
/// `quantile`.
#[derive(Clone, Copy)]
pub(super) enum SampleForm {
    Total,
    Created,
    Value,
    Count,
    Sum,
    Bucket,
    Quantile,
    GaugeCount,
    GaugeSum,
    Info,
    State,
}

impl SampleForm {
    /// The form of the sample `name`; `None` if it does not belong to the family.
    pub(super) fn new(family: &str, metric_type: MetricType, name: &str) -> Option<SampleForm> {
        let suffix = name.strip_prefix(family).filter(|_| !family.is_empty())?;
        Some(match (metric_type, suffix) {
            (MetricType::Counter, "_total") => SampleForm::Total,
            (MetricType::Counter | MetricType::Histogram | MetricType::Summary, "_created") => {
                SampleForm::Created
            }
            (MetricType::Gauge | MetricType::Unknown, "") => SampleForm::Value,
            (MetricType::Histogram | MetricType::Summary, "_count") => SampleForm::Count,
            (MetricType::Histogram | MetricType::Summary, "_sum") => SampleForm::Sum,
            (MetricType::Histogram | MetricType::GaugeHistogram, "_bucket") => SampleForm::Bucket,
            (MetricType::GaugeHistogram, "_gcount") => SampleForm::GaugeCount,
            (MetricType::GaugeHistogram, "_gsum") => SampleForm::GaugeSum,
            (MetricType::Summary, "") => SampleForm::Quantile,
            (MetricType::Info, "_info") => SampleForm::Info,
            (MetricType::StateSet, "") => SampleForm::State,
            _ => return None,
        })
    }

    /// The part of the metric; `number` is the value of `le` or `quantile`.
    pub(super) fn part(self, number: f64) -> SampleKind {
        match self {
            SampleForm::Total => SampleKind::Total,
            SampleForm::Created => SampleKind::Created,
            SampleForm::Value => SampleKind::Value,
            SampleForm::Count => SampleKind::Count,
            SampleForm::Sum => SampleKind::Sum,
            SampleForm::Bucket => SampleKind::Bucket(number),
            SampleForm::Quantile => SampleKind::Quantile(number),
            SampleForm::GaugeCount => SampleKind::GaugeCount,
            SampleForm::GaugeSum => SampleKind::GaugeSum,
            SampleForm::Info => SampleKind::Info,
            SampleForm::State => SampleKind::State,
        }
    }
}

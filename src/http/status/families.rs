//! The families of a page: their totals, and the values of a few series of each.

use crate::error::Error;
use crate::model::{
    FamilyMetadata, FamilySink, Gatherer, Labels, MetricType, NativeHistogram, Sample, SampleKind,
};

/// The maximum number of series of a family whose values are shown.
const MAX_SHOWN_SERIES: usize = 50;

/// The families of one gathering.
#[derive(Debug, Default)]
pub(super) struct Families {
    pub(super) list: Vec<GatheredFamily>,
    /// Why the gathering failed.
    pub(super) error: Option<String>,
}

/// A family.
#[derive(Debug)]
pub(super) struct GatheredFamily {
    /// As in the line `# TYPE` of the text format: that of a counter ends in `_total`.
    pub(super) name: String,
    pub(super) help: String,
    pub(super) unit: String,
    pub(super) metric_type: MetricType,
    pub(super) series: usize,
    /// The sum of the values of all series; of a histogram or a summary the number of observations.
    pub(super) total: f64,
    /// The highest value of all series.
    pub(super) highest: f64,
    /// The sum of all observations of a histogram or a summary.
    pub(super) sum: f64,
    /// The cumulative counts of all series by the upper bound.
    pub(super) buckets: Vec<(f64, f64)>,
    /// The first series.
    pub(super) shown: Vec<GatheredSeries>,
}

/// A series.
#[derive(Debug)]
pub(super) struct GatheredSeries {
    /// As in the text format, without braces.
    pub(super) labels: String,
    /// The value, or the number of observations.
    pub(super) value: f64,
    /// The sum of observations.
    pub(super) sum: f64,
}

impl Families {
    /// Gathers a source.
    pub(super) fn gather(source: &dyn Gatherer) -> Families {
        let mut list = FamilyList::default();
        source.gather(&mut list);
        list.families
    }

    /// The number of series of all families.
    pub(super) fn series(&self) -> usize {
        self.list.iter().map(|family| family.series).sum()
    }
}

impl GatheredFamily {
    /// Whether its values are totals, of which the rate is shown.
    pub(super) fn is_cumulative(&self) -> bool {
        matches!(
            self.metric_type,
            MetricType::Counter | MetricType::Histogram | MetricType::Summary
        )
    }

    /// Whether its values are counts and sums of observations.
    pub(super) fn has_observations(&self) -> bool {
        matches!(
            self.metric_type,
            MetricType::Histogram | MetricType::GaugeHistogram | MetricType::Summary
        )
    }

    /// Whether the sum of its values says something.
    pub(super) fn is_plotted(&self) -> bool {
        !matches!(self.metric_type, MetricType::Info | MetricType::StateSet) && !self.is_timestamp()
    }

    /// Whether its values are times in seconds since the Unix epoch, of which a sum or a plot would say nothing.
    pub(super) fn is_timestamp(&self) -> bool {
        // In 2001.
        const BEGIN: f64 = 1e9;
        self.metric_type == MetricType::Gauge
            && ["timestamp_seconds", "time_seconds"].iter().any(|end| self.name.ends_with(end))
            && self.highest >= BEGIN
    }

    /// The unit of a value, or of an observation: by the metadata, else by the end of the name.
    pub(super) fn unit(&self) -> &str {
        if !self.unit.is_empty() {
            return &self.unit;
        }
        let name = self.name.strip_suffix("_total").unwrap_or(&self.name);
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
            .unwrap_or_default()
    }

    fn begin_series(&mut self, labels: &str) {
        self.series += 1;
        if self.shown.len() < MAX_SHOWN_SERIES {
            self.shown.push(GatheredSeries { labels: labels.to_owned(), value: 0.0, sum: 0.0 });
        }
    }

    /// The last series, if it is shown.
    fn current(&mut self) -> Option<&mut GatheredSeries> {
        if self.series == self.shown.len() { self.shown.last_mut() } else { None }
    }

    fn add_value(&mut self, value: f64) {
        self.total += value;
        self.highest = self.highest.max(value);
        if let Some(series) = self.current() {
            series.value = value;
        }
    }

    fn add_sum(&mut self, sum: f64) {
        self.sum += sum;
        if let Some(series) = self.current() {
            series.sum = sum;
        }
    }

    fn add_bucket(&mut self, bound: f64, count: f64) {
        // Series with other bounds would give counts that are not cumulative: the bounds of the first one are shown, whose
        // buckets precede its sum and count.
        match self.buckets.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, total)) => *total += count,
            None if self.series == 0 => self.buckets.push((bound, count)),
            None => {}
        }
    }
}

#[derive(Default)]
struct FamilyList {
    families: Families,
    /// The labels of the current series of a histogram or a summary, as text.
    labels: String,
    /// Those of the next sample.
    next_labels: String,
}

impl FamilyList {
    /// The family, with the series of these labels as its last one.
    fn series_of(&mut self, labels: Labels<'_>) -> Option<&mut GatheredFamily> {
        let family = self.families.list.last_mut()?;
        let has_observations = family.has_observations();
        if has_observations || family.shown.len() < MAX_SHOWN_SERIES {
            self.next_labels.clear();
            write_labels(&mut self.next_labels, labels);
        }
        let is_same = has_observations && self.next_labels == self.labels;
        if !is_same || family.series == 0 {
            std::mem::swap(&mut self.labels, &mut self.next_labels);
            family.begin_series(&self.labels);
        }
        Some(family)
    }
}

/// Writes labels as in the text format, without braces.
fn write_labels(out: &mut String, labels: Labels<'_>) {
    for (at, (name, value)) in labels.iter().enumerate() {
        let separator = if at > 0 { ", " } else { "" };
        out.extend([separator, name, "=\""]);
        for char in value.chars() {
            match char {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                char => out.push(char),
            }
        }
        out.push('"');
    }
}

impl FamilySink for FamilyList {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        let suffix = if head.metric_type == MetricType::Counter { "_total" } else { "" };
        self.families.list.push(GatheredFamily {
            name: format!("{}{suffix}", head.name),
            help: head.help.to_owned(),
            unit: head.unit.to_owned(),
            metric_type: head.metric_type,
            series: 0,
            total: 0.0,
            highest: f64::NEG_INFINITY,
            sum: 0.0,
            buckets: Vec::new(),
            shown: Vec::new(),
        });
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        match sample.kind {
            SampleKind::Bucket(bound) => {
                if let Some(family) = self.families.list.last_mut() {
                    family.add_bucket(bound, sample.value);
                }
            }
            SampleKind::Quantile(_) | SampleKind::Created => {}
            SampleKind::Sum | SampleKind::GaugeSum => {
                if let Some(family) = self.series_of(sample.labels) {
                    family.add_sum(sample.value);
                }
            }
            _ => {
                if let Some(family) = self.series_of(sample.labels) {
                    family.add_value(sample.value);
                }
            }
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        let begun = self.families.list.last().map_or(0, |family| family.series);
        if let Some(family) = self.series_of(labels)
            // A series with classic buckets has had its count.
            && family.series > begun
        {
            family.add_value(histogram.count);
            family.add_sum(histogram.sum);
        }
    }

    fn fail(&mut self, error: Error) {
        self.families.error.get_or_insert_with(|| format!("{error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HistogramPoint;

    struct Source;

    impl Gatherer for Source {
        fn gather(&self, out: &mut dyn FamilySink) {
            let mut jobs = out.counter("jobs_total", "Jobs.");
            for queue in 0..60 {
                jobs.sample(&[("queue", &queue.to_string())], 2.0);
            }
            let mut sizes = out.histogram("size_bytes", "Sizes.");
            for zone in ["a", "b"] {
                sizes.sample(
                    &[("zone", zone)],
                    &HistogramPoint::new(&[(1.0, 1.0), (f64::INFINITY, 3.0)], 3.0, 9.0),
                );
            }
            out.gauge("temperature", "With \"quotes\".").sample(&[("at", "<b>\"x\n")], -1.5);
        }
    }

    #[test]
    fn families_have_totals_and_the_first_series() {
        let families = Families::gather(&Source);
        assert_eq!((families.list.len(), families.series()), (3, 63));
        let [jobs, sizes, temperature] = &families.list[..] else { panic!() };
        assert_eq!((jobs.name.as_str(), jobs.total, jobs.series), ("jobs_total", 120.0, 60));
        assert_eq!(jobs.shown.len(), MAX_SHOWN_SERIES);
        assert_eq!((sizes.series, sizes.total, sizes.sum), (2, 6.0, 18.0));
        assert_eq!(sizes.buckets, [(1.0, 2.0), (f64::INFINITY, 6.0)]);
        assert_eq!((sizes.unit(), jobs.unit()), ("bytes", ""));
        assert_eq!(sizes.shown[1].labels, "zone=\"b\"");
        assert_eq!((sizes.shown[1].value, sizes.shown[1].sum), (3.0, 9.0));
        assert_eq!(temperature.shown[0].labels, "at=\"<b>\\\"x\\n\"");
    }

    struct OtherBounds;

    impl Gatherer for OtherBounds {
        fn gather(&self, out: &mut dyn FamilySink) {
            let mut sizes = out.histogram("size_bytes", "");
            for (at, bound) in [1.0, 2.0, 4.0].into_iter().enumerate() {
                let buckets = [(bound, 2.0), (f64::INFINITY, 3.0)];
                let point = HistogramPoint::new(&buckets, 3.0, 9.0);
                sizes.sample(&[("zone", &at.to_string())], &point);
            }
        }
    }

    #[test]
    fn the_bounds_of_the_first_series_are_shown_and_no_others() {
        let families = Families::gather(&OtherBounds);
        assert_eq!(families.list[0].buckets, [(1.0, 2.0), (f64::INFINITY, 9.0)]);
    }
}

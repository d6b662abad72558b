//! What a collector returns at one time.

use crate::error::Error;
use crate::model::name::NameRules;
use crate::model::{
    Collector, FamilyMetadata, FamilySink, GaugeMode, KeptLabels, Labels, MergeRule, MetricType,
    NativeHistogram, Sample, SampleKind,
};

/// The families of a collector, without samples that cannot be written to files.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) families: Vec<FamilySnapshot>,
    /// The names of families that only the process itself can export.
    pub(super) unmerged: Vec<String>,
    /// The first error that the collector has reported.
    pub(super) error: Option<Error>,
    /// Why a family or a sample was left out; the first one.
    pub(super) invalid: Option<String>,
}

/// Receives the families of a collector.
struct Collecting<'a> {
    collector: &'a dyn Collector,
    snapshot: Snapshot,
    /// Whether the current family is written.
    is_written: bool,
}

/// A family, as it is written.
pub(super) struct FamilySnapshot {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) unit: String,
    pub(super) metric_type: MetricType,
    /// The mode in which its samples are merged; `None` if they are added up.
    pub(super) mode: Option<GaugeMode>,
    pub(super) series: Vec<SeriesSnapshot>,
    has_native: bool,
}

/// The samples of one label set.
pub(super) struct SeriesSnapshot {
    /// Sorted by name.
    labels: Vec<(String, String)>,
    samples: Vec<(SampleKind, f64)>,
    pub(super) created: Option<f64>,
}

/// The samples of a series as they are in files: the buckets of a histogram are not cumulative.
pub(super) struct WrittenSamples {
    pub(super) kinds: Vec<SampleKind>,
    pub(super) values: Vec<f64>,
}

/// How a family is written.
enum Form {
    AddedUp,
    InMode(GaugeMode),
    /// Only the process itself can export it.
    Unmerged,
}

impl Form {
    fn of(metric_type: MetricType, rule: MergeRule) -> Form {
        use MetricType::{Counter, GaugeHistogram, Histogram, Info, Summary};
        match (metric_type, rule) {
            (GaugeHistogram, _) | (Histogram | Summary, MergeRule::SharedSource) => Form::Unmerged,
            (Counter, MergeRule::SharedSource) => Form::InMode(GaugeMode::Max),
            (Counter | Histogram | Summary, _) => Form::AddedUp,
            (_, MergeRule::SharedSource) => Form::InMode(GaugeMode::LiveMostRecent),
            (_, MergeRule::Mode(mode)) => Form::InMode(mode),
            (Info, MergeRule::ByType) => Form::InMode(GaugeMode::LiveMax),
            (_, MergeRule::ByType) => Form::InMode(GaugeMode::LiveAll),
        }
    }
}

impl Snapshot {
    /// Collects all families.
    pub(super) fn of(collector: &dyn Collector) -> Snapshot {
        let snapshot = Snapshot::default();
        let mut collecting = Collecting { collector, snapshot, is_written: false };
        collector.collect(&mut collecting);
        let mut snapshot = collecting.snapshot;
        let native = |family: &&FamilySnapshot| family.has_native && family.series.is_empty();
        let native = snapshot.families.iter().filter(native);
        let native: Vec<String> = native.map(|family| family.name.clone()).collect();
        snapshot.unmerged.extend(native);
        snapshot
    }

    /// Notes why a family or a sample is left out.
    pub(super) fn note_invalid(&mut self, problem: impl FnOnce() -> String) {
        self.invalid.get_or_insert_with(problem);
    }
}

impl FamilySink for Collecting<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.is_written = false;
        if let Err(error) = NameRules::Utf8.check_metric_name(head.name) {
            return self.snapshot.note_invalid(|| error.to_string());
        }
        let mode = match Form::of(head.metric_type, self.collector.merge_rule(head.name)) {
            Form::AddedUp => None,
            Form::InMode(mode) => Some(mode),
            Form::Unmerged => return self.snapshot.unmerged.push(head.name.to_owned()),
        };
        self.is_written = true;
        self.snapshot.families.push(FamilySnapshot {
            name: head.name.to_owned(),
            help: head.help.to_owned(),
            unit: head.unit.to_owned(),
            metric_type: head.metric_type,
            mode,
            series: Vec::new(),
            has_native: false,
        });
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if !self.is_written {
            return;
        }
        let Some(family) = self.snapshot.families.last_mut() else {
            return;
        };
        let name = &family.name;
        if !family.metric_type.has(sample.kind) {
            let suffix = sample.kind.suffix();
            let problem = format!("{} `{name}` has no sample `{name}{suffix}`", family.metric_type);
            return self.snapshot.note_invalid(|| problem);
        }
        let mut labels: Vec<(&str, &str)> = sample.labels.iter().collect();
        labels.sort_unstable();
        let is_same = |series: &&mut SeriesSnapshot| {
            let own = series.labels.iter().map(|(name, value)| (&**name, &**value));
            family.mode.is_none() && own.eq(labels.iter().copied())
        };
        let series = match family.series.last_mut().filter(is_same) {
            Some(series) => series,
            None => {
                if let Some(problem) = problem_of(family, &labels) {
                    return self.snapshot.note_invalid(|| problem);
                }
                let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                let labels = labels.into_iter().map(owned).collect();
                family.series.push(SeriesSnapshot { labels, samples: Vec::new(), created: None });
                let last = family.series.len() - 1;
                &mut family.series[last]
            }
        };
        match sample.kind {
            SampleKind::Created => series.created = Some(sample.value),
            // Quantiles of several processes cannot be merged.
            SampleKind::Quantile(_) => {}
            kind => series.samples.push((kind, sample.value)),
        }
    }

    fn native_histogram(&mut self, _: Labels<'_>, _: &NativeHistogram<'_>) {
        if self.is_written
            && let Some(family) = self.snapshot.families.last_mut()
        {
            family.has_native = true;
        }
    }

    fn wants_created(&self) -> bool {
        true
    }

    fn fail(&mut self, error: Error) {
        self.snapshot.error.get_or_insert(error);
    }
}

/// Why a series with these labels cannot be written.
fn problem_of(family: &FamilySnapshot, labels: &[(&str, &str)]) -> Option<String> {
    let names = labels.iter().map(|(name, _)| *name);
    let FamilySnapshot { name, metric_type, mode, .. } = family;
    let error = NameRules::Utf8.check_labels_of(&names, *metric_type, *mode).err()?;
    Some(format!("{metric_type} `{name}`: {error}"))
}

impl SeriesSnapshot {
    pub(super) fn kept_labels(&self) -> KeptLabels {
        KeptLabels::new(self.labels.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// The samples as they are written; `None` if a part is missing, or a total is negative or not finite.
    pub(super) fn written(&self, metric_type: MetricType) -> Option<WrittenSamples> {
        let value = |kind: SampleKind| {
            self.samples.iter().find(|(other, _)| *other == kind).map(|(_, value)| *value)
        };
        let pairs: Vec<(SampleKind, f64)> = match metric_type {
            MetricType::Counter => vec![(SampleKind::Total, value(SampleKind::Total)?)],
            MetricType::Summary => {
                let sum = value(SampleKind::Sum).unwrap_or(0.0);
                vec![(SampleKind::Sum, sum), (SampleKind::Count, value(SampleKind::Count)?)]
            }
            MetricType::Histogram => self.buckets()?,
            _ => return Some(WrittenSamples::from(self.samples.iter().copied().unzip())),
        };
        let is_valid = |(kind, value): &(SampleKind, f64)| {
            value.is_finite() && (*value >= 0.0 || *kind == SampleKind::Sum)
        };
        pairs.iter().all(is_valid).then(|| pairs.into_iter().unzip().into())
    }

    /// The sum, and the counts of the buckets, which are not cumulative.
    fn buckets(&self) -> Option<Vec<(SampleKind, f64)>> {
        let (mut pairs, mut below, mut count, mut sum) = (Vec::new(), 0.0, None, 0.0);
        let mut last = f64::NEG_INFINITY;
        for (kind, value) in &self.samples {
            match kind {
                SampleKind::Bucket(bound) if *bound > last && *value >= below => {
                    pairs.push((*kind, value - below));
                    (below, last) = (*value, *bound);
                }
                SampleKind::Bucket(_) => return None,
                SampleKind::Count => count = Some(*value),
                SampleKind::Sum => sum = *value,
                _ => {}
            }
        }
        if last < f64::INFINITY {
            pairs.push((SampleKind::Bucket(f64::INFINITY), count? - below));
        }
        pairs.insert(0, (SampleKind::Sum, sum));
        Some(pairs)
    }
}

impl From<(Vec<SampleKind>, Vec<f64>)> for WrittenSamples {
    fn from((kinds, values): (Vec<SampleKind>, Vec<f64>)) -> WrittenSamples {
        WrittenSamples { kinds, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(samples: &[(SampleKind, f64)]) -> Option<Vec<f64>> {
        let samples = samples.to_vec();
        let series = SeriesSnapshot { labels: Vec::new(), samples, created: None };
        series.written(MetricType::Histogram).map(|written| written.values)
    }

    #[test]
    fn buckets_are_written_with_their_own_counts_and_the_count_completes_them() {
        use SampleKind::{Bucket, Count, Sum};
        let all = [(Bucket(1.0), 2.0), (Bucket(f64::INFINITY), 5.0), (Sum, 9.0), (Count, 5.0)];
        assert_eq!(histogram(&all), Some(vec![9.0, 2.0, 3.0]));
        assert_eq!(histogram(&[(Bucket(1.0), 2.0), (Count, 5.0)]), Some(vec![0.0, 2.0, 3.0]));
        assert_eq!(histogram(&[(Sum, -1.0), (Count, 5.0)]), Some(vec![-1.0, 5.0]));
        // Counts that fall, bounds that are not sorted, a missing count.
        assert_eq!(histogram(&[(Bucket(1.0), 2.0), (Bucket(2.0), 1.0), (Count, 5.0)]), None);
        assert_eq!(histogram(&[(Bucket(2.0), 1.0), (Bucket(1.0), 2.0), (Count, 5.0)]), None);
        assert_eq!(histogram(&[(Bucket(1.0), 2.0), (Count, 1.0)]), None);
        assert_eq!(histogram(&[(Bucket(1.0), 2.0)]), None);
        assert_eq!(histogram(&[(Bucket(f64::INFINITY), f64::NAN)]), None);
    }
}

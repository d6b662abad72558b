//! Random sequences of operations, compared with a model; and truncated copies of the files that they write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use multiprom::inspect::list_files;
use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};
use proptest::prelude::*;

use crate::support::TestDir;
use crate::support::samples::own_samples;
use crate::threads::INDEXES;

const CASES: u32 = 64;
const BOUNDS: [f64; 2] = [1.0, 2.0];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Gauge(GaugeMode),
    Histogram,
    Summary,
}

const KINDS: [Kind; 6] = [
    Kind::Counter,
    Kind::Gauge(GaugeMode::Sum),
    Kind::Gauge(GaugeMode::Max),
    Kind::Gauge(GaugeMode::All),
    Kind::Histogram,
    Kind::Summary,
];

impl Kind {
    /// The prefix of the file name.
    fn prefix(self) -> String {
        match self {
            Kind::Counter => "counter_".to_owned(),
            Kind::Gauge(mode) => format!("gauge_{mode}_"),
            Kind::Histogram => "histogram_".to_owned(),
            Kind::Summary => "summary_".to_owned(),
        }
    }

    /// The number of entries of one series.
    fn entries(self) -> usize {
        match self {
            Kind::Counter | Kind::Gauge(_) => 1,
            Kind::Histogram => 1 + BOUNDS.len() + 1,
            Kind::Summary => 2,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Registers a metric, with or without a label.
    Register { kind: usize, labelled: bool },
    /// Records into one of the metrics, with one of the label values.
    Record { metric: usize, label: usize, value: f64 },
    /// Compares the merged values with the model.
    Check,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Quarters and their sums are exact in binary.
    let value = prop_oneof![
        8 => (-8_i8..40).prop_map(|quarters| f64::from(quarters) / 4.0),
        1 => prop::sample::select(vec![f64::NAN, 1e15, 1.0]),
    ];
    let step = prop_oneof![
        2 => (0..KINDS.len(), any::<bool>())
            .prop_map(|(kind, labelled)| Step::Register { kind, labelled }),
        12 => (any::<usize>(), any::<usize>(), value)
            .prop_map(|(metric, label, value)| Step::Record { metric, label, value }),
        1 => Just(Step::Check),
    ];
    prop::collection::vec(step, 1..80)
}

/// A metric of the library.
enum Metric {
    Counter(Counter),
    Counters(Family<Counter>),
    Gauge(Gauge),
    Gauges(Family<Gauge>),
    Histogram(Histogram),
    Histograms(Family<Histogram>),
    Summary(Summary),
    Summaries(Family<Summary>),
}

impl Metric {
    fn register(registry: &Registry, kind: Kind, name: &str, labelled: bool) -> Metric {
        macro_rules! register {
            ($builder:expr, $one:ident, $many:ident) => {
                if labelled {
                    Metric::$many($builder.labels(["label"]).register(registry).unwrap())
                } else {
                    Metric::$one($builder.register(registry).unwrap())
                }
            };
        }
        match kind {
            Kind::Counter => register!(Counter::builder(name, "H."), Counter, Counters),
            Kind::Gauge(mode) => register!(Gauge::builder(name, "H.").mode(mode), Gauge, Gauges),
            Kind::Histogram => {
                register!(Histogram::builder(name, "H.").buckets(BOUNDS), Histogram, Histograms)
            }
            Kind::Summary => register!(Summary::builder(name, "H."), Summary, Summaries),
        }
    }

    fn record(&self, label: &str, value: f64) {
        let count = |counter: Counter| {
            if value == 1.0 { counter.inc() } else { counter.inc_by(value) }
        };
        match self {
            Metric::Counter(counter) => count(*counter),
            Metric::Counters(family) => count(family.with([label])),
            Metric::Gauge(gauge) => gauge.set(value),
            Metric::Gauges(family) => family.with([label]).set(value),
            Metric::Histogram(histogram) => histogram.observe(value),
            Metric::Histograms(family) => family.with([label]).observe(value),
            Metric::Summary(summary) => summary.observe(value),
            Metric::Summaries(family) => family.with([label]).observe(value),
        }
    }
}

/// A series of the model.
#[derive(Debug)]
struct Series {
    metric: usize,
    kind: Kind,
    label: Option<String>,
    /// Whether a gauge was set.
    is_set: bool,
    /// The total of a counter, the value of a gauge, or the sum of observations.
    value: f64,
    observed: Vec<f64>,
}

/// Sample name, labels, bits.
type Line = (String, BTreeMap<String, String>, u64);

impl Series {
    fn record(&mut self, value: f64) {
        match self.kind {
            Kind::Gauge(_) => (self.value, self.is_set) = (value, true),
            Kind::Counter => self.value += value,
            Kind::Histogram | Kind::Summary => {
                self.value += value;
                self.observed.push(value);
            }
        }
    }

    fn lines(&self, lines: &mut BTreeSet<Line>) {
        let own = self.label.iter().map(|label| ("label".to_owned(), label.clone()));
        let mut put = |suffix: &str, extra: Option<(&str, String)>, value: f64| {
            let extra = extra.map(|(name, text)| (name.to_owned(), text));
            let bits = if value.is_nan() { f64::NAN } else { value }.to_bits();
            let name = format!("m{}{suffix}", self.metric);
            lines.insert((name, own.clone().chain(extra).collect(), bits));
        };
        let count = self.observed.len() as f64;
        match self.kind {
            Kind::Counter => put("_total", None, self.value),
            // A gauge that was never set does not count in the maximum.
            Kind::Gauge(GaugeMode::Max) if !self.is_set => {}
            Kind::Gauge(GaugeMode::All) => {
                put("", Some(("pid", std::process::id().to_string())), self.value);
            }
            Kind::Gauge(_) => put("", None, self.value),
            Kind::Summary => {
                put("_count", None, count);
                put("_sum", None, self.value);
            }
            Kind::Histogram => {
                for bound in BOUNDS.into_iter().chain([f64::INFINITY]) {
                    let below = self.observed.iter().filter(|value| **value <= bound).count();
                    put("_bucket", Some(("le", format!("{bound:?}"))), below as f64);
                }
                put("_count", None, count);
                put("_sum", None, self.value);
            }
        }
    }
}

/// All series in the order of their creation.
#[derive(Default)]
struct Model {
    metrics: Vec<(Kind, bool)>,
    series: Vec<Series>,
}

impl Model {
    fn register(&mut self, kind: Kind, labelled: bool) {
        self.metrics.push((kind, labelled));
        if !labelled {
            self.series(self.metrics.len() - 1, "");
        }
    }

    fn series(&mut self, metric: usize, label: &str) -> &mut Series {
        let (kind, labelled) = self.metrics[metric];
        let label = labelled.then(|| label.to_owned());
        let is_it = |series: &Series| series.metric == metric && series.label == label;
        let at = self.series.iter().position(is_it).unwrap_or_else(|| {
            let observed = Vec::new();
            let new = Series { metric, kind, label, is_set: false, value: 0.0, observed };
            self.series.push(new);
            self.series.len() - 1
        });
        &mut self.series[at]
    }

    fn record(&mut self, metric: usize, label: &str, value: f64) {
        let is_ignored = match self.metrics[metric].0 {
            Kind::Counter => value.is_nan() || value < 0.0,
            Kind::Gauge(_) => false,
            Kind::Histogram | Kind::Summary => value.is_nan(),
        };
        if !is_ignored {
            self.series(metric, label).record(value);
        }
    }
}

fn found(dir: &Path) -> BTreeSet<Line> {
    own_samples(dir).0.into_iter().map(|line| (line.name, line.labels, line.bits)).collect()
}

fn check(dir: &Path, model: &Model) -> Result<(), TestCaseError> {
    let mut expected = BTreeSet::new();
    model.series.iter().for_each(|series| series.lines(&mut expected));
    prop_assert_eq!(found(dir), expected);
    Ok(())
}

/// The ends of the header and of all entries of a series file.
fn entry_ends(bytes: &[u8]) -> Vec<usize> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut ends = vec![8];
    while ends[ends.len() - 1] < word(0) {
        let start = ends[ends.len() - 1];
        ends.push(start + 4 + word(start) + 4 + 16);
    }
    ends
}

/// Truncates a file of the directory and compares its values with the series that were created first.
fn check_cut(dir: &Path, model: &Model, kind: Kind, at: usize) -> Result<(), TestCaseError> {
    let files = list_files(dir).unwrap();
    let names = files.iter().map(|file| file.path.file_name().unwrap().to_str().unwrap());
    let Some(name) = names.into_iter().find(|name| name.starts_with(&kind.prefix())) else {
        prop_assert!(model.series.iter().all(|series| series.kind != kind));
        return Ok(());
    };
    let bytes = fs::read(dir.join(name)).unwrap();
    let ends = entry_ends(&bytes);
    let cut = ends[0] + at % (ends[ends.len() - 1] - ends[0] + 1);
    let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
    let mut bytes = bytes[..cut].to_vec();
    bytes[..4].copy_from_slice(&(ends[whole] as u32).to_le_bytes());
    let copy = TestDir::new("cut");
    fs::write(copy.path().join(name), &bytes).unwrap();

    let file = list_files(copy.path()).unwrap().remove(0);
    prop_assert!(file.error.is_none(), "{:?}", file);
    prop_assert_eq!(file.entries, whole);
    // Ignored values are counted in entries between those of the series.
    let is_series = |start: &&usize| !bytes[**start + 4..].starts_with(b"[\"multiprom_");
    let mut left = ends[..whole].iter().filter(is_series).count();
    let mut expected = BTreeSet::new();
    let mut partial = None;
    for series in model.series.iter().filter(|series| series.kind == kind) {
        if left < series.kind.entries() {
            partial = (left > 0).then_some(series);
            left = 0;
            break;
        }
        left -= series.kind.entries();
        series.lines(&mut expected);
    }
    prop_assert_eq!(left, 0, "more entries than series");
    let mut found = found(copy.path());
    if let Some(partial) = partial {
        // A series whose entries are truncated is exported in part.
        let name = format!("m{}_", partial.metric);
        found.retain(|(found, labels, _)| {
            !(found.starts_with(&name) && labels.get("label") == partial.label.as_ref())
        });
    }
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_values_equal_a_model_after_any_operations_and_any_truncation(
        steps in steps(),
        labels in prop::collection::vec(any::<String>(), 1..5),
        cuts in prop::collection::vec(any::<usize>(), 4),
    ) {
        // A thread that has no index at first and gets one later has two entries for a series.
        let indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = TestDir::new("model");
        let backend = Backend::directory(dir.path()).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        let mut metrics = Vec::new();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Register { kind, labelled } => {
                    let (kind, name) = (KINDS[kind], format!("m{}", metrics.len()));
                    metrics.push(Metric::register(&registry, kind, &name, labelled));
                    model.register(kind, labelled);
                }
                Step::Record { .. } if metrics.is_empty() => {}
                Step::Record { metric, label, value } => {
                    let (metric, label) = (metric % metrics.len(), &labels[label % labels.len()]);
                    metrics[metric].record(label, value);
                    model.record(metric, label, value);
                }
                Step::Check => check(dir.path(), &model)?,
            }
        }
        drop(indexes);
        check(dir.path(), &model)?;
        for kind in KINDS {
            for cut in &cuts {
                check_cut(dir.path(), &model, kind, *cut)?;
            }
        }
    }
}

//! Strategies that generate families of every type with any strings and numbers, and the part of them that each format
//! can represent.

use proptest::collection::vec;
use proptest::prelude::*;

use multiprom::collector::{BucketSpan, MetricType, SampleKind};
use multiprom::exposition::Format;
use multiprom::parse::{
    Families, OwnedExemplar, OwnedFamily, OwnedNativeBuckets, OwnedNativeHistogram, OwnedSample,
};

type Labels = Vec<(String, String)>;

pub const TYPES: [MetricType; 8] = [
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::GaugeHistogram,
    MetricType::Summary,
    MetricType::Info,
    MetricType::StateSet,
    MetricType::Unknown,
];

/// The names that are generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Naming {
    /// `[a-z0-9_]`.
    Plain,
    /// A letter and any string.
    Any,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\x00-\\x20\"\\\\,={}#a\\x7f\u{85}\u{2028}\u{feff}]{0,8}"]
}

fn word(naming: Naming) -> BoxedStrategy<String> {
    match naming {
        Naming::Plain => "[a-z0-9_]{0,4}".boxed(),
        Naming::Any => text().boxed(),
    }
}

/// Label sets with distinct names and any values.
fn labels(naming: Naming) -> impl Strategy<Value = Labels> {
    vec((word(naming), text()), 0..3).prop_map(|pairs| {
        let name = |(at, (word, value))| (format!("{}{word}", ['x', 'b', 'Z'][at]), value);
        pairs.into_iter().enumerate().map(name).collect()
    })
}

/// Times in whole milliseconds, from about the year 0 to the year 10000, and near 0.
fn time() -> impl Strategy<Value = f64> {
    let milliseconds = prop_oneof![-62_000_000_000_000i64..260_000_000_000_000, -2000i64..2000];
    milliseconds.prop_map(|time| time as f64 / 1000.0)
}

/// Any number, with special values more often than by chance.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f64>(),
        (-100i32..100).prop_map(f64::from),
        proptest::sample::select(vec![
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            5e-324,
            -5e-324,
            f64::MIN_POSITIVE,
            f64::MAX,
            1e6,
            9_007_199_254_740_993.0,
        ]),
    ]
}

fn not_negative() -> impl Strategy<Value = f64> {
    number().prop_map(|number| if number.is_nan() { 1.5 } else { number.abs() })
}

fn count() -> impl Strategy<Value = f64> {
    prop_oneof![0u64..1 << 53, 0u64..3].prop_map(|count| count as f64)
}

fn sample(kind: SampleKind, labels: &Labels, value: f64, timestamp: Option<f64>) -> OwnedSample {
    let mut sample = OwnedSample::new(kind, labels.clone(), value);
    sample.timestamp = timestamp;
    sample
}

/// An exemplar whose labels are within the limit of OpenMetrics.
fn exemplar(naming: Naming) -> impl Strategy<Value = OwnedExemplar> {
    let short = |text: String| text.chars().take(40).collect::<String>();
    let label = (word(naming), text())
        .prop_map(move |(name, value)| (format!("t{}", short(name)), short(value)));
    (vec(label, 0..2), number(), proptest::option::of(time())).prop_map(
        |(labels, value, timestamp)| {
            let mut exemplar = OwnedExemplar::new(labels, value);
            exemplar.timestamp = timestamp;
            exemplar
        },
    )
}

/// Buckets with matching spans.
fn native_buckets(counts: BoxedStrategy<f64>) -> impl Strategy<Value = OwnedNativeBuckets> {
    vec((0..5i32, vec(counts, 0..3)), 0..3).prop_map(|groups| {
        let mut buckets = OwnedNativeBuckets::default();
        for (at, (offset, counts)) in groups.into_iter().enumerate() {
            let offset = if at == 0 { offset - 3 } else { offset };
            buckets.spans.push(BucketSpan::new(offset, counts.len() as u32));
            buckets.counts.extend(counts);
        }
        buckets
    })
}

fn native(naming: Naming) -> impl Strategy<Value = OwnedNativeHistogram> {
    any::<bool>().prop_flat_map(move |is_whole| {
        let counts = || if is_whole { count().boxed() } else { number().boxed() };
        let thresholds = prop_oneof![Just(0.0), not_negative()];
        let sides = (native_buckets(counts()), native_buckets(counts()));
        let numbers = (counts(), number(), -4..=8i32, thresholds, counts());
        (numbers, sides, vec(exemplar(naming), 0..2)).prop_map(|(numbers, sides, exemplars)| {
            let (count, sum, schema, zero_threshold, zero_count) = numbers;
            let (negative, positive) = sides;
            let mut native = OwnedNativeHistogram::default();
            (native.count, native.sum, native.schema) = (count, sum, schema);
            native.zero_threshold = zero_threshold;
            // Counts do not preserve the sign of zero.
            native.zero_count = zero_count + 0.0;
            native.count += 0.0;
            let has_empty_span = positive.spans == [BucketSpan::default()];
            if !has_empty_span {
                native.positive = positive;
            }
            (native.negative, native.exemplars) = (negative, exemplars);
            native
        })
    })
}

/// The samples of one metric, and its native histogram if it has one.
type Metric = (Vec<OwnedSample>, Option<OwnedNativeHistogram>);

fn metric(metric_type: MetricType, naming: Naming, family: String) -> BoxedStrategy<Metric> {
    let bounds = vec(number().prop_filter("finite", |bound| bound.is_finite()), 0..4);
    let quantiles = vec((0.0..=1.0f64, prop_oneof![not_negative(), Just(f64::NAN)]), 0..3);
    let numbers = (not_negative(), count(), number(), bounds, quantiles);
    let times = (proptest::option::of(time()), proptest::option::of(time()));
    let others = (proptest::option::of(exemplar(naming)), proptest::option::of(native(naming)));
    (labels(naming), times, numbers, others, any::<bool>())
        .prop_map(move |(mut labels, (time, created), numbers, (exemplar, native), is_set)| {
            let (sum, count, value, mut bounds, mut quantiles) = numbers;
            let one = |kind, value| sample(kind, &labels, value, time);
            let created = created.map(|created| one(SampleKind::Created, created));
            let samples = match metric_type {
                MetricType::Counter => {
                    let mut total = one(SampleKind::Total, sum);
                    total.exemplar = exemplar;
                    std::iter::once(total).chain(created).collect()
                }
                MetricType::Histogram | MetricType::GaugeHistogram => {
                    bounds.sort_by(f64::total_cmp);
                    bounds.dedup();
                    let has_sum = bounds.first().is_none_or(|bound| *bound >= 0.0);
                    bounds.push(f64::INFINITY);
                    let bucket = |bound: &f64| {
                        let mut bucket = one(SampleKind::Bucket(*bound), count);
                        bucket.exemplar =
                            exemplar.clone().filter(|exemplar| exemplar.value <= *bound);
                        bucket
                    };
                    let mut samples: Vec<_> = bounds.iter().map(bucket).collect();
                    let is_gauge = metric_type == MetricType::GaugeHistogram;
                    if has_sum && is_set {
                        let gauge = [SampleKind::GaugeSum, SampleKind::GaugeCount];
                        let parts =
                            if is_gauge { gauge } else { [SampleKind::Sum, SampleKind::Count] };
                        samples.extend([one(parts[0], sum), one(parts[1], count)]);
                    }
                    samples.extend(created.filter(|_| !is_gauge));
                    samples
                }
                MetricType::Summary => {
                    quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
                    quantiles.dedup_by_key(|(quantile, _)| *quantile);
                    let quantiles =
                        quantiles.iter().map(|(q, value)| one(SampleKind::Quantile(*q), *value));
                    let rest = [one(SampleKind::Sum, sum), one(SampleKind::Count, count)];
                    quantiles.chain(rest).chain(created).collect()
                }
                MetricType::Info => vec![one(SampleKind::Info, 1.0)],
                MetricType::StateSet => {
                    let bit = f64::from(u8::from(is_set));
                    labels.push((family.clone(), "on".to_owned()));
                    vec![sample(SampleKind::State, &labels, bit, time)]
                }
                _ => vec![one(SampleKind::Value, value)],
            };
            let is_histogram = metric_type == MetricType::Histogram;
            let native = native.filter(|_| is_histogram).map(|mut native| {
                let created = samples.iter().find(|sample| sample.kind == SampleKind::Created);
                let created = created.map(|sample| sample.value);
                (native.labels, native.created, native.timestamp) = (labels.clone(), created, time);
                native
            });
            (samples, native)
        })
        .boxed()
}

fn family(index: usize, metric_type: MetricType, naming: Naming) -> BoxedStrategy<OwnedFamily> {
    let help = prop_oneof![Just(String::new()), text()];
    (help, word(naming), any::<bool>())
        .prop_flat_map(move |(help, word, has_unit)| {
            let has_unit =
                has_unit && !matches!(metric_type, MetricType::Info | MetricType::StateSet);
            let unit = if has_unit { "seconds" } else { "" }.to_owned();
            let end = if has_unit { "_seconds" } else { "" };
            let name = format!("f{index}{word}{end}");
            vec(metric(metric_type, naming, name.clone()), 0..3).prop_map(move |metrics| {
                let family = (name.clone(), help.clone(), unit.clone());
                joined(family, metric_type, metrics)
            })
        })
        .boxed()
}

fn joined(
    (name, help, unit): (String, String, String),
    metric_type: MetricType,
    metrics: Vec<Metric>,
) -> OwnedFamily {
    let (mut samples, mut native_histograms) = (Vec::<OwnedSample>::new(), Vec::new());
    let mut seen = Vec::new();
    for (of_metric, native) in metrics {
        let labels = of_metric[0].labels.clone();
        if seen.contains(&labels) {
            continue;
        }
        seen.push(labels);
        let native_only = native.as_ref().is_some_and(|native| native.schema % 2 == 0);
        if !native_only {
            samples.extend(of_metric);
        }
        let after = samples.len();
        native_histograms.extend(native.map(|mut native| {
            let (count, sum) = match samples.last() {
                // A histogram with both kinds of buckets has one count and one sum.
                Some(_) if !native_only => totals(&samples),
                _ => (native.count, native.sum),
            };
            (native.after, native.count, native.sum) = (after, count, sum);
            native
        }));
    }
    let mut family = OwnedFamily::new(name, help, metric_type);
    (family.unit, family.samples, family.native_histograms) = (unit, samples, native_histograms);
    family
}

/// Count and sum of the last metric, as protobuf represents them.
fn totals(samples: &[OwnedSample]) -> (f64, f64) {
    let last = |is: fn(&SampleKind) -> bool| samples.iter().rfind(|sample| is(&sample.kind));
    let last_labels = samples.last().map(|sample| &sample.labels);
    let of_last = |found: Option<&OwnedSample>| {
        found.filter(|found| Some(&found.labels) == last_labels).map(|found| found.value)
    };
    let bucket = of_last(last(|kind| matches!(kind, SampleKind::Bucket(_))));
    let count = of_last(last(|kind| *kind == SampleKind::Count)).or(bucket);
    let sum = of_last(last(|kind| *kind == SampleKind::Sum));
    (count.unwrap_or_default(), sum.unwrap_or(f64::NAN))
}

pub fn families(naming: Naming) -> impl Strategy<Value = Families> {
    vec(proptest::sample::select(TYPES.to_vec()), 0..4).prop_flat_map(move |types| {
        let one = |(index, metric_type)| family(index, metric_type, naming);
        types.into_iter().enumerate().map(one).collect::<Vec<_>>().prop_map(Families)
    })
}

/// The part of families that a format can represent.
pub fn representable(format: Format, families: &Families) -> Families {
    let each = families.0.iter().cloned();
    Families(match format {
        Format::Text | Format::TextUtf8 => each.flat_map(representable_in_text).collect(),
        Format::OpenMetrics => each.map(representable_in_openmetrics).collect(),
        _ => each.filter_map(representable_in_protobuf).collect(),
    })
}

/// Converts infos and state sets to gauges.
fn as_gauge(mut family: OwnedFamily) -> OwnedFamily {
    if family.metric_type == MetricType::Info {
        family.name.push_str("_info");
    }
    if matches!(family.metric_type, MetricType::Info | MetricType::StateSet) {
        family.metric_type = MetricType::Gauge;
        family.samples.iter_mut().for_each(|sample| sample.kind = SampleKind::Value);
    }
    family
}

fn representable_in_text(family: OwnedFamily) -> Vec<OwnedFamily> {
    let mut family = as_gauge(family);
    family.unit.clear();
    family.native_histograms.clear();
    let blanks = family.help.len() - family.help.trim_start_matches([' ', '\t']).len();
    family.help.drain(..blanks);
    family.samples.iter_mut().for_each(|sample| sample.exemplar = None);
    if family.metric_type == MetricType::GaugeHistogram {
        family.metric_type = MetricType::Histogram;
    }
    let mut found = vec![];
    for kind in [SampleKind::Created, SampleKind::GaugeCount, SampleKind::GaugeSum] {
        let (later, kept): (Vec<_>, Vec<_>) =
            family.samples.drain(..).partition(|sample| sample.kind == kind);
        family.samples = kept;
        if later.is_empty() {
            continue;
        }
        let samples = later
            .into_iter()
            .map(|mut sample| {
                sample.kind = SampleKind::Value;
                sample
            })
            .collect();
        let name = format!("{}{}", family.name, kind.suffix());
        let mut gauge = OwnedFamily::new(name, family.help.as_str(), MetricType::Gauge);
        gauge.samples = samples;
        found.push(gauge);
    }
    found.insert(0, family);
    found
}

fn representable_in_openmetrics(mut family: OwnedFamily) -> OwnedFamily {
    family.native_histograms.clear();
    if family.metric_type == MetricType::Histogram {
        // A sum that is NaN is omitted with its count.
        let is_nan = |sample: &OwnedSample| sample.kind == SampleKind::Sum && sample.value.is_nan();
        let without: Vec<Labels> =
            family.samples.iter().filter(|s| is_nan(s)).map(|s| s.labels.clone()).collect();
        family.samples.retain(|sample| {
            !matches!(sample.kind, SampleKind::Sum | SampleKind::Count)
                || !without.contains(&sample.labels)
        });
    }
    if family.metric_type == MetricType::GaugeHistogram {
        let is_nan =
            |sample: &OwnedSample| sample.kind == SampleKind::GaugeSum && sample.value.is_nan();
        let without: Vec<Labels> =
            family.samples.iter().filter(|s| is_nan(s)).map(|s| s.labels.clone()).collect();
        family.samples.retain(|sample| {
            let is_total = matches!(sample.kind, SampleKind::GaugeSum | SampleKind::GaugeCount);
            !is_total || !without.contains(&sample.labels)
        });
    }
    family
}

fn representable_in_protobuf(family: OwnedFamily) -> Option<OwnedFamily> {
    let mut family = as_gauge(family);
    let parts = match family.metric_type {
        MetricType::Histogram => [SampleKind::Sum, SampleKind::Count],
        _ => [SampleKind::GaugeSum, SampleKind::GaugeCount],
    };
    let mut samples: Vec<OwnedSample> = Vec::new();
    let mut places = vec![0; family.samples.len() + 1];
    let mut all = family.samples.drain(..).enumerate().peekable();
    while let Some((at, sample)) = all.next() {
        let next = all.peek().map(|(_, next)| next.kind);
        let is_last = sample.kind == SampleKind::Bucket(f64::INFINITY);
        let lacks_totals = is_last && next != Some(parts[0]);
        let [sum, count] = [f64::NAN, sample.value];
        let (labels, time) = (sample.labels.clone(), sample.timestamp);
        samples.push(sample);
        if lacks_totals {
            let one = |(kind, value)| self::sample(kind, &labels, value, time);
            samples.extend(parts.into_iter().zip([sum, count]).map(one));
        }
        places[at + 1] = samples.len();
    }
    drop(all);
    family.samples = samples;
    for native in &mut family.native_histograms {
        native.after = places[native.after];
    }
    (!family.samples.is_empty() || !family.native_histograms.is_empty()).then_some(family)
}

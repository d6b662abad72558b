//! What an encoder writes is what a parser reads; and a parser takes any bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use multiprom::exposition::{Exposition, Format};
use multiprom::parse::{Families, Family, OwnedExemplar, OwnedSample, Parser};
use multiprom::{MetricType, Part};

type Labels = Vec<(String, String)>;

/// Label sets with distinct names in order, of any values.
fn labels() -> impl Strategy<Value = Labels> {
    vec(any::<String>(), 0..3).prop_map(|values| {
        let names = ["a", "b1", "zZ_"].map(str::to_owned);
        names.into_iter().zip(values).collect()
    })
}

/// Times that both formats can say: eighths of a second.
fn time() -> impl Strategy<Value = Option<f64>> {
    proptest::option::of((-1_000_000_000i64..9_000_000_000).prop_map(|time| time as f64 / 8.0))
}

fn not_negative() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter_map("NaN", |v| (!v.is_nan()).then_some(v.abs())),
        (0u32..100).prop_map(f64::from)
    ]
}

fn count() -> impl Strategy<Value = f64> {
    (0u64..1 << 53).prop_map(|count| count as f64)
}

fn sample(part: Part, labels: &Labels, value: f64, timestamp: Option<f64>) -> OwnedSample {
    OwnedSample { part, labels: labels.clone(), value, timestamp, exemplar: None }
}

/// The samples of one metric of this type.
fn metric(metric_type: MetricType, family: String) -> BoxedStrategy<Vec<OwnedSample>> {
    let bounds =
        vec(any::<f64>().prop_filter("finite, positive", |v| *v > 0.0 && v.is_finite()), 0..4);
    let quantiles = vec((0.0..=1.0f64, not_negative()), 0..3);
    let value = prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(-0.0)];
    let parts = (not_negative(), count(), bounds, quantiles, value, any::<bool>(), any::<bool>());
    (labels(), time(), parts)
        .prop_map(
            move |(mut labels, time, (sum, count, mut bounds, mut quantiles, value, some, bit))| {
                let one = |part, value| sample(part, &labels, value, time);
                match metric_type {
                    MetricType::Counter => {
                        let exemplar = some.then(|| OwnedExemplar {
                            labels: vec![("id".to_owned(), "x\"\\\n".to_owned())],
                            value,
                            timestamp: time,
                        });
                        vec![OwnedSample { exemplar, ..one(Part::Total, sum) }]
                    }
                    MetricType::Histogram | MetricType::GaugeHistogram => {
                        bounds.sort_by(f64::total_cmp);
                        bounds.dedup();
                        bounds.push(f64::INFINITY);
                        let mut samples: Vec<_> =
                            bounds.iter().map(|bound| one(Part::Bucket(*bound), count)).collect();
                        if some {
                            let parts = if metric_type == MetricType::Histogram {
                                [Part::Sum, Part::Count]
                            } else {
                                [Part::GaugeSum, Part::GaugeCount]
                            };
                            samples.push(one(parts[0], sum));
                            samples.push(one(parts[1], count));
                        }
                        samples
                    }
                    MetricType::Summary => {
                        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
                        quantiles.dedup_by_key(|(quantile, _)| *quantile);
                        let mut samples: Vec<_> = quantiles
                            .iter()
                            .map(|(q, value)| one(Part::Quantile(*q), *value))
                            .collect();
                        samples.extend([one(Part::Sum, sum), one(Part::Count, count)]);
                        samples
                    }
                    MetricType::Info => vec![one(Part::Info, 1.0)],
                    MetricType::StateSet => {
                        labels.push((family.clone(), "on".to_owned()));
                        vec![sample(Part::State, &labels, f64::from(u8::from(bit)), time)]
                    }
                    _ => vec![one(Part::Value, value)],
                }
            },
        )
        .boxed()
}

fn family(index: usize, metric_type: MetricType) -> impl Strategy<Value = Family> {
    // Help begins with a word: the text format drops blanks before it.
    let help =
        prop_oneof![Just(String::new()), any::<String>().prop_map(|text| format!("H{text}."))];
    let has_unit = !matches!(metric_type, MetricType::Info | MetricType::StateSet);
    let name = format!("f{index}_seconds");
    (help, any::<bool>(), vec(metric(metric_type, name.clone()), 0..3)).prop_map(
        move |(help, unit, metrics)| {
            let mut seen = Vec::new();
            let metrics = metrics.into_iter().filter(|samples| {
                let labels = samples[0].labels.clone();
                let is_new = !seen.contains(&labels);
                seen.push(labels);
                is_new
            });
            let unit = if has_unit && unit { "seconds" } else { "" }.to_owned();
            let samples = metrics.flatten().collect();
            let (name, native_histograms) = (name.clone(), Vec::new());
            Family { name, help, unit, metric_type, samples, native_histograms }
        },
    )
}

fn families(types: Vec<MetricType>) -> impl Strategy<Value = Families> {
    vec(proptest::sample::select(types), 0..4).prop_flat_map(|types| {
        let one = |(index, metric_type)| family(index, metric_type).boxed();
        types.into_iter().enumerate().map(one).collect::<Vec<_>>().prop_map(Families)
    })
}

/// Whether the encoder writes units and exemplars: what it leaves out cannot come back.
fn writes(format: Format, mark: &str) -> bool {
    let exemplar = Some(OwnedExemplar { labels: Vec::new(), value: 1.0, timestamp: None });
    let sample = OwnedSample { exemplar, ..sample(Part::Total, &Vec::new(), 1.0, None) };
    let (metric_type, samples) = (MetricType::Counter, vec![sample]);
    let [name, unit] = ["a_s", "s"].map(str::to_owned);
    let (help, native_histograms) = (String::new(), Vec::new());
    let probe =
        Families(vec![Family { name, help, unit, metric_type, samples, native_histograms }]);
    Exposition::encode(&probe, format).to_string().contains(mark)
}

fn without(mut families: Families, units: bool, exemplars: bool) -> Families {
    for family in &mut families.0 {
        if units {
            family.unit.clear();
        }
        if exemplars {
            family.samples.iter_mut().for_each(|sample| sample.exemplar = None);
        }
    }
    families
}

/// NaN is one, and zero has two signs.
fn shown(families: &[Family]) -> String {
    format!("{families:#?}")
}

proptest! {
    #[test]
    fn openmetrics_that_is_written_is_read_back(given in families(vec![
        MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::GaugeHistogram,
        MetricType::Summary, MetricType::Info, MetricType::StateSet, MetricType::Unknown,
    ])) {
        let format = Format::OpenMetrics;
        let given = without(given, !writes(format, "# UNIT"), !writes(format, " # {"));
        let body = Exposition::encode(&given, format).body;
        let read = Parser::openmetrics(&body[..]).collect::<Result<Vec<_>, _>>();
        let read = read.map_err(|e| TestCaseError::fail(format!("{e}\n{}", String::from_utf8_lossy(&body))))?;
        prop_assert_eq!(shown(&read), shown(&given.0), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn text_that_is_written_is_read_back(given in families(vec![
        MetricType::Counter, MetricType::Gauge, MetricType::Histogram, MetricType::Summary,
        MetricType::Unknown,
    ])) {
        let given = without(given, true, true);
        let body = Exposition::encode(&given, Format::Text).body;
        let read = Parser::text(&body[..]).collect::<Result<Vec<_>, _>>();
        let read = read.map_err(|e| TestCaseError::fail(format!("{e}\n{}", String::from_utf8_lossy(&body))))?;
        prop_assert_eq!(shown(&read), shown(&given.0), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn every_parser_takes_any_bytes(bytes: Vec<u8>) {
        for syntax in SYNTAXES {
            Parser::new(syntax, &bytes[..]).for_each(drop);
        }
    }

    #[test]
    fn every_parser_takes_any_mixture_of_what_it_knows(words in vec(proptest::sample::select(WORDS.to_vec()), 0..40)) {
        let page = words.concat();
        for syntax in SYNTAXES {
            Parser::new(syntax, page.as_bytes()).for_each(drop);
        }
    }
}

const SYNTAXES: [multiprom::parse::Syntax; 3] = {
    use multiprom::parse::Syntax;
    [Syntax::Text, Syntax::OpenMetrics, Syntax::Protobuf]
};

const WORDS: [&str; 36] = [
    "# TYPE ",
    "# HELP ",
    "# UNIT ",
    "# EOF",
    "\n",
    " ",
    "a",
    "a_total",
    "a_bucket",
    "a_sum",
    "\"",
    "\\",
    "{",
    "}",
    "le=\"1\"",
    "le=\"+Inf\"",
    "quantile=\"0.5\"",
    ",",
    "=",
    " # {",
    "counter",
    "histogram",
    "summary",
    "gauge",
    "info",
    "stateset",
    "1",
    "-1",
    "NaN",
    "+Inf",
    ".5",
    "e9",
    "\u{e9}",
    "\t",
    "#",
    "\0",
];

#[test]
fn the_seeds_of_the_fuzz_targets_are_taken() {
    let seeds = crate::support::root().join("fuzz/seeds");
    let (mut files, mut good) = (0, 0);
    for target in std::fs::read_dir(seeds).unwrap() {
        for file in std::fs::read_dir(target.unwrap().path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            files += 1;
            for syntax in SYNTAXES {
                let pieces = std::io::BufReader::with_capacity(3, &bytes[..]);
                let pieces = Parser::new(syntax, pieces).collect::<Result<Vec<_>, _>>();
                let whole = Parser::new(syntax, &bytes[..]).collect::<Result<Vec<_>, _>>();
                assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
                good += usize::from(whole.is_ok());
            }
            multiprom::exposition::negotiate(std::str::from_utf8(&bytes).ok());
        }
    }
    assert!(files >= 14 && good >= 4, "{files} files, {good} good");
}

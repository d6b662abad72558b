//! Samples as plain data, to compare how different programs merge a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use multiprom::collector::{FamilyMetadata, MetricType, Sample, SampleKind};
use multiprom::{Collector as _, FamilySink, MultiProcessCollector};

/// One sample. All NaN have the same bits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub metric_type: String,
    pub help: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub bits: u64,
    pub family: String,
    /// Whether the Python client's result depends on the order of files.
    pub is_order_dependent: bool,
}

impl Line {
    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{:?} {:?}", self.metric_type, self.name, self.labels, self.value())
    }
}

fn bits_of(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// The samples and the families that multiprom merges from all files of a directory, regardless of liveness and without
/// multiprom's own metrics.
pub fn own_samples(dir: &Path) -> (Vec<Line>, BTreeSet<String>) {
    samples_of(&of_all_files(dir))
}

/// A collector of the files of a directory. As each file is passed by its name, their liveness is not checked; nor does
/// the Python client check it.
pub fn of_all_files(dir: &Path) -> MultiProcessCollector {
    let files = multiprom::inspect::list_files(dir).unwrap();
    if files.is_empty() {
        return MultiProcessCollector::new(dir).unwrap();
    }
    let builder = MultiProcessCollector::builder();
    files.iter().fold(builder, |builder, file| builder.file(&file.path)).build().unwrap()
}

/// The samples and the families of a collector, without multiprom's own metrics.
pub fn samples_of(collector: &MultiProcessCollector) -> (Vec<Line>, BTreeSet<String>) {
    #[derive(Default)]
    struct Lines {
        found: Vec<Line>,
        families: BTreeSet<String>,
        current: (String, String, String),
    }

    impl FamilySink for Lines {
        fn family(&mut self, head: &FamilyMetadata<'_>) {
            let metric_type = match head.metric_type {
                MetricType::Counter => "counter",
                other => other.as_str(),
            };
            self.current = (head.name.to_owned(), metric_type.to_owned(), head.help.to_owned());
            if !head.name.starts_with("multiprom_") {
                self.families.insert(head.name.to_owned());
            }
        }

        fn sample(&mut self, sample: &Sample<'_>) {
            let (family, metric_type, help) = self.current.clone();
            if family.starts_with("multiprom_") {
                return;
            }
            let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let mut labels: BTreeMap<_, _> = sample.labels.iter().map(pair).collect();
            if let SampleKind::Bucket(bound) = sample.kind {
                labels.insert("le".to_owned(), spell(bound));
            }
            self.found.push(Line {
                metric_type,
                help,
                name: format!("{family}{}", sample.kind.suffix()),
                labels,
                bits: bits_of(sample.value),
                family,
                is_order_dependent: false,
            });
        }
    }

    let mut lines = Lines::default();
    collector.collect(&mut lines);
    lines.found.sort();
    (lines.found, lines.families)
}

/// The canonical text of a bound.
fn spell(bound: f64) -> String {
    format!("{bound:?}")
}

/// The samples and the families that a Python program printed, one JSON object per sample.
///
/// The different texts of `le` that releases use for one number are replaced by the canonical one.
pub fn python_samples(text: &str) -> (Vec<Line>, BTreeSet<String>) {
    let mut lines = Vec::new();
    let mut families = BTreeSet::new();
    for line in text.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| json[field].as_str().map(str::to_owned);
        let given = text("family").unwrap();
        let metric_type = text("type").unwrap();
        // Until 0.3.1, the Python client kept the suffix in the name of the family.
        let suffix = if metric_type == "counter" { "_total" } else { "" };
        let family = given.strip_suffix(suffix).unwrap_or(&given).to_owned();
        families.insert(family.clone());
        let Some(mut name) = text("name") else { continue };
        // It also omitted the suffix in samples whose family was declared without it.
        if metric_type == "counter" && name == family {
            name.push_str("_total");
        }
        let pairs = json["labels"].as_object().unwrap();
        let mut labels: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        if name.ends_with("_bucket") {
            let bound = labels["le"].parse::<f64>().unwrap();
            labels.insert("le".to_owned(), spell(bound));
        }
        lines.push(Line {
            metric_type,
            help: text("help").unwrap(),
            name,
            labels,
            bits: bits_of(parse_hex(&text("value").unwrap())),
            family,
            is_order_dependent: json["nan_minmax"] == true,
        });
    }
    lines.sort();
    (lines, families)
}

/// Parses the output of Python's `float.hex`.
pub fn parse_hex(text: &str) -> f64 {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits {
        "nan" => f64::NAN,
        "inf" => f64::INFINITY,
        _ => {
            let (mantissa, exponent) = digits[2..].split_once('p').unwrap();
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let joined = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
            let shift = exponent.parse::<i32>().unwrap() - 4 * fraction.len() as i32;
            // In two steps, as the power of two alone may not be a normal number.
            joined as f64 * 2f64.powi(shift / 2) * 2f64.powi(shift - shift / 2)
        }
    };
    if negative { -value } else { value }
}

/// Asserts that multiprom's samples equal those of the Python client; prints the first differences.
#[track_caller]
pub fn assert_same(what: &str, own: &[Line], reference: &[Line]) {
    let only = |these: &[Line], those: &[Line]| -> Vec<Line> {
        let those: BTreeSet<&Line> = those.iter().collect();
        these.iter().filter(|line| !those.contains(line)).take(8).cloned().collect()
    };
    let (only_own, only_reference) = (only(own, reference), only(reference, own));
    assert!(
        own.len() == reference.len() && only_own.is_empty() && only_reference.is_empty(),
        "{what}: {} samples of multiprom, {} of the other\nonly multiprom: {only_own:#?}\nonly the other: {only_reference:#?}",
        own.len(),
        reference.len(),
    );
}

/// Replaces totals of the Python client by multiprom's if they differ only by rounding: the Python client rounds a total
/// at each addition, multiprom once.
pub fn rounded_once(reference: Vec<Line>, own: &[Line]) -> Vec<Line> {
    let key = |line: &Line| (line.metric_type.clone(), line.name.clone(), line.labels.clone());
    let own: BTreeMap<_, f64> = own.iter().map(|line| (key(line), line.value())).collect();
    let rounded = |line: Line| match own.get(&key(&line)) {
        Some(own) if line.metric_type != "gauge" && is_near(*own, line.value()) => {
            Line { bits: bits_of(*own), ..line }
        }
        _ => line,
    };
    reference.into_iter().map(rounded).collect()
}

/// Whether two numbers are equal except for rounding in the last digits.
pub fn is_near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

#[test]
fn hex_floats_of_python_are_parsed_exactly() {
    for (text, value) in [
        ("0x1.9333333333334p+2", 6.300_000_000_000_001),
        ("0x0.0p+0", 0.0),
        ("-0x0.0p+0", -0.0),
        ("0x0.0000000000001p-1022", 5e-324),
        ("0x1.fffffffffffffp+1023", f64::MAX),
        ("-inf", f64::NEG_INFINITY),
    ] {
        assert_eq!(parse_hex(text).to_bits(), value.to_bits(), "{text}");
    }
}

//! Every format that multiprom writes, checked by other parsers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use multiprom::collector::{
    Exemplar, FamilyMetadata, Gatherer as _, HistogramPoint, MetricType, Sample, SampleKind,
};
use multiprom::exposition::{
    Escaping, Exposition, Format, Negotiated, OpenMetricsEncoder, TextEncoder,
};
use multiprom::{FamilySink, Registry};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::samples::parse_hex;
use crate::support::{python, root, skip, zoo};

/// Runs a command with `input` as its standard input, asserts that it succeeds, and returns its standard output.
fn run_with_input(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let (stderr, input) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(input));
    assert!(output.status.success(), "{command:?} failed: {stderr}\n{input}");
    output.stdout
}

/// Values by series; values are in Rust's `Debug` format.
type Samples = BTreeMap<String, String>;

/// A key for a series that does not depend on the order of its labels.
fn series(name: &str, labels: &Value, label_name: impl Fn(&str) -> String) -> String {
    let labels: BTreeMap<String, &str> = labels
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (label_name(k), v.as_str().unwrap()))
        .collect();
    format!("{name}{labels:?}")
}

/// All samples of a registry, from its JSON exposition, with escaped names.
fn own_samples(registry: &Registry, escaping: Escaping) -> Samples {
    let json = Exposition::encode(registry, Format::Json).body;
    let families: Value = serde_json::from_slice(&json).unwrap();
    let mut samples = Samples::new();
    for family in families.as_array().unwrap() {
        let name = family["name"].as_str().unwrap();
        let own = match family["type"].as_str().unwrap() {
            "counter" => "_total",
            _ => "",
        };
        let shown = escaping.metric_name(&format!("{name}{own}")).into_owned();
        let shown = shown.strip_suffix(own).unwrap();
        for sample in family["samples"].as_array().unwrap() {
            let suffix = sample["name"].as_str().unwrap().strip_prefix(name).unwrap();
            let Some(value) = sample["value"].as_str() else { continue };
            let label = |name: &str| escaping.label_name(name).into_owned();
            let series = series(&format!("{shown}{suffix}"), &sample["labels"], label);
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(series, format!("{value:?}")).is_none());
        }
    }
    samples
}

/// All samples that a parser of the Python client reads.
fn python_samples(parser: &str, text: &[u8]) -> Option<Samples> {
    let mut command = python("newest")?;
    let printed =
        run_with_input(command.arg(root().join("tests/python/parse.py")).arg(parser), text);
    let mut samples = Samples::new();
    for line in String::from_utf8(printed).unwrap().lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let Some(name) = sample["name"].as_str() else { continue };
        let value = parse_hex(sample["value"].as_str().unwrap());
        let series = series(name, &sample["labels"], str::to_owned);
        assert!(samples.insert(series, format!("{value:?}")).is_none(), "{line}");
    }
    Some(samples)
}

/// The samples without start timestamps, which are written only if enabled.
fn without_created(samples: &Samples) -> Samples {
    let is_shown = |series: &&String| !series.contains("_created{");
    let shown = samples.keys().filter(is_shown);
    shown.map(|series| (series.clone(), samples[series].clone())).collect()
}

#[test]
fn the_python_parser_reads_every_sample_of_the_text_format_in_every_escaping() {
    let registry = zoo::registry(true);
    for escaping in Escaping::ALL.iter().copied() {
        let own = own_samples(&registry, escaping);
        for format in [Format::Text, Format::TextUtf8] {
            let text = Exposition::encode(&registry, Negotiated::new(format, escaping)).body;
            let Some(reference) = python_samples("text", &text) else { return };
            assert_eq!(reference, without_created(&own));
        }
        let mut text = Vec::new();
        let mut encoder = TextEncoder::new(&mut text).escaping(escaping).created();
        registry.gather(&mut encoder);
        encoder.finish();
        assert_eq!(python_samples("text", &text).unwrap(), own);
    }
}

#[test]
fn the_strict_python_parser_reads_every_sample_of_openmetrics_in_every_escaping() {
    let registry = zoo::registry(true);
    for escaping in Escaping::ALL.iter().copied() {
        let own = own_samples(&registry, escaping);
        let format = Negotiated::new(Format::OpenMetrics, escaping);
        let text = Exposition::encode(&registry, format).body;
        let Some(reference_plain) = python_samples("openmetrics", &text) else { return };
        assert_eq!(reference_plain, without_created(&own));
        let mut text = Vec::new();
        let mut encoder = OpenMetricsEncoder::new(&mut text).escaping(escaping).created();
        registry.gather(&mut encoder);
        encoder.finish();
        assert_eq!(python_samples("openmetrics", &text).unwrap(), own);
    }
}

/// Splits a stream of length-delimited messages.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (mut len, mut shift) = (0, 0);
        loop {
            len |= usize::from(bytes[0] & 0x7f) << shift;
            let is_last = bytes[0] & 0x80 == 0;
            bytes = &bytes[1..];
            shift += 7;
            if is_last {
                break;
            }
        }
        let (message, rest) = bytes.split_at(len);
        found.push(message);
        bytes = rest;
    }
    found
}

fn protoc(mode: &str) -> Command {
    let mut command = Command::new("protoc");
    let dir = root().join("tests/protobuf");
    command.arg(format!("--proto_path={}", dir.display()));
    command.arg(format!("--{mode}=io.prometheus.client.MetricFamily"));
    command.arg(dir.join("metrics.proto"));
    command
}

#[test]
fn protoc_encodes_the_protobuf_text_format_to_the_same_bytes() {
    if Command::new("protoc").arg("--version").output().is_err() {
        skip("protoc is not installed");
        return;
    }
    let registry = zoo::registry(true);
    let format = Negotiated::new(Format::Protobuf, Escaping::AllowUtf8);
    let bytes = Exposition::encode(&registry, format).body;
    let text = Exposition::encode(&registry, Format::ProtobufText).to_string();
    let messages = messages(&bytes);
    let texts: Vec<&str> = text.split_inclusive("\n\n").collect();
    assert_eq!((messages.len(), texts.len()), (13, 13), "{text}");
    let mut all = String::new();
    for (message, text) in messages.into_iter().zip(texts) {
        assert_eq!(run_with_input(&mut protoc("encode"), text.as_bytes()), message, "{text}");
        let decoded = String::from_utf8(run_with_input(&mut protoc("decode"), message)).unwrap();
        let has_unknown =
            decoded.lines().any(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
        assert!(!has_unknown, "{decoded}");
        let again = run_with_input(&mut protoc("encode"), decoded.as_bytes());
        assert_eq!(again, message, "{decoded}");
        all.push_str(&decoded);
    }
    for line in [
        "type: GAUGE_HISTOGRAM",
        "unit: \"seconds\"",
        "name: \"zoo.hits_total\"",
        "schema: 1",
        "zero_count: 2",
        "offset: -2",
        "positive_delta: -3",
        "positive_count: 1.5",
        "sample_count_float: 5",
        "upper_bound: 1000000",
        "seconds: 1500000000",
    ] {
        assert!(all.lines().any(|known| known.trim() == line), "{line} is not in\n{all}");
    }
}

/// Families with every combination of unusual numbers.
struct UnusualNumbers;

const NUMBERS: [f64; 9] =
    [f64::NAN, -1.5, -0.0, 0.0, 0.5, 2.0, 1e300, f64::INFINITY, f64::NEG_INFINITY];

impl multiprom::collector::Gatherer for UnusualNumbers {
    fn gather(&self, out: &mut dyn FamilySink) {
        let long = "x".repeat(127);
        let (fitting, too_long) = ([("t", &*long)], [("to", &*long)]);
        for (at, value) in NUMBERS.into_iter().enumerate() {
            for (other_at, other) in NUMBERS.into_iter().enumerate() {
                let name = |word: &str| format!("{word}_{at}_{other_at}_\u{e9}");
                let labels = [("le.x", "\"\\\n"), ("b", &*long)];
                let exemplar = |labels| Exemplar::new(labels, other).with_timestamp(value);
                out.with_unit("\u{e9}")
                    .counter(&name("c"), "Help\r\n\"\\")
                    .sample_with_exemplar(&labels, value, exemplar(&fitting))
                    .created(&labels, other);
                let count = value.max(0.0);
                let exemplars = [exemplar(&fitting), exemplar(&too_long)];
                for bounds in [[-1.0, 2.0], [0.5, 2.0]] {
                    let buckets = [(bounds[0], 0.0), (bounds[1], count)];
                    let point = HistogramPoint::new(&buckets, count, other)
                        .with_exemplars(&exemplars)
                        .with_created(value);
                    out.histogram(&name(&format!("h{}", bounds[0])), "").sample(&labels, &point);
                    let name = name(&format!("g{}", bounds[0]));
                    out.gauge_histogram(&name, "").sample(&labels, &point);
                }
                let mut summary = out.summary(&name("s"), "");
                summary.sample(&labels, &[(0.5, value), (value, 1.0)], count, other);
                out.gauge(&name("v"), "").sample(&labels, value);
                out.family(&FamilyMetadata::new(&name("i"), "", MetricType::Info));
                out.sample(&Sample::new(SampleKind::Info, &labels, value));
                out.family(&FamilyMetadata::new(&name("m"), "", MetricType::StateSet));
                let state = name("m");
                out.sample(&Sample::new(SampleKind::State, &[(state.as_str(), "on")], value));
            }
        }
    }
}

#[test]
fn the_strict_python_parser_accepts_openmetrics_of_any_collector_values() {
    for escaping in Escaping::ALL.iter().copied() {
        let mut text = Vec::new();
        let mut encoder = OpenMetricsEncoder::new(&mut text).escaping(escaping).created();
        UnusualNumbers.gather(&mut encoder);
        encoder.finish();
        let Some(samples) = python_samples("openmetrics", &text) else { return };
        assert!(samples.len() > 500, "{} samples", samples.len());
    }
}

#[test]
fn json_and_protobuf_are_well_formed_for_any_collector_values() {
    let json = Exposition::encode(&UnusualNumbers, Format::Json).body;
    let families: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(families.as_array().unwrap().len(), 9 * 9 * 9);
    if Command::new("protoc").arg("--version").output().is_err() {
        skip("protoc is not installed");
        return;
    }
    // Concatenated messages are one message with the fields of all of them.
    let bytes = Exposition::encode(&UnusualNumbers, Format::Protobuf).body;
    let decoded = run_with_input(&mut protoc("decode"), &messages(&bytes).concat());
    let decoded = String::from_utf8(decoded).unwrap();
    let starts_with_digit =
        |line: &str| line.trim_start().starts_with(|c: char| c.is_ascii_digit());
    assert!(!decoded.lines().any(starts_with_digit), "{decoded}");
    assert_eq!(decoded.lines().filter(|line| *line == "metric {").count(), 9 * 9 * 9);
}

/// A gauge or counter family, with the label names of each sample.
#[derive(Clone, Debug)]
struct Shape {
    name: String,
    is_counter: bool,
    samples: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Shapes(Vec<Shape>);

impl multiprom::collector::Gatherer for Shapes {
    fn gather(&self, out: &mut dyn FamilySink) {
        for shape in &self.0 {
            let mut family = if shape.is_counter {
                out.counter(&shape.name, "")
            } else {
                out.gauge(&shape.name, "")
            };
            for names in &shape.samples {
                let labels: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "v")).collect();
                family.sample(&labels, 1.0);
            }
        }
    }
}

/// Families with different names and samples with different label sets, many of which collide when they are escaped.
fn shapes() -> impl Strategy<Value = Shapes> {
    let labels = prop::collection::btree_set("[._:b-]{1,2}", 0..3);
    let labels = labels.prop_map(|names| names.into_iter().collect::<Vec<_>>());
    let samples = prop::collection::hash_set(labels, 1..6);
    let samples = samples.prop_map(|samples| samples.into_iter().collect::<Vec<_>>());
    let family = (any::<bool>(), samples);
    prop::collection::hash_map("[._a1-]{1,3}", family, 1..6).prop_map(|families| {
        let shape = |(name, (is_counter, samples))| Shape { name, is_counter, samples };
        Shapes(families.into_iter().map(shape).collect())
    })
}

proptest! {
    #[test]
    fn no_series_is_written_twice(shapes in shapes()) {
        for escaping in Escaping::ALL.iter().copied() {
            for format in [Format::Text, Format::OpenMetrics] {
                let text = Exposition::encode(&shapes, Negotiated::new(format, escaping)).to_string();
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                prop_assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{}", text);
                for line in &lines {
                    let mut labels: Vec<&str> = line.split(['{', ',', '}']).skip(1).collect();
                    labels.pop();
                    labels.sort_unstable();
                    prop_assert!(labels.windows(2).all(|pair| pair[0] != pair[1]), "{}", line);
                }
                let samples: usize = shapes.0.iter().map(|shape| shape.samples.len()).sum();
                let shown = lines.iter().filter(|line| !line.starts_with('#')).count();
                prop_assert!(escaping != Escaping::AllowUtf8 || shown == samples, "{}", text);
            }
        }
    }
}

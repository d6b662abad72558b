//! The protobuf format of Prometheus: length-delimited messages `io.prometheus.client.MetricFamily`.
//!
//! See: <https://prometheus.io/docs/instrumenting/exposition_formats/#protobuf-format>

use std::fmt;

use super::Encoder;
use super::escape::Escaping;
use super::names::{Names, Syntax};
use super::pending::Pending;
use super::protobuf_text::push_family_text;
use super::wire::{
    push_double, push_int, push_message, push_sint, push_text, push_uint, push_varint,
};
use crate::model::number::milliseconds;
use crate::model::{
    Exemplar, FamilyMetadata, FamilySink, Labels, MetricType, NativeBuckets, NativeHistogram,
    Sample, SampleKind, is_whole_count,
};

/// Encodes families as protobuf messages. [`finish`](ProtobufEncoder::finish) ends the exposition.
///
/// The format has exemplars, native histograms with or without classic buckets, and start timestamps. Infos and state
/// sets, which it lacks, become gauges.
///
/// - Counts of histograms are integers if they are exact integers, else floats. Counts of summaries are rounded to
///   integers; negative ones and NaN become 0.
/// - Timestamps of samples are rounded to milliseconds, other times to nanoseconds.
/// - A histogram without a count gets the value of its last bucket. One without a sum gets NaN, as readers take a
///   missing sum for 0.
/// - Families without samples, samples of a part that the type of their family does not have, and invalid native
///   histograms are omitted.
///
/// The encoder keeps one family in memory.
pub struct ProtobufEncoder<'a> {
    out: &'a mut Vec<u8>,
    names: Names,
    is_text: bool,
    is_skipping: bool,
    metric_type: MetricType,
    /// The encoded fields of the family that precede its metrics.
    head: Vec<u8>,
    /// The encoded metrics.
    metrics: Vec<u8>,
    /// The encoded fields that follow the metrics.
    tail: Vec<u8>,
    metric: Pending,
    labels: Vec<u8>,
}

impl fmt::Debug for ProtobufEncoder<'_> {
    /// Writes the current family and the number of bytes so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtobufEncoder")
            .field("family", &self.names.base())
            .field("len", &self.out.len())
            .finish_non_exhaustive()
    }
}

impl<'a> ProtobufEncoder<'a> {
    /// An encoder that appends to `out`, with names escaped by underscores.
    pub fn new(out: &'a mut Vec<u8>) -> ProtobufEncoder<'a> {
        ProtobufEncoder {
            out,
            names: Names::new(Escaping::Underscores, Syntax::Raw),
            is_text: false,
            is_skipping: true,
            metric_type: MetricType::Unknown,
            head: Vec::new(),
            metrics: Vec::new(),
            tail: Vec::new(),
            metric: Pending::default(),
            labels: Vec::new(),
        }
    }

    /// Sets the escaping of names. Call it before the first family.
    pub fn escaping(mut self, escaping: Escaping) -> ProtobufEncoder<'a> {
        self.names.set_escaping(escaping);
        self
    }

    /// Writes the messages in the protobuf text format, for humans, each followed by an empty line.
    pub fn text(mut self) -> ProtobufEncoder<'a> {
        self.is_text = true;
        self
    }

    /// Ends the exposition. Without this call the last family is missing.
    pub fn finish(mut self) {
        self.end();
    }

    fn end_family(&mut self) {
        self.end_metric();
        if !self.is_skipping && !self.metrics.is_empty() {
            if self.is_text {
                for part in [&self.head, &self.metrics, &self.tail] {
                    push_family_text(self.out, part);
                }
                self.out.push(b'\n');
            } else {
                let len = self.head.len() + self.metrics.len() + self.tail.len();
                push_varint(self.out, len as u64);
                for part in [&self.head, &self.metrics, &self.tail] {
                    self.out.extend_from_slice(part);
                }
            }
        }
        for part in [&mut self.head, &mut self.metrics, &mut self.tail] {
            part.clear();
        }
    }

    fn end_metric(&mut self) {
        let metric = &self.metric;
        let is_whole = metric.value.is_some()
            || metric.count.is_some()
            || metric.sum.is_some()
            || metric.last_bound.is_some()
            || !metric.quantiles.is_empty();
        if metric.is_open() && is_whole {
            let metric_type = self.metric_type;
            push_message(&mut self.metrics, 4, |out| push_metric(out, metric, metric_type));
        }
        self.metric.close();
    }

    /// Encodes the labels of a sample into `labels`. Returns `false` if the sample must be omitted because a label name
    /// collides with another.
    fn encode_labels(&mut self, labels: Labels<'_>) -> bool {
        self.labels.clear();
        push_labels(&mut self.labels, &mut self.names, labels)
    }
}

impl Encoder for ProtobufEncoder<'_> {
    fn chunk(&mut self) -> Option<&mut Vec<u8>> {
        Some(self.out)
    }

    fn end(&mut self) {
        self.end_family();
    }
}

impl FamilySink for ProtobufEncoder<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.end_family();
        self.metric_type = head.metric_type;
        self.is_skipping = !self.names.begin(head);
        push_text(&mut self.head, 1, self.names.base(), head.metric_type.own_suffix());
        if !head.help.is_empty() {
            push_text(&mut self.head, 2, head.help, "");
        }
        let number = match head.metric_type {
            MetricType::Counter => 0,
            MetricType::Gauge | MetricType::Info | MetricType::StateSet => 1,
            MetricType::Summary => 2,
            MetricType::Unknown => 3,
            MetricType::Histogram => 4,
            MetricType::GaugeHistogram => 5,
        };
        push_uint(&mut self.head, 3, number);
        if !head.unit.is_empty() {
            push_text(&mut self.tail, 5, head.unit, "");
        }
    }

    fn wants_created(&self) -> bool {
        true
    }

    #[inline]
    fn sample(&mut self, sample: &Sample<'_>) {
        let kind = sample.kind;
        if self.is_skipping || !self.metric_type.has(kind) || !self.encode_labels(sample.labels) {
            return;
        }
        if !self.metric.accepts(&self.labels, sample.timestamp, kind) {
            if kind == SampleKind::Created {
                return;
            }
            self.end_metric();
            self.metric.open(&mut self.labels, sample.timestamp);
        }
        self.metric.set(kind, sample.value);
        let Pending { buckets, quantiles, exemplars, .. } = &mut self.metric;
        match kind {
            SampleKind::Bucket(bound) => push_message(buckets, 3, |out| {
                let is_whole = is_whole_count(sample.value);
                if is_whole {
                    push_uint(out, 1, sample.value as u64);
                }
                push_double(out, 2, bound);
                push_exemplar(out, 3, &mut self.names, sample.exemplar);
                if !is_whole {
                    push_double(out, 4, sample.value);
                }
            }),
            SampleKind::Quantile(quantile) => push_message(quantiles, 3, |out| {
                push_double(out, 1, quantile);
                push_double(out, 2, sample.value);
            }),
            SampleKind::Total => push_exemplar(exemplars, 2, &mut self.names, sample.exemplar),
            _ => {}
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        let is_histogram =
            matches!(self.metric_type, MetricType::Histogram | MetricType::GaugeHistogram);
        let is_shown = !self.is_skipping && is_histogram && histogram.is_valid();
        if !is_shown || !self.encode_labels(labels) {
            return;
        }
        if !self.metric.accepts_native(&self.labels, histogram.timestamp) {
            self.end_metric();
            self.metric.open(&mut self.labels, histogram.timestamp);
        }
        let metric = &mut self.metric;
        metric.count.get_or_insert(histogram.count);
        metric.sum.get_or_insert(histogram.sum);
        metric.created = metric.created.or(histogram.created);
        metric.has_float_counts = !has_whole_counts(histogram);
        push_native(&mut metric.native, histogram);
        for exemplar in histogram.exemplars {
            push_exemplar(&mut metric.exemplars, 16, &mut self.names, Some(exemplar));
        }
    }
}

fn push_labels(out: &mut Vec<u8>, names: &mut Names, labels: Labels<'_>) -> bool {
    let mut at = 0;
    labels.all(|name, value| {
        let Some(name) = names.label(at, name) else {
            return false;
        };
        push_message(out, 1, |out| {
            push_text(out, 1, name, "");
            push_text(out, 2, value, "");
        });
        at += 1;
        true
    })
}

fn push_metric(out: &mut Vec<u8>, metric: &Pending, metric_type: MetricType) {
    out.extend_from_slice(&metric.labels);
    let value = metric.value.unwrap_or_default();
    match metric_type {
        MetricType::Gauge | MetricType::Info | MetricType::StateSet => {
            push_message(out, 2, |out| push_double(out, 1, value));
        }
        MetricType::Counter => push_message(out, 3, |out| {
            push_double(out, 1, value);
            out.extend_from_slice(&metric.exemplars);
            push_timestamp(out, 3, metric.created);
        }),
        MetricType::Summary => push_message(out, 4, |out| {
            if let Some(count) = metric.count {
                push_uint(out, 1, count.round() as u64);
            }
            if let Some(sum) = metric.sum {
                push_double(out, 2, sum);
            }
            out.extend_from_slice(&metric.quantiles);
            push_timestamp(out, 4, metric.created);
        }),
        MetricType::Unknown => push_message(out, 5, |out| push_double(out, 1, value)),
        MetricType::Histogram | MetricType::GaugeHistogram => {}
    }
    if let Some(seconds) = metric.timestamp.filter(|seconds| seconds.is_finite()) {
        push_int(out, 6, milliseconds(seconds));
    }
    if matches!(metric_type, MetricType::Histogram | MetricType::GaugeHistogram) {
        push_message(out, 7, |out| push_histogram(out, metric));
    }
}

fn push_histogram(out: &mut Vec<u8>, metric: &Pending) {
    let count = metric.total().unwrap_or_default();
    let is_float = metric.has_float_counts || !is_whole_count(count);
    if !is_float {
        push_uint(out, 1, count as u64);
    }
    push_double(out, 2, metric.sum.unwrap_or(f64::NAN));
    out.extend_from_slice(&metric.buckets);
    if is_float {
        push_double(out, 4, count);
    }
    out.extend_from_slice(&metric.native);
    push_timestamp(out, 15, metric.created);
    out.extend_from_slice(&metric.exemplars);
}

/// Whether all counts of a native histogram are exact integers. If not, all are encoded as floats.
fn has_whole_counts(histogram: &NativeHistogram<'_>) -> bool {
    let buckets = histogram.negative.counts.iter().chain(histogram.positive.counts);
    buckets.chain([&histogram.count, &histogram.zero_count]).all(|count| is_whole_count(*count))
}

/// Appends the fields of a native histogram, except count and sum.
fn push_native(out: &mut Vec<u8>, histogram: &NativeHistogram<'_>) {
    push_sint(out, 5, i64::from(histogram.schema));
    push_double(out, 6, histogram.zero_threshold);
    let is_whole = has_whole_counts(histogram);
    if is_whole {
        push_uint(out, 7, histogram.zero_count as u64);
    } else {
        push_double(out, 8, histogram.zero_count);
    }
    push_buckets(out, 9, &histogram.negative, is_whole);
    push_buckets(out, 12, &histogram.positive, is_whole);
    let has_spans = !histogram.negative.spans.is_empty() || !histogram.positive.spans.is_empty();
    if !has_spans && histogram.zero_threshold == 0.0 && histogram.zero_count == 0.0 {
        // An empty span marks the histogram as native; without it readers would take it for a classic one.
        push_span(out, 12, 0, 0);
    }
}

fn push_span(out: &mut Vec<u8>, field: u32, offset: i32, length: u32) {
    push_message(out, field, |out| {
        push_sint(out, 1, i64::from(offset));
        push_uint(out, 2, u64::from(length));
    });
}

/// Appends spans in the field `first`, then either the differences of integer counts in the next field or float counts
/// in the one after that.
fn push_buckets(out: &mut Vec<u8>, first: u32, buckets: &NativeBuckets<'_>, is_whole: bool) {
    for span in buckets.spans {
        push_span(out, first, span.offset, span.length);
    }
    let mut before = 0;
    for count in buckets.counts {
        if is_whole {
            push_sint(out, first + 1, *count as i64 - before);
            before = *count as i64;
        } else {
            push_double(out, first + 2, *count);
        }
    }
}

fn push_exemplar(
    out: &mut Vec<u8>,
    field: u32,
    names: &mut Names,
    exemplar: Option<&Exemplar<'_>>,
) {
    let start = out.len();
    let mut is_shown = true;
    if let Some(exemplar) = exemplar {
        push_message(out, field, |out| {
            is_shown = push_labels(out, names, Labels::new(exemplar.labels));
            push_double(out, 2, exemplar.value);
            push_timestamp(out, 3, exemplar.timestamp);
        });
    }
    if !is_shown {
        out.truncate(start);
    }
}

/// Appends a `google.protobuf.Timestamp`, in which fields that are 0 are omitted.
fn push_timestamp(out: &mut Vec<u8>, field: u32, seconds: Option<f64>) {
    let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) else {
        return;
    };
    let (mut whole, fraction) = (seconds.floor(), seconds - seconds.floor());
    let mut nanoseconds = (fraction * 1e9).round() as u64;
    if nanoseconds == 1_000_000_000 {
        (whole, nanoseconds) = (whole + 1.0, 0);
    }
    push_message(out, field, |out| {
        if whole != 0.0 {
            push_int(out, 1, whole as i64);
        }
        if nanoseconds != 0 {
            push_uint(out, 2, nanoseconds);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BucketSpan, HistogramPoint};

    fn text(collect: fn(&mut dyn FamilySink)) -> String {
        let mut out = Vec::new();
        let mut encoder = ProtobufEncoder::new(&mut out).text();
        collect(&mut encoder);
        encoder.finish();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_counter_is_encoded_byte_by_byte() {
        let mut out = Vec::new();
        let mut encoder = ProtobufEncoder::new(&mut out);
        (&mut encoder as &mut dyn FamilySink).counter("c", "H").sample(&[("a", "b")], 1.0);
        encoder.finish();
        let metric = b"\x22\x13\x0a\x06\x0a\x01a\x12\x01b\x1a\x09\x09\0\0\0\0\0\0\xf0\x3f";
        let wanted = [&b"\x23\x0a\x07c_total\x12\x01H\x18\0"[..], metric].concat();
        assert_eq!(out, wanted);
    }

    #[test]
    fn the_samples_of_a_metric_become_one_message() {
        let shown = text(|out| {
            let exemplars = [Exemplar { labels: &[("t", "1")], value: 1.5, timestamp: Some(2.25) }];
            let point = HistogramPoint {
                buckets: &[(1.0, 0.5)],
                count: 2.0,
                sum: 3.0,
                exemplars: &exemplars,
                created: Some(-0.25),
            };
            let spans = [BucketSpan { offset: -1, length: 2 }];
            let native = NativeHistogram {
                count: 2.0,
                sum: 3.0,
                schema: -2,
                positive: NativeBuckets { spans: &spans, counts: &[2.0, 0.0] },
                ..Default::default()
            };
            let mut histogram = out.with_unit("x").histogram("h_x", "");
            histogram.sample(&[], &point).native(&[], &native);
            histogram.native(&[("a", "1")], &NativeHistogram::default());
            out.summary("s", "").sample(&[], &[(0.5, 1.0)], 2.0, 3.0).created(&[], 5.0);
            out.gauge("nothing", "");
        });
        let wanted = "name: \"h_x\"\ntype: HISTOGRAM\n\
            metric {\n  histogram {\n    sample_count: 2\n    sample_sum: 3\n\
            |    bucket {\n      upper_bound: 1\n      cumulative_count_float: 0.5\n    }\n\
            |    bucket {\n      cumulative_count: 2\n      upper_bound: inf\n\
            |      exemplar {\n        label {\n          name: \"t\"\n          value: \"1\"\n        }\n\
            |        value: 1.5\n        timestamp {\n          seconds: 2\n          nanos: 250000000\n        }\n      }\n    }\n\
            |    schema: -2\n    zero_threshold: 0\n    zero_count: 0\n\
            |    positive_span {\n      offset: -1\n      length: 2\n    }\n\
            |    positive_delta: 2\n    positive_delta: -2\n\
            |    start_timestamp {\n      seconds: -1\n      nanos: 750000000\n    }\n  }\n}\n\
            metric {\n  label {\n    name: \"a\"\n    value: \"1\"\n  }\n\
            |  histogram {\n    sample_count: 0\n    sample_sum: 0\n    schema: 0\n\
            |    zero_threshold: 0\n    zero_count: 0\n\
            |    positive_span {\n      offset: 0\n      length: 0\n    }\n  }\n}\n\
            unit: \"x\"\n\n\
            name: \"s\"\ntype: SUMMARY\n\
            metric {\n  summary {\n    sample_count: 2\n    sample_sum: 3\n\
            |    quantile {\n      quantile: 0.5\n      value: 1\n    }\n\
            |    start_timestamp {\n      seconds: 5\n    }\n  }\n}\n\n";
        assert_eq!(shown, wanted.replace("\n|", "\n"));
    }

    #[test]
    fn several_points_of_a_summary_keep_their_quantiles() {
        let shown = text(|out| {
            let mut summary = out.summary("s", "");
            // The second point has a quantile of the first one, the third one has another.
            for (quantile, count) in [(0.5, 1.0), (0.5, 2.0), (0.9, 3.0)] {
                summary.sample(&[], &[(quantile, 10.0 * count)], count, count);
            }
            // Quantiles may also follow count and sum.
            for count in [4.0, 5.0] {
                out.sample(&Sample::new(SampleKind::Sum, &[], count));
                out.sample(&Sample::new(SampleKind::Count, &[], count));
                for quantile in [0.5, 0.9] {
                    out.sample(&Sample::new(SampleKind::Quantile(quantile), &[], 10.0 * count));
                }
            }
        });
        let numbers = |name: &str| -> Vec<f64> {
            let lines = shown.lines().filter_map(|line| line.trim().strip_prefix(name));
            lines.map(|number| number.parse().unwrap()).collect()
        };
        let points: Vec<&str> = shown.split("metric {").skip(1).collect();
        let quantiles: Vec<usize> =
            points.iter().map(|point| point.matches("quantile {").count()).collect();
        assert_eq!(quantiles, [1, 1, 1, 2, 2], "{shown}");
        assert_eq!(numbers("value: "), [10.0, 20.0, 30.0, 40.0, 40.0, 50.0, 50.0]);
        assert_eq!(numbers("sample_sum: "), [1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn float_counts_are_encoded_as_floats() {
        let shown = text(|out| {
            let spans = [BucketSpan { offset: 0, length: 1 }];
            let native = NativeHistogram {
                count: 2.0,
                zero_count: 1.5,
                negative: NativeBuckets { spans: &spans, counts: &[0.5] },
                ..Default::default()
            };
            out.gauge_histogram("g", "").native(&[], &native);
        });
        assert!(
            shown.contains("sample_count_float: 2\n") && shown.contains("negative_count: 0.5"),
            "{shown}"
        );
        assert!(!shown.contains("sample_count:") && !shown.contains("delta"), "{shown}");
        assert!(
            shown.contains("type: GAUGE_HISTOGRAM") && shown.contains("zero_count_float: 1.5"),
            "{shown}"
        );
    }
}

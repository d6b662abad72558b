//! Parser of length-delimited protobuf messages `io.prometheus.client.MetricFamily`.
//!
//! A histogram yields its classic buckets, completed by `+Inf` if it is missing, its native histogram, or
//! both, depending on which of them the message has. Count and sum are samples beside classic buckets: only
//! those in the message, or both if there are no buckets at all.
//!
//! See: `metrics.proto` of Prometheus' client model.

use std::io::BufRead;

use super::error::{Fault, truncated};
use super::limits::Limits;
use super::lines::{FaultAt, Lines};
use super::protobuf_native::{CountEncoding, NativeFields};
use super::sink::{Sink, Step};
use super::wire::WireMessage;
use crate::model::{
    Exemplar, FamilyMetadata, Labels, MetricType, NativeHistogram, Sample, SampleKind,
};

/// Parses one message.
pub(super) fn step<R: BufRead>(
    lines: &mut Lines<R>,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Step, FaultAt> {
    if !lines.advance_message()? {
        return Ok(Step::End);
    }
    emit_family(WireMessage::new(lines.bytes()), limits, sink)?;
    Ok(Step::More)
}

fn fault(text: &str) -> Fault {
    Fault::Syntax(text.to_owned())
}

/// The number of the field of a `Metric` that holds the value of this type.
fn value_field(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Gauge => 2,
        MetricType::Counter => 3,
        MetricType::Summary => 4,
        MetricType::Histogram | MetricType::GaugeHistogram => 7,
        _ => 5,
    }
}

fn emit_family(
    message: WireMessage<'_>,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<(), FaultAt> {
    let (mut name, mut help, mut unit) = ("", "", "");
    let mut metric_type = MetricType::Counter;
    // The metadata fields may follow the metrics, so the message is read twice.
    let mut fields = message;
    while let Some((number, value)) = fields.field()? {
        match (number, value.message(), value.integer()) {
            (1, Some(text), _) => name = text.text()?,
            (2, Some(text), _) => help = text.text()?,
            (5, Some(text), _) => unit = text.text()?,
            (3, _, Some(number)) => {
                metric_type = match number {
                    0 => MetricType::Counter,
                    1 => MetricType::Gauge,
                    2 => MetricType::Summary,
                    3 => MetricType::Unknown,
                    4 => MetricType::Histogram,
                    5 => MetricType::GaugeHistogram,
                    _ => return message.fail("unknown family type"),
                }
            }
            _ => {}
        }
    }
    if name.is_empty() {
        return message.fail("the family has no name");
    }
    if metric_type == MetricType::Counter {
        name = sink.counter_name(name);
    }
    sink.family(&FamilyMetadata { unit, ..FamilyMetadata::new(name, help, metric_type) });
    let mut fields = message;
    while let Some((number, value)) = fields.field()? {
        if let (4, Some(metric)) = (number, value.message()) {
            emit_metric(metric, metric_type, limits, sink)?;
        }
    }
    Ok(())
}

type BorrowedLabels<'a> = Vec<(&'a str, &'a str)>;

fn label<'a>(
    mut message: WireMessage<'a>,
    labels: &mut BorrowedLabels<'a>,
    max_labels: usize,
) -> Result<(), FaultAt> {
    let (mut name, mut label_value) = ("", "");
    let start = message;
    while let Some((number, value)) = message.field()? {
        match (number, value.message()) {
            (1, Some(text)) => name = text.text()?,
            (2, Some(text)) => label_value = text.text()?,
            _ => {}
        }
    }
    if name.is_empty() {
        return start.fail("a label has no name");
    }
    if labels.iter().any(|(known, _)| *known == name) {
        return start.fail(&format!("label name `{}` is given twice", truncated(name)));
    }
    if labels.len() >= max_labels {
        return Err((0, Fault::Limit("the number of labels", max_labels)));
    }
    labels.push((name, label_value));
    Ok(())
}

/// Below this, a time in nanoseconds is exact in an `f64`.
const MAX_EXACT_SECONDS: u64 = 9_000_000;

/// A `google.protobuf.Timestamp`, in seconds.
fn seconds(mut message: WireMessage<'_>) -> Result<f64, FaultAt> {
    let (mut seconds, mut nanoseconds) = (0i64, 0i32);
    while let Some((number, value)) = message.field()? {
        match (number, value.integer()) {
            (1, Some(bits)) => seconds = bits as i64,
            (2, Some(bits)) => nanoseconds = bits as i32,
            _ => {}
        }
    }
    if seconds.unsigned_abs() < MAX_EXACT_SECONDS {
        // Rounds once; the sum below rounds twice.
        return Ok((seconds * 1_000_000_000 + i64::from(nanoseconds)) as f64 / 1e9);
    }
    Ok(seconds as f64 + f64::from(nanoseconds) / 1e9)
}

/// An exemplar that owns its list of labels.
struct ExemplarFields<'a> {
    labels: BorrowedLabels<'a>,
    value: f64,
    timestamp: Option<f64>,
}

impl<'a> ExemplarFields<'a> {
    fn read(
        mut message: WireMessage<'a>,
        max_labels: usize,
    ) -> Result<ExemplarFields<'a>, FaultAt> {
        let mut exemplar =
            ExemplarFields { labels: BorrowedLabels::new(), value: 0.0, timestamp: None };
        while let Some((number, field)) = message.field()? {
            match (number, field.message(), field.double()) {
                (1, Some(pair), _) => label(pair, &mut exemplar.labels, max_labels)?,
                (2, _, Some(double)) => exemplar.value = double,
                (3, Some(time), _) => exemplar.timestamp = Some(seconds(time)?),
                _ => {}
            }
        }
        Ok(exemplar)
    }

    fn borrow(&self) -> Exemplar<'_> {
        Exemplar { labels: &self.labels, value: self.value, timestamp: self.timestamp }
    }
}

/// Writes the samples of one metric, which share labels and timestamp, to the sink.
struct MetricEmitter<'a, 's, 'k> {
    labels: BorrowedLabels<'a>,
    timestamp: Option<f64>,
    max_labels: usize,
    sink: &'k mut Sink<'s>,
}

impl<'a> MetricEmitter<'a, '_, '_> {
    fn emit(&mut self, kind: SampleKind, value: f64) {
        let mut sample = Sample::new(kind, &self.labels, value);
        sample.timestamp = self.timestamp;
        self.sink.sample(&sample);
    }

    fn emit_with_exemplar(
        &mut self,
        kind: SampleKind,
        value: f64,
        exemplar: Option<WireMessage<'a>>,
    ) -> Result<(), FaultAt> {
        let Some(message) = exemplar else {
            self.emit(kind, value);
            return Ok(());
        };
        let exemplar = ExemplarFields::read(message, self.max_labels)?;
        let mut sample = Sample::new(kind, &self.labels, value);
        sample.timestamp = self.timestamp;
        self.sink.sample(&sample.with_exemplar(&exemplar.borrow()));
        Ok(())
    }
}

fn emit_metric(
    metric: WireMessage<'_>,
    metric_type: MetricType,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<(), FaultAt> {
    let max_labels = limits.labels;
    let mut emitter =
        MetricEmitter { labels: BorrowedLabels::new(), timestamp: None, max_labels, sink };
    let mut found = None;
    let mut fields = metric;
    while let Some((number, value)) = fields.field()? {
        match (number, value.message(), value.integer()) {
            (1, Some(pair), _) => label(pair, &mut emitter.labels, max_labels)?,
            (6, _, Some(bits)) => emitter.timestamp = Some(bits as i64 as f64 / 1000.0),
            (number, Some(message), _) if number == value_field(metric_type) => {
                found = Some(message);
            }
            _ => {}
        }
    }
    let Some(value) = found else {
        return metric.fail("the metric has no value of its family's type");
    };
    match metric_type {
        MetricType::Counter => emit_counter(value, &mut emitter),
        MetricType::Summary => emit_summary(value, &mut emitter),
        MetricType::Histogram => {
            emit_histogram(value, [SampleKind::Count, SampleKind::Sum], &mut emitter)
        }
        MetricType::GaugeHistogram => {
            emit_histogram(value, [SampleKind::GaugeCount, SampleKind::GaugeSum], &mut emitter)
        }
        _ => emit_value(value, &mut emitter),
    }
}

fn emit_value(
    mut message: WireMessage<'_>,
    emitter: &mut MetricEmitter<'_, '_, '_>,
) -> Result<(), FaultAt> {
    let mut value = 0.0;
    while let Some((number, field)) = message.field()? {
        if let (1, Some(double)) = (number, field.double()) {
            value = double;
        }
    }
    emitter.emit(SampleKind::Value, value);
    Ok(())
}

fn emit_counter<'a>(
    mut message: WireMessage<'a>,
    emitter: &mut MetricEmitter<'a, '_, '_>,
) -> Result<(), FaultAt> {
    let (mut value, mut exemplar, mut created) = (0.0, None, None);
    while let Some((number, field)) = message.field()? {
        match (number, field.message(), field.double()) {
            (1, _, Some(double)) => value = double,
            (2, Some(message), _) => exemplar = Some(message),
            (3, Some(time), _) => created = Some(seconds(time)?),
            _ => {}
        }
    }
    emitter.emit_with_exemplar(SampleKind::Total, value, exemplar)?;
    emit_created(created, emitter);
    Ok(())
}

fn emit_created(created: Option<f64>, emitter: &mut MetricEmitter<'_, '_, '_>) {
    if let Some(created) = created {
        emitter.emit(SampleKind::Created, created);
    }
}

fn emit_summary(
    message: WireMessage<'_>,
    emitter: &mut MetricEmitter<'_, '_, '_>,
) -> Result<(), FaultAt> {
    let (mut count, mut sum, mut created) = (None, None, None);
    let mut has_quantiles = false;
    let mut fields = message;
    while let Some((number, field)) = fields.field()? {
        match (number, field.message(), field.double(), field.integer()) {
            (1, _, _, Some(integer)) => count = Some(integer as f64),
            (2, _, Some(double), _) => sum = Some(double),
            (3, Some(mut pair), _, _) => {
                has_quantiles = true;
                let (mut quantile, mut value) = (0.0, 0.0);
                while let Some((number, field)) = pair.field()? {
                    match (number, field.double()) {
                        (1, Some(double)) => quantile = double,
                        (2, Some(double)) => value = double,
                        _ => {}
                    }
                }
                emitter.emit(SampleKind::Quantile(quantile), value);
            }
            (4, Some(time), _, _) => created = Some(seconds(time)?),
            _ => {}
        }
    }
    // A summary with quantiles may lack count and sum.
    if sum.is_some() || !has_quantiles {
        emitter.emit(SampleKind::Sum, sum.unwrap_or_default());
    }
    if count.is_some() || !has_quantiles {
        emitter.emit(SampleKind::Count, count.unwrap_or_default());
    }
    emit_created(created, emitter);
    Ok(())
}

/// Emits the buckets in the order of the message, a missing bucket `+Inf`, sum and count, and then the native
/// histogram.
fn emit_histogram<'a>(
    message: WireMessage<'a>,
    [count_part, sum_part]: [SampleKind; 2],
    emitter: &mut MetricEmitter<'a, '_, '_>,
) -> Result<(), FaultAt> {
    let (mut count, mut count_float, mut sum, mut created) = (None, None, None, None);
    let (mut has_buckets, mut has_infinity) = (false, false);
    let mut native = NativeFields::default();
    let mut exemplars = Vec::new();
    let mut fields = message;
    while let Some((number, field)) = fields.field()? {
        match (number, field.message(), field.double(), field.integer()) {
            (1, _, _, Some(integer)) => count = Some(integer as f64),
            (2, _, Some(double), _) => sum = Some(double),
            (3, Some(bucket), _, _) => {
                has_buckets = true;
                has_infinity |= emit_bucket(bucket, emitter)?;
            }
            (4, _, Some(double), _) => count_float = Some(double),
            (15, Some(time), _, _) => created = Some(seconds(time)?),
            (16, Some(exemplar), _, _) => {
                exemplars.push(ExemplarFields::read(exemplar, emitter.max_labels)?);
            }
            _ => native.take(number, field)?,
        }
    }
    // Some writers set both counts, the unused one to 0.
    let has_float_count = count_float.is_some_and(|count| count != 0.0);
    let count = if has_float_count { count_float } else { count.or(count_float) };
    let (count_or_zero, sum_or_zero) = (count.unwrap_or_default(), sum.unwrap_or_default());
    if has_buckets || !native.is_native() {
        if !has_infinity {
            emitter.emit(SampleKind::Bucket(f64::INFINITY), count_or_zero);
        }
        if sum.is_some() || !has_buckets {
            emitter.emit(sum_part, sum_or_zero);
        }
        if count.is_some() || !has_buckets {
            emitter.emit(count_part, count_or_zero);
        }
        emit_created(created, emitter);
    }
    if !native.is_native() {
        return Ok(());
    }
    let exemplars: Vec<Exemplar<'_>> = exemplars.iter().map(ExemplarFields::borrow).collect();
    let total = if has_float_count { CountEncoding::Float } else { CountEncoding::Integer };
    native.read(message, total, |native| {
        let histogram = NativeHistogram {
            count: count_or_zero,
            sum: sum_or_zero,
            exemplars: &exemplars,
            created,
            timestamp: emitter.timestamp,
            ..native
        };
        emitter.sink.native_histogram(Labels::new(&emitter.labels), &histogram);
    })
}

/// Emits a bucket. Returns whether it is the bucket `+Inf`.
fn emit_bucket<'a>(
    message: WireMessage<'a>,
    emitter: &mut MetricEmitter<'a, '_, '_>,
) -> Result<bool, FaultAt> {
    let (mut count, mut count_float, mut bound, mut exemplar) = (0.0, 0.0, 0.0, None);
    let mut fields = message;
    while let Some((number, field)) = fields.field()? {
        match (number, field.message(), field.double(), field.integer()) {
            (1, _, _, Some(integer)) => count = integer as f64,
            (2, _, Some(double), _) => bound = double,
            (3, Some(message), _, _) => exemplar = Some(message),
            (4, _, Some(double), _) => count_float = double,
            _ => {}
        }
    }
    if f64::is_nan(bound) {
        return Err((0, fault("the bound of a bucket is NaN")));
    }
    let count = if count_float == 0.0 { count } else { count_float };
    emitter.emit_with_exemplar(SampleKind::Bucket(bound), count, exemplar)?;
    Ok(bound == f64::INFINITY)
}

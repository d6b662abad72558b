//! Protobuf: messages `io.prometheus.client.MetricFamily`, each after its length.
//!
//! A histogram is given by its classic buckets, with `+Inf` where it is missing, or as a native one, or as both,
//! as it has them. Its count and sum are given where they are there, or nothing else is.
//!
//! See: `metrics.proto` of Prometheus' client model.

use std::io::BufRead;

use super::error::{Fault, shown};
use super::lines::{At, Lines};
use super::protobuf_native::NativeFields;
use super::wire::Message;
use super::{Limits, Sink, Step};
use crate::model::{Exemplar, FamilyHead, MetricType, NativeHistogram, Part, Sample};

/// Reads one message.
pub(super) fn step<R: BufRead>(
    lines: &mut Lines<R>,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<Step, At> {
    if !lines.advance_message()? {
        return Ok(Step::End);
    }
    give_family(Message::new(lines.bytes()), limits, sink)?;
    Ok(Step::More)
}

fn fault(text: &str) -> Fault {
    Fault::Syntax(text.to_owned())
}

/// The field of a metric that holds its value, by the type of the family.
fn value_field(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Gauge => 2,
        MetricType::Counter => 3,
        MetricType::Summary => 4,
        MetricType::Histogram | MetricType::GaugeHistogram => 7,
        _ => 5,
    }
}

fn give_family(message: Message<'_>, limits: &Limits, sink: &mut Sink<'_>) -> Result<(), At> {
    let (mut name, mut help, mut unit) = ("", "", "");
    let mut metric_type = MetricType::Counter;
    // The head may follow the metrics, so the fields are read twice.
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
                    _ => return message.fail("the type of the family is not known"),
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
    sink.family(&FamilyHead { unit, ..FamilyHead::new(name, help, metric_type) });
    let mut fields = message;
    while let Some((number, value)) = fields.field()? {
        if let (4, Some(metric)) = (number, value.message()) {
            give_metric(metric, metric_type, limits, sink)?;
        }
    }
    Ok(())
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

fn label<'a>(mut message: Message<'a>, labels: &mut Labels<'a>, most: usize) -> Result<(), At> {
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
        return start.fail(&format!("label name `{}` is given twice", shown(name)));
    }
    if labels.len() >= most {
        return Err((0, Fault::Limit("the number of labels", most)));
    }
    labels.push((name, label_value));
    Ok(())
}

/// Below, a time in nanoseconds is exact in an `f64`.
const MAX_EXACT_SECONDS: u64 = 9_000_000;

/// A `google.protobuf.Timestamp`, in seconds.
fn seconds(mut message: Message<'_>) -> Result<f64, At> {
    let (mut seconds, mut nanoseconds) = (0i64, 0i32);
    while let Some((number, value)) = message.field()? {
        match (number, value.integer()) {
            (1, Some(bits)) => seconds = bits as i64,
            (2, Some(bits)) => nanoseconds = bits as i32,
            _ => {}
        }
    }
    if seconds.unsigned_abs() < MAX_EXACT_SECONDS {
        // One rounding, as a sum of two rounded numbers would be another number.
        return Ok((seconds * 1_000_000_000 + i64::from(nanoseconds)) as f64 / 1e9);
    }
    Ok(seconds as f64 + f64::from(nanoseconds) / 1e9)
}

/// An exemplar that holds its labels.
struct ReadExemplar<'a> {
    labels: Labels<'a>,
    value: f64,
    timestamp: Option<f64>,
}

impl<'a> ReadExemplar<'a> {
    fn read(mut message: Message<'a>, most_labels: usize) -> Result<ReadExemplar<'a>, At> {
        let mut exemplar = ReadExemplar { labels: Labels::new(), value: 0.0, timestamp: None };
        while let Some((number, field)) = message.field()? {
            match (number, field.message(), field.double()) {
                (1, Some(pair), _) => label(pair, &mut exemplar.labels, most_labels)?,
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

/// Gives the samples of one metric, which have labels and timestamp in common.
struct Giver<'a, 's, 'k> {
    labels: Labels<'a>,
    timestamp: Option<f64>,
    most_labels: usize,
    sink: &'k mut Sink<'s>,
}

impl<'a> Giver<'a, '_, '_> {
    fn give(&mut self, part: Part, value: f64) {
        let mut sample = Sample::new(part, &self.labels, value);
        sample.timestamp = self.timestamp;
        self.sink.sample(&sample);
    }

    fn give_with(
        &mut self,
        part: Part,
        value: f64,
        exemplar: Option<Message<'a>>,
    ) -> Result<(), At> {
        let Some(message) = exemplar else {
            self.give(part, value);
            return Ok(());
        };
        let exemplar = ReadExemplar::read(message, self.most_labels)?;
        let mut sample = Sample::new(part, &self.labels, value);
        sample.timestamp = self.timestamp;
        sample.exemplar = Some(exemplar.borrow());
        self.sink.sample(&sample);
        Ok(())
    }
}

fn give_metric(
    metric: Message<'_>,
    metric_type: MetricType,
    limits: &Limits,
    sink: &mut Sink<'_>,
) -> Result<(), At> {
    let most_labels = limits.labels;
    let mut giver = Giver { labels: Labels::new(), timestamp: None, most_labels, sink };
    let mut found = None;
    let mut fields = metric;
    while let Some((number, value)) = fields.field()? {
        match (number, value.message(), value.integer()) {
            (1, Some(pair), _) => label(pair, &mut giver.labels, most_labels)?,
            (6, _, Some(bits)) => giver.timestamp = Some(bits as i64 as f64 / 1000.0),
            (number, Some(message), _) if number == value_field(metric_type) => {
                found = Some(message);
            }
            _ => {}
        }
    }
    let Some(value) = found else {
        return metric.fail("the metric has no value of the type of its family");
    };
    match metric_type {
        MetricType::Counter => give_counter(value, &mut giver),
        MetricType::Summary => give_summary(value, &mut giver),
        MetricType::Histogram => give_histogram(value, [Part::Count, Part::Sum], &mut giver),
        MetricType::GaugeHistogram => {
            give_histogram(value, [Part::GaugeCount, Part::GaugeSum], &mut giver)
        }
        _ => give_value(value, &mut giver),
    }
}

fn give_value(mut message: Message<'_>, giver: &mut Giver<'_, '_, '_>) -> Result<(), At> {
    let mut value = 0.0;
    while let Some((number, field)) = message.field()? {
        if let (1, Some(double)) = (number, field.double()) {
            value = double;
        }
    }
    giver.give(Part::Value, value);
    Ok(())
}

fn give_counter<'a>(mut message: Message<'a>, giver: &mut Giver<'a, '_, '_>) -> Result<(), At> {
    let (mut value, mut exemplar, mut created) = (0.0, None, None);
    while let Some((number, field)) = message.field()? {
        match (number, field.message(), field.double()) {
            (1, _, Some(double)) => value = double,
            (2, Some(message), _) => exemplar = Some(message),
            (3, Some(time), _) => created = Some(seconds(time)?),
            _ => {}
        }
    }
    giver.give_with(Part::Total, value, exemplar)?;
    give_created(created, giver);
    Ok(())
}

fn give_created(created: Option<f64>, giver: &mut Giver<'_, '_, '_>) {
    if let Some(created) = created {
        giver.give(Part::Created, created);
    }
}

fn give_summary(message: Message<'_>, giver: &mut Giver<'_, '_, '_>) -> Result<(), At> {
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
                giver.give(Part::Quantile(quantile), value);
            }
            (4, Some(time), _, _) => created = Some(seconds(time)?),
            _ => {}
        }
    }
    // What gives quantiles need not know the others.
    if sum.is_some() || !has_quantiles {
        giver.give(Part::Sum, sum.unwrap_or_default());
    }
    if count.is_some() || !has_quantiles {
        giver.give(Part::Count, count.unwrap_or_default());
    }
    give_created(created, giver);
    Ok(())
}

/// Buckets as they come, `+Inf` where it is missing, then sum and count; then the native histogram.
fn give_histogram<'a>(
    message: Message<'a>,
    [count_part, sum_part]: [Part; 2],
    giver: &mut Giver<'a, '_, '_>,
) -> Result<(), At> {
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
                has_infinity |= give_bucket(bucket, giver)?;
            }
            (4, _, Some(double), _) => count_float = Some(double),
            (15, Some(time), _, _) => created = Some(seconds(time)?),
            (16, Some(exemplar), _, _) => {
                exemplars.push(ReadExemplar::read(exemplar, giver.most_labels)?);
            }
            _ => native.take(number, field)?,
        }
    }
    // Some writers write both, and the one that is not meant as 0.
    let has_float_count = count_float.is_some_and(|count| count != 0.0);
    let count = if has_float_count { count_float } else { count.or(count_float) };
    let (known_count, known_sum) = (count.unwrap_or_default(), sum.unwrap_or_default());
    if has_buckets || !native.is_native() {
        if !has_infinity {
            giver.give(Part::Bucket(f64::INFINITY), known_count);
        }
        if sum.is_some() || !has_buckets {
            giver.give(sum_part, known_sum);
        }
        if count.is_some() || !has_buckets {
            giver.give(count_part, known_count);
        }
        give_created(created, giver);
    }
    if !native.is_native() {
        return Ok(());
    }
    let exemplars: Vec<Exemplar<'_>> = exemplars.iter().map(ReadExemplar::borrow).collect();
    native.read(message, has_float_count, |native| {
        let histogram = NativeHistogram {
            count: known_count,
            sum: known_sum,
            exemplars: &exemplars,
            created,
            timestamp: giver.timestamp,
            ..native
        };
        giver.sink.native_histogram(&giver.labels, &histogram);
    })
}

/// Gives whether it is the bucket `+Inf`.
fn give_bucket<'a>(message: Message<'a>, giver: &mut Giver<'a, '_, '_>) -> Result<bool, At> {
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
    giver.give_with(Part::Bucket(bound), count, exemplar)?;
    Ok(bound == f64::INFINITY)
}

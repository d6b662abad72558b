//! JSON, for programs other than scrapers.

use std::fmt;

use super::Encoder;
use crate::model::number::{Style, push_f64, push_u64};
use crate::model::{
    Exemplar, FamilyMetadata, FamilySink, Labels, NativeBuckets, NativeHistogram, Sample,
};

/// Encodes families as JSON. [`finish`](JsonEncoder::finish) ends the exposition.
///
/// The output is an array with one object per family, each on one line (here wrapped):
///
/// ```json
/// [
/// {"name":"jobs","type":"counter","help":"Jobs done.","unit":"","samples":[
/// {"name":"jobs_total","labels":{"queue":"mail"},"value":"3"}]}
/// ]
/// ```
///
/// - `type` is the OpenMetrics name of the type; `unit` may be empty.
/// - `labels` includes `le` and `quantile`.
/// - Values are strings in the number format of the text format, as in the HTTP API of Prometheus, because JSON has
///   neither infinities nor NaN.
/// - Times are numbers, in seconds since the Unix epoch.
/// - `timestamp` and `exemplar` are optional. An exemplar has `labels`, `value` and optionally `timestamp`.
/// - A native histogram is a sample with `histogram` in place of `value` and an array `exemplars` in place of
///   `exemplar`. `histogram` has the number `schema`; the values `count`, `sum`, `zero_threshold` and `zero_count`;
///   `negative` and `positive`, each with `spans`, which are pairs of offset and length, and the values `counts`; and
///   optionally the time `created`.
///
/// Names are not escaped.
pub struct JsonEncoder<'a> {
    out: &'a mut Vec<u8>,
    family: String,
    has_families: bool,
    has_samples: bool,
}

impl fmt::Debug for JsonEncoder<'_> {
    /// Writes the current family and the number of bytes so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonEncoder")
            .field("family", &self.family)
            .field("len", &self.out.len())
            .finish_non_exhaustive()
    }
}

impl<'a> JsonEncoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> JsonEncoder<'a> {
        JsonEncoder { out, family: String::new(), has_families: false, has_samples: false }
    }

    /// Closes the array.
    pub fn finish(mut self) {
        self.end();
    }

    fn end_family(&mut self) {
        let end: &[u8] = if self.has_families { b"]}" } else { b"[" };
        self.out.extend_from_slice(end);
    }

    /// Writes the beginning of a sample: its name and its labels, of which `extra` is the last.
    fn begin_sample(&mut self, suffix: &str, labels: Labels<'_>, extra: Option<(&str, f64)>) {
        if std::mem::replace(&mut self.has_samples, true) {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"name\":");
        push_text(self.out, &self.family, suffix);
        self.out.extend_from_slice(b",\"labels\":");
        push_labels(self.out, labels, extra);
    }
}

impl Encoder for JsonEncoder<'_> {
    fn chunk(&mut self) -> Option<&mut Vec<u8>> {
        Some(self.out)
    }

    fn end(&mut self) {
        self.end_family();
        self.out.extend_from_slice(b"\n]\n");
    }
}

impl FamilySink for JsonEncoder<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.end_family();
        if std::mem::replace(&mut self.has_families, true) {
            self.out.push(b',');
        }
        self.has_samples = false;
        self.family.clear();
        self.family.push_str(head.name);
        let members = [
            ("name", head.name),
            ("type", head.metric_type.as_str()),
            ("help", head.help),
            ("unit", head.unit),
        ];
        for (at, (name, value)) in members.into_iter().enumerate() {
            self.out.extend_from_slice(if at == 0 { b"\n{" } else { b"," });
            push_text(self.out, name, "");
            self.out.push(b':');
            push_text(self.out, value, "");
        }
        self.out.extend_from_slice(b",\"samples\":[");
    }

    fn wants_created(&self) -> bool {
        true
    }

    #[inline]
    fn sample(&mut self, sample: &Sample<'_>) {
        self.begin_sample(sample.kind.suffix(), sample.labels, sample.kind.own_label());
        self.out.extend_from_slice(b",\"value\":");
        push_number(self.out, sample.value, Style::Plain);
        push_time(self.out, "timestamp", sample.timestamp);
        if let Some(exemplar) = sample.exemplar {
            self.out.extend_from_slice(b",\"exemplar\":");
            push_exemplar(self.out, exemplar);
        }
        self.out.push(b'}');
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        self.begin_sample("", labels, None);
        let out = &mut *self.out;
        out.extend_from_slice(b",\"histogram\":{\"schema\":");
        push_integer(out, histogram.schema);
        for (name, value) in [
            (&b",\"count\":"[..], histogram.count),
            (b",\"sum\":", histogram.sum),
            (b",\"zero_threshold\":", histogram.zero_threshold),
            (b",\"zero_count\":", histogram.zero_count),
        ] {
            out.extend_from_slice(name);
            push_number(out, value, Style::Plain);
        }
        out.extend_from_slice(b",\"negative\":");
        push_buckets(out, &histogram.negative);
        out.extend_from_slice(b",\"positive\":");
        push_buckets(out, &histogram.positive);
        push_time(out, "created", histogram.created);
        out.push(b'}');
        push_time(out, "timestamp", histogram.timestamp);
        if !histogram.exemplars.is_empty() {
            out.extend_from_slice(b",\"exemplars\":[");
            for (at, exemplar) in histogram.exemplars.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                push_exemplar(out, exemplar);
            }
            out.push(b']');
        }
        out.push(b'}');
    }
}

fn push_buckets(out: &mut Vec<u8>, buckets: &NativeBuckets<'_>) {
    out.extend_from_slice(b"{\"spans\":[");
    for (at, span) in buckets.spans.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        push_integer(out, span.offset);
        out.push(b',');
        push_u64(out, u64::from(span.length));
        out.push(b']');
    }
    out.extend_from_slice(b"],\"counts\":[");
    for (at, count) in buckets.counts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_number(out, *count, Style::Plain);
    }
    out.extend_from_slice(b"]}");
}

fn push_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar<'_>) {
    out.extend_from_slice(b"{\"labels\":");
    push_labels(out, Labels::new(exemplar.labels), None);
    out.extend_from_slice(b",\"value\":");
    push_number(out, exemplar.value, Style::Plain);
    push_time(out, "timestamp", exemplar.timestamp);
    out.push(b'}');
}

fn push_labels(out: &mut Vec<u8>, labels: Labels<'_>, extra: Option<(&str, f64)>) {
    out.push(b'{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_text(out, name, "");
        out.push(b':');
        push_text(out, value, "");
    }
    if let Some((name, number)) = extra {
        if !labels.is_empty() {
            out.push(b',');
        }
        push_text(out, name, "");
        out.push(b':');
        push_number(out, number, Style::Canonical);
    }
    out.push(b'}');
}

fn push_number(out: &mut Vec<u8>, value: f64, style: Style) {
    out.push(b'"');
    push_f64(out, value, style);
    out.push(b'"');
}

fn push_time(out: &mut Vec<u8>, name: &str, seconds: Option<f64>) {
    if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) {
        out.push(b',');
        push_text(out, name, "");
        out.push(b':');
        push_f64(out, seconds, Style::Plain);
    }
}

fn push_integer(out: &mut Vec<u8>, value: i32) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, u64::from(value.unsigned_abs()));
}

fn push_text(out: &mut Vec<u8>, text: &str, suffix: &str) {
    out.push(b'"');
    for byte in text.bytes().chain(suffix.bytes()) {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0..0x20 => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
            }
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BucketSpan;

    #[test]
    fn every_family_is_a_line_of_one_array() {
        let mut text = Vec::new();
        JsonEncoder::new(&mut text).finish();
        assert_eq!(text, b"[\n]\n");
        text.clear();
        let mut encoder = JsonEncoder::new(&mut text);
        let out = &mut encoder as &mut dyn FamilySink;
        let exemplar = Exemplar { labels: &[("t", "1")], value: 0.5, timestamp: Some(1.5) };
        let mut counter = out.with_unit("bytes").counter("c_bytes", "\"\\\n\u{1}\u{e9}");
        counter.sample_with_exemplar(&[("a", "1")], f64::INFINITY, exemplar).sample(&[], 2.5);
        out.summary("s", "").sample(&[("x", "y")], &[(1.0, f64::NAN)], 2.0, 3.0);
        out.gauge("empty", "");
        let spans = [BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 3, length: 1 }];
        let native = NativeHistogram {
            count: 3.0,
            negative: NativeBuckets { spans: &spans, counts: &[1.0, 2.0] },
            exemplars: &[exemplar],
            created: Some(5.5),
            timestamp: Some(7.0),
            ..Default::default()
        };
        out.histogram("h", "").native(&[], &native);
        encoder.finish();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "[\n\
             {\"name\":\"c_bytes\",\"type\":\"counter\",\"help\":\"\\\"\\\\\\n\\u0001\u{e9}\",\"unit\":\"bytes\",\"samples\":[\
             {\"name\":\"c_bytes_total\",\"labels\":{\"a\":\"1\"},\"value\":\"+Inf\",\
             \"exemplar\":{\"labels\":{\"t\":\"1\"},\"value\":\"0.5\",\"timestamp\":1.5}},\
             {\"name\":\"c_bytes_total\",\"labels\":{},\"value\":\"2.5\"}]},\n\
             {\"name\":\"s\",\"type\":\"summary\",\"help\":\"\",\"unit\":\"\",\"samples\":[\
             {\"name\":\"s\",\"labels\":{\"x\":\"y\",\"quantile\":\"1.0\"},\"value\":\"NaN\"},\
             {\"name\":\"s_sum\",\"labels\":{\"x\":\"y\"},\"value\":\"3\"},\
             {\"name\":\"s_count\",\"labels\":{\"x\":\"y\"},\"value\":\"2\"}]},\n\
             {\"name\":\"empty\",\"type\":\"gauge\",\"help\":\"\",\"unit\":\"\",\"samples\":[]},\n\
             {\"name\":\"h\",\"type\":\"histogram\",\"help\":\"\",\"unit\":\"\",\"samples\":[\
             {\"name\":\"h\",\"labels\":{},\"histogram\":{\"schema\":0,\"count\":\"3\",\"sum\":\"0\",\
             \"zero_threshold\":\"0\",\"zero_count\":\"0\",\
             \"negative\":{\"spans\":[[-2,1],[3,1]],\"counts\":[\"1\",\"2\"]},\
             \"positive\":{\"spans\":[],\"counts\":[]},\"created\":5.5},\"timestamp\":7,\
             \"exemplars\":[{\"labels\":{\"t\":\"1\"},\"value\":\"0.5\",\"timestamp\":1.5}]}]}\n\
             ]\n"
        );
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
    }
}

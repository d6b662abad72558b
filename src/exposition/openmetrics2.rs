//! OpenMetrics text, version 2.0.0, as of its first release candidate.
//!
//! See: <https://prometheus.io/docs/specs/om/open_metrics_spec_2_0/>

use std::fmt;

use super::Encoder;
use super::escape::Escaping;
use super::lines::{Quotes, SeriesWriter, push_comment, push_escaped, push_exemplar};
use super::names::{Names, Syntax};
use super::openmetrics::{is_quantile, is_unit};
use super::pending::Pending;
use crate::model::number::{Style, push_f64, push_u64};
use crate::model::{
    Exemplar, FamilyMetadata, FamilySink, Labels, MetricType, NativeBuckets, NativeHistogram,
    Sample, SampleKind, is_whole_count,
};

/// Encodes families as OpenMetrics 2.0.0. [`finish`](OpenMetrics2Encoder::finish) ends the exposition.
///
/// A metric is one line: histograms and summaries are composite values, and the start timestamp follows the value.
/// The names of families include `_total` and `_info`. These are omitted:
///
/// - samples of a part that the type of their family does not have, counters that are negative or NaN, infos that are
///   not 1, states that are neither 0 nor 1;
/// - quantiles outside of 0 to 1 or with a negative value;
/// - summaries without a count or a sum, with a count that is not an exact non-negative integer, or with a sum that is
///   negative or NaN;
/// - exemplars without a timestamp;
/// - invalid native histograms;
/// - the unit of an info or a state set, and units with characters that metric names cannot have.
///
/// A missing bucket `+Inf` is added. A histogram without a count gets the value of its last bucket, one without a sum
/// gets NaN.
pub struct OpenMetrics2Encoder<'a> {
    out: &'a mut Vec<u8>,
    names: Names,
    is_skipping: bool,
    metric_type: MetricType,
    metric: Pending,
    series_writer: SeriesWriter,
    series: Vec<u8>,
}

impl fmt::Debug for OpenMetrics2Encoder<'_> {
    /// Writes the current family and the number of bytes so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenMetrics2Encoder")
            .field("family", &self.names.base())
            .field("len", &self.out.len())
            .finish_non_exhaustive()
    }
}

impl<'a> OpenMetrics2Encoder<'a> {
    /// An encoder that appends to `out`, with unchanged names.
    pub fn new(out: &'a mut Vec<u8>) -> OpenMetrics2Encoder<'a> {
        OpenMetrics2Encoder {
            out,
            names: Names::new(Escaping::AllowUtf8, Syntax::Lines),
            is_skipping: true,
            metric_type: MetricType::Unknown,
            metric: Pending::default(),
            series_writer: SeriesWriter::default(),
            series: Vec::new(),
        }
    }

    /// Sets the escaping of names. Call it before the first family.
    pub fn escaping(mut self, escaping: Escaping) -> OpenMetrics2Encoder<'a> {
        self.names.set_escaping(escaping);
        self
    }

    /// Writes the last metric and `# EOF`.
    pub fn finish(mut self) {
        self.end();
    }

    /// Encodes the name and the labels of a sample into `series`. Returns `false` if the sample must be omitted
    /// because a label name collides with another.
    fn encode_series(&mut self, labels: Labels<'_>) -> bool {
        self.series.clear();
        // The kind whose suffix the name of the family includes.
        let kind = match self.metric_type {
            MetricType::Counter => SampleKind::Total,
            MetricType::Info => SampleKind::Info,
            _ => SampleKind::Value,
        };
        let (out, names) = (&mut self.series, &mut self.names);
        self.series_writer.push_series(out, names, kind, labels)
    }

    fn end_metric(&mut self) {
        if self.metric.is_open() {
            let start = self.out.len();
            self.out.extend_from_slice(&self.metric.labels);
            if push_value(self.out, &self.metric, self.metric_type) {
                let times = [(&b" "[..], self.metric.timestamp), (b" st@", self.metric.created)];
                for (before, seconds) in times {
                    if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) {
                        self.out.extend_from_slice(before);
                        push_f64(self.out, seconds, Style::Canonical);
                    }
                }
                self.out.extend_from_slice(&self.metric.exemplars);
                self.out.push(b'\n');
            } else {
                self.out.truncate(start);
            }
        }
        self.metric.close();
    }
}

impl Encoder for OpenMetrics2Encoder<'_> {
    fn chunk(&mut self) -> Option<&mut Vec<u8>> {
        Some(self.out)
    }

    fn end(&mut self) {
        self.end_metric();
        self.out.extend_from_slice(b"# EOF\n");
    }
}

impl FamilySink for OpenMetrics2Encoder<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.end_metric();
        self.metric_type = head.metric_type;
        self.is_skipping = !self.names.begin(head);
        self.series_writer.begin();
        if self.is_skipping {
            return;
        }
        let suffix = head.metric_type.own_suffix();
        push_comment(self.out, "TYPE", &self.names, suffix);
        self.out.extend_from_slice(head.metric_type.as_str().as_bytes());
        self.out.push(b'\n');
        if is_unit(head) {
            push_comment(self.out, "UNIT", &self.names, suffix);
            self.out.extend_from_slice(head.unit.as_bytes());
            self.out.push(b'\n');
        }
        if !head.help.is_empty() {
            push_comment(self.out, "HELP", &self.names, suffix);
            push_escaped(self.out, head.help, Quotes::Escaped);
            self.out.push(b'\n');
        }
    }

    fn wants_created(&self) -> bool {
        true
    }

    #[inline]
    fn sample(&mut self, sample: &Sample<'_>) {
        let (kind, value) = (sample.kind, sample.value);
        let is_allowed = self.metric_type.has(kind)
            && match kind {
                SampleKind::Total => value >= 0.0,
                SampleKind::Info => value == 1.0,
                SampleKind::State => value == 0.0 || value == 1.0,
                SampleKind::Quantile(quantile) => is_quantile(quantile, value),
                SampleKind::Bucket(bound) => !bound.is_nan(),
                _ => true,
            };
        if self.is_skipping || !is_allowed || !self.encode_series(sample.labels) {
            return;
        }
        if !self.metric.accepts(&self.series, sample.timestamp, kind) {
            if kind == SampleKind::Created {
                return;
            }
            self.end_metric();
            self.metric.open(&mut self.series, sample.timestamp);
        }
        self.metric.set(kind, value);
        let Pending { buckets, quantiles, .. } = &mut self.metric;
        match kind {
            SampleKind::Bucket(bound) => push_pair(buckets, bound, value),
            SampleKind::Quantile(quantile) => push_pair(quantiles, quantile, value),
            _ => {}
        }
        if matches!(kind, SampleKind::Total | SampleKind::Bucket(_)) {
            let exemplar = sample.exemplar;
            push_timed_exemplar(&mut self.metric.exemplars, &mut self.names, exemplar);
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        let is_histogram =
            matches!(self.metric_type, MetricType::Histogram | MetricType::GaugeHistogram);
        let is_shown = !self.is_skipping && is_histogram && histogram.is_valid();
        if !is_shown || !self.encode_series(labels) {
            return;
        }
        if !self.metric.accepts_native(&self.series, histogram.timestamp) {
            self.end_metric();
            self.metric.open(&mut self.series, histogram.timestamp);
        }
        let metric = &mut self.metric;
        metric.count.get_or_insert(histogram.count);
        metric.sum.get_or_insert(histogram.sum);
        metric.created = metric.created.or(histogram.created);
        push_native(&mut metric.native, histogram);
        for exemplar in histogram.exemplars {
            push_timed_exemplar(&mut metric.exemplars, &mut self.names, Some(exemplar));
        }
    }
}

/// Appends the value of a metric. Returns `false` if it has none that the format allows.
fn push_value(out: &mut Vec<u8>, metric: &Pending, metric_type: MetricType) -> bool {
    match metric_type {
        MetricType::Histogram => push_histogram(out, metric, ["count:", "sum:"]),
        MetricType::GaugeHistogram => push_histogram(out, metric, ["gcount:", "gsum:"]),
        MetricType::Summary => {
            let (Some(count), Some(sum)) = (metric.count, metric.sum) else {
                return false;
            };
            if !is_whole_count(count) || sum.is_nan() || sum < 0.0 {
                return false;
            }
            out.extend_from_slice(b"{count:");
            push_number(out, count);
            out.extend_from_slice(b",sum:");
            push_f64(out, sum, Style::Canonical);
            out.extend_from_slice(b",quantile:[");
            out.extend_from_slice(&metric.quantiles);
            out.extend_from_slice(b"]}");
        }
        _ => match metric.value {
            Some(value) => push_f64(out, value, Style::Canonical),
            None => return false,
        },
    }
    true
}

fn push_histogram(out: &mut Vec<u8>, metric: &Pending, names: [&str; 2]) {
    let count = metric.total().unwrap_or_default();
    for (before, name, value) in
        [('{', names[0], count), (',', names[1], metric.sum.unwrap_or(f64::NAN))]
    {
        out.push(before as u8);
        out.extend_from_slice(name.as_bytes());
        push_number(out, value);
    }
    out.extend_from_slice(&metric.native);
    if metric.last_bound.is_some() || metric.native.is_empty() {
        out.extend_from_slice(b",bucket:[");
        out.extend_from_slice(&metric.buckets);
        if metric.last_bound != Some(f64::INFINITY) {
            if metric.last_bound.is_some() {
                out.push(b',');
            }
            out.extend_from_slice(b"+Inf:");
            push_number(out, count);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Appends the fields of a native histogram that follow count and sum.
fn push_native(out: &mut Vec<u8>, histogram: &NativeHistogram<'_>) {
    out.extend_from_slice(b",schema:");
    push_integer(out, histogram.schema);
    out.extend_from_slice(b",zero_threshold:");
    push_f64(out, histogram.zero_threshold, Style::Canonical);
    out.extend_from_slice(b",zero_count:");
    push_number(out, histogram.zero_count);
    for (sign, buckets) in [("negative", &histogram.negative), ("positive", &histogram.positive)] {
        push_buckets(out, sign, buckets);
    }
}

fn push_buckets(out: &mut Vec<u8>, sign: &str, buckets: &NativeBuckets<'_>) {
    if buckets.counts.is_empty() {
        return;
    }
    let begin = |out: &mut Vec<u8>, suffix: &str| {
        out.push(b',');
        out.extend_from_slice(sign.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
    };
    begin(out, "_spans:[");
    // Empty spans are not allowed. Their offset is added to that of the next span.
    let (mut offset, mut is_first) = (0i32, true);
    for span in buckets.spans {
        offset = offset.saturating_add(span.offset);
        if span.length == 0 {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        push_integer(out, std::mem::take(&mut offset));
        out.push(b':');
        push_u64(out, u64::from(span.length));
    }
    out.push(b']');
    begin(out, "_buckets:[");
    for (at, count) in buckets.counts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_number(out, *count);
    }
    out.push(b']');
}

/// Appends `key:count` to a list.
fn push_pair(out: &mut Vec<u8>, key: f64, value: f64) {
    if !out.is_empty() {
        out.push(b',');
    }
    push_f64(out, key, Style::Canonical);
    out.push(b':');
    push_number(out, value);
}

/// Appends a number; an exact non-negative integer is written without a point.
fn push_number(out: &mut Vec<u8>, value: f64) {
    if is_whole_count(value) {
        push_u64(out, value as u64);
    } else {
        push_f64(out, value, Style::Canonical);
    }
}

fn push_integer(out: &mut Vec<u8>, value: i32) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, u64::from(value.unsigned_abs()));
}

fn push_timed_exemplar(out: &mut Vec<u8>, names: &mut Names, exemplar: Option<&Exemplar<'_>>) {
    let has_time = |exemplar: &&Exemplar<'_>| exemplar.timestamp.is_some_and(f64::is_finite);
    if let Some(exemplar) = exemplar.filter(has_time) {
        push_exemplar(out, names, exemplar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BucketSpan, HistogramPoint};

    #[test]
    fn a_metric_is_one_line() {
        let mut text = Vec::new();
        let mut encoder = OpenMetrics2Encoder::new(&mut text);
        let out = &mut encoder as &mut dyn FamilySink;
        let exemplar = |timestamp| Exemplar { labels: &[("t", "1")], value: 0.5, timestamp };
        let mut counter = out.with_unit("bytes").counter("read.bytes", "Read.");
        counter
            .sample_with_exemplar(&[("a", "1")], 3.0, exemplar(Some(2.5)))
            .created(&[("a", "1")], 1.5);
        counter.sample_with_exemplar(&[("a", "2")], 4.0, exemplar(None));
        counter.sample(&[("a", "3")], -1.0);
        let exemplars = [exemplar(Some(1.5))];
        let point = HistogramPoint {
            buckets: &[(1.0, 2.0)],
            count: 3.0,
            sum: 4.5,
            exemplars: &exemplars,
            created: Some(9.0),
        };
        let spans = [BucketSpan { offset: -2, length: 1 }, BucketSpan { offset: 3, length: 2 }];
        let native = NativeHistogram {
            count: 6.0,
            sum: 1.5,
            schema: 3,
            zero_threshold: 1e-10,
            positive: NativeBuckets { spans: &spans, counts: &[1.0, 2.0, 3.0] },
            ..Default::default()
        };
        let mut histogram = out.histogram("h", "");
        histogram.sample(&[], &point).native(&[], &native).native(&[("b", "1")], &native);
        out.gauge_histogram("g", "").sample(&[], &point);
        let mut summary = out.summary("s", "");
        summary.sample(&[], &[(0.5, 1.0), (0.9, f64::NAN)], 2.0, 3.5).created(&[], 1.0);
        summary.sample(&[("x", "1")], &[], 2.0, -1.0);
        out.info("build", "").sample(&[("v", "1")]);
        out.state_set("mode", "").sample(&[], &[("on", true)]);
        encoder.finish();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "# TYPE \"read.bytes_total\" counter\n\
             # UNIT \"read.bytes_total\" bytes\n\
             # HELP \"read.bytes_total\" Read.\n\
             {\"read.bytes_total\",a=\"1\"} 3.0 st@1.5 # {t=\"1\"} 0.5 2.5\n\
             {\"read.bytes_total\",a=\"2\"} 4.0\n\
             # TYPE h histogram\n\
             h {count:3,sum:4.5,schema:3,zero_threshold:1e-10,zero_count:0,\
             positive_spans:[-2:1,3:2],positive_buckets:[1,2,3],bucket:[1.0:2,+Inf:3]} st@9.0 # {t=\"1\"} 0.5 1.5\n\
             h{b=\"1\"} {count:6,sum:1.5,schema:3,zero_threshold:1e-10,zero_count:0,\
             positive_spans:[-2:1,3:2],positive_buckets:[1,2,3]}\n\
             # TYPE g gaugehistogram\n\
             g {gcount:3,gsum:4.5,bucket:[1.0:2,+Inf:3]} # {t=\"1\"} 0.5 1.5\n\
             # TYPE s summary\n\
             s {count:2,sum:3.5,quantile:[0.5:1,0.9:NaN]} st@1.0\n\
             # TYPE build_info info\n\
             build_info{v=\"1\"} 1.0\n\
             # TYPE mode stateset\n\
             mode{mode=\"on\"} 1.0\n\
             # EOF\n"
        );
    }
}

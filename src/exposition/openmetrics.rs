//! OpenMetrics text, version 1.0.0.
//!
//! See: <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt;

use super::Encoder;
use super::escape::Escaping;
use super::lines::{Quotes, SeriesWriter, push_comment, push_escaped, push_exemplar};
use super::names::{Names, Syntax};
use crate::model::number::{Style, push_f64, push_u64};
use crate::model::{
    Exemplar, FamilyMetadata, FamilySink, MAX_EXEMPLAR_CHARS, MetricType, Sample, SampleKind,
    is_whole_count,
};

/// Encodes families as OpenMetrics 1.0.0. [`finish`](OpenMetricsEncoder::finish) ends the exposition.
///
/// What the format forbids is changed or omitted. Counts and bucket values are rounded to integers; negative ones and
/// NaN become 0, infinite ones the largest finite number. These are omitted:
///
/// - a unit that is not a suffix of the name of the family, that has characters which metric names cannot have, or of
///   an info or a state set;
/// - a sample of a part that the type of its family does not have, and `_created` unless it is enabled;
/// - a counter that is negative or NaN, together with its `_created`;
/// - a quantile outside of 0 to 1 or with a negative value;
/// - an info that is not 1, and a state that is neither 0 nor 1;
/// - a sum that is NaN, that is negative in a family without negative observations, or that belongs to a histogram with
///   negative bucket bounds. In histograms `_count` is omitted with it; the bucket `+Inf` still has the count;
/// - an exemplar on a sample other than a counter total or a bucket, with more than 128 characters in its label names
///   and values, or with a value above the bound of its bucket;
/// - native histograms.
///
/// ```
/// use multiprom::exposition::OpenMetricsEncoder;
/// use multiprom::collector::Exemplar;
/// use multiprom::FamilySink;
///
/// let mut out = Vec::new();
/// let mut encoder = OpenMetricsEncoder::new(&mut out);
/// let exemplar = Exemplar::new(&[("trace_id", "4bf9")], 12.0);
/// (&mut encoder as &mut dyn FamilySink)
///     .with_unit("bytes")
///     .counter("read_bytes_total", "Read.")
///     .sample_with_exemplar(&[], 300.0, exemplar);
/// encoder.finish();
/// let shown = "# TYPE read_bytes counter\n\
///              ## UNIT read_bytes bytes\n\
///              ## HELP read_bytes Read.\n\
///              read_bytes_total 300.0 # {trace_id=\"4bf9\"} 12.0\n\
///              ## EOF\n";
/// assert_eq!(out, shown.as_bytes());
/// ```
pub struct OpenMetricsEncoder<'a> {
    out: &'a mut Vec<u8>,
    names: Names,
    shows_created: bool,
    is_skipping: bool,
    series_writer: SeriesWriter,
    metric_type: MetricType,
    metric: Metric,
}

/// The state of the current metric.
#[derive(Default)]
struct Metric {
    has_negative_bounds: bool,
    /// The bound of the previous sample, if that was a bucket.
    last_bound: Option<f64>,
    /// Whether the counter or the sum was omitted, and the `_created` or count that follows must be omitted too.
    is_left_out: bool,
    /// The start of the line of the count, if it is the last line.
    count_at: Option<usize>,
}

impl fmt::Debug for OpenMetricsEncoder<'_> {
    /// Writes the current family and the number of bytes so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenMetricsEncoder")
            .field("family", &self.names.base())
            .field("len", &self.out.len())
            .finish_non_exhaustive()
    }
}

impl<'a> OpenMetricsEncoder<'a> {
    /// An encoder that appends to `out`, with names escaped by underscores.
    pub fn new(out: &'a mut Vec<u8>) -> OpenMetricsEncoder<'a> {
        OpenMetricsEncoder {
            out,
            names: Names::new(Escaping::Underscores, Syntax::Lines),
            shows_created: false,
            is_skipping: false,
            series_writer: SeriesWriter::default(),
            metric_type: MetricType::Unknown,
            metric: Metric::default(),
        }
    }

    /// Sets the escaping of names. Call it before the first family.
    pub fn escaping(mut self, escaping: Escaping) -> OpenMetricsEncoder<'a> {
        self.names.set_escaping(escaping);
        self
    }

    /// Writes the start timestamps of counters, histograms and summaries, as samples `_created`. They are omitted by
    /// default, as Prometheus stores each of them as a series.
    pub fn created(mut self) -> OpenMetricsEncoder<'a> {
        self.shows_created = true;
        self
    }

    /// Writes `# EOF`, without which parsers refuse the exposition as truncated.
    pub fn finish(mut self) {
        self.end();
    }

    /// Whether a sample is written. Updates the state of the metric.
    fn admit(&mut self, kind: SampleKind, value: f64) -> bool {
        let metric = &mut self.metric;
        let bound = match kind {
            SampleKind::Bucket(bound) => Some(bound),
            _ => None,
        };
        if bound.is_some() && metric.last_bound.is_none_or(|last| bound <= Some(last)) {
            *metric = Metric::default();
        }
        metric.last_bound = bound;
        let was_left_out = std::mem::take(&mut metric.is_left_out);
        let count_at = metric.count_at.take();
        if !self.metric_type.has(kind) {
            return false;
        }
        match kind {
            SampleKind::Bucket(bound) => {
                metric.has_negative_bounds |= bound < 0.0;
                !bound.is_nan()
            }
            SampleKind::Total => {
                metric.is_left_out = value.is_nan() || value < 0.0;
                !metric.is_left_out
            }
            SampleKind::Quantile(quantile) => is_quantile(quantile, value),
            SampleKind::Sum | SampleKind::GaugeSum => {
                let is_forbidden = match self.metric_type {
                    MetricType::Histogram => value < 0.0 || metric.has_negative_bounds,
                    MetricType::GaugeHistogram => value < 0.0 && !metric.has_negative_bounds,
                    _ => value < 0.0,
                };
                let is_forbidden = is_forbidden || value.is_nan();
                if is_forbidden && self.metric_type != MetricType::Summary {
                    match count_at {
                        Some(at) => self.out.truncate(at),
                        None => metric.is_left_out = true,
                    }
                }
                !is_forbidden
            }
            SampleKind::Count | SampleKind::GaugeCount => {
                metric.count_at = Some(self.out.len());
                !was_left_out
            }
            SampleKind::Info => value == 1.0,
            SampleKind::State => value == 0.0 || value == 1.0,
            SampleKind::Created => self.shows_created && !was_left_out && value.is_finite(),
            SampleKind::Value => true,
        }
    }
}

impl Encoder for OpenMetricsEncoder<'_> {
    fn chunk(&mut self) -> Option<&mut Vec<u8>> {
        self.metric.count_at.is_none().then_some(&mut *self.out)
    }

    fn end(&mut self) {
        self.metric = Metric::default();
        self.out.extend_from_slice(b"# EOF\n");
    }
}

/// Whether a summary may have this value at this quantile. NaN means that there were no observations.
pub(super) fn is_quantile(quantile: f64, value: f64) -> bool {
    (0.0..=1.0).contains(&quantile) && (value.is_nan() || value >= 0.0)
}

/// Whether the format allows this exemplar on a sample of this part.
fn is_exemplar_allowed(exemplar: &Exemplar<'_>, kind: SampleKind) -> bool {
    let is_in_bucket = match kind {
        SampleKind::Total => true,
        SampleKind::Bucket(bound) => exemplar.value <= bound,
        _ => false,
    };
    is_in_bucket && exemplar.chars() <= MAX_EXEMPLAR_CHARS
}

/// Whether the unit is valid: it has only characters of metric names, and the type allows a unit.
pub(super) fn is_unit(head: &FamilyMetadata<'_>) -> bool {
    let is_unitless = matches!(head.metric_type, MetricType::Info | MetricType::StateSet);
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    !head.unit.is_empty() && !is_unitless && head.unit.bytes().all(is_allowed)
}

/// Whether the unit is valid and a suffix of the written name.
fn has_unit(head: &FamilyMetadata<'_>, name: &str) -> bool {
    let before = name.strip_suffix(head.unit).unwrap_or_default();
    is_unit(head) && before.ends_with('_')
}

impl FamilySink for OpenMetricsEncoder<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.metric = Metric::default();
        self.metric_type = head.metric_type;
        self.is_skipping = !self.names.begin(head);
        self.series_writer.begin();
        if self.is_skipping {
            return;
        }
        push_comment(self.out, "TYPE", &self.names, "");
        self.out.extend_from_slice(head.metric_type.as_str().as_bytes());
        self.out.push(b'\n');
        if has_unit(head, self.names.base()) {
            push_comment(self.out, "UNIT", &self.names, "");
            self.out.extend_from_slice(head.unit.as_bytes());
            self.out.push(b'\n');
        }
        if !head.help.is_empty() {
            push_comment(self.out, "HELP", &self.names, "");
            push_escaped(self.out, head.help, Quotes::Escaped);
            self.out.push(b'\n');
        }
    }

    fn wants_created(&self) -> bool {
        self.shows_created
    }

    #[inline]
    fn sample(&mut self, sample: &Sample<'_>) {
        if self.is_skipping || !self.admit(sample.kind, sample.value) {
            return;
        }
        if !self.series_writer.push_series(self.out, &mut self.names, sample.kind, sample.labels) {
            return;
        }
        push_value(self.out, sample.kind, sample.value);
        if let Some(seconds) = sample.timestamp.filter(|seconds| seconds.is_finite()) {
            self.out.push(b' ');
            push_f64(self.out, seconds, Style::Canonical);
        }
        if let Some(exemplar) =
            sample.exemplar.filter(|exemplar| is_exemplar_allowed(exemplar, sample.kind))
        {
            push_exemplar(self.out, &mut self.names, exemplar);
        }
        self.out.push(b'\n');
    }
}

fn push_value(out: &mut Vec<u8>, kind: SampleKind, value: f64) {
    if matches!(kind, SampleKind::Count | SampleKind::Bucket(_) | SampleKind::GaugeCount) {
        push_count(out, value);
    } else {
        push_f64(out, value, Style::Canonical);
    }
}

/// Appends a count, rounded to an integer.
fn push_count(out: &mut Vec<u8>, count: f64) {
    let count = if count >= 0.0 { count.min(f64::MAX).round() } else { 0.0 };
    if is_whole_count(count) {
        push_u64(out, count as u64);
    } else {
        push_f64(out, count, Style::Canonical);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HistogramPoint;

    fn encode(
        new: fn(&mut Vec<u8>) -> OpenMetricsEncoder<'_>,
        collect: fn(&mut dyn FamilySink),
    ) -> String {
        let mut out = Vec::new();
        let mut encoder = new(&mut out);
        collect(&mut encoder);
        encoder.finish();
        String::from_utf8(out).unwrap()
    }

    fn page(collect: fn(&mut dyn FamilySink)) -> String {
        encode(|out| OpenMetricsEncoder::new(out), collect)
    }

    #[test]
    fn every_type_is_encoded() {
        let text = page(|out| {
            out.family(&FamilyMetadata::new("c", "a \"b\"\n\\", MetricType::Counter));
            let labels = [("x", "1")];
            let timestamp = Some(1.25);
            out.sample(&Sample { timestamp, ..Sample::new(SampleKind::Total, &labels, 3.0) });
            out.family(&FamilyMetadata::new("h", "", MetricType::Histogram));
            for kind in [
                SampleKind::Bucket(1e6),
                SampleKind::Bucket(f64::INFINITY),
                SampleKind::Sum,
                SampleKind::Count,
            ] {
                out.sample(&Sample::new(kind, &[], 2e6));
            }
            out.with_unit("bytes").gauge("g_bytes", "").sample(&[], f64::NAN);
            out.info("build_info", "").sample(&[("v", "1")]);
            out.state_set("mode", "").sample(&[("a", "b")], &[("on", true), ("off", false)]);
            out.summary("s", "").sample(&[], &[(0.5, f64::NAN)], 0.0, 0.0);
            out.unknown("u", "").sample(&[], -1.0);
        });
        assert_eq!(
            text,
            "# TYPE c counter\n\
             # HELP c a \\\"b\\\"\\n\\\\\n\
             c_total{x=\"1\"} 3.0 1.25\n\
             # TYPE h histogram\n\
             h_bucket{le=\"1e+06\"} 2000000\n\
             h_bucket{le=\"+Inf\"} 2000000\n\
             h_sum 2e+06\n\
             h_count 2000000\n\
             # TYPE g_bytes gauge\n\
             # UNIT g_bytes bytes\n\
             g_bytes NaN\n\
             # TYPE build info\n\
             build_info{v=\"1\"} 1.0\n\
             # TYPE mode stateset\n\
             mode{a=\"b\",mode=\"on\"} 1.0\n\
             mode{a=\"b\",mode=\"off\"} 0.0\n\
             # TYPE s summary\n\
             s{quantile=\"0.5\"} NaN\n\
             s_sum 0.0\n\
             s_count 0\n\
             # TYPE u unknown\n\
             u -1.0\n\
             # EOF\n"
        );
    }

    #[test]
    fn start_timestamps_are_written_if_enabled() {
        let collect = |out: &mut dyn FamilySink| {
            out.counter("c", "").sample(&[], 1.0).created(&[], 1.5);
            out.counter("bad", "").sample(&[], -1.0).created(&[], 1.5);
            out.family(&FamilyMetadata::new("g", "", MetricType::Gauge));
            out.sample(&Sample::new(SampleKind::Created, &[], 1.0));
        };
        let heads =
            ["# TYPE c counter\nc_total 1.0\n", "# TYPE bad counter\n# TYPE g gauge\n# EOF\n"];
        assert_eq!(page(collect), heads.concat());
        let shown = encode(|out| OpenMetricsEncoder::new(out).created(), collect);
        assert_eq!(shown, heads.join("c_created 1.5\n"));
    }

    #[test]
    fn values_and_units_that_the_format_forbids_are_omitted_or_rounded() {
        let text = page(|out| {
            out.counter("c", "").sample(&[("a", "1")], f64::NAN).sample(&[("a", "2")], 2.0);
            out.with_unit("seconds").gauge("g_bytes", "").sample(&[], 1.0);
            out.with_unit("g").gauge("g", "").sample(&[], 1.0);
            let mut summary = out.summary("s", "");
            summary.sample(&[], &[(0.5, -1.0), (1.5, 1.0), (1.0, 1.0)], 2.5, -1.0);
            out.family(&FamilyMetadata {
                unit: "x",
                ..FamilyMetadata::new("i_x", "", MetricType::Info)
            });
            out.sample(&Sample::new(SampleKind::Info, &[("a", "1")], 0.0));
            out.family(&FamilyMetadata::new("m", "", MetricType::StateSet));
            out.sample(&Sample::new(SampleKind::State, &[("m", "1")], 0.5));
            out.sample(&Sample::new(SampleKind::Value, &[("m", "1")], 0.0));
        });
        assert_eq!(
            text,
            "# TYPE c counter\nc_total{a=\"2\"} 2.0\n\
             # TYPE g_bytes gauge\ng_bytes 1.0\n\
             # TYPE g gauge\ng 1.0\n\
             # TYPE s summary\ns{quantile=\"1.0\"} 1.0\ns_count 3\n\
             # TYPE i_x info\n\
             # TYPE m stateset\n\
             # EOF\n"
        );
    }

    #[test]
    fn a_forbidden_sum_is_omitted_with_its_count_in_either_order() {
        let collect = |out: &mut dyn FamilySink, parts: [SampleKind; 2], sum: f64| {
            for (label, sum) in [("1", sum), ("2", 5.0)] {
                let labels = [("a", label)];
                out.sample(&Sample::new(SampleKind::Bucket(f64::INFINITY), &labels, 3.0));
                for kind in parts {
                    let is_sum = matches!(kind, SampleKind::Sum | SampleKind::GaugeSum);
                    out.sample(&Sample::new(kind, &labels, if is_sum { sum } else { 3.0 }));
                }
            }
        };
        for (metric_type, sum, count) in [
            (MetricType::Histogram, SampleKind::Sum, SampleKind::Count),
            (MetricType::GaugeHistogram, SampleKind::GaugeSum, SampleKind::GaugeCount),
        ] {
            for parts in [[sum, count], [count, sum]] {
                for value in [f64::NAN, -1.0] {
                    let mut out = Vec::new();
                    let mut encoder = OpenMetricsEncoder::new(&mut out);
                    encoder.family(&FamilyMetadata::new("h", "", metric_type));
                    collect(&mut encoder, parts, value);
                    encoder.finish();
                    let text = String::from_utf8(out).unwrap();
                    let lines: Vec<&str> = text.lines().collect();
                    assert_eq!(lines.len(), 6, "{text}");
                    assert_eq!(lines[1], "h_bucket{a=\"1\",le=\"+Inf\"} 3");
                    assert_eq!(lines[2], "h_bucket{a=\"2\",le=\"+Inf\"} 3");
                }
            }
        }
        let text = page(|out| {
            let point = HistogramPoint {
                buckets: &[(-1.0, 1.0)],
                count: 2.0,
                sum: 5.0,
                ..Default::default()
            };
            out.histogram("h", "").sample(&[], &point);
            let point = HistogramPoint { sum: -5.0, ..point };
            out.gauge_histogram("g", "").sample(&[], &point);
        });
        assert!(!text.contains("h_sum") && !text.contains("h_count"), "{text}");
        assert!(text.contains("g_gsum -5.0\ng_gcount 2\n"), "{text}");
    }

    #[test]
    fn negative_bounds_affect_only_the_sum_of_their_own_metric() {
        let text = page(|out| {
            out.family(&FamilyMetadata::new("h", "", MetricType::Histogram));
            for bound in [-1.0, f64::INFINITY] {
                out.sample(&Sample::new(SampleKind::Bucket(bound), &[("a", "1")], 1.0));
            }
            let labels = [("a", "2")];
            for kind in [SampleKind::Bucket(f64::INFINITY), SampleKind::Sum, SampleKind::Count] {
                out.sample(&Sample::new(kind, &labels, 1.0));
            }
        });
        assert!(text.ends_with("h_sum{a=\"2\"} 1.0\nh_count{a=\"2\"} 1\n# EOF\n"), "{text}");
    }

    #[test]
    fn a_count_is_not_flushed_before_its_sum_is_checked() {
        let mut out = Vec::new();
        let mut encoder = OpenMetricsEncoder::new(&mut out);
        encoder.family(&FamilyMetadata::new("h", "", MetricType::Histogram));
        assert!(encoder.chunk().is_some());
        encoder.sample(&Sample::new(SampleKind::Count, &[], 1.0));
        assert!(encoder.chunk().is_none());
        encoder.sample(&Sample::new(SampleKind::Sum, &[], 1.0));
        assert!(encoder.chunk().is_some());
    }

    #[test]
    fn only_exemplars_that_the_format_allows_are_written() {
        let text = page(|out| {
            let exemplar = |value, timestamp| Exemplar { labels: &[("t", "\"")], value, timestamp };
            let exemplars =
                [exemplar(0.5, None), exemplar(0.7, Some(1.5)), exemplar(3.0, Some(f64::NAN))];
            let buckets = [(1.0, 2.0), (2.0, 2.0)];
            let point = HistogramPoint {
                buckets: &buckets,
                count: 3.0,
                sum: 4.2,
                exemplars: &exemplars,
                created: None,
            };
            out.histogram("h", "").sample(&[], &point);
            let long = "\u{e9}".repeat(127);
            for text in [&*long, &long[..252]] {
                let labels = [("ab", text)];
                let exemplar = Exemplar { labels: &labels, value: 1.0, timestamp: None };
                out.counter("c", "").sample_with_exemplar(&[], 1.0, exemplar);
            }
            let exemplar = Exemplar { labels: &[], value: 1.0, timestamp: None };
            out.gauge("g", "").sample_with_exemplar(&[], 1.0, exemplar);
            out.counter("d", "").sample_with_exemplar(&[], 1.0, exemplar);
            let sample = Sample::new(SampleKind::Bucket(1.0), &[], 1.0);
            out.family(&FamilyMetadata::new("k", "", MetricType::Histogram));
            let exemplar = Some(Exemplar { value: 1.5, ..exemplar });
            out.sample(&Sample { exemplar: exemplar.as_ref(), ..sample });
        });
        let shown: Vec<&str> = text.lines().filter(|line| !line.starts_with("# T")).collect();
        let long = format!("c_total 1.0 # {{ab=\"{}\"}} 1.0", "\u{e9}".repeat(126));
        assert_eq!(
            shown,
            [
                "h_bucket{le=\"1.0\"} 2 # {t=\"\\\"\"} 0.7 1.5",
                "h_bucket{le=\"2.0\"} 2",
                "h_bucket{le=\"+Inf\"} 3 # {t=\"\\\"\"} 3.0",
                "h_sum 4.2",
                "h_count 3",
                "c_total 1.0",
                &long,
                "g 1.0",
                "d_total 1.0 # {} 1.0",
                "k_bucket{le=\"1.0\"} 1",
                "# EOF",
            ]
        );
    }
}

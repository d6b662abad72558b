//! The Prometheus text formats, versions 0.0.4 and 1.0.0.
//!
//! See: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt;

use super::Encoder;
use super::escape::Escaping;
use super::lines::{Quotes, SeriesWriter, push_comment, push_escaped, push_milliseconds};
use super::names::{Names, Syntax};
use crate::model::number::{Style, push_f64};
use crate::model::{FamilyMetadata, FamilySink, MetricType, Sample, SampleKind};

/// Encodes families in the text format, version 0.0.4 or 1.0.0. [`finish`](TextEncoder::finish) ends the
/// exposition.
///
/// Version 1.0.0 differs only by quoted names, which are written with [`Escaping::AllowUtf8`]. The format has no
/// units, exemplars and native histograms, which are omitted. Types that it lacks become the closest one: gauge
/// histograms become histograms, infos and state sets become gauges. The samples `_created`, `_gcount` and `_gsum`
/// are written as gauge families after their family.
///
/// ```
/// use multiprom::exposition::{Escaping, TextEncoder};
/// use multiprom::FamilySink;
///
/// let mut out = Vec::new();
/// let mut encoder = TextEncoder::new(&mut out).escaping(Escaping::AllowUtf8);
/// (&mut encoder as &mut dyn FamilySink).counter("http.hits", "Hits.").sample(&[("a.b", "1")], 3.0);
/// encoder.finish();
/// let shown = "# HELP \"http.hits_total\" Hits.\n\
///              ## TYPE \"http.hits_total\" counter\n\
///              {\"http.hits_total\",\"a.b\"=\"1\"} 3\n";
/// assert_eq!(out, shown.as_bytes());
/// ```
pub struct TextEncoder<'a> {
    out: &'a mut Vec<u8>,
    names: Names,
    shows_created: bool,
    is_skipping: bool,
    series_writer: SeriesWriter,
    /// The lines of the gauge families that follow the current family, by suffix.
    later: [Vec<u8>; LATER.len()],
    /// The help text of these families.
    help: String,
}

/// The suffixes of the gauge families that follow a family.
const LATER: [&str; 3] = ["_created", "_gcount", "_gsum"];

impl fmt::Debug for TextEncoder<'_> {
    /// Writes the current family and the number of bytes so far.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextEncoder")
            .field("family", &self.names.base())
            .field("len", &self.out.len())
            .finish_non_exhaustive()
    }
}

impl<'a> TextEncoder<'a> {
    /// An encoder that appends to `out`, with names escaped by underscores.
    pub fn new(out: &'a mut Vec<u8>) -> TextEncoder<'a> {
        TextEncoder {
            out,
            names: Names::new(Escaping::Underscores, Syntax::Lines),
            shows_created: false,
            is_skipping: false,
            series_writer: SeriesWriter::default(),
            later: [const { Vec::new() }; LATER.len()],
            help: String::new(),
        }
    }

    /// Sets the escaping of names. Call it before the first family.
    pub fn escaping(mut self, escaping: Escaping) -> TextEncoder<'a> {
        self.names.set_escaping(escaping);
        self
    }

    /// Writes the start timestamps of counters, histograms and summaries, as gauges `_created`. They are omitted by
    /// default.
    pub fn created(mut self) -> TextEncoder<'a> {
        self.shows_created = true;
        self
    }

    /// Ends the exposition. Without this call the last family may be incomplete.
    pub fn finish(mut self) {
        self.end();
    }

    fn end_family(&mut self) {
        for (suffix, lines) in LATER.iter().zip(&mut self.later) {
            if lines.is_empty() {
                continue;
            }
            push_metadata(self.out, &self.names, suffix, &self.help, "gauge");
            self.out.append(lines);
        }
    }
}

impl Encoder for TextEncoder<'_> {
    fn chunk(&mut self) -> Option<&mut Vec<u8>> {
        Some(self.out)
    }

    fn end(&mut self) {
        self.end_family();
    }
}

fn push_metadata(out: &mut Vec<u8>, names: &Names, suffix: &str, help: &str, type_name: &str) {
    if !help.is_empty() {
        push_comment(out, "HELP", names, suffix);
        push_escaped(out, help, Quotes::Literal);
        out.push(b'\n');
    }
    push_comment(out, "TYPE", names, suffix);
    out.extend_from_slice(type_name.as_bytes());
    out.push(b'\n');
}

/// The buffer to which the line of a part is written, or `None` if it is omitted.
fn output<'o>(
    out: &'o mut Vec<u8>,
    later: &'o mut [Vec<u8>; LATER.len()],
    shows_created: bool,
    kind: SampleKind,
) -> Option<&'o mut Vec<u8>> {
    match kind {
        SampleKind::Created => shows_created.then_some(&mut later[0]),
        SampleKind::GaugeCount => Some(&mut later[1]),
        SampleKind::GaugeSum => Some(&mut later[2]),
        _ => Some(out),
    }
}

impl FamilySink for TextEncoder<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.end_family();
        self.is_skipping = !self.names.begin(head);
        self.series_writer.begin();
        if self.is_skipping {
            return;
        }
        if self.shows_created || head.metric_type == MetricType::GaugeHistogram {
            self.help.clear();
            self.help.push_str(head.help);
        }
        let type_name = match head.metric_type {
            MetricType::Unknown => "untyped",
            MetricType::GaugeHistogram => "histogram",
            MetricType::Info | MetricType::StateSet => "gauge",
            other => other.as_str(),
        };
        // In this format the name of a counter family has the suffix of its samples.
        let suffix = head.metric_type.own_suffix();
        push_metadata(self.out, &self.names, suffix, head.help, type_name);
    }

    fn wants_created(&self) -> bool {
        self.shows_created
    }

    #[inline]
    fn sample(&mut self, sample: &Sample<'_>) {
        if self.is_skipping {
            return;
        }
        let Some(out) = output(self.out, &mut self.later, self.shows_created, sample.kind) else {
            return;
        };
        if !self.series_writer.push_series(out, &mut self.names, sample.kind, sample.labels) {
            return;
        }
        push_f64(out, sample.value, Style::Plain);
        if let Some(seconds) = sample.timestamp.filter(|seconds| seconds.is_finite()) {
            out.push(b' ');
            push_milliseconds(out, seconds);
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HistogramPoint;

    fn encode(new: fn(&mut Vec<u8>) -> TextEncoder<'_>) -> String {
        let mut out = Vec::new();
        let mut encoder = new(&mut out);
        encoder.family(&FamilyMetadata::new("c", "a \"b\"\n\\", MetricType::Counter));
        let labels = [("x", "\"\n\\"), ("y", "\u{1f600}")];
        encoder.sample(&Sample::new(SampleKind::Total, &labels, 1e6).with_timestamp(1.5));
        encoder.sample(&Sample::new(SampleKind::Created, &labels, 1.5e9));
        encoder.family(&FamilyMetadata::new("h", "", MetricType::Histogram));
        for kind in [
            SampleKind::Bucket(1.0),
            SampleKind::Bucket(f64::INFINITY),
            SampleKind::Sum,
            SampleKind::Count,
        ] {
            encoder.sample(&Sample::new(kind, &labels[..0], 2.0));
        }
        encoder.family(&FamilyMetadata::new("s", "", MetricType::Summary));
        let kind = SampleKind::Quantile(0.5);
        encoder.sample(&Sample::new(kind, &[("a", "b")], f64::NAN));
        encoder.family(&FamilyMetadata::new("u", "", MetricType::Unknown));
        let sink = &mut encoder as &mut dyn FamilySink;
        sink.info("build_info", "").sample(&[("version", "1")]);
        sink.state_set("mode", "").sample(&[], &[("on", true), ("off", false)]);
        let point =
            HistogramPoint { buckets: &[(1.0, 2.0)], count: 3.0, sum: 4.0, ..Default::default() };
        sink.gauge_histogram("g", "Now.").sample(&[("a", "b")], &point);
        encoder.finish();
        String::from_utf8(out).unwrap()
    }

    const HEAD: &str = "# HELP c_total a \"b\"\\n\\\\\n\
         # TYPE c_total counter\n\
         c_total{x=\"\\\"\\n\\\\\",y=\"\u{1f600}\"} 1e+06 1500\n";

    const REST: &str = "# TYPE h histogram\n\
         h_bucket{le=\"1.0\"} 2\n\
         h_bucket{le=\"+Inf\"} 2\n\
         h_sum 2\n\
         h_count 2\n\
         # TYPE s summary\n\
         s{a=\"b\",quantile=\"0.5\"} NaN\n\
         # TYPE u untyped\n\
         # TYPE build_info gauge\n\
         build_info{version=\"1\"} 1\n\
         # TYPE mode gauge\n\
         mode{mode=\"on\"} 1\n\
         mode{mode=\"off\"} 0\n\
         # HELP g Now.\n\
         # TYPE g histogram\n\
         g_bucket{a=\"b\",le=\"1.0\"} 2\n\
         g_bucket{a=\"b\",le=\"+Inf\"} 3\n\
         # HELP g_gcount Now.\n\
         # TYPE g_gcount gauge\n\
         g_gcount{a=\"b\"} 3\n\
         # HELP g_gsum Now.\n\
         # TYPE g_gsum gauge\n\
         g_gsum{a=\"b\"} 4\n";

    #[test]
    fn every_type_is_encoded() {
        assert_eq!(encode(|out| TextEncoder::new(out)), [HEAD, REST].concat());
    }

    #[test]
    fn start_timestamps_are_a_gauge_family_if_enabled() {
        let created = "# HELP c_created a \"b\"\\n\\\\\n\
             # TYPE c_created gauge\n\
             c_created{x=\"\\\"\\n\\\\\",y=\"\u{1f600}\"} 1.5e+09\n";
        assert_eq!(encode(|out| TextEncoder::new(out).created()), [HEAD, created, REST].concat());
    }
}

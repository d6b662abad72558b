//! The Prometheus text format, version 0.0.4.
//!
//! See: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use super::lines::{Quotes, push_comment, push_escaped, push_series};
use crate::model::number::{Style, push_f64};
use crate::model::{FamilyHead, FamilySink, MetricType, Part, Sample};

/// Writes families in the text format 0.0.4.
pub struct TextEncoder<'a> {
    out: &'a mut Vec<u8>,
    family: String,
}

impl<'a> TextEncoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> TextEncoder<'a> {
        TextEncoder { out, family: String::new() }
    }
}

impl FamilySink for TextEncoder<'_> {
    fn family(&mut self, head: &FamilyHead<'_>) {
        self.family.clear();
        self.family.push_str(head.name);
        // The name of a counter's family is that of its samples in this format.
        let suffix = match head.metric_type {
            MetricType::Counter => Part::Total.suffix(),
            MetricType::Info => Part::Info.suffix(),
            _ => "",
        };
        if !head.help.is_empty() {
            push_comment(self.out, "HELP", head.name, suffix);
            push_escaped(self.out, head.help, Quotes::Kept);
            self.out.push(b'\n');
        }
        push_comment(self.out, "TYPE", head.name, suffix);
        let word = match head.metric_type {
            MetricType::Unknown => "untyped",
            MetricType::GaugeHistogram => "histogram",
            MetricType::Info | MetricType::StateSet => "gauge",
            known => known.as_str(),
        };
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'\n');
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        push_series(self.out, &self.family, sample);
        push_f64(self.out, sample.value, Style::Plain);
        if let Some(seconds) = sample.timestamp {
            self.out.push(b' ');
            self.out.extend_from_slice(((seconds * 1000.0) as i64).to_string().as_bytes());
        }
        self.out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_part_in_its_form() {
        let mut out = Vec::new();
        let mut encoder = TextEncoder::new(&mut out);
        encoder.family(&FamilyHead::new("c", "a \"b\"\n\\", MetricType::Counter));
        let labels = [("x", "\"\n\\"), ("y", "\u{1f600}")];
        encoder.sample(&Sample {
            part: Part::Total,
            labels: &labels,
            value: 1e6,
            timestamp: Some(1.5),
            exemplar: None,
        });
        encoder.family(&FamilyHead::new("h", "", MetricType::Histogram));
        for part in [Part::Bucket(1.0), Part::Bucket(f64::INFINITY), Part::Sum, Part::Count] {
            encoder.sample(&Sample::new(part, &labels[..0], 2.0));
        }
        encoder.family(&FamilyHead::new("s", "", MetricType::Summary));
        let part = Part::Quantile(0.5);
        encoder.sample(&Sample::new(part, &[("a", "b")], f64::NAN));
        encoder.family(&FamilyHead::new("u", "", MetricType::Unknown));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# HELP c_total a \"b\"\\n\\\\\n\
             # TYPE c_total counter\n\
             c_total{x=\"\\\"\\n\\\\\",y=\"\u{1f600}\"} 1e+06 1500\n\
             # TYPE h histogram\n\
             h_bucket{le=\"1.0\"} 2\n\
             h_bucket{le=\"+Inf\"} 2\n\
             h_sum 2\n\
             h_count 2\n\
             # TYPE s summary\n\
             s{a=\"b\",quantile=\"0.5\"} NaN\n\
             # TYPE u untyped\n"
        );
    }
}

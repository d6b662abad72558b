//! OpenMetrics text, version 1.0.0.
//!
//! See: <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use super::lines::{Quotes, push_comment, push_escaped, push_series};
use crate::model::number::{Style, push_f64, push_u64};
use crate::model::{FamilyHead, FamilySink, Part, Sample};

/// Writes families as OpenMetrics; [`finish`](OpenMetricsEncoder::finish) ends the exposition.
pub struct OpenMetricsEncoder<'a> {
    out: &'a mut Vec<u8>,
    family: String,
}

impl<'a> OpenMetricsEncoder<'a> {
    /// An encoder that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> OpenMetricsEncoder<'a> {
        OpenMetricsEncoder { out, family: String::new() }
    }

    /// Writes `# EOF`, without which a reader takes the exposition for cut off.
    pub fn finish(self) {
        self.out.extend_from_slice(b"# EOF\n");
    }
}

/// Counts up to here are exact in an `f64`, and are shown as integers.
const MAX_EXACT_COUNT: f64 = 9_007_199_254_740_992.0;

impl FamilySink for OpenMetricsEncoder<'_> {
    fn family(&mut self, head: &FamilyHead<'_>) {
        self.family.clear();
        self.family.push_str(head.name);
        push_comment(self.out, "TYPE", head.name, "");
        self.out.extend_from_slice(head.metric_type.as_str().as_bytes());
        self.out.push(b'\n');
        if !head.help.is_empty() {
            push_comment(self.out, "HELP", head.name, "");
            push_escaped(self.out, head.help, Quotes::Escaped);
            self.out.push(b'\n');
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        push_series(self.out, &self.family, sample);
        let value = sample.value;
        let is_count = matches!(sample.part, Part::Count | Part::Bucket(_));
        if is_count && value.trunc() == value && (0.0..MAX_EXACT_COUNT).contains(&value) {
            push_u64(self.out, value as u64);
        } else {
            push_f64(self.out, value, Style::Canonical);
        }
        if let Some(seconds) = sample.timestamp {
            self.out.push(b' ');
            push_f64(self.out, seconds, Style::Canonical);
        }
        self.out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricType;

    #[test]
    fn a_page_has_every_part_in_its_form() {
        let mut out = Vec::new();
        let mut encoder = OpenMetricsEncoder::new(&mut out);
        encoder.family(&FamilyHead::new("c", "a \"b\"\n\\", MetricType::Counter));
        let labels = [("x", "1")];
        encoder.sample(&Sample::new(Part::Total, &labels, 3.0));
        encoder.family(&FamilyHead::new("h", "", MetricType::Histogram));
        for part in [Part::Bucket(1e6), Part::Bucket(f64::INFINITY), Part::Sum, Part::Count] {
            encoder.sample(&Sample::new(part, &[], 2e6));
        }
        encoder.finish();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "# TYPE c counter\n\
             # HELP c a \\\"b\\\"\\n\\\\\n\
             c_total{x=\"1\"} 3.0\n\
             # TYPE h histogram\n\
             h_bucket{le=\"1e+06\"} 2000000\n\
             h_bucket{le=\"+Inf\"} 2000000\n\
             h_sum 2e+06\n\
             h_count 2000000\n\
             # EOF\n"
        );
    }
}

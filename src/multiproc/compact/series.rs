//! The series that a sample belongs to, whichever way its key is spelled.

use crate::file::key;
use crate::model::{MetricType, OwnedLabels};
use crate::multiproc::merge::sample_part::{SamplePart, family_name};

/// The series of a sample of a counter, a histogram or a summary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SampleSeries {
    /// The normalized family name and labels: equal for all samples of a series and all spellings of their keys.
    pub(super) id: Box<[u8]>,
    /// Whether the sample is the lead sample of its series, which removal records name.
    pub(super) is_lead: bool,
}

/// The series of a sample; `None` for gauges, and if no reader exports the sample.
pub(super) fn series_of(metric_type: MetricType, key: &[u8]) -> Option<SampleSeries> {
    if metric_type == MetricType::Gauge {
        return None;
    }
    let key = key::decode(key).ok()?;
    let family = family_name(metric_type, &key.family);
    let part = SamplePart::of(metric_type, family, &key.sample)?;
    let is_lead = matches!(part, SamplePart::Value | SamplePart::Sum);
    let is_bucket = part == SamplePart::Bucket;
    let labels = key.labels.iter().filter(|(name, _)| !(is_bucket && name == "le"));
    let labels = OwnedLabels::new(labels.map(|(name, value)| (&**name, &**value)));
    let mut id = Vec::new();
    key::encode(&mut id, family, "", labels.iter(), "");
    Some(SampleSeries { id: id.into(), is_lead })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_samples_and_spellings_of_a_series_have_one_id() {
        let histogram = [
            (r#"["h", "h_sum", {"a": "1", "b": "2"}, "Help."]"#, true),
            (r#"["h","h_count",{"b":"2","a":"1"}]"#, false),
            (r#"["h", "h_bucket", {"b": "2", "le": "0.5", "a": "1"}, ""]"#, false),
            (r#"["h", "h_bucket", ["a", "b", "le"], ["1", "2", "+Inf"]]"#, false),
        ];
        let counter = [
            (r#"["c", "c_total", {}, "Help."]"#, true),
            (r#"["c_total", "c_total", [], []]"#, true),
            (r#"["c_total", "c", [], []]"#, true),
        ];
        for (metric_type, keys) in
            [(MetricType::Histogram, &histogram[..]), (MetricType::Counter, &counter[..])]
        {
            let first = series_of(metric_type, keys[0].0.as_bytes()).unwrap();
            for (key, is_lead) in keys {
                let series = series_of(metric_type, key.as_bytes()).unwrap();
                assert_eq!((&series.id, series.is_lead), (&first.id, *is_lead), "{key}");
            }
        }
    }

    #[test]
    fn other_samples_have_no_series() {
        for (metric_type, key) in [
            (MetricType::Gauge, r#"["g", "g", {}, ""]"#),
            (MetricType::Counter, r#"["c", "d_total", {}, ""]"#),
            (MetricType::Summary, r#"["s", "s", {"quantile": "0.5"}, ""]"#),
            (MetricType::Counter, "text"),
        ] {
            assert_eq!(series_of(metric_type, key.as_bytes()), None, "{key}");
        }
    }
}

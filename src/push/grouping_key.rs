//! Grouping keys: the labels of a group of the Pushgateway, as the path of its URL.

use std::fmt::Write as _;

use super::base64;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{FamilyMetadata, FamilySink, Gatherer, Labels, NativeHistogram, Sample, name};

/// The job and the other labels of a group.
#[derive(Clone, Debug)]
pub(super) struct GroupingKey {
    job: String,
    /// In alphabetical order of the names.
    labels: Vec<(String, String)>,
}

impl GroupingKey {
    pub(super) fn new(job: String, mut labels: Vec<(String, String)>) -> Result<GroupingKey> {
        if job.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "the job of a push must not be empty"));
        }
        labels.sort_unstable();
        check_names(&labels)?;
        Ok(GroupingKey { job, labels })
    }

    /// The path below that of the gateway.
    pub(super) fn path(&self) -> String {
        let mut path = "/metrics".to_owned();
        push_label(&mut path, "job", &self.job);
        for (name, value) in &self.labels {
            push_label(&mut path, name, value);
        }
        path
    }

    fn has(&self, label: &str) -> bool {
        label == "job" || self.labels.iter().any(|(name, _)| name == label)
    }
}

fn check_names(labels: &[(String, String)]) -> Result<()> {
    let names = labels.iter().map(|(name, _)| name.as_str()).chain(["job"]);
    name::check_label_names(&names, None)
        .map_err(|error| Error::new(ErrorKind::InvalidLabels, format!("grouping key: {error}")))
}

/// Appends a name and a value as two segments of the path.
///
/// NOTE: the gateway decodes `%2F` before it splits the path, and it and proxies resolve `.` and `..`. It reads `+` as a
/// plus sign, not as a space. See: README of the Pushgateway, "URL".
fn push_label(path: &mut String, name: &str, value: &str) {
    let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'/');
    if value.is_empty() {
        // The padding stands for the empty value, as an empty segment would be removed.
        path.extend(["/", name, "@base64/="]);
    } else if is_plain && value != "." && value != ".." {
        path.extend(["/", name, "/"]);
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:@!$&'()*,;=".contains(&byte) {
                path.push(char::from(byte));
            } else {
                // OK because writing to a string does not fail.
                let _ = write!(path, "%{byte:02X}");
            }
        }
    } else {
        path.extend(["/", name, "@base64/", &base64::url_safe(value.as_bytes())]);
    }
}

/// A source whose samples are checked: a label of the grouping key, which the gateway would overwrite, and a timestamp,
/// which it refuses, fail the exposition.
pub(super) struct Checked<'a> {
    pub(super) source: &'a dyn Gatherer,
    pub(super) key: &'a GroupingKey,
}

impl Gatherer for Checked<'_> {
    fn gather(&self, out: &mut dyn FamilySink) {
        self.source.gather(&mut CheckedSink { out, key: self.key, family: String::new() });
    }
}

struct CheckedSink<'a> {
    out: &'a mut dyn FamilySink,
    key: &'a GroupingKey,
    family: String,
}

impl CheckedSink<'_> {
    fn check_labels(&mut self, labels: Labels<'_>, own: Option<&str>) {
        let named = labels.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        if let Some(label) = named.chain(own).find(|label| self.key.has(label)) {
            let message = format!(
                "samples of `{}` have the label `{label}`, which is part of the grouping key: the Pushgateway would \
                 overwrite it",
                self.family
            );
            self.out.fail(Error::new(ErrorKind::InvalidLabels, message));
        }
    }
}

impl FamilySink for CheckedSink<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.family.clear();
        self.family.push_str(head.name);
        self.out.family(head);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.check_labels(sample.labels, sample.kind.own_label().map(|(name, _)| name));
        if sample.timestamp.is_some() {
            let family = &self.family;
            let message =
                format!("samples of `{family}` have timestamps, which the Pushgateway refuses");
            self.out.fail(Error::new(ErrorKind::Push, message));
        }
        self.out.sample(sample);
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        self.check_labels(labels, None);
        self.out.native_histogram(labels, histogram);
    }

    fn wants_created(&self) -> bool {
        self.out.wants_created()
    }

    fn fail(&mut self, error: Error) {
        self.out.fail(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Exposition;

    fn key(job: &str, labels: &[(&str, &str)]) -> Result<GroupingKey> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        GroupingKey::new(job.to_owned(), labels.iter().map(owned).collect())
    }

    #[test]
    fn values_are_segments_percent_encoded_or_in_base64() {
        let path = |job, labels: &[_]| key(job, labels).unwrap().path();
        for (job, labels, shown) in [
            ("dc", &[("path", "/var/tmp")][..], "/metrics/job/dc/path@base64/L3Zhci90bXA"),
            (
                "ex",
                &[("second", "foo"), ("first", "")],
                "/metrics/job/ex/first@base64/=/second/foo",
            ),
            ("test/job", &[], "/metrics/job@base64/dGVzdC9qb2I"),
            (
                "titan",
                &[("name", "\u{3a0}\u{3c1}\u{3bf}\u{3bc}\u{3b7}\u{3b8}\u{3b5}\u{3cd}\u{3c2}")],
                "/metrics/job/titan/name@base64/zqDPgc6_zrzOt864zrXPjc-C",
            ),
            ("a b+c", &[("q", "100%?#")], "/metrics/job/a%20b%2Bc/q/100%25%3F%23"),
            ("..", &[("one", ".")], "/metrics/job@base64/Li4/one@base64/Lg"),
            ("db", &[("instance", "10.0.0.1:80")], "/metrics/job/db/instance/10.0.0.1:80"),
            ("\n", &[], "/metrics/job@base64/Cg"),
        ] {
            assert_eq!(path(job, labels), shown);
        }
    }

    #[test]
    fn keys_that_a_gateway_refuses_are_errors() {
        assert_eq!(key("", &[]).unwrap_err().kind(), ErrorKind::Usage);
        for bad in ["job", "__x", "a.b", "", "9"] {
            let error = key("j", &[(bad, "x")]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidLabels, "{bad}");
            assert!(error.to_string().starts_with("grouping key: "), "{error}");
        }
        assert!(key("j", &[("a", "1"), ("a", "2")]).is_err());
    }

    #[test]
    fn a_label_of_the_key_and_a_timestamp_are_errors_that_name_the_family() {
        struct Samples(&'static str, Option<f64>);

        impl Gatherer for Samples {
            fn gather(&self, out: &mut dyn FamilySink) {
                out.histogram("h", "").sample(&[], &crate::model::HistogramPoint::default());
                out.gauge("g", "").sample(&[("job", "")], 1.0);
                let mut sample =
                    Sample::new(crate::model::SampleKind::Value, &[], 1.0).with_labels(&[]);
                sample.timestamp = self.1;
                out.sample(&sample.with_labels(&[(self.0, "x")]));
            }
        }

        let check = |source: &Samples, labels: &[_]| {
            let key = key("j", labels).unwrap();
            let checked = Checked { source, key: &key };
            Exposition::try_render(&checked, None).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(check(&Samples("a", None), &[("instance", "i")]), Ok(()));
        let error = check(&Samples("instance", None), &[("instance", "i")]).unwrap_err();
        assert!(
            error.starts_with("samples of `g` have the label `instance`, which is part of"),
            "{error}"
        );
        let error = check(&Samples("job", None), &[]).unwrap_err();
        assert!(error.contains("the label `job`"), "{error}");
        let error = check(&Samples("a", None), &[("le", "i")]).unwrap_err();
        assert!(error.starts_with("samples of `h` have the label `le`"), "{error}");
        let error = check(&Samples("a", Some(1.0)), &[]).unwrap_err();
        assert_eq!(error, "samples of `g` have timestamps, which the Pushgateway refuses");
    }
}

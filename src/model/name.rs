//! Validation of metric and label names, in constant evaluation too.
//!
//! See: <https://prometheus.io/docs/concepts/data_model/>

use std::fmt;

use super::{GaugeMode, MetricType};

/// The maximum length of a name in bytes.
pub(crate) const MAX_NAME_LEN: usize = 1024;

/// The maximum number of labels of a sample, `le` and `quantile` included: readers of series files skip keys with more.
pub(crate) const MAX_LABELS: usize = 128;

/// Which names are valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameRules {
    /// The names that every version of Prometheus accepts.
    #[default]
    Classic,
    /// Any text but the empty one, as since Prometheus 3.
    Utf8,
}

/// An invalid metric or label name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameError {
    Empty,
    Metric(String),
    TooLong(usize),
    Label(String),
    ReservedLabel(String),
    RepeatedLabel(String),
    PerProcessLabel(String),
    TooManyLabels(usize),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "a name is empty"),
            NameError::Metric(name) => {
                write!(f, "metric name `{name}` does not match [a-zA-Z_:][a-zA-Z0-9_:]*")
            }
            NameError::TooLong(len) => {
                write!(f, "name has {len} bytes, the limit is {MAX_NAME_LEN}")
            }
            NameError::Label(name) => {
                write!(f, "label name `{name}` does not match [a-zA-Z_][a-zA-Z0-9_]*")
            }
            NameError::TooManyLabels(count) => {
                write!(f, "it has {count} labels, the limit is {MAX_LABELS}")
            }
            NameError::ReservedLabel(name) => write!(f, "label name `{name}` is reserved"),
            NameError::RepeatedLabel(name) => write!(f, "label name `{name}` is given twice"),
            NameError::PerProcessLabel(name) => {
                write!(
                    f,
                    "label name `{name}` is reserved for the process id in the gauge modes all and liveall"
                )
            }
        }
    }
}

impl std::error::Error for NameError {}

const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

/// Whether `name` matches `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(crate) const fn is_metric_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if !(is_letter(byte) || byte == b':' || (at > 0 && byte.is_ascii_digit())) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) const fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if !(is_letter(byte) || (at > 0 && byte.is_ascii_digit())) {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Compares two strings in constant evaluation.
pub(crate) const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether Prometheus reserves the label name for internal use: it begins with `__`.
pub(crate) const fn is_internal_label(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.len() >= 2 && bytes[0] == b'_' && bytes[1] == b'_'
}

/// Checks the form and the length of a metric name.
pub(crate) fn check_metric_name(name: &str) -> Result<(), NameError> {
    NameRules::Classic.check_metric_name(name)
}

/// Checks the label names of one family. `reserved` is the label name that its type reserves, such as `le`.
pub(crate) fn check_label_names<'a>(
    names: &(impl Iterator<Item = &'a str> + Clone),
    reserved: Option<&str>,
) -> Result<(), NameError> {
    NameRules::Classic.check_label_names(names, reserved)
}

impl NameRules {
    /// Whether a text is a metric name.
    pub(crate) const fn is_metric_name(self, name: &str) -> bool {
        match self {
            NameRules::Classic => is_metric_name(name),
            NameRules::Utf8 => !name.is_empty(),
        }
    }

    /// Whether a text is a label name.
    pub(crate) const fn is_label_name(self, name: &str) -> bool {
        match self {
            NameRules::Classic => is_label_name(name),
            NameRules::Utf8 => !name.is_empty(),
        }
    }

    /// See [`check_metric_name`].
    pub(crate) fn check_metric_name(self, name: &str) -> Result<(), NameError> {
        if name.len() > MAX_NAME_LEN {
            return Err(NameError::TooLong(name.len()));
        }
        match self {
            _ if self.is_metric_name(name) => Ok(()),
            NameRules::Classic => Err(NameError::Metric(name.to_owned())),
            NameRules::Utf8 => Err(NameError::Empty),
        }
    }

    /// Checks the label names of one family of this type, merged in this mode. The modes with a series for each process
    /// reserve the label `pid`.
    pub(crate) fn check_labels_of<'a>(
        self,
        names: &(impl Iterator<Item = &'a str> + Clone),
        metric_type: MetricType,
        mode: Option<GaugeMode>,
    ) -> Result<(), NameError> {
        self.check_label_names(names, metric_type.reserved_label())?;
        let is_per_process = mode.is_some_and(GaugeMode::is_per_process);
        if is_per_process && names.clone().any(|name| name == "pid") {
            return Err(NameError::PerProcessLabel("pid".to_owned()));
        }
        Ok(())
    }

    /// See [`check_label_names`].
    pub(crate) fn check_label_names<'a>(
        self,
        names: &(impl Iterator<Item = &'a str> + Clone),
        reserved: Option<&str>,
    ) -> Result<(), NameError> {
        let count = names.clone().count() + usize::from(reserved.is_some());
        if count > MAX_LABELS {
            return Err(NameError::TooManyLabels(count));
        }
        for (at, name) in names.clone().enumerate() {
            if name.len() > MAX_NAME_LEN {
                return Err(NameError::TooLong(name.len()));
            }
            if !self.is_label_name(name) {
                return Err(match self {
                    NameRules::Classic => NameError::Label(name.to_owned()),
                    NameRules::Utf8 => NameError::Empty,
                });
            }
            if is_internal_label(name) || reserved == Some(name) {
                return Err(NameError::ReservedLabel(name.to_owned()));
            }
            if names.clone().take(at).any(|earlier| earlier == name) {
                return Err(NameError::RepeatedLabel(name.to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_match_the_pattern_of_the_data_model() {
        for good in ["a", "_a", ":a", "a:b_c9", "A"] {
            assert!(is_metric_name(good), "{good}");
        }
        for bad in ["", "9a", "a-b", "a b", "a.b", "\u{e9}"] {
            assert!(!is_metric_name(bad), "{bad}");
        }
    }

    #[test]
    fn by_the_rules_of_prometheus_3_every_text_is_a_name() {
        for name in ["a.b", "9", "\u{e9}\n\"", " "] {
            assert_eq!(NameRules::Utf8.check_metric_name(name), Ok(()), "{name}");
            assert_eq!(NameRules::Utf8.check_label_names(&[name].into_iter(), None), Ok(()));
        }
        assert_eq!(NameRules::Utf8.check_metric_name(""), Err(NameError::Empty));
        let reserved = NameError::ReservedLabel("__a.b".to_owned());
        let names = ["__a.b"].into_iter();
        assert_eq!(NameRules::Utf8.check_label_names(&names, None), Err(reserved));
    }

    #[test]
    fn label_names_are_checked_for_form_reservation_and_repetition() {
        let check = |names: &[&str], reserved| {
            check_label_names(&names.iter().copied(), reserved).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["a", "b"], None), Ok(()));
        assert_eq!(check(&["le"], Some("le")), Err("label name `le` is reserved".to_owned()));
        assert_eq!(check(&["le"], None), Ok(()));
        assert_eq!(check(&["__x"], None), Err("label name `__x` is reserved".to_owned()));
        assert_eq!(check(&["a", "a"], None), Err("label name `a` is given twice".to_owned()));
        assert!(check(&["a:b"], None).unwrap_err().contains("does not match"));
    }
}

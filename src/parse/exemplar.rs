//! Owned exemplars and labels.

use crate::model::{Exemplar, Labels};

/// An exemplar of an [`OwnedSample`](super::OwnedSample) or an [`OwnedNativeHistogram`](super::OwnedNativeHistogram).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OwnedExemplar {
    /// The labels, such as the id of a trace.
    pub labels: Vec<(String, String)>,
    /// The observed value.
    pub value: f64,
    /// The time of the observation, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
}

impl OwnedExemplar {
    /// An exemplar without a timestamp.
    pub fn new(labels: Vec<(String, String)>, value: f64) -> OwnedExemplar {
        OwnedExemplar { labels, value, timestamp: None }
    }

    pub(super) fn copy(exemplar: &Exemplar<'_>) -> OwnedExemplar {
        OwnedExemplar {
            labels: owned(Labels::new(exemplar.labels)),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        }
    }
}

/// The labels, borrowed.
pub(super) fn borrowed(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (&**name, &**value)).collect()
}

/// Calls `f` with the exemplars, borrowed.
pub(super) fn borrowed_exemplars(exemplars: &[OwnedExemplar], f: impl FnOnce(&[Exemplar<'_>])) {
    let labels: Vec<_> = exemplars.iter().map(|exemplar| borrowed(&exemplar.labels)).collect();
    let mut all = Vec::with_capacity(exemplars.len());
    for (exemplar, labels) in exemplars.iter().zip(&labels) {
        all.push(Exemplar { labels, value: exemplar.value, timestamp: exemplar.timestamp });
    }
    f(&all);
}

/// The labels, copied.
pub(super) fn owned(labels: Labels<'_>) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

//! What a declaration or a builder sets beyond name, help and labels.

use std::borrow::Cow;

use super::buckets;

use crate::model::name::NameRules;
use crate::model::{GaugeMode, Unit};

/// Settings of all types together: a type ignores those of others.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) mode: GaugeMode,
    /// The upper bounds of buckets, which live as long as the process only once a family needs them.
    pub(super) bounds: Cow<'static, [f64]>,
    /// The states of an enum.
    pub(super) states: Vec<String>,
    pub(super) namespace: Option<String>,
    pub(super) subsystem: Option<String>,
    pub(super) unit: Option<Unit>,
    pub(super) const_labels: Vec<(String, String)>,
    /// Which names are valid.
    pub(super) rules: NameRules,
    /// Whether each series has label names of its own.
    pub(super) open_labels: bool,
    /// The most series of the family; that of the registry applies if there is none.
    pub(super) max_series: Option<usize>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: GaugeMode::All,
            bounds: Cow::Borrowed(&buckets::DEFAULT),
            states: Vec::new(),
            namespace: None,
            subsystem: None,
            unit: None,
            const_labels: Vec::new(),
            rules: NameRules::Classic,
            open_labels: false,
            max_series: None,
        }
    }
}

//! What a declaration or a builder sets beyond name, help and labels.

use std::borrow::Cow;

use super::buckets;

use crate::model::{GaugeMode, Unit};

/// Settings of all types together: a type ignores those of others.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) mode: GaugeMode,
    /// The upper bounds of buckets, which live as long as the process only once a family needs them.
    pub(super) bounds: Cow<'static, [f64]>,
    /// The states of an enum.
    pub(super) states: Vec<String>,
    pub(super) subsystem: Option<String>,
    pub(super) unit: Option<Unit>,
    pub(super) const_labels: Vec<(String, String)>,
}

impl Settings {
    pub(super) fn of_static(mode: GaugeMode, bounds: &'static [f64]) -> Settings {
        let bounds = Cow::Borrowed(bounds);
        let (states, const_labels) = (Vec::new(), Vec::new());
        Settings { mode, bounds, states, subsystem: None, unit: None, const_labels }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::of_static(GaugeMode::All, &buckets::DEFAULT)
    }
}

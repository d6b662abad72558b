//! What a collector changes about the rules of the merge.

use std::fmt;

use crate::model::{GaugeMode, MetricType};

/// Names the mode of a gauge family; `None` leaves the mode of its files.
pub(crate) type ModeRule = Box<dyn Fn(&str) -> Option<GaugeMode> + Send + Sync>;

/// Returns `true` for the families to keep.
pub(crate) type FamilyFilter = Box<dyn Fn(&str, MetricType) -> bool + Send + Sync>;

pub(crate) struct MergeSettings {
    /// The label that distinguishes processes.
    pub(crate) pid_label: String,
    /// Labels that are added to series, sorted.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) filter: Option<FamilyFilter>,
    pub(crate) gauge_mode: Option<ModeRule>,
    /// Replaces the mode `all`.
    pub(crate) default_gauge_mode: GaugeMode,
}

impl MergeSettings {
    /// Whether the filter keeps a family.
    pub(super) fn keeps(&self, name: &str, metric_type: MetricType) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(name, metric_type))
    }

    /// The mode that a rule names for a family of gauges: by the name of its samples, or by that of the exported family.
    pub(super) fn mode(&self, samples: &str, exported: &str) -> Option<GaugeMode> {
        let rule = self.gauge_mode.as_ref()?;
        rule(samples).or_else(|| if exported == samples { None } else { rule(exported) })
    }
}

impl Default for MergeSettings {
    fn default() -> MergeSettings {
        MergeSettings {
            pid_label: "pid".to_owned(),
            labels: Vec::new(),
            filter: None,
            gauge_mode: None,
            default_gauge_mode: GaugeMode::All,
        }
    }
}

impl fmt::Debug for MergeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeSettings")
            .field("pid_label", &self.pid_label)
            .field("labels", &self.labels)
            .field("default_gauge_mode", &self.default_gauge_mode)
            .finish_non_exhaustive()
    }
}

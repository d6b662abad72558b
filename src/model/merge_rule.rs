//! How the families of custom collectors are merged.

use super::mode::GaugeMode;

/// How the values of a family that several processes collect are merged: see [`Collector::merge_rule`](crate::Collector::merge_rule).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeRule {
    /// Counters, histograms and summaries are added up. Gauges, state sets and metrics of unknown type have a series for each
    /// live process, as in the mode [`LiveAll`](GaugeMode::LiveAll). Infos have one for each label set that a live process
    /// exports.
    #[default]
    ByType,
    /// Gauges, infos, state sets and metrics of unknown type are merged in this mode; other types as by
    /// [`ByType`](MergeRule::ByType).
    Mode(GaugeMode),
    /// All processes read the values from one source, such as a database or the kernel, so they are not added up: a counter is
    /// the highest total that any process has read. Gauges, infos, state sets and metrics of unknown type are those
    /// that a live process has read last. Histograms and summaries of such a source cannot be merged; only the
    /// process itself exports them.
    SharedSource,
}

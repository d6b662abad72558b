//! Sets how the families of a collector are merged.

use std::any::Any;

use super::collector::{Collector, FamilySink};
use super::directory_id::DirectoryId;
use super::merge_rule::MergeRule;

/// A collector with another rule for the merge: see [`Collector::merge_rule`].
///
/// It is also the way to have per-process collectors, such as that of `process_*` metrics, in the files:
///
/// ```no_run
/// use multiprom::collector::{MergeRule, MergedBy};
/// use multiprom::{GaugeMode, ProcessCollector, default_registry};
///
/// let process = ProcessCollector::current();
/// default_registry().register(MergedBy::new(process, |family| match family {
///     "process_start_time_seconds" => MergeRule::Mode(GaugeMode::LiveMin),
///     _ => MergeRule::Mode(GaugeMode::LiveSum),
/// }))?;
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// It has no effect on a registry, whose collectors have rules of their own, nor on a metric or a family whose values are in
/// files already.
#[derive(Clone, Debug)]
pub struct MergedBy<C, F> {
    collector: C,
    rule: F,
}

impl<C: Collector, F: Fn(&str) -> MergeRule + Send + Sync> MergedBy<C, F> {
    /// Sets the rule of each family by its name: that of a counter without `_total`, that of an info without `_info`.
    pub fn new(collector: C, rule: F) -> MergedBy<C, F> {
        MergedBy { collector, rule }
    }
}

impl<C: Collector, F: Fn(&str) -> MergeRule + Send + Sync> Collector for MergedBy<C, F> {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.collector.collect(out);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collector.describe(out);
    }

    fn is_sorted(&self) -> bool {
        self.collector.is_sorted()
    }

    fn directories(&self) -> Vec<DirectoryId> {
        self.collector.directories()
    }

    fn merge_rule(&self, family: &str) -> MergeRule {
        (self.rule)(family)
    }

    /// Whether the values are not in files already.
    fn is_merged(&self) -> bool {
        !self.is_in_files()
    }

    fn is_in_files(&self) -> bool {
        self.collector.is_in_files()
    }

    fn as_registry(&self) -> Option<&dyn Any> {
        self.collector.as_registry()
    }
}

//! The values of all files, added up, and the tables that scrapes share.

use super::attributes::Attributes;
use super::batch::Batch;
use super::catalog::{Catalog, Group, HelpId, ValueId};
use super::created::{EntryTimes, StartTimes};
use super::exact_sum::ExactSum;
use super::gauge::{Contribution, GaugeValues, ModeSet, ReducedGauge};
use super::plan::PlanCache;
use super::removal::Removals;
use super::source::{Source, SourceToken, Sources};
use crate::model::{GaugeMode, MetricType};
use crate::multiproc::skipped::Skipped;

/// How many sums and gauges that no file has any more are kept, besides as many as are in use.
const MAX_STALE: usize = 1024;

/// What a family takes from the files of one scrape, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FamilyState {
    /// The last scrape in which a file had the family.
    pub(super) scrape: u64,
    /// The first help text.
    pub(super) help: Option<HelpId>,
    /// The modes of all files and archive sections with the gauge.
    pub(super) modes: ModeSet,
}

/// The sums and gauges of the current scrape, and the catalog and the plans that all scrapes share.
#[derive(Default)]
pub(crate) struct Merge {
    pub(crate) catalog: Catalog,
    pub(super) plans: PlanCache,
    pub(super) scrape: u64,
    /// By id. The first one, which has no id, takes the fillers of plans.
    pub(super) sums: Vec<ExactSum>,
    /// How many entries each sum has in this scrape.
    entry_counts: Vec<u32>,
    /// Buffer for the values of one file.
    pub(super) file_values: Vec<f64>,
    pub(super) batch: Batch,
    /// Whether a file of a batch was truncated while it was read through its mapping.
    pub(super) has_truncated: bool,
    /// Of the sums.
    pub(super) start_times: StartTimes,
    /// By id, like the sums: the values that are kept.
    pub(super) gauges: Vec<Vec<Contribution>>,
    /// By id: the values that are reduced.
    pub(super) reduced: Vec<ReducedGauge>,
    pub(super) gauge_values: GaugeValues,
    /// Whether files of the last scrape had a gauge in different modes.
    has_mixed_modes: bool,
    pub(super) families: Vec<FamilyState>,
    pub(super) removals: Removals,
    /// Whether a gauge of this scrape is removed.
    pub(super) has_removed_gauges: bool,
    /// The index of the directory that is being read.
    pub(crate) dir: u32,
    pub(super) sources: Sources,
    pub(crate) attributes: Attributes,
    pub(crate) skipped: Skipped,
}

/// Whether plans of earlier scrapes can be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum CachedPlans {
    Valid,
    /// The ids in the plans are those of a catalog that was cleared.
    Invalid,
}

impl Merge {
    /// Begins a scrape with all sums at zero. Clears the catalog if most of its sums and gauges are stale.
    pub(crate) fn begin_scrape(&mut self, times: EntryTimes, gauges: GaugeValues) -> CachedPlans {
        let used = self.entry_counts.iter().filter(|count| **count > 0).count()
            + self.reduced.iter().filter(|gauge| gauge.is_present()).count()
            + self.gauges.iter().filter(|gauge| !gauge.is_empty()).count();
        let stale = self.sums.len() + self.gauges.len() - used;
        let mut plans = CachedPlans::Valid;
        if stale > used + MAX_STALE {
            let sources = std::mem::take(&mut self.sources).clear();
            *self = Merge { scrape: self.scrape, sources, ..Merge::default() };
            plans = CachedPlans::Invalid;
        }
        self.plans.drop_unused();
        self.start_times.select(times);
        self.gauge_values = if self.has_mixed_modes { GaugeValues::Kept } else { gauges };
        self.restart_scrape();
        plans
    }

    /// Whether plans are kept for later scrapes.
    pub(crate) fn keep_plans(&mut self, is_kept: bool) {
        self.plans.keep(is_kept);
    }

    /// Discards everything that was added in this scrape.
    pub(crate) fn restart_scrape(&mut self) {
        self.scrape += 1;
        self.sums.fill(ExactSum::default());
        self.start_times.clear();
        self.gauges.iter_mut().for_each(Vec::clear);
        self.reduced.fill(ReducedGauge::default());
        self.batch.clear();
        self.has_truncated = false;
        self.plans.clear_applied();
        self.removals.restart();
        self.has_removed_gauges = false;
        self.sources.restart();
        self.attributes.clear();
        self.skipped = Skipped::default();
    }

    /// Ends the adding: determines which sums have entries in this scrape, and which series are hidden.
    pub(crate) fn finish_adding(&mut self) {
        self.sources.finish();
        let is_recounted = self.plans.recount();
        if is_recounted || self.entry_counts.len() < self.sums.len() {
            self.plans.count_entries(&mut self.entry_counts, self.sums.len());
        }
        let sums = self.sums.len();
        let count_live = |counts: &mut Vec<u32>| self.plans.count_live_entries(counts, sums);
        self.removals.finish(is_recounted, sums, count_live);
    }

    /// A token for a file that is cached.
    pub(crate) fn new_source_token(&mut self) -> SourceToken {
        self.sources.new_token()
    }

    /// The files and archive sections with gauges, in the order in which they were added.
    pub(crate) fn sources(&self) -> &[Source] {
        self.sources.all()
    }

    /// Appends sources of values that are no gauges, until they are [split off](Self::split_off_sources).
    pub(crate) fn append_sources(&mut self, others: &mut Vec<Source>) {
        self.sources.append(others);
    }

    pub(crate) fn split_off_sources(&mut self, at: usize) -> Vec<Source> {
        self.sources.split_off(at)
    }

    /// Differs from that of any scrape with other sources.
    pub(crate) fn sources_version(&self) -> u64 {
        self.sources.version()
    }

    /// Whether values of gauges were reduced by the mode of their file although other files of the family have another mode.
    /// The scrape must then begin again, and keeps the values.
    pub(crate) fn has_reduced_mixed_modes(&mut self) -> bool {
        let mut families = self.families.iter().filter(|state| state.scrape == self.scrape);
        self.has_mixed_modes = families.any(|state| state.modes.are_several());
        let must_keep = self.has_mixed_modes && self.gauge_values == GaugeValues::Reduced;
        if must_keep {
            self.gauge_values = GaugeValues::Kept;
        }
        must_keep
    }

    /// Whether a series is not exported because it was removed. Gauges are never hidden.
    #[inline]
    pub(crate) fn is_hidden(&self, group: &Group, metric_type: MetricType) -> bool {
        !self.removals.is_empty()
            && metric_type != MetricType::Gauge
            && group.lead_sum().is_some_and(|series| self.removals.is_hidden(series))
    }

    /// Whether series of totals are removed.
    pub(crate) fn has_removed_totals(&self) -> bool {
        !self.removals.is_empty()
    }

    /// Whether series or gauges of this scrape are removed.
    pub(super) fn has_removals(&self) -> bool {
        self.has_removed_gauges || !self.removals.is_empty()
    }

    /// Whether a file of this scrape has the family.
    pub(super) fn has_family(&self, family: usize) -> bool {
        self.families[family].scrape == self.scrape
    }

    /// Whether a series has a value in this scrape and is not hidden.
    pub(super) fn is_shown(&self, group: &Group, metric_type: MetricType) -> bool {
        match metric_type {
            MetricType::Gauge => {
                self.reduced(group.value).is_some() || !self.contributions(group.value).is_empty()
            }
            _ => !self.is_hidden(group, metric_type) && self.sum(group.lead_sum()).is_some(),
        }
    }

    /// A sum; `None` if no file of this scrape has it.
    pub(crate) fn sum(&self, id: Option<ValueId>) -> Option<f64> {
        let at = id?.get() as usize;
        (self.entry_counts[at] > 0).then(|| self.sums[at].value())
    }

    /// The sum of several sums; `None` if no file of this scrape has any of them.
    pub(super) fn sum_of(&self, ids: impl Iterator<Item = ValueId>) -> Option<f64> {
        let ids = ids.map(|id| id.get() as usize);
        let sums = ids.filter(|at| self.entry_counts[*at] > 0).map(|at| self.sums[at]);
        let sum = sums.reduce(|mut sum, other| {
            sum.add_sum(other);
            sum
        });
        sum.map(ExactSum::value)
    }

    /// Whether the scrape has read start timestamps.
    #[inline]
    pub(super) fn has_start_times(&self) -> bool {
        !self.start_times.is_empty()
    }

    /// The earliest start timestamp of several sums, in Unix seconds. `None` if no file has one, or if the scrape does not
    /// read them.
    pub(super) fn created(&self, ids: impl Iterator<Item = ValueId>) -> Option<f64> {
        ids.filter_map(|id| self.start_times.get(id.get() as usize)).reduce(f64::min)
    }

    /// A gauge whose values were reduced; `None` if they were kept.
    pub(super) fn reduced(&self, id: Option<ValueId>) -> Option<&ReducedGauge> {
        Some(&self.reduced[id?.get() as usize]).filter(|gauge| gauge.is_present())
    }

    /// The values of a gauge that were kept, in the order of their files.
    pub(super) fn contributions(&self, id: Option<ValueId>) -> &[Contribution] {
        id.map_or(&[], |id| &self.gauges[id.get() as usize])
    }

    /// The help text of a family in this scrape.
    pub(super) fn help(&self, family: usize) -> Option<&str> {
        Some(self.catalog.families[family].help_text(self.families[family].help?))
    }

    /// The buckets of a group that files of this scrape have, by rising bound. Counts are not cumulative.
    pub(super) fn buckets(&self, group: &Group) -> impl Iterator<Item = (f64, f64)> {
        let buckets = group.buckets().iter();
        buckets.filter_map(|(bound, id)| Some((*bound, self.sum(Some(*id))?)))
    }

    /// The same for several groups together.
    pub(super) fn buckets_of(&self, groups: &[&Group]) -> Vec<(f64, f64)> {
        let mut all: Vec<(f64, ValueId)> =
            groups.iter().flat_map(|group| group.buckets()).copied().collect();
        all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let same = all.chunk_by(|(one, _), (other, _)| one.to_bits() == other.to_bits());
        let sum = |same: &[(f64, ValueId)]| self.sum_of(same.iter().map(|(_, id)| *id));
        same.filter_map(|same| Some((same[0].0, sum(same)?))).collect()
    }

    /// Whether the files of a histogram have different bounds.
    pub(crate) fn has_bucket_conflict(&self, group: &Group) -> bool {
        let counts = group.buckets().iter().map(|(_, id)| self.entry_counts[id.get() as usize]);
        let mut counts = counts.filter(|count| *count > 0);
        let first = counts.next();
        counts.any(|other| Some(other) != first)
    }

    pub(super) fn mode(&self, family: usize) -> Option<GaugeMode> {
        self.families[family].modes.deciding()
    }
}

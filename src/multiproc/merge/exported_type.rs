//! The types with which families are exported: those of their files, except that companions name another one for some
//! families of gauges.

use super::catalog::MergedFamily;
use super::settings::MergeSettings;
use super::state::Merge;
use crate::model::{FamilyIndex, LabelPairs as _, MetricType};
use crate::multiproc::fast_map::FastMap;

/// A family that is exported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExportedFamily {
    /// The index in the catalog.
    pub(crate) at: usize,
    pub(crate) metric_type: MetricType,
}

impl ExportedFamily {
    pub(super) fn name(self, families: &[MergedFamily]) -> &str {
        families[self.at].name_as(self.metric_type)
    }
}

/// The families of a scrape whose exported type is not that of their files.
#[derive(Default)]
pub(super) struct ExportedTypes {
    by_family: FastMap<usize, MetricType>,
    /// For these families, and those with a name in common with one of them, the families that take precedence.
    rivals: FastMap<usize, Vec<usize>>,
}

impl ExportedTypes {
    /// Selects the types that fit the samples. Called after the groups of all families were sorted.
    pub(super) fn of(merge: &Merge, settings: &MergeSettings) -> ExportedTypes {
        let catalog = &merge.catalog;
        let mut types = ExportedTypes::default();
        let mut index = FamilyIndex::default();
        for (name, metric_type) in merge.attributes.types() {
            let found = catalog.find(name, MetricType::Gauge).filter(|at| merge.has_family(*at));
            let Some(at) = found.filter(|at| fits(merge, *at, metric_type, settings)) else {
                continue;
            };
            types.by_family.insert(at, metric_type);
            let name = catalog.families[at].name_as(metric_type);
            catalog
                .for_each_colliding(name, metric_type, |other| types.add_rivals(merge, at, other));
            index.find_colliding(name, metric_type, |_, _, other| {
                types.add_rivals(merge, at, *other);
                false
            });
            index.insert(name, metric_type, at);
        }
        types.rivals.values_mut().for_each(|rivals| rivals.sort_unstable());
        types
    }

    /// Notes that two families have a name in common.
    fn add_rivals(&mut self, merge: &Merge, one: usize, other: usize) {
        let precedence = |at: usize| merge.catalog.families[at].precedence();
        let (first, second) =
            if precedence(one) < precedence(other) { (one, other) } else { (other, one) };
        if first != second {
            self.rivals.entry(second).or_default().push(first);
        }
    }

    pub(super) fn exported(&self, at: usize, family: &MergedFamily) -> ExportedFamily {
        let metric_type = self.by_family.get(&at).copied().unwrap_or(family.metric_type);
        ExportedFamily { at, metric_type }
    }

    /// The indices of the families that take precedence over this one if they are exported, besides those of the catalog.
    pub(super) fn rivals(&self, at: usize) -> &[usize] {
        self.rivals.get(&at).map_or(&[], |rivals| rivals)
    }
}

/// Whether the series of a family of gauges can be exported as this type.
fn fits(merge: &Merge, at: usize, metric_type: MetricType, settings: &MergeSettings) -> bool {
    let family = &merge.catalog.families[at];
    match metric_type {
        MetricType::StateSet => {
            let mut pairs = Vec::new();
            // OK because the label of the process takes the place of a label of its name.
            *family.name != *settings.pid_label
                && family.groups().filter(|it| merge.is_shown(it, MetricType::Gauge)).all(|group| {
                    pairs.clear();
                    group.labels.push_pairs(&mut pairs);
                    pairs.iter().any(|(name, _)| *name == &*family.name)
                })
        }
        _ => {
            let base = family.name.strip_suffix(metric_type.own_suffix());
            base.is_some_and(|base| !base.is_empty())
        }
    }
}

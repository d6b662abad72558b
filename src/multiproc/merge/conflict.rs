//! Which families are exported if processes disagree on them, and how that is reported.

use std::fmt;

use super::catalog::MergedFamily;
use super::exported_type::{ExportedFamily, ExportedTypes};
use super::settings::MergeSettings;
use super::state::Merge;
use crate::error::{Error, ErrorKind};
use crate::model::{GaugeMode, MetricType, sort_families};

/// A family on which processes disagree. Each scrape counts and reports it.
#[derive(Debug)]
pub(crate) enum Conflict {
    /// The family is left out, because another one has a name in common with it.
    Name { family: TypedName, other: TypedName },
    /// The gauge has several modes, and is merged by the last one because no rule names another.
    Mode { family: String, modes: Vec<GaugeMode> },
    /// A process has several values for one series. One of them is exported.
    Series { family: String },
}

/// The type and name of a family.
#[derive(Debug)]
pub(crate) struct TypedName(MetricType, String);

/// Why a conflict is counted: the index of a value of the label `reason` of `multiprom_merge_conflicts_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConflictReason {
    Name,
    Mode,
    Series,
}

impl Conflict {
    pub(crate) fn reason(&self) -> ConflictReason {
        match self {
            Conflict::Name { .. } => ConflictReason::Name,
            Conflict::Mode { .. } => ConflictReason::Mode,
            Conflict::Series { .. } => ConflictReason::Series,
        }
    }

    pub(crate) fn into_error(self) -> Error {
        Error::new(ErrorKind::Conflict, self)
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Conflict::Name { family, other } => {
                write!(f, "{family} is left out: it has a name in common with {other}")
            }
            Conflict::Mode { family, modes } => {
                let names: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
                let (all, last) = (names.join(", "), names.last().unwrap_or(&""));
                write!(f, "gauge `{family}` has several modes ({all}): it is merged by {last}")
            }
            Conflict::Series { family } => write!(
                f,
                "gauge `{family}` has several values of one process in a series: the last is shown"
            ),
        }
    }
}

impl std::error::Error for Conflict {}

impl fmt::Display for TypedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.0, self.1)
    }
}

impl TypedName {
    fn new(family: ExportedFamily, families: &[MergedFamily]) -> TypedName {
        TypedName(family.metric_type, family.name(families).to_owned())
    }
}

impl Merge {
    /// Sorts the groups of all families. Returns the exported families, sorted by name, and the conflicts among the families
    /// that the filter keeps.
    pub(crate) fn exported(
        &mut self,
        settings: &MergeSettings,
    ) -> (Vec<ExportedFamily>, Vec<Conflict>) {
        self.catalog.families.iter_mut().for_each(MergedFamily::sort);
        let types = ExportedTypes::of(self, settings);
        let families = &self.catalog.families;
        let exported = |at: usize| types.exported(at, &families[at]);
        let mut is_exported = Vec::with_capacity(families.len());
        let mut contested = Vec::new();
        for (at, family) in families.iter().enumerate() {
            let it = exported(at);
            let is_kept = || settings.keeps(it.name(families), it.metric_type);
            is_exported.push(self.has_family(at) && is_kept());
            let has_rivals = family.rivals().next().is_some() || !types.rivals(at).is_empty();
            if is_exported[at] && has_rivals {
                contested.push(at);
            }
        }
        if self.has_removals() {
            for (at, family) in families.iter().enumerate() {
                is_exported[at] = is_exported[at]
                    && family.groups().any(|it| self.is_shown(it, family.metric_type));
            }
            contested.retain(|at| is_exported[*at]);
        }
        // Whether a family is exported depends only on those that take precedence over it.
        contested.sort_unstable_by_key(|at| families[*at].precedence());
        let mut conflicts = Vec::new();
        for at in contested {
            let mut rivals = families[at].rivals().chain(types.rivals(at).iter().copied());
            if let Some(other) = rivals.find(|rival| is_exported[*rival]) {
                is_exported[at] = false;
                let name = |at| TypedName::new(exported(at), families);
                conflicts.push(Conflict::Name { family: name(at), other: name(other) });
            }
        }
        let shown = (0..families.len()).filter(|at| is_exported[*at]).map(exported);
        let mut shown: Vec<ExportedFamily> = shown.collect();
        sort_families(&mut shown, |it| it.name(families));
        for it in &shown {
            let (name, modes) = (it.name(families), self.families[it.at].modes);
            if modes.are_several() && settings.mode(&families[it.at].name, name).is_none() {
                let (family, modes) = (name.to_owned(), modes.by_name());
                conflicts.push(Conflict::Mode { family, modes });
            }
        }
        (shown, conflicts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::own_metrics::MERGE_CONFLICTS;

    #[test]
    fn each_reason_has_the_label_value_of_its_name() {
        let reasons = [ConflictReason::Name, ConflictReason::Mode, ConflictReason::Series];
        let values = reasons.map(|reason| MERGE_CONFLICTS.values()[reason as usize]);
        assert_eq!(values, ["name", "mode", "series"]);
        assert_eq!(MERGE_CONFLICTS.values().len(), reasons.len());
    }
}

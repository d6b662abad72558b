//! Which families are exported if processes disagree on them, and how that is reported.

use std::fmt;

use super::catalog::MergedFamily;
use super::state::Merge;
use crate::error::{Error, ErrorKind};
use crate::model::{GaugeMode, MetricType};

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
    fn new(family: &MergedFamily) -> TypedName {
        TypedName(family.metric_type, family.name.to_string())
    }
}

impl Merge {
    /// Sorts the groups of all families. Returns the indices of the exported families, sorted by name, and the
    /// conflicts among the families that the filter keeps. `has_rule` says whether a rule names the mode of a gauge.
    pub(crate) fn exported(
        &mut self,
        is_kept: impl Fn(&MergedFamily) -> bool,
        has_rule: impl Fn(&MergedFamily) -> bool,
    ) -> (Vec<usize>, Vec<Conflict>) {
        let mut is_exported = Vec::with_capacity(self.catalog.families.len());
        let mut contested = Vec::new();
        for (at, family) in self.catalog.families.iter_mut().enumerate() {
            family.sort();
            is_exported.push(self.families[at].scrape == self.scrape && is_kept(family));
            if is_exported[at] && family.rivals().next().is_some() {
                contested.push(at);
            }
        }
        if self.has_removals() {
            for (at, family) in self.catalog.families.iter().enumerate() {
                is_exported[at] = is_exported[at]
                    && family.groups().any(|it| self.is_shown(it, family.metric_type));
            }
            contested.retain(|at| is_exported[*at]);
        }
        let families = &self.catalog.families;
        // Whether a family is exported depends only on those that take precedence over it.
        contested.sort_unstable_by_key(|at| families[*at].precedence());
        let mut conflicts = Vec::new();
        for at in contested {
            if let Some(other) = families[at].rivals().find(|rival| is_exported[*rival]) {
                is_exported[at] = false;
                let (family, other) =
                    (TypedName::new(&families[at]), TypedName::new(&families[other]));
                conflicts.push(Conflict::Name { family, other });
            }
        }
        let mut exported: Vec<usize> = (0..families.len()).filter(|at| is_exported[*at]).collect();
        exported.sort_unstable_by_key(|at| &*families[*at].name);
        for at in &exported {
            let (family, modes) = (&families[*at], self.families[*at].modes);
            if modes.are_several() && !has_rule(family) {
                let (family, modes) = (family.name.to_string(), modes.by_name());
                conflicts.push(Conflict::Mode { family, modes });
            }
        }
        (exported, conflicts)
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

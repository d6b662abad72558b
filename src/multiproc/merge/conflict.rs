//! What processes disagree on: which families are exported, and what is reported of the others.

use std::fmt;

use super::catalog::Family;
use super::state::Merge;
use crate::error::{Error, ErrorKind};
use crate::model::{GaugeMode, MetricType};

/// A family on which processes disagree. One is counted at each scrape.
#[derive(Debug)]
pub(crate) enum Conflict {
    /// It is left out, because another family has one of its names.
    Name { family: Named, other: Named },
    /// It is merged by the last of its modes, as no rule names another.
    Mode { family: String, modes: Vec<GaugeMode> },
    /// A process has several values for one series, of which one is shown.
    Series { family: String },
}

/// A family by its type and name.
#[derive(Debug)]
pub(crate) struct Named(MetricType, String);

impl Conflict {
    /// The values of the label `reason` of `multiprom_merge_conflicts_total`.
    pub(crate) const REASONS: [&'static str; 3] = ["name", "mode", "series"];

    /// Which of the reasons it is.
    pub(crate) fn reason(&self) -> usize {
        match self {
            Conflict::Name { .. } => 0,
            Conflict::Mode { .. } => 1,
            Conflict::Series { .. } => 2,
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

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.0, self.1)
    }
}

impl Named {
    fn new(family: &Family) -> Named {
        Named(family.metric_type, family.name.to_string())
    }
}

impl Merge {
    /// The numbers of the families that are exported, by name, with their groups in order; and the conflicts among
    /// the families of this scrape that are kept. A rule may name the mode of a gauge.
    pub(crate) fn exported(
        &mut self,
        is_kept: impl Fn(&Family) -> bool,
        has_rule: impl Fn(&Family) -> bool,
    ) -> (Vec<usize>, Vec<Conflict>) {
        let mut is_exported = Vec::with_capacity(self.tables.families.len());
        let mut contested = Vec::new();
        for (at, family) in self.tables.families.iter_mut().enumerate() {
            family.sort();
            is_exported.push(self.families[at].scrape == self.scrape && is_kept(family));
            if is_exported[at] && family.rivals().next().is_some() {
                contested.push(at);
            }
        }
        let families = &self.tables.families;
        // Whether a family is exported is known when it is known of all that take precedence over it.
        contested.sort_unstable_by_key(|at| families[*at].precedence());
        let mut conflicts = Vec::new();
        for at in contested {
            if let Some(other) = families[at].rivals().find(|rival| is_exported[*rival]) {
                is_exported[at] = false;
                let (family, other) = (Named::new(&families[at]), Named::new(&families[other]));
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

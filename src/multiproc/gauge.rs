//! How the values of one gauge series from many processes become one.

use crate::file::sys::Identity;
use crate::model::GaugeMode;

/// One process's value of a gauge series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contribution {
    /// Which of the sources of the scrape it is from.
    pub(super) source: u32,
    pub(super) value: f64,
    /// When it was set, where the most recent counts.
    pub(super) time: f64,
    /// Whether it is the sum of many processes, as many as the time says: where the mean counts.
    pub(super) is_sum: bool,
    /// Declared and never set, as far as the file can tell.
    pub(super) is_unset: bool,
}

impl Contribution {
    fn processes(&self) -> f64 {
        if self.is_sum { self.time } else { 1.0 }
    }
}

/// The modes that files have for one gauge family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes(u16);

impl Modes {
    pub(super) fn insert(&mut self, mode: GaugeMode) {
        self.0 |= 1 << mode as u16;
    }

    /// Whether processes disagree.
    pub(super) fn are_several(self) -> bool {
        !self.0.is_power_of_two() && self.0 != 0
    }

    /// The modes by their names.
    pub(super) fn by_name(self) -> Vec<GaugeMode> {
        let is_in = |mode: &GaugeMode| self.0 & 1 << *mode as u16 != 0;
        let mut modes: Vec<GaugeMode> = GaugeMode::ALL.iter().copied().filter(is_in).collect();
        modes.sort_unstable_by_key(|mode| mode.as_str());
        modes
    }

    /// The mode that decides: the one whose name is last. It is that of the last file in the order of names, which
    /// begin with the mode; the Python client takes that of the file that it reads last.
    pub(super) fn deciding(self) -> Option<GaugeMode> {
        self.by_name().pop()
    }
}

/// Where contributions are from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The number of the directory.
    pub(super) dir: u32,
    pub(super) id: Box<str>,
    /// How much of the id is the name of the process: all of it, if the writer chose it.
    pub(super) process_len: usize,
    /// Of the file.
    pub(super) mode: GaugeMode,
    /// Whether the id was given when the file was retired: those of one process differ.
    pub(super) is_retired: bool,
    /// Whether it is what an archive holds of one process.
    pub(super) is_archived: bool,
    /// Of a file in a directory that is read as a whole.
    pub(super) identity: Option<Identity>,
    pub(super) state: SourceState,
}

impl Source {
    /// The name of the process.
    pub(super) fn process(&self) -> &str {
        &self.id[..self.process_len]
    }

    /// Whether no other writer ever has the id.
    pub(super) fn has_unique_id(&self) -> bool {
        self.process_len < self.id.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceState {
    /// Its writer lives, or nobody can tell.
    Live,
    Dead,
    /// The archive, where many dead processes are one, by this mode and no other.
    Merged(GaugeMode),
}

/// What a gauge series is exported as.
#[derive(Debug, PartialEq)]
pub(super) enum Reduced {
    Nothing,
    One(f64),
    /// The values of these sources, each by itself.
    PerSource(Vec<(u32, f64)>),
}

/// Applies a mode. Contributions come in the order of file names, the archive's last, which settles ties.
///
/// A gauge that was never set takes no part in the minimum, the maximum, the mean and the most recent
/// value; NaN hides no number in minimum and maximum.
pub(super) fn reduce(
    mode: GaugeMode,
    contributions: &[Contribution],
    sources: &[Source],
) -> Reduced {
    let counted = || {
        contributions.iter().filter(|each| match sources[each.source as usize].state {
            SourceState::Live => true,
            SourceState::Dead => !mode.is_live(),
            SourceState::Merged(by) => by == mode,
        })
    };
    let set = || counted().filter(|contribution| !contribution.is_unset);
    let extreme = |is_better: fn(f64, f64) -> bool| {
        set().map(|contribution| contribution.value).reduce(|best, value| {
            if best.is_nan() || is_better(value, best) { value } else { best }
        })
    };
    let value = match mode {
        GaugeMode::All | GaugeMode::LiveAll => {
            return Reduced::PerSource(counted().map(|each| (each.source, each.value)).collect());
        }
        GaugeMode::Min | GaugeMode::LiveMin => extreme(|value, best| value < best),
        GaugeMode::Max | GaugeMode::LiveMax => extreme(|value, best| value > best),
        // OK because an empty sum from `Iterator::sum` would be -0.
        GaugeMode::Sum | GaugeMode::LiveSum => {
            counted().next().is_some().then(|| counted().fold(0.0, |sum, each| sum + each.value))
        }
        GaugeMode::Avg | GaugeMode::LiveAvg => {
            let (sum, processes) = set().fold((0.0, 0.0), |(sum, processes), each| {
                (sum + each.value, processes + each.processes())
            });
            (processes > 0.0).then(|| sum / processes)
        }
        GaugeMode::MostRecent | GaugeMode::LiveMostRecent => {
            let mut newest: Option<&Contribution> = None;
            for contribution in set() {
                if contribution.time > newest.map_or(0.0, |known| known.time) {
                    newest = Some(contribution);
                }
            }
            newest.map(|contribution| contribution.value)
        }
    };
    value.map_or(Reduced::Nothing, Reduced::One)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contributions(values: &[(f64, f64)]) -> Vec<Contribution> {
        let each = |(source, &(value, time)): (u32, &(f64, f64))| Contribution {
            source,
            value,
            time,
            is_sum: false,
            is_unset: false,
        };
        (0..).zip(values).map(each).collect()
    }

    fn of_seven(state: SourceState) -> Source {
        Source {
            dir: 0,
            id: "7".into(),
            process_len: 1,
            mode: GaugeMode::All,
            is_retired: false,
            is_archived: false,
            identity: None,
            state,
        }
    }

    /// Of processes that live.
    fn reduce(mode: GaugeMode, contributions: &[Contribution]) -> Reduced {
        super::reduce(mode, contributions, &[const { SourceState::Live }; 9].map(of_seven))
    }

    #[test]
    fn live_modes_leave_out_the_dead_and_no_mode_takes_many_for_one() {
        use SourceState::{Dead, Live, Merged};
        let mut values = contributions(&[(3.0, 2.0), (1.0, 5.0), (8.0, 5.0)]);
        (values[2].time, values[2].is_sum) = (4.0, true);
        for (mode, reduced) in [
            (GaugeMode::LiveSum, Reduced::One(3.0)),
            (GaugeMode::Sum, Reduced::One(12.0)),
            (GaugeMode::LiveMostRecent, Reduced::One(3.0)),
            (GaugeMode::Avg, Reduced::One(2.0)),
            (GaugeMode::LiveAvg, Reduced::One(3.0)),
            (GaugeMode::All, Reduced::PerSource([(0, 3.0), (1, 1.0)].into())),
            (GaugeMode::LiveAll, Reduced::PerSource([(0, 3.0)].into())),
        ] {
            let by = if mode.is_live() { GaugeMode::All } else { mode };
            let sources = [Live, Dead, Merged(by)].map(of_seven);
            let mut values = values.clone();
            values.truncate(if mode.is_per_process() { 2 } else { 3 });
            assert_eq!(super::reduce(mode, &values, &sources), reduced, "{mode}");
        }
        let sources = [Live, Dead, Merged(GaugeMode::Max)].map(of_seven);
        assert_eq!(super::reduce(GaugeMode::Sum, &values, &sources), Reduced::One(4.0));
        assert_eq!(super::reduce(GaugeMode::LiveSum, &values[1..2], &sources), Reduced::Nothing);
    }

    #[test]
    fn of_several_modes_that_decides_whose_file_names_are_last() {
        for one in GaugeMode::ALL.iter().copied() {
            let mut modes = Modes::default();
            assert_eq!((modes.deciding(), modes.are_several()), (None, false));
            modes.insert(one);
            assert_eq!((modes.deciding(), modes.are_several()), (Some(one), false));
            for other in GaugeMode::ALL.iter().copied() {
                let mut modes = modes;
                modes.insert(other);
                let last = [one, other].into_iter().max_by_key(|it| format!("gauge_{it}_1.db"));
                assert_eq!(modes.deciding(), last);
                assert_eq!(modes.are_several(), one != other);
            }
        }
    }

    #[test]
    fn each_mode_reduces_as_its_name_says() {
        let values = contributions(&[(3.0, 2.0), (1.0, 5.0), (2.0, 5.0)]);
        for (mode, value) in [
            (GaugeMode::Min, 1.0),
            (GaugeMode::LiveMax, 3.0),
            (GaugeMode::Sum, 6.0),
            // Of equal times the first file's value.
            (GaugeMode::MostRecent, 1.0),
        ] {
            assert_eq!(reduce(mode, &values), Reduced::One(value), "{mode}");
        }
        let all = [(0, 3.0), (1, 1.0), (2, 2.0)].into();
        assert_eq!(reduce(GaugeMode::LiveAll, &values), Reduced::PerSource(all));
    }

    #[test]
    fn nan_never_hides_a_number() {
        for values in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            let values = contributions(&values.map(|value| (value, 1.0)));
            assert_eq!(reduce(GaugeMode::Min, &values), Reduced::One(1.0));
            assert_eq!(reduce(GaugeMode::Max, &values), Reduced::One(2.0));
        }
        let only = contributions(&[(f64::NAN, 1.0)]);
        assert!(matches!(reduce(GaugeMode::Min, &only), Reduced::One(value) if value.is_nan()));
    }

    #[test]
    fn a_gauge_that_was_never_set_takes_no_part_where_it_would_mislead() {
        let mut values = contributions(&[(0.0, 0.0), (5.0, 1.0)]);
        values[0].is_unset = true;
        assert_eq!(reduce(GaugeMode::Min, &values), Reduced::One(5.0));
        assert_eq!(reduce(GaugeMode::Sum, &values), Reduced::One(5.0));
        assert_eq!(reduce(GaugeMode::Min, &values[..1]), Reduced::Nothing);
        assert_eq!(reduce(GaugeMode::MostRecent, &values[..1]), Reduced::Nothing);
        assert_eq!(reduce(GaugeMode::All, &values[..1]), Reduced::PerSource([(0, 0.0)].into()));
    }
}

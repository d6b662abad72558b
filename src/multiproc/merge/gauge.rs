//! Reduces the values of a gauge series from many processes to those that are exported.

use super::settings::MergeSettings;
use super::source::{Source, SourceState};
use crate::model::GaugeMode;

/// One process's value of a gauge series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contribution {
    /// The index of the source among those of the scrape.
    pub(crate) source: u32,
    pub(crate) value: f64,
    /// When it was set, in Unix seconds; used by the modes mostrecent.
    pub(crate) time: f64,
    /// Whether it is merged from several processes, whose number is `time`: archives store the modes avg and count like this.
    pub(crate) is_merged: bool,
    /// Whether it was declared and never set, if the layout of the file shows that.
    pub(crate) is_unset: bool,
}

impl Contribution {
    fn processes(&self) -> f64 {
        if self.is_merged { self.time } else { 1.0 }
    }
}

/// The modes of the files with one gauge family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModeSet(u16);

impl ModeSet {
    pub(crate) fn insert(&mut self, mode: GaugeMode) {
        self.0 |= 1 << mode as u16;
    }

    /// Whether there are several modes.
    pub(crate) fn are_several(self) -> bool {
        !self.0.is_power_of_two() && self.0 != 0
    }

    /// The modes, sorted by name.
    pub(crate) fn by_name(self) -> Vec<GaugeMode> {
        let is_in = |mode: &GaugeMode| self.0 & 1 << *mode as u16 != 0;
        let mut modes: Vec<GaugeMode> = GaugeMode::ALL.iter().copied().filter(is_in).collect();
        modes.sort_unstable_by_key(|mode| mode.as_str());
        modes
    }

    /// The mode that decides: the last one by name. File names begin with the mode, so it is also the mode of the last
    /// file in the order of names. The Python client takes the mode of the file that it reads last.
    pub(crate) fn deciding(self) -> Option<GaugeMode> {
        self.by_name().pop()
    }
}

/// The exported values of a gauge series.
#[derive(Debug, PartialEq)]
pub(crate) enum Reduced {
    Nothing,
    One(f64),
    /// One value for each of these sources.
    PerSource(Vec<(u32, f64)>),
}

/// Whether the values of gauges are kept one by one until they are exported, or reduced while files are added, which takes less
/// memory and time. The modes all and liveall always keep them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GaugeValues {
    /// Reduced by the mode of their file.
    #[default]
    Reduced,
    Kept,
}

impl GaugeValues {
    /// What a merge with these settings needs. A rule may name another mode than that of a file; series that added labels make equal
    /// have their values in several gauges.
    pub(crate) fn needed_for(settings: &MergeSettings) -> GaugeValues {
        if settings.gauge_mode.is_some() || !settings.labels.is_empty() {
            GaugeValues::Kept
        } else {
            GaugeValues::Reduced
        }
    }
}

/// The values of a gauge that were added so far, reduced by a mode that exports one value.
///
/// Values are added in the order of file names, those of the archive last; the first one wins a tie. Minimum, maximum,
/// mean, count and most recent value ignore gauges that were never set. Minimum and maximum ignore NaN if there is a number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReducedGauge {
    /// The sum, extreme or most recent value.
    value: f64,
    /// The number of processes, or the time of the most recent value.
    other: f64,
    /// Whether `value` or `other` can be exported.
    is_valid: bool,
    /// Whether a file has the gauge, even if it does not count in its mode.
    is_present: bool,
}

impl ReducedGauge {
    pub(super) fn is_present(&self) -> bool {
        self.is_present
    }

    /// Adds a value that counts in the mode.
    #[inline]
    pub(super) fn add(&mut self, mode: GaugeMode, new: &Contribution) {
        match mode {
            GaugeMode::All | GaugeMode::LiveAll => self.add_by::<Ignored>(new),
            GaugeMode::Sum | GaugeMode::LiveSum => self.add_by::<Sum>(new),
            GaugeMode::Avg | GaugeMode::LiveAvg => self.add_by::<Mean>(new),
            GaugeMode::Count | GaugeMode::LiveCount => self.add_by::<Count>(new),
            GaugeMode::Min | GaugeMode::LiveMin => self.add_by::<Min>(new),
            GaugeMode::Max | GaugeMode::LiveMax => self.add_by::<Max>(new),
            GaugeMode::MostRecent | GaugeMode::LiveMostRecent => self.add_by::<MostRecent>(new),
        }
    }

    /// Adds a value that counts in the modes of a reduction.
    #[expect(clippy::inline_always, reason = "for every value of every scrape")]
    #[inline(always)]
    pub(super) fn add_by<R: Reduction>(&mut self, new: &Contribution) {
        self.is_present = true;
        if new.is_unset && R::IGNORES_UNSET {
            self.is_valid |= R::IS_COUNT;
            return;
        }
        self.is_valid |= R::add(self, new);
    }

    /// The exported value.
    pub(super) fn value(&self, mode: GaugeMode) -> Option<f64> {
        match mode {
            GaugeMode::Avg | GaugeMode::LiveAvg => {
                (self.other > 0.0).then(|| self.value / self.other)
            }
            GaugeMode::Count | GaugeMode::LiveCount => self.is_valid.then_some(self.other),
            _ => self.is_valid.then_some(self.value),
        }
    }
}

/// How the values of a gauge are reduced to one. A type, so that the loop over the values of a file is compiled for each.
pub(super) trait Reduction {
    /// Whether gauges that were never set are ignored.
    const IGNORES_UNSET: bool = true;
    /// Whether the number of values is exported, which may be 0.
    const IS_COUNT: bool = false;

    /// Adds a value. Returns whether there is a result.
    fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool;
}

/// Values that do not count, and those of the modes all and liveall, which are not reduced.
pub(super) struct Ignored;
pub(super) struct Sum;
pub(super) struct Mean;
pub(super) struct Count;
pub(super) struct Min;
pub(super) struct Max;
pub(super) struct MostRecent;

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
mod reductions {
    use super::{
        Contribution, Count, Ignored, Max, Mean, Min, MostRecent, ReducedGauge, Reduction, Sum,
    };

    impl Reduction for Ignored {
        #[inline(always)]
        fn add(_: &mut ReducedGauge, _: &Contribution) -> bool {
            false
        }
    }

    impl Reduction for Sum {
        const IGNORES_UNSET: bool = false;

        #[inline(always)]
        fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool {
            gauge.value += new.value;
            true
        }
    }

    impl Reduction for Mean {
        #[inline(always)]
        fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool {
            gauge.value += new.value;
            gauge.other += new.processes();
            true
        }
    }

    impl Reduction for Count {
        const IS_COUNT: bool = true;

        #[inline(always)]
        fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool {
            gauge.other += new.processes();
            true
        }
    }

    impl Reduction for Min {
        #[inline(always)]
        fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool {
            if !gauge.is_valid || gauge.value.is_nan() || new.value < gauge.value {
                gauge.value = new.value;
            }
            true
        }
    }

    impl Reduction for Max {
        #[inline(always)]
        fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool {
            if !gauge.is_valid || gauge.value.is_nan() || new.value > gauge.value {
                gauge.value = new.value;
            }
            true
        }
    }

    impl Reduction for MostRecent {
        #[inline(always)]
        fn add(gauge: &mut ReducedGauge, new: &Contribution) -> bool {
            let is_later = new.time > gauge.other;
            if is_later {
                (gauge.value, gauge.other) = (new.value, new.time);
            }
            is_later
        }
    }
}

/// Whether the values of a source count in a mode.
pub(super) fn is_counted(mode: GaugeMode, state: SourceState) -> bool {
    match state {
        SourceState::Live => true,
        SourceState::Dead => !mode.is_live(),
        SourceState::Merged(by) => by == mode,
    }
}

/// Reduces values that were kept, which are in the order in which they were added.
pub(crate) fn reduce(
    mode: GaugeMode,
    contributions: &[Contribution],
    sources: &[Source],
) -> Reduced {
    let is_counted = |each: &&Contribution| is_counted(mode, sources[each.source as usize].state);
    let counted = contributions.iter().filter(is_counted);
    if mode.is_per_process() {
        return Reduced::PerSource(counted.map(|each| (each.source, each.value)).collect());
    }
    let mut reduced = ReducedGauge::default();
    counted.for_each(|each| reduced.add(mode, each));
    reduced.value(mode).map_or(Reduced::Nothing, Reduced::One)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contributions(values: &[(f64, f64)]) -> Vec<Contribution> {
        let each = |(source, &(value, time)): (u32, &(f64, f64))| Contribution {
            source,
            value,
            time,
            is_merged: false,
            is_unset: false,
        };
        (0..).zip(values).map(each).collect()
    }

    fn source_with(state: SourceState) -> Source {
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

    /// Reduces the values of processes that live.
    fn reduce(mode: GaugeMode, contributions: &[Contribution]) -> Reduced {
        super::reduce(mode, contributions, &[const { SourceState::Live }; 9].map(source_with))
    }

    #[test]
    fn live_modes_leave_out_dead_processes_and_a_merged_section_counts_in_its_own_mode_only() {
        use SourceState::{Dead, Live, Merged};
        let mut values = contributions(&[(3.0, 2.0), (1.0, 5.0), (8.0, 5.0)]);
        (values[2].time, values[2].is_merged) = (4.0, true);
        for (mode, reduced) in [
            (GaugeMode::LiveSum, Reduced::One(3.0)),
            (GaugeMode::Sum, Reduced::One(12.0)),
            (GaugeMode::LiveMostRecent, Reduced::One(3.0)),
            (GaugeMode::Avg, Reduced::One(2.0)),
            (GaugeMode::LiveAvg, Reduced::One(3.0)),
            (GaugeMode::Count, Reduced::One(6.0)),
            (GaugeMode::LiveCount, Reduced::One(1.0)),
            (GaugeMode::All, Reduced::PerSource([(0, 3.0), (1, 1.0)].into())),
            (GaugeMode::LiveAll, Reduced::PerSource([(0, 3.0)].into())),
        ] {
            let by = if mode.is_live() { GaugeMode::All } else { mode };
            let sources = [Live, Dead, Merged(by)].map(source_with);
            let mut values = values.clone();
            values.truncate(if mode.is_per_process() { 2 } else { 3 });
            assert_eq!(super::reduce(mode, &values, &sources), reduced, "{mode}");
        }
        let sources = [Live, Dead, Merged(GaugeMode::Max)].map(source_with);
        assert_eq!(super::reduce(GaugeMode::Sum, &values, &sources), Reduced::One(4.0));
        assert_eq!(super::reduce(GaugeMode::LiveSum, &values[1..2], &sources), Reduced::Nothing);
    }

    #[test]
    fn of_several_modes_the_one_whose_file_names_are_last_decides() {
        for one in GaugeMode::ALL.iter().copied() {
            let mut modes = ModeSet::default();
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
            (GaugeMode::Count, 3.0),
            // With equal times the value of the first file wins.
            (GaugeMode::MostRecent, 1.0),
        ] {
            assert_eq!(reduce(mode, &values), Reduced::One(value), "{mode}");
        }
        let all = [(0, 3.0), (1, 1.0), (2, 2.0)].into();
        assert_eq!(reduce(GaugeMode::LiveAll, &values), Reduced::PerSource(all));
    }

    #[test]
    fn nan_is_ignored_if_there_is_a_number() {
        for values in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            let values = contributions(&values.map(|value| (value, 1.0)));
            assert_eq!(reduce(GaugeMode::Min, &values), Reduced::One(1.0));
            assert_eq!(reduce(GaugeMode::Max, &values), Reduced::One(2.0));
        }
        let only = contributions(&[(f64::NAN, 1.0)]);
        assert!(matches!(reduce(GaugeMode::Min, &only), Reduced::One(value) if value.is_nan()));
    }

    #[test]
    fn a_gauge_that_was_never_set_does_not_change_min_max_count_and_mostrecent() {
        let mut values = contributions(&[(0.0, 0.0), (5.0, 1.0)]);
        values[0].is_unset = true;
        assert_eq!(reduce(GaugeMode::Min, &values), Reduced::One(5.0));
        assert_eq!(reduce(GaugeMode::Sum, &values), Reduced::One(5.0));
        assert_eq!(reduce(GaugeMode::Count, &values), Reduced::One(1.0));
        assert_eq!(reduce(GaugeMode::Count, &values[..1]), Reduced::One(0.0));
        assert_eq!(reduce(GaugeMode::LiveCount, &[]), Reduced::Nothing);
        assert_eq!(reduce(GaugeMode::Min, &values[..1]), Reduced::Nothing);
        assert_eq!(reduce(GaugeMode::MostRecent, &values[..1]), Reduced::Nothing);
        assert_eq!(reduce(GaugeMode::All, &values[..1]), Reduced::PerSource([(0, 0.0)].into()));
    }
}

//! The totals of families at the last gatherings.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::families::{Families, GatheredFamily};

/// Points that are kept.
const MAX_POINTS: usize = 120;
/// Families whose totals are kept.
const MAX_FAMILIES: usize = 2000;
/// The least time between two points.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// The least time over which a rate is determined.
const MIN_RATE_INTERVAL: Duration = Duration::from_secs(1);

/// The totals of families at the last gatherings.
#[derive(Debug, Default)]
pub(super) struct History {
    times: VecDeque<Instant>,
    /// The totals by the name of the family, one for each time; NaN if the family did not exist.
    totals: HashMap<Box<str>, VecDeque<f64>>,
}

impl History {
    /// Whether it is time for the next point.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.times.back().is_none_or(|last| now.duration_since(*last) >= MIN_INTERVAL)
    }

    /// Adds the totals of a gathering.
    pub(super) fn add(&mut self, time: Instant, families: &Families) {
        self.times.push_back(time);
        for family in families.list.iter().filter(|family| family.is_plotted()) {
            if self.totals.contains_key(&*family.name) || self.totals.len() < MAX_FAMILIES {
                let totals = self.totals.entry(family.name.as_str().into()).or_default();
                // A new family has no earlier totals. A name that occurs twice has one total for each time.
                totals.resize(self.times.len() - 1, f64::NAN);
                totals.push_back(family.total);
            }
        }
        let count = self.times.len();
        let surplus = count.saturating_sub(MAX_POINTS);
        self.times.drain(..surplus);
        self.totals.retain(|_, totals| {
            totals.resize(count, f64::NAN);
            totals.drain(..surplus);
            totals.iter().any(|total| !total.is_nan())
        });
    }

    /// The points of a plot up to now, when `family` was gathered: seconds before now, and the value of a gauge, or the rate
    /// per second of totals.
    pub(super) fn plot(&self, family: &GatheredFamily, now: Instant) -> Vec<(f64, f64)> {
        let kept = self.totals.get(&*family.name);
        let kept = kept.into_iter().flat_map(|totals| self.times.iter().zip(totals));
        let kept = kept.map(|(time, total)| (*time, *total)).filter(|(_, total)| !total.is_nan());
        let mut points: Vec<(Instant, f64)> = kept.collect();
        let is_newer = |(last, _): &(Instant, f64)| now.duration_since(*last) >= MIN_RATE_INTERVAL;
        if points.last().is_none_or(is_newer) {
            points.push((now, family.total));
        }
        let age = |time: Instant| -now.saturating_duration_since(time).as_secs_f64();
        if !family.is_cumulative() {
            return points.into_iter().map(|(time, value)| (age(time), value)).collect();
        }
        let rate = |two: &[(Instant, f64)]| {
            let (begin, end) = (two[0], two[1]);
            let seconds = end.0.duration_since(begin.0).as_secs_f64();
            // A total that falls was reset.
            (age(end.0), (end.1 - begin.1).max(0.0) / seconds.max(f64::MIN_POSITIVE))
        };
        points.windows(2).map(rate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FamilySink, Gatherer};

    struct Source(f64);

    impl Gatherer for Source {
        fn gather(&self, out: &mut dyn FamilySink) {
            out.counter("jobs_total", "").sample(&[], self.0 * 10.0);
            if self.0 > 1.0 {
                out.gauge("late", "").sample(&[], self.0);
            }
        }
    }

    #[test]
    fn totals_are_shown_as_rates_and_gauges_as_values() {
        let (begin, mut history) = (Instant::now(), History::default());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for step in 0..4 {
            history.add(at(step * 5), &Families::gather(&Source(step as f64)));
        }
        assert!(!history.is_due(at(19)) && history.is_due(at(20)));
        let now = Families::gather(&Source(6.0));
        let jobs = history.plot(&now.list[0], at(20));
        assert_eq!(jobs, [(-15.0, 2.0), (-10.0, 2.0), (-5.0, 2.0), (0.0, 6.0)]);
        let late = history.plot(&now.list[1], at(20));
        assert_eq!(late, [(-10.0, 2.0), (-5.0, 3.0), (0.0, 6.0)]);
        let reset = Families::gather(&Source(0.0));
        assert_eq!(history.plot(&reset.list[0], at(20)).last(), Some(&(0.0, 0.0)));
    }

    #[test]
    fn the_history_is_bounded() {
        let (begin, mut history) = (Instant::now(), History::default());
        for step in 0..2 * MAX_POINTS {
            let value = if step < MAX_POINTS { 2.0 } else { 1.0 };
            history.add(begin + MIN_INTERVAL * step as u32, &Families::gather(&Source(value)));
        }
        assert_eq!(history.times.len(), MAX_POINTS);
        assert_eq!(history.totals.len(), 1, "a family that is gone is forgotten");
        assert_eq!(history.totals["jobs_total"].len(), MAX_POINTS);
    }
}

//! Burial of removed series that do not come back: their memory is given back.
//!
//! A removed series stays in the table for a minute, because its label set may be looked up again, and handles that the
//! program has kept are valid again then. A handle of a buried series records nothing any more, and a lookup of its label set
//! creates a new series. In a directory, series are buried when the files are closed.

use std::sync::atomic::Ordering;
use std::{cell, cmp};

use super::{Child, FamilyCore, Typed};
use crate::metrics::child_labels::ChildLabels;
use crate::metrics::children::{Burying, burying};
use crate::model::clock::now;
use crate::store::fork::{Home, Release, SlowPath};

/// The first children of a family are on the heap, so that a small family needs no page of its own.
const CHILDREN_ON_HEAP: usize = 8;

/// Removed series are buried after this time, in seconds.
const MAX_AGE: u32 = 60;

/// They are buried earlier if there are more of them than this, and more than other series.
const MAX_REMOVED: usize = 1_024;

impl<M: Typed> FamilyCore<M> {
    /// Where the tables of the family, and children with short labels, are placed.
    pub(super) fn home(&'static self) -> Home {
        let is_large = self.arena.is_used() || self.children.len() >= CHILDREN_ON_HEAP;
        if M::IS_TRANSIENT && is_large { Home::in_arena(&self.arena) } else { Home::HEAP }
    }

    /// Where a child is placed whose label values, and names if they are not those of the family, are these texts.
    pub(super) fn home_of<'a>(&'static self, texts: impl Iterator<Item = &'a str>) -> Home {
        let constant = self.descriptor.const_labels.iter();
        let constant = constant.flat_map(|(name, value)| [name, value]);
        let names = self.label_names().iter().map(|name| &**name);
        let is_short = ChildLabels::is_short(texts.chain(names).chain(constant));
        if is_short { self.home() } else { Home::HEAP }
    }

    /// Buries removed series if some are due. Called after a removal.
    pub(super) fn bury(&'static self, lock: &SlowPath) {
        if !self.arena.is_used() {
            return;
        }
        if self.store.is_inherited() { self.bury_old(lock) } else { self.bury_closed(lock) }
    }

    /// Buries the series that were removed before the files of this process were closed. Others would get further entries in
    /// the same file if they came back.
    fn bury_closed(&'static self, lock: &SlowPath) {
        let generation = self.store.generation();
        let is_over =
            |child: &'static Child<M>| child.removed_in.load(Ordering::Relaxed) != generation;
        if self.buried_in.load(Ordering::Relaxed) == generation {
            return;
        }
        // OK because the next removal buries them.
        let Some(burying) = burying(lock) else {
            return;
        };
        self.buried_in.store(generation, Ordering::Relaxed);
        if self.removed().any(is_over) {
            self.bury_removed(is_over, &burying);
        }
    }

    /// The series that are removed. In a child that was forked during a removal some are unlisted and not removed.
    fn removed(&'static self) -> impl Iterator<Item = &'static Child<M>> {
        self.children.unlisted().filter(|child| child.is_removed())
    }

    fn bury_removed(
        &'static self,
        is_over: impl Fn(&'static Child<M>) -> bool,
        burying: &Burying<'_>,
    ) {
        let is_buried = |child: &'static Child<M>| child.is_removed() && is_over(child);
        self.children.bury(Home::in_arena(&self.arena), is_buried, Child::release, burying);
    }

    /// Buries the series that were removed at least [`MAX_AGE`] ago and, if more than [`MAX_REMOVED`] and more than half of all
    /// are removed, the oldest ones.
    fn bury_old(&'static self, lock: &SlowPath) {
        let removed = self.children.unlisted_len();
        let max = self.children.listed_len().max(MAX_REMOVED);
        let now = now() as u32;
        let is_due = now.wrapping_sub(self.buried_at.load(Ordering::Relaxed)) >= MAX_AGE;
        if removed <= max && !is_due {
            return;
        }
        // OK because the next removal buries them.
        let Some(burying) = burying(lock) else {
            return;
        };
        self.buried_at.store(now, Ordering::Relaxed);
        let removed_at = |child: &Child<M>| child.removed_at.load(Ordering::Relaxed);
        let mut times: Vec<u32> = self.removed().map(&removed_at).collect();
        times.sort_unstable();
        let removed = times.len();
        // Leaves half of the maximum: a burial looks at all children, so it should be rare.
        let excess = if removed > max { removed - max / 2 } else { 0 };
        // If the clock was set back, series seem younger and are buried later.
        let old = times.partition_point(|time| now.saturating_sub(*time) >= MAX_AGE);
        let count = excess.max(old);
        let Some(last) = count.checked_sub(1).and_then(|at| times.get(at).copied()) else {
            return;
        };
        // Of those that were removed in the last second only as many as are left of the count.
        let of_last = cell::Cell::new(count - times.partition_point(|time| *time < last));
        let is_over = |child: &'static Child<M>| match removed_at(child).cmp(&last) {
            cmp::Ordering::Less => true,
            cmp::Ordering::Equal if of_last.get() > 0 => {
                of_last.set(of_last.get() - 1);
                true
            }
            _ => false,
        };
        self.bury_removed(is_over, &burying);
    }
}

impl<M: Typed> Child<M> {
    /// Where what belongs to the series is placed.
    pub(in crate::metrics) fn home(&self) -> Home {
        match self.family.get() {
            Some(family) if self.is_in_arena => Home::in_arena(&family.arena),
            _ => Home::HEAP,
        }
    }

    /// Releases what the series leads to.
    fn release(&'static self, release: &mut Release) {
        if let Some(slots) = self.bound.last_cleared() {
            M::release(slots, release);
        }
        self.labels.release(release);
        release.slice(self.ends.get());
    }
}

#[cfg(test)]
impl<M: Typed> FamilyCore<M> {
    /// Buries all series that are removed, as soon as no other test scrapes.
    fn bury_all(&'static self) {
        loop {
            let lock = crate::store::fork::lock().unwrap();
            if let Some(burying) = burying(&lock) {
                let home = Home::in_arena(&self.arena);
                return self.children.bury(home, |_| true, Child::release, &burying);
            }
            drop(lock);
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::core::SplitTyped;
    use crate::metrics::{Counter, Family, Gauge, Histogram, Metric, MetricBuilder, Summary};
    use crate::registry::{Backend, Registry};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn in_memory() -> Registry {
        Registry::builder().backend(Backend::in_memory()).build().unwrap()
    }

    /// A family with as many series as are on the heap, and the names of others.
    fn family<M: Metric>(builder: MetricBuilder<M>) -> (Family<M>, Vec<String>) {
        let family = builder.labels(["at"]).register(&in_memory()).unwrap();
        (0..CHILDREN_ON_HEAP).for_each(|at| _ = family.with([format!("heap {at}")]));
        // Some need escapes.
        let name = |at| if at % 7 == 0 { format!("\"{at}\"") } else { format!("at {at}") };
        (family, (0..3_000).map(name).collect())
    }

    /// Whether the memory of a series is zeros.
    fn is_zeros<M: Typed>(child: &Child<M>) -> bool {
        child.family.get().is_none()
    }

    /// Records into cells that a thread has found before the series is buried, and through handles afterwards.
    fn record_late<M: Metric + SplitTyped>(builder: MetricBuilder<M>) {
        let (family, names) = family(builder);
        let record = |at: &str| {
            let child = family.with([at]).child();
            child.record(1.0);
            // Cells that threads share, and cells with a base.
            std::thread::scope(|scope| _ = scope.spawn(|| child.record(1.0)));
            child
        };
        let children: Vec<_> = names.iter().map(|name| record(name)).collect();
        family.clear();
        let children: Vec<_> = children.iter().zip(&names).map(|(_, name)| record(name)).collect();
        let kept = family.with(["kept"]).child();
        kept.record(1.0);
        let found: Vec<_> = children
            .iter()
            .flat_map(|child| {
                let shared = child.bound().and_then(crate::store::Split::shared);
                [child.owned().unwrap(), shared.unwrap().cells()]
            })
            .collect();
        let key = family.core().children.key(["kept"].into_iter());
        family.remove_where(|labels| labels.get("at") != Some("kept"));
        family.core().bury_all();
        assert_eq!(family.core().children.len(), 1);
        assert!(
            family.core().children.find(key, |_| true).is_some_and(|it| std::ptr::eq(it, kept))
        );
        let zeros = children.iter().filter(|child| is_zeros(child)).count();
        assert!(zeros > children.len() * 9 / 10, "{zeros} of {}", children.len());
        for cells in found {
            M::record(cells, 100.0);
            M::record_shared(cells, 100.0);
        }
        for child in &children {
            assert!(child.is_removed() && child.slots_if_bound().is_none());
            child.record(100.0);
            let other = std::thread::scope(|scope| scope.spawn(|| child.record(100.0)).join());
            other.unwrap();
        }
        let activity =
            |child: &Child<M>| M::activity(child.slots_if_bound().unwrap(), family.core().options);
        assert_eq!(activity(kept), 1.0);
        let again = family.with([&names[0]]).child();
        again.record(1.0);
        assert!(!std::ptr::eq(again, children[0]) && activity(again) == 1.0);
    }

    #[test]
    fn recordings_that_are_late_by_any_time_change_no_other_series() {
        record_late(Counter::builder("jobs", "J."));
        record_late(Summary::builder("time", "T."));
        record_late(Histogram::builder("size", "S."));
    }

    #[test]
    fn a_buried_gauge_is_set_without_an_effect() {
        let (family, names) = family(Gauge::builder("level", "L."));
        let handles: Vec<_> = names.iter().map(|name| family.with([name])).collect();
        let guards: Vec<_> = handles.iter().map(Gauge::track_inprogress).collect();
        for handle in &handles {
            handle.set(7.0);
        }
        let found: Vec<_> = handles.iter().map(|handle| handle.child().bound().unwrap()).collect();
        let kept = family.with(["kept"]);
        kept.set(1.0);
        family.remove_where(|labels| labels.get("at") != Some("kept"));
        family.core().bury_all();
        assert!(handles.iter().filter(|it| is_zeros(it.child())).count() > names.len() * 9 / 10);
        for (handle, cells) in handles.iter().zip(found) {
            cells.pass_gate(crate::metrics::gauge_cells::Change::Set(9.0));
            cells.try_apply(crate::metrics::gauge_cells::Change::Add(9.0));
            handle.set(9.0);
            handle.inc();
            drop(handle.track_inprogress());
            assert_eq!(handle.get(), 0.0);
        }
        drop(guards);
        assert_eq!(kept.get(), 1.0);
    }

    #[test]
    fn series_that_are_removed_are_buried_when_they_are_many_and_the_last_ones_stay() {
        let (family, _) = family(Counter::builder("jobs", "J."));
        let of_round = |round: u32| (0..1_000).map(move |at| format!("{round} {at}"));
        for round in 0..20 {
            let handles: Vec<_> = of_round(round).map(|at| family.with([at])).collect();
            handles.iter().for_each(Counter::inc);
            family.clear();
            let found = of_round(round).map(|at| family.with([at])).zip(&handles);
            let kept = found.filter(|(found, handle)| std::ptr::eq(found.child(), handle.child()));
            assert!(kept.count() >= MAX_REMOVED / 2);
            family.clear();
            // A burial is put off while another test scrapes.
            while family.core().children.len() > MAX_REMOVED + 1_000 {
                family.core().bury(&crate::store::fork::lock().unwrap());
            }
        }
    }

    #[test]
    fn series_that_were_removed_a_minute_ago_are_buried_by_the_next_removal() {
        let (family, names) = family(Counter::builder("jobs", "J."));
        let core = family.core();
        names[..4].iter().for_each(|name| family.with([name]).inc());
        let old = family.with([&names[0]]).child();
        assert!(family.remove([&names[0]]) && family.remove([&names[1]]));
        assert_eq!(core.children.unlisted_len(), 2);
        old.removed_at.fetch_sub(MAX_AGE, Ordering::Relaxed);
        core.buried_at.fetch_sub(MAX_AGE, Ordering::Relaxed);
        assert!(family.remove([&names[2]]));
        // A burial is put off while another test scrapes.
        while core.children.unlisted_len() == 3 {
            core.bury(&crate::store::fork::lock().unwrap());
        }
        assert_eq!(core.children.unlisted_len(), 2);
        assert!(family.get([&names[3]]).is_some_and(|jobs| jobs.get() == 1.0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_series_beside_those_that_came_back_before_a_close_stay() {
        let dir = crate::test_dir::TestDir::new();
        let backend = Backend::directory(&*dir).unwrap();
        let registry = Registry::builder().backend(backend).build().unwrap();
        let family = Counter::builder("jobs", "J.").labels(["at"]).register(&registry).unwrap();
        let handles: Vec<_> = (0..400).map(|at| family.with([at])).collect();
        let kept = || handles.iter().skip(CHILDREN_ON_HEAP).step_by(4);
        let remove_others = || {
            for at in (0..400).filter(|at| *at < CHILDREN_ON_HEAP || at % 4 != 0) {
                assert!(family.remove([at]));
            }
        };
        handles.iter().for_each(Counter::inc);
        remove_others();
        (0..400).for_each(|at| family.with([at]).inc());
        registry.close();
        handles.iter().for_each(Counter::inc);
        remove_others();
        registry.close();
        // A burial is put off while another test scrapes.
        while family.core().children.unlisted_len() > 0 {
            family.core().bury(&crate::store::fork::lock().unwrap());
        }
        assert!(kept().all(|handle| !is_zeros(handle.child())));
        kept().for_each(Counter::inc);
        assert!(kept().all(|handle| handle.get() == 4.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        /// What is recorded, removed, looked up and buried in random order is what a map says.
        #[test]
        fn random_histories_with_burials_give_what_a_map_gives(
            steps in proptest::collection::vec((0_u32..8, 0_usize..40), 1..120),
        ) {
            let (family, names) = family(Counter::builder("jobs", "J."));
            // The totals of exported series, the series that lookups find, and the handles of each that are not buried.
            let (mut totals, mut listed) = (BTreeMap::new(), BTreeSet::new());
            let mut handles: Vec<(usize, Counter, bool)> = Vec::new();
            for (step, at) in steps {
                match step {
                    0..4 => {
                        let handle = family.with([&names[at]]);
                        handle.inc();
                        *totals.entry(at).or_insert(0.0) += 1.0;
                        listed.insert(at);
                        handles.push((at, handle, true));
                    }
                    4 => {
                        prop_assert_eq!(family.remove([&names[at]]), totals.remove(&at).is_some());
                        listed.remove(&at);
                    }
                    5 if at < 10 => {
                        family.clear();
                        totals.clear();
                        listed.clear();
                    }
                    6 => {
                        family.core().bury_all();
                        for (at, _, is_valid) in &mut handles {
                            *is_valid &= listed.contains(at);
                        }
                    }
                    _ => {
                        for (at, handle, is_valid) in &handles {
                            handle.inc();
                            if *is_valid && listed.contains(at) {
                                *totals.entry(*at).or_insert(0.0) += 1.0;
                            }
                        }
                    }
                }
                for (at, name) in names[..40].iter().enumerate() {
                    let found = family.get([name]);
                    prop_assert_eq!(found.is_some(), listed.contains(&at));
                    let total = totals.get(&at).copied().unwrap_or(0.0);
                    prop_assert_eq!(found.map_or(0.0, |found| found.get()), total);
                }
                let shown = family.core().children.listed().filter(|it| it.slots_if_bound().is_some());
                prop_assert_eq!(shown.count(), totals.len());
            }
        }
    }
}

//! Adds up the values of many files, and remembers where in each file they are.
//!
//! What was learnt of a file, which number of which sum is at which offset, holds for as long as the file does:
//! entries are never moved or changed. Later scrapes add the values at those offsets, and parse what is new.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{Goal, Group, Number, Tables, Target};
use super::exact_sum::Sum;
use super::gauge::{Contribution, Modes, Source, SourceState};
use super::key_table::make_room;
use super::plan::{Plan, Plans};
use super::value_refs::{NOBODY, Visitor};
use crate::file::layout::{Entries, Entry, Layout, LayoutError};
use crate::file::name::{FileKind, FileName, IdKind};
use crate::file::read_map::ReadMap;
use crate::file::reader::Snapshot;
use crate::file::sys::Identity;
use crate::model::GaugeMode;
use crate::multiproc::skipped::{Cause, Problems};

/// The most sums and gauges that no file has any more, besides as many as are in use.
const MAX_STALE: usize = 1024;

/// What depends on the order of files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FamilyState {
    /// The scrape in which it was met last.
    pub(crate) scrape: u64,
    help: Option<Number>,
    /// Of gauges: those of all its files, and of the archive.
    pub(crate) modes: Modes,
}

/// Everything that scrapes have learnt, and the sums of the current one.
#[derive(Default)]
pub(crate) struct Merge {
    pub(crate) tables: Tables,
    plans: Plans,
    pub(crate) scrape: u64,
    /// By number. The first one is nobody's.
    sums: Vec<Sum>,
    /// Of how many entries each sum is.
    counts: Vec<u32>,
    /// Values of a file, until they are added.
    passing: Vec<f64>,
    gauges: Vec<Vec<Contribution>>,
    pub(crate) families: Vec<FamilyState>,
    /// The number of the directory that is being read.
    pub(crate) dir: u32,
    /// Where the values of gauges are from: a file, or a section of an archive.
    pub(crate) sources: Vec<Source>,
    pub(crate) problems: Problems,
}

/// The words of a file, in which the plan knows its way.
pub(crate) trait Words {
    /// A word, counted from the start of the file; 0 where there is none.
    fn word(&self, at: u32) -> u64;

    /// Has a word brought near, which will be asked for soon.
    #[inline]
    fn fetch(&self, at: u32) {
        let _ = at;
    }
}

impl Words for &[u64] {
    #[inline]
    fn word(&self, at: u32) -> u64 {
        self.get(at as usize).copied().unwrap_or_default()
    }
}

impl Words for ReadMap {
    #[inline]
    fn word(&self, at: u32) -> u64 {
        ReadMap::word(self, at)
    }

    #[inline]
    fn fetch(&self, at: u32) {
        ReadMap::prefetch(self, at);
    }
}

/// Where entries are from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) file: &'a str,
    pub(crate) name: FileName<'a>,
    /// Of a file in a directory that is read as a whole.
    pub(crate) identity: Option<Identity>,
    pub(crate) state: SourceState,
    pub(crate) place: Place,
}

/// Where entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file that has the name that its writer gave it.
    File,
    /// In one that has the name that a compactor gave it.
    Retired,
    Archive,
}

impl Origin<'_> {
    /// For those who tell of it.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(self.file)
    }

    fn is_gauge(&self) -> bool {
        self.name.kind.mode().is_some()
    }
}

impl Merge {
    /// Begins a scrape: nothing is added up yet. What too much of is of no file any more is forgotten; then
    /// the plans of all files are void, and `false` is given.
    #[must_use]
    pub(crate) fn begin(&mut self) -> bool {
        let used = self.counts.iter().filter(|count| **count > 0).count()
            + self.gauges.iter().filter(|gauge| !gauge.is_empty()).count();
        let stale = self.sums.len() + self.gauges.len() - used;
        let holds = stale <= used + MAX_STALE;
        if !holds {
            *self = Merge { scrape: self.scrape, ..Merge::default() };
        }
        self.plans.forget_unused();
        self.restart();
        holds
    }

    /// Begins again, within a scrape.
    pub(crate) fn restart(&mut self) {
        self.scrape += 1;
        self.sums.fill(Sum::default());
        self.gauges.iter_mut().for_each(Vec::clear);
        self.plans.restart();
        self.sources.clear();
        self.problems = Problems::default();
    }

    /// Ends the adding up: only now is it known which sums there are.
    pub(crate) fn settle(&mut self) {
        if self.plans.settle() || self.counts.len() < self.sums.len() {
            self.counts.clear();
            self.counts.resize(self.sums.len(), 0);
            for (plan, files) in self.plans.settled() {
                plan.slots.visit(0, &mut Count { counts: &mut self.counts, files: *files });
            }
        }
    }

    /// Adds a file that is not known, if it has the keys of the file before in the same order and nothing
    /// else.
    pub(crate) fn follow_last(
        &mut self,
        origin: &Origin<'_>,
        snapshot: &Snapshot<'_>,
    ) -> Option<Arc<Plan>> {
        let plan = self.plans.last()?;
        let layout = if snapshot.is_own { Layout::Own } else { Layout::L3 };
        let metric_type = origin.name.kind.metric_type();
        if (plan.layout, plan.metric_type) != (layout, metric_type) {
            return None;
        }
        let entries = Entries::assume(layout, snapshot.body());
        let (targets, first) = (self.tables.targets(metric_type)?, plan.run?);
        // As many slots as entries mean a slot for each: one that is nobody's stands for several entries without.
        if origin.is_gauge() || plan.slots.len() != plan.entries {
            if !targets.is_run(entries, first, plan.entries, |_| {}) {
                return None;
            }
            return Some(self.follow(plan, origin, &snapshot.words, None).0);
        }
        // Values are taken as they come by, while they are at hand, and added when all keys are as expected.
        self.passing.clear();
        if !targets.is_run(entries, first, plan.entries, |value| self.passing.push(value)) {
            return None;
        }
        let values = self.passing.iter();
        plan.slots.visit(0, &mut AddInOrder { sums: &mut self.sums, values });
        self.finish(&plan, origin);
        self.plans.follow(&plan);
        Some(plan)
    }

    /// Adds a file that is not known, or whose plan does not hold any more. `begun` is the plan of a walk that
    /// met a damaged entry: the entries before that are not added again.
    pub(crate) fn learn(
        &mut self,
        origin: &Origin<'_>,
        begun: Option<&Plan>,
        words: &impl Words,
        mut entries: Entries<'_>,
    ) -> (Arc<Plan>, Result<(), LayoutError>) {
        let mut plan = self.plans.take_spare();
        plan.begin(origin.name.kind.metric_type(), entries.layout());
        if let Some(begun) = begun.filter(|begun| begun.layout == entries.layout()) {
            plan.clone_from(begun);
            self.plans.unfollow(begun);
            entries.by_ref().take(plan.entries).for_each(drop);
        }
        let added = plan.slots.len();
        self.add_entries(plan, added, origin, words, entries)
    }

    /// Adds a file by its plan, and then the entries that are new in it, of which the plan that is given tells
    /// too.
    pub(crate) fn follow(
        &mut self,
        plan: Arc<Plan>,
        origin: &Origin<'_>,
        words: &impl Words,
        new: Option<Entries<'_>>,
    ) -> (Arc<Plan>, Result<(), LayoutError>) {
        if let Some(entries) = new {
            let mut longer = self.plans.take_spare();
            longer.clone_from(&plan);
            return self.add_entries(longer, 0, origin, words, entries);
        }
        self.add_values(&plan, 0, origin, words);
        self.finish(&plan, origin);
        self.plans.follow(&plan);
        (plan, Ok(()))
    }

    /// Notes the entries behind those of a plan, and adds the values from a slot on.
    fn add_entries(
        &mut self,
        mut plan: Plan,
        from: usize,
        origin: &Origin<'_>,
        words: &impl Words,
        entries: Entries<'_>,
    ) -> (Arc<Plan>, Result<(), LayoutError>) {
        let result = self.note_entries(&mut plan, origin, entries);
        self.add_values(&plan, from, origin, words);
        self.finish(&plan, origin);
        (self.plans.share(plan), result)
    }

    /// Adds the values of a plan from a slot on.
    fn add_values(&mut self, plan: &Plan, from: usize, origin: &Origin<'_>, words: &impl Words) {
        if !origin.is_gauge() {
            return plan.slots.visit(from, &mut AddSums { sums: &mut self.sums, words });
        }
        let source = self.source(origin, plan.layout);
        let is_sum =
            origin.place == Place::Archive && origin.name.kind.mode() == Some(GaugeMode::Avg);
        plan.slots.visit(
            from,
            &mut AddGauges {
                gauges: &mut self.gauges,
                words,
                source,
                is_sum,
                has_time: plan.layout.has_time(),
                can_tell_unset: plan.layout == Layout::Own,
            },
        );
    }

    fn source(&mut self, origin: &Origin<'_>, layout: Layout) -> u32 {
        let Origin { name, place, state, .. } = *origin;
        let id = match (place, state) {
            (Place::File, _) if layout != Layout::Own => IdKind::Chosen,
            (Place::Archive, SourceState::Merged(_)) => IdKind::Chosen,
            _ => IdKind::Unique,
        };
        self.sources.push(Source {
            dir: self.dir,
            id: name.writer(id).into(),
            process_len: name.process(id).len(),
            mode: name.kind.mode().unwrap_or_default(),
            is_retired: place == Place::Retired,
            is_archived: place == Place::Archive && id == IdKind::Unique,
            identity: origin.identity,
            state,
        });
        self.sources.len() as u32 - 1
    }

    /// Notes in the plan where the values of entries are, and what they are added to.
    fn note_entries(
        &mut self,
        plan: &mut Plan,
        origin: &Origin<'_>,
        mut entries: Entries<'_>,
    ) -> Result<(), LayoutError> {
        let kind = origin.name.kind;
        let mut targets = self.tables.take_targets(kind.metric_type());
        targets.begin_at(plan.next_in_run());
        let mut last_family = u32::MAX;
        let result = loop {
            let target = match targets.next(&mut entries) {
                Some((_, target)) => target,
                None => {
                    let entry = match entries.next() {
                        Some(Ok(entry)) => entry,
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    };
                    let target = match targets.find(&entry) {
                        Some(target) => target,
                        None => {
                            let target = self.resolve(kind, &entry);
                            targets.insert(&entry, target);
                            target
                        }
                    };
                    plan.note_jump(targets.expected());
                    target
                }
            };
            if target.family != last_family {
                last_family = target.family;
                plan.note_family(target);
            }
            plan.entries += 1;
            match target.goal {
                Goal::Sum(number) | Goal::Gauge(number) => {
                    plan.slots.push(entries.value_word(), number);
                }
                Goal::Ignored => {}
                Goal::Unusable(problem) => {
                    if !plan.unusable.contains(&problem) {
                        plan.unusable.push(problem);
                    }
                }
            }
        };
        self.tables.put_targets(kind.metric_type(), targets);
        result
    }

    fn resolve(&mut self, kind: FileKind, entry: &Entry<'_>) -> Target {
        let target = self.tables.resolve(kind, entry.key);
        let (sums, gauges) = self.tables.lens();
        extend_lean(&mut self.sums, sums, Sum::default);
        extend_lean(&mut self.gauges, gauges, Vec::new);
        self.families.resize(self.tables.families.len(), FamilyState::default());
        target
    }

    /// Notes the families of a file, and what is wrong with its keys.
    fn finish(&mut self, plan: &Plan, origin: &Origin<'_>) {
        let mode = origin.name.kind.mode();
        for (family, help) in &plan.families {
            let state = &mut self.families[*family as usize];
            if state.scrape != self.scrape {
                *state = FamilyState { scrape: self.scrape, ..FamilyState::default() };
            }
            state.help = state.help.or(*help);
            if let Some(mode) = mode {
                state.modes.insert(mode);
            }
        }
        for problem in &plan.unusable {
            let problem = self.tables.unusable[*problem as usize].clone();
            self.problems.add(&origin.path(), Cause::Key(problem));
        }
    }

    /// A sum, if any file of this scrape has it.
    pub(crate) fn sum(&self, number: Option<Number>) -> Option<f64> {
        let at = number?.get() as usize;
        (self.counts[at] > 0).then(|| self.sums[at].value())
    }

    /// The sum of several, if any file of this scrape has one of them.
    pub(crate) fn sum_of(&self, numbers: impl Iterator<Item = Number>) -> Option<f64> {
        let numbers = numbers.map(|number| number.get() as usize);
        let sums = numbers.filter(|at| self.counts[*at] > 0).map(|at| self.sums[at]);
        let sum = sums.reduce(|mut sum, other| {
            sum.add_sum(other);
            sum
        });
        sum.map(Sum::value)
    }

    pub(crate) fn gauge(&self, number: Option<Number>) -> &[Contribution] {
        number.map_or(&[], |number| &self.gauges[number.get() as usize])
    }

    /// The help text of a family in this scrape.
    pub(crate) fn help(&self, family: usize) -> Option<&str> {
        Some(self.tables.families[family].help_text(self.families[family].help?))
    }

    /// What is counted in each bucket of a group alone, by rising bound, as far as files of this scrape have
    /// the buckets.
    pub(crate) fn buckets(&self, group: &Group) -> impl Iterator<Item = (f64, f64)> {
        let buckets = group.buckets().iter();
        buckets.filter_map(|(bound, number)| Some((*bound, self.sum(Some(*number))?)))
    }

    /// The same of several groups together.
    pub(crate) fn buckets_of(&self, groups: &[&Group]) -> Vec<(f64, f64)> {
        let mut all: Vec<(f64, Number)> =
            groups.iter().flat_map(|group| group.buckets()).copied().collect();
        all.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let same = all.chunk_by(|(one, _), (other, _)| one.to_bits() == other.to_bits());
        let sum = |same: &[(f64, Number)]| self.sum_of(same.iter().map(|(_, number)| *number));
        same.filter_map(|same| Some((same[0].0, sum(same)?))).collect()
    }

    /// Whether processes have different bounds.
    pub(crate) fn has_bucket_conflict(&self, group: &Group) -> bool {
        let counts = group.buckets().iter().map(|(_, number)| self.counts[number.get() as usize]);
        let mut counts = counts.filter(|count| *count > 0);
        let first = counts.next();
        counts.any(|other| Some(other) != first)
    }

    pub(crate) fn mode(&self, family: usize) -> Option<GaugeMode> {
        self.families[family].modes.deciding()
    }
}

/// Counts the files that have each number.
struct Count<'a> {
    counts: &'a mut [u32],
    files: u32,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl Visitor for Count<'_> {
    #[inline(always)]
    fn visit(&mut self, _: u32, number: usize) {
        self.counts[number] += self.files;
    }
}

/// Adds the values of a file to the sums.
struct AddSums<'a, W> {
    sums: &'a mut [Sum],
    words: &'a W,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl<W: Words> Visitor for AddSums<'_, W> {
    // Each value is in a cache line of its own, behind its key.
    #[inline(always)]
    fn fetch(&self, word: u32) {
        self.words.fetch(word);
    }

    #[inline(always)]
    fn visit(&mut self, word: u32, number: usize) {
        self.sums[number].add(f64::from_bits(self.words.word(word)));
    }
}

/// Adds values to sums in the order of a plan.
struct AddInOrder<'a> {
    sums: &'a mut [Sum],
    values: std::slice::Iter<'a, f64>,
}

#[expect(clippy::inline_always, reason = "for every value of every file")]
impl Visitor for AddInOrder<'_> {
    #[inline(always)]
    fn visit(&mut self, _: u32, number: usize) {
        if let Some(value) = self.values.next() {
            self.sums[number].add(*value);
        }
    }
}

/// Adds the values of a file to what gauges have from others.
struct AddGauges<'a, W> {
    gauges: &'a mut [Vec<Contribution>],
    words: &'a W,
    source: u32,
    is_sum: bool,
    has_time: bool,
    /// Whether a time of 0 means that a gauge was never set.
    can_tell_unset: bool,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl<W: Words> Visitor for AddGauges<'_, W> {
    #[inline(always)]
    fn fetch(&self, word: u32) {
        self.words.fetch(word);
    }

    #[inline(always)]
    fn visit(&mut self, word: u32, number: usize) {
        if number == NOBODY {
            return;
        }
        let value = |word| f64::from_bits(self.words.word(word));
        let time = if self.has_time { value(word + 1) } else { 0.0 };
        let is_unset = self.can_tell_unset && time == 0.0;
        let AddGauges { source, is_sum, .. } = *self;
        let new = Contribution { source, value: value(word), time, is_sum, is_unset };
        push_lean(&mut self.gauges[number], new);
    }
}

/// Makes a long table as long as it must be.
fn extend_lean<T>(items: &mut Vec<T>, len: usize, item: impl Fn() -> T) {
    if let Some(missing) = len.checked_sub(items.len()) {
        make_room(items, missing);
        items.resize_with(len, item);
    }
}

/// Appends to a list of which there are many, most of them short.
fn push_lean<T>(items: &mut Vec<T>, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len().max(1));
    }
    items.push(item);
}

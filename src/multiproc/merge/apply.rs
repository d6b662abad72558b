//! Adds the values of one file or archive section to the merge.
//!
//! A plan says at which offset of a file the value of which sum or gauge is. It holds for as long as the file exists,
//! because entries never move. A scrape applies the plan that an earlier one has made, and parses only new entries.

use std::sync::Arc;

use super::add_values::{AddInOrder, AddSums, GaugeEntries, KeepGauges, reduce_by};
use super::batch::{BatchKind, CommonValues};
use super::catalog::{Destination, ResolvedKey};
use super::exact_sum::ExactSum;
use super::gauge::{GaugeValues, ReducedGauge, is_counted};
use super::key_table::reserve_lean;
use super::plan::Plan;
use super::source::{FileOrigin, Source, SourceState, SourceToken, StoredIn, WordSource};
use super::state::{FamilyState, Merge};
use super::value_refs::Part;
use crate::file::layout::{Entries, Entry, Layout, LayoutError, WORD_LEN};
use crate::file::name::{FileKind, IdKind};
use crate::file::read_map::ReadMap;
use crate::file::reader::Snapshot;
use crate::file::words::bytes_of;
use crate::model::GaugeMode;
use crate::multiproc::listing::ListedIn;
use crate::multiproc::skipped::SkipCause;

impl Merge {
    /// Adds a file without a plan, if its keys are exactly those of the file before, in the same order.
    pub(crate) fn apply_last_plan(
        &mut self,
        origin: &FileOrigin<'_>,
        snapshot: &Snapshot<'_>,
    ) -> Option<Arc<Plan>> {
        let plan = self.plans.last()?;
        let layout = if snapshot.is_own { Layout::Own } else { Layout::L3 };
        let metric_type = origin.name.kind.metric_type();
        if (plan.layout, plan.metric_type) != (layout, metric_type) || !plan.is_run() {
            return None;
        }
        let entries = Entries::assume(layout, snapshot.body());
        let (keys, first) = (self.catalog.keys(metric_type)?, plan.first_key);
        let has_only_values = plan.has_only_values();
        // Series that only one process has were mostly created last. So the last key is compared first: it is mostly the
        // one that differs, if one does.
        if has_only_values && plan.entry_count > 0 {
            let before = bytes_of(snapshot.words).get(..plan.values.last() as usize * WORD_LEN)?;
            if !keys.is_key_before_value(first as usize + plan.entry_count - 1, before) {
                return None;
            }
        }
        if origin.is_gauge() || !has_only_values {
            if !keys.matches_run(entries, first, plan.entry_count, |_| {}) {
                return None;
            }
            self.plans.note_new();
            return Some(self.apply_plan(plan, origin, &snapshot.words, None).0);
        }
        // Each value is read together with its key, while both are in the cache, and added when all keys match.
        self.file_values.clear();
        let push = |value| self.file_values.push(value);
        if !keys.matches_run(entries, first, plan.entry_count, push) {
            return None;
        }
        self.finish_batch();
        let values = self.file_values.iter();
        plan.values.visit(0, &mut AddInOrder { sums: &mut self.sums, values });
        self.start_times.add(&plan, 0, &snapshot.words, self.sums.len());
        self.note_added(&plan, origin, &snapshot.words);
        self.plans.note_new();
        self.plans.note_applied(&plan, origin.is_live());
        Some(plan)
    }

    /// Parses a file that has no plan, or whose plan does not hold any more, and adds its values. `partial` is the
    /// plan of an earlier attempt that ended at a damaged entry: the entries before it are not added again.
    pub(crate) fn parse_and_apply(
        &mut self,
        origin: &FileOrigin<'_>,
        partial: Option<&Plan>,
        words: &impl WordSource,
        mut entries: Entries<'_>,
    ) -> (Arc<Plan>, Result<(), LayoutError>) {
        let mut plan = self.plans.take_spare();
        plan.reset(origin.name.kind.metric_type(), entries.layout());
        if let Some(partial) = partial.filter(|partial| partial.layout == entries.layout()) {
            plan.clone_from(partial);
            self.plans.retract_last(partial);
            self.removals.retract_last_file();
            entries.by_ref().take(plan.entry_count).for_each(drop);
        }
        let added = plan.values.len();
        if plan.entry_count == 0 {
            self.plan_like_last(&mut plan, &mut entries);
        }
        self.add_entries(plan, added, origin, words, entries)
    }

    /// Appends to an empty plan the start of the plan of the file before, as far as the entries begin with the same keys in the
    /// same order. The entries are advanced behind them.
    fn plan_like_last(&self, plan: &mut Plan, entries: &mut Entries<'_>) {
        let is_like = |last: &Arc<Plan>| {
            (last.layout, last.metric_type) == (plan.layout, plan.metric_type)
                && last.has_only_values()
        };
        let (Some(last), Some(keys)) =
            (self.plans.last().filter(is_like), self.catalog.keys(plan.metric_type))
        else {
            return;
        };
        let mut like = entries.clone();
        let mut last_family = u32::MAX;
        let count = keys.skip_run(&mut like, last.first_key, last.run_len(), |key| {
            if key.family != last_family {
                last_family = key.family;
                plan.note_family(key);
            }
        });
        if count == 0 {
            return;
        }
        plan.extend_from_start(&last, count);
        if plan.values.last() == like.value_word() {
            *entries = like;
        } else {
            plan.reset(last.metric_type, last.layout);
        }
    }

    /// Adds a file by its plan, and then its new entries. Returns the plan that covers both.
    pub(crate) fn apply_plan(
        &mut self,
        plan: Arc<Plan>,
        origin: &FileOrigin<'_>,
        words: &impl WordSource,
        new: Option<Entries<'_>>,
    ) -> (Arc<Plan>, Result<(), LayoutError>) {
        if let Some(entries) = new {
            let mut longer = self.plans.take_spare();
            longer.clone_from(&plan);
            return self.add_entries(longer, 0, origin, words, entries);
        }
        self.add_values(&plan, 0, origin, words, SourceToken::default());
        self.note_added(&plan, origin, words);
        self.plans.note_applied(&plan, origin.is_live());
        (plan, Ok(()))
    }

    /// Adds a mapped file by its plan, perhaps together with the next ones: see [`finish_batch`](Self::finish_batch).
    pub(crate) fn apply_plan_in_batch(
        &mut self,
        plan: &Arc<Plan>,
        origin: &FileOrigin<'_>,
        map: &Arc<ReadMap>,
        common: &mut Option<CommonValues>,
        token: SourceToken,
    ) {
        let (kind, layout) = (origin.name.kind, plan.layout);
        if kind.mode().is_some_and(|mode| self.keeps_values(mode)) {
            self.add_values(plan, 0, origin, &**map, token);
        } else {
            let is_counted = kind.mode().is_none_or(|mode| is_counted(mode, origin.state));
            let kind = BatchKind { kind, layout, is_counted };
            if !self.batch.try_push(kind, plan, map, common) {
                self.finish_batch();
                self.batch.try_push(kind, plan, map, common);
            }
            if origin.is_gauge() {
                self.add_source(origin, layout, token);
            }
        }
        self.note_added(plan, origin, &**map);
        self.plans.note_applied(plan, origin.is_live());
    }

    /// Adds the values of the files of the current batch: the common values of four files together, and everything else file
    /// by file. Whatever adds values in another way calls this first, so that values are added in the order of files.
    pub(crate) fn finish_batch(&mut self) {
        let Some((files, kind, mut common)) = self.batch.take() else {
            return;
        };
        let mut word = 0;
        if let [(plan, one), (_, two), (_, three), (_, four)] = &*files {
            word = self.add_part(kind, plan.values.part(0..common, 0), [one, two, three, four]);
        } else {
            common = 0;
        }
        for (plan, map) in &files {
            let part = plan.values.part(common..plan.values.len(), word);
            self.add_part(kind, part, [&**map]);
            if kind.kind.mode().is_none() {
                self.start_times.add(plan, 0, &**map, self.sums.len());
            }
            self.has_truncated |= map.has_faulted();
        }
        self.batch.reuse(files);
    }

    /// Ends the adding of files. Returns whether one of a batch was truncated while it was read.
    pub(crate) fn finish_files(&mut self) -> bool {
        self.finish_batch();
        std::mem::take(&mut self.has_truncated)
    }

    /// Appends entries to a plan, and adds its values from an index on.
    fn add_entries(
        &mut self,
        mut plan: Plan,
        from: usize,
        origin: &FileOrigin<'_>,
        words: &impl WordSource,
        entries: Entries<'_>,
    ) -> (Arc<Plan>, Result<(), LayoutError>) {
        let result = self.plan_entries(&mut plan, origin, entries);
        self.add_values(&plan, from, origin, words, SourceToken::default());
        self.note_added(&plan, origin, words);
        (self.plans.share(plan, origin.is_live()), result)
    }

    /// Adds the values of a plan from an index on.
    fn add_values(
        &mut self,
        plan: &Plan,
        from: usize,
        origin: &FileOrigin<'_>,
        words: &impl WordSource,
        token: SourceToken,
    ) {
        self.finish_batch();
        let Some(mode) = origin.name.kind.mode() else {
            plan.values.visit(from, &mut AddSums { sums: &mut self.sums, files: [words] });
            self.start_times.add(plan, from, words, self.sums.len());
            return;
        };
        let source = self.add_source(origin, plan.layout, token);
        let is_merged = origin.stored_in == StoredIn::Archive
            && matches!(mode, GaugeMode::Avg | GaugeMode::Count);
        let is_kept = self.keeps_values(mode);
        let has_removed = &mut self.has_removed_gauges;
        let entries = GaugeEntries::new([words], source, is_merged, plan.layout, has_removed);
        if is_kept {
            plan.values.visit(from, &mut KeepGauges { gauges: &mut self.gauges, entries });
            return;
        }
        let is_counted = is_counted(mode, origin.state);
        reduce_by(mode, is_counted, plan.values.part_from(from), &mut self.reduced, entries);
    }

    /// Adds a part of the values of files that have them at the same positions. Returns the position of the last one.
    fn add_part<const N: usize>(
        &mut self,
        BatchKind { kind, layout, is_counted }: BatchKind,
        part: Part<'_>,
        files: [&ReadMap; N],
    ) -> u32 {
        let Some(mode) = kind.mode() else {
            return part.visit(&mut AddSums { sums: &mut self.sums, files });
        };
        // The source is that of values that are kept.
        let entries = GaugeEntries::new(files, 0, false, layout, &mut self.has_removed_gauges);
        reduce_by(mode, is_counted, part, &mut self.reduced, entries)
    }

    /// Whether the values of all processes are kept for gauges of a mode.
    fn keeps_values(&self, mode: GaugeMode) -> bool {
        self.gauge_values == GaugeValues::Kept || mode.is_per_process()
    }

    /// Adds a source of gauges; returns its index.
    fn add_source(&mut self, origin: &FileOrigin<'_>, layout: Layout, token: SourceToken) -> u32 {
        let FileOrigin { name, stored_in, state, .. } = *origin;
        let dir = self.dir;
        self.sources.add(token, state, || {
            let id = match (stored_in, state) {
                (StoredIn::File(ListedIn::Main), _) if layout != Layout::Own => IdKind::Chosen,
                (StoredIn::Archive, SourceState::Merged(_)) => IdKind::Chosen,
                _ => IdKind::Unique,
            };
            Source {
                dir,
                id: name.writer(id).into(),
                process_len: name.process(id).len(),
                mode: name.kind.mode().unwrap_or_default(),
                is_retired: stored_in == StoredIn::File(ListedIn::Retired),
                is_archived: stored_in == StoredIn::Archive && id == IdKind::Unique,
                identity: origin.identity,
                state,
            }
        })
    }

    /// Appends to a plan where the values of entries are, and what they are added to.
    fn plan_entries(
        &mut self,
        plan: &mut Plan,
        origin: &FileOrigin<'_>,
        mut entries: Entries<'_>,
    ) -> Result<(), LayoutError> {
        let kind = origin.name.kind;
        let mut keys = self.catalog.take_keys(kind.metric_type());
        keys.expect_from(plan.next_in_run());
        let mut last_family = u32::MAX;
        let result = loop {
            let key = match keys.next_expected(&mut entries) {
                Some((_, key)) => key,
                None => {
                    let entry = match entries.next() {
                        Some(Ok(entry)) => entry,
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    };
                    let key = match keys.find(&entry) {
                        Ok(key) => key,
                        Err(missing) => {
                            let key = self.resolve(kind, &entry);
                            keys.insert(&entry, missing, key);
                            key
                        }
                    };
                    plan.note_lookup(keys.expected());
                    key
                }
            };
            if key.family != last_family {
                last_family = key.family;
                plan.note_family(key);
            }
            plan.entry_count += 1;
            match key.destination {
                Destination::Sum(id) | Destination::Gauge(id) => {
                    plan.values.push(entries.value_word(), id);
                }
                Destination::Ignored => {}
                Destination::Removal(series) => {
                    plan.records.push_removal(series, entries.value_word());
                }
                Destination::Burial(series) => plan.records.push_burial(series),
                Destination::Unusable(problem) => {
                    if !plan.key_problems.contains(&problem) {
                        plan.key_problems.push(problem);
                    }
                }
            }
        };
        self.catalog.put_keys(kind.metric_type(), keys);
        plan.count_removed_entries();
        result
    }

    fn resolve(&mut self, kind: FileKind, entry: &Entry<'_>) -> ResolvedKey {
        let key = self.catalog.resolve(kind, entry);
        let (sums, gauges) = self.catalog.lens();
        extend_lean(&mut self.sums, sums, ExactSum::default);
        extend_lean(&mut self.gauges, gauges, Vec::new);
        extend_lean(&mut self.reduced, gauges, ReducedGauge::default);
        self.families.resize(self.catalog.families.len(), FamilyState::default());
        key
    }

    /// Notes which families a file has and which series it has removed, and reports the keys that cannot be used.
    fn note_added(&mut self, plan: &Plan, origin: &FileOrigin<'_>, words: &impl WordSource) {
        self.removals.note_file(&plan.records, origin.is_live(), words);
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
        for problem in &plan.key_problems {
            let problem = self.catalog.key_problems[*problem as usize].clone();
            self.skipped.add(&origin.path(), SkipCause::Key(problem));
        }
    }
}

/// Extends a long table to a length without doubling its capacity.
fn extend_lean<T>(items: &mut Vec<T>, len: usize, item: impl Fn() -> T) {
    if let Some(missing) = len.checked_sub(items.len()) {
        reserve_lean(items, missing);
        items.resize_with(len, item);
    }
}

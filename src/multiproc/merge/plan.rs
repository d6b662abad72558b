//! Plans: the result of parsing the entries of a file.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::catalog::{HelpId, ResolvedKey};
use super::removal::PlannedRecords;
use super::source::WordSource;
use super::value_refs::{ValueRefs, Visitor};
use crate::file::layout::Layout;
use crate::model::MetricType;
use crate::prefetch::prefetch;

/// The result of parsing the entries of a file. Files of processes that run the same program mostly have equal
/// plans, and share one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(super) metric_type: MetricType,
    pub(super) layout: Layout,
    pub(super) values: ValueRefs,
    /// How many entries were parsed.
    pub(crate) entry_count: usize,
    /// The families of the entries, each with its first help text in the file.
    pub(super) families: Vec<(u32, Option<HelpId>)>,
    pub(super) records: PlannedRecords,
    /// The indices of the problems of keys that cannot be used, without repetitions.
    pub(super) key_problems: Vec<u32>,
    /// The index of the first key in the key table.
    pub(super) first_key: u32,
    /// How many keys at the start follow each other in the order of the table; `None` if all do.
    run_len: Option<usize>,
}

impl Plan {
    fn new() -> Plan {
        Plan {
            metric_type: MetricType::Unknown,
            layout: Layout::Empty,
            values: ValueRefs::default(),
            entry_count: 0,
            families: Vec::new(),
            records: PlannedRecords::default(),
            key_problems: Vec::new(),
            first_key: 0,
            run_len: None,
        }
    }

    /// Empties the plan for another file, and keeps its memory.
    pub(super) fn reset(&mut self, metric_type: MetricType, layout: Layout) {
        (self.metric_type, self.layout) = (metric_type, layout);
        (self.first_key, self.run_len) = (0, None);
        self.values.clear();
        self.entry_count = 0;
        self.families.clear();
        self.records.clear();
        self.key_problems.clear();
    }

    /// How many keys at the start follow each other in the order of the key table.
    pub(super) fn run_len(&self) -> usize {
        self.run_len.unwrap_or(self.entry_count)
    }

    /// Whether all keys follow each other in the order of the key table.
    pub(super) fn is_run(&self) -> bool {
        self.run_len.is_none()
    }

    /// The index of the key that follows the last one of the run.
    pub(super) fn next_in_run(&self) -> u32 {
        self.first_key + self.run_len() as u32
    }

    /// Notes that the next key was not the expected one and had to be looked up. `expected` is the index behind it.
    pub(super) fn note_lookup(&mut self, expected: u32) {
        if self.entry_count == 0 {
            self.first_key = expected - 1;
        } else if self.next_in_run() + 1 != expected {
            self.run_len = Some(self.run_len());
        }
    }

    /// Whether each entry has a value, so that each element of the values is that of one entry: a filler would stand for
    /// several entries without a value.
    pub(super) fn has_only_values(&self) -> bool {
        self.values.len() == self.entry_count
            && self.key_problems.is_empty()
            && self.records.len() == 0
    }

    /// Appends the first `count` entries of a plan that has only values to an empty one.
    pub(super) fn extend_from_start(&mut self, other: &Plan, count: usize) {
        self.first_key = other.first_key;
        self.entry_count = count;
        self.values.extend_from_start(&other.values, count);
    }

    /// Counts the entries of the series that the file has removed.
    pub(super) fn count_removed_entries(&mut self) {
        if self.records.has_removals() {
            let values = &self.values;
            self.records.count_entries(|series| values.count(series));
        }
    }

    /// The number of entries with values.
    pub(crate) fn value_count(&self) -> usize {
        self.entry_count - self.records.len()
    }

    /// Prefetches the lists.
    pub(crate) fn prefetch(&self) {
        self.values.prefetch();
        prefetch(self.families.as_ptr());
    }

    /// Prefetches the first values of a file.
    pub(crate) fn prefetch_first(&self, words: &impl WordSource) {
        self.values.prefetch_first(words);
    }

    pub(super) fn note_family(&mut self, key: ResolvedKey) {
        if key.family == u32::MAX {
            return;
        }
        match self.families.iter_mut().rfind(|(family, _)| *family == key.family) {
            Some((_, help)) => *help = help.or(key.help),
            None => self.families.push((key.family, key.help)),
        }
    }
}

/// The plans of all files without repetitions, and which of them the current scrape has applied.
#[derive(Default)]
pub(super) struct PlanCache {
    /// By the hash of their values.
    by_hash: HashMap<u64, Arc<Plan>, foldhash::fast::RandomState>,
    /// The plan of the file before, which the next file mostly has too.
    last: Option<Arc<Plan>>,
    /// A plan that is not in use, for its memory.
    spare: Option<Plan>,
    /// One element for each file of this scrape that is not a gauge file, followed by those that are left from the last scrape.
    applied: Vec<AppliedPlan>,
    /// How many elements are those of this scrape.
    applied_now: usize,
    /// Whether `applied` has changed since the last count.
    is_uncounted: bool,
    /// How many files have a plan, in this scrape and in the last one.
    files: usize,
    last_files: usize,
    /// Whether a file has a plan in this scrape that it did not have in the last one.
    has_new: bool,
    /// How many files had each plan at the last count.
    file_counts: Vec<FileCount>,
    /// Whether plans are used by this scrape only: then no plan is searched for besides the last one.
    is_for_one_scrape: bool,
}

/// The plan of a file.
struct AppliedPlan {
    plan: Arc<Plan>,
    /// Whether the writer of the file lives.
    is_live: bool,
}

/// How many files have a plan.
struct FileCount {
    plan: Arc<Plan>,
    files: u32,
    /// Those of living writers.
    live: u32,
}

impl FileCount {
    fn is_same(&self, other: &FileCount) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan) && (self.files, self.live) == (other.files, other.live)
    }
}

impl PlanCache {
    /// Sets whether plans are kept for later scrapes.
    pub(super) fn keep(&mut self, is_kept: bool) {
        self.is_for_one_scrape = !is_kept;
    }

    pub(super) fn take_spare(&mut self) -> Plan {
        self.spare.take().unwrap_or_else(Plan::new)
    }

    /// The plan of the file before.
    pub(super) fn last(&self) -> Option<Arc<Plan>> {
        self.last.clone()
    }

    /// Notes that a file gets a plan that it did not have in the last scrape: the one that it had may be unused now.
    pub(super) fn note_new(&mut self) {
        self.has_new = true;
    }

    /// Notes that a file has this plan. Returns the equal plan of another file if there is one.
    pub(super) fn share(&mut self, plan: Plan, is_live: bool) -> Arc<Plan> {
        self.note_new();
        let shared = match self.last.take() {
            Some(last) if *last == plan => {
                self.spare = Some(plan);
                last
            }
            last if self.is_for_one_scrape => {
                self.spare = last.and_then(Arc::into_inner);
                Arc::new(plan)
            }
            _ => {
                let shared = self.find_or_insert(&plan);
                self.spare = Some(plan);
                shared
            }
        };
        self.note_applied(&shared, is_live);
        self.last = Some(Arc::clone(&shared));
        shared
    }

    fn find_or_insert(&mut self, plan: &Plan) -> Arc<Plan> {
        let hash = self.by_hash.hasher().hash_one(&plan.values);
        if let Some(cached) = self.by_hash.get(&hash).filter(|cached| ***cached == *plan) {
            return Arc::clone(cached);
        }
        let mut plan = plan.clone();
        plan.values.shrink();
        let shared = Arc::new(plan);
        self.by_hash.insert(hash, Arc::clone(&shared));
        shared
    }

    /// Notes that a file has this plan.
    pub(super) fn note_applied(&mut self, plan: &Arc<Plan>, is_live: bool) {
        self.files += 1;
        if plan.metric_type == MetricType::Gauge {
            return;
        }
        let at = self.applied_now;
        self.applied_now += 1;
        match self.applied.get_mut(at) {
            Some(last) if Arc::ptr_eq(&last.plan, plan) && last.is_live == is_live => return,
            Some(last) => *last = AppliedPlan { plan: Arc::clone(plan), is_live },
            None => self.applied.push(AppliedPlan { plan: Arc::clone(plan), is_live }),
        }
        self.is_uncounted = true;
    }

    /// Undoes the note of the last file, which has this plan.
    pub(super) fn retract_last(&mut self, plan: &Plan) {
        self.files -= 1;
        if plan.metric_type != MetricType::Gauge {
            self.applied_now -= 1;
        }
    }

    /// Undoes all notes of this scrape.
    pub(super) fn clear_applied(&mut self) {
        (self.applied_now, self.files) = (0, 0);
    }

    /// Counts the files of each plan. Returns whether the counts have changed.
    pub(super) fn recount(&mut self) -> bool {
        if self.applied_now < self.applied.len() {
            self.applied.truncate(self.applied_now);
            self.is_uncounted = true;
        }
        if !std::mem::take(&mut self.is_uncounted) {
            return false;
        }
        let mut applied: Vec<&AppliedPlan> = self.applied.iter().collect();
        applied.sort_unstable_by_key(|applied| Arc::as_ptr(&applied.plan));
        let runs = applied.chunk_by(|one, other| Arc::ptr_eq(&one.plan, &other.plan));
        let count = |run: &[&AppliedPlan]| FileCount {
            plan: Arc::clone(&run[0].plan),
            files: run.len() as u32,
            live: run.iter().filter(|applied| applied.is_live).count() as u32,
        };
        let counts: Vec<FileCount> = runs.map(count).collect();
        let mut pairs = counts.iter().zip(&self.file_counts);
        if counts.len() == self.file_counts.len() && pairs.all(|(new, old)| new.is_same(old)) {
            return false;
        }
        self.file_counts = counts;
        true
    }

    /// Counts how many of `sums` sums' entries there were at the last count, in all files.
    pub(super) fn count_entries(&self, counts: &mut Vec<u32>, sums: usize) {
        self.count_entries_in(|count| count.files, counts, sums);
    }

    /// The same in the files of living writers.
    pub(super) fn count_live_entries(&self, counts: &mut Vec<u32>, sums: usize) {
        self.count_entries_in(|count| count.live, counts, sums);
    }

    fn count_entries_in(
        &self,
        files: impl Fn(&FileCount) -> u32,
        counts: &mut Vec<u32>,
        sums: usize,
    ) {
        counts.clear();
        counts.resize(sums, 0);
        for count in &self.file_counts {
            let files = files(count);
            if files > 0 {
                count.plan.values.visit(0, &mut CountEntries { counts, files });
            }
        }
    }

    /// Removes the plans that no file has.
    pub(super) fn drop_unused(&mut self) {
        self.last = None;
        // A file that disappears leaves a plan without another one in its place.
        let have_disappeared = self.files < std::mem::replace(&mut self.last_files, self.files);
        if !std::mem::take(&mut self.has_new) && !have_disappeared {
            return;
        }
        self.by_hash.retain(|_, plan| Arc::strong_count(plan) > 1);
    }
}

/// Counts the entries of each sum, from a plan and the number of files that have it.
struct CountEntries<'a> {
    counts: &'a mut [u32],
    files: u32,
}

#[expect(clippy::inline_always, reason = "for every value of every scrape")]
impl Visitor for CountEntries<'_> {
    #[inline(always)]
    fn visit(&mut self, _: u32, id: usize) {
        self.counts[id] += self.files;
    }
}

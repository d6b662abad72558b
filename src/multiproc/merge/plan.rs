//! Where the values of files are, and what they are added to.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::catalog::{Number, Target};
use super::value_refs::Slots;
use crate::file::layout::Layout;
use crate::model::MetricType;

/// What is known of a file's entries. Files of one program are alike, and share it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) metric_type: MetricType,
    pub(crate) layout: Layout,
    pub(crate) slots: Slots,
    /// Entries that were looked at.
    pub(crate) entries: usize,
    /// The families of its entries, each with the first help text that it has there.
    pub(crate) families: Vec<(u32, Option<Number>)>,
    /// Problems of keys, each once.
    pub(crate) unusable: Vec<u32>,
    /// The number of its first key, where all others follow in the order of their numbers.
    pub(crate) run: Option<u32>,
}

impl Plan {
    fn new() -> Plan {
        Plan {
            metric_type: MetricType::Unknown,
            layout: Layout::Empty,
            slots: Slots::default(),
            entries: 0,
            families: Vec::new(),
            unusable: Vec::new(),
            run: Some(0),
        }
    }

    /// Begins another one, in the same memory.
    pub(crate) fn begin(&mut self, metric_type: MetricType, layout: Layout) {
        (self.metric_type, self.layout, self.run) = (metric_type, layout, Some(0));
        self.slots.clear();
        self.entries = 0;
        self.families.clear();
        self.unusable.clear();
    }

    /// The number of the key that would follow in the order of numbers.
    pub(crate) fn next_in_run(&self) -> u32 {
        self.run.map_or(0, |first| first + self.entries as u32)
    }

    /// Notes that the next key, behind which this one is expected, had to be looked for.
    pub(crate) fn note_jump(&mut self, expected: u32) {
        if self.entries == 0 {
            self.run = Some(expected - 1);
        } else if self.next_in_run() + 1 != expected {
            self.run = None;
        }
    }

    pub(crate) fn note_family(&mut self, target: Target) {
        if target.family == u32::MAX {
            return;
        }
        match self.families.iter_mut().rfind(|(family, _)| *family == target.family) {
            Some((_, help)) => *help = help.or(target.help),
            None => self.families.push((target.family, target.help)),
        }
    }
}

/// The plans of all files, each once, and which of them the current scrape has followed.
#[derive(Default)]
pub(crate) struct Plans {
    /// By the hash of their slots.
    known: HashMap<u64, Arc<Plan>, foldhash::fast::RandomState>,
    /// The one of the file before, which the next one mostly has too.
    last: Option<Arc<Plan>>,
    /// An empty one, for its memory.
    spare: Option<Plan>,
    /// Of each file that sums are from.
    followed: Vec<Arc<Plan>>,
    /// What was followed when it was last counted: how many files have each plan.
    settled: Vec<(Arc<Plan>, u32)>,
}

impl Plans {
    pub(crate) fn take_spare(&mut self) -> Plan {
        self.spare.take().unwrap_or_else(Plan::new)
    }

    /// The plan of the file before.
    pub(crate) fn last(&self) -> Option<Arc<Plan>> {
        self.last.clone()
    }

    /// Notes that a file has this plan, which is kept once.
    pub(crate) fn share(&mut self, plan: Plan) -> Arc<Plan> {
        let is_last = self.last.as_ref().is_some_and(|last| **last == plan);
        let shared = match &self.last {
            Some(last) if is_last => Arc::clone(last),
            _ => self.find_or_keep(&plan),
        };
        self.spare = Some(plan);
        self.follow(&shared);
        self.last = Some(Arc::clone(&shared));
        shared
    }

    fn find_or_keep(&mut self, plan: &Plan) -> Arc<Plan> {
        let hash = self.known.hasher().hash_one(&plan.slots);
        if let Some(known) = self.known.get(&hash).filter(|known| ***known == *plan) {
            return Arc::clone(known);
        }
        let mut plan = plan.clone();
        plan.slots.shrink();
        let shared = Arc::new(plan);
        self.known.insert(hash, Arc::clone(&shared));
        shared
    }

    /// Notes that a file has this plan.
    pub(crate) fn follow(&mut self, plan: &Arc<Plan>) {
        if plan.metric_type != MetricType::Gauge {
            self.followed.push(Arc::clone(plan));
        }
    }

    /// Takes back what was noted of the last file, which has this plan.
    pub(crate) fn unfollow(&mut self, plan: &Plan) {
        if plan.metric_type != MetricType::Gauge {
            self.followed.pop();
        }
    }

    /// Begins to note from the start.
    pub(crate) fn restart(&mut self) {
        self.followed.clear();
    }

    /// Counts what was followed. `false` where it is as it was.
    pub(crate) fn settle(&mut self) -> bool {
        self.followed.sort_unstable_by_key(Arc::as_ptr);
        let runs = self.followed.chunk_by(Arc::ptr_eq).map(|run| (&run[0], run.len() as u32));
        let settled = self.settled.iter().map(|(plan, files)| (plan, *files));
        let is_same = |((one, files), (other, others)): ((&Arc<Plan>, _), (&Arc<Plan>, _))| {
            Arc::ptr_eq(one, other) && files == others
        };
        if runs.clone().count() == self.settled.len() && runs.clone().zip(settled).all(is_same) {
            return false;
        }
        self.settled = runs.map(|(plan, files)| (Arc::clone(plan), files)).collect();
        true
    }

    /// Each plan that was followed, and by how many files.
    pub(crate) fn settled(&self) -> impl Iterator<Item = &(Arc<Plan>, u32)> {
        self.settled.iter()
    }

    /// Forgets the plans that no file has.
    pub(crate) fn forget_unused(&mut self) {
        self.last = None;
        self.known.retain(|_, plan| Arc::strong_count(plan) > 1);
    }
}

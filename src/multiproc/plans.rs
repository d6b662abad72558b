//! Where the values of files are, and what they are added to.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::Arc;

use super::tables::{Number, Target};

/// What is known of a file's entries. Files of one program are alike, and share it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// In the order of the file.
    pub(super) slots: Vec<Slot>,
    /// Entries that were looked at.
    pub(super) entries: usize,
    /// The families of its entries, each with the first help text that it has there.
    pub(super) families: Vec<(u32, Option<Number>)>,
    /// Problems of keys, each once.
    pub(super) unusable: Vec<u32>,
    pub(super) is_gauge: bool,
    pub(super) has_time: bool,
    /// Whether a time of 0 means that a gauge was never set.
    pub(super) can_tell_unset: bool,
}

/// A value of a file: the upper half is where it is, in words of 8 bytes from the start of the file, the lower
/// one the number of its sum, or of its gauge.
pub(super) type Slot = u64;

#[inline]
pub(super) fn slot(word: u32, number: Number) -> Slot {
    u64::from(word) << 32 | u64::from(number.get())
}

#[inline]
pub(super) fn word_of(slot: Slot) -> u32 {
    (slot >> 32) as u32
}

#[inline]
pub(super) fn number_of(slot: Slot) -> usize {
    slot as u32 as usize
}

impl Plan {
    /// Empties it, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.entries = 0;
        self.families.clear();
        self.unusable.clear();
    }

    pub(super) fn note_family(&mut self, target: Target) {
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
pub(super) struct Plans {
    /// By the hash of their slots.
    known: HashMap<u64, Arc<Plan>, foldhash::fast::RandomState>,
    /// The one of the file before, which the next one mostly has too.
    last: Option<Arc<Plan>>,
    /// An empty one, for its memory.
    spare: Plan,
    /// Of each file that sums are from.
    followed: Vec<Arc<Plan>>,
    /// What was followed when it was last counted: how many files have each plan.
    settled: Vec<(Arc<Plan>, u32)>,
}

impl Plans {
    pub(super) fn take_spare(&mut self) -> Plan {
        std::mem::take(&mut self.spare)
    }

    /// Notes that a file has this plan, which is kept once.
    pub(super) fn share(&mut self, plan: Plan) -> Arc<Plan> {
        let is_last = self.last.as_ref().is_some_and(|last| **last == plan);
        let shared = match &self.last {
            Some(last) if is_last => Arc::clone(last),
            _ => self.find_or_keep(&plan),
        };
        self.spare = plan;
        self.follow(&shared);
        self.last = Some(Arc::clone(&shared));
        shared
    }

    fn find_or_keep(&mut self, plan: &Plan) -> Arc<Plan> {
        let mut hasher = self.known.hasher().build_hasher();
        plan.slots.hash(&mut hasher);
        let known = self.known.entry(hasher.finish());
        let shared = known
            .and_modify(|known| {
                if **known != *plan {
                    *known = Arc::new(plan.clone());
                }
            })
            .or_insert_with(|| Arc::new(plan.clone()));
        Arc::clone(shared)
    }

    /// Notes that a file has this plan.
    pub(super) fn follow(&mut self, plan: &Arc<Plan>) {
        if !plan.is_gauge {
            self.followed.push(Arc::clone(plan));
        }
    }

    /// Takes back what was noted of the last file, which has this plan.
    pub(super) fn unfollow(&mut self, plan: &Plan) {
        if !plan.is_gauge {
            self.followed.pop();
        }
    }

    /// Begins to note from the start.
    pub(super) fn restart(&mut self) {
        self.followed.clear();
    }

    /// Counts what was followed. `false` where it is as it was.
    pub(super) fn settle(&mut self) -> bool {
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
    pub(super) fn settled(&self) -> impl Iterator<Item = &(Arc<Plan>, u32)> {
        self.settled.iter()
    }

    /// Forgets the plans that no file has.
    pub(super) fn forget_unused(&mut self) {
        self.last = None;
        self.known.retain(|_, plan| Arc::strong_count(plan) > 1);
    }
}

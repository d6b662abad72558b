//! Files whose values are added together.
//!
//! A directory lists the files of one type and mode one after the other, and those of processes that run the same program
//! mostly begin with the same keys at the same positions. The values of these are added together, then the other values of
//! each file.
//!
//! The values of a gauge must be added in the order of files. So files with several values for one gauge, which no client
//! writes on purpose, have nothing in common with others.

use std::sync::{Arc, Weak};

use super::add_values::BATCH;
use super::plan::Plan;
use crate::file::layout::Layout;
use crate::file::name::FileKind;
use crate::file::read_map::ReadMap;
use crate::model::MetricType;

/// What all files of a batch have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchKind {
    pub(super) kind: FileKind,
    pub(super) layout: Layout,
    /// Whether the values count in their mode.
    pub(super) is_counted: bool,
}

/// How many values at the beginning of a plan are those of another plan too.
pub(crate) struct CommonValues {
    other: Weak<Plan>,
    count: usize,
}

pub(super) type BatchedFiles = Vec<(Arc<Plan>, Arc<ReadMap>)>;

/// Files whose values are about to be added.
#[derive(Default)]
pub(super) struct Batch {
    files: BatchedFiles,
    kind: Option<BatchKind>,
    /// How many values at the beginning all files have in common.
    common: usize,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.files.clear();
    }

    /// Adds a file, unless it has little in common with the others, which must then be added first. `cached` keeps what the
    /// plan has in common with that of the file before.
    pub(super) fn try_push(
        &mut self,
        kind: BatchKind,
        plan: &Arc<Plan>,
        map: &Arc<ReadMap>,
        cached: &mut Option<CommonValues>,
    ) -> bool {
        let Some((last, _)) = self.files.last() else {
            (self.kind, self.common) = (Some(kind), plan.values.len());
            self.files.push((Arc::clone(plan), Arc::clone(map)));
            return true;
        };
        if self.kind != Some(kind) || self.files.len() == BATCH {
            return false;
        }
        let count = match cached {
            Some(cached) if cached.other.as_ptr() == Arc::as_ptr(last) => cached.count,
            _ => {
                let count = common_values(last, plan);
                *cached = Some(CommonValues { other: Arc::downgrade(last), count });
                count
            }
        };
        let common = self.common.min(count);
        if common < plan.values.len().max(self.common) / 2 {
            return false;
        }
        self.common = common;
        self.files.push((Arc::clone(plan), Arc::clone(map)));
        true
    }

    /// Removes all files. Returns them, what they are, and how many values they have in common; `None` if there are none.
    pub(super) fn take(&mut self) -> Option<(BatchedFiles, BatchKind, usize)> {
        let kind = self.kind.filter(|_| !self.files.is_empty())?;
        Some((std::mem::take(&mut self.files), kind, self.common))
    }

    /// Keeps the memory of a list that [`take`](Self::take) has returned.
    pub(super) fn reuse(&mut self, mut files: BatchedFiles) {
        files.clear();
        self.files = files;
    }
}

fn common_values(one: &Plan, other: &Plan) -> usize {
    let is_ordered =
        |plan: &Plan| plan.metric_type != MetricType::Gauge || plan.values.is_distinct();
    if is_ordered(one) && is_ordered(other) { one.values.common_len(&other.values) } else { 0 }
}

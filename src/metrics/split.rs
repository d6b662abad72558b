//! What the types have in common whose series are split by thread.

use super::core::SplitTyped;
use crate::model::clock::now;
use crate::store::fork::SlowPath;
use crate::store::{SampleCells, Split};

/// The sum of one value of a series over all threads of this process.
pub(super) fn total<C: Send + Sync, A: Send + Sync>(
    split: &Split<C, A>,
    value: impl Fn(&C) -> f64,
) -> f64 {
    // OK because an empty sum from `Iterator::sum` would be -0.
    let total = split.iter().map(&value).fold(0.0, |sum, value| sum + value);
    split.base().map_or(total, |base| total - value(base))
}

/// Makes the values of a split begin at 0 again.
pub(super) fn restart<M: SplitTyped>(
    split: &'static Split<M::Cells, M::Alignment>,
    options: M::Options,
    lock: &SlowPath,
) {
    let mut totals = vec![0.0; M::samples(options).count()];
    for cells in split.iter() {
        for (total, word) in totals.iter_mut().zip(M::words(cells)) {
            *total += word.get();
        }
    }
    let base = split.base().unwrap_or_else(|| {
        let words: Vec<_> = totals.iter().map(|_| SampleCells::on_heap(0.0)).collect();
        let base = Box::leak(Box::new(M::cells(options, &words)));
        split.set_base(base, lock);
        base
    });
    for (word, total) in M::words(base).zip(totals) {
        word.set(total);
    }
    M::created_cell(base).set(now());
}

/// The creation time of the series in this process: the earliest one of its threads or, after a removal, the time when it came
/// back. Its values begin at 0 then.
pub(super) fn earliest<M: SplitTyped>(split: &Split<M::Cells, M::Alignment>) -> Option<f64> {
    if let Some(base) = split.base() {
        return Some(M::created_cell(base).get());
    }
    let times = split.iter().map(|cells| M::created_cell(cells).get());
    times.filter(|time| *time > 0.0).reduce(f64::min)
}

/// Implements what all types have in common whose series are split by thread.
macro_rules! split_storage {
    () => {
        fn open(
            _: &SeriesOpener<'_>,
            _: Self::Options,
            former: Option<&'static Self::Slots>,
        ) -> &'static Self::Slots {
            Box::leak(Box::new(Split::following(former)))
        }

        fn inherit(slots: &'static Self::Slots) -> &'static Self::Slots {
            slots.inherit();
            slots
        }

        fn export_zeros(child: ChildRef<Self>, lock: &SlowPath) {
            child.export_zeros(lock);
        }

        fn created(slots: &Self::Slots) -> Option<f64> {
            earliest::<Self>(slots)
        }

        fn restart(slots: &'static Self::Slots, options: Self::Options, lock: &SlowPath) {
            restart::<Self>(slots, options, lock);
        }
    };
}

pub(super) use split_storage;

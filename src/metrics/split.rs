//! What the types have in common whose series are split by thread.

use super::core::SplitTyped;
use crate::model::clock::now;
use crate::store::fork::{Home, Release, SlowPath, Transient};
use crate::store::{SampleCells, Split, release_words};

/// The sum of one value of a series over all threads of this process.
pub(super) fn total<C: Transient + Send, A: Send + Sync>(
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
    home: Home,
    lock: &SlowPath,
) {
    let mut totals = vec![0.0; M::samples(options).count()];
    for cells in split.iter() {
        for (total, word) in totals.iter_mut().zip(M::words(cells)) {
            *total += word.get();
        }
    }
    let base = split.base().unwrap_or_else(|| {
        let words = SampleCells::all_in(home, totals.len(), 0.0);
        let base = home.place(M::cells(options, &words, home));
        split.set_base(base, home, lock);
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

/// Releases the storage of a series that does not come back.
pub(super) fn release<M: SplitTyped>(
    split: &'static Split<M::Cells, M::Alignment>,
    release: &mut Release,
) {
    split.release(release, |cells, release| {
        release_words(M::created_cell(cells), M::words(cells).count(), release);
        M::release_cells(cells, release);
    });
}

/// Implements what all types have in common whose series are split by thread.
macro_rules! split_storage {
    () => {
        fn open(
            opener: &SeriesOpener<'_>,
            _: Self::Options,
            former: Option<&'static Self::Slots>,
        ) -> &'static Self::Slots {
            opener.home().place(Split::following(former, opener.home()))
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

        fn restart(
            slots: &'static Self::Slots,
            options: Self::Options,
            home: Home,
            lock: &SlowPath,
        ) {
            restart::<Self>(slots, options, home, lock);
        }

        fn release(slots: &'static Self::Slots, to: &mut Release) {
            release::<Self>(slots, to);
        }
    };
}

pub(super) use split_storage;

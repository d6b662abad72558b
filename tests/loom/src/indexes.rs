//! The assignment of indexes to threads: `store/owners.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loom::thread;

use crate::owners::{MAX_OWNERS, Owners};
use crate::{model_bounded, without_acquire, without_release};

/// The protocol, with its own orderings or with weaker ones.
pub(crate) trait Indexes: Send + Sync + 'static {
    fn new() -> Self;
    fn take(&self) -> Option<usize>;
    fn release(&self, index: usize);

    /// The state in which all indexes but the last `free` ones are taken.
    fn with_free(free: usize) -> Arc<Self>
    where
        Self: Sized,
    {
        let indexes = Self::new();
        for index in 0..MAX_OWNERS - free {
            assert_eq!(indexes.take(), Some(index));
        }
        Arc::new(indexes)
    }
}

macro_rules! indexes {
    ($($owners:ty),*) => {$(
        impl Indexes for $owners {
            fn new() -> Self {
                <$owners>::new()
            }

            fn take(&self) -> Option<usize> {
                self.take()
            }

            fn release(&self, index: usize) {
                self.release(index);
            }
        }
    )*};
}

indexes!(Owners, without_acquire::owners::Owners, without_release::owners::Owners);

#[test]
fn every_index_is_assigned_at_most_once() {
    model_bounded(3, || {
        let owners = Owners::with_free(2);
        let others: Vec<_> = (0..2)
            .map(|_| {
                let owners = owners.clone();
                thread::spawn(move || owners.take())
            })
            .collect();
        let mut taken = vec![owners.take()];
        taken.extend(others.into_iter().map(|other| other.join().unwrap()));
        taken.sort_unstable();
        assert_eq!(taken, [None, Some(MAX_OWNERS - 2), Some(MAX_OWNERS - 1)]);
        assert_eq!(owners.take(), None);
    });
}

#[test]
fn two_threads_never_own_one_index_at_the_same_time() {
    model_bounded(3, || {
        let owners = Owners::with_free(2);
        // Not an atomic of the model: which indexes are owned in this execution.
        let owned: Arc<[AtomicBool; MAX_OWNERS]> = Arc::default();
        let own = {
            let owned = owned.clone();
            move |owners: &Owners| {
                if let Some(index) = owners.take() {
                    assert!(!owned[index].swap(true, Ordering::Relaxed), "{index} is owned");
                    thread::yield_now();
                    owned[index].store(false, Ordering::Relaxed);
                    owners.release(index);
                }
            }
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (owners, own) = (owners.clone(), own.clone());
                thread::spawn(move || own(&owners))
            })
            .collect();
        own(&owners);
        others.into_iter().for_each(|other| other.join().unwrap());
        // All are free again.
        assert_eq!(owners.take(), Some(MAX_OWNERS - 2));
        assert_eq!(owners.take(), Some(MAX_OWNERS - 1));
    });
}

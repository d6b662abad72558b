//! A value that each process creates for itself.

use super::epoch::epoch;
use crate::fork_safe::StaticRef;

/// A value that each process creates for itself.
///
/// The parent's value stays in the memory of a child, where it is not used.
pub(crate) struct PerProcess<T: 'static> {
    current: StaticRef<Epochal<T>>,
}

struct Epochal<T> {
    epoch: u64,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { current: StaticRef::empty() }
    }

    /// Returns the value of this process. If threads race, each creates a value, and all get the same one.
    pub(crate) fn get_or_create(&self, create: impl Fn() -> T) -> &'static T {
        let epoch = epoch();
        loop {
            let seen = self.current.get();
            if let Some(current) = seen.filter(|current| current.epoch == epoch) {
                return &current.value;
            }
            let new: &'static Epochal<T> = Box::leak(Box::new(Epochal { epoch, value: create() }));
            if self.current.replace(seen, new) {
                return &new.value;
            }
        }
    }
}

//! Collectors that were registered, and can be unregistered.

use std::fmt;
use std::sync::Arc;

use super::entry::CollectorEntry;
use crate::store::fork;
use crate::store::recording_ignored;

/// The collectors of one call of [`register`](super::Registry::register) or [`register_all`](super::Registry::register_all).
///
/// The collectors stay registered when it is dropped. A collector that describes its families can also be
/// [unregistered by name](super::Registry::unregister).
#[derive(Clone)]
pub struct Registration {
    entries: Box<[Arc<CollectorEntry>]>,
}

impl Registration {
    pub(super) fn new(entries: Vec<Arc<CollectorEntry>>) -> Registration {
        Registration { entries: entries.into() }
    }

    /// Removes the collectors from their registry, which drops them, and [removes](crate::Family::remove) their series from the
    /// files of the process. The names that they describe can be registered again. Does nothing if they are removed already, or
    /// in a signal handler or an allocator that interrupted multiprom in the same thread.
    ///
    /// ```
    /// use multiprom::{Backend, Collector, FamilySink, Registry};
    ///
    /// struct Queue;
    ///
    /// impl Collector for Queue {
    ///     fn collect(&self, out: &mut dyn FamilySink) {
    ///         out.gauge("queue_depth", "Jobs waiting.").sample(&[], 3.0);
    ///     }
    /// }
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// let queue = registry.register(Queue)?;
    /// queue.unregister();
    /// assert_eq!(registry.render(None).to_string(), "");
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn unregister(&self) {
        let Some(lock) = fork::lock() else {
            return recording_ignored();
        };
        let removed: Vec<_> = self.entries.iter().map(|entry| entry.remove(&lock)).collect();
        // Dropped after the lock, as the program may record when its values are dropped.
        drop(lock);
        drop(removed);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = self.entries.iter().map(|entry| entry.title());
        f.debug_tuple("Registration").field(&titles.collect::<Vec<_>>()).finish()
    }
}

//! Metrics and collectors that are removed from a registry.

use super::core::{Registry, slow_path};
use super::names::Owner;
use crate::error::{Error, ErrorKind, Result};

impl Registry {
    /// Removes the metric of this name, or the collector that describes it: the name of a family or of one of its samples. The
    /// names of the family, and all that the collector describes, can be registered again, also with another type or help
    /// text.
    ///
    /// The series leave the exposition as [`Family::remove`](crate::Family::remove) says, also from the files of a multiprocess
    /// directory. Handles of the metric record nothing from then on. If it is registered again with the same description, they
    /// are valid again; those of a family when their label values are looked up again. A handle that a lookup returns in
    /// between never records. A static is registered again by [`register_statics`](crate::register_statics), and not by its
    /// use. Other processes are not affected: each unregisters its own metrics. The metric takes memory until the process ends.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Gauge, Registry};
    ///
    /// let registry = Registry::builder().prefix("shop").backend(Backend::in_memory()).build()?;
    /// let requests = Counter::builder("requests", "Requests.").register(&registry)?;
    /// registry.unregister("shop_requests_total")?;
    /// requests.inc();
    /// Gauge::builder("requests", "Requests in flight.").register(&registry)?.set(2.0);
    /// assert_eq!(
    ///     registry.render(None).to_string(),
    ///     "# HELP shop_requests Requests in flight.\n\
    ///      ## TYPE shop_requests gauge\n\
    ///      shop_requests 2\n"
    /// );
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Of kind [`NotRegistered`](ErrorKind::NotRegistered) if the registry itself has no such metric or described family, and
    /// [`Reentrant`](ErrorKind::Reentrant) in a signal handler or an allocator that interrupted multiprom in the same
    /// thread.
    pub fn unregister(&self, name: &str) -> Result<()> {
        let lock = slow_path()?;
        let Some(reserved) = self.inner.names.with_sample(name).next() else {
            drop(lock);
            let message = format!("no metric `{name}` is registered");
            return Err(Error::new(ErrorKind::NotRegistered, message));
        };
        let (functions, collector) = match reserved.owner() {
            Owner::Family(family) => {
                reserved.set_registered(false);
                (Some(family.retire(&lock)), None)
            }
            Owner::Collector(_, entry) => (None, entry.remove(&lock)),
        };
        // Dropped after the lock, as the program may record when its values are dropped.
        drop(lock);
        drop((functions, collector));
        Ok(())
    }
}

//! Families of the writing half, as a registry sees them.

use std::any::Any;

use super::descriptor::Descriptor;
use crate::model::Collector;
use crate::store::Store;
use crate::store::fork::SlowPath;

/// A family of the writing half, as the registry sees it.
pub(crate) trait RegisteredFamily: Collector {
    fn descriptor(&self) -> &Descriptor;

    /// Where the values are.
    fn store(&self) -> Store;

    /// For [`Registry::find_family`](super::Registry::find_family), which knows the type.
    fn as_any(&'static self) -> &'static (dyn Any + Send + Sync);

    /// Removes all series, and lets handles and lookups record nothing from now on. Returns what the caller drops after it
    /// has released the lock.
    fn retire(&'static self, lock: &SlowPath) -> Box<dyn Any>;
}

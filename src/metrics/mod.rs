//! The metric types that programs record with.
//!
//! A `Counter`, `Gauge`, `Summary` or `Histogram` is declared as a static or built at run time; what
//! records is a handle, a copied address of a series. Recording never fails, blocks or panics.
//!
//! A handle is bound to its cells at the first recording in each process: so a forked child starts
//! from zero in files of its own, and a process that records nothing leaves no file.

pub mod buckets;
mod builder;
mod children;
mod core;
mod counter;
mod family;
mod gauge;
mod histogram;
mod shape;
mod statics;
mod summary;
mod timer;

pub use builder::{FamilyBuilder, MetricBuilder};
pub use counter::{Counter, CounterHandle};
pub use family::Family;
pub use gauge::{Gauge, GaugeHandle, InProgress};
pub use histogram::{Histogram, HistogramHandle};
pub use statics::{Declare, register_statics};
pub use summary::{Summary, SummaryHandle};
pub use timer::{Observe, Timer};

/// A metric type: [`Counter`], [`Gauge`], [`Summary`] or [`Histogram`].
///
/// Sealed: it says how a type's series are stored, which is not open to other crates.
pub trait Metric: core::Typed {
    /// What records into one series of this type.
    type Handle: Copy + Send + Sync + 'static;

    #[doc(hidden)]
    fn handle(child: core::ChildRef<Self>) -> Self::Handle;
}

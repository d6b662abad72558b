//! The metric types that programs record with.
//!
//! A [`Counter`], [`Gauge`], [`Summary`], [`Histogram`], [`Info`] or [`Enum`] is a handle: the address of a series, which
//! lives as long as the process. A [`Family`] is the address of a family. Both are declared as a [`Static`] or created at run time by a
//! [`MetricBuilder`]. Recording returns nothing and cannot fail.
//!
//! A series gets its cells at the first recording in each process, so a forked child starts from zero in files of its
//! own, and a process that records nothing creates no file.

pub mod buckets;
mod builder;
mod child_labels;
mod children;
mod collected;
mod constructors;
mod core;
mod counter;
mod enumeration;
#[cfg(feature = "metrics-facade")]
pub(crate) mod facade;
mod family;
mod functions;
mod gauge;
mod gauge_cells;
mod handle;
mod histogram;
mod idle;
mod info;
mod label_set;
pub mod labels;
mod lookup_key;
mod open_labels;
mod overflows;
mod recording;
mod removal_flags;
mod removing;
mod settings;
mod shape;
mod spec;
mod split;
mod statics;
mod summary;
mod target_info;
mod timer;
mod transient;

use crate::model::{Collector, FamilySink};

pub use crate::model::UnknownGaugeMode;
pub use builder::{FamilyBuilder, MetricBuilder};
pub use counter::Counter;
pub use enumeration::Enum;
pub use family::{Family, OpenFamily, TypedFamily};
pub use gauge::{Gauge, InProgress};
pub use histogram::Histogram;
pub use info::Info;
pub use label_set::{LabelSet, TypedFamilyBuilder};
pub use open_labels::OpenFamilyBuilder;
pub use removing::Cumulative;
pub use statics::{AnyStatic, Declared, Static, register_statics};
pub use summary::Summary;
pub use timer::{Observation, Observe, Timer};

/// A metric type: [`Counter`], [`Gauge`], [`Summary`], [`Histogram`], [`Info`] or [`Enum`].
///
/// Sealed: it determines how series of the type are stored, which other crates cannot define. Functions can be generic
/// over it:
///
/// ```
/// use multiprom::metrics::Metric;
/// use multiprom::{Counter, Family, Static};
///
/// static JOBS: Static<Family<Counter>> = Counter::declare("jobs_total", "Jobs.").labels(["tenant"]);
///
/// fn of_tenant<M: Metric>(family: &Family<M>, tenant: &str) -> M {
///     family.with([tenant])
/// }
///
/// of_tenant(&JOBS, "a").inc();
/// assert_eq!(JOBS.with(["a"]).get(), 1.0);
/// ```
pub trait Metric: core::Typed {}

/// Emits the series of a handle, with the value of this process, so that it can be rendered alone or registered in a second
/// registry.
///
/// ```
/// use multiprom::{Backend, Gauge, Registry};
///
/// let in_memory = || Registry::builder().backend(Backend::in_memory()).build();
/// let jobs = Gauge::builder("jobs", "Jobs.").labels(["queue"]).register(&in_memory()?)?;
/// let mail = jobs.with(["mail"]);
/// mail.set(3.0);
/// jobs.with(["print"]).set(4.0);
///
/// let alone = in_memory()?;
/// alone.register(mail)?;
/// assert_eq!(
///     alone.render(None).to_string(),
///     "# HELP jobs Jobs.\n\
///      ## TYPE jobs gauge\n\
///      jobs{queue=\"mail\"} 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
impl<M: Metric> Collector for M {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.child().collect_alone(out);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.child().family().describe(out);
    }

    /// Whether the series is in memory: it is in a file otherwise.
    fn is_merged(&self) -> bool {
        self.child().store().is_inherited()
    }

    fn is_in_files(&self) -> bool {
        !self.child().store().is_inherited()
    }
}

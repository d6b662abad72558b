//! The traits of sources and sinks of metric families.

use std::any::Any;

use super::directory_id::DirectoryId;
use super::family::{FamilyMetadata, Sample};
use super::{Labels, NativeHistogram};
use crate::error::Error;

/// A source of metric families.
///
/// Every scrape calls [`collect`](Collector::collect), from any thread and possibly concurrently with other
/// scrapes, and waits until it returns. An implementation writes each family at most once, its samples
/// directly after [`FamilySink::family`], and the samples of one label set consecutively.
///
/// A collector that cannot obtain its data does not panic. It omits the affected families and reports the
/// failure in a metric of its own. If an incomplete exposition would be wrong, for example because totals
/// would fall, it calls [`FamilySink::fail`].
///
/// ```
/// use multiprom::{Collector, FamilySink, Registry};
///
/// struct Queue;
///
/// impl Collector for Queue {
///     fn collect(&self, out: &mut dyn FamilySink) {
///         out.gauge("queue_depth", "Jobs waiting.").sample(&[("queue", "mail")], 3.0);
///     }
/// }
///
/// let registry = Registry::builder().build()?;
/// registry.register(Queue)?;
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP queue_depth Jobs waiting.\n\
///      ## TYPE queue_depth gauge\n\
///      queue_depth{queue=\"mail\"} 3\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
pub trait Collector: Send + Sync {
    /// Writes all families to `out`, in any order.
    fn collect(&self, out: &mut dyn FamilySink);

    /// The multiprocess directories whose series are among the families.
    ///
    /// A registry that has such a collector leaves out its own families whose values are in one of these directories,
    /// because the collector exports them. The default is none.
    fn directories(&self) -> Vec<DirectoryId> {
        Vec::new()
    }

    /// The collector itself, if it is a registry, which may not contain itself.
    #[doc(hidden)]
    fn as_registry(&self) -> Option<&dyn Any> {
        None
    }
}

/// A destination of metric families: each call of [`family`](FamilySink::family) is followed by calls for the
/// samples of that family.
///
/// Encoders implement it, and so do filters, which forward all four methods. `dyn FamilySink` has methods that
/// write whole families: [`counter`](trait@FamilySink#method.counter), `gauge`, `histogram`, `gauge_histogram`,
/// `summary`, `info`, `state_set` and `unknown`.
pub trait FamilySink {
    /// Begins a family. It ends at the next call, or at the end of the exposition.
    fn family(&mut self, head: &FamilyMetadata<'_>);

    /// Receives the next sample of the family.
    fn sample(&mut self, sample: &Sample<'_>);

    /// Receives a native histogram. If the label set also has classic buckets, it follows the samples of those.
    ///
    /// The default ignores it, as most formats cannot represent native histograms.
    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        let _ = (labels, histogram);
    }

    /// Reports that a collector cannot export its families, and that the exposition must fail as a whole.
    ///
    /// The HTTP exporter responds to the scrape with status 500 and the error;
    /// [`Exposition::try_render`](crate::Exposition::try_render) returns the first error. The default ignores
    /// it, as does [`Exposition::render`](crate::Exposition::render), which cannot fail.
    fn fail(&mut self, error: Error) {
        let _ = error;
    }
}

/// Runs collectors and writes their families to a sink, each family name at most once.
pub trait Gatherer {
    /// Writes all families to `out`.
    fn gather(&self, out: &mut dyn FamilySink);
}

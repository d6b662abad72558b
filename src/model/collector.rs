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
/// Encoders implement it, and so do filters, which forward all five methods. New methods will have defaults.
/// `dyn FamilySink` has methods that write whole families: [`counter`](trait@FamilySink#method.counter), `gauge`,
/// `histogram`, `gauge_histogram`, `summary`, `info`, `state_set` and `unknown`.
///
/// A filter that omits a family, and adds a label to the samples of the others:
///
/// ```
/// use multiprom::collector::{FamilyMetadata, Labels, NativeHistogram, Sample};
/// use multiprom::{Collector, Error, FamilySink, Registry};
///
/// /// Omits families named `debug_...`, and adds the label `zone` to all samples.
/// struct Zoned<'a> {
///     out: &'a mut dyn FamilySink,
///     is_omitted: bool,
/// }
///
/// impl FamilySink for Zoned<'_> {
///     fn family(&mut self, head: &FamilyMetadata<'_>) {
///         self.is_omitted = head.name.starts_with("debug_");
///         if !self.is_omitted {
///             self.out.family(head);
///         }
///     }
///
///     fn sample(&mut self, sample: &Sample<'_>) {
///         if !self.is_omitted {
///             let labels: Vec<_> = sample.labels.iter().chain([("zone", "eu")]).collect();
///             self.out.sample(&sample.with_labels(&labels));
///         }
///     }
///
///     fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
///         if !self.is_omitted {
///             let labels: Vec<_> = labels.iter().chain([("zone", "eu")]).collect();
///             self.out.native_histogram(Labels::new(&labels), histogram);
///         }
///     }
///
///     fn wants_created(&self) -> bool {
///         self.out.wants_created()
///     }
///
///     fn fail(&mut self, error: Error) {
///         self.out.fail(error);
///     }
/// }
///
/// struct Queues;
///
/// impl Collector for Queues {
///     fn collect(&self, out: &mut dyn FamilySink) {
///         let out: &mut dyn FamilySink = &mut Zoned { out, is_omitted: false };
///         out.gauge("debug_depth", "").sample(&[], 1.0);
///         out.counter("jobs_total", "Jobs done.").sample(&[("queue", "mail")], 3.0);
///         out.summary("wait_seconds", "Waits.").sample(&[], &[(0.5, 0.25)], 2.0, 0.5);
///     }
/// }
///
/// let registry = Registry::new();
/// registry.register(Queues)?;
/// assert_eq!(
///     registry.render(None).to_string(),
///     "# HELP jobs_total Jobs done.\n\
///      ## TYPE jobs_total counter\n\
///      jobs_total{queue=\"mail\",zone=\"eu\"} 3\n\
///      ## HELP wait_seconds Waits.\n\
///      ## TYPE wait_seconds summary\n\
///      wait_seconds{zone=\"eu\",quantile=\"0.5\"} 0.25\n\
///      wait_seconds_sum{zone=\"eu\"} 0.5\n\
///      wait_seconds_count{zone=\"eu\"} 2\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
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

    /// Whether the sink uses start timestamps: samples of the kind [`Created`](crate::collector::SampleKind::Created).
    ///
    /// If not, the collectors of this crate leave them out. The default is `false`, for sinks that take all values of a family
    /// for measurements; a filter forwards the method. The encoders of the text formats and of OpenMetrics 1.0 return `true` if
    /// the program has enabled the samples `_created`, all others always.
    fn wants_created(&self) -> bool {
        false
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
///
/// [`Registry`](crate::Registry) and [`Families`](crate::parse::Families) implement it. Programs may implement it too,
/// for a source that is encoded without a registry.
pub trait Gatherer {
    /// Writes all families to `out`.
    fn gather(&self, out: &mut dyn FamilySink);
}

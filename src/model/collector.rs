//! The traits of collectors and of sinks of metric families.

use std::any::Any;

use super::directory_id::DirectoryId;
use super::family::{FamilyMetadata, Sample};
use super::merge_rule::MergeRule;
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
/// # In a multiprocess directory
///
/// If the values of the registry are in a directory, the process writes the families to its files, so that every exporter of
/// the directory shows them. A thread of the process calls the collector at once, then
/// [every five seconds](crate::DirectoryOptions::refresh_interval), and when the process itself is scraped or calls
/// [`Registry::flush`](crate::Registry::flush). On the pages of the process they are shown once, as a part of the merge.
///
/// - [`merge_rule`](Collector::merge_rule) says how the values of several processes become one. By default counters,
///   histograms and summaries are added up, and gauges have a series for each live process, with the label `pid`.
/// - Totals never fall: those in the files grow by what those of the collector grow. In a forked child they grow by what the
///   collector counts there; a total that is lower than the last one in the parent counts from 0.
/// - A series that is not returned any more is [removed](crate::Family::remove).
/// - Quantiles, exemplars and native histograms are not merged. Gauge histograms are on the pages of the process only.
/// - Of several collectors of a directory that return a family of the same name, the first one is written; none is, if
///   a metric of the registry has the name. Such families, invalid names and incomplete samples are left out, counted
///   in `multiprom_failed_refreshes_total`, and logged once for each collector.
/// - If the collector panics or calls [`FamilySink::fail`], the last values stay, and the failure is counted there too.
/// - In a forked child it is called only after the child's own first recording, registration or flush. While it is called,
///   forks of the process wait, as for [`Gauge::set_function`](crate::Gauge::set_function).
/// - When the registry is dropped, its series are removed. So register collectors in a registry that lives as long as the
///   process, and not in one for each scrape.
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

    /// Writes the metadata of all families that [`collect`](Collector::collect) may write: their names and types. Samples are
    /// ignored, so a collector whose families are always the same calls `self.collect(out)` here.
    ///
    /// A registry calls it when the collector is registered. A name that is taken is then an error of the registration, the
    /// names can be [unregistered](crate::Registry::unregister), and a [restricted view](crate::Registry::restricted) without
    /// them does not call the collector. The default writes nothing: the names are compared at each scrape, and of families
    /// that collide one is left out and counted in `multiprom_repeated_families_total`.
    ///
    /// ```
    /// use multiprom::{Backend, Collector, ErrorKind, FamilySink, Gauge, Registry};
    ///
    /// struct Queue;
    ///
    /// impl Collector for Queue {
    ///     fn collect(&self, out: &mut dyn FamilySink) {
    ///         out.gauge("queue_depth", "Jobs waiting.").sample(&[], 3.0);
    ///     }
    ///
    ///     fn describe(&self, out: &mut dyn FamilySink) {
    ///         self.collect(out);
    ///     }
    /// }
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// registry.register(Queue)?;
    /// let error = Gauge::builder("queue_depth", "").register(&registry).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyRegistered);
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    fn describe(&self, out: &mut dyn FamilySink) {
        let _ = out;
    }

    /// Whether the families are written in the order of their names. The default is `false`.
    ///
    /// A registry passes the families of the first such collector on as they are written. It keeps those of other collectors
    /// in memory until it has all, so that the exposition is sorted. A collector of very many series should return `true`.
    fn is_sorted(&self) -> bool {
        false
    }

    /// How the values of a family from several processes are merged, if the registry is in a multiprocess directory.
    /// `family` is the name of the family: that of a counter without `_total`, that of an info without `_info`.
    ///
    /// ```
    /// use multiprom::collector::MergeRule;
    /// use multiprom::{Collector, FamilySink, GaugeMode};
    ///
    /// struct Pool;
    ///
    /// impl Collector for Pool {
    ///     fn collect(&self, out: &mut dyn FamilySink) {
    ///         out.gauge("pool_connections", "Open connections.").sample(&[], 3.0);
    ///         out.counter("server_restarts_total", "Restarts of the database.").sample(&[], 2.0);
    ///     }
    ///
    ///     fn merge_rule(&self, family: &str) -> MergeRule {
    ///         match family {
    ///             "pool_connections" => MergeRule::Mode(GaugeMode::LiveSum),
    ///             // All workers ask the same database.
    ///             _ => MergeRule::SharedSource,
    ///         }
    ///     }
    /// }
    /// ```
    fn merge_rule(&self, family: &str) -> MergeRule {
        let _ = family;
        MergeRule::ByType
    }

    /// Whether the families are written to the files of the process, if the registry is in a multiprocess directory. The
    /// default is `true`.
    ///
    /// If not, only the process itself shows them, beside the merge. [`ProcessCollector`](crate::ProcessCollector),
    /// [`BuildInfo`](crate::collector::BuildInfo) and [`PlatformInfo`](crate::collector::PlatformInfo) return `false`, because
    /// they describe the process that is scraped; so do the metrics of exporters and compactors.
    /// [`MergedBy`](crate::collector::MergedBy) writes them nevertheless. A collector that reads a
    /// [multiprocess directory](Collector::directories) is never written.
    fn is_merged(&self) -> bool {
        true
    }

    /// Whether the values are in the files of a multiprocess directory already, so that they are never written again.
    #[doc(hidden)]
    fn is_in_files(&self) -> bool {
        false
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

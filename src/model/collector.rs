//! The traits between those who have samples and those who want them.

use super::family::{FamilyHead, Part, Sample};
use super::{NativeHistogram, RenderedLabels};
use crate::error::Error;

/// A source of metric families.
///
/// `collect` is called for every scrape, from any thread, and by several scrapes at once; who calls
/// waits until it returns. It must give each family at most once, its samples together, all samples
/// of one label set in a row. A collector that cannot get at its data gives fewer families and
/// says so in a metric of its own; it does not panic. Where fewer families would be wrong rather than
/// incomplete, it calls [`FamilySink::fail`].
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
    /// Gives all families to `out`, in any order.
    fn collect(&self, out: &mut dyn FamilySink);
}

/// Takes families, one after the other: each [`family`](FamilySink::family) is followed by its
/// samples.
///
/// Encoders implement it; so do filters, which pass on all five. On a `dyn FamilySink` there are short
/// forms: [`counter`](trait@FamilySink#method.counter), `gauge`, `histogram`, `gauge_histogram`,
/// `summary`, `info`, `state_set` and `unknown`.
pub trait FamilySink {
    /// Begins a family; it ends where the next one begins.
    fn family(&mut self, head: &FamilyHead<'_>);

    /// Takes the next sample of the family.
    fn sample(&mut self, sample: &Sample<'_>);

    /// Takes the next sample of the family, whose labels were rendered before.
    ///
    /// By default it is a sample like every other, whose labels are taken apart again. Encoders of text write
    /// them as they are, so that filters should pass them on.
    fn rendered(&mut self, part: Part, labels: RenderedLabels<'_>, value: f64) {
        let labels: Vec<(&str, &str)> = labels.iter().collect();
        self.sample(&Sample::new(part, &labels, value));
    }

    /// Takes the native histogram of a label set; where it has classic buckets too, right after them.
    ///
    /// By default it is left out, as most formats cannot hold one.
    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
        let _ = (labels, histogram);
    }

    /// Reports that a collector cannot export its families and that the others must not be exported without
    /// them.
    ///
    /// The HTTP exporter answers the scrape with status 500 and the error, and
    /// [`Exposition::try_render`](crate::Exposition::try_render) returns the first error.
    /// [`Exposition::render`](crate::Exposition::render), which cannot fail, and sinks that keep this default
    /// ignore it.
    fn fail(&mut self, error: Error) {
        let _ = error;
    }
}

/// Runs collectors and gives what they have to a sink, each family name once.
pub trait Gatherer {
    /// Gives all families to `out`.
    fn gather(&self, out: &mut dyn FamilySink);
}

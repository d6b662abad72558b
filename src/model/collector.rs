//! The traits between those who have samples and those who want them.

use super::family::{FamilyHead, MetricType, Part, Sample};

/// A source of metric families.
///
/// `collect` is called for every scrape, from any thread, and by several scrapes at once; who calls
/// waits until it returns. It must give each family at most once, its samples together, all samples
/// of one label set in a row. A collector that cannot get at its data gives fewer families and
/// says so in a metric of its own; it does not panic.
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
/// Encoders implement it; so do filters. On a `dyn FamilySink` the short forms
/// [`counter`](trait@FamilySink#method.counter), `gauge`, `summary` and `unknown` are at hand.
pub trait FamilySink {
    /// Begins a family; it ends where the next one begins.
    fn family(&mut self, head: &FamilyHead<'_>);

    /// Takes the next sample of the family.
    fn sample(&mut self, sample: &Sample<'_>);
}

impl<'s> dyn FamilySink + 's {
    /// Begins a counter family. A name that ends in `_total` is taken without that ending.
    pub fn counter<'a>(&'a mut self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        let name = name.strip_suffix("_total").unwrap_or(name);
        FamilyWriter::begin(self, name, help, MetricType::Counter, Part::Total)
    }

    /// Begins a gauge family.
    pub fn gauge<'a>(&'a mut self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        FamilyWriter::begin(self, name, help, MetricType::Gauge, Part::Value)
    }

    /// Begins a family of unknown type.
    pub fn unknown<'a>(&'a mut self, name: &str, help: &str) -> FamilyWriter<'a, 's> {
        FamilyWriter::begin(self, name, help, MetricType::Unknown, Part::Value)
    }
}

/// Writes the samples of a family that has one sample per label set.
pub struct FamilyWriter<'a, 's> {
    sink: &'a mut (dyn FamilySink + 's),
    part: Part,
}

impl<'a, 's> FamilyWriter<'a, 's> {
    fn begin(
        sink: &'a mut (dyn FamilySink + 's),
        name: &str,
        help: &str,
        metric_type: MetricType,
        part: Part,
    ) -> FamilyWriter<'a, 's> {
        sink.family(&FamilyHead::new(name, help, metric_type));
        FamilyWriter { sink, part }
    }

    /// Writes one sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.sink.sample(&Sample::new(self.part, labels, value));
        self
    }
}

/// Runs collectors and gives what they have to a sink, each family name once.
pub trait Gatherer {
    /// Gives all families to `out`.
    fn gather(&self, out: &mut dyn FamilySink);
}

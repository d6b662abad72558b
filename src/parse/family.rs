//! Owned families, and the sink that collects them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::quality::RandomState;

use super::exemplar::{OwnedExemplar, borrowed, owned};
use super::native::OwnedNativeHistogram;
use crate::error::{Error, Result};
use crate::model::{
    Collector, Exemplar, FamilyMetadata, FamilySink, Gatherer, Labels, MetricType, NativeHistogram,
    Sample, SampleKind,
};

/// A metric family with its samples.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OwnedFamily {
    /// The name, without `_total` of a counter and without `_info` of an info.
    pub name: String,
    /// The help text; may be empty.
    pub help: String,
    /// The unit; may be empty.
    pub unit: String,
    /// The type.
    pub metric_type: MetricType,
    /// The samples, in the order of the exposition.
    pub samples: Vec<OwnedSample>,
    /// The native histograms, in the order of the exposition; [`OwnedNativeHistogram::after`] places each of
    /// them among the samples.
    pub native_histograms: Vec<OwnedNativeHistogram>,
}

/// An element of a family.
enum FamilyItem<S, N> {
    Sample(S),
    Native(N),
}

/// Merges samples and native histograms into the order of the exposition. `after` returns the number of
/// samples that precede a histogram.
fn interleaved<S, N>(
    samples: impl IntoIterator<Item = S>,
    natives: impl IntoIterator<Item = N>,
    after: impl Fn(&N) -> usize,
) -> impl Iterator<Item = FamilyItem<S, N>> {
    let mut samples = samples.into_iter();
    let mut natives = natives.into_iter().peekable();
    let mut yielded = 0;
    std::iter::from_fn(move || {
        if let Some(native) = natives.next_if(|native| after(native) <= yielded) {
            return Some(FamilyItem::Native(native));
        }
        yielded += 1;
        let sample = samples.next().map(FamilyItem::Sample);
        sample.or_else(|| natives.next().map(FamilyItem::Native))
    })
}

/// One sample of a [`OwnedFamily`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OwnedSample {
    /// The part of the metric that the sample is; it decides the suffix of the sample's name.
    pub kind: SampleKind,
    /// The labels, in the order of the exposition, without the `le` of a bucket and the `quantile` of a quantile.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// The timestamp of the sample, in seconds since the Unix epoch.
    pub timestamp: Option<f64>,
    /// The exemplar.
    pub exemplar: Option<OwnedExemplar>,
}

impl OwnedFamily {
    /// A family without unit, samples and native histograms.
    pub fn new(
        name: impl Into<String>,
        help: impl Into<String>,
        metric_type: MetricType,
    ) -> OwnedFamily {
        OwnedFamily {
            name: name.into(),
            help: help.into(),
            unit: String::new(),
            metric_type,
            samples: Vec::new(),
            native_histograms: Vec::new(),
        }
    }

    /// The metadata of the family.
    pub fn head(&self) -> FamilyMetadata<'_> {
        FamilyMetadata::new(&self.name, &self.help, self.metric_type).with_unit(&self.unit)
    }

    /// The name in the text format, where the name of a counter ends in `_total` and that of an info in `_info`.
    pub(crate) fn text_name(&self) -> String {
        [&self.name, self.metric_type.own_suffix()].concat()
    }

    /// Whether the family has neither samples nor native histograms.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.native_histograms.is_empty()
    }

    /// Makes the samples of each metric consecutive, and sorts its buckets by bound.
    fn join_metrics(&mut self) {
        let family = self.name.as_str();
        let mut places: HashMap<Vec<&(String, String)>, usize, RandomState> = HashMap::default();
        let mut keys: Vec<usize> = Vec::with_capacity(self.samples.len());
        for item in interleaved(&self.samples, &self.native_histograms, |native| native.after) {
            let (labels, has_state) = match item {
                FamilyItem::Sample(sample) => (&sample.labels, sample.kind == SampleKind::State),
                FamilyItem::Native(native) => (&native.labels, false),
            };
            let is_state = |name: &str| has_state && name == family;
            let mut key: Vec<_> = labels.iter().filter(|(name, _)| !is_state(name)).collect();
            key.sort_unstable();
            let next = places.len();
            keys.push(*places.entry(key).or_insert(next));
        }
        drop(places);
        if !keys.is_sorted() || !self.native_histograms.is_empty() {
            let (samples, natives) = (self.samples.drain(..), self.native_histograms.drain(..));
            let items = interleaved(samples, natives, |native| native.after);
            let mut keyed: Vec<_> = keys.drain(..).zip(items).collect();
            keyed.sort_by_key(|(key, _)| *key);
            let (mut samples, mut natives) = (Vec::new(), Vec::new());
            for (key, item) in keyed {
                match item {
                    FamilyItem::Sample(sample) => {
                        keys.push(key);
                        samples.push(sample);
                    }
                    FamilyItem::Native(native) => {
                        let after = samples.len();
                        natives.push(OwnedNativeHistogram { after, ..native });
                    }
                }
            }
            (self.samples, self.native_histograms) = (samples, natives);
        }
        let mut start = 0;
        while start < keys.len() {
            let len = keys[start..].iter().take_while(|key| **key == keys[start]).count();
            sort_buckets(&mut self.samples[start..start + len]);
            start += len;
        }
    }

    /// Writes the family to a sink, such as an encoder.
    pub fn give(&self, sink: &mut dyn FamilySink) {
        sink.family(&self.head());
        for item in interleaved(&self.samples, &self.native_histograms, |native| native.after) {
            match item {
                FamilyItem::Sample(sample) => sample.emit(sink),
                FamilyItem::Native(native) => native.emit(sink),
            }
        }
    }
}

impl OwnedSample {
    /// A sample without a timestamp and an exemplar.
    pub fn new(kind: SampleKind, labels: Vec<(String, String)>, value: f64) -> OwnedSample {
        OwnedSample { kind, labels, value, timestamp: None, exemplar: None }
    }

    fn emit(&self, sink: &mut dyn FamilySink) {
        let labels = borrowed(&self.labels);
        let mut sample = Sample::new(self.kind, &labels, self.value);
        sample.timestamp = self.timestamp;
        let exemplar =
            self.exemplar.as_ref().map(|exemplar| (exemplar, borrowed(&exemplar.labels)));
        let exemplar = exemplar.as_ref().map(|(exemplar, labels)| Exemplar {
            labels,
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        sample.exemplar = exemplar.as_ref();
        sink.sample(&sample);
    }
}

/// The families of an exposition as a [`Gatherer`], which an encoder can render.
///
/// Families can be values without an exposition, for tests and programs that process metrics:
///
/// ```
/// use multiprom::collector::{MetricType, SampleKind};
/// use multiprom::parse::{Families, OwnedFamily, OwnedSample};
/// use multiprom::{Backend, Counter, Exposition, Registry};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// let jobs = Counter::builder("jobs", "Jobs.").labels(["queue"]).register(&registry)?;
/// jobs.with(["mail"]).inc_by(2.0);
/// jobs.with(["print"]).inc();
///
/// let mut expected = OwnedFamily::new("jobs", "Jobs.", MetricType::Counter);
/// for (queue, total) in [("mail", 2.0), ("print", 1.0)] {
///     let labels = vec![("queue".to_owned(), queue.to_owned())];
///     expected.samples.push(OwnedSample::new(SampleKind::Total, labels, total));
/// }
/// assert_eq!(Families::of_gatherer(&registry)?, Families(vec![expected]));
///
/// // One series alone.
/// let mail = Families::of_collector(&jobs.with(["mail"]))?;
/// assert_eq!(
///     Exposition::render(&mail, None).to_string(),
///     "# HELP jobs_total Jobs.\n\
///      ## TYPE jobs_total counter\n\
///      jobs_total{queue=\"mail\"} 2\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// The type is not `#[non_exhaustive]`: it is a list of families and nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Families(pub Vec<OwnedFamily>);

impl Gatherer for Families {
    fn gather(&self, out: &mut dyn FamilySink) {
        for family in &self.0 {
            family.give(out);
        }
    }
}

impl Families {
    /// The families of a registry or another gatherer. Metrics of this crate have no start timestamps in them, so that the
    /// values of two registries can be compared.
    ///
    /// # Errors
    ///
    /// The first that a collector reports by [`FamilySink::fail`].
    pub fn of_gatherer(source: &dyn Gatherer) -> Result<Families> {
        Families::written_by(|out| source.gather(out))
    }

    /// The families of one collector: a metric, a family of metrics, or a collector of the program. As for
    /// [`of_gatherer`](Families::of_gatherer), they have no start timestamps.
    ///
    /// # Errors
    ///
    /// The first that the collector reports by [`FamilySink::fail`].
    pub fn of_collector(source: &dyn Collector) -> Result<Families> {
        Families::written_by(|out| source.collect(out))
    }

    fn written_by(write: impl FnOnce(&mut dyn FamilySink)) -> Result<Families> {
        let mut collected = Collected::default();
        write(&mut collected);
        let Collected { complete, current, error } = collected;
        match error {
            Some(error) => Err(error),
            None => Ok(Families(complete.into_iter().chain(current).collect())),
        }
    }

    /// Groups families as formats other than text require: joins the families of equal name and type, makes the
    /// samples of each metric consecutive, and sorts the buckets of each metric by bound.
    ///
    /// A family of unknown type without samples contributes only its help text to the family of the same name,
    /// if there is one. Families of equal name but different types remain separate.
    pub fn joined(self) -> Families {
        let is_bare =
            |piece: &OwnedFamily| piece.is_empty() && piece.metric_type == MetricType::Unknown;
        let typed: HashSet<String, RandomState> =
            self.0.iter().filter(|piece| !is_bare(piece)).map(OwnedFamily::text_name).collect();
        let mut help: HashMap<String, String, RandomState> = HashMap::default();
        let mut places: HashMap<(String, MetricType), usize, RandomState> = HashMap::default();
        let mut joined: Vec<OwnedFamily> = Vec::new();
        for piece in self.0 {
            let name = piece.text_name();
            if is_bare(&piece) && typed.contains(&name) {
                help.entry(name).or_insert(piece.help);
                continue;
            }
            match places.entry((name, piece.metric_type)) {
                Entry::Vacant(place) => {
                    place.insert(joined.len());
                    joined.push(piece);
                }
                Entry::Occupied(place) => {
                    let known = &mut joined[*place.get()];
                    if known.help.is_empty() {
                        known.help = piece.help;
                    }
                    let before = known.samples.len();
                    known.samples.extend(piece.samples);
                    let natives = piece.native_histograms.into_iter();
                    known.native_histograms.extend(natives.map(|native| OwnedNativeHistogram {
                        after: before + native.after,
                        ..native
                    }));
                }
            }
        }
        for family in &mut joined {
            if family.help.is_empty() {
                family.help = help.remove(&family.text_name()).unwrap_or_default();
            }
            family.join_metrics();
        }
        Families(joined)
    }
}

/// Sorts the buckets of one metric by bound. A metric with several points is left as it is.
fn sort_buckets(samples: &mut [OwnedSample]) {
    let timestamp = |sample: &OwnedSample| sample.timestamp.map(f64::to_bits);
    if samples.windows(2).any(|pair| timestamp(&pair[0]) != timestamp(&pair[1])) {
        return;
    }
    let bound = |sample: &OwnedSample| match sample.kind {
        SampleKind::Bucket(bound) => Some(bound),
        _ => None,
    };
    if samples.iter().filter_map(bound).is_sorted() {
        return;
    }
    let mut bounds: Vec<f64> = samples.iter().filter_map(bound).collect();
    bounds.sort_unstable_by(f64::total_cmp);
    if bounds.windows(2).any(|pair| pair[0] == pair[1]) {
        // The metric has several points with equal timestamps.
        return;
    }
    samples.sort_by(|a, b| match (bound(a), bound(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    });
}

/// A sink that collects owned families.
#[derive(Default)]
pub(super) struct Collected {
    complete: VecDeque<OwnedFamily>,
    current: Option<OwnedFamily>,
    /// The first one that was reported.
    error: Option<Error>,
}

impl Collected {
    /// The next complete family.
    pub(super) fn next(&mut self) -> Option<OwnedFamily> {
        self.complete.pop_front()
    }

    /// The family that is still being collected, complete at the end of the exposition.
    pub(super) fn last(&mut self) -> Option<OwnedFamily> {
        self.current.take()
    }
}

impl FamilySink for Collected {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        let mut next = OwnedFamily::new(head.name, head.help, head.metric_type);
        head.unit.clone_into(&mut next.unit);
        self.complete.extend(self.current.replace(next));
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        let Some(family) = &mut self.current else {
            return;
        };
        family.samples.push(OwnedSample {
            kind: sample.kind,
            labels: owned(sample.labels),
            value: sample.value,
            timestamp: sample.timestamp,
            exemplar: sample.exemplar.map(OwnedExemplar::copy),
        });
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        if let Some(family) = &mut self.current {
            let after = family.samples.len();
            family.native_histograms.push(OwnedNativeHistogram::copy(after, labels, histogram));
        }
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}

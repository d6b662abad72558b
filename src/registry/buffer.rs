//! Families that are kept in memory until they can be written in the order of their names.

use std::ops::Range;

use crate::error::Error;
use crate::model::{
    BucketSpan, Exemplar, FamilyMetadata, FamilySink, Labels, MetricType, NativeBuckets,
    NativeHistogram, Sample,
};

/// Decides whether a family is exported.
pub(super) type Admit<'a> = dyn FnMut(&FamilyMetadata<'_>) -> bool + 'a;

/// Families of collectors.
#[derive(Default)]
pub(super) struct Buffer {
    pub(super) families: Vec<BufferedFamily>,
    /// All texts of labels, one after the other.
    text: String,
    /// The ends of the names and values in the text.
    ends: Vec<usize>,
}

pub(super) struct BufferedFamily {
    pub(super) name: String,
    help: String,
    unit: String,
    metric_type: MetricType,
    points: Vec<Point>,
}

/// A sample or a native histogram. Labels are places in [`Buffer::ends`].
enum Point {
    Sample { sample: Sample<'static>, labels: Range<usize>, exemplar: Option<BufferedExemplar> },
    Native(Box<BufferedNative>),
}

struct BufferedExemplar {
    labels: Range<usize>,
    value: f64,
    timestamp: Option<f64>,
}

struct BufferedNative {
    histogram: NativeHistogram<'static>,
    labels: Range<usize>,
    negative: (Vec<BucketSpan>, Vec<f64>),
    positive: (Vec<BucketSpan>, Vec<f64>),
    exemplars: Vec<BufferedExemplar>,
}

/// Writes the admitted families of a collector to a buffer.
pub(super) struct Buffering<'a> {
    buffer: &'a mut Buffer,
    admit: &'a mut Admit<'a>,
    /// Receives failures.
    out: &'a mut dyn FamilySink,
    is_skipping: bool,
}

impl<'a> Buffering<'a> {
    pub(super) fn new(
        buffer: &'a mut Buffer,
        admit: &'a mut Admit<'a>,
        out: &'a mut dyn FamilySink,
    ) -> Buffering<'a> {
        Buffering { buffer, admit, out, is_skipping: true }
    }

    fn push(&mut self, point: Point) {
        if let Some(family) = self.buffer.families.last_mut() {
            family.points.push(point);
        }
    }
}

impl FamilySink for Buffering<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.is_skipping = !(self.admit)(head);
        if !self.is_skipping {
            self.buffer.families.push(BufferedFamily {
                name: head.name.to_owned(),
                help: head.help.to_owned(),
                unit: head.unit.to_owned(),
                metric_type: head.metric_type,
                points: Vec::new(),
            });
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if self.is_skipping {
            return;
        }
        let labels = self.buffer.add_labels(sample.labels.iter());
        let exemplar = sample.exemplar.map(|exemplar| self.buffer.add_exemplar(exemplar));
        let Sample { kind, value, timestamp, .. } = *sample;
        let sample = Sample { timestamp, ..Sample::new(kind, &[], value) };
        self.push(Point::Sample { sample, labels, exemplar });
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        if self.is_skipping {
            return;
        }
        let owned = |buckets: NativeBuckets<'_>| (buckets.spans.to_vec(), buckets.counts.to_vec());
        let exemplars = histogram.exemplars.iter();
        let native = BufferedNative {
            labels: self.buffer.add_labels(labels.iter()),
            negative: owned(histogram.negative),
            positive: owned(histogram.positive),
            exemplars: exemplars.map(|exemplar| self.buffer.add_exemplar(exemplar)).collect(),
            histogram: NativeHistogram {
                count: histogram.count,
                sum: histogram.sum,
                schema: histogram.schema,
                zero_threshold: histogram.zero_threshold,
                zero_count: histogram.zero_count,
                created: histogram.created,
                timestamp: histogram.timestamp,
                ..NativeHistogram::default()
            },
        };
        self.push(Point::Native(Box::new(native)));
    }

    fn wants_created(&self) -> bool {
        self.out.wants_created()
    }

    fn fail(&mut self, error: Error) {
        self.out.fail(error);
    }
}

impl Buffer {
    fn add_labels<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> Range<usize> {
        let start = self.ends.len();
        for text in labels.flat_map(|(name, value)| [name, value]) {
            self.text.push_str(text);
            self.ends.push(self.text.len());
        }
        start..self.ends.len()
    }

    fn add_exemplar(&mut self, exemplar: &Exemplar<'_>) -> BufferedExemplar {
        let Exemplar { value, timestamp, .. } = *exemplar;
        let labels = self.add_labels(exemplar.labels.iter().copied());
        BufferedExemplar { labels, value, timestamp }
    }

    fn push_labels<'a>(&'a self, places: &Range<usize>, pairs: &mut Vec<(&'a str, &'a str)>) {
        let text = |at: usize| {
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.text[start..self.ends[at]]
        };
        pairs.extend(places.clone().step_by(2).map(|at| (text(at), text(at + 1))));
    }

    /// Writes a family of the buffer.
    pub(super) fn write(&self, family: &BufferedFamily, out: &mut dyn FamilySink) {
        let BufferedFamily { name, help, unit, metric_type, points } = family;
        out.family(&FamilyMetadata { name, help, unit, metric_type: *metric_type });
        let (mut pairs, mut of_exemplar) = (Vec::new(), Vec::new());
        for point in points {
            pairs.clear();
            match point {
                Point::Sample { sample, labels, exemplar } => {
                    self.push_labels(labels, &mut pairs);
                    of_exemplar.clear();
                    let exemplar = exemplar.as_ref().map(|exemplar| {
                        self.push_labels(&exemplar.labels, &mut of_exemplar);
                        let BufferedExemplar { value, timestamp, .. } = *exemplar;
                        Exemplar { labels: &of_exemplar, value, timestamp }
                    });
                    let sample = sample.with_labels(Labels::new(&pairs));
                    out.sample(&Sample { exemplar: exemplar.as_ref(), ..sample });
                }
                Point::Native(native) => {
                    self.push_labels(&native.labels, &mut pairs);
                    self.write_native(native, Labels::new(&pairs), out);
                }
            }
        }
    }

    fn write_native(&self, native: &BufferedNative, labels: Labels<'_>, out: &mut dyn FamilySink) {
        let labels_of = |exemplar: &BufferedExemplar| {
            let mut pairs = Vec::new();
            self.push_labels(&exemplar.labels, &mut pairs);
            pairs
        };
        let pairs: Vec<_> = native.exemplars.iter().map(labels_of).collect();
        let exemplars = native.exemplars.iter().zip(&pairs);
        let exemplars = exemplars.map(|(exemplar, labels)| {
            let BufferedExemplar { value, timestamp, .. } = *exemplar;
            Exemplar { labels, value, timestamp }
        });
        let exemplars: Vec<_> = exemplars.collect();
        let (negative, positive) = (&native.negative, &native.positive);
        let histogram = native
            .histogram
            .with_negative(NativeBuckets::new(&negative.0, &negative.1))
            .with_positive(NativeBuckets::new(&positive.0, &positive.1))
            .with_exemplars(&exemplars);
        out.native_histogram(labels, &histogram);
    }
}

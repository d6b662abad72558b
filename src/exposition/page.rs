//! Complete expositions, in memory or streamed.

use std::fmt;
use std::io::{self, Write};

use super::Encoder;
use super::format::{Format, Negotiated};
use super::json::JsonEncoder;
use super::negotiate::negotiate;
use super::openmetrics::OpenMetricsEncoder;
use super::openmetrics2::OpenMetrics2Encoder;
#[cfg(feature = "protobuf")]
use super::protobuf::ProtobufEncoder;
use super::text::TextEncoder;
use crate::error::{Error, Result};
use crate::model::{FamilyMetadata, FamilySink, Gatherer, Labels, NativeHistogram, Sample};

/// The size in bytes from which encoded output is written to the destination.
const CHUNK_LEN: usize = 64 * 1024;

/// A complete exposition, the response to a scrape.
///
/// [`Display`](fmt::Display) writes the body as text.
///
/// The type is not `#[non_exhaustive]`, so that programs can destructure it: a response has a content type and a body.
///
/// ```
/// use multiprom::{Collector, Exposition, FamilySink, Registry};
///
/// struct Queue;
///
/// impl Collector for Queue {
///     fn collect(&self, out: &mut dyn FamilySink) {
///         out.counter("jobs_total", "Jobs done.").sample(&[("queue", "mail")], 3.0);
///     }
/// }
///
/// let registry = Registry::new();
/// registry.register(Queue)?;
/// let accept = "application/openmetrics-text; version=1.0.0";
/// let Exposition { content_type, body } = Exposition::render(&registry, Some(accept));
/// assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
/// assert_eq!(
///     String::from_utf8(body).unwrap(),
///     "# TYPE jobs counter\n\
///      ## HELP jobs Jobs done.\n\
///      jobs_total{queue=\"mail\"} 3.0\n\
///      ## EOF\n"
/// );
/// # Ok::<(), multiprom::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// The value of the HTTP header `Content-Type`.
    pub content_type: &'static str,
    /// The body: UTF-8 text, except in the binary format `protobuf`.
    pub body: Vec<u8>,
}

impl Exposition {
    /// Gathers and encodes all families in the format that an HTTP `Accept` header [selects](super::negotiate).
    ///
    /// Errors that collectors report by [`FamilySink::fail`] are ignored.
    pub fn render(source: &dyn Gatherer, accept: Option<&str>) -> Exposition {
        Exposition::encode(source, negotiate(accept))
    }

    /// Like [`render`](Exposition::render), for handlers that can respond with status 500.
    ///
    /// # Errors
    ///
    /// The first error that a collector reports by [`FamilySink::fail`].
    pub fn try_render(source: &dyn Gatherer, accept: Option<&str>) -> Result<Exposition> {
        let (exposition, failure) = Exposition::gather(source, negotiate(accept));
        failure.map_or(Ok(exposition), Err)
    }

    /// Gathers and encodes all families in one format.
    ///
    /// Errors that collectors report by [`FamilySink::fail`] are ignored.
    pub fn encode(source: &dyn Gatherer, format: impl Into<Negotiated>) -> Exposition {
        Exposition::gather(source, format.into()).0
    }

    /// Gathers and encodes all families. Returns also the first error that a collector reports.
    fn gather(source: &dyn Gatherer, format: Negotiated) -> (Exposition, Option<Error>) {
        let mut body = Vec::new();
        let failure = match encode(source, format, &mut body, None) {
            Some(Failure::Collector(error)) => Some(error),
            // OK because nothing is written to an output.
            Some(Failure::Output(_)) | None => None,
        };
        (Exposition { content_type: format.content_type(), body }, failure)
    }

    /// Gathers and encodes all families in one format, and writes them to `out` in parts. At most one part is in
    /// memory: about 64 KiB, or in protobuf one family.
    ///
    /// # Errors
    ///
    /// The first error of `out`, or the first error that a collector reports by [`FamilySink::fail`], as the inner
    /// error of an [`io::Error`]. Writing stops at the error, and the exposition in `out` is incomplete.
    pub fn write(
        source: &dyn Gatherer,
        format: impl Into<Negotiated>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(CHUNK_LEN + CHUNK_LEN / 4);
        match encode(source, format.into(), &mut buffer, Some(out)) {
            Some(Failure::Collector(error)) => Err(io::Error::other(error)),
            Some(Failure::Output(error)) => Err(error),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.body))
    }
}

/// Encodes all families of `source` into `buffer`, which is drained to `out` if there is one.
fn encode(
    source: &dyn Gatherer,
    negotiated: Negotiated,
    buffer: &mut Vec<u8>,
    out: Option<&mut dyn Write>,
) -> Option<Failure> {
    let escaping = negotiated.escaping();
    match negotiated.format() {
        Format::Text | Format::TextUtf8 => {
            let encoder = TextEncoder::new(buffer).escaping(escaping);
            let shows_created = negotiated.shows_created();
            run(source, if shows_created { encoder.created() } else { encoder }, out)
        }
        Format::OpenMetrics | Format::OpenMetrics001 => {
            let encoder = OpenMetricsEncoder::new(buffer).escaping(escaping);
            let shows_created = negotiated.shows_created();
            run(source, if shows_created { encoder.created() } else { encoder }, out)
        }
        Format::OpenMetrics2 => {
            run(source, OpenMetrics2Encoder::new(buffer).escaping(escaping), out)
        }
        #[cfg(feature = "protobuf")]
        Format::Protobuf => run(source, ProtobufEncoder::new(buffer).escaping(escaping), out),
        #[cfg(feature = "protobuf")]
        Format::ProtobufText => {
            run(source, ProtobufEncoder::new(buffer).escaping(escaping).text(), out)
        }
        Format::Json => run(source, JsonEncoder::new(buffer), out),
    }
}

fn run<E: Encoder>(
    source: &dyn Gatherer,
    encoder: E,
    out: Option<&mut dyn Write>,
) -> Option<Failure> {
    let mut page = Page { encoder, out, failure: None };
    source.gather(&mut page);
    if page.is_open() {
        page.encoder.end();
        page.drain(0);
    }
    page.failure
}

/// The first failure of an exposition.
enum Failure {
    /// Reported by a collector.
    Collector(Error),
    /// Returned by the output.
    Output(io::Error),
}

/// Forwards to an encoder, drains its output, and records the first failure. It is generic over the encoder, as a
/// second dynamic call per sample is measurable.
struct Page<'a, E> {
    encoder: E,
    /// Receives the output in chunks of at least [`CHUNK_LEN`]. If there is none, the exposition remains in the buffer
    /// of the encoder, and is completed after a failure too.
    out: Option<&'a mut dyn Write>,
    failure: Option<Failure>,
}

impl<E: Encoder> Page<'_, E> {
    fn is_open(&self) -> bool {
        self.out.is_none() || self.failure.is_none()
    }

    /// Writes the output of the encoder if it has at least `min_len` bytes.
    fn drain(&mut self, min_len: usize) {
        if let Some(out) = &mut self.out
            && let Some(chunk) = self.encoder.chunk()
            && chunk.len() >= min_len
        {
            self.failure = out.write_all(chunk).err().map(Failure::Output);
            chunk.clear();
        }
    }
}

impl<E: Encoder> FamilySink for Page<'_, E> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        if self.is_open() {
            self.encoder.family(head);
            self.drain(CHUNK_LEN);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if self.is_open() {
            self.encoder.sample(sample);
            self.drain(CHUNK_LEN);
        }
    }

    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        if self.is_open() {
            self.encoder.native_histogram(labels, histogram);
            self.drain(CHUNK_LEN);
        }
    }

    fn wants_created(&self) -> bool {
        self.encoder.wants_created()
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(Failure::Collector(error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::model::{
        Exemplar, HistogramPoint, KeptLabels, LabelPairs as _, MetricType, SampleKind,
    };

    /// Families of more than one chunk, with sums that remove the count written before them.
    struct Many;

    impl Gatherer for Many {
        fn gather(&self, out: &mut dyn FamilySink) {
            for number in 0..200 {
                let mut histogram = out.histogram(&format!("h_{number}"), "Help.");
                for label in ["a", "b", "c"] {
                    let buckets = [(1.0, 1.0), (2.0, 2.0)];
                    let point = HistogramPoint {
                        buckets: &buckets,
                        count: 3.0,
                        sum: 5.0,
                        ..Default::default()
                    };
                    histogram.sample(&[("label", label)], &point);
                }
                out.sample(&Sample::new(SampleKind::Count, &[], 1.0));
                out.sample(&Sample::new(SampleKind::Sum, &[], f64::NAN));
                out.gauge_histogram(&format!("g_{number}"), "")
                    .sample(&[], &HistogramPoint::default());
            }
        }
    }

    /// Accepts this many writes, then fails.
    struct Failing(usize);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The written bytes, and the length of the longest write.
    #[derive(Default)]
    struct Recorded {
        bytes: Vec<u8>,
        longest: usize,
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes.extend_from_slice(bytes);
            self.longest = self.longest.max(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn chunks_add_up_to_the_whole_exposition() {
        for format in [Format::Text, Format::OpenMetrics, Format::OpenMetrics2, Format::Json] {
            let whole = Exposition::encode(&Many, format).body;
            assert!(whole.len() > CHUNK_LEN, "{format:?} has {} bytes", whole.len());
            let mut written = Recorded::default();
            Exposition::write(&Many, format, &mut written).unwrap();
            assert!(written.bytes == whole, "{format:?}");
            assert!(written.longest < CHUNK_LEN + 1024, "{format:?}: {}", written.longest);
        }
    }

    /// A histogram and a counter, with cached labels or with pairs.
    struct OneOf(KeptLabels, bool);

    impl Gatherer for OneOf {
        fn gather(&self, out: &mut dyn FamilySink) {
            let mut pairs = Vec::new();
            self.0.push_pairs(&mut pairs);
            let cached = if self.1 { self.0.rendered() } else { None };
            let labels = cached.unwrap_or(Labels::new(&pairs));
            for name in ["a", "a.b"] {
                out.family(&FamilyMetadata::new(&name.repeat(2), "", MetricType::Counter));
                let exemplar = Exemplar { labels: &[("t", "1")], value: 1.0, timestamp: Some(2.0) };
                let total = Sample::new(SampleKind::Total, labels, 1.5);
                out.sample(&total.with_timestamp(3.0).with_exemplar(&exemplar));
                out.sample(&Sample::new(SampleKind::Created, labels, 1.0));
                out.family(&FamilyMetadata::new(name, "", MetricType::Histogram));
                for kind in [SampleKind::Bucket(0.5), SampleKind::Bucket(f64::INFINITY)] {
                    out.sample(&Sample::new(kind, labels, 2.0));
                }
                out.sample(&Sample::new(SampleKind::Sum, labels, 4.0));
                out.sample(&Sample::new(SampleKind::Count, labels, 2.0));
                out.native_histogram(labels, &NativeHistogram::default());
            }
        }
    }

    #[test]
    fn cached_labels_are_encoded_like_pairs() {
        let sets: [&[(&str, &str)]; 3] = [&[], &[("x", "1")], &[("x", "=,{}"), ("y", "")]];
        let formats = [
            Format::Text,
            Format::TextUtf8,
            Format::OpenMetrics,
            Format::OpenMetrics2,
            #[cfg(feature = "protobuf")]
            Format::Protobuf,
            Format::Json,
        ];
        for (labels, format) in sets.iter().flat_map(|set| formats.map(|format| (*set, format))) {
            let page = |is_cached| {
                let labels = KeptLabels::new(labels.iter().copied());
                assert!(labels.rendered().is_some());
                let format = Negotiated::from(format).created();
                Exposition::encode(&OneOf(labels, is_cached), format).to_string()
            };
            assert_eq!(page(true), page(false), "{format:?}");
        }
    }

    #[test]
    fn a_failure_of_a_collector_ends_a_streamed_exposition_only() {
        struct Broken;

        impl Gatherer for Broken {
            fn gather(&self, out: &mut dyn FamilySink) {
                out.gauge("a", "").sample(&[], 1.0);
                out.fail(Error::new(ErrorKind::Directory, "first"));
                out.fail(Error::new(ErrorKind::Directory, "second"));
                out.gauge("b", "").sample(&[], 1.0);
            }
        }

        let text = Exposition::render(&Broken, None).to_string();
        assert_eq!(text, "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n");
        assert_eq!(Exposition::try_render(&Broken, None).unwrap_err().to_string(), "first");
        let mut out = Recorded::default();
        let error = Exposition::write(&Broken, Format::Text, &mut out).unwrap_err();
        assert_eq!((error.to_string().as_str(), out.bytes.len()), ("first", 0));
    }

    #[test]
    fn writing_stops_at_the_first_error() {
        let mut out = Failing(1);
        let error = Exposition::write(&Many, Format::Text, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(out.0, 0);
    }
}

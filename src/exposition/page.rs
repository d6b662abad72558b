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
use crate::model::{
    FamilyMetadata, FamilySink, Gatherer, NativeHistogram, RenderedLabels, Sample, SampleKind,
};

/// The size in bytes from which encoded output is written to the destination.
const CHUNK_LEN: usize = 64 * 1024;

/// A complete exposition, the response to a scrape.
///
/// [`Display`](fmt::Display) writes the body as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// The value of the HTTP header `Content-Type`.
    pub content_type: &'static str,
    /// The body: UTF-8 text, except in [`Format::Protobuf`](super::Format::Protobuf).
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
        let (mut body, mut failure) = (Vec::new(), None);
        let encode_all = |encoder: &mut dyn Encoder| {
            source.gather(&mut FailureRecorder { encoder, failure: &mut failure });
            encoder.end();
            Ok(())
        };
        // OK because encoding into memory does not fail.
        let _ = with_encoder(format, &mut body, encode_all);
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
        let write_chunks = |encoder: &mut dyn Encoder| {
            let mut chunks = ChunkWriter { encoder, out, result: Ok(()) };
            source.gather(&mut chunks);
            if chunks.result.is_ok() {
                chunks.encoder.end();
                chunks.flush(0);
            }
            chunks.result
        };
        with_encoder(format.into(), &mut buffer, write_chunks)
    }
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.body))
    }
}

fn with_encoder(
    negotiated: Negotiated,
    out: &mut Vec<u8>,
    run: impl FnOnce(&mut dyn Encoder) -> io::Result<()>,
) -> io::Result<()> {
    let escaping = negotiated.escaping();
    match negotiated.format() {
        Format::Text | Format::TextUtf8 => {
            let encoder = TextEncoder::new(out).escaping(escaping);
            run(&mut if negotiated.shows_created() { encoder.created() } else { encoder })
        }
        Format::OpenMetrics | Format::OpenMetrics001 => {
            let encoder = OpenMetricsEncoder::new(out).escaping(escaping);
            run(&mut if negotiated.shows_created() { encoder.created() } else { encoder })
        }
        Format::OpenMetrics2 => run(&mut OpenMetrics2Encoder::new(out).escaping(escaping)),
        #[cfg(feature = "protobuf")]
        Format::Protobuf => run(&mut ProtobufEncoder::new(out).escaping(escaping)),
        #[cfg(feature = "protobuf")]
        Format::ProtobufText => run(&mut ProtobufEncoder::new(out).escaping(escaping).text()),
        Format::Json => run(&mut JsonEncoder::new(out)),
    }
}

/// Forwards to an encoder and records the first failure of a collector.
struct FailureRecorder<'a> {
    encoder: &'a mut dyn Encoder,
    failure: &'a mut Option<Error>,
}

impl FamilySink for FailureRecorder<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.encoder.family(head);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.encoder.sample(sample);
    }

    fn rendered(&mut self, kind: SampleKind, labels: RenderedLabels<'_>, value: f64) {
        self.encoder.rendered(kind, labels, value);
    }

    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
        self.encoder.native_histogram(labels, histogram);
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }
}

/// Forwards to an encoder and writes its output to `out` in chunks of at least [`CHUNK_LEN`].
struct ChunkWriter<'a> {
    encoder: &'a mut dyn Encoder,
    out: &'a mut dyn Write,
    result: io::Result<()>,
}

impl ChunkWriter<'_> {
    /// Writes the output of the encoder if it has at least `min_len` bytes.
    fn flush(&mut self, min_len: usize) {
        if self.result.is_err() {
            return;
        }
        if let Some(chunk) = self.encoder.chunk()
            && chunk.len() >= min_len
        {
            self.result = self.out.write_all(chunk);
            chunk.clear();
        }
    }
}

impl FamilySink for ChunkWriter<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        if self.result.is_ok() {
            self.encoder.family(head);
            self.flush(CHUNK_LEN);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if self.result.is_ok() {
            self.encoder.sample(sample);
            self.flush(CHUNK_LEN);
        }
    }

    fn rendered(&mut self, kind: SampleKind, labels: RenderedLabels<'_>, value: f64) {
        if self.result.is_ok() {
            self.encoder.rendered(kind, labels, value);
            self.flush(CHUNK_LEN);
        }
    }

    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
        if self.result.is_ok() {
            self.encoder.native_histogram(labels, histogram);
            self.flush(CHUNK_LEN);
        }
    }

    fn fail(&mut self, error: Error) {
        if self.result.is_ok() {
            self.result = Err(io::Error::other(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HistogramPoint;

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

    #[test]
    fn writing_stops_at_the_first_error() {
        let mut out = Failing(1);
        let error = Exposition::write(&Many, Format::Text, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(out.0, 0);
    }
}

//! Whole expositions.

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
    FamilyHead, FamilySink, Gatherer, NativeHistogram, Part, RenderedLabels, Sample,
};

/// How much is encoded, in bytes, before it is handed on.
const CHUNK_LEN: usize = 64 * 1024;

/// A complete exposition: what a scrape is answered with.
///
/// [`Display`](fmt::Display) gives the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposition {
    /// The value of the HTTP header `Content-Type`.
    pub content_type: &'static str,
    /// UTF-8 text; in the format protobuf, bytes.
    pub body: Vec<u8>,
}

impl Exposition {
    /// Gathers everything, in the format that an HTTP `Accept` header prefers.
    pub fn render(source: &dyn Gatherer, accept: Option<&str>) -> Exposition {
        Exposition::encode(source, negotiate(accept))
    }

    /// As [`render`](Exposition::render), for handlers that can answer a scrape with status 500.
    ///
    /// # Errors
    ///
    /// The first that a collector reports by [`FamilySink::fail`].
    pub fn try_render(source: &dyn Gatherer, accept: Option<&str>) -> Result<Exposition> {
        let (exposition, failure) = Exposition::gather(source, negotiate(accept));
        failure.map_or(Ok(exposition), Err)
    }

    /// Gathers everything in one format.
    pub fn encode(source: &dyn Gatherer, format: impl Into<Negotiated>) -> Exposition {
        Exposition::gather(source, format.into()).0
    }

    /// Gathers everything, and the first error that a collector reports.
    fn gather(source: &dyn Gatherer, format: Negotiated) -> (Exposition, Option<Error>) {
        let (mut body, mut failure) = (Vec::new(), None);
        let whole = |encoder: &mut dyn Encoder| {
            source.gather(&mut Watched { encoder, failure: &mut failure });
            encoder.end();
            Ok(())
        };
        // OK because nothing is written that could fail.
        let _ = with_encoder(format, &mut body, whole);
        (Exposition { content_type: format.content_type(), body }, failure)
    }

    /// Gathers everything in one format into `out`, holding no more than a part of it at a time: some
    /// 64 KiB, or in the format protobuf one family.
    ///
    /// # Errors
    ///
    /// The first of `out`, or the first that a collector reports by [`FamilySink::fail`], as the inner error of
    /// an [`io::Error`]. Nothing more is written after either, and the exposition is then incomplete.
    pub fn write(
        source: &dyn Gatherer,
        format: impl Into<Negotiated>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(CHUNK_LEN + CHUNK_LEN / 4);
        let in_chunks = |encoder: &mut dyn Encoder| {
            let mut chunks = Chunks { encoder, out, result: Ok(()) };
            source.gather(&mut chunks);
            if chunks.result.is_ok() {
                chunks.encoder.end();
                chunks.hand_on(0);
            }
            chunks.result
        };
        with_encoder(format.into(), &mut buffer, in_chunks)
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

/// Passes everything on to an encoder and keeps the first failure.
struct Watched<'a> {
    encoder: &'a mut dyn Encoder,
    failure: &'a mut Option<Error>,
}

impl FamilySink for Watched<'_> {
    fn family(&mut self, head: &FamilyHead<'_>) {
        self.encoder.family(head);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.encoder.sample(sample);
    }

    fn rendered(&mut self, part: Part, labels: RenderedLabels<'_>, value: f64) {
        self.encoder.rendered(part, labels, value);
    }

    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
        self.encoder.native_histogram(labels, histogram);
    }

    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }
}

/// Hands on what is encoded whenever there is enough of it.
struct Chunks<'a> {
    encoder: &'a mut dyn Encoder,
    out: &'a mut dyn Write,
    result: io::Result<()>,
}

impl Chunks<'_> {
    fn hand_on(&mut self, min_len: usize) {
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

impl FamilySink for Chunks<'_> {
    fn family(&mut self, head: &FamilyHead<'_>) {
        if self.result.is_ok() {
            self.encoder.family(head);
            self.hand_on(CHUNK_LEN);
        }
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        if self.result.is_ok() {
            self.encoder.sample(sample);
            self.hand_on(CHUNK_LEN);
        }
    }

    fn rendered(&mut self, part: Part, labels: RenderedLabels<'_>, value: f64) {
        if self.result.is_ok() {
            self.encoder.rendered(part, labels, value);
            self.hand_on(CHUNK_LEN);
        }
    }

    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
        if self.result.is_ok() {
            self.encoder.native_histogram(labels, histogram);
            self.hand_on(CHUNK_LEN);
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

    /// More than a chunk of every kind of line, some of which take back the one before.
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
                out.sample(&Sample::new(Part::Count, &[], 1.0));
                out.sample(&Sample::new(Part::Sum, &[], f64::NAN));
                out.gauge_histogram(&format!("g_{number}"), "")
                    .sample(&[], &HistogramPoint::default());
            }
        }
    }

    /// Takes so many writes, then fails.
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

    /// What was written, and the longest part of it.
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
    fn what_is_written_in_chunks_is_the_whole() {
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
    fn the_first_error_ends_the_writing() {
        let mut out = Failing(1);
        let error = Exposition::write(&Many, Format::Text, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(out.0, 0);
    }
}

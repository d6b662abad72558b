//! Parsers of the exposition formats: text, OpenMetrics and protobuf.
//!
//! A [`Parser`] reads from any [`BufRead`]. It yields families as an iterator of [`Family`], or writes them
//! to a [`FamilySink`], such as an encoder. For any input it never panics, does not recurse, and bounds its
//! memory by its [`Limits`].
//!
//! - **Text** is parsed as leniently as Prometheus parses it: samples need no metadata, blank lines and
//!   comments are skipped, the last line feed may be missing, metadata may follow the samples or be
//!   repeated. A family whose samples are interleaved with those of another yields one `Family` for each
//!   run of samples; the help text is in the first. A sample that does not fit the type of its family is
//!   yielded in a family of unknown type, so no sample is lost.
//! - **OpenMetrics** is parsed strictly: everything that the specification forbids within one exposition is
//!   an error. Quoted names are accepted in both text formats.
//! - **Protobuf** is the length-delimited `io.prometheus.client.MetricFamily` that Prometheus scrapes
//!   (feature `protobuf`).
//!
//! Errors name line and column. An exposition with an error is invalid as a whole: discard the families that
//! were yielded before the error.
//!
//! ```
//! use multiprom::MetricType;
//! use multiprom::parse::Parser;
//!
//! let page = "# TYPE hits counter\nhits_total{route=\"/\"} 3\n# EOF\n";
//! let families = Parser::openmetrics(page.as_bytes()).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(families[0].metric_type, MetricType::Counter);
//! assert_eq!(families[0].samples[0].value, 3.0);
//!
//! let error = Parser::openmetrics(&b"hits 3\n"[..]).last().unwrap().unwrap_err();
//! assert_eq!(error.to_string(), "line 2, column 1: the exposition ends without `# EOF`");
//! # Ok::<(), multiprom::parse::ParseError>(())
//! ```

mod error;
mod family;
mod lines;
pub mod lint;
mod native;
mod number;
mod openmetrics;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(feature = "protobuf")]
mod protobuf_native;
mod scan;
mod strict;
mod text;
#[cfg(feature = "protobuf")]
mod wire;

use std::fmt;
use std::io::BufRead;

use crate::model::{FamilyMetadata, FamilySink, Sample};
#[cfg(feature = "protobuf")]
use crate::model::{Labels, NativeHistogram};
use error::Fault;
use family::Collected;
use lines::{FaultAt, Lines};
use openmetrics::OpenMetricsState;
use scan::{SampleParts, Span};
use text::TextState;

pub use error::{ParseError, ParseErrorKind};
pub use family::{Families, Family, OwnedExemplar, OwnedSample};
pub use native::{OwnedNativeBuckets, OwnedNativeHistogram};

/// A format that [`Parser`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Syntax {
    /// The text format, versions 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics text, version 1.0.0. Quoted names, an extension of Prometheus 3, are accepted.
    OpenMetrics,
    /// Length-delimited protobuf messages.
    #[cfg(feature = "protobuf")]
    Protobuf,
}

/// Limits of a [`Parser`], which bound its memory. Unless stated otherwise, exceeding one is an error of kind
/// [`ParseErrorKind::Limit`].
///
/// ```
/// use multiprom::parse::{Limits, Parser};
///
/// let mut limits = Limits::default();
/// limits.labels = 2;
/// let page = &b"a{b=\"1\",c=\"2\",d=\"3\"} 1\n"[..];
/// assert!(Parser::text(page).with_limits(limits).next().unwrap().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum length of a line or of a protobuf message, in bytes.
    pub line_len: usize,
    /// The maximum number of labels of a sample, and of an exemplar.
    pub labels: usize,
    /// The maximum length of a family, in bytes: the lines or messages that the iterator collects into one
    /// [`Family`], and in OpenMetrics the lines whose label sets are checked for duplicates.
    pub family_len: usize,
    /// The maximum number of families. An OpenMetrics exposition with more is refused. The text parser
    /// remembers the types of this many families, so that it recognizes their samples after other families.
    pub families: usize,
}

impl Default for Limits {
    /// 16 MiB, 256 labels, 256 MiB, one million families.
    fn default() -> Limits {
        Limits { line_len: 1 << 24, labels: 256, family_len: 1 << 28, families: 1_000_000 }
    }
}

/// Whether the exposition may have more to parse.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    End,
}

/// The sink of a parser, which also records counters whose name lacks `_total` if `lint` needs them.
struct Sink<'a> {
    families: &'a mut dyn FamilySink,
    bare_counters: Option<&'a mut Vec<String>>,
}

impl Sink<'_> {
    fn family(&mut self, head: &FamilyMetadata<'_>) {
        self.families.family(head);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.families.sample(sample);
    }

    #[cfg(feature = "protobuf")]
    fn native_histogram(&mut self, labels: Labels<'_>, histogram: &NativeHistogram<'_>) {
        self.families.native_histogram(labels, histogram);
    }

    /// The name of a counter's family without `_total`.
    fn counter_name<'n>(&mut self, name: &'n str) -> &'n str {
        match name.strip_suffix("_total") {
            Some(stripped) if !stripped.is_empty() => stripped,
            _ => {
                if let Some(bare) = &mut self.bare_counters {
                    bare.push(name.to_owned());
                }
                name
            }
        }
    }
}

enum State {
    Text(Box<TextState>),
    OpenMetrics(Box<OpenMetricsState>),
    #[cfg(feature = "protobuf")]
    Protobuf,
}

/// Parses one exposition.
///
/// The iterator collects each family, yields it when it is complete, and ends after the first error.
/// [`read_into`](Parser::read_into) passes samples on without collecting them.
pub struct Parser<R> {
    lines: Lines<R>,
    limits: Limits,
    state: State,
    collected: Collected,
    /// The bytes read for the family that is being collected.
    collected_len: usize,
    is_done: bool,
    /// The names of counters that lack `_total`; `Some` only in `lint`.
    bare_counters: Option<Vec<String>>,
}

impl<R> fmt::Debug for Parser<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syntax = match self.state {
            State::Text(_) => Syntax::Text,
            State::OpenMetrics(_) => Syntax::OpenMetrics,
            #[cfg(feature = "protobuf")]
            State::Protobuf => Syntax::Protobuf,
        };
        f.debug_struct("Parser")
            .field("syntax", &syntax)
            .field("limits", &self.limits)
            .field("is_done", &self.is_done)
            .finish_non_exhaustive()
    }
}

impl<R: BufRead> Parser<R> {
    /// A parser of `syntax` with the default limits.
    pub fn new(syntax: Syntax, source: R) -> Parser<R> {
        let limits = Limits::default();
        let state = match syntax {
            Syntax::Text => State::Text(Box::default()),
            Syntax::OpenMetrics => State::OpenMetrics(Box::default()),
            #[cfg(feature = "protobuf")]
            Syntax::Protobuf => State::Protobuf,
        };
        Parser {
            lines: Lines::new(source, limits.line_len),
            limits,
            state,
            collected: Collected::default(),
            collected_len: 0,
            is_done: false,
            bare_counters: None,
        }
    }

    /// A parser of the text format.
    pub fn text(source: R) -> Parser<R> {
        Parser::new(Syntax::Text, source)
    }

    /// A strict parser of OpenMetrics.
    pub fn openmetrics(source: R) -> Parser<R> {
        Parser::new(Syntax::OpenMetrics, source)
    }

    /// A parser of delimited protobuf messages.
    #[cfg(feature = "protobuf")]
    pub fn protobuf(source: R) -> Parser<R> {
        Parser::new(Syntax::Protobuf, source)
    }

    /// Sets the limits.
    pub fn with_limits(mut self, limits: Limits) -> Parser<R> {
        self.limits = limits;
        self.lines.set_max_len(limits.line_len);
        self
    }

    /// Writes all families to `sink`, each sample as soon as it is parsed.
    ///
    /// # Errors
    ///
    /// The first error of the exposition. The sink has already received what precedes it.
    pub fn read_into(mut self, sink: &mut dyn FamilySink) -> Result<(), ParseError> {
        while self.step(sink)? == Step::More {}
        Ok(())
    }

    fn step(&mut self, families: &mut dyn FamilySink) -> Result<Step, ParseError> {
        let sink = &mut Sink { families, bare_counters: self.bare_counters.as_mut() };
        let step = match &mut self.state {
            State::Text(state) => state.step(&mut self.lines, &self.limits, sink),
            State::OpenMetrics(state) => state.step(&mut self.lines, &self.limits, sink),
            #[cfg(feature = "protobuf")]
            State::Protobuf => protobuf::step(&mut self.lines, &self.limits, sink),
        };
        step.map_err(|at| self.error(at))
    }

    fn error(&self, (at, fault): FaultAt) -> ParseError {
        let is_binary = !matches!(self.state, State::Text(_) | State::OpenMetrics(_));
        let column = if is_binary { at as u64 + 1 } else { self.lines.column(at) };
        ParseError { is_binary, line: self.lines.number(), column, fault }
    }

    /// The next complete family.
    fn next_family(&mut self) -> Result<Option<Family>, ParseError> {
        let mut collected = std::mem::take(&mut self.collected);
        let next = self.collect_next(&mut collected);
        self.collected = collected;
        next
    }

    fn collect_next(&mut self, collected: &mut Collected) -> Result<Option<Family>, ParseError> {
        loop {
            if let Some(family) = collected.next() {
                self.collected_len = 0;
                return Ok(Some(family));
            }
            if self.is_done {
                return Ok(collected.last());
            }
            self.is_done = self.step(collected)? == Step::End;
            self.collected_len += self.lines.len();
            if self.collected_len > self.limits.family_len {
                let limit = Fault::Limit("the length of a family", self.limits.family_len);
                return Err(self.error((0, limit)));
            }
        }
    }
}

impl<R: BufRead> Iterator for Parser<R> {
    type Item = Result<Family, ParseError>;

    fn next(&mut self) -> Option<Result<Family, ParseError>> {
        let next = self.next_family();
        if next.is_err() {
            self.is_done = true;
            self.collected = Collected::default();
        }
        next.transpose()
    }
}

/// Samples with at most this many labels are emitted without an allocation.
const INLINE_LABELS: usize = 16;

/// Calls `emit` with the labels of a sample, without the label at index `skipped`.
fn with_labels(
    line: &str,
    parts: &SampleParts,
    labels: &[(Span, Span)],
    skipped: Option<usize>,
    emit: impl FnOnce(&[(&str, &str)]),
) {
    let kept = labels.iter().enumerate().filter(|(index, _)| Some(*index) != skipped);
    let texts = kept.map(|(_, (name, value))| (parts.text(line, *name), parts.text(line, *value)));
    if labels.len() > INLINE_LABELS {
        emit(&texts.collect::<Vec<_>>());
        return;
    }
    let mut inline = [("", ""); INLINE_LABELS];
    let mut len = 0;
    for text in texts {
        inline[len] = text;
        len += 1;
    }
    emit(&inline[..len]);
}

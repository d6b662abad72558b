//! Parsers of the exposition formats: text, OpenMetrics and protobuf.
//!
//! A [`Parser`] reads from any [`BufRead`] and gives families, either as an iterator of [`Family`] or
//! pushed into a [`FamilySink`], such as an encoder. It never panics, does not recurse, and needs no
//! more memory than its [`Limits`] say, whatever the bytes.
//!
//! - **Text** is read as Prometheus reads it: samples need no metadata, blanks and comments are skipped,
//!   a line feed may be missing at the end, metadata may come late or twice. A family that is
//!   interrupted by another is given once for each piece, the help text with the first. What does not fit the type of its family is
//!   given as a family of unknown type, so no sample is lost.
//! - **OpenMetrics** is read strictly: whatever the specification forbids within one exposition is an
//!   error. Names in quotes are read in both formats.
//! - **Protobuf** is the delimited `io.prometheus.client.MetricFamily` that Prometheus scrapes
//!   (feature `protobuf`).
//!
//! An error says line and column. What was given before it is part of an exposition that is
//! wrong as a whole, and should be dropped.
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

use std::io::BufRead;

#[cfg(feature = "protobuf")]
use crate::model::NativeHistogram;
use crate::model::{FamilyHead, FamilySink, Sample};
use error::Fault;
use family::Collected;
use lines::{At, Lines};
use openmetrics::OpenMetricsState;
use scan::{SampleParts, Span};
use text::TextState;

pub use error::{ParseError, ParseErrorKind};
pub use family::{Families, Family, OwnedExemplar, OwnedSample};
pub use native::{OwnedNativeBuckets, OwnedNativeHistogram};

/// A format that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Syntax {
    /// The text format, versions 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics text, version 1.0.0, with names in quotes as an addition.
    OpenMetrics,
    /// Length-delimited protobuf messages.
    #[cfg(feature = "protobuf")]
    Protobuf,
}

/// How much a [`Parser`] takes, and with it how much memory it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line, and the longest protobuf message, in bytes.
    pub line_len: usize,
    /// The most labels of one sample.
    pub labels: usize,
    /// The length of all lines of one family, in bytes: of what the iterator collects, and of the
    /// label sets that the strict parser compares.
    pub family_len: usize,
    /// The most families of one exposition, whose names the strict parser compares; the types of so many
    /// families are remembered by that of the text format.
    pub families: usize,
}

impl Default for Limits {
    /// 16 MiB, 256 labels, 256 MiB, one million families.
    fn default() -> Limits {
        Limits { line_len: 1 << 24, labels: 256, family_len: 1 << 28, families: 1_000_000 }
    }
}

/// Whether there is more to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    End,
}

/// Where families go, and who wants to know of counters without `_total`.
struct Sink<'a> {
    families: &'a mut dyn FamilySink,
    bare_counters: Option<&'a mut Vec<String>>,
}

impl Sink<'_> {
    fn family(&mut self, head: &FamilyHead<'_>) {
        self.families.family(head);
    }

    fn sample(&mut self, sample: &Sample<'_>) {
        self.families.sample(sample);
    }

    #[cfg(feature = "protobuf")]
    fn native_histogram(&mut self, labels: &[(&str, &str)], histogram: &NativeHistogram<'_>) {
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

/// Reads one exposition.
///
/// As an iterator it gives each family once it is complete, and ends after the first error.
pub struct Parser<R> {
    lines: Lines<R>,
    limits: Limits,
    state: State,
    collected: Collected,
    /// The length of what was read for the family that is being collected.
    collected_len: usize,
    is_done: bool,
    /// Counters whose name lacks `_total`, if somebody wants to know.
    bare_counters: Option<Vec<String>>,
}

impl<R: BufRead> Parser<R> {
    /// A parser of any of the formats.
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

    /// The same parser with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Parser<R> {
        self.limits = limits;
        self.lines.set_max_len(limits.line_len);
        self
    }

    /// Gives all families to `sink`, each sample as it is read.
    ///
    /// # Errors
    ///
    /// The first error of the exposition; the sink has what came before it.
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

    fn error(&self, (at, fault): At) -> ParseError {
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

/// Most samples have no more labels than this, and need no allocation.
const INLINE_LABELS: usize = 16;

/// Calls `give` with the labels of a sample, without that at `skipped`.
fn with_labels(
    line: &str,
    parts: &SampleParts,
    labels: &[(Span, Span)],
    skipped: Option<usize>,
    give: impl FnOnce(&[(&str, &str)]),
) {
    let kept = labels.iter().enumerate().filter(|(index, _)| Some(*index) != skipped);
    let texts = kept.map(|(_, (name, value))| (parts.text(line, *name), parts.text(line, *value)));
    if labels.len() > INLINE_LABELS {
        give(&texts.collect::<Vec<_>>());
        return;
    }
    let mut inline = [("", ""); INLINE_LABELS];
    let mut len = 0;
    for text in texts {
        inline[len] = text;
        len += 1;
    }
    give(&inline[..len]);
}

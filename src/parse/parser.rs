//! The parser of all formats: it selects the format, collects families, and locates errors.

use std::fmt;
use std::io::BufRead;

use super::error::{Fault, ParseError};
use super::family::{Collected, OwnedFamily};
use super::limits::Limits;
use super::lines::{FaultAt, Lines};
use super::openmetrics::OpenMetricsState;
#[cfg(feature = "protobuf")]
use super::protobuf;
use super::sink::{Sink, Step};
use super::text::TextState;
use crate::model::FamilySink;

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

enum ParserState {
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
    state: ParserState,
    collected: Collected,
    /// The bytes read for the family that is being collected.
    collected_len: usize,
    is_done: bool,
    /// The names of counters that lack `_total`; `Some` only in `lint`.
    pub(super) bare_counters: Option<Vec<String>>,
}

impl<R> fmt::Debug for Parser<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syntax = match self.state {
            ParserState::Text(_) => Syntax::Text,
            ParserState::OpenMetrics(_) => Syntax::OpenMetrics,
            #[cfg(feature = "protobuf")]
            ParserState::Protobuf => Syntax::Protobuf,
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
            Syntax::Text => ParserState::Text(Box::default()),
            Syntax::OpenMetrics => ParserState::OpenMetrics(Box::default()),
            #[cfg(feature = "protobuf")]
            Syntax::Protobuf => ParserState::Protobuf,
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
            ParserState::Text(state) => state.step(&mut self.lines, &self.limits, sink),
            ParserState::OpenMetrics(state) => state.step(&mut self.lines, &self.limits, sink),
            #[cfg(feature = "protobuf")]
            ParserState::Protobuf => protobuf::step(&mut self.lines, &self.limits, sink),
        };
        step.map_err(|at| self.error(at))
    }

    fn error(&self, (at, fault): FaultAt) -> ParseError {
        let is_binary = !matches!(self.state, ParserState::Text(_) | ParserState::OpenMetrics(_));
        let column = if is_binary { at as u64 + 1 } else { self.lines.column(at) };
        ParseError { is_binary, line: self.lines.number(), column, fault }
    }

    /// The next complete family.
    fn next_family(&mut self) -> Result<Option<OwnedFamily>, ParseError> {
        let mut collected = std::mem::take(&mut self.collected);
        let next = self.collect_next(&mut collected);
        self.collected = collected;
        next
    }

    fn collect_next(
        &mut self,
        collected: &mut Collected,
    ) -> Result<Option<OwnedFamily>, ParseError> {
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
    type Item = Result<OwnedFamily, ParseError>;

    fn next(&mut self) -> Option<Result<OwnedFamily, ParseError>> {
        let next = self.next_family();
        if next.is_err() {
            self.is_done = true;
            self.collected = Collected::default();
        }
        next.transpose()
    }
}

//! The tokenizer of the text formats: names, quoted strings, labels and samples of one line.
//!
//! Never panics: every position is the result of a search in the same line, and every step moves forward.
//! Strings are ranges of the line; only those with escapes are copied.

use super::error::Fault;
use super::lines::FaultAt;
use super::number::{parse_f64, parse_milliseconds, parse_timestamp};

/// The format of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Allows blanks between tokens and a comma after the last label; timestamps are in milliseconds.
    Text,
    /// Requires single spaces where the grammar has them; allows exemplars; timestamps are in seconds.
    OpenMetrics,
}

/// A range of the line, or of the buffer with unescaped strings.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    start: usize,
    end: usize,
    is_unescaped: bool,
}

/// The labels of an exemplar, its value and its timestamp.
#[derive(Default)]
pub(super) struct ExemplarParts {
    pub(super) labels: Vec<(Span, Span)>,
    pub(super) value: f64,
    pub(super) timestamp: Option<f64>,
}

/// The tokens of a sample line. The buffers are reused for the next line.
#[derive(Default)]
pub(super) struct SampleParts {
    pub(super) name: Span,
    pub(super) labels: Vec<(Span, Span)>,
    pub(super) value: f64,
    pub(super) timestamp: Option<f64>,
    /// The timestamp as written.
    pub(super) timestamp_text: Span,
    pub(super) has_exemplar: bool,
    pub(super) exemplar: ExemplarParts,
    unescaped: String,
}

impl SampleParts {
    /// The string at `span`; `line` is the line that was tokenized.
    pub(super) fn text<'a>(&'a self, line: &'a str, span: Span) -> &'a str {
        let whole = if span.is_unescaped { &self.unescaped } else { line };
        &whole[span.start..span.end]
    }
}

/// A position in a line.
pub(super) struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Cursor<'a> {
        Cursor { line, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    /// Consumes `byte`, an ASCII character, if it is next. Returns whether it was.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Consumes all bytes that satisfy `is_part`, which accepts ASCII only.
    fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> Span {
        let start = self.at;
        while self.peek().is_some_and(&is_part) {
            self.at += 1;
        }
        Span { start, end: self.at, is_unescaped: false }
    }

    /// Consumes and returns the text up to the first byte that satisfies `is_end`.
    pub(super) fn word(&mut self, is_end: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = &self.line.as_bytes()[start..];
        let len = rest.iter().position(|byte| is_end(*byte)).unwrap_or(rest.len());
        self.at += len;
        &self.line[start..self.at]
    }

    fn fail<T>(&self, fault: Fault) -> Result<T, FaultAt> {
        Err((self.at, fault))
    }

    fn expected<T>(&self, what: &'static str) -> Result<T, FaultAt> {
        self.fail(Fault::Expected(what))
    }

    /// An unquoted metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    fn metric_name(&mut self) -> Result<Span, FaultAt> {
        self.bare_name("a metric name", |byte| is_name_byte(byte) || byte == b':')
    }

    /// An unquoted name of bytes that satisfy `is_part`, without a digit at the start.
    fn bare_name(
        &mut self,
        what: &'static str,
        is_part: impl Fn(u8) -> bool,
    ) -> Result<Span, FaultAt> {
        if !self.peek().is_some_and(|byte| is_part(byte) && !byte.is_ascii_digit()) {
            return self.expected(what);
        }
        Ok(self.take_while(is_part))
    }

    /// A string in double quotes. One with escapes is unescaped into `unescaped`.
    fn quoted(&mut self, unescaped: &mut String) -> Result<Span, FaultAt> {
        let opening = self.at;
        self.at += 1;
        let bytes = self.line.as_bytes();
        let start = self.at;
        let mut has_escapes = false;
        loop {
            match bytes.get(self.at) {
                None => return Err((opening, Fault::Expected("the closing quote"))),
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    // The escaped character may have several bytes, but the others are neither quotes nor
                    // backslashes.
                    self.at = (self.at + 2).min(bytes.len());
                }
                Some(_) => self.at += 1,
            }
        }
        let end = self.at;
        self.at += 1;
        if !has_escapes {
            return Ok(Span { start, end, is_unescaped: false });
        }
        let from = unescaped.len();
        unescape(&self.line[start..end], QuoteEscapes::Resolved, unescaped);
        Ok(Span { start: from, end: unescaped.len(), is_unescaped: true })
    }

    /// Appends the name of a metadata line, quoted or not, to `unescaped`.
    pub(super) fn metadata_name(&mut self, unescaped: &mut String) -> Result<(), FaultAt> {
        let at = self.at;
        if self.peek() == Some(b'"') {
            let span = self.quoted(unescaped)?;
            if span.start == span.end {
                return Err((at, Fault::Expected("a metric name")));
            }
            if !span.is_unescaped {
                unescaped.push_str(&self.line[span.start..span.end]);
            }
        } else {
            let span = self.metric_name()?;
            unescaped.push_str(&self.line[span.start..span.end]);
        }
        Ok(())
    }

    fn number(
        &mut self,
        what: &'static str,
        parse: fn(&str) -> Option<f64>,
    ) -> Result<f64, FaultAt> {
        let at = self.at;
        let text = self.word(is_blank);
        parse(text).ok_or_else(|| (at, Fault::number(what, text)))
    }

    /// Tokenizes a sample, up to the end of the line.
    pub(super) fn sample(
        &mut self,
        dialect: Dialect,
        max_labels: usize,
        parts: &mut SampleParts,
    ) -> Result<(), FaultAt> {
        let SampleParts { name, labels, unescaped, .. } = parts;
        unescaped.clear();
        labels.clear();
        let is_lenient = dialect == Dialect::Text;
        let has_bare_name = self.peek() != Some(b'{');
        if has_bare_name {
            *name = self.metric_name()?;
            if is_lenient {
                self.skip_blanks();
            }
        }
        if self.eat(b'{') {
            let quoted_name = if has_bare_name { None } else { Some(&mut *name) };
            self.labels(dialect, max_labels, quoted_name, labels, unescaped)?;
        }
        if is_lenient {
            self.skip_blanks();
        } else {
            self.one_space("a space before the value")?;
        }
        parts.value = self.number("a number", parse_f64)?;
        match dialect {
            Dialect::Text => self.text_end(parts),
            Dialect::OpenMetrics => self.openmetrics_end(max_labels, parts),
        }
    }

    fn one_space(&mut self, what: &'static str) -> Result<(), FaultAt> {
        if self.eat(b' ') { Ok(()) } else { self.expected(what) }
    }

    /// The optional timestamp after the value in the text format.
    fn text_end(&mut self, parts: &mut SampleParts) -> Result<(), FaultAt> {
        parts.timestamp = None;
        parts.has_exemplar = false;
        self.skip_blanks();
        if self.peek().is_some() {
            let what = "a timestamp in milliseconds";
            parts.timestamp = Some(self.number(what, parse_milliseconds)?);
            self.skip_blanks();
        }
        if self.peek().is_some() { self.expected("the end of the line") } else { Ok(()) }
    }

    /// The optional timestamp and exemplar after the value in OpenMetrics.
    fn openmetrics_end(
        &mut self,
        max_labels: usize,
        parts: &mut SampleParts,
    ) -> Result<(), FaultAt> {
        parts.timestamp = None;
        parts.timestamp_text = Span::default();
        parts.has_exemplar = false;
        if self.peek().is_none() {
            return Ok(());
        }
        self.one_space("a space or the end of the line")?;
        if self.peek() != Some(b'#') {
            let start = self.at;
            parts.timestamp = Some(self.number("a timestamp in seconds", parse_timestamp)?);
            parts.timestamp_text = Span { start, end: self.at, is_unescaped: false };
            if self.peek().is_none() {
                return Ok(());
            }
            self.one_space("a space or the end of the line")?;
        }
        if !self.eat(b'#') {
            return self.expected("an exemplar or the end of the line");
        }
        self.one_space("a space before the labels of the exemplar")?;
        if !self.eat(b'{') {
            return self.expected("the labels of the exemplar");
        }
        let SampleParts { exemplar, unescaped, .. } = parts;
        exemplar.labels.clear();
        let dialect = Dialect::OpenMetrics;
        self.labels(dialect, max_labels, None, &mut exemplar.labels, unescaped)?;
        self.one_space("a space before the value of the exemplar")?;
        exemplar.value = self.number("a number", parse_f64)?;
        exemplar.timestamp = None;
        if self.peek().is_some() {
            self.one_space("a space or the end of the line")?;
            exemplar.timestamp = Some(self.number("a timestamp in seconds", parse_timestamp)?);
        }
        parts.has_exemplar = true;
        if self.peek().is_some() { self.expected("the end of the line") } else { Ok(()) }
    }

    /// Consumes the closing brace or the comma after a label. Returns whether it was the brace.
    fn ends_labels(&mut self, dialect: Dialect) -> Result<bool, FaultAt> {
        let is_lenient = dialect == Dialect::Text;
        if is_lenient {
            self.skip_blanks();
        }
        if self.eat(b'}') {
            return Ok(true);
        }
        if !self.eat(b',') {
            return self.expected("a comma or the closing brace");
        }
        if is_lenient {
            self.skip_blanks();
        }
        Ok(false)
    }

    /// Labels up to the closing brace. If the sample has no name before the brace, a quoted name precedes the
    /// labels and is stored in `quoted_name`.
    fn labels(
        &mut self,
        dialect: Dialect,
        max_labels: usize,
        quoted_name: Option<&mut Span>,
        labels: &mut Vec<(Span, Span)>,
        unescaped: &mut String,
    ) -> Result<(), FaultAt> {
        let is_lenient = dialect == Dialect::Text;
        let skip = |cursor: &mut Self| {
            if is_lenient {
                cursor.skip_blanks();
            }
        };
        skip(self);
        if let Some(name) = quoted_name {
            let at = self.at;
            if self.peek() != Some(b'"') {
                return self.expected("a metric name in quotes");
            }
            *name = self.quoted(unescaped)?;
            if name.start == name.end {
                return Err((at, Fault::Expected("a metric name")));
            }
            if self.ends_labels(dialect)? {
                return Ok(());
            }
        } else if self.eat(b'}') {
            return Ok(());
        }
        loop {
            if is_lenient && self.eat(b'}') {
                return Ok(());
            }
            let at = self.at;
            let name = if self.peek() == Some(b'"') {
                let name = self.quoted(unescaped)?;
                if name.start == name.end {
                    return Err((at, Fault::Expected("a label name")));
                }
                name
            } else {
                self.bare_name("a label name", is_name_byte)?
            };
            skip(self);
            if !self.eat(b'=') {
                return self.expected("`=` after the label name");
            }
            skip(self);
            if self.peek() != Some(b'"') {
                return self.expected("a label value in quotes");
            }
            let value = self.quoted(unescaped)?;
            if labels.len() >= max_labels {
                return Err((at, Fault::Limit("the number of labels", max_labels)));
            }
            let line = self.line;
            let text = |span: Span| {
                if span.is_unescaped {
                    &unescaped[span.start..span.end]
                } else {
                    &line[span.start..span.end]
                }
            };
            if labels.iter().any(|(other, _)| text(*other) == text(name)) {
                let message =
                    format!("label name `{}` is given twice", super::error::truncated(text(name)));
                return Err((at, Fault::Syntax(message)));
            }
            labels.push((name, value));
            if self.ends_labels(dialect)? {
                return Ok(());
            }
        }
    }
}

/// Whether `\"` is an escape. The help texts of the text format have no quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuoteEscapes {
    Literal,
    Resolved,
}

/// Appends `text` to `out` and resolves the escapes `\\`, `\n` and, depending on `quotes`, `\"`. Any other backslash
/// is literal.
pub(super) fn unescape(text: &str, quotes: QuoteEscapes, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let resolved = match after.as_bytes().first() {
            Some(b'\\') => Some('\\'),
            Some(b'n') => Some('\n'),
            Some(b'"') if quotes == QuoteEscapes::Resolved => Some('"'),
            _ => None,
        };
        match resolved {
            Some(char) => {
                out.push(char);
                rest = &after[1..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
}

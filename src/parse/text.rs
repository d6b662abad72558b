//! Parser of the text format, as lenient as the parsers of Prometheus.
//!
//! See: Prometheus, `model/textparse/promlex.l`; `expfmt/text_parse.go` of its common library.

use std::collections::HashMap;
use std::io::BufRead;

use foldhash::quality::RandomState;

use super::error::{Fault, truncated};
use super::limits::Limits;
use super::lines::{FaultAt, Lines};
use super::number::parse_f64;
use super::scan::{Cursor, Dialect, QuoteEscapes, SampleParts, unescape};
use super::sink::{Sink, Step, with_labels};
use crate::model::{FamilyMetadata, MetricType, Sample, SampleKind};

/// The family that is being parsed.
#[derive(Default)]
struct TextFamily {
    /// The name as written, usually with `_total` for a counter.
    name: String,
    help: String,
    metric_type: Option<MetricType>,
    /// Whether the metadata was written to the sink.
    is_begun: bool,
}

impl TextFamily {
    fn begin(&mut self, sink: &mut Sink<'_>) {
        if self.is_begun || self.name.is_empty() {
            return;
        }
        self.is_begun = true;
        let metric_type = self.metric_type.unwrap_or(MetricType::Unknown);
        let name = match metric_type {
            MetricType::Counter => sink.counter_name(&self.name),
            _ => &self.name,
        };
        sink.family(&FamilyMetadata::new(name, &self.help, metric_type));
    }

    fn start(&mut self, name: &str) {
        self.name.clear();
        self.name.push_str(name);
        self.help.clear();
        self.metric_type = None;
        self.is_begun = false;
    }
}

/// The state of the parser between two lines.
#[derive(Default)]
pub(super) struct TextState {
    current: TextFamily,
    /// The types of earlier families, by name: more of their samples may follow.
    types: HashMap<Box<str>, MetricType, RandomState>,
    /// The length of these names in bytes.
    types_len: usize,
    parts: SampleParts,
    name: String,
}

impl TextState {
    /// Parses one line.
    pub(super) fn step<R: BufRead>(
        &mut self,
        lines: &mut Lines<R>,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<Step, FaultAt> {
        if !lines.advance()? {
            self.current.begin(sink);
            return Ok(Step::End);
        }
        let line = lines.line()?;
        let mut cursor = Cursor::new(line);
        cursor.skip_blanks();
        match cursor.rest().as_bytes().first() {
            None => {}
            Some(b'#') => self.comment(&mut cursor, limits, sink)?,
            Some(_) => {
                cursor.sample(Dialect::Text, limits.labels, &mut self.parts)?;
                self.emit_sample(line, limits, sink)?;
            }
        }
        Ok(Step::More)
    }

    fn comment(
        &mut self,
        cursor: &mut Cursor<'_>,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<(), FaultAt> {
        cursor.eat(b'#');
        if !cursor.rest().starts_with([' ', '\t']) {
            return Ok(());
        }
        cursor.skip_blanks();
        let keyword = cursor.word(|byte| matches!(byte, b' ' | b'\t'));
        let is_help = keyword == "HELP";
        if !is_help && keyword != "TYPE" {
            return Ok(());
        }
        cursor.skip_blanks();
        if cursor.rest().is_empty() {
            return Ok(());
        }
        self.name.clear();
        cursor.metadata_name(&mut self.name)?;
        if !cursor.rest().is_empty() && !cursor.rest().starts_with([' ', '\t']) {
            return Err((cursor.at(), Fault::Expected("a blank after the metric name")));
        }
        cursor.skip_blanks();
        let metric_type = match cursor.rest() {
            _ if is_help => None,
            "" => return Ok(()),
            word => Some(parse_type(word).ok_or_else(|| {
                let message = format!("`{}` is not a metric type", truncated(word));
                (cursor.at(), Fault::Syntax(message))
            })?),
        };
        let is_known = self.current.name == self.name;
        if is_known && self.current.is_begun && (is_help || metric_type == self.current.metric_type)
        {
            // The metadata was already written, and this line does not contradict it.
            return Ok(());
        }
        if !is_known || self.current.is_begun {
            self.current.begin(sink);
            remember(&self.current, &mut self.types, &mut self.types_len, limits);
            self.current.start(&self.name);
        }
        if is_help {
            self.current.help.clear();
            unescape(cursor.rest(), QuoteEscapes::Literal, &mut self.current.help);
        } else {
            self.current.metric_type = metric_type;
        }
        Ok(())
    }

    fn emit_sample(
        &mut self,
        line: &str,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<(), FaultAt> {
        let parts = &self.parts;
        let name = parts.text(line, parts.name);
        if parts.labels.iter().any(|(name, _)| parts.text(line, *name) == "__name__") {
            return Err((0, Fault::Syntax("label name `__name__` is reserved".to_owned())));
        }
        let mut found = part_of(&self.current, name, line, parts);
        if found.is_none() {
            self.current.begin(sink);
            remember(&self.current, &mut self.types, &mut self.types_len, limits);
            let suffixes = ["", "_bucket", "_sum", "_count"].into_iter();
            for family in suffixes.filter_map(|suffix| name.strip_suffix(suffix)) {
                if let Some(metric_type) = self.types.get(family) {
                    self.current.start(family);
                    self.current.metric_type = Some(*metric_type);
                    found = part_of(&self.current, name, line, parts);
                    if found.is_some() {
                        break;
                    }
                }
            }
            if found.is_none() {
                self.current.start(name);
            }
        }
        let (kind, extra) = found.unwrap_or((SampleKind::Value, None));
        self.current.begin(sink);
        with_labels(line, parts, &parts.labels, extra, |labels| {
            let mut sample = Sample::new(kind, labels, parts.value);
            sample.timestamp = parts.timestamp;
            sink.sample(&sample);
        });
        Ok(())
    }
}

/// Stores the type of the current family before another one begins, if the limits allow it.
fn remember(
    current: &TextFamily,
    types: &mut HashMap<Box<str>, MetricType, RandomState>,
    types_len: &mut usize,
    limits: &Limits,
) {
    let Some(metric_type) = current.metric_type else { return };
    if let Some(known) = types.get_mut(current.name.as_str()) {
        *known = metric_type;
        return;
    }
    *types_len += current.name.len();
    if types.len() < limits.families && *types_len <= limits.family_len {
        types.insert(current.name.as_str().into(), metric_type);
    }
}

/// The part of the current family that a sample is, and the index of its label `le` or `quantile`.
///
/// `None` if the sample belongs to another family.
fn part_of(
    current: &TextFamily,
    name: &str,
    line: &str,
    parts: &SampleParts,
) -> Option<(SampleKind, Option<usize>)> {
    let suffix = name.strip_prefix(current.name.as_str()).filter(|_| !current.name.is_empty())?;
    let numbered = |label: &str| {
        let at = parts.labels.iter().position(|(name, _)| parts.text(line, *name) == label)?;
        let number = parse_f64(parts.text(line, parts.labels[at].1))?;
        (!number.is_nan()).then_some((number, Some(at)))
    };
    match (current.metric_type.unwrap_or(MetricType::Unknown), suffix) {
        (MetricType::Counter, "") => Some((SampleKind::Total, None)),
        (MetricType::Gauge | MetricType::Unknown, "") => Some((SampleKind::Value, None)),
        (MetricType::Histogram | MetricType::Summary, "_sum") => Some((SampleKind::Sum, None)),
        (MetricType::Histogram | MetricType::Summary, "_count") => Some((SampleKind::Count, None)),
        (MetricType::Histogram, "_bucket") => {
            numbered("le").map(|(bound, at)| (SampleKind::Bucket(bound), at))
        }
        (MetricType::Summary, "") => {
            numbered("quantile").map(|(quantile, at)| (SampleKind::Quantile(quantile), at))
        }
        _ => None,
    }
}

/// Parses a type in any case, as `expfmt` does.
fn parse_type(word: &str) -> Option<MetricType> {
    let known = [
        ("counter", MetricType::Counter),
        ("gauge", MetricType::Gauge),
        ("histogram", MetricType::Histogram),
        ("summary", MetricType::Summary),
        ("untyped", MetricType::Unknown),
    ];
    let found = known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
    found.map(|(_, metric_type)| metric_type)
}

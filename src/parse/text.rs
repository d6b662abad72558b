//! The text format: what Prometheus accepts.
//!
//! See: Prometheus, `model/textparse/promlex.l`; `expfmt/text_parse.go` of its common library.

use std::collections::HashMap;
use std::io::BufRead;

use foldhash::quality::RandomState;

use super::error::{Fault, shown};
use super::lines::{At, Lines};
use super::number::parse_f64;
use super::scan::{Cursor, Dialect, SampleParts, unescape};
use super::{Limits, Sink, Step};
use crate::model::{FamilyHead, MetricType, Part, Sample};

/// What is known of the family that comes next, or is being given.
#[derive(Default)]
struct Current {
    /// As written: of a counter mostly with `_total`.
    name: String,
    help: String,
    metric_type: Option<MetricType>,
    /// Whether the sink has its head.
    is_begun: bool,
}

impl Current {
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
        sink.family(&FamilyHead::new(name, &self.help, metric_type));
    }

    fn start(&mut self, name: &str) {
        self.name.clear();
        self.name.push_str(name);
        self.help.clear();
        self.metric_type = None;
        self.is_begun = false;
    }
}

/// The state between two lines.
#[derive(Default)]
pub(super) struct TextState {
    current: Current,
    /// The types of earlier families, whose samples may still come.
    types: HashMap<Box<str>, MetricType, RandomState>,
    /// The length of their names.
    types_len: usize,
    parts: SampleParts,
    name: String,
}

impl TextState {
    /// Reads one line.
    pub(super) fn step<R: BufRead>(
        &mut self,
        lines: &mut Lines<R>,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<Step, At> {
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
                self.give(line, limits, sink)?;
            }
        }
        Ok(Step::More)
    }

    fn comment(
        &mut self,
        cursor: &mut Cursor<'_>,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<(), At> {
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
                let message = format!("`{}` is no metric type", shown(word));
                (cursor.at(), Fault::Syntax(message))
            })?),
        };
        let is_known = self.current.name == self.name;
        if is_known && self.current.is_begun && (is_help || metric_type == self.current.metric_type)
        {
            // Too late to matter, and no contradiction.
            return Ok(());
        }
        if !is_known || self.current.is_begun {
            self.current.begin(sink);
            remember(&self.current, &mut self.types, &mut self.types_len, limits);
            self.current.start(&self.name);
        }
        if is_help {
            self.current.help.clear();
            unescape(cursor.rest(), false, &mut self.current.help);
        } else {
            self.current.metric_type = metric_type;
        }
        Ok(())
    }

    fn give(&mut self, line: &str, limits: &Limits, sink: &mut Sink<'_>) -> Result<(), At> {
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
        let (part, extra) = found.unwrap_or((Part::Value, None));
        self.current.begin(sink);
        super::with_labels(line, parts, &parts.labels, extra, |labels| {
            let mut sample = Sample::new(part, labels, parts.value);
            sample.timestamp = parts.timestamp;
            sink.sample(&sample);
        });
        Ok(())
    }
}

/// Keeps the type of a family that is interrupted, as far as the limits allow.
fn remember(
    current: &Current,
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

/// The part that a sample is of the current family, and the place of the label that says so.
///
/// `None` where it is of another family.
fn part_of(
    current: &Current,
    name: &str,
    line: &str,
    parts: &SampleParts,
) -> Option<(Part, Option<usize>)> {
    let suffix = name.strip_prefix(current.name.as_str()).filter(|_| !current.name.is_empty())?;
    let numbered = |label: &str| {
        let at = parts.labels.iter().position(|(name, _)| parts.text(line, *name) == label)?;
        let number = parse_f64(parts.text(line, parts.labels[at].1))?;
        (!number.is_nan()).then_some((number, Some(at)))
    };
    match (current.metric_type.unwrap_or(MetricType::Unknown), suffix) {
        (MetricType::Counter, "") => Some((Part::Total, None)),
        (MetricType::Gauge | MetricType::Unknown, "") => Some((Part::Value, None)),
        (MetricType::Histogram | MetricType::Summary, "_sum") => Some((Part::Sum, None)),
        (MetricType::Histogram | MetricType::Summary, "_count") => Some((Part::Count, None)),
        (MetricType::Histogram, "_bucket") => {
            numbered("le").map(|(bound, at)| (Part::Bucket(bound), at))
        }
        (MetricType::Summary, "") => {
            numbered("quantile").map(|(quantile, at)| (Part::Quantile(quantile), at))
        }
        _ => None,
    }
}

/// The words of the format, in any case as the tools of Prometheus take them.
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

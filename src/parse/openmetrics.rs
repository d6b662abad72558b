//! Strict parser of OpenMetrics 1.0.0: checks every rule that one exposition can break.
//!
//! See: <https://prometheus.io/docs/specs/om/open_metrics_spec/>; `docs/openmetrics.md` lists the
//! rules.

use std::io::BufRead;

use super::error::{Fault, truncated};
use super::limits::Limits;
use super::lines::{FaultAt, Lines};
use super::sample_form::SampleForm;
use super::scan::{Cursor, Dialect, QuoteEscapes, SampleParts, is_name_byte, unescape};
use super::sink::{Sink, Step, with_labels};
use super::strict::{ClaimedNames, FamilyRules, SampleView};
use crate::model::{Exemplar, FamilyMetadata, MetricType, Sample};

/// The family that is being parsed.
#[derive(Default)]
struct OpenMetricsFamily {
    name: String,
    help: Option<String>,
    unit: Option<String>,
    metric_type: Option<MetricType>,
    /// Whether the metadata was written to the sink.
    is_begun: bool,
    /// The length of its lines in bytes.
    len: usize,
}

impl OpenMetricsFamily {
    fn metric_type(&self) -> MetricType {
        self.metric_type.unwrap_or(MetricType::Unknown)
    }

    fn start(&mut self, name: &str) {
        *self = OpenMetricsFamily {
            name: std::mem::take(&mut self.name),
            ..OpenMetricsFamily::default()
        };
        self.name.clear();
        self.name.push_str(name);
    }
}

/// The state of the parser between two lines.
#[derive(Default)]
pub(super) struct OpenMetricsState {
    current: OpenMetricsFamily,
    rules: FamilyRules,
    names: ClaimedNames,
    parts: SampleParts,
    name: String,
    is_ended: bool,
}

fn rule(text: impl Into<String>) -> Fault {
    Fault::Rule(text.into())
}

impl OpenMetricsState {
    /// Parses one line.
    ///
    /// Whether a family is complete is checked at the line that follows it, which the error then names.
    pub(super) fn step<R: BufRead>(
        &mut self,
        lines: &mut Lines<R>,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<Step, FaultAt> {
        if !lines.advance()? {
            if !self.is_ended {
                return Err((0, rule("the exposition ends without `# EOF`")));
            }
            return Ok(Step::End);
        }
        let line = lines.line()?;
        if self.is_ended {
            return Err((0, rule("unexpected content after `# EOF`")));
        }
        if lines.number() == 1 && line.starts_with('\u{feff}') {
            return Err((0, rule("the exposition begins with a byte order mark")));
        }
        // The grammar of HELP text includes the carriage return. An exposition with CRLF line ends is refused at
        // another line, at the latest at `# EOF`.
        if line.ends_with('\r') && !line.starts_with("# HELP ") {
            return Err((line.len() - 1, rule("the line ends with a carriage return")));
        }
        if line == "# EOF" {
            self.is_ended = true;
            self.end_family(limits, sink)?;
            return Ok(Step::More);
        }
        if !lines.is_terminated() {
            return Err((line.len(), Fault::Expected("a line feed, and `# EOF`")));
        }
        if line.is_empty() {
            return Err((0, rule("the line is empty")));
        }
        self.current.len += line.len();
        if line.starts_with('#') {
            self.metadata(line, limits, sink)?;
        } else {
            let mut parts = std::mem::take(&mut self.parts);
            let result = Cursor::new(line)
                .sample(Dialect::OpenMetrics, limits.labels, &mut parts)
                .and_then(|()| self.emit_sample(line, &parts, limits, sink));
            self.parts = parts;
            result?;
        }
        if self.current.len > limits.family_len {
            return Err((0, Fault::Limit("the length of a family", limits.family_len)));
        }
        Ok(Step::More)
    }

    fn metadata(
        &mut self,
        line: &str,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<(), FaultAt> {
        let mut cursor = Cursor::new(line);
        cursor.eat(b'#');
        let expected = |cursor: &Cursor<'_>, what| Err((cursor.at(), Fault::Expected(what)));
        if !cursor.eat(b' ') {
            return expected(&cursor, "a space after `#`");
        }
        let keyword = cursor.word(|byte| byte == b' ');
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Err((2, Fault::Expected("HELP, TYPE, UNIT or EOF after `#`")));
        }
        if !cursor.eat(b' ') {
            return expected(&cursor, "a space and a metric name");
        }
        let at = cursor.at();
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        cursor.metadata_name(&mut name)?;
        if !cursor.eat(b' ') {
            return expected(&cursor, "a space after the metric name");
        }
        if name == self.current.name {
            if self.current.is_begun {
                return Err((at, rule("metadata must precede the samples of its family")));
            }
        } else {
            self.end_family(limits, sink)?;
            self.start_family(&name, at)?;
        }
        self.name = name;
        let text = cursor.rest();
        let repeated = || Err((0, rule(format!("a second {keyword} line for one family"))));
        match keyword {
            "HELP" => {
                if self.current.help.is_some() {
                    return repeated();
                }
                unescape(text, QuoteEscapes::Resolved, self.current.help.insert(String::new()));
            }
            "UNIT" => {
                if self.current.unit.is_some() {
                    return repeated();
                }
                if let Some(bad) = text.bytes().position(|b| !(is_name_byte(b) || b == b':')) {
                    return Err((cursor.at() + bad, Fault::Expected("a unit like `seconds`")));
                }
                self.current.unit = Some(text.to_owned());
            }
            _ => {
                if self.current.metric_type.is_some() {
                    return repeated();
                }
                let metric_type = parse_type(text).ok_or_else(|| {
                    let message = format!("`{}` is not a metric type", truncated(text));
                    (cursor.at(), Fault::Syntax(message))
                })?;
                self.current.metric_type = Some(metric_type);
            }
        }
        Ok(())
    }

    fn start_family(&mut self, name: &str, at: usize) -> Result<(), FaultAt> {
        if name.starts_with('_') {
            return Err((at, rule("names that begin with an underscore are reserved")));
        }
        self.current.start(name);
        Ok(())
    }

    /// Checks the metadata of the family and writes it to the sink, unless that is done already.
    fn begin(&mut self, limits: &Limits, sink: &mut Sink<'_>) -> Result<(), FaultAt> {
        let current = &mut self.current;
        if current.is_begun || current.name.is_empty() {
            return Ok(());
        }
        current.is_begun = true;
        let metric_type = current.metric_type();
        let (name, unit) = (current.name.as_str(), current.unit.as_deref().unwrap_or_default());
        if !unit.is_empty() {
            let is_suffix = name.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
            if !is_suffix {
                let message =
                    format!("the name `{name}` does not end in `_{unit}`, as its unit requires");
                return Err((0, rule(message)));
            }
            if matches!(metric_type, MetricType::Info | MetricType::StateSet) {
                return Err((
                    0,
                    rule(format!("a family of type {metric_type} must not have a unit")),
                ));
            }
        }
        self.names.claim(name, metric_type, limits.families)?;
        self.rules.begin(name, metric_type);
        let help = current.help.as_deref().unwrap_or_default();
        sink.family(&FamilyMetadata { unit, ..FamilyMetadata::new(name, help, metric_type) });
        Ok(())
    }

    fn end_family(&mut self, limits: &Limits, sink: &mut Sink<'_>) -> Result<(), FaultAt> {
        self.begin(limits, sink)?;
        self.rules.end().map_err(|fault| (0, fault))
    }

    fn emit_sample(
        &mut self,
        line: &str,
        parts: &SampleParts,
        limits: &Limits,
        sink: &mut Sink<'_>,
    ) -> Result<(), FaultAt> {
        let name = parts.text(line, parts.name);
        let form = match SampleForm::new(&self.current.name, self.current.metric_type(), name) {
            Some(form) => form,
            None => {
                self.end_family(limits, sink)?;
                self.start_family(name, 0)?;
                SampleForm::Value
            }
        };
        self.begin(limits, sink)?;
        let view = SampleView { line, parts };
        let (part, extra) = view.part(form, &self.current.name)?;
        self.rules.check(&view, part, extra)?;
        let mut sample = Sample::new(part, &[], parts.value);
        sample.timestamp = parts.timestamp;
        with_labels(line, parts, &parts.labels, extra, |labels| {
            if parts.has_exemplar {
                let exemplar = &parts.exemplar;
                with_labels(line, parts, &exemplar.labels, None, |exemplar_labels| {
                    let exemplar = Exemplar {
                        labels: exemplar_labels,
                        value: exemplar.value,
                        timestamp: exemplar.timestamp,
                    };
                    sink.sample(&sample.with_labels(labels).with_exemplar(&exemplar));
                });
            } else {
                sink.sample(&sample.with_labels(labels));
            }
        });
        Ok(())
    }
}

fn parse_type(word: &str) -> Option<MetricType> {
    MetricType::ALL.into_iter().find(|known| known.as_str() == word)
}

//! The rules of OpenMetrics that tie several samples, or several families, together.

use std::collections::HashSet;
use std::fmt::Write as _;

use foldhash::quality::RandomState;

use super::error::{Fault, shown};
use super::lines::At;
use super::number::parse_f64;
use super::openmetrics::Kind;
use super::scan::SampleParts;
use crate::model::{MAX_EXEMPLAR_CHARS, MetricType, Part};

/// Separates the texts of a key: no UTF-8 text has this byte.
const SEPARATOR: u8 = 0xFF;

fn rule(text: impl Into<String>) -> Fault {
    Fault::Rule(text.into())
}

/// The names that families of the exposition have taken, those of possible samples included.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<Box<str>, RandomState>,
    families: usize,
    name: String,
}

impl Names {
    /// Takes the name of a family and those of its samples.
    pub(super) fn claim(
        &mut self,
        name: &str,
        metric_type: MetricType,
        max_families: usize,
    ) -> Result<(), At> {
        if self.families >= max_families {
            return Err((0, Fault::Limit("the number of families", max_families)));
        }
        self.families += 1;
        for suffix in metric_type.suffixes() {
            self.name.clear();
            // OK because writing to a string does not fail.
            let _ = write!(self.name, "{name}{suffix}");
            if !self.taken.insert(self.name.as_str().into()) {
                let taken = shown(&self.name);
                let message = format!("the name `{taken}` is taken by an earlier family");
                return Err((0, rule(message)));
            }
        }
        Ok(())
    }
}

/// A sample line with its parts.
#[derive(Clone, Copy)]
pub(super) struct SampleView<'a> {
    pub(super) line: &'a str,
    pub(super) parts: &'a SampleParts,
}

impl<'a> SampleView<'a> {
    fn label(&self, index: usize) -> (&'a str, &'a str) {
        let (name, value) = self.parts.labels[index];
        (self.parts.text(self.line, name), self.parts.text(self.line, value))
    }

    fn position(&self, name: &str) -> Option<usize> {
        (0..self.parts.labels.len()).find(|index| self.label(*index).0 == name)
    }

    /// The part of the metric, and the place of the label that is the number of the part.
    pub(super) fn part(&self, kind: Kind, family: &str) -> Result<(Part, Option<usize>), At> {
        let name = match kind {
            Kind::Bucket => "le",
            Kind::Quantile => "quantile",
            _ => return self.plain_part(kind, family),
        };
        let Some(index) = self.position(name) else {
            return Err((0, rule(format!("the sample has no label `{name}`"))));
        };
        let text = self.label(index).1;
        let Some(number) = parse_f64(text).filter(|number| !number.is_nan()) else {
            return Err((0, Fault::number("a number in `le` or `quantile`", text)));
        };
        if number == f64::INFINITY && text != "+Inf" {
            return Err((0, rule("positive infinity is spelled `+Inf`")));
        }
        if matches!(kind, Kind::Quantile) && !(0.0..=1.0).contains(&number) {
            return Err((0, rule("a quantile is between 0 and 1")));
        }
        Ok((kind.part(number), Some(index)))
    }

    fn plain_part(&self, kind: Kind, family: &str) -> Result<(Part, Option<usize>), At> {
        let part = kind.part(0.0);
        if matches!(kind, Kind::State) && self.position(family).is_none() {
            return Err((0, rule(format!("the state has no label `{}`", shown(family)))));
        }
        Ok((part, None))
    }
}

/// What one point of a metric has shown so far.
#[derive(Default)]
struct Point {
    timestamp: Option<f64>,
    timestamp_text: String,
    /// A bit for each part that comes at most once.
    seen: u16,
    bound: Option<f64>,
    bucket: f64,
    has_negative_bound: bool,
    count: Option<f64>,
    sum: Option<f64>,
    quantiles: HashSet<u64, RandomState>,
    states: HashSet<Box<str>, RandomState>,
}

impl Point {
    /// Whether a part with this state, if it is one, can only be of another point.
    fn has(&self, part: Part, state: &str) -> bool {
        match part {
            Part::Bucket(bound) => self.bound.is_some_and(|known| bound <= known),
            Part::Quantile(quantile) => self.quantiles.contains(&quantile_bits(quantile)),
            Part::State => self.states.contains(state),
            _ => self.seen & bit(part) != 0,
        }
    }
}

/// Identifies a quantile. Negative zero is zero.
fn quantile_bits(quantile: f64) -> u64 {
    (quantile + 0.0).to_bits()
}

/// The state that a sample of a family is about, if the family is a state set.
fn state<'a>(view: &SampleView<'a>, family: &str) -> &'a str {
    view.position(family).map_or("", |index| view.label(index).1)
}

/// The rules of one family.
#[derive(Default)]
pub(super) struct FamilyRules {
    name: String,
    metric_type: Option<MetricType>,
    /// The labels of the current metric, as a key, and those of all metrics of the family.
    metric: Vec<u8>,
    next: Vec<u8>,
    metrics: HashSet<Box<[u8]>, RandomState>,
    has_metric: bool,
    point: Point,
    order: Vec<usize>,
}

/// Empties a set, at a cost that the next family would not pay again and again for a large one.
fn empty<T>(set: &mut HashSet<T, RandomState>) {
    if set.capacity() > 1024 {
        *set = HashSet::default();
    }
    set.clear();
}

/// Which bit of [`Point::seen`] a part has.
fn bit(part: Part) -> u16 {
    match part {
        Part::Value => 1,
        Part::Total => 2,
        Part::Count => 4,
        Part::Sum => 8,
        Part::GaugeCount => 16,
        Part::GaugeSum => 32,
        Part::Created => 64,
        _ => 0,
    }
}

impl FamilyRules {
    /// Begins a family; the one before has ended.
    pub(super) fn begin(&mut self, name: &str, metric_type: MetricType) {
        self.name.clear();
        self.name.push_str(name);
        self.metric_type = Some(metric_type);
        empty(&mut self.metrics);
        self.has_metric = false;
        self.metric.clear();
    }

    /// Checks what is known only when no sample of the family follows.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.end_point()?;
        self.has_metric = false;
        self.metric_type = None;
        Ok(())
    }

    /// Checks one sample, alone and against those before it.
    pub(super) fn check(
        &mut self,
        view: &SampleView<'_>,
        part: Part,
        extra: Option<usize>,
    ) -> Result<(), At> {
        let at_start = |fault| (0, fault);
        check_labels(view, part, self.metric_type, extra).map_err(at_start)?;
        check_value(part, self.metric_type, view.parts.value).map_err(at_start)?;
        if view.parts.has_exemplar {
            check_exemplar(view, part).map_err(at_start)?;
        }
        self.check_place(view, part, extra).map_err(at_start)?;
        self.check_point(view, part).map_err(at_start)
    }

    /// Metrics and their points are not interleaved, and time does not go backwards.
    fn check_place(
        &mut self,
        view: &SampleView<'_>,
        part: Part,
        extra: Option<usize>,
    ) -> Result<(), Fault> {
        let extra = if part == Part::State { view.position(&self.name) } else { extra };
        self.key(view, extra);
        let (timestamp, text) =
            (view.parts.timestamp, view.parts.text(view.line, view.parts.timestamp_text));
        if part == Part::Info {
            // Which labels are those of the metric cannot be told, so only repetition at no time is wrong.
            self.has_metric = true;
            if timestamp.is_none() && !self.metrics.insert(self.next.as_slice().into()) {
                return Err(rule("the sample repeats an earlier one"));
            }
            return Ok(());
        }
        if self.has_metric && self.next == self.metric {
            let point = &self.point;
            if timestamp.is_some() != point.timestamp.is_some() {
                return Err(rule("only some samples of the metric have timestamps"));
            }
            if timestamp < point.timestamp {
                return Err(rule("the timestamps of the metric go backwards"));
            }
            let is_same_time = timestamp == point.timestamp && text == point.timestamp_text;
            // Points may have equal timestamps: what a point has already begins the next one.
            let is_next =
                !is_same_time || timestamp.is_some() && point.has(part, state(view, &self.name));
            if is_next {
                self.end_point()?;
                self.start_point(timestamp, text);
            }
            return Ok(());
        }
        self.end_point()?;
        if self.metrics.contains(self.next.as_slice()) {
            return Err(rule("the samples of the metric are not together"));
        }
        self.metrics.insert(self.next.as_slice().into());
        std::mem::swap(&mut self.metric, &mut self.next);
        self.has_metric = true;
        self.start_point(timestamp, text);
        Ok(())
    }

    /// Writes the labels of the metric into `next`, in the order of their names.
    fn key(&mut self, view: &SampleView<'_>, extra: Option<usize>) {
        self.order.clear();
        self.order.extend((0..view.parts.labels.len()).filter(|index| Some(*index) != extra));
        let is_sorted =
            self.order.windows(2).all(|pair| view.label(pair[0]).0 <= view.label(pair[1]).0);
        if !is_sorted {
            self.order.sort_unstable_by_key(|index| view.label(*index).0);
        }
        self.next.clear();
        for index in &self.order {
            let (name, value) = view.label(*index);
            for text in [name, value] {
                self.next.extend_from_slice(text.as_bytes());
                self.next.push(SEPARATOR);
            }
        }
    }

    fn start_point(&mut self, timestamp: Option<f64>, text: &str) {
        let point = &mut self.point;
        point.timestamp = timestamp;
        point.timestamp_text.clear();
        point.timestamp_text.push_str(text);
        point.seen = 0;
        point.bound = None;
        point.bucket = 0.0;
        point.has_negative_bound = false;
        point.count = None;
        point.sum = None;
        empty(&mut point.quantiles);
        empty(&mut point.states);
    }

    /// Each part of a point comes once, and buckets rise.
    fn check_point(&mut self, view: &SampleView<'_>, part: Part) -> Result<(), Fault> {
        let value = view.parts.value;
        let state = state(view, &self.name);
        let point = &mut self.point;
        if point.has(part, state) {
            return Err(rule(match part {
                Part::Bucket(_) => "the bounds of the buckets do not rise",
                _ => "the sample repeats an earlier one",
            }));
        }
        match part {
            Part::Quantile(quantile) => _ = point.quantiles.insert(quantile_bits(quantile)),
            Part::State => _ = point.states.insert(state.into()),
            Part::Bucket(bound) => {
                if value < point.bucket {
                    return Err(rule("the bucket holds less than the one before"));
                }
                point.has_negative_bound |= bound < 0.0;
                point.bound = Some(bound);
                point.bucket = value;
            }
            Part::Count | Part::GaugeCount => point.count = Some(value),
            Part::Sum | Part::GaugeSum => point.sum = Some(value),
            _ => {}
        }
        point.seen |= bit(part);
        Ok(())
    }

    /// What a histogram must have is known at the end of its point.
    fn end_point(&mut self) -> Result<(), Fault> {
        let is_gauge = match self.metric_type {
            Some(MetricType::Histogram) => false,
            Some(MetricType::GaugeHistogram) => true,
            _ => return Ok(()),
        };
        let point = &self.point;
        if !self.has_metric {
            return Ok(());
        }
        let before = |text: &str| rule(format!("{text} in the metric before this line"));
        if point.bound != Some(f64::INFINITY) {
            return Err(before("no bucket `+Inf`"));
        }
        if point.count.is_some_and(|count| count != point.bucket) {
            return Err(before("the count is not that of the bucket `+Inf`"));
        }
        if point.count.is_some() != point.sum.is_some() {
            return Err(before("count or sum is missing beside the other"));
        }
        match point.sum {
            Some(_) if point.has_negative_bound && !is_gauge => {
                Err(before("a sum beside buckets with negative bounds"))
            }
            Some(sum) if !point.has_negative_bound && sum < 0.0 => {
                Err(before("a negative sum without negative bounds"))
            }
            _ => Ok(()),
        }
    }
}

fn check_labels(
    view: &SampleView<'_>,
    part: Part,
    metric_type: Option<MetricType>,
    extra: Option<usize>,
) -> Result<(), Fault> {
    let reserved = match metric_type {
        Some(MetricType::Histogram | MetricType::GaugeHistogram) => "le",
        Some(MetricType::Summary) => "quantile",
        _ => "",
    };
    for index in 0..view.parts.labels.len() {
        let name = view.label(index).0;
        if name.starts_with('_') {
            return Err(rule(format!(
                "label name `{}`: names that begin with an underscore are reserved",
                shown(name)
            )));
        }
        if extra != Some(index) && name == reserved {
            return Err(rule(format!("the label `{name}` is not for {}", part.suffix())));
        }
    }
    Ok(())
}

fn check_value(part: Part, metric_type: Option<MetricType>, value: f64) -> Result<(), Fault> {
    let is_integer = value.is_finite() && value.trunc() == value;
    let problem = match part {
        Part::Bucket(_) | Part::Count | Part::GaugeCount if !is_integer => "a count is an integer",
        Part::Total | Part::Sum | Part::GaugeSum if value.is_nan() => "the value is not NaN",
        Part::Total | Part::Sum | Part::Count | Part::GaugeCount | Part::Bucket(_)
            if value < 0.0 =>
        {
            "the value is not negative"
        }
        Part::Quantile(_) if value < 0.0 => "the value of a quantile is not negative",
        Part::Created if !value.is_finite() => "the time of creation is a time",
        Part::Info if value != 1.0 => "the value of an info is 1",
        Part::State if value != 0.0 && value != 1.0 => "the value of a state is 0 or 1",
        _ => return Ok(()),
    };
    let metric_type = metric_type.unwrap_or(MetricType::Unknown);
    Err(rule(format!("{problem}, in a family of type {metric_type}")))
}

fn check_exemplar(view: &SampleView<'_>, part: Part) -> Result<(), Fault> {
    let exemplar = &view.parts.exemplar;
    match part {
        Part::Total => {}
        Part::Bucket(bound) if exemplar.value <= bound => {}
        Part::Bucket(_) => return Err(rule("the exemplar is not within its bucket")),
        _ => return Err(rule("only totals of counters and buckets have exemplars")),
    }
    let mut len = 0;
    for (name, value) in &exemplar.labels {
        let name = view.parts.text(view.line, *name);
        if name.starts_with('_') {
            return Err(rule("an exemplar's label name begins with an underscore"));
        }
        len += name.chars().count() + view.parts.text(view.line, *value).chars().count();
    }
    if len > MAX_EXEMPLAR_CHARS {
        let message = format!(
            "the exemplar's labels have {len} characters, the limit is {MAX_EXEMPLAR_CHARS}"
        );
        return Err(rule(message));
    }
    Ok(())
}

//! The rules of OpenMetrics that apply across samples and families.

use std::collections::HashSet;
use std::fmt::Write as _;

use foldhash::quality::RandomState;

use super::error::{Fault, truncated};
use super::lines::FaultAt;
use super::number::parse_f64;
use super::sample_form::SampleForm;
use super::scan::SampleParts;
use crate::model::{MAX_EXEMPLAR_CHARS, MetricType, SampleKind};

/// Separates the names and values in a key; it does not occur in UTF-8.
const SEPARATOR: u8 = 0xFF;

fn rule(text: impl Into<String>) -> Fault {
    Fault::Rule(text.into())
}

/// The names in use in the exposition: those of families and of the samples they may have.
#[derive(Default)]
pub(super) struct ClaimedNames {
    taken: HashSet<Box<str>, RandomState>,
    families: usize,
    name: String,
}

impl ClaimedNames {
    /// Claims the name of a family and those of its possible samples. A name that is claimed already is an error.
    pub(super) fn claim(
        &mut self,
        name: &str,
        metric_type: MetricType,
        max_families: usize,
    ) -> Result<(), FaultAt> {
        if self.families >= max_families {
            return Err((0, Fault::Limit("the number of families", max_families)));
        }
        self.families += 1;
        for suffix in metric_type.suffixes() {
            self.name.clear();
            // OK because writing to a string does not fail.
            let _ = write!(self.name, "{name}{suffix}");
            if !self.taken.insert(self.name.as_str().into()) {
                let taken = truncated(&self.name);
                let message = format!("the name `{taken}` is already used by another family");
                return Err((0, rule(message)));
            }
        }
        Ok(())
    }
}

/// A sample line and its tokens.
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

    /// The part of the metric that the sample is, and the index of its label `le` or `quantile`.
    pub(super) fn part(
        &self,
        form: SampleForm,
        family: &str,
    ) -> Result<(SampleKind, Option<usize>), FaultAt> {
        let name = match form {
            SampleForm::Bucket => "le",
            SampleForm::Quantile => "quantile",
            _ => return self.plain_part(form, family),
        };
        let Some(index) = self.position(name) else {
            return Err((0, rule(format!("the sample has no label `{name}`"))));
        };
        let text = self.label(index).1;
        let Some(number) = parse_f64(text).filter(|number| !number.is_nan()) else {
            return Err((0, Fault::number("a number in `le` or `quantile`", text)));
        };
        if number == f64::INFINITY && text != "+Inf" {
            return Err((0, rule("positive infinity must be spelled `+Inf`")));
        }
        if matches!(form, SampleForm::Quantile) && !(0.0..=1.0).contains(&number) {
            return Err((0, rule("a quantile must be between 0 and 1")));
        }
        Ok((form.part(number), Some(index)))
    }

    fn plain_part(
        &self,
        form: SampleForm,
        family: &str,
    ) -> Result<(SampleKind, Option<usize>), FaultAt> {
        let part = form.part(0.0);
        if matches!(form, SampleForm::State) && self.position(family).is_none() {
            return Err((0, rule(format!("the state has no label `{}`", truncated(family)))));
        }
        Ok((part, None))
    }
}

/// The samples of the current point of the current metric, so far.
#[derive(Default)]
struct Point {
    timestamp: Option<f64>,
    timestamp_text: String,
    /// A bit for each part that occurs at most once.
    seen: u16,
    /// The bound of the last bucket.
    bound: Option<f64>,
    /// The value of the last bucket.
    bucket: f64,
    has_negative_bound: bool,
    count: Option<f64>,
    sum: Option<f64>,
    quantiles: HashSet<u64, RandomState>,
    states: HashSet<Box<str>, RandomState>,
}

impl Point {
    /// Whether the point has this part already, so that a further sample must belong to the next point. `state`
    /// is used only for parts of a state set.
    fn has(&self, part: SampleKind, state: &str) -> bool {
        match part {
            SampleKind::Bucket(bound) => self.bound.is_some_and(|last| bound <= last),
            SampleKind::Quantile(quantile) => self.quantiles.contains(&quantile_bits(quantile)),
            SampleKind::State => self.states.contains(state),
            _ => self.seen & bit(part) != 0,
        }
    }
}

/// The key of a quantile, in which -0 equals 0.
fn quantile_bits(quantile: f64) -> u64 {
    (quantile + 0.0).to_bits()
}

/// The state that a sample of a state set reports, else "".
fn state<'a>(view: &SampleView<'a>, family: &str) -> &'a str {
    view.position(family).map_or("", |index| view.label(index).1)
}

/// Checks the samples of one family at a time.
#[derive(Default)]
pub(super) struct FamilyRules {
    name: String,
    metric_type: Option<MetricType>,
    /// The key of the current metric: its labels.
    metric: Vec<u8>,
    /// The key of the metric of the sample that is checked.
    next: Vec<u8>,
    /// The keys of all metrics of the family.
    metrics: HashSet<Box<[u8]>, RandomState>,
    has_metric: bool,
    point: Point,
    order: Vec<usize>,
}

/// Clears a set. A large one is replaced, as clearing costs time in proportion to the capacity.
fn clear_set<T>(set: &mut HashSet<T, RandomState>) {
    if set.capacity() > 1024 {
        *set = HashSet::default();
    }
    set.clear();
}

/// The bit of a part in [`Point::seen`].
fn bit(part: SampleKind) -> u16 {
    match part {
        SampleKind::Value => 1,
        SampleKind::Total => 2,
        SampleKind::Count => 4,
        SampleKind::Sum => 8,
        SampleKind::GaugeCount => 16,
        SampleKind::GaugeSum => 32,
        SampleKind::Created => 64,
        _ => 0,
    }
}

impl FamilyRules {
    /// Begins a family, after [`end`](FamilyRules::end) of the previous one.
    pub(super) fn begin(&mut self, name: &str, metric_type: MetricType) {
        self.name.clear();
        self.name.push_str(name);
        self.metric_type = Some(metric_type);
        clear_set(&mut self.metrics);
        self.has_metric = false;
        self.metric.clear();
    }

    /// Ends the family and checks that its last metric is complete.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.end_point()?;
        self.has_metric = false;
        self.metric_type = None;
        Ok(())
    }

    /// Checks one sample, by itself and against the earlier samples. `extra` is the index of its label `le` or
    /// `quantile`.
    pub(super) fn check(
        &mut self,
        view: &SampleView<'_>,
        part: SampleKind,
        extra: Option<usize>,
    ) -> Result<(), FaultAt> {
        let at_start = |fault| (0, fault);
        check_labels(view, part, self.metric_type, extra).map_err(at_start)?;
        check_value(part, self.metric_type, view.parts.value).map_err(at_start)?;
        if view.parts.has_exemplar {
            check_exemplar(view, part).map_err(at_start)?;
        }
        self.check_place(view, part, extra).map_err(at_start)?;
        self.check_point(view, part).map_err(at_start)
    }

    /// Checks that metrics and points are not interleaved and that timestamps do not decrease.
    fn check_place(
        &mut self,
        view: &SampleView<'_>,
        part: SampleKind,
        extra: Option<usize>,
    ) -> Result<(), Fault> {
        let extra = if part == SampleKind::State { view.position(&self.name) } else { extra };
        self.key(view, extra);
        let (timestamp, text) =
            (view.parts.timestamp, view.parts.text(view.line, view.parts.timestamp_text));
        if part == SampleKind::Info {
            // The labels of the metric cannot be distinguished from those of the info, so only duplicates
            // without a timestamp are detected.
            self.has_metric = true;
            if timestamp.is_none() && !self.metrics.insert(self.next.as_slice().into()) {
                return Err(rule("duplicate sample"));
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
            // Points may have equal timestamps. A part that the current point has already begins the next point.
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
            return Err(rule("the samples of the metric are not consecutive"));
        }
        self.metrics.insert(self.next.as_slice().into());
        std::mem::swap(&mut self.metric, &mut self.next);
        self.has_metric = true;
        self.start_point(timestamp, text);
        Ok(())
    }

    /// Writes the key of the sample's metric into `next`: its labels without `extra`, sorted by name.
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
        clear_set(&mut point.quantiles);
        clear_set(&mut point.states);
    }

    /// Checks that each part of a point occurs once, and that buckets are sorted and cumulative.
    fn check_point(&mut self, view: &SampleView<'_>, part: SampleKind) -> Result<(), Fault> {
        let value = view.parts.value;
        let state = state(view, &self.name);
        let point = &mut self.point;
        if point.has(part, state) {
            return Err(rule(match part {
                SampleKind::Bucket(_) => "the bucket bounds are not increasing",
                _ => "duplicate sample",
            }));
        }
        match part {
            SampleKind::Quantile(quantile) => _ = point.quantiles.insert(quantile_bits(quantile)),
            SampleKind::State => _ = point.states.insert(state.into()),
            SampleKind::Bucket(bound) => {
                if value < point.bucket {
                    return Err(rule("the bucket counts are not cumulative"));
                }
                point.has_negative_bound |= bound < 0.0;
                point.bound = Some(bound);
                point.bucket = value;
            }
            SampleKind::Count | SampleKind::GaugeCount => point.count = Some(value),
            SampleKind::Sum | SampleKind::GaugeSum => point.sum = Some(value),
            _ => {}
        }
        point.seen |= bit(part);
        Ok(())
    }

    /// Checks that a point of a histogram is complete and consistent.
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
        let before = |text: &str| rule(format!("the histogram before this line {text}"));
        if point.bound != Some(f64::INFINITY) {
            return Err(before("has no bucket `+Inf`"));
        }
        if point.count.is_some_and(|count| count != point.bucket) {
            return Err(before("has a count that differs from its bucket `+Inf`"));
        }
        if point.count.is_some() != point.sum.is_some() {
            return Err(before("has only one of count and sum"));
        }
        match point.sum {
            Some(_) if point.has_negative_bound && !is_gauge => {
                Err(before("has both a sum and negative bucket bounds"))
            }
            Some(sum) if !point.has_negative_bound && sum < 0.0 => {
                Err(before("has a negative sum but no negative bucket bounds"))
            }
            _ => Ok(()),
        }
    }
}

fn check_labels(
    view: &SampleView<'_>,
    part: SampleKind,
    metric_type: Option<MetricType>,
    extra: Option<usize>,
) -> Result<(), Fault> {
    let reserved = metric_type.and_then(MetricType::reserved_label).unwrap_or("");
    for index in 0..view.parts.labels.len() {
        let name = view.label(index).0;
        if name.starts_with('_') {
            return Err(rule(format!(
                "label name `{}`: names that begin with an underscore are reserved",
                truncated(name)
            )));
        }
        if extra != Some(index) && name == reserved {
            return Err(rule(format!(
                "a sample `{}` must not have the label `{name}`",
                part.suffix()
            )));
        }
    }
    Ok(())
}

fn check_value(part: SampleKind, metric_type: Option<MetricType>, value: f64) -> Result<(), Fault> {
    let is_integer = value.is_finite() && value.trunc() == value;
    let problem = match part {
        SampleKind::Bucket(_) | SampleKind::Count | SampleKind::GaugeCount if !is_integer => {
            "a count must be an integer"
        }
        SampleKind::Total | SampleKind::Sum | SampleKind::GaugeSum if value.is_nan() => {
            "the value must not be NaN"
        }
        SampleKind::Total
        | SampleKind::Sum
        | SampleKind::Count
        | SampleKind::GaugeCount
        | SampleKind::Bucket(_)
            if value < 0.0 =>
        {
            "the value must not be negative"
        }
        SampleKind::Quantile(_) if value < 0.0 => "the value of a quantile must not be negative",
        SampleKind::Created if !value.is_finite() => "the creation time must be finite",
        SampleKind::Info if value != 1.0 => "the value of an info must be 1",
        SampleKind::State if value != 0.0 && value != 1.0 => "the value of a state must be 0 or 1",
        _ => return Ok(()),
    };
    let metric_type = metric_type.unwrap_or(MetricType::Unknown);
    Err(rule(format!("{problem} in a family of type {metric_type}")))
}

fn check_exemplar(view: &SampleView<'_>, part: SampleKind) -> Result<(), Fault> {
    let exemplar = &view.parts.exemplar;
    match part {
        SampleKind::Total => {}
        SampleKind::Bucket(bound) if exemplar.value <= bound => {}
        SampleKind::Bucket(_) => {
            return Err(rule("the value of the exemplar is outside its bucket"));
        }
        _ => return Err(rule("only counter totals and buckets may have exemplars")),
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

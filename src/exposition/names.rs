//! Escapes the names of families and labels, and resolves the collisions that escaping causes.
//!
//! If the escaped names of families or of their samples collide, the first family is written and the others are
//! omitted. If label names of a family collide, the first label name is written and samples with another one are
//! omitted, so different label sets remain different. Names that are not changed by escaping never cause an
//! omission among themselves.

use std::collections::HashMap;
use std::ops::Range;

use super::escape::Escaping;
use crate::model::{FamilyIndex, FamilyMetadata, MetricType, name};

/// The syntax of names in a format.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Labels are written as `name="`; names that need quotes are quoted, with escapes.
    Lines,
    /// Names are written without quotes and escapes.
    #[cfg_attr(not(feature = "protobuf"), allow(dead_code, reason = "only protobuf uses it"))]
    Raw,
}

/// Up to this many label names of a family are searched linearly.
const MAX_SEARCHED: usize = 16;

/// The names of the families written so far and of the labels of the current family.
pub(super) struct Names {
    escaping: Escaping,
    syntax: Syntax,
    base: String,
    is_quoted: bool,
    families: WrittenFamilies,
    labels: LabelNames,
}

impl Names {
    pub(super) fn new(escaping: Escaping, syntax: Syntax) -> Names {
        let (families, labels) = (WrittenFamilies::default(), LabelNames::default());
        Names { escaping, syntax, base: String::new(), is_quoted: false, families, labels }
    }

    pub(super) fn set_escaping(&mut self, escaping: Escaping) {
        self.escaping = escaping;
    }

    /// Begins a family. Returns `false` if the family must be omitted because of a collision.
    pub(super) fn begin(&mut self, head: &FamilyMetadata<'_>) -> bool {
        self.labels.clear();
        self.base.clear();
        let is_plain = name::is_metric_name(head.name);
        self.is_quoted = false;
        if is_plain {
            self.base.push_str(head.name);
        } else if self.escaping == Escaping::AllowUtf8 && !head.name.is_empty() {
            self.is_quoted = self.syntax == Syntax::Lines;
            if self.is_quoted {
                push_quoted(&mut self.base, head.name);
            } else {
                self.base.push_str(head.name);
            }
        } else {
            // Escapes the name with its suffix, as the Go library does, where the name of a counter includes `_total`.
            let suffix = head.metric_type.own_suffix();
            let name = [head.name, suffix].concat();
            let escaped = self.escaping.metric_name(&name);
            self.base.push_str(escaped.strip_suffix(suffix).unwrap_or(&escaped));
            if self.base.is_empty() {
                self.base.push('_');
            }
        }
        self.escaping == Escaping::AllowUtf8
            || self.families.claim(&self.base, head.metric_type, !is_plain)
    }

    /// The written name of the family, with which the names of its samples begin. If it is quoted, quotes and
    /// backslashes in it are escaped.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Whether the name of the family is written in quotes.
    pub(super) fn is_quoted(&self) -> bool {
        self.is_quoted
    }

    /// The written form of a label name; `at` is the index of the label in its sample. `None` if the written form
    /// belongs to another label name of the family.
    pub(super) fn label(&mut self, at: usize, name: &str) -> Option<&str> {
        // Samples of a family usually have the same label names in the same order.
        let is_same = self.labels.entries.get(at).is_some_and(|label| {
            self.labels.text.as_bytes()[label.name.clone()] == *name.as_bytes()
        });
        let at = if is_same { at } else { self.find(name) };
        let label = &self.labels.entries[at];
        label.is_written.then(|| &self.labels.text[label.written.clone()])
    }

    #[cold]
    fn find(&mut self, name: &str) -> usize {
        if let Some(at) = self.labels.find(name) {
            return at;
        }
        let (escaping, syntax) = (self.escaping, self.syntax);
        self.labels.add(name, |out| match syntax {
            Syntax::Raw => out.push_str(&escaping.label_name(name)),
            Syntax::Lines => {
                let escaped = escaping.label_name(name);
                if name::is_label_name(&escaped) {
                    out.push_str(&escaped);
                } else {
                    out.push('"');
                    push_quoted(out, &escaped);
                    out.push('"');
                }
                out.push_str("=\"");
            }
        })
    }
}

fn push_quoted(out: &mut String, name: &str) {
    for char in name.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            char => out.push(char),
        }
    }
}

/// The families written so far: a list until the first name is escaped, then an index.
#[derive(Default)]
struct WrittenFamilies {
    /// The concatenated names of the families in `list`.
    text: String,
    /// The end of each name in `text`, and the type.
    list: Vec<(usize, MetricType)>,
    /// The value is whether the name was escaped.
    index: Option<FamilyIndex<bool>>,
}

impl WrittenFamilies {
    /// Adds a family. Returns `false` if it collides with another one and either of their names was escaped.
    fn claim(&mut self, base: &str, metric_type: MetricType, is_escaped: bool) -> bool {
        if self.index.is_none() && is_escaped {
            let mut index = FamilyIndex::default();
            let mut start = 0;
            for (end, metric_type) in &self.list {
                index.insert(&self.text[start..*end], *metric_type, false);
                start = *end;
            }
            self.index = Some(index);
        }
        let Some(index) = &mut self.index else {
            self.text.push_str(base);
            self.list.push((self.text.len(), metric_type));
            return true;
        };
        let is_collision = |_: &str, _, was_escaped: &bool| *was_escaped || is_escaped;
        if index.find_colliding(base, metric_type, is_collision) {
            return false;
        }
        index.insert(base, metric_type, is_escaped);
        true
    }
}

/// The label names of the current family.
#[derive(Default)]
struct LabelNames {
    text: String,
    entries: Vec<LabelName>,
    /// Indexes in `entries` by name and by written form, once there are more than [`MAX_SEARCHED`].
    index: Option<(HashMap<String, usize>, HashMap<String, usize>)>,
}

struct LabelName {
    /// The range of the name in [`LabelNames::text`].
    name: Range<usize>,
    /// The range of its written form in [`LabelNames::text`].
    written: Range<usize>,
    /// Whether no earlier label name has this written form.
    is_written: bool,
}

impl LabelNames {
    fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.index = None;
    }

    fn find(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some((names, _)) => names.get(name).copied(),
            None => self.entries.iter().position(|label| self.text[label.name.clone()] == *name),
        }
    }

    fn add(&mut self, name: &str, push_written: impl FnOnce(&mut String)) -> usize {
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        push_written(&mut self.text);
        let (name, written) = (start..middle, middle..self.text.len());
        let at = self.entries.len();
        let text = |range: &Range<usize>| &self.text[range.clone()];
        let is_taken = match &self.index {
            Some((_, by_written)) => by_written.contains_key(text(&written)),
            None => self.entries.iter().any(|other| text(&other.written) == text(&written)),
        };
        if at == MAX_SEARCHED {
            let mut index = (HashMap::new(), HashMap::new());
            for (at, label) in self.entries.iter().enumerate() {
                index.0.insert(text(&label.name).to_owned(), at);
                index.1.entry(text(&label.written).to_owned()).or_insert(at);
            }
            self.index = Some(index);
        }
        if let Some((names, by_written)) = &mut self.index {
            names.insert(self.text[name.clone()].to_owned(), at);
            by_written.entry(self.text[written.clone()].to_owned()).or_insert(at);
        }
        self.entries.push(LabelName { name, written, is_written: !is_taken });
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(names: &mut Names, name: &str, metric_type: MetricType) -> bool {
        names.begin(&FamilyMetadata::new(name, "", metric_type))
    }

    #[test]
    fn the_first_of_families_whose_escaped_names_collide_is_written() {
        let mut names = Names::new(Escaping::Underscores, Syntax::Lines);
        assert!(begin(&mut names, "a_b", MetricType::Gauge));
        assert!(!begin(&mut names, "a.b", MetricType::Counter));
        assert!(begin(&mut names, "c.d", MetricType::Histogram));
        assert!(!begin(&mut names, "c_d", MetricType::Gauge));
        assert!(!begin(&mut names, "c_d_count", MetricType::Gauge));
        assert!(begin(&mut names, "c_d_total", MetricType::Gauge));
        // Names that need no escaping are not checked against each other.
        assert!(begin(&mut names, "a_b", MetricType::Gauge));

        let mut names = Names::new(Escaping::Values, Syntax::Lines);
        assert!(begin(&mut names, "a_b", MetricType::Gauge));
        assert!(begin(&mut names, "a.b", MetricType::Gauge));
        assert!(!begin(&mut names, "U__a_2e_b", MetricType::Gauge));
    }

    #[test]
    fn the_suffix_of_a_counter_is_escaped_with_its_name() {
        let mut names = Names::new(Escaping::Dots, Syntax::Lines);
        begin(&mut names, "a.b", MetricType::Counter);
        assert_eq!(names.base(), "a_dot_b_");
        begin(&mut names, "c.d", MetricType::Histogram);
        assert_eq!(names.base(), "c_dot_d");
    }

    #[test]
    fn the_first_of_label_names_whose_escaped_forms_collide_is_written() {
        for count in [2, 40] {
            let mut names = Names::new(Escaping::Underscores, Syntax::Lines);
            begin(&mut names, "a", MetricType::Gauge);
            for at in 0..count {
                let name = format!("x.{at}");
                let shown = format!("x_{at}=\"");
                assert_eq!(names.label(0, &name), Some(&*shown));
                assert_eq!(names.label(1, &format!("x-{at}")), None);
                assert_eq!(names.label(0, &format!("x_{at}")), None);
                assert_eq!(names.label(5, &name), Some(&*shown));
            }
            begin(&mut names, "b", MetricType::Gauge);
            assert_eq!(names.label(0, "x-1"), Some("x_1=\""));
        }
    }

    #[test]
    fn names_are_quoted_only_in_text_and_only_if_needed() {
        let mut lines = Names::new(Escaping::AllowUtf8, Syntax::Lines);
        begin(&mut lines, "a\"b", MetricType::Gauge);
        assert_eq!((lines.base(), lines.is_quoted()), ("a\\\"b", true));
        assert_eq!(lines.label(0, "l.x"), Some("\"l.x\"=\""));
        assert_eq!(lines.label(1, "l_x"), Some("l_x=\""));
        let mut raw = Names::new(Escaping::AllowUtf8, Syntax::Raw);
        begin(&mut raw, "a\"b", MetricType::Gauge);
        assert_eq!((raw.base(), raw.is_quoted()), ("a\"b", false));
        assert_eq!(raw.label(0, "l.x"), Some("l.x"));
    }
}

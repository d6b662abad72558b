//! Names as they are shown: escaped, each family and each label under a name of its own.
//!
//! Of families that would show a sample under one name because of escaping, the first is shown. Within a
//! family, of two label names that become equal, the first keeps the name, and samples with the other are
//! left out; so label sets that differ stay different. What is not escaped is never left out.

use std::collections::HashMap;
use std::ops::Range;

use super::escape::Escaping;
use crate::model::{FamilyHead, FamilyIndex, MetricType, name};

/// How a format writes names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Labels as `name="`, what needs quotes in quotes and escaped.
    Lines,
    /// Nothing but the name.
    #[cfg_attr(not(feature = "protobuf"), allow(dead_code, reason = "of protobuf"))]
    Raw,
}

/// Up to so many label names of one family are found by looking at all of them.
const MAX_SEARCHED: usize = 16;

/// The names of the exposition so far.
pub(super) struct Names {
    escaping: Escaping,
    syntax: Syntax,
    base: String,
    is_quoted: bool,
    families: Families,
    labels: Labels,
}

impl Names {
    pub(super) fn new(escaping: Escaping, syntax: Syntax) -> Names {
        let (families, labels) = (Families::default(), Labels::default());
        Names { escaping, syntax, base: String::new(), is_quoted: false, families, labels }
    }

    pub(super) fn set_escaping(&mut self, escaping: Escaping) {
        self.escaping = escaping;
    }

    /// Begins a family. `false` if its name is taken: none of it is shown.
    pub(super) fn begin(&mut self, head: &FamilyHead<'_>) -> bool {
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
            // As in Go, where the name of a counter has `_total` in it, what follows is escaped too.
            let suffix = head.metric_type.own_suffix();
            let name = [head.name, suffix].concat();
            let shown = self.escaping.metric_name(&name);
            self.base.push_str(shown.strip_suffix(suffix).unwrap_or(&shown));
            if self.base.is_empty() {
                self.base.push('_');
            }
        }
        self.escaping == Escaping::AllowUtf8
            || self.families.claim(&self.base, head.metric_type, !is_plain)
    }

    /// What the names of the family's samples begin with. In quotes it is escaped.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Whether the names of metrics are in quotes.
    pub(super) fn is_quoted(&self) -> bool {
        self.is_quoted
    }

    /// A label's name as it is shown; `at` is its place in its sample. `None` where another label of the
    /// family has that name.
    pub(super) fn label(&mut self, at: usize, name: &str) -> Option<&str> {
        // OK because samples of a family mostly have the same label names in the same order.
        let is_known = self.labels.entries.get(at).is_some_and(|label| {
            self.labels.text.as_bytes()[label.name.clone()] == *name.as_bytes()
        });
        let at = if is_known { at } else { self.find(name) };
        let label = &self.labels.entries[at];
        label.is_shown.then(|| &self.labels.text[label.shown.clone()])
    }

    #[cold]
    fn find(&mut self, name: &str) -> usize {
        if let Some(at) = self.labels.find(name) {
            return at;
        }
        let (escaping, syntax) = (self.escaping, self.syntax);
        self.labels.add(name, |shown| match syntax {
            Syntax::Raw => shown.push_str(&escaping.label_name(name)),
            Syntax::Lines => {
                let escaped = escaping.label_name(name);
                if name::is_label_name(&escaped) {
                    shown.push_str(&escaped);
                } else {
                    shown.push('"');
                    push_quoted(shown, &escaped);
                    shown.push('"');
                }
                shown.push_str("=\"");
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

/// The families of the exposition: a list while no name was escaped, then an index.
#[derive(Default)]
struct Families {
    text: String,
    list: Vec<(usize, MetricType)>,
    /// Each with whether its name was escaped.
    index: Option<FamilyIndex<bool>>,
}

impl Families {
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
        let is_hidden = |_: &str, _, was_escaped: &bool| *was_escaped || is_escaped;
        if index.find_colliding(base, metric_type, is_hidden) {
            return false;
        }
        index.insert(base, metric_type, is_escaped);
        true
    }
}

/// The label names of the current family.
#[derive(Default)]
struct Labels {
    text: String,
    entries: Vec<Label>,
    /// By the name and by what is shown, where there are many.
    index: Option<(HashMap<String, usize>, HashMap<String, usize>)>,
}

struct Label {
    name: Range<usize>,
    shown: Range<usize>,
    is_shown: bool,
}

impl Labels {
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

    fn add(&mut self, name: &str, show: impl FnOnce(&mut String)) -> usize {
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        show(&mut self.text);
        let (name, shown) = (start..middle, middle..self.text.len());
        let at = self.entries.len();
        let text = |range: &Range<usize>| &self.text[range.clone()];
        let is_taken = match &self.index {
            Some((_, by_shown)) => by_shown.contains_key(text(&shown)),
            None => self.entries.iter().any(|other| text(&other.shown) == text(&shown)),
        };
        if at == MAX_SEARCHED {
            let mut index = (HashMap::new(), HashMap::new());
            for (at, label) in self.entries.iter().enumerate() {
                index.0.insert(text(&label.name).to_owned(), at);
                index.1.entry(text(&label.shown).to_owned()).or_insert(at);
            }
            self.index = Some(index);
        }
        if let Some((names, by_shown)) = &mut self.index {
            names.insert(self.text[name.clone()].to_owned(), at);
            by_shown.entry(self.text[shown.clone()].to_owned()).or_insert(at);
        }
        self.entries.push(Label { name, shown, is_shown: !is_taken });
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(names: &mut Names, name: &str, metric_type: MetricType) -> bool {
        names.begin(&FamilyHead::new(name, "", metric_type))
    }

    #[test]
    fn of_families_that_escaping_makes_equal_the_first_is_shown() {
        let mut names = Names::new(Escaping::Underscores, Syntax::Lines);
        assert!(begin(&mut names, "a_b", MetricType::Gauge));
        assert!(!begin(&mut names, "a.b", MetricType::Counter));
        assert!(begin(&mut names, "c.d", MetricType::Histogram));
        assert!(!begin(&mut names, "c_d", MetricType::Gauge));
        assert!(!begin(&mut names, "c_d_count", MetricType::Gauge));
        assert!(begin(&mut names, "c_d_total", MetricType::Gauge));
        // What is not escaped is the collector's word.
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
    fn of_label_names_that_become_equal_the_first_keeps_the_name() {
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
    fn quotes_are_only_where_the_lines_need_them() {
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

//! What the text formats have in common: series, escapes, comments.

use super::names::Names;
use crate::model::number::{Style, milliseconds, push_f64, push_u64};
use crate::model::{Exemplar, Part, RenderedLabels, Sample};

/// Which characters of a text are escaped besides backslash and line feed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    Escaped,
    Kept,
}

/// Appends `text` with backslash, line feed and, if asked, double quote escaped.
pub(super) fn push_escaped(out: &mut Vec<u8>, text: &str, quotes: Quotes) {
    let mut rest = text.as_bytes();
    let is_special =
        |byte: &u8| matches!(byte, b'\\' | b'\n') || (*byte == b'"' && quotes == Quotes::Escaped);
    while let Some(at) = rest.iter().position(is_special) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.extend_from_slice(match from[0] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        });
        rest = &from[1..];
    }
    out.extend_from_slice(rest);
}

/// Appends name and labels of a sample, and the space before its value; `before` comes after the name of
/// the family.
///
/// `false`, with nothing appended, where one of its labels is not shown.
pub(super) fn push_series(
    out: &mut Vec<u8>,
    names: &mut Names,
    suffix: &str,
    labels: &[(&str, &str)],
    part: Part,
) -> bool {
    let start = out.len();
    let mut before = opening(names);
    push_name(out, names, suffix);
    for (at, (name, value)) in labels.iter().enumerate() {
        let Some(name) = names.label(at, name) else {
            out.truncate(start);
            return false;
        };
        out.push(before);
        out.extend_from_slice(name.as_bytes());
        push_escaped(out, value, Quotes::Escaped);
        out.push(b'"');
        before = b',';
    }
    let extra: Option<(&[u8], f64)> = match part {
        Part::Bucket(bound) => Some((b"le=\"", bound)),
        Part::Quantile(quantile) => Some((b"quantile=\"", quantile)),
        _ => None,
    };
    if let Some((name, number)) = extra {
        out.push(before);
        out.extend_from_slice(name);
        push_f64(out, number, Style::Canonical);
        out.push(b'"');
        before = b',';
    }
    if before == b',' {
        out.push(b'}');
    }
    out.push(b' ');
    true
}

/// What the lines of rendered samples share within a family.
#[derive(Default)]
pub(super) struct Shared {
    /// What lines with this suffix begin with, up to the labels.
    head: Vec<u8>,
    suffix: Option<&'static str>,
    bounds: Bounds,
}

impl Shared {
    /// Begins a family.
    pub(super) fn begin(&mut self) {
        self.suffix = None;
    }

    /// Appends name and labels of a sample, and the space before its value.
    pub(super) fn push_series(
        &mut self,
        out: &mut Vec<u8>,
        names: &Names,
        part: Part,
        labels: RenderedLabels<'_>,
    ) {
        let (suffix, labels) = (part.suffix(), labels.as_str());
        if self.suffix != Some(suffix) {
            self.suffix = Some(suffix);
            self.head.clear();
            push_name(&mut self.head, names, suffix);
            self.head.push(opening(names));
        }
        let extra = match part {
            Part::Bucket(bound) => self.bounds.text("le=\"", bound),
            Part::Quantile(quantile) => self.bounds.text("quantile=\"", quantile),
            _ => &[],
        };
        out.extend_from_slice(&self.head);
        out.extend_from_slice(labels.as_bytes());
        if !extra.is_empty() {
            if !labels.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(extra);
        } else if labels.is_empty() {
            // Without labels there are no braces, or nothing but the name in them.
            out.pop();
            out.extend_from_slice(if names.is_quoted() { b"} " } else { b" " });
            return;
        }
        out.extend_from_slice(b"} ");
    }
}

/// The labels that bounds are shown by. Histograms of a family mostly have the same, in the same order.
#[derive(Default)]
struct Bounds {
    known: Vec<(u64, Vec<u8>)>,
    expected: usize,
}

/// More bounds than these are not kept: looking for one would take longer than writing it.
const MAX_BOUNDS: usize = 64;

impl Bounds {
    fn text(&mut self, before: &str, bound: f64) -> &[u8] {
        let is_it = |known: &(u64, Vec<u8>)| {
            known.0 == bound.to_bits() && known.1.starts_with(before.as_bytes())
        };
        let at = match self.known.get(self.expected) {
            Some(known) if is_it(known) => self.expected,
            _ => self.known.iter().position(is_it).unwrap_or_else(|| {
                let mut text = before.as_bytes().to_vec();
                push_f64(&mut text, bound, Style::Canonical);
                text.push(b'"');
                self.known.truncate(MAX_BOUNDS - 1);
                self.known.push((bound.to_bits(), text));
                self.known.len() - 1
            }),
        };
        self.expected = at + 1;
        &self.known[at].1
    }
}

/// What comes between the name of a sample and its labels.
fn opening(names: &Names) -> u8 {
    if names.is_quoted() { b',' } else { b'{' }
}

/// Appends the name of a sample, in quotes behind the brace that the labels follow in, or plain.
fn push_name(out: &mut Vec<u8>, names: &Names, suffix: &str) {
    if names.is_quoted() {
        out.extend_from_slice(b"{\"");
    }
    out.extend_from_slice(names.base().as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    if names.is_quoted() {
        out.push(b'"');
    }
}

/// Appends `# <keyword> <name> `.
pub(super) fn push_comment(out: &mut Vec<u8>, keyword: &str, names: &Names, suffix: &str) {
    out.extend_from_slice(b"# ");
    out.extend_from_slice(keyword.as_bytes());
    out.push(b' ');
    if names.is_quoted() {
        out.push(b'"');
    }
    out.extend_from_slice(names.base().as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    if names.is_quoted() {
        out.push(b'"');
    }
    out.push(b' ');
}

/// Appends a time as the nearest count of milliseconds.
pub(super) fn push_milliseconds(out: &mut Vec<u8>, seconds: f64) {
    let milliseconds = milliseconds(seconds);
    if milliseconds < 0 {
        out.push(b'-');
    }
    push_u64(out, milliseconds.unsigned_abs());
}

/// Appends ` # {labels} value timestamp`. `false`, with nothing appended, where a label is not shown.
pub(super) fn push_exemplar(out: &mut Vec<u8>, names: &mut Names, exemplar: &Exemplar<'_>) -> bool {
    let start = out.len();
    out.extend_from_slice(b" # {");
    for (at, (name, value)) in exemplar.labels.iter().enumerate() {
        let Some(name) = names.label(at, name) else {
            out.truncate(start);
            return false;
        };
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        push_escaped(out, value, Quotes::Escaped);
        out.push(b'"');
    }
    out.extend_from_slice(b"} ");
    push_f64(out, exemplar.value, Style::Canonical);
    if let Some(seconds) = exemplar.timestamp.filter(|seconds| seconds.is_finite()) {
        out.push(b' ');
        push_f64(out, seconds, Style::Canonical);
    }
    true
}

/// What comes after the name of the family, and the labels, of a sample.
pub(super) fn push_sample_series(
    out: &mut Vec<u8>,
    names: &mut Names,
    sample: &Sample<'_>,
) -> bool {
    push_series(out, names, sample.part.suffix(), sample.labels, sample.part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::escape::Escaping;
    use crate::exposition::names::Syntax;
    use crate::model::{FamilyHead, MetricType};

    #[test]
    fn escapes_keep_every_character_apart() {
        let mut out = Vec::new();
        push_escaped(&mut out, "a\\b\"c\nd", Quotes::Escaped);
        assert_eq!(out, br#"a\\b\"c\nd"#);
        out.clear();
        push_escaped(&mut out, "a\\b\"c\nd", Quotes::Kept);
        assert_eq!(out, br#"a\\b"c\nd"#);
    }

    #[test]
    fn names_that_are_not_allowed_never_break_a_line() {
        for (name, shown, quoted) in [
            ("a:b", "a:b ", "a:b "),
            ("http.total", "http_total ", "{\"http.total\"} "),
            ("9\n\"{", "____ ", "{\"9\\n\\\"{\"} "),
            ("", "_ ", "_ "),
        ] {
            for (escaping, shown) in [(Escaping::Underscores, shown), (Escaping::AllowUtf8, quoted)]
            {
                let mut names = Names::new(escaping, Syntax::Lines);
                names.begin(&FamilyHead::new(name, "", MetricType::Gauge));
                let mut out = Vec::new();
                assert!(push_series(&mut out, &mut names, "", &[], Part::Value));
                assert_eq!(String::from_utf8(out).unwrap(), shown);
            }
        }
    }

    #[test]
    fn times_are_the_nearest_milliseconds() {
        for (seconds, shown) in [
            (1.5, "1500"),
            // A product of a little less than 1001.
            (1.001, "1001"),
            (-0.0014, "-1"),
            (0.0, "0"),
            (1e300, "9223372036854775807"),
        ] {
            let mut out = Vec::new();
            push_milliseconds(&mut out, seconds);
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }
}

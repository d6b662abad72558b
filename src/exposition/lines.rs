//! Lines of the text formats: series, escapes, metadata lines, exemplars.

use super::names::Names;
use crate::model::number::{Style, milliseconds, push_f64, push_u64};
use crate::model::{Exemplar, RenderedLabels, Sample, SampleKind};

/// Whether double quotes are escaped, in addition to backslashes and line feeds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    Escaped,
    Literal,
}

/// Appends `text` and escapes backslashes, line feeds and, depending on `quotes`, double quotes.
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

/// Appends the name of a sample, which is that of the family and `suffix`, its labels, and the space before its
/// value.
///
/// Returns `false`, with nothing appended, if a label is omitted because its escaped name collides with another.
pub(super) fn push_series(
    out: &mut Vec<u8>,
    names: &mut Names,
    suffix: &str,
    labels: &[(&str, &str)],
    kind: SampleKind,
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
    let extra: Option<(&[u8], f64)> = match kind {
        SampleKind::Bucket(bound) => Some((b"le=\"", bound)),
        SampleKind::Quantile(quantile) => Some((b"quantile=\"", quantile)),
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

/// Writes the series of samples with rendered labels, and caches what the samples of a family have in common.
#[derive(Default)]
pub(super) struct SeriesWriter {
    /// The beginning of lines with `suffix`, up to the labels.
    head: Vec<u8>,
    suffix: Option<&'static str>,
    bounds: Bounds,
}

impl SeriesWriter {
    /// Begins a family.
    pub(super) fn begin(&mut self) {
        self.suffix = None;
    }

    /// Appends the name and the labels of a sample, and the space before its value.
    pub(super) fn push_series(
        &mut self,
        out: &mut Vec<u8>,
        names: &Names,
        kind: SampleKind,
        labels: RenderedLabels<'_>,
    ) {
        let (suffix, labels) = (kind.suffix(), labels.as_str());
        if self.suffix != Some(suffix) {
            self.suffix = Some(suffix);
            self.head.clear();
            push_name(&mut self.head, names, suffix);
            self.head.push(opening(names));
        }
        let extra = match kind {
            SampleKind::Bucket(bound) => self.bounds.text("le=\"", bound),
            SampleKind::Quantile(quantile) => self.bounds.text("quantile=\"", quantile),
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
            // Without labels there are no braces, except around a quoted name.
            out.pop();
            out.extend_from_slice(if names.is_quoted() { b"} " } else { b" " });
            return;
        }
        out.extend_from_slice(b"} ");
    }
}

/// A cache of labels `le` and `quantile`. The histograms of a family usually have the same bounds in the same order.
#[derive(Default)]
struct Bounds {
    /// The bits of a bound, and its label.
    cached: Vec<(u64, Vec<u8>)>,
    /// The index of the entry that is expected next.
    expected: usize,
}

/// The capacity of the cache. In a larger one, a search would take longer than formatting the number.
const MAX_BOUNDS: usize = 64;

impl Bounds {
    fn text(&mut self, before: &str, bound: f64) -> &[u8] {
        let is_match = |entry: &(u64, Vec<u8>)| {
            entry.0 == bound.to_bits() && entry.1.starts_with(before.as_bytes())
        };
        let at = match self.cached.get(self.expected) {
            Some(entry) if is_match(entry) => self.expected,
            _ => self.cached.iter().position(is_match).unwrap_or_else(|| {
                let mut text = before.as_bytes().to_vec();
                push_f64(&mut text, bound, Style::Canonical);
                text.push(b'"');
                self.cached.truncate(MAX_BOUNDS - 1);
                self.cached.push((bound.to_bits(), text));
                self.cached.len() - 1
            }),
        };
        self.expected = at + 1;
        &self.cached[at].1
    }
}

/// The byte between the name of a sample and its labels.
fn opening(names: &Names) -> u8 {
    if names.is_quoted() { b',' } else { b'{' }
}

/// Appends the name of a sample. A quoted name follows the opening brace, before the labels.
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

/// Appends the beginning of a metadata line: `# <keyword> <name> `.
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

/// Appends a time in milliseconds, rounded to the nearest integer.
pub(super) fn push_milliseconds(out: &mut Vec<u8>, seconds: f64) {
    let milliseconds = milliseconds(seconds);
    if milliseconds < 0 {
        out.push(b'-');
    }
    push_u64(out, milliseconds.unsigned_abs());
}

/// Appends ` # {labels} value timestamp`. Returns `false`, with nothing appended, if a label is omitted because its
/// escaped name collides with another.
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

/// Calls [`push_series`] with the suffix and the labels of a sample.
pub(super) fn push_sample_series(
    out: &mut Vec<u8>,
    names: &mut Names,
    sample: &Sample<'_>,
) -> bool {
    push_series(out, names, sample.kind.suffix(), sample.labels, sample.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::escape::Escaping;
    use crate::exposition::names::Syntax;
    use crate::model::{FamilyMetadata, MetricType};

    #[test]
    fn backslashes_line_feeds_and_quotes_are_escaped() {
        let mut out = Vec::new();
        push_escaped(&mut out, "a\\b\"c\nd", Quotes::Escaped);
        assert_eq!(out, br#"a\\b\"c\nd"#);
        out.clear();
        push_escaped(&mut out, "a\\b\"c\nd", Quotes::Literal);
        assert_eq!(out, br#"a\\b"c\nd"#);
    }

    #[test]
    fn names_with_special_characters_are_escaped_or_quoted() {
        for (name, shown, quoted) in [
            ("a:b", "a:b ", "a:b "),
            ("http.total", "http_total ", "{\"http.total\"} "),
            ("9\n\"{", "____ ", "{\"9\\n\\\"{\"} "),
            ("", "_ ", "_ "),
        ] {
            for (escaping, shown) in [(Escaping::Underscores, shown), (Escaping::AllowUtf8, quoted)]
            {
                let mut names = Names::new(escaping, Syntax::Lines);
                names.begin(&FamilyMetadata::new(name, "", MetricType::Gauge));
                let mut out = Vec::new();
                assert!(push_series(&mut out, &mut names, "", &[], SampleKind::Value));
                assert_eq!(String::from_utf8(out).unwrap(), shown);
            }
        }
    }

    #[test]
    fn times_are_rounded_to_milliseconds() {
        for (seconds, shown) in [
            (1.5, "1500"),
            // The product is slightly less than 1001.
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

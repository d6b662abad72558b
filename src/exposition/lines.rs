//! Lines of the text formats: series, escapes, metadata lines, exemplars.

use std::mem::{Discriminant, discriminant};

use super::names::Names;
use crate::model::number::{Style, milliseconds, push_f64, push_u64};
use crate::model::{Exemplar, Labels, SampleKind};

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

/// Writes the series of samples, and caches what the samples of a family have in common.
#[derive(Default)]
pub(super) struct SeriesWriter {
    /// The beginning of lines with samples of `kind`, up to the labels.
    head: Vec<u8>,
    kind: Option<Discriminant<SampleKind>>,
    bounds: CachedLabels,
    quantiles: CachedLabels,
}

impl SeriesWriter {
    /// Begins a family.
    pub(super) fn begin(&mut self) {
        self.kind = None;
    }

    /// Appends the name and the labels of a sample, and the space before its value.
    ///
    /// Returns `false`, with nothing appended, if a label is omitted because its escaped name collides with another.
    #[inline]
    pub(super) fn push_series(
        &mut self,
        out: &mut Vec<u8>,
        names: &mut Names,
        kind: SampleKind,
        labels: Labels<'_>,
    ) -> bool {
        if self.kind != Some(discriminant(&kind)) {
            self.begin_kind(names, kind);
        }
        let extra = match kind {
            SampleKind::Bucket(bound) => self.bounds.text("le=\"", bound),
            SampleKind::Quantile(quantile) => self.quantiles.text("quantile=\"", quantile),
            _ => &[],
        };
        let start = out.len();
        out.extend_from_slice(&self.head);
        match labels.rendered() {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None if push_labels(out, names, labels) => {}
            None => {
                out.truncate(start);
                return false;
            }
        }
        if !extra.is_empty() {
            if !labels.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(extra);
        } else if labels.is_empty() {
            // Without labels there are no braces, except around a quoted name.
            out.pop();
            out.extend_from_slice(if names.is_quoted() { b"} " } else { b" " });
            return true;
        }
        out.extend_from_slice(b"} ");
        true
    }
}

impl SeriesWriter {
    #[cold]
    fn begin_kind(&mut self, names: &Names, kind: SampleKind) {
        self.kind = Some(discriminant(&kind));
        self.head.clear();
        push_name(&mut self.head, names, kind.suffix());
        self.head.push(opening(names));
    }
}

/// Appends labels without braces. Returns `false` if a label is omitted because its escaped name collides with another.
fn push_labels(out: &mut Vec<u8>, names: &mut Names, labels: Labels<'_>) -> bool {
    let mut at = 0;
    labels.all(|name, value| {
        let Some(name) = names.label(at, name) else {
            return false;
        };
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        push_escaped(out, value, Quotes::Escaped);
        out.push(b'"');
        at += 1;
        true
    })
}

/// A cache of labels `le` or `quantile`. The histograms of a family usually have the same bounds in the same order.
#[derive(Default)]
struct CachedLabels {
    /// The bits of a number, and the label with it.
    cached: Vec<(u64, Vec<u8>)>,
    /// The index of the entry that is expected next.
    expected: usize,
}

/// The capacity of a cache. In a larger one, a search would take longer than formatting the number.
const MAX_CACHED: usize = 64;

impl CachedLabels {
    /// The label with this number. `name` is the beginning of the label, and the same in every call.
    fn text(&mut self, name: &str, number: f64) -> &[u8] {
        let bits = number.to_bits();
        let at = match self.cached.get(self.expected) {
            Some((cached, _)) if *cached == bits => self.expected,
            _ => self.find(name, number),
        };
        self.expected = at + 1;
        &self.cached[at].1
    }

    #[cold]
    fn find(&mut self, name: &str, number: f64) -> usize {
        let bits = number.to_bits();
        self.cached.iter().position(|(cached, _)| *cached == bits).unwrap_or_else(|| {
            let mut text = name.as_bytes().to_vec();
            push_f64(&mut text, number, Style::Canonical);
            text.push(b'"');
            self.cached.truncate(MAX_CACHED - 1);
            self.cached.push((bits, text));
            self.cached.len() - 1
        })
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
    if !push_labels(out, names, Labels::new(exemplar.labels)) {
        out.truncate(start);
        return false;
    }
    out.extend_from_slice(b"} ");
    push_f64(out, exemplar.value, Style::Canonical);
    if let Some(seconds) = exemplar.timestamp.filter(|seconds| seconds.is_finite()) {
        out.push(b' ');
        push_f64(out, seconds, Style::Canonical);
    }
    true
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
                let (kind, labels) = (SampleKind::Value, Labels::default());
                let mut writer = SeriesWriter::default();
                assert!(writer.push_series(&mut out, &mut names, kind, labels));
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

//! What the text formats have in common: names, labels, escapes.

use crate::model::number::{Style, push_f64};
use crate::model::{Part, Sample, name};

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

/// Appends a metric name; what the data model does not allow becomes underscores.
///
/// See: the escaping scheme `underscores` of Prometheus, which is its default.
pub(super) fn push_metric_name(out: &mut Vec<u8>, text: &str) {
    if name::is_metric_name(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_underscored(out, text, true);
    }
}

fn push_label_name(out: &mut Vec<u8>, text: &str) {
    if name::is_label_name(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_underscored(out, text, false);
    }
}

fn push_underscored(out: &mut Vec<u8>, text: &str, colons: bool) {
    if text.is_empty() {
        out.push(b'_');
    }
    for (at, char) in text.chars().enumerate() {
        let letter = char.is_ascii_alphabetic() || char == '_' || (char == ':' && colons);
        let allowed = letter || (at > 0 && char.is_ascii_digit());
        out.push(if allowed { char as u8 } else { b'_' });
    }
}

/// Appends name, suffix and labels of a sample, and the space before its value.
pub(super) fn push_series(out: &mut Vec<u8>, family: &str, sample: &Sample<'_>) {
    push_metric_name(out, family);
    out.extend_from_slice(sample.part.suffix().as_bytes());
    let extra = match sample.part {
        Part::Bucket(bound) => Some(("le", bound)),
        Part::Quantile(quantile) => Some(("quantile", quantile)),
        _ => None,
    };
    if !sample.labels.is_empty() || extra.is_some() {
        let mut before = b'{';
        for (name, value) in sample.labels {
            out.push(before);
            push_label_name(out, name);
            out.extend_from_slice(b"=\"");
            push_escaped(out, value, Quotes::Escaped);
            out.push(b'"');
            before = b',';
        }
        if let Some((name, number)) = extra {
            out.push(before);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"=\"");
            push_f64(out, number, Style::Canonical);
            out.push(b'"');
        }
        out.push(b'}');
    }
    out.push(b' ');
}

/// Appends `# <keyword> <name> `.
pub(super) fn push_comment(out: &mut Vec<u8>, keyword: &str, family: &str, suffix: &str) {
    out.extend_from_slice(b"# ");
    out.extend_from_slice(keyword.as_bytes());
    out.push(b' ');
    push_metric_name(out, family);
    out.extend_from_slice(suffix.as_bytes());
    out.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for (name, shown) in
            [("a:b", "a:b"), ("http.total", "http_total"), ("9\n\"{", "____"), ("", "_")]
        {
            let mut out = Vec::new();
            push_metric_name(&mut out, name);
            assert_eq!(String::from_utf8(out).unwrap(), shown);
        }
    }
}

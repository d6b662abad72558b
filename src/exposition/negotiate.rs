//! Content negotiation: selects format and escaping by the `Accept` header.
//!
//! See: RFC 9110, section 12.5.1; "Scrape protocol content negotiation" of Prometheus.

use super::escape::Escaping;
use super::format::{Format, Negotiated};

/// The number of bytes of a header that are parsed; the rest is ignored.
const MAX_ACCEPT_LEN: usize = 4096;

/// The number of clauses of a header that are parsed; the rest is ignored.
const MAX_CLAUSES: usize = 64;

/// Selects the format and the escaping of the response to a request with this `Accept` header.
///
/// The clauses are considered by decreasing `q`, those of equal `q` in the order of the header. The first one
/// with a supported format and version is selected. `*/*` and `text/*` select the text format 0.0.4, as do a
/// missing header, a malformed one, and one without a supported format: negotiation never fails. OpenMetrics
/// 2.0.0 is selected only by a clause that names this version.
///
/// The escaping is that of the selected clause or, if it has none, of the last clause before it that has one, as
/// in the Go library. Without any it is `underscores`.
///
/// Only the first 4096 bytes and 64 clauses of the header are considered.
///
/// ```
/// use multiprom::exposition::{Escaping, Format, negotiate};
///
/// let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.2";
/// let selected = negotiate(Some(accept));
/// assert_eq!((selected.format(), selected.escaping()), (Format::OpenMetrics, Escaping::AllowUtf8));
/// ```
pub fn negotiate(accept: Option<&str>) -> Negotiated {
    let mut accept = accept.unwrap_or_default();
    if accept.len() > MAX_ACCEPT_LEN {
        // Ignores the truncated clause, whose `q` may be missing.
        let read = &accept.as_bytes()[..MAX_ACCEPT_LEN];
        accept = read.iter().rposition(|byte| *byte == b',').map_or("", |end| &accept[..end]);
    }
    let mut clauses: Vec<Clause> =
        split(accept, ',').take(MAX_CLAUSES).filter_map(Clause::read).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let mut escaping = None;
    let mut format = Format::Text;
    for clause in clauses {
        escaping = clause.escaping.or(escaping);
        if let Some(named) = clause.format {
            format = named;
            break;
        }
    }
    match escaping {
        Some(escaping) => Negotiated::new(format, escaping),
        None => Negotiated::without_escaping(format),
    }
}

/// An element of the header, except those that `q=0` refuses.
struct Clause {
    quality: f64,
    format: Option<Format>,
    escaping: Option<Escaping>,
}

impl Clause {
    fn read(text: &str) -> Option<Clause> {
        let mut parts = split(text, ';');
        let media_type = parts.next()?.trim().to_ascii_lowercase();
        let mut quality = 1.0;
        let (mut escaping, mut version, mut encoding, mut proto) = (None, None, None, None);
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
                "escaping" => escaping = value.parse().ok(),
                "version" => version = Some(value),
                "encoding" => encoding = Some(value),
                "proto" => proto = Some(value),
                _ => {}
            }
        }
        let format = match media_type.as_str() {
            "application/openmetrics-text" => openmetrics_version(version),
            "text/plain" => text_version(version),
            "application/vnd.google.protobuf" => protobuf(proto, encoding),
            "text/*" | "*/*" => Some(Format::Text),
            _ => None,
        };
        (quality > 0.0).then_some(Clause { quality, format, escaping })
    }
}

fn openmetrics_version(version: Option<&str>) -> Option<Format> {
    match version {
        None | Some("1.0.0") => Some(Format::OpenMetrics),
        Some("0.0.1") => Some(Format::OpenMetrics001),
        Some("2.0.0") => Some(Format::OpenMetrics2),
        Some(_) => None,
    }
}

fn text_version(version: Option<&str>) -> Option<Format> {
    match version {
        None | Some("0.0.4") => Some(Format::Text),
        Some("1.0.0") => Some(Format::TextUtf8),
        Some(_) => None,
    }
}

#[cfg(feature = "protobuf")]
fn protobuf(proto: Option<&str>, encoding: Option<&str>) -> Option<Format> {
    match (proto?, encoding?) {
        ("io.prometheus.client.MetricFamily", "delimited") => Some(Format::Protobuf),
        ("io.prometheus.client.MetricFamily", "text") => Some(Format::ProtobufText),
        _ => None,
    }
}

#[cfg(not(feature = "protobuf"))]
fn protobuf(_: Option<&str>, _: Option<&str>) -> Option<Format> {
    None
}

/// Splits `text` at the separators that are not in a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |char| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match char {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        char == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OM: Format = Format::OpenMetrics;

    fn check(accept: &str, format: Format, escaping: Escaping) {
        let selected = negotiate(Some(accept));
        assert_eq!((selected.format(), selected.escaping()), (format, escaping), "{accept}");
    }

    #[test]
    fn the_headers_that_scrapers_send_are_understood() {
        for (accept, format) in [
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OM,
            ),
            // Prometheus 2.20.
            (
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics001,
            ),
            (
                "text/plain;version=0.0.4;q=0.3, application/openmetrics-text; version=\"1.0.0\"; q=0.4",
                OM,
            ),
            ("application/openmetrics-text;q=0, text/plain", Format::Text),
            ("application/openmetrics-text;version=2.0.0", Format::OpenMetrics2),
            ("application/openmetrics-text;version=2.0.1", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("text/plain;x=\"a,b;version=1.0.0\\\"\",application/openmetrics-text", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
            (";;;,q=1,,=", Format::Text),
        ] {
            check(accept, format, Escaping::Underscores);
        }
        assert_eq!(negotiate(None), Negotiated::default());
        // Prometheus 3.14.
        let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(accept, OM, Escaping::AllowUtf8);
    }

    #[cfg(feature = "protobuf")]
    #[test]
    fn protobuf_is_selected_only_by_message_and_encoding() {
        let proto =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=";
        // Prometheus 3.14 with native histograms.
        let accept = format!(
            "{proto}delimited;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1"
        );
        check(&accept, Format::Protobuf, Escaping::Underscores);
        check(&format!("{proto}text"), Format::ProtobufText, Escaping::Underscores);
        check(&format!("{proto}compact-text"), Format::Text, Escaping::Underscores);
        check("application/vnd.google.protobuf", Format::Text, Escaping::Underscores);
    }

    #[test]
    fn the_escaping_is_the_last_one_up_to_the_selected_clause() {
        for (accept, format, escaping) in [
            ("text/plain;version=0.0.4;escaping=dots", Format::Text, Escaping::Dots),
            ("text/plain;version=1.0.0", Format::TextUtf8, Escaping::Underscores),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8",
                Format::TextUtf8,
                Escaping::AllowUtf8,
            ),
            ("a/b;escaping=values,text/plain;q=0.5", Format::Text, Escaping::Values),
            ("text/plain;q=0.5,a/b;escaping=values", Format::Text, Escaping::Values),
            ("a/b;escaping=values;q=0.1,text/plain;q=0.5", Format::Text, Escaping::Underscores),
            ("a/b;escaping=dots,text/plain;q=0.5;escaping=new", Format::Text, Escaping::Dots),
            ("a/b;escaping=dots;q=0,text/plain;q=0.5", Format::Text, Escaping::Underscores),
            ("a/b;escaping=dots", Format::Text, Escaping::Dots),
        ] {
            check(accept, format, escaping);
        }
        let has_parameter = |accept| negotiate(Some(accept)).content_type().contains("escaping=");
        assert!(!has_parameter("text/plain") && !has_parameter("application/openmetrics-text"));
        assert!(has_parameter("text/plain;escaping=underscores"));
        assert!(has_parameter("text/plain;version=1.0.0"));
    }

    #[test]
    fn headers_above_the_limits_are_truncated() {
        assert_eq!(negotiate(Some(&"\u{1f600},".repeat(100_000))).format(), Format::Text);
        assert_eq!(negotiate(Some(&"\u{1f600}".repeat(100_000))).format(), Format::Text);
        let cut = format!("{},text/plain;version=1.0.0", "a/b,".repeat(1018));
        assert_eq!(negotiate(Some(&cut[..4096])).format(), Format::Text);
        let late = format!("{OM_TYPE};{}q=0.1,text/plain;version=1.0.0", "a=b;".repeat(500));
        assert_eq!(negotiate(Some(&late)).format(), Format::TextUtf8);
        // The truncated clause is ignored, as it could end in `q=0`.
        let cut = format!("{OM_TYPE};{}q=0", "a=b;".repeat(5000));
        assert_eq!(negotiate(Some(&cut)).format(), Format::Text);
    }

    const OM_TYPE: &str = "application/openmetrics-text";

    proptest! {
        #[test]
        fn negotiation_of_any_header_succeeds(accept: String) {
            negotiate(Some(&accept));
        }

        #[test]
        fn openmetrics_2_is_selected_only_by_name(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    ",", ";", "\"", "\\", "=", " ", "q", "q=", "0.5", "version=", "1.0.0", "2.0.0",
                    "text/plain", "*/*", OM_TYPE, "escaping=", "dots", "\u{e9}",
                ]),
                0..40,
            ),
        ) {
            let accept = words.concat();
            let selected = negotiate(Some(&accept));
            let is_requested = accept.contains("2.0.0") && accept.contains(OM_TYPE);
            prop_assert!(selected.format() != Format::OpenMetrics2 || is_requested);
        }
    }
}

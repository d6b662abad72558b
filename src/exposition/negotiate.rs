//! Content negotiation: the format that an `Accept` header prefers.
//!
//! See: RFC 9110, section 12.5.1; "Scrape protocol content negotiation" of Prometheus.

use super::Format;

/// What is read of a header, in bytes and in clauses; the rest is ignored.
const MAX_ACCEPT_LEN: usize = 4096;
const MAX_CLAUSES: usize = 64;

/// The format for an `Accept` header: that of the clause with the highest `q` that names one.
///
/// Among equal `q` the first clause wins. `*/*`, no header, and any header that cannot be read give the
/// text format 0.0.4; there is always an answer.
pub fn negotiate(accept: Option<&str>) -> Format {
    let accept = accept.unwrap_or_default();
    let accept = match accept.char_indices().nth(MAX_ACCEPT_LEN) {
        Some((end, _)) => &accept[..end],
        None => accept,
    };
    let mut best: Option<(f64, Format)> = None;
    for clause in accept.split(',').take(MAX_CLAUSES) {
        let Some((quality, format)) = offer(clause) else {
            continue;
        };
        if quality > 0.0 && best.is_none_or(|(known, _)| quality > known) {
            best = Some((quality, format));
        }
    }
    best.map(|(_, format)| format).unwrap_or_default()
}

/// The quality and the format of one clause, if it names a format that is known.
fn offer(clause: &str) -> Option<(f64, Format)> {
    let mut parts = clause.split(';').map(str::trim);
    let media_type = parts.next()?;
    let mut quality = 1.0;
    let mut version = None;
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            "version" => version = Some(value),
            _ => {}
        }
    }
    let format = match (media_type.to_ascii_lowercase().as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    Some((quality, format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_headers_that_scrapers_send_are_understood() {
        let om = Format::OpenMetrics;
        for (accept, format) in [
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                om,
            ),
            // Prometheus 3.14.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                om,
            ),
            (
                "text/plain;version=0.0.4;q=0.3, application/openmetrics-text; version=\"1.0.0\"; q=0.4",
                om,
            ),
            ("application/openmetrics-text;q=0, text/plain", Format::Text),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
            (";;;,q=1,,=", Format::Text),
        ] {
            assert_eq!(negotiate(Some(accept)), format, "{accept}");
        }
        assert_eq!(negotiate(None), Format::Text);
    }

    #[test]
    fn a_header_of_any_length_is_answered() {
        assert_eq!(negotiate(Some(&"\u{1f600},".repeat(100_000))), Format::Text);
    }

    proptest! {
        #[test]
        fn any_header_is_answered(accept: String) {
            negotiate(Some(&accept));
        }
    }
}

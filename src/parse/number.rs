//! Parses the numbers of the text formats.
//!
//! OpenMetrics and the text format of Prometheus have the same grammar: decimal digits with an optional
//! point, exponent and sign; `inf` and `infinity` with an optional sign; `nan` without a sign; all in any
//! case. Hexadecimal digits, underscores, and numbers that overflow an `f64` are refused.
//!
//! See: OpenMetrics 1.0.0, "ABNF"; Go `strconv.ParseFloat` and its use in `expfmt`.

/// Parses a sample value.
pub(super) fn parse_f64(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    if let Some(small) = parse_small_integer(bytes) {
        return Some(small);
    }
    let value: f64 = text.parse().ok()?;
    let (first, unsigned) = match bytes {
        [b'+' | b'-', rest @ ..] => (bytes[0], rest),
        rest => (0, rest),
    };
    match unsigned.first()? {
        b'n' | b'N' if first != 0 => None,
        b'0'..=b'9' | b'.' if value.is_infinite() => None,
        _ => Some(value),
    }
}

/// Parses an OpenMetrics timestamp in seconds, which is finite.
pub(super) fn parse_timestamp(text: &str) -> Option<f64> {
    parse_f64(text).filter(|value| value.is_finite())
}

/// Parses a timestamp of the text format, in integer milliseconds, into seconds.
pub(super) fn parse_milliseconds(text: &str) -> Option<f64> {
    text.parse::<i64>().ok().map(|milliseconds| milliseconds as f64 / 1000.0)
}

/// The fast path for most values: up to 15 digits, which an `f64` holds exactly.
fn parse_small_integer(bytes: &[u8]) -> Option<f64> {
    if bytes.is_empty() || bytes.len() > 15 {
        return None;
    }
    let mut sum = 0u64;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum * 10 + u64::from(digit);
    }
    Some(sum as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_follow_the_grammar_of_the_specification() {
        for (text, value) in [
            ("0", 0.0),
            ("0042", 42.0),
            ("+1", 1.0),
            ("-1.5", -1.5),
            ("1.", 1.0),
            (".5", 0.5),
            ("1e3", 1e3),
            ("1E+03", 1e3),
            ("1e-400", 0.0),
            ("999999999999999", 999_999_999_999_999.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("inf", f64::INFINITY),
            ("+Infinity", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_f64(text), Some(value), "{text}");
        }
        assert!(parse_f64("nAn").unwrap().is_nan());
        for text in [
            "", "+", "-", ".", "e5", "1e", "1e+", "0x1", "0x1p3", "1_0", "1e999", "-1e999", "+nan",
            "-NaN", "in", "infi", "1 ", " 1", "1,5", "\u{661}", "--1", "1.5.2", "Infinit", "1f",
        ] {
            assert_eq!(parse_f64(text), None, "{text}");
        }
        for text in ["nan", "inf", "-Inf", ""] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert_eq!(parse_milliseconds("-1500"), Some(-1.5));
        assert_eq!(parse_milliseconds("1.5"), None);
        assert_eq!(parse_milliseconds("9223372036854775808"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = parse_f64(&text);
        }

        #[test]
        fn integers_are_parsed_as_the_standard_library_parses_them(value in 0u64..10_000_000_000_000_000) {
            let text = value.to_string();
            prop_assert_eq!(parse_f64(&text), text.parse::<f64>().ok());
        }
    }
}

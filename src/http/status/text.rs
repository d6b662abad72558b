//! Text of pages: escaping, and numbers, units and durations for people.

use std::fmt::Write as _;

/// Escapes text for HTML elements and quoted attributes.
pub(in crate::http) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Encodes a value of a query.
pub(super) fn query_value(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // OK because writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A number with three digits and a decimal prefix, such as `1.23k`.
pub(super) fn short(value: f64) -> String {
    scaled(value, &[(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")], "")
}

/// A value of a unit, such as `4.2 ms`.
pub(super) fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "seconds" => duration(value),
        "bytes" => bytes(value),
        _ => short(value),
    }
}

/// A number of bytes with a binary prefix.
pub(super) fn bytes(value: f64) -> String {
    let prefixes = [
        (f64::from(1 << 30) * 1024.0, " TiB"),
        (f64::from(1 << 30), " GiB"),
        (f64::from(1 << 20), " MiB"),
        (f64::from(1 << 10), " KiB"),
    ];
    scaled(value, &prefixes, " B")
}

/// A number of seconds, in the unit that suits it.
pub(super) fn duration(seconds: f64) -> String {
    let size = seconds.abs();
    if !seconds.is_finite() {
        return digits(seconds);
    }
    if size >= 86_400.0 {
        return format!("{} d", digits(seconds / 86_400.0));
    }
    if size >= 3600.0 {
        return format!("{} h", digits(seconds / 3600.0));
    }
    if size >= 60.0 {
        return format!("{} min", digits(seconds / 60.0));
    }
    if size >= 1.0 || seconds == 0.0 {
        return format!("{} s", digits(seconds));
    }
    let (factor, unit) = match size {
        1e-3.. => (1e3, "ms"),
        1e-6.. => (1e6, "\u{b5}s"),
        _ => (1e9, "ns"),
    };
    format!("{} {unit}", digits(seconds * factor))
}

/// A count, with a separator between thousands.
pub(super) fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn scaled(value: f64, prefixes: &[(f64, &str)], none: &str) -> String {
    // 999.6 has three digits as 1.00 of the next prefix.
    let prefix = prefixes.iter().find(|(factor, _)| value.abs() >= factor * 0.9995);
    match prefix {
        Some((factor, prefix)) if value.is_finite() => {
            format!("{}{prefix}", digits(value / factor))
        }
        _ => format!("{}{none}", digits(value)),
    }
}

/// A number with three digits.
fn digits(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size == 0.0 => return "0".to_owned(),
        _ if value.is_nan() => return "NaN".to_owned(),
        _ if value.is_infinite() => return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        1e6.. => return format!("{value:.2e}"),
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        0.9995.. => format!("{value:.2}"),
        0.099_95.. => format!("{value:.3}"),
        0.009_995.. => format!("{value:.4}"),
        0.001.. => format!("{value:.5}"),
        _ => return format!("{value:.2e}"),
    };
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (-12.34, "-12.3"),
            (999.4, "999"),
            (999.6, "1k"),
            (1234.0, "1.23k"),
            (0.25, "0.25"),
            (0.123_45, "0.123"),
            (0.000_012_3, "1.23e-5"),
            (1e18, "1.00e6T"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(12.0), "12 B");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        let cases = [
            (0.0, "0 s"),
            (2e-9, "2 ns"),
            (4.2e-3, "4.2 ms"),
            (59.0, "59 s"),
            (90.0, "1.5 min"),
            (7200.0, "2 h"),
            (172_800.0, "2 d"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(duration(value), expected);
        }
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(query_value("a b&\"<\u{e4}"), "a%20b%26%22%3C%C3%A4");
    }
}

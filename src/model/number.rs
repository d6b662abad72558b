//! Formats numbers for expositions.
//!
//! There are two styles. Both write the fewest digits that parse to the same `f64`:
//! - [`Style::Plain`], the format `'g'` of Go's `strconv`: `1`, `0.25`, `1e+06`, `1.5e-05`;
//! - [`Style::Canonical`], the canonical numbers of OpenMetrics: the same, but `.0` is appended to a number
//!   without a point and an exponent: `1.0`. `le` and `quantile` have this style in every format, as `le` has
//!   in the Python client.
//!
//! See: OpenMetrics 1.0.0, "Considerations: Canonical Numbers"; Go `strconv.FormatFloat`.

use std::ops::Range;
use std::str::FromStr;

/// Parses decimal digits. (`from_str` of integers also accepts a sign.)
pub(crate) fn parse_digits<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// The style of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Canonical,
}

/// Integers below this are written without an exponent.
const PLAIN_INTEGER_LIMIT: f64 = 1_000_000.0;

/// 2^53: for integers below this the shortest digits are all digits up to the last one that is not zero.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The decimal exponents of numbers that Go and the Python client write without an exponent.
const POINT_FORM: Range<i32> = -4..6;

/// Appends a number to `out`.
pub(crate) fn push_f64(out: &mut Vec<u8>, value: f64, style: Style) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    if value < PLAIN_INTEGER_LIMIT && value.trunc() == value {
        push_u64(out, value as u64);
        if style == Style::Canonical {
            out.extend_from_slice(b".0");
        }
        return;
    }
    push_shortest(out, value, style);
}

/// Appends the decimal digits of `value` to `out`.
pub(crate) fn push_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a positive finite number, except an integer below [`PLAIN_INTEGER_LIMIT`].
fn push_shortest(out: &mut Vec<u8>, value: f64, style: Style) {
    let mut digits = [0u8; 20];
    let (count, exponent) = if value < MAX_EXACT_INTEGER && value.trunc() == value {
        integer_digits(value as u64, &mut digits)
    } else {
        shortest_digits(value, &mut digits)
    };
    let digits = &digits[..count];
    if !POINT_FORM.contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        let magnitude = u64::from(exponent.unsigned_abs());
        if magnitude < 10 {
            out.push(b'0');
        }
        push_u64(out, magnitude);
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let point = exponent as usize + 1;
        if digits.len() > point {
            out.extend_from_slice(&digits[..point]);
            out.push(b'.');
            out.extend_from_slice(&digits[point..]);
        } else {
            out.extend_from_slice(digits);
            out.resize(out.len() + point - digits.len(), b'0');
            if style == Style::Canonical {
                out.extend_from_slice(b".0");
            }
        }
    }
}

/// Stores the digits of an integer without its trailing zeros. Returns their number, and the decimal exponent of
/// the first digit.
fn integer_digits(mut value: u64, digits: &mut [u8; 20]) -> (usize, i32) {
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let exponent = (digits.len() - at) as i32 - 1;
    digits.copy_within(at.., 0);
    let mut count = digits.len() - at;
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    (count, exponent)
}

/// Stores the fewest digits that parse to `value`. Returns their number, and the decimal exponent of the first
/// digit.
fn shortest_digits(value: f64, digits: &mut [u8; 20]) -> (usize, i32) {
    // zmij writes `d[.ddd]e[+-]x`, or `ddd.ddd` if the exponent is small.
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    let end = text.iter().position(|&byte| byte == b'e').unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(end);
    let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let (mut count, mut zeros, mut kept) = (0, 0, 0);
    for &byte in mantissa.iter().filter(|&&byte| byte != b'.') {
        if byte == b'0' && count == 0 {
            zeros += 1;
            continue;
        }
        // OK because no `f64` needs more than 17 digits.
        digits[count.min(19)] = byte;
        count += 1;
        if byte != b'0' {
            kept = count;
        }
    }
    (kept, parse_exponent(exponent.get(1..).unwrap_or_default()) + point as i32 - 1 - zeros)
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let magnitude =
        digits.iter().fold(0i32, |sum, &byte| sum * 10 + i32::from(byte.wrapping_sub(b'0')));
    if negative { -magnitude } else { magnitude }
}

/// Converts seconds to milliseconds, rounded to the nearest integer.
pub(crate) fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// The label value `le` of a bucket bound, in canonical style.
pub(crate) fn bound_text(bound: f64) -> String {
    let mut text = Vec::with_capacity(8);
    push_f64(&mut text, bound, Style::Canonical);
    String::from_utf8_lossy(&text).into_owned()
}

/// Parses a label value `le`: decimal, with exponent, or `+Inf`.
pub(crate) fn parse_bound(text: &str) -> Option<f64> {
    let bound: f64 = text.trim().parse().ok()?;
    if bound.is_nan() { None } else { Some(bound) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spell(value: f64, style: Style) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, value, style);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_formatted_as_go_and_openmetrics_format_them() {
        for (value, plain, canonical) in [
            (0.0, "0", "0.0"),
            (-0.0, "-0", "-0.0"),
            (1.0, "1", "1.0"),
            (-17.0, "-17", "-17.0"),
            (0.1, "0.1", "0.1"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "1e-05"),
            (2.5, "2.5", "2.5"),
            (100_000.0, "100000", "100000.0"),
            (999_999.5, "999999.5", "999999.5"),
            (1e6, "1e+06", "1e+06"),
            (-1e6, "-1e+06", "-1e+06"),
            (1_234_567.0, "1.234567e+06", "1.234567e+06"),
            (123_456.789, "123456.789", "123456.789"),
            (1e10, "1e+10", "1e+10"),
            (1_234_500.0, "1.2345e+06", "1.2345e+06"),
            (9_007_199_254_740_991.0, "9.007199254740991e+15", "9.007199254740991e+15"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15", "9.007199254740992e+15"),
            (1e21, "1e+21", "1e+21"),
            (1e100, "1e+100", "1e+100"),
            (5e-324, "5e-324", "5e-324"),
            (f64::MAX, "1.7976931348623157e+308", "1.7976931348623157e+308"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!(spell(value, Style::Plain), plain);
            assert_eq!(spell(value, Style::Canonical), canonical);
        }
    }

    #[test]
    fn bucket_bounds_are_parsed_in_every_style_that_clients_have_used() {
        for (text, bound) in
            [("1", 1.0), ("1.0", 1.0), ("1e+010", 1e10), ("1e+10", 1e10), ("+Inf", f64::INFINITY)]
        {
            assert_eq!(parse_bound(text), Some(bound), "{text}");
        }
        for text in ["", "abc", "NaN", "1_0"] {
            assert_eq!(parse_bound(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn digits_of_integers_equal_those_of_the_general_algorithm(integer in 0u64..1 << 53, zeros in 0u32..10) {
            let value = (integer / 10u64.pow(zeros) * 10u64.pow(zeros)).max(1_000_000);
            let (mut one, mut other) = ([0; 20], [0; 20]);
            let (count, exponent) = integer_digits(value, &mut one);
            prop_assert_eq!((count, exponent), shortest_digits(value as f64, &mut other));
            prop_assert_eq!(&one[..count], &other[..count]);
        }

        #[test]
        fn every_finite_number_parses_to_the_same_bits(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for style in [Style::Plain, Style::Canonical] {
                let text = spell(value, style);
                prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{}", text);
            }
        }
    }
}

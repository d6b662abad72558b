//! Parsers of numbers in arguments.

use crate::model::number::parse_digits;

/// Parses octal digits, without a sign.
pub(super) fn octal(text: &str, max: u32) -> Option<u32> {
    let is_octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    u32::from_str_radix(text, 8).ok().filter(|number| is_octal && *number <= max)
}

/// Parses a number with one of the units, and multiplies it by the factor of the unit.
pub(super) fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    parse_digits::<u64>(digits)?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_and_one_of_the_units() {
        let parsed = |text| with_unit(text, &[("", 1), ("s", 1), ("m", 60)]);
        assert_eq!((parsed("5"), parsed("5s"), parsed("5m")), (Some(5), Some(5), Some(300)));
        for bad in [
            "",
            "s",
            "+5s",
            "-5s",
            "+5",
            "5h",
            "5 s",
            "99999999999999999999",
            "9999999999999999999m",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}

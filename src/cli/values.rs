//! Parsers of numbers in arguments.

/// Parses octal digits, without a sign.
pub(super) fn octal(text: &str, max: u32) -> Option<u32> {
    let is_octal = text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    u32::from_str_radix(text, 8).ok().filter(|number| is_octal && *number <= max)
}

/// Parses a number with one of the units, and multiplies it by the factor of the unit.
pub(super) fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

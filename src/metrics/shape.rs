//! Where the label values of a family's children are in their rendered labels.

use crate::model::{KeptLabels, LabelSet};

/// The places of values in the order of label names, which is that of the rendered text.
pub(super) struct LabelShape(Box<[Place]>);

/// A value, by what is before it: the end of the value before, labels that are the same for all, its name.
struct Place {
    before: usize,
    /// Which of the values that are given it is.
    at: usize,
    /// Which of all labels, sorted by name, it is.
    sorted: usize,
}

impl LabelShape {
    /// The shape of labels with these names, and of others that all children have.
    pub(super) fn new(names: &[Box<str>], constant: &LabelSet) -> LabelShape {
        let own = names.iter().enumerate().map(|(at, name)| (&**name, Err(at)));
        let constant = constant.iter().map(|(name, value)| (name, Ok(value)));
        let mut labels: Vec<(&str, Result<&str, usize>)> = own.chain(constant).collect();
        labels.sort_unstable_by_key(|(name, _)| *name);
        let (mut places, mut before) = (Vec::new(), 0);
        for (sorted, (name, value)) in labels.into_iter().enumerate() {
            before += name.len() + "=\"".len();
            match value {
                Ok(value) => before += value.len(),
                Err(at) => places.push(Place { before: std::mem::take(&mut before), at, sorted }),
            }
            before += "\",".len();
        }
        LabelShape(places.into())
    }

    /// Whether labels of this shape have these values, in the order in which the names were given.
    #[inline]
    pub(super) fn has_values(&self, labels: &KeptLabels, values: &[&str]) -> bool {
        let text = match labels {
            KeptLabels::Rendered(text) => text.as_bytes(),
            KeptLabels::Other(labels) => return self.has_other_values(labels, values),
        };
        let mut end = 0;
        for place in &self.0 {
            let Some(value) = values.get(place.at) else {
                return false;
            };
            let start = end + place.before;
            end = start + value.len();
            // Rendered values contain no quote, so the first quote after `start` ends the value.
            let is_value = match text.get(start..=end) {
                Some([own @ .., b'"']) => is_value(own, value.as_bytes()),
                _ => false,
            };
            if !is_value {
                return false;
            }
        }
        true
    }

    #[cold]
    fn has_other_values(&self, labels: &LabelSet, values: &[&str]) -> bool {
        let value = |place: &Place| labels.iter().nth(place.sorted).map(|(_, value)| value);
        self.0.iter().all(|place| value(place) == values.get(place.at).copied())
    }
}

/// Whether a text equals a value of the same length and contains no quote. Most label values are so short that a call
/// of `memcmp` would take longer.
///
/// Quotes are not searched for in less than 4 bytes: a value that extends beyond its end in the text contains at least
/// `",x=`.
#[inline]
fn is_value(text: &[u8], value: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        if value.first_chunk() != Some(first) || value.last_chunk() != Some(last) {
            return false;
        }
        let is_unquoted = |chunk: &[u8; 8]| !has_quote(u64::from_le_bytes(*chunk));
        if text.len() <= 16 {
            return is_unquoted(first) && is_unquoted(last);
        }
        let mut chunks = text.as_chunks().0.iter().zip(value.as_chunks().0);
        return chunks.all(|(text, value)| text == value && is_unquoted(text)) && is_unquoted(last);
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let word =
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
        return value.first_chunk() == Some(first)
            && value.last_chunk() == Some(last)
            && !has_quote(word);
    }
    text.iter().zip(value).all(|(text, value)| text == value)
}

/// Whether a byte of a word is a quote.
#[inline]
fn has_quote(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let zero_where_quote = word ^ (ONES * u64::from(b'"'));
    zero_where_quote.wrapping_sub(ONES) & !zero_where_quote & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["route", "code", "method"];

    fn shape() -> (LabelShape, LabelSet) {
        let constant = LabelSet::new([("app", "x"), ("host", "y"), ("region", "eu")]);
        (LabelShape::new(&NAMES.map(Box::from), &constant), constant)
    }

    fn labels(constant: &LabelSet, values: &[String; 3]) -> KeptLabels {
        let own = NAMES.into_iter().zip(values.iter().map(String::as_str));
        let mut pairs: Vec<(&str, &str)> = constant.iter().chain(own).collect();
        pairs.sort_unstable();
        KeptLabels::new(pairs.into_iter())
    }

    #[test]
    fn a_given_value_with_quotes_does_not_match_the_text_of_several_labels() {
        let shape = LabelShape::new(&["a", "b"].map(Box::from), &LabelSet::default());
        let filler = "x".repeat(20);
        for value in ["", "1", "12345", "123456789", &filler] {
            // The given values match the text at their places, and the text between them is not compared.
            let kept = KeptLabels::new([("a", value), ("b", "xyzwhello")].into_iter());
            assert!(shape.has_values(&kept, &[value, "xyzwhello"]));
            assert!(!shape.has_values(&kept, &[&format!("{value}\",b="), "hello"]), "{value}");
        }
    }

    #[test]
    fn a_value_is_equal_to_its_last_byte_and_has_no_quote() {
        for len in 0..40 {
            let plain = "y".repeat(len);
            assert!(is_value(plain.as_bytes(), plain.as_bytes()));
            for at in 0..len {
                for byte in [b'"', b'!', b'#', 0xa2] {
                    let mut text = plain.clone().into_bytes();
                    text[at] = byte;
                    assert!(!is_value(&text, plain.as_bytes()));
                    assert_eq!(
                        is_value(&text, &text),
                        byte != b'"' || len < 4,
                        "{len} {at} {byte}"
                    );
                }
            }
        }
    }

    proptest! {
        /// Few characters, so that values are often equal, or the beginnings of others.
        #[test]
        fn labels_have_the_values_that_they_were_made_of_and_no_others(
            ones: [String; 3],
            one in proptest::array::uniform3("[a\"\\\\,=]{0,2}"),
            other in proptest::array::uniform3("[a\"\\\\,=]{0,2}"),
        ) {
            let (shape, constant) = shape();
            let has = |a: &[String; 3], b: &[String; 3]| {
                shape.has_values(&labels(&constant, a), &b.each_ref().map(String::as_str))
            };
            prop_assert!(has(&ones, &ones) && has(&one, &one));
            prop_assert_eq!(has(&one, &other), one == other);
        }
    }
}

//! Where the label values of a family's children are in their rendered labels.

use super::child_labels::ChildLabels;
use super::lookup_key::is_equal;
use crate::model::OwnedLabels;

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
    pub(super) fn new(names: &[Box<str>], constant: &OwnedLabels) -> LabelShape {
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
    /// `has_lengths` says that the values have the lengths of those of the labels.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    pub(super) fn has_values(
        &self,
        labels: &ChildLabels,
        values: &[&str],
        has_lengths: bool,
    ) -> bool {
        // Not an `Option`, whose text the compiler would compare with null.
        if !labels.is_rendered() {
            self.has_other_values(labels, values)
        } else if has_lengths {
            self.has_values_at(labels.rendered().as_bytes(), values)
        } else {
            self.has_values_in(labels.rendered().as_bytes(), values)
        }
    }

    /// Whether a rendered text has these values, if their lengths are those of its own values.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the cost of every lookup of labels")]
    fn has_values_at(&self, text: &[u8], values: &[&str]) -> bool {
        let mut end = 0;
        // Not a loop over the places, because the compiler knows the number of values.
        (0..values.len()).all(|at| {
            let Some(place) = self.0.get(at) else {
                return false;
            };
            let Some(value) = values.get(place.at) else {
                return false;
            };
            let start = end + place.before;
            end = start + value.len();
            text.get(start..end).is_some_and(|own| is_equal(own, value.as_bytes()))
        })
    }

    /// Whether a rendered text has these values, of any lengths.
    #[inline(never)]
    fn has_values_in(&self, text: &[u8], values: &[&str]) -> bool {
        let mut end = 0;
        for place in &self.0 {
            let Some(value) = values.get(place.at) else {
                return false;
            };
            let start = end + place.before;
            end = start + value.len();
            // Rendered values contain no quote, so the first quote after `start` ends the value.
            let is_value = match text.get(start..=end) {
                Some([own @ .., b'"']) => own == value.as_bytes() && !own.contains(&b'"'),
                _ => false,
            };
            if !is_value {
                return false;
            }
        }
        true
    }

    #[cold]
    fn has_other_values(&self, labels: &ChildLabels, values: &[&str]) -> bool {
        let value = |place: &Place| labels.others().nth(place.sorted).map(|(_, value)| value);
        self.0.iter().all(|place| value(place) == values.get(place.at).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::lookup_key::LookupHasher;
    use crate::model::{KeptLabels, LabelPairs as _};
    use crate::store::fork::Home;
    use proptest::prelude::*;

    const NAMES: [&str; 3] = ["route", "code", "method"];

    fn shape() -> (LabelShape, OwnedLabels) {
        let constant = OwnedLabels::new([("app", "x"), ("host", "y"), ("region", "eu")]);
        (LabelShape::new(&NAMES.map(Box::from), &constant), constant)
    }

    fn labels(constant: &OwnedLabels, values: &[String; 3]) -> ChildLabels {
        let own = NAMES.into_iter().zip(values.iter().map(String::as_str));
        let mut pairs: Vec<(&str, &str)> = constant.iter().chain(own).collect();
        pairs.sort_unstable();
        ChildLabels::new(&KeptLabels::new(pairs.into_iter()), Home::HEAP)
    }

    #[test]
    fn a_given_value_with_quotes_does_not_match_the_text_of_several_labels() {
        let shape = LabelShape::new(&["a", "b"].map(Box::from), &OwnedLabels::default());
        let filler = "x".repeat(20);
        for value in ["", "1", "12345", "123456789", &filler] {
            // The given values match the text at their places, and the text between them is not compared.
            let kept = KeptLabels::new([("a", value), ("b", "xyzwhello")].into_iter());
            let text = kept.text().unwrap().as_bytes();
            assert!(shape.has_values_in(text, &[value, "xyzwhello"]));
            assert!(!shape.has_values_in(text, &[&format!("{value}\",b="), "hello"]), "{value}");
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
            let hasher = LookupHasher::new();
            let has = |a: &[String; 3], b: &[String; 3]| {
                let kept = labels(&constant, a);
                let [a, b] = [a, b].map(|values| values.each_ref().map(String::as_str));
                let (of_a, of_b) = (hasher.key(a.into_iter()), hasher.key(b.into_iter()));
                let has = of_a.lengths == of_b.lengths && shape.has_values(&kept, &b, of_b.has_lengths());
                if let Some(text) = kept.text() {
                    assert_eq!(shape.has_values_in(text.as_bytes(), &b), has);
                }
                has
            };
            prop_assert!(has(&ones, &ones) && has(&one, &one));
            prop_assert_eq!(has(&one, &other), one == other);
        }
    }
}

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
            // Quotes are in no value, so one at its end says how long it is.
            let is_same = match text.get(start..=end) {
                Some([own @ .., b'"']) => is_same(own, value.as_bytes()),
                _ => false,
            };
            if !is_same {
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

/// Whether two texts of one length are equal. Label values are mostly short, and a call takes longer than this.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if let (Some(a_first), Some(b_first)) = (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        let is_alike = a_first == b_first && a.last_chunk::<8>() == b.last_chunk::<8>();
        return is_alike && (a.len() <= 16 || a == b);
    }
    if let (Some(a_first), Some(b_first)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        return a_first == b_first && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    a.iter().zip(b).all(|(a, b)| a == b)
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

//! Owned label sets.

use std::fmt;

/// A label set: pairs of name and value, sorted by name, with unique names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct LabelSet(Box<[(Box<str>, Box<str>)]>);

impl LabelSet {
    /// Sorts the pairs by name. Of several pairs with the same name the last one is kept.
    pub(crate) fn new<N: Into<Box<str>>, V: Into<Box<str>>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> LabelSet {
        let mut sorted: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            match sorted.binary_search_by(|(other, _)| other.cmp(&name)) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (name, value)),
            }
        }
        LabelSet(sorted.into_boxed_slice())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A copy of the set with this label added or replaced.
    pub(crate) fn with(&self, name: &str, value: &str) -> LabelSet {
        LabelSet::new(self.iter().chain([(name, value)]))
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_sorted_and_keep_the_last_value_of_a_repeated_name() {
        let set = LabelSet::new([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(set.with("a", "9"), LabelSet::new([("a", "9"), ("b", "3")]));
    }
}

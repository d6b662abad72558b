//! Label sets: the view that samples have, and owned sets.

use std::{fmt, slice};

/// The labels of a sample: pairs of name and value, in the order of the exposition.
///
/// The representation is private. Labels that this crate has cached are in a form that the encoders write faster than
/// pairs, so a sink that forwards a sample passes its labels on instead of converting them to pairs.
///
/// ```
/// use multiprom::collector::Labels;
///
/// let labels = Labels::from(&[("method", "GET"), ("code", "200")]);
/// assert_eq!(labels.get("code"), Some("200"));
/// assert_eq!(labels.iter().collect::<Vec<_>>(), [("method", "GET"), ("code", "200")]);
/// ```
#[derive(Clone, Copy)]
pub struct Labels<'a>(Form<'a>);

#[derive(Clone, Copy)]
enum Form<'a> {
    Pairs(&'a [(&'a str, &'a str)]),
    /// The labels as the text formats write them, without braces. No name needs quotes and no value needs escapes, so
    /// the text is the same in all text formats and escaping schemes.
    Rendered(&'a str),
}

impl<'a> Labels<'a> {
    /// Labels from pairs of name and value, in the order in which they are written. The names must be unique.
    pub const fn new(pairs: &'a [(&'a str, &'a str)]) -> Labels<'a> {
        Labels(Form::Pairs(pairs))
    }

    /// Labels from text as [`KeptLabels`](super::KeptLabels) renders it.
    pub(super) const fn from_rendered(text: &'a str) -> Labels<'a> {
        Labels(Form::Rendered(text))
    }

    /// The labels as the text formats write them, if they are cached in this form.
    pub(crate) const fn rendered(self) -> Option<&'a str> {
        match self.0 {
            Form::Pairs(_) => None,
            Form::Rendered(text) => Some(text),
        }
    }

    /// The labels as pairs of name and value, without escapes.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        match self.0 {
            Form::Pairs(pairs) => Iter::Pairs(pairs.iter()),
            Form::Rendered(text) => Iter::Rendered(text),
        }
    }

    /// Calls `each` with the name and the value of each label until it returns `false`. Returns whether all calls
    /// returned `true`. Unlike [`iter`](Labels::iter), it checks the form once and not at each label.
    #[inline]
    pub(crate) fn all(self, mut each: impl FnMut(&'a str, &'a str) -> bool) -> bool {
        match self.0 {
            Form::Pairs(pairs) => pairs.iter().all(|(name, value)| each(name, value)),
            Form::Rendered(mut text) => std::iter::from_fn(|| next_rendered(&mut text))
                .all(|(name, value)| each(name, value)),
        }
    }

    /// The value of the label with this name.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The number of labels.
    pub fn len(self) -> usize {
        match self.0 {
            Form::Pairs(pairs) => pairs.len(),
            Form::Rendered(_) => self.iter().count(),
        }
    }

    /// Whether there are no labels.
    pub const fn is_empty(self) -> bool {
        match self.0 {
            Form::Pairs(pairs) => pairs.is_empty(),
            Form::Rendered(text) => text.is_empty(),
        }
    }
}

#[derive(Clone)]
enum Iter<'a> {
    Pairs(slice::Iter<'a, (&'a str, &'a str)>),
    /// The rest of the text.
    Rendered(&'a str),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        match self {
            Iter::Pairs(pairs) => pairs.next().copied(),
            Iter::Rendered(rest) => next_rendered(rest),
        }
    }
}

/// Takes the first label off rendered labels.
fn next_rendered<'a>(rest: &mut &'a str) -> Option<(&'a str, &'a str)> {
    // Most names and values are too short for a search by blocks of bytes.
    let find = |text: &str, byte| text.bytes().position(|other| other == byte);
    let (name, after) = rest.split_at(find(rest, b'=')?);
    let after = after.strip_prefix("=\"")?;
    let (value, after) = after.split_at(find(after, b'"')?);
    let after = after.strip_prefix('"')?;
    *rest = after.strip_prefix(',').unwrap_or(after);
    Some((name, value))
}

impl Default for Labels<'_> {
    /// No labels.
    fn default() -> Self {
        Labels::new(&[])
    }
}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Labels<'_> {
    /// Compares names and values in their order.
    fn eq(&self, other: &Labels<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Labels<'_> {}

impl<'a> From<&'a [(&'a str, &'a str)]> for Labels<'a> {
    fn from(pairs: &'a [(&'a str, &'a str)]) -> Labels<'a> {
        Labels::new(pairs)
    }
}

impl<'a, const N: usize> From<&'a [(&'a str, &'a str); N]> for Labels<'a> {
    fn from(pairs: &'a [(&'a str, &'a str); N]) -> Labels<'a> {
        Labels::new(pairs)
    }
}

impl<'a> From<&'a Vec<(&'a str, &'a str)>> for Labels<'a> {
    fn from(pairs: &'a Vec<(&'a str, &'a str)>) -> Labels<'a> {
        Labels::new(pairs)
    }
}

/// A label set: pairs of name and value, sorted by name, with unique names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct OwnedLabels(Box<[(Box<str>, Box<str>)]>);

impl OwnedLabels {
    /// Sorts the pairs by name. Of several pairs with the same name the last one is kept.
    pub(crate) fn new<N: Into<Box<str>>, V: Into<Box<str>>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> OwnedLabels {
        let mut sorted: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            match sorted.binary_search_by(|(other, _)| other.cmp(&name)) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (name, value)),
            }
        }
        OwnedLabels(sorted.into_boxed_slice())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl fmt::Debug for OwnedLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_equal_if_their_pairs_are_whatever_their_form() {
        for (pairs, text) in [
            (&[][..], ""),
            (&[("a", "")], "a=\"\""),
            (&[("a", "=,b="), ("b", "{}\u{1f600}")], "a=\"=,b=\",b=\"{}\u{1f600}\""),
        ] {
            let forms = [Labels::new(pairs), Labels::from_rendered(text)];
            assert_eq!(forms[0], forms[1]);
            for labels in forms {
                assert_eq!(labels.iter().collect::<Vec<_>>(), pairs);
                assert_eq!((labels.len(), labels.is_empty()), (pairs.len(), pairs.is_empty()));
                assert_eq!(labels.get("b"), pairs.get(1).map(|(_, value)| *value));
                assert_eq!(
                    format!("{labels:?}"),
                    format!("{:?}", OwnedLabels::new(pairs.iter().copied()))
                );
            }
        }
        assert_ne!(Labels::from(&[("a", "1")]), Labels::from_rendered("a=\"2\""));
        assert_ne!(Labels::from(&[("a", "1")]), Labels::default());
    }

    #[test]
    fn label_sets_are_sorted_and_keep_the_last_value_of_a_repeated_name() {
        let set = OwnedLabels::new([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
    }
}

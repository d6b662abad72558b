//! Label sets that are rendered once and written unchanged by each scrape.

use super::{Labels, OwnedLabels, name};

/// A cached label set, in rendered form if the text is the same in all text formats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum KeptLabels {
    Rendered(Box<str>),
    Other(Box<OwnedLabels>),
}

/// Labels that can be read as pairs.
pub(crate) trait LabelPairs: Sync {
    /// Appends the labels as pairs, sorted by name.
    fn push_pairs<'a>(&'a self, pairs: &mut Vec<(&'a str, &'a str)>);

    /// The text of rendered labels.
    fn text(&self) -> Option<&str>;

    /// The labels of a sample: as rendered, or as pairs in the memory of `pairs`.
    fn labels<'s, 'a: 's>(&'a self, pairs: &'s mut Vec<(&'a str, &'a str)>) -> Labels<'s> {
        if let Some(text) = self.text() {
            return Labels::from_rendered(text);
        }
        pairs.clear();
        self.push_pairs(pairs);
        Labels::new(pairs)
    }
}

impl KeptLabels {
    /// Converts pairs that are sorted by name, with unique names.
    pub(crate) fn new<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> KeptLabels {
        // Each label is `name="value",`; the last one has no comma.
        let len = pairs.clone().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        let mut text = String::with_capacity(len.saturating_sub(1));
        if render(&mut text, pairs.clone()) {
            KeptLabels::Rendered(text.into_boxed_str())
        } else {
            KeptLabels::Other(Box::new(OwnedLabels::new(pairs)))
        }
    }

    /// The rendered labels.
    pub(crate) fn rendered(&self) -> Option<Labels<'_>> {
        self.text().map(Labels::from_rendered)
    }

    /// Whether all names match `[a-zA-Z_][a-zA-Z0-9_]*`, so that none needs escaping.
    pub(crate) fn has_plain_names(&self) -> bool {
        match self {
            KeptLabels::Rendered(_) => true,
            KeptLabels::Other(labels) => labels.iter().all(|(name, _)| name::is_label_name(name)),
        }
    }
}

impl LabelPairs for KeptLabels {
    fn push_pairs<'a>(&'a self, pairs: &mut Vec<(&'a str, &'a str)>) {
        match self {
            KeptLabels::Rendered(text) => pairs.extend(Labels::from_rendered(text).iter()),
            KeptLabels::Other(labels) => pairs.extend(labels.iter()),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            KeptLabels::Rendered(text) => Some(text),
            KeptLabels::Other(_) => None,
        }
    }
}

/// Appends the labels as the text formats write them. Returns `false` if the text depends on the format, as a name
/// needs quotes or a value needs escapes.
fn render<'a>(text: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    for (at, (name, value)) in pairs.enumerate() {
        let is_plain = |byte| !matches!(byte, b'"' | b'\\' | b'\n');
        // All bytes are looked at, which the compiler makes faster than a loop that may end early.
        let is_plain_value = value.bytes().fold(true, |all, byte| all & is_plain(byte));
        if !is_plain_value || !name::is_label_name(name) {
            return false;
        }
        if at > 0 {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        text.push_str(value);
        text.push('"');
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pairs: &[(&str, &str)]) -> KeptLabels {
        KeptLabels::new(pairs.iter().copied())
    }

    #[test]
    fn label_sets_round_trip_and_are_rendered_if_no_escaping_is_needed() {
        let sets: [&[(&str, &str)]; 6] = [
            &[],
            &[("a", "")],
            &[("a", "=,b="), ("b", "{}\u{1f600}")],
            &[("a", "\"")],
            &[("a", "\\n"), ("b", "x")],
            &[("a.b", "x")],
        ];
        for (at, pairs) in sets.into_iter().enumerate() {
            let labels = kept(pairs);
            let mut back = Vec::new();
            labels.push_pairs(&mut back);
            assert_eq!(back, pairs);
            assert_eq!(labels.labels(&mut back), Labels::new(pairs));
            assert_eq!(labels.rendered().is_some(), at < 3, "{pairs:?}");
            assert_eq!(labels.has_plain_names(), at < 5, "{pairs:?}");
        }
    }

    #[test]
    fn a_cached_label_set_takes_two_words() {
        assert_eq!(size_of::<KeptLabels>(), 16);
    }
}

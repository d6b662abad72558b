//! Label sets that are rendered once and written unchanged by each scrape.

use super::{LabelSet, name};

/// A label set as the text formats write it: `a="b",c="d"`, sorted by name.
///
/// No name needs quotes and no value needs escapes, so the text is the same in all text formats and escaping
/// schemes. Collectors of this crate cache it between scrapes and pass it to
/// [`FamilySink::rendered`](super::FamilySink::rendered).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderedLabels<'a>(&'a str);

impl<'a> RenderedLabels<'a> {
    /// The text without braces; empty if there are no labels.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The labels as pairs of name and value, sorted by name.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = after.split_once('"')?;
            rest = after.strip_prefix(',').unwrap_or(after);
            Some((name, value))
        })
    }
}

/// A cached label set, in rendered form if the text is the same in all text formats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum KeptLabels {
    Rendered(Box<str>),
    Other(Box<LabelSet>),
}

impl KeptLabels {
    /// Converts pairs that are sorted by name, with unique names.
    pub(crate) fn new<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> KeptLabels {
        let mut text = String::with_capacity(128);
        if render(&mut text, pairs.clone()) {
            KeptLabels::Rendered(text.as_str().into())
        } else {
            KeptLabels::Other(Box::new(LabelSet::new(pairs)))
        }
    }

    pub(crate) fn rendered(&self) -> Option<RenderedLabels<'_>> {
        match self {
            KeptLabels::Rendered(text) => Some(RenderedLabels(text)),
            KeptLabels::Other(_) => None,
        }
    }

    /// Whether all names match `[a-zA-Z_][a-zA-Z0-9_]*`, so that none needs escaping.
    pub(crate) fn has_plain_names(&self) -> bool {
        match self {
            KeptLabels::Rendered(_) => true,
            KeptLabels::Other(labels) => labels.iter().all(|(name, _)| name::is_label_name(name)),
        }
    }

    /// Appends the labels as pairs, sorted by name.
    pub(crate) fn push_pairs<'a>(&'a self, pairs: &mut Vec<(&'a str, &'a str)>) {
        match self {
            KeptLabels::Rendered(text) => pairs.extend(RenderedLabels(text).iter()),
            KeptLabels::Other(labels) => pairs.extend(labels.iter()),
        }
    }
}

/// Appends the labels as the text formats write them. Returns `false` if the text depends on the format, as a name
/// needs quotes or a value needs escapes.
fn render<'a>(text: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    for (at, (name, value)) in pairs.enumerate() {
        let is_plain = |byte| !matches!(byte, b'"' | b'\\' | b'\n');
        if !name::is_label_name(name) || !value.bytes().all(is_plain) {
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
            assert_eq!(labels.rendered().is_some(), at < 3, "{pairs:?}");
            assert_eq!(labels.has_plain_names(), at < 5, "{pairs:?}");
        }
    }

    #[test]
    fn a_cached_label_set_takes_two_words() {
        assert_eq!(size_of::<KeptLabels>(), 16);
    }
}

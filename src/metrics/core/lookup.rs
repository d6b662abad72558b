//! Lookups by pairs of name and value, and series that are exported before they are recorded into.

use super::super::lookup_key::PairsKey;
use super::{Child, ChildRef, FamilyCore, Typed};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::child_labels::ChildLabels;
use crate::metrics::children::Places;
use crate::model::{KeptLabels, LabelPairs as _, Labels, OwnedLabels};
use crate::registry::Descriptor;
use crate::store::fork::{self, SlowPath};
use crate::store::recording_ignored;

/// Up to so many labels are sorted on the stack.
const MAX_ON_STACK: usize = 8;

/// A label with an empty value is left out: it is the same as none.
fn present<'a>(labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    labels.iter().filter(|(_, value)| !value.is_empty()).copied()
}

/// The labels that are [`present`], sorted by name.
fn with_sorted<R>(labels: &[(&str, &str)], use_sorted: impl FnOnce(&[(&str, &str)]) -> R) -> R {
    let present = present(labels);
    if labels.len() > MAX_ON_STACK {
        let mut sorted: Vec<(&str, &str)> = present.collect();
        sorted.sort_unstable();
        return use_sorted(&sorted);
    }
    let mut sorted = [("", ""); MAX_ON_STACK];
    let mut len = 0;
    for label in present {
        let mut at = len;
        while at > 0 && sorted[at - 1].0 > label.0 {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = label;
        len += 1;
    }
    use_sorted(&sorted[..len])
}

impl<M: Typed> FamilyCore<M> {
    /// The child with these labels, in any order and without constant labels, if it exists.
    #[inline]
    pub(in crate::metrics) fn find_open(
        &'static self,
        labels: &[(&str, &str)],
    ) -> Option<ChildRef<M>> {
        let (pairs, key) = self.children.key_of_pairs(labels);
        self.children.find(key, |child| self.has_labels(child, labels, &pairs))
    }

    /// The same, also if the table is replaced meanwhile.
    pub(in crate::metrics) fn get_open(
        &'static self,
        labels: &[(&str, &str)],
    ) -> Option<ChildRef<M>> {
        let (pairs, key) = self.children.key_of_pairs(labels);
        self.children.find_surely(key, |child| self.has_labels(child, labels, &pairs))
    }

    /// The child with these labels, created by the first call.
    #[inline]
    pub(in crate::metrics) fn open_child(
        &'static self,
        labels: &[(&str, &str)],
    ) -> Result<ChildRef<M>> {
        match self.find_open(labels) {
            Some(child) => Ok(child),
            None => self.insert_open(labels),
        }
    }

    #[cold]
    #[inline(never)]
    fn insert_open(&'static self, labels: &[(&str, &str)]) -> Result<ChildRef<M>> {
        // Names of label sets that the family has no place for are not checked.
        if let Some(child) = self.overflow(|| self.get_open(labels)) {
            return Ok(child);
        }
        self.check_labels(labels)?;
        let Some(lock) = fork::lock() else {
            return Ok(M::ignored().child());
        };
        match self.at_limit(|| self.get_open(labels), &lock) {
            None => Ok(self.insert_open_locked(labels, &lock)),
            Some(at_limit) => {
                drop(lock);
                Ok(self.counted(&at_limit))
            }
        }
    }

    /// The child with these labels, created if necessary.
    pub(super) fn insert_open_locked(
        &'static self,
        labels: &[(&str, &str)],
        lock: &SlowPath,
    ) -> ChildRef<M> {
        if let Some(child) = self.retired() {
            return child;
        }
        let (pairs, key) = self.children.key_of_pairs(labels);
        let home = self.home_of(labels.iter().flat_map(|(name, value)| [*name, *value]));
        self.children.find_or_insert(
            &Places::new(self.home(), home),
            key,
            |child| self.has_labels(child, labels, &pairs),
            lock,
            |child| child.removal.end(),
            || {
                let constant = self.descriptor.const_labels.iter();
                let mut all: Vec<(&str, &str)> = constant.chain(present(labels)).collect();
                all.sort_unstable();
                Child::new(self, &KeptLabels::new(all.into_iter()), pairs.kept_ends(), home)
            },
        )
    }

    /// Removes the series with these labels from the exposition. Returns whether it was exported.
    pub(in crate::metrics) fn remove_open(&'static self, labels: &[(&str, &str)]) -> bool {
        let (pairs, key) = self.children.key_of_pairs(labels);
        self.remove_one(key, |child| self.has_labels(child, labels, &pairs))
    }

    /// Whether a child has these labels besides the constant ones.
    #[inline]
    fn has_labels(&self, child: &Child<M>, labels: &[(&str, &str)], pairs: &PairsKey) -> bool {
        pairs.is_kept(child.ends.get()) || self.has_text(child, labels)
    }

    #[inline(never)]
    fn has_text(&self, child: &Child<M>, labels: &[(&str, &str)]) -> bool {
        let constant = &self.descriptor.const_labels;
        with_sorted(labels, |labels| match child.labels.text() {
            Some(text) if constant.is_empty() => is_rendered(text, labels),
            _ => has_others(&child.labels, constant, labels),
        })
    }

    /// Checks the names of the labels of a series.
    fn check_labels(&self, labels: &[(&str, &str)]) -> Result<()> {
        let Descriptor { name, const_labels, mode, rules, .. } = &self.descriptor;
        let invalid =
            |error| Error::new(ErrorKind::InvalidLabels, format!("metric `{name}`: {error}"));
        let mut own: Vec<&str> = present(labels).map(|(name, _)| name).collect();
        own.sort_unstable();
        let constant = const_labels.iter().map(|(name, _)| name);
        let names: Vec<&str> = constant.chain(own).collect();
        rules.check_labels_of(&names.iter().copied(), M::TYPE, *mode).map_err(invalid)
    }

    /// Exports the zeros of a series that was looked up, as long as nothing is recorded into it.
    pub(in crate::metrics) fn create(&'static self, child: ChildRef<M>) {
        self.store.prepare();
        match fork::lock() {
            // OK because the series of the ignored handle belongs to another family.
            Some(lock) if !child.is_removed() => M::export_zeros(child, &lock),
            Some(_) => {}
            None => recording_ignored(),
        }
    }

    /// Exports the zeros of all combinations of values: a list of values for each label. Exports nothing if a list is
    /// empty, or if there are more than `limit` combinations.
    pub(in crate::metrics) fn create_all(
        &'static self,
        values: &[&[&str]],
        limit: usize,
        lock: &SlowPath,
    ) {
        if self.is_retired() {
            return;
        }
        let mut sizes = values.iter().map(|values| values.len());
        let count = sizes.try_fold(1_usize, usize::checked_mul).unwrap_or(usize::MAX);
        if count > limit {
            return;
        }
        let mut texts = vec![""; values.len()];
        for combination in 0..count {
            let mut rest = combination;
            for (text, values) in texts.iter_mut().zip(values).rev() {
                *text = values[rest % values.len()];
                rest /= values.len();
            }
            M::export_zeros(self.child_locked(&texts, lock), lock);
        }
    }
}

/// Whether the text of rendered labels is that of these labels.
#[inline]
fn is_rendered(text: &str, labels: &[(&str, &str)]) -> bool {
    // Rendered names and values contain no quote. Without this check a value with quotes could match several labels.
    let has_quote = |text: &str| text.as_bytes().contains(&b'"');
    let mut rest = text.as_bytes();
    for (name, value) in labels {
        let after = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=\""));
        let after = after.and_then(|rest| rest.strip_prefix(value.as_bytes()));
        let Some(after) = after.and_then(|rest| rest.strip_prefix(b"\"")) else {
            return false;
        };
        if has_quote(name) || has_quote(value) {
            return false;
        }
        rest = after.strip_prefix(b",").unwrap_or(after);
    }
    rest.is_empty()
}

/// The same for labels in any form, with constant labels among them.
#[inline(never)]
fn has_others(kept: &ChildLabels, constant: &OwnedLabels, labels: &[(&str, &str)]) -> bool {
    match kept.text() {
        Some(text) => merges_to(Labels::from_rendered(text).iter(), constant, labels),
        None => merges_to(kept.others(), constant, labels),
    }
}

/// Whether constant labels and others together are these pairs. All are sorted.
fn merges_to<'a>(
    mut pairs: impl Iterator<Item = (&'a str, &'a str)>,
    constant: &OwnedLabels,
    labels: &[(&str, &str)],
) -> bool {
    let mut constant = constant.iter().peekable();
    let mut labels = labels.iter().copied().peekable();
    pairs.all(|pair| {
        labels.next_if(|label| *label == pair).is_some()
            || constant.next_if(|label| *label == pair).is_some()
    }) && labels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fork::Home;

    #[test]
    fn labels_are_sorted_and_those_with_an_empty_value_left_out() {
        let many: Vec<(String, String)> =
            (0..20).map(|at| (format!("l{:02}", 19 - at), "x".to_owned())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        for len in 0..=many.len() {
            let mut expected = many[..len].to_vec();
            expected.sort_unstable();
            with_sorted(&many[..len], |sorted| assert_eq!(sorted, expected));
        }
        with_sorted(&[("b", ""), ("a", "1")], |sorted| assert_eq!(sorted, [("a", "1")]));
    }

    #[test]
    fn rendered_labels_match_their_own_pairs_only() {
        let text = "a=\"1\",b=\"\u{e9}2\"";
        assert!(is_rendered(text, &[("a", "1"), ("b", "\u{e9}2")]));
        assert!(is_rendered("", &[]));
        for other in [
            &[("a", "1")][..],
            &[("b", "\u{e9}2")],
            &[("a", "1"), ("b", "\u{e9}")],
            &[("a", "1"), ("b", "\u{e9}2"), ("c", "3")],
            &[("a", "1\",b=\"\u{e9}2")],
            &[("a=\"1\",b", "\u{e9}2")],
        ] {
            assert!(!is_rendered(text, other), "{other:?}");
        }
    }

    #[test]
    fn constant_labels_are_expected_among_the_others() {
        let constant = OwnedLabels::new([("app", "x"), ("zone", "eu")]);
        let kept = |pairs: &[(&str, &str)]| {
            ChildLabels::new(&KeptLabels::new(pairs.iter().copied()), Home::HEAP)
        };
        let labels = kept(&[("app", "x"), ("b", "\"q\""), ("zone", "eu")]);
        assert!(has_others(&labels, &constant, &[("b", "\"q\"")]));
        assert!(!has_others(&labels, &constant, &[]));
        assert!(!has_others(&labels, &constant, &[("b", "q")]));
        assert!(!has_others(&labels, &constant, &[("b", "\"q\""), ("c", "1")]));
    }
}

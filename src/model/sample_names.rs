//! Detects collisions between the names that families reserve: their own and those of their possible samples. Two
//! families that share such a name cannot be in one exposition.

use std::ops::Range;

use super::MetricType;
use super::hash_index::HashIndex;

/// A name that both families reserve, if there is one.
pub(crate) fn shared_name(
    (name, metric_type): (&str, MetricType),
    (other, other_type): (&str, MetricType),
) -> Option<String> {
    for suffix in metric_type.suffixes() {
        for other_suffix in other_type.suffixes() {
            // The lengths are compared first, as concatenation allocates.
            let same_len = name.len() + suffix.len() == other.len() + other_suffix.len();
            if same_len && [name, suffix].concat() == [other, other_suffix].concat() {
                return Some([name, suffix].concat());
            }
        }
    }
    None
}

/// A map from families to values that finds the families whose reserved names collide with those of another one.
#[derive(Debug)]
pub(crate) struct FamilyIndex<T> {
    /// The concatenated names of the families.
    names: String,
    families: Vec<Indexed<T>>,
    /// The indices of families by their names and, if these end with the suffix of a sample, by the names without it. So
    /// all families that collide with one are found by two names, and not by those of all its samples.
    by_name: HashIndex,
}

#[derive(Debug)]
struct Indexed<T> {
    /// The range of the name.
    name: Range<usize>,
    metric_type: MetricType,
    value: T,
}

impl<T> Default for FamilyIndex<T> {
    fn default() -> FamilyIndex<T> {
        let (names, families) = (String::new(), Vec::new());
        FamilyIndex { names, families, by_name: HashIndex::default() }
    }
}

impl<T> FamilyIndex<T> {
    /// Adds a family, even if its names collide with those of others.
    pub(crate) fn insert(&mut self, name: &str, metric_type: MetricType, value: T) {
        let (at, start) = (self.families.len() as u32, self.names.len());
        self.names.push_str(name);
        self.families.push(Indexed { name: start..self.names.len(), metric_type, value });
        let base = MetricType::split_suffix(name).map(|(base, _)| base);
        for key in std::iter::once(name).chain(base) {
            self.by_name.insert(self.by_name.hash(key.as_bytes()), at);
        }
    }

    /// The value of a family.
    pub(crate) fn get(&self, name: &str, metric_type: MetricType) -> Option<&T> {
        let at = self.by_name.find(self.by_name.hash(name.as_bytes()), |at| {
            let (other, family) = self.family(at);
            other == name && family.metric_type == metric_type
        });
        at.map(|at| &self.families[at as usize].value)
    }

    /// Calls `is_match` with each family whose reserved names collide with those of this one, until it returns
    /// `true`. Returns whether it did.
    pub(crate) fn find_colliding(
        &self,
        name: &str,
        metric_type: MetricType,
        mut is_match: impl FnMut(&str, MetricType, &T) -> bool,
    ) -> bool {
        // Two names with different suffixes are equal only if one of the suffixes is empty, which each type has.
        let hash = self.by_name.hash(name.as_bytes());
        let mut found = self.by_name.find(hash, |at| {
            let (other, family) = self.family(at);
            other.strip_prefix(name).is_some_and(|suffix| metric_type.suffixes().contains(&suffix))
                && is_match(other, family.metric_type, &family.value)
        });
        if let Some((base, suffix)) = MetricType::split_suffix(name).filter(|_| found.is_none()) {
            found = self.by_name.find(self.by_name.hash(base.as_bytes()), |at| {
                let (other, family) = self.family(at);
                other == base
                    && family.metric_type.suffixes().contains(&suffix)
                    && is_match(other, family.metric_type, &family.value)
            });
        }
        found.is_some()
    }

    fn family(&self, at: u32) -> (&str, &Indexed<T>) {
        let family = &self.families[at as usize];
        (&self.names[family.name.clone()], family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn families_collide_by_their_own_names_and_by_sample_names() {
        use MetricType::{Counter, Gauge, Histogram, Summary};
        for (one, other, shared) in [
            (("a", Histogram), ("a_count", Gauge), Some("a_count")),
            (("a", Histogram), ("a_count", Counter), Some("a_count")),
            (("a", Histogram), ("a", Counter), Some("a")),
            (("a", Counter), ("a_total", Gauge), Some("a_total")),
            (("a", Counter), ("a_total", Summary), Some("a_total")),
            (("a", Summary), ("a_created", Gauge), Some("a_created")),
            (("a", Histogram), ("a_total", Gauge), None),
            (("a", Gauge), ("a_total", Gauge), None),
            (("a", Histogram), ("b", Histogram), None),
        ] {
            assert_eq!(shared_name(one, other).as_deref(), shared);
            assert_eq!(shared_name(other, one).as_deref(), shared);
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_exactly_the_families_that_share_a_name(
            families in proptest::collection::vec(
                ("[ab](_total|_sum|_info|_created|_bucket|_gcount){0,2}", 0..MetricType::ALL.len()),
                1..8,
            ),
        ) {
            let mut index = FamilyIndex::default();
            let family = |at: usize| (families[at].0.as_str(), MetricType::ALL[families[at].1]);
            for at in 0..families.len() {
                let (name, metric_type) = family(at);
                let mut found: Vec<usize> = Vec::new();
                index.find_colliding(name, metric_type, |_, _, other| {
                    found.push(*other);
                    false
                });
                found.sort_unstable();
                let all = (0..at).filter(|other| shared_name(family(at), family(*other)).is_some());
                prop_assert_eq!(found, all.collect::<Vec<_>>());
                index.insert(name, metric_type, at);
            }
        }
    }
}

//! Detects collisions between the names that families reserve: their own and those of their possible samples. Two
//! families that share such a name cannot be in one exposition.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::MetricType;

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
    by_name: HashMap<Box<str>, Vec<(MetricType, T)>, RandomState>,
}

impl<T> Default for FamilyIndex<T> {
    fn default() -> FamilyIndex<T> {
        FamilyIndex { by_name: HashMap::default() }
    }
}

impl<T> FamilyIndex<T> {
    /// Adds a family, even if its names collide with those of others.
    pub(crate) fn insert(&mut self, name: &str, metric_type: MetricType, value: T) {
        match self.by_name.get_mut(name) {
            Some(same) => same.push((metric_type, value)),
            None => drop(self.by_name.insert(name.into(), vec![(metric_type, value)])),
        }
    }

    /// The value of a family.
    pub(crate) fn get(&self, name: &str, metric_type: MetricType) -> Option<&T> {
        let same = self.by_name.get(name)?;
        same.iter().find(|(same_type, _)| *same_type == metric_type).map(|(_, value)| value)
    }

    /// Calls `is_match` with each family whose reserved names collide with those of this one, until it returns
    /// `true`. Returns whether it did. A family is visited once for each name in common.
    pub(crate) fn find_colliding(
        &self,
        name: &str,
        metric_type: MetricType,
        mut is_match: impl FnMut(&str, MetricType, &T) -> bool,
    ) -> bool {
        let mut sample = String::with_capacity(name.len() + MetricType::MAX_SUFFIX_LEN);
        metric_type.suffixes().iter().any(|suffix| {
            sample.clear();
            sample.push_str(name);
            sample.push_str(suffix);
            MetricType::SUFFIXES.iter().any(|other| {
                let base = sample.strip_suffix(other);
                let same = base.and_then(|base| self.by_name.get_key_value(base));
                same.is_some_and(|(base, same)| {
                    let mut same =
                        same.iter().filter(|(same_type, _)| same_type.suffixes().contains(other));
                    same.any(|(same_type, value)| is_match(base, *same_type, value))
                })
            })
        })
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
                found.dedup();
                let all = (0..at).filter(|other| shared_name(family(at), family(*other)).is_some());
                prop_assert_eq!(found, all.collect::<Vec<_>>());
                index.insert(name, metric_type, at);
            }
        }
    }
}

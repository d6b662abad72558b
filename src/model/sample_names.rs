//! The names that a family takes: its own and those of its possible samples. Two families that have one in common
//! cannot be in one exposition.

use std::collections::HashMap;

use super::MetricType;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A name that two families have in common.
pub(crate) fn shared_name(
    (name, metric_type): (&str, MetricType),
    (other, other_type): (&str, MetricType),
) -> Option<String> {
    for suffix in metric_type.suffixes() {
        for other_suffix in other_type.suffixes() {
            // OK because most names differ in length, which is compared first.
            let same_len = name.len() + suffix.len() == other.len() + other_suffix.len();
            if same_len && [name, suffix].concat() == [other, other_suffix].concat() {
                return Some([name, suffix].concat());
            }
        }
    }
    None
}

/// Families by name, each with a value, to find those that have a name in common with another one.
#[derive(Debug)]
pub(crate) struct FamilyIndex<T> {
    by_name: Map<Box<str>, Vec<(MetricType, T)>>,
}

impl<T> Default for FamilyIndex<T> {
    fn default() -> FamilyIndex<T> {
        FamilyIndex { by_name: Map::default() }
    }
}

impl<T> FamilyIndex<T> {
    /// Adds a family, whatever names it has in common with others.
    pub(crate) fn insert(&mut self, name: &str, metric_type: MetricType, value: T) {
        match self.by_name.get_mut(name) {
            Some(same) => same.push((metric_type, value)),
            None => drop(self.by_name.insert(name.into(), vec![(metric_type, value)])),
        }
    }

    /// The value of a family.
    pub(crate) fn get(&self, name: &str, metric_type: MetricType) -> Option<&T> {
        let same = self.by_name.get(name)?;
        same.iter().find(|(known, _)| *known == metric_type).map(|(_, value)| value)
    }

    /// Finds the families that have a name in common with this one until one is what is looked for. A family with
    /// several common names is found several times.
    pub(crate) fn find_colliding(
        &self,
        name: &str,
        metric_type: MetricType,
        mut is_it: impl FnMut(&str, MetricType, &T) -> bool,
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
                        same.iter().filter(|(known, _)| known.suffixes().contains(other));
                    same.any(|(known, value)| is_it(base, *known, value))
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
    fn two_families_collide_in_any_of_their_names() {
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
        fn the_index_finds_what_has_a_name_in_common(
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

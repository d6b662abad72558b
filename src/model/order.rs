//! The order of the families of an exposition.

use std::cmp::Ordering;

/// The name of the info about the target, which is first.
///
/// See: OpenMetrics 1.0.0, "Supporting target metadata in both push-based and pull-based systems".
pub(crate) const TARGET: &str = "target";

/// Compares the names of two families: `target` is first, the metrics of multiprom itself are last.
pub(crate) fn family_order(name: &str, other: &str) -> Ordering {
    class(name).cmp(&class(other)).then_with(|| name.cmp(other))
}

/// Sorts families by their names. Comparing texts and moving a part is faster than comparing by [`family_order`].
pub(crate) fn sort_families<'n, T: Copy>(families: &mut [T], name: impl Fn(&T) -> &'n str) {
    families.sort_unstable_by(|one, other| name(one).cmp(name(other)));
    let target = families.binary_search_by(|it| name(it).cmp(TARGET));
    let rest = match target {
        Ok(at) => {
            families[..=at].rotate_right(1);
            &mut families[1..]
        }
        Err(_) => families,
    };
    let start = rest.partition_point(|it| name(it) < "multiprom_");
    let own = rest[start..].partition_point(|it| name(it).starts_with("multiprom_"));
    rest[start..].rotate_left(own);
}

fn class(name: &str) -> u8 {
    match name {
        TARGET => 0,
        name if name.starts_with("multiprom_") => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_first_and_metrics_of_multiprom_are_last() {
        let mut names = ["z", "multiprom_b", "target", "multiprom_a", "a", "multiprom", "target_a"];
        let expected = ["target", "a", "multiprom", "target_a", "z", "multiprom_a", "multiprom_b"];
        let mut others = names;
        names.sort_by(|name, other| family_order(name, other));
        assert_eq!(names, expected);
        sort_families(&mut others, |name| name);
        assert_eq!(others, expected);
        let mut few = ["b", "a"];
        sort_families(&mut few, |name| name);
        assert_eq!(few, ["a", "b"]);
    }
}

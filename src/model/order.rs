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
        names.sort_by(|name, other| family_order(name, other));
        assert_eq!(
            names,
            ["target", "a", "multiprom", "target_a", "z", "multiprom_a", "multiprom_b"]
        );
    }
}

//! Sums that do not depend on the order of what is added.
//!
//! A total must never fall: a server takes that for a restart of everything. With plain additions the last digit
//! depends on their order, which changes when a process ends and its values move into an archive.

/// A sum, and what rounding has left out of it so far.
///
/// What is left out is exact for each addition (Knuth, "The Art of Computer Programming", volume 2, section
/// 4.2.2, theorem B), and is added up with 53 more bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// A sum of one number, which keeps its sign if it is 0.
    pub(crate) fn of(value: f64) -> Sum {
        Sum { high: value, low: -0.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.high + value;
        let added = sum - self.high;
        self.low += (self.high - (sum - added)) + (value - added);
        self.high = sum;
    }

    /// Adds another sum, of which nothing is rounded first.
    pub(crate) fn add_sum(&mut self, other: Sum) {
        self.add(other.high);
        self.low += other.low;
    }

    /// The sum, rounded once.
    pub(crate) fn value(self) -> f64 {
        let sum = self.high + self.low;
        // Of infinite sums there is no rest.
        if self.high.is_finite() { sum } else { self.high }
    }

    /// The sum as two numbers, of which the second is 0 where one is enough.
    pub(crate) fn parts(self) -> (f64, f64) {
        let high = self.value();
        if !high.is_finite() {
            return (high, 0.0);
        }
        (high, (self.high - high) + self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(values: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for value in values {
            sum.add(*value);
        }
        sum
    }

    #[test]
    fn what_plain_additions_lose_is_kept() {
        assert_eq!(sum(&[1e16, 1.0, 1.0, -1e16]).value(), 2.0);
        assert_eq!(sum(&[0.3, 0.2, 0.1]).value(), sum(&[0.1, 0.2, 0.3]).value());
        assert_eq!(sum(&[1.0, f64::INFINITY, 1.0]).value(), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).value().is_nan());
        assert!(sum(&[1.0, f64::NAN]).value().is_nan());
        assert!(Sum::of(-0.0).value().is_sign_negative());
        assert_eq!(sum(&[]).parts(), (0.0, 0.0));
        assert_eq!(sum(&[1e16, 1.0]).parts(), (1e16, 1.0));
    }

    proptest! {
        /// Also where some of the values were archived before, as two numbers.
        #[test]
        fn the_order_changes_nothing(
            values in proptest::collection::vec(0.0f64..1e9, 1..40),
            archived in 0usize..40,
        ) {
            let whole = sum(&values);
            let (first, rest) = values.split_at(archived.min(values.len()));
            let (high, low) = sum(first).parts();
            let mut later: Vec<f64> = rest.to_vec();
            later.reverse();
            later.extend([high, low]);
            prop_assert_eq!(sum(&later).value(), whole.value());
        }
    }
}

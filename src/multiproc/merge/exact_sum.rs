//! Sums that do not depend on the order of what is added.
//!
//! A total must never fall, because a server takes that for a restart of the process. With plain additions the last
//! digit depends on their order, which changes when a process ends and its values move into an archive.

/// A sum, and the sum of its rounding errors.
///
/// The rounding error of each addition is computed exactly (Knuth, "The Art of Computer Programming", volume 2,
/// section 4.2.2, theorem B). The errors are added up with 53 more bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ExactSum {
    high: f64,
    low: f64,
}

impl ExactSum {
    /// A sum of one value. It keeps the sign of a zero.
    pub(crate) fn of(value: f64) -> ExactSum {
        ExactSum { high: value, low: -0.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.high + value;
        let added = sum - self.high;
        self.low += (self.high - (sum - added)) + (value - added);
        self.high = sum;
    }

    /// Adds another sum without rounding it first.
    pub(crate) fn add_sum(&mut self, other: ExactSum) {
        self.add(other.high);
        self.low += other.low;
    }

    /// The sum, rounded once.
    pub(crate) fn value(self) -> f64 {
        let sum = self.high + self.low;
        // The rounding error of an infinite sum is NaN.
        if self.high.is_finite() { sum } else { self.high }
    }

    /// The sum as two values. The second is 0 if one value represents the sum exactly.
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

    fn sum(values: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        for value in values {
            sum.add(*value);
        }
        sum
    }

    #[test]
    fn rounding_errors_are_not_lost() {
        assert_eq!(sum(&[1e16, 1.0, 1.0, -1e16]).value(), 2.0);
        assert_eq!(sum(&[0.3, 0.2, 0.1]).value(), sum(&[0.1, 0.2, 0.3]).value());
        assert_eq!(sum(&[1.0, f64::INFINITY, 1.0]).value(), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).value().is_nan());
        assert!(sum(&[1.0, f64::NAN]).value().is_nan());
        assert!(ExactSum::of(-0.0).value().is_sign_negative());
        assert_eq!(sum(&[]).parts(), (0.0, 0.0));
        assert_eq!(sum(&[1e16, 1.0]).parts(), (1e16, 1.0));
    }

    proptest! {
        /// Some of the values may have been archived before, as two values.
        #[test]
        fn the_order_of_values_does_not_change_the_sum(
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

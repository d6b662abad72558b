//! Bucket bounds of histograms: presets, functions that compute bounds, and checks.

use crate::error::{Error, ErrorKind, Result};

/// The default bounds of the Python client, in seconds.
pub const DEFAULT: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The default bounds of the Go client, in seconds: latencies of a web service.
pub const GO_DEFAULT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The maximum number of bounds of a histogram.
const MAX_BOUNDS: usize = 1000;

/// `count` bounds: `start`, and each `width` above the one before.
///
/// # Errors
///
/// Of kind [`InvalidBuckets`](ErrorKind::InvalidBuckets) for a `count` of 0 or above 1000, or a `width` that is not
/// positive.
pub fn linear(start: f64, width: f64, count: usize) -> Result<Vec<f64>> {
    generate(count, |at| linear_bound(start, width, at))
}

/// As [`linear`], as an array for statics.
///
/// ```
/// use multiprom::{Histogram, Static, buckets};
///
/// const BOUNDS: [f64; 5] = buckets::linear_array(10.0, 5.0);
/// static SIZES: Static<Histogram> = Histogram::declare("sizes", "Sizes.").buckets(&BOUNDS);
///
/// assert_eq!(BOUNDS, [10.0, 15.0, 20.0, 25.0, 30.0]);
/// ```
///
/// # Panics
///
/// If `N` is 0 or above 1000, or `width` is not positive, which in a `const` fails the build.
pub const fn linear_array<const N: usize>(start: f64, width: f64) -> [f64; N] {
    let mut bounds = [0.0; N];
    let mut at = 0;
    while at < N {
        bounds[at] = linear_bound(start, width, at);
        at += 1;
    }
    assert!(are_valid(&bounds), "bounds must be increasing numbers");
    bounds
}

const fn linear_bound(start: f64, width: f64, at: usize) -> f64 {
    start + width * at as f64
}

/// `count` bounds: `start`, and each `factor` times the one before.
///
/// # Errors
///
/// Of kind [`InvalidBuckets`](ErrorKind::InvalidBuckets) for a `count` of 0 or above 1000, a `start` that is
/// not positive, or a `factor` that is not above 1.
pub fn exponential(start: f64, factor: f64, count: usize) -> Result<Vec<f64>> {
    generate(count, |at| exponential_bound(start, factor, at))
}

/// As [`exponential`], as an array for statics.
///
/// ```
/// use multiprom::{Histogram, Static, buckets};
///
/// const BOUNDS: [f64; 4] = buckets::exponential_array(64.0, 4.0);
/// static SIZES: Static<Histogram> = Histogram::declare("sizes_bytes", "Sizes.").buckets(&BOUNDS);
///
/// assert_eq!(BOUNDS, [64.0, 256.0, 1024.0, 4096.0]);
/// ```
///
/// # Panics
///
/// If `N` is 0 or above 1000, `start` is not positive, or `factor` is not above 1, which in a `const` fails the build.
pub const fn exponential_array<const N: usize>(start: f64, factor: f64) -> [f64; N] {
    let mut bounds = [0.0; N];
    let mut at = 0;
    while at < N {
        bounds[at] = exponential_bound(start, factor, at);
        at += 1;
    }
    assert!(are_valid(&bounds), "bounds must be increasing numbers");
    bounds
}

/// `start` times the `at`-th power of `factor`. Squares keep the number of roundings small.
const fn exponential_bound(start: f64, factor: f64, at: usize) -> f64 {
    let (mut power, mut square, mut rest) = (1.0, factor, at);
    while rest > 0 {
        if rest % 2 == 1 {
            power *= square;
        }
        square *= square;
        rest /= 2;
    }
    start * power
}

fn generate(count: usize, bound: impl Fn(usize) -> f64) -> Result<Vec<f64>> {
    let bounds: Vec<f64> = (0..count.min(MAX_BOUNDS + 1)).map(bound).collect();
    check(&bounds).map(|()| bounds)
}

/// Whether bounds are increasing numbers, with `+Inf` at most at the end.
pub(super) const fn are_valid(bounds: &[f64]) -> bool {
    let mut at = 0;
    while at < bounds.len() {
        if bounds[at].is_nan() || bounds[at] == f64::NEG_INFINITY {
            return false;
        }
        if at > 0 && bounds[at - 1] >= bounds[at] {
            return false;
        }
        at += 1;
    }
    let only_infinity = bounds.len() == 1 && bounds[0] == f64::INFINITY;
    !bounds.is_empty() && !only_infinity && bounds.len() <= MAX_BOUNDS
}

pub(super) fn check(bounds: &[f64]) -> Result<()> {
    if are_valid(bounds) {
        return Ok(());
    }
    let message = match bounds.len() {
        0 => "a histogram needs a bound below +Inf".to_owned(),
        len if len > MAX_BOUNDS => format!("{len} bounds are given, the limit is {MAX_BOUNDS}"),
        _ => format!("bounds are not increasing numbers: {bounds:?}"),
    };
    Err(Error::new(ErrorKind::InvalidBuckets, message))
}

/// Bounds up to here are all compared: without a branch that depends on the value, that is faster
/// than stopping early or halving.
const LINEAR_LIMIT: usize = 32;

/// The first bound that is not below `value`, or one past the last.
#[inline]
pub(super) fn position(bounds: &[f64], value: f64) -> usize {
    if bounds.len() <= LINEAR_LIMIT {
        bounds.iter().map(|&bound| usize::from(bound < value)).sum()
    } else {
        bounds.partition_point(|&bound| bound < value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_give_rising_bounds_or_an_error() {
        assert_eq!(linear(1.0, 2.0, 3).unwrap(), [1.0, 3.0, 5.0]);
        assert_eq!(exponential(64.0, 4.0, 3).unwrap(), [64.0, 256.0, 1024.0]);
        for bad in [
            linear(1.0, 0.0, 2),
            linear(1.0, 1.0, 0),
            exponential(1.0, 0.5, 2),
            linear(0.0, 1.0, 2000),
        ] {
            assert_eq!(bad.unwrap_err().kind(), ErrorKind::InvalidBuckets);
        }
    }

    #[test]
    fn a_bound_is_inclusive_for_few_and_for_many_bounds() {
        let many: Vec<f64> = (0..100).map(f64::from).collect();
        for bounds in [&many[..], &many[..10]] {
            assert_eq!(position(bounds, -1.0), 0);
            assert_eq!(position(bounds, 3.0), 3);
            assert_eq!(position(bounds, 3.5), 4);
            assert_eq!(position(bounds, f64::INFINITY), bounds.len());
        }
    }
}

//! Units of metrics.

use std::fmt;

/// The unit of a metric: a base unit, as Prometheus recommends them, or another one.
///
/// It is the last part of the name of the family, before `_total`.
///
/// See: Prometheus documentation, "Metric and label naming", Base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// `amperes`
    Amperes,
    /// `bytes`
    Bytes,
    /// `celsius`
    Celsius,
    /// `grams`
    Grams,
    /// `joules`
    Joules,
    /// `meters`
    Meters,
    /// `ratio`, from 0 to 1
    Ratio,
    /// `seconds`
    Seconds,
    /// `volts`
    Volts,
    /// Any other one, such as `requests`.
    Other(&'static str),
}

impl Unit {
    /// The unit as a part of a metric name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Amperes => "amperes",
            Unit::Bytes => "bytes",
            Unit::Celsius => "celsius",
            Unit::Grams => "grams",
            Unit::Joules => "joules",
            Unit::Meters => "meters",
            Unit::Ratio => "ratio",
            Unit::Seconds => "seconds",
            Unit::Volts => "volts",
            Unit::Other(unit) => unit,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

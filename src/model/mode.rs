//! Gauge modes: how the values of many processes become one.

use std::fmt;
use std::str::FromStr;

/// How a gauge's values from many processes are merged.
///
/// The names and rules are those of the Python client's `multiprocess_mode`; `avg` and `liveavg` are
/// ours. A `Live` mode counts only processes that are not proven dead; nobody has to be told of their
/// end. All other modes also count the last value of processes that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GaugeMode {
    /// One series per process, told apart by the `pid` label.
    #[default]
    All,
    /// One series per live process, told apart by the `pid` label.
    LiveAll,
    /// The smallest value.
    Min,
    /// The smallest value of live processes.
    LiveMin,
    /// The largest value.
    Max,
    /// The largest value of live processes.
    LiveMax,
    /// The sum of all values.
    Sum,
    /// The sum of the values of live processes.
    LiveSum,
    /// The value that was set last, by wall clock.
    MostRecent,
    /// The value that was set last by a live process, by wall clock.
    LiveMostRecent,
    /// The mean over all processes that have set it.
    Avg,
    /// The mean over all live processes that have set it.
    LiveAvg,
}

impl GaugeMode {
    /// Every mode, in the order of the table in the README.
    pub const ALL: [GaugeMode; 12] = [
        GaugeMode::All,
        GaugeMode::LiveAll,
        GaugeMode::Min,
        GaugeMode::LiveMin,
        GaugeMode::Max,
        GaugeMode::LiveMax,
        GaugeMode::Sum,
        GaugeMode::LiveSum,
        GaugeMode::MostRecent,
        GaugeMode::LiveMostRecent,
        GaugeMode::Avg,
        GaugeMode::LiveAvg,
    ];

    /// The name in file names, as the Python client spells it: `livesum`, `mostrecent`, ...
    pub const fn as_str(self) -> &'static str {
        match self {
            GaugeMode::All => "all",
            GaugeMode::LiveAll => "liveall",
            GaugeMode::Min => "min",
            GaugeMode::LiveMin => "livemin",
            GaugeMode::Max => "max",
            GaugeMode::LiveMax => "livemax",
            GaugeMode::Sum => "sum",
            GaugeMode::LiveSum => "livesum",
            GaugeMode::MostRecent => "mostrecent",
            GaugeMode::LiveMostRecent => "livemostrecent",
            GaugeMode::Avg => "avg",
            GaugeMode::LiveAvg => "liveavg",
        }
    }

    /// Whether only live processes count.
    pub const fn is_live(self) -> bool {
        matches!(
            self,
            GaugeMode::LiveAll
                | GaugeMode::LiveMin
                | GaugeMode::LiveMax
                | GaugeMode::LiveSum
                | GaugeMode::LiveMostRecent
                | GaugeMode::LiveAvg
        )
    }

    /// Whether each process keeps a series of its own.
    pub const fn is_per_process(self) -> bool {
        matches!(self, GaugeMode::All | GaugeMode::LiveAll)
    }

    /// Whether the time of the last `set` decides.
    pub const fn is_most_recent(self) -> bool {
        matches!(self, GaugeMode::MostRecent | GaugeMode::LiveMostRecent)
    }
}

impl fmt::Display for GaugeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no gauge mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMode(String);

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no gauge mode", self.0)
    }
}

impl std::error::Error for UnknownMode {}

impl FromStr for GaugeMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<GaugeMode, UnknownMode> {
        GaugeMode::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_read_back_from_its_name() {
        for mode in GaugeMode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(mode.is_live(), mode.as_str().starts_with("live"));
        }
        assert_eq!(
            "median".parse::<GaugeMode>().unwrap_err().to_string(),
            "`median` is no gauge mode"
        );
    }
}

//! Gauge modes: how the values of a gauge from several processes are merged.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// How the values of a gauge from several processes are merged.
///
/// The names and rules are those of the Python client's `multiprocess_mode`, extended by `avg`, `liveavg`,
/// `count` and `livecount`.
/// The `Live` modes omit processes that have ended, which the collector detects without a hook; a process whose
/// state cannot be determined counts as live. The other modes also merge the last values of processes that have
/// ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GaugeMode {
    /// One series per process, distinguished by the label `pid`. Compaction removes the series of an ended
    /// process after a configurable time, by default one hour.
    #[default]
    All,
    /// One series per live process, distinguished by the label `pid`.
    LiveAll,
    /// The minimum of all values.
    Min,
    /// The minimum of the values of live processes.
    LiveMin,
    /// The maximum of all values.
    Max,
    /// The maximum of the values of live processes.
    LiveMax,
    /// The sum of all values.
    Sum,
    /// The sum of the values of live processes.
    LiveSum,
    /// The most recently set value, by wall clock.
    MostRecent,
    /// The most recently set value of the live processes, by wall clock.
    LiveMostRecent,
    /// The mean over all processes that have set the gauge.
    Avg,
    /// The mean over the live processes that have set the gauge.
    LiveAvg,
    /// The number of processes that have set the gauge, whatever the value.
    Count,
    /// The number of live processes that have set the gauge, whatever the value.
    LiveCount,
}

impl GaugeMode {
    /// All modes, in the order of the table in the README.
    pub const ALL: &'static [GaugeMode] = &[
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
        GaugeMode::Count,
        GaugeMode::LiveCount,
    ];

    /// The name of the mode in file names and in the Python client: `livesum`, `mostrecent`, ...
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
            GaugeMode::Count => "count",
            GaugeMode::LiveCount => "livecount",
        }
    }

    /// Whether only the values of live processes are merged.
    pub const fn is_live(self) -> bool {
        matches!(
            self,
            GaugeMode::LiveAll
                | GaugeMode::LiveMin
                | GaugeMode::LiveMax
                | GaugeMode::LiveSum
                | GaugeMode::LiveMostRecent
                | GaugeMode::LiveAvg
                | GaugeMode::LiveCount
        )
    }

    /// Whether each process has its own series, with the label `pid`.
    pub const fn is_per_process(self) -> bool {
        matches!(self, GaugeMode::All | GaugeMode::LiveAll)
    }

    /// Whether the processes that have set the gauge are counted.
    pub const fn is_count(self) -> bool {
        matches!(self, GaugeMode::Count | GaugeMode::LiveCount)
    }

    /// Whether the most recently set value is kept.
    pub const fn is_most_recent(self) -> bool {
        matches!(self, GaugeMode::MostRecent | GaugeMode::LiveMostRecent)
    }
}

impl fmt::Display for GaugeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a string that is not the name of a [`GaugeMode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownGaugeMode(String);

impl fmt::Display for UnknownGaugeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a gauge mode", self.0)
    }
}

impl std::error::Error for UnknownGaugeMode {}

impl From<UnknownGaugeMode> for Error {
    /// An error of kind [`Usage`](ErrorKind::Usage).
    fn from(error: UnknownGaugeMode) -> Error {
        Error::new(ErrorKind::Usage, error)
    }
}

impl FromStr for GaugeMode {
    type Err = UnknownGaugeMode;

    fn from_str(text: &str) -> Result<GaugeMode, UnknownGaugeMode> {
        GaugeMode::ALL
            .iter()
            .copied()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownGaugeMode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_parsed_from_its_name() {
        for mode in GaugeMode::ALL.iter().copied() {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(mode.is_live(), mode.as_str().starts_with("live"));
        }
        assert_eq!(
            "median".parse::<GaugeMode>().unwrap_err().to_string(),
            "`median` is not a gauge mode"
        );
        let error: Error = "median".parse::<GaugeMode>().unwrap_err().into();
        assert_eq!(format!("{error:?}"), "Usage: `median` is not a gauge mode");
    }
}

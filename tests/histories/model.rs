//! What a directory exports, from what its processes have done: maps of label sets to values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The families, of which the first three are totals.
pub(super) const FAMILIES: [&str; 5] = ["jobs", "size", "time", "level", "busy"];

/// A command to a process: a family, and values of the labels `at` and `kind`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Record(&'static str, &'static str, &'static str, f64),
    Remove(&'static str, &'static str, &'static str),
    Clear(&'static str),
    Match(&'static str, &'static str),
    Where(&'static str, &'static str),
    Idle(&'static str),
    Fork,
    Die,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Record(family, at, kind, value) => {
                write!(f, "record {family} {at} {kind} {value}")
            }
            Command::Remove(family, at, kind) => write!(f, "remove {family} {at} {kind}"),
            Command::Clear(family) => write!(f, "clear {family}"),
            Command::Match(family, at) => write!(f, "match {family} {at}"),
            Command::Where(family, kind) => write!(f, "where {family} {kind}"),
            Command::Idle(family) => write!(f, "idle {family}"),
            Command::Fork => f.write_str("fork"),
            Command::Die => f.write_str("die"),
        }
    }
}

/// The values of `at` and `kind`.
type Labels = (&'static str, &'static str);

/// The labels of the series beyond a limit.
const OVERFLOW: Labels = ("other", "other");

/// A family and its labels.
type Key = (&'static str, Labels);

/// Number and sum of observations. A counter has its total in the sum, a gauge its value.
#[derive(Clone, Copy, Default, PartialEq)]
struct Total {
    count: f64,
    sum: f64,
}

/// A series in a process.
#[derive(Clone, Copy, Default)]
struct Series {
    /// All that the process has recorded.
    share: Total,
    /// What it shows itself: since it has removed the series.
    own: Total,
    is_removed: bool,
    removals: u32,
}

#[derive(Clone, Default)]
struct Process {
    is_alive: bool,
    /// The series that lookups find. A forked child has those of its parent.
    listed: BTreeSet<Key>,
    series: BTreeMap<Key, Series>,
    /// What the last sweep of a family has found.
    swept: BTreeMap<Key, (u32, Total)>,
    overflows: BTreeMap<&'static str, f64>,
}

pub(super) struct Model {
    max: usize,
    processes: Vec<Process>,
    /// The series that have left the archive, by process: their shares are not counted any more.
    dropped: BTreeSet<(usize, Key)>,
}

fn is_gauge(family: &str) -> bool {
    matches!(family, "level" | "busy")
}

impl Process {
    /// The series that a lookup returns.
    fn look_up(&mut self, key: Key, max: usize) -> Key {
        let (family, _) = key;
        if self.listed.contains(&key) {
            return key;
        }
        let of_family = self.listed.iter().filter(|(other, _)| *other == family);
        if of_family.filter(|(_, labels)| *labels != OVERFLOW).count() < max {
            self.listed.insert(key);
            return key;
        }
        *self.overflows.entry(family).or_default() += 1.0;
        self.listed.insert((family, OVERFLOW));
        (family, OVERFLOW)
    }

    fn record(&mut self, key: Key, value: f64) -> f64 {
        let series = self.series.entry(key).or_default();
        series.is_removed = false;
        for total in [&mut series.share, &mut series.own] {
            total.count += 1.0;
            total.sum = if is_gauge(key.0) { value } else { total.sum + value };
        }
        series.own.sum
    }

    /// Removes the series for which `is_removed` returns `true`. Returns how many were exported.
    fn remove(&mut self, is_removed: impl Fn(Key) -> bool) -> f64 {
        let chosen: Vec<Key> = self.listed.iter().copied().filter(|key| is_removed(*key)).collect();
        let mut exported = 0.0;
        for key in chosen {
            self.listed.remove(&key);
            if let Some(series) = self.series.get_mut(&key).filter(|series| !series.is_removed) {
                series.is_removed = true;
                series.removals += 1;
                series.own = Total::default();
                exported += 1.0;
            }
        }
        exported
    }

    /// Whether the process exports a series.
    fn exports(&self, key: Key) -> bool {
        self.series.get(&key).is_some_and(|series| !series.is_removed)
    }
}

impl Model {
    pub(super) fn new(max: usize) -> Model {
        Model { max, processes: Vec::new(), dropped: BTreeSet::new() }
    }

    pub(super) fn start(&mut self) {
        self.processes.push(Process { is_alive: true, ..Process::default() });
    }

    /// The indexes of the living processes.
    pub(super) fn living(&self) -> Vec<usize> {
        let all = self.processes.iter().enumerate();
        all.filter(|(_, process)| process.is_alive).map(|(at, _)| at).collect()
    }

    /// Applies a command; returns the response.
    pub(super) fn apply(&mut self, at: usize, command: &Command) -> f64 {
        let process = &mut self.processes[at];
        match *command {
            Command::Record(family, at, kind, value) => {
                let key = process.look_up((family, (at, kind)), self.max);
                process.record(key, value)
            }
            Command::Remove(family, at, kind) => process.remove(|key| key == (family, (at, kind))),
            Command::Clear(family) => {
                process.remove(|(other, _)| other == family);
                0.0
            }
            Command::Match(family, at) => {
                process.remove(|(other, labels)| other == family && labels.0 == at)
            }
            Command::Where(family, kind) => {
                process.remove(|(other, labels)| other == family && labels.1 == kind)
            }
            Command::Idle(family) => {
                let exported = process.listed.iter().filter(|(other, _)| *other == family);
                let now: BTreeMap<Key, (u32, Total)> = exported
                    .filter_map(|key| {
                        let series = process.series.get(key).filter(|it| !it.is_removed)?;
                        Some((*key, (series.removals, series.own)))
                    })
                    .collect();
                let swept = std::mem::take(&mut process.swept);
                let (others, swept): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    swept.into_iter().partition(|((other, _), _)| *other != family);
                let is_idle = |key: &Key| swept.get(key).is_some_and(|it| Some(it) == now.get(key));
                let removed = process.remove(|key| is_idle(&key));
                let kept = now.iter().filter(|(key, _)| !is_idle(key));
                process.swept = others.into_iter().chain(kept.map(|(k, v)| (*k, *v))).collect();
                removed
            }
            Command::Fork => {
                let listed = process.listed.clone();
                self.processes.push(Process { is_alive: true, listed, ..Process::default() });
                0.0
            }
            Command::Die => {
                process.is_alive = false;
                0.0
            }
        }
    }

    fn keys(&self) -> BTreeSet<Key> {
        self.processes.iter().flat_map(|process| process.series.keys().copied()).collect()
    }

    /// The processes with a share of a series that is still counted.
    fn sharers(&self, key: Key) -> impl Iterator<Item = (usize, &Process, &Series)> {
        let all = self.processes.iter().enumerate();
        let shared = all.filter_map(move |(at, it)| Some((at, it, it.series.get(&key)?)));
        shared.filter(move |(at, ..)| !self.dropped.contains(&(*at, key)))
    }

    fn is_removed(&self, key: Key) -> bool {
        self.sharers(key).any(|(.., series)| series.is_removed)
    }

    /// A series that is removed leaves the archive if no living process ever had it.
    pub(super) fn compact(&mut self) {
        for key in self.keys() {
            let is_used = self.sharers(key).any(|(_, process, _)| process.is_alive);
            if !is_gauge(key.0) && self.is_removed(key) && !is_used {
                let sharers: Vec<usize> = self.sharers(key).map(|(at, ..)| at).collect();
                self.dropped.extend(sharers.into_iter().map(|at| (at, key)));
            }
        }
    }

    /// The value of a series, if it is exported.
    fn total(&self, key: Key) -> Option<Total> {
        let is_live = key.0 == "busy";
        if is_gauge(key.0) {
            let shown = self.sharers(key).filter(|(_, process, series)| {
                !series.is_removed && (process.is_alive || !is_live)
            });
            return shown.map(|(.., series)| series.own).reduce(add);
        }
        let is_exported = self.sharers(key).any(|(_, it, _)| it.is_alive && it.exports(key));
        if self.is_removed(key) && !is_exported {
            return None;
        }
        self.sharers(key).map(|(.., series)| series.share).reduce(add)
    }

    /// What the directory exports.
    pub(super) fn merged(&self) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        for key in self.keys() {
            let Some(total) = self.total(key) else {
                continue;
            };
            let (family, labels) = key;
            let labels = match (family, labels) {
                ("size", OVERFLOW) => "series=\"other\"".to_owned(),
                (_, (at, kind)) => format!("at=\"{at}\",kind=\"{kind}\""),
            };
            match family {
                "jobs" => _ = samples.insert(format!("jobs_total{{{labels}}}"), total.sum),
                "size" | "time" => {
                    samples.insert(format!("{family}_sum{{{labels}}}"), total.sum);
                    samples.insert(format!("{family}_count{{{labels}}}"), total.count);
                }
                _ => _ = samples.insert(format!("{family}{{{labels}}}"), total.sum),
            }
        }
        for (family, count) in self.processes.iter().flat_map(|process| &process.overflows) {
            let series = format!("multiprom_series_overflows_total{{family=\"{family}\"}}");
            *samples.entry(series).or_default() += count;
        }
        samples
    }
}

fn add(one: Total, other: Total) -> Total {
    Total { count: one.count + other.count, sum: one.sum + other.sum }
}

//! What sweeps for idle series have found.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::store::fork::PerProcess;

/// What each process has found in its last sweep of a family, by the addresses of the series.
pub(super) struct IdleSweeps(PerProcess<Mutex<HashMap<usize, Seen>>>);

/// A series in a sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SeriesState {
    /// A series that was removed and has come back is a new one.
    pub(super) removals: u32,
    /// The bits of a number that changes with each recording.
    pub(super) activity: u64,
}

/// The state of a series, and when a sweep found it first.
#[derive(Clone, Copy)]
struct Seen {
    state: SeriesState,
    since: Instant,
}

impl IdleSweeps {
    pub(super) const fn new() -> IdleSweeps {
        IdleSweeps(PerProcess::new())
    }

    /// Compares the present states of all series, by their addresses, with those of the sweeps before. Returns those that are
    /// the same for at least this time.
    ///
    /// Returns nothing while another thread sweeps, or if it has interrupted a sweep in the same thread.
    pub(super) fn sweep(
        &self,
        idle: Duration,
        states: impl Iterator<Item = (usize, SeriesState)>,
    ) -> HashMap<usize, SeriesState> {
        let sweeps = self.0.get_or_create(Mutex::default);
        let Ok(mut last) = sweeps.try_lock() else {
            return HashMap::new();
        };
        let now = Instant::now();
        let (mut seen, mut over) = (HashMap::new(), HashMap::new());
        for (address, state) in states {
            match last.get(&address).filter(|known| known.state == state) {
                Some(known) if now.duration_since(known.since) >= idle => {
                    over.insert(address, state);
                }
                Some(known) => _ = seen.insert(address, *known),
                None => _ = seen.insert(address, Seen { state, since: now }),
            }
        }
        *last = seen;
        over
    }
}

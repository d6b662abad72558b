//! What sweeps for idle series have found.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::store::fork::PerProcess;

/// What each process has found in its last sweep of a family, by the addresses of the series.
pub(super) struct IdleSweeps(PerProcess<Mutex<HashMap<usize, Seen>>>);

/// A series in a sweep.
#[derive(Clone, Copy)]
pub(super) struct SeriesState {
    pub(super) address: usize,
    /// A series that was removed and has come back is a new one.
    pub(super) removals: u32,
    /// A number that changes with each recording.
    pub(super) activity: f64,
}

impl SeriesState {
    pub(super) fn is_same(&self, other: &SeriesState) -> bool {
        let id = |state: &SeriesState| (state.address, state.removals, state.activity.to_bits());
        id(self) == id(other)
    }
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

    /// Compares the present states of all series with those of the sweeps before. Returns those that are the same for at least
    /// this time.
    ///
    /// Returns nothing while another thread sweeps, or if it has interrupted a sweep in the same thread.
    pub(super) fn sweep(
        &self,
        idle: Duration,
        states: impl Iterator<Item = SeriesState>,
    ) -> HashMap<usize, SeriesState> {
        let sweeps = self.0.get_or_create(Mutex::default);
        let Ok(mut last) = sweeps.try_lock() else {
            return HashMap::new();
        };
        let now = Instant::now();
        let (mut seen, mut over) = (HashMap::new(), HashMap::new());
        for state in states {
            let known = last.get(&state.address).filter(|known| known.state.is_same(&state));
            match known {
                Some(known) if now.duration_since(known.since) >= idle => {
                    over.insert(state.address, state);
                }
                Some(known) => _ = seen.insert(state.address, *known),
                None => _ = seen.insert(state.address, Seen { state, since: now }),
            }
        }
        *last = seen;
        over
    }
}

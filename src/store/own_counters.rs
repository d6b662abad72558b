//! The counters of multiprom itself that are entries in the counter file of a process.

use std::collections::BTreeMap;

use crate::file::SampleCells;
use crate::file::key;
use crate::model::own_metrics::OwnMetric;

/// The name of a counter, and its label `reason`, which may be empty.
pub(super) type CounterId = (&'static str, &'static str);

/// All counters of one process and directory.
#[derive(Default)]
pub(super) struct OwnCounters(BTreeMap<CounterId, OwnCounter>);

#[derive(Default)]
struct OwnCounter {
    help: &'static str,
    /// The amount that is not in a file yet.
    unwritten: f64,
    cells: Option<SampleCells>,
}

/// A counter that is not in a file yet.
pub(super) struct UnwrittenCounter {
    pub(super) id: CounterId,
    pub(super) key: Vec<u8>,
    pub(super) value: f64,
}

impl OwnCounters {
    /// Adds to a counter. Returns `false` if the counter is not in a file yet.
    pub(super) fn add(
        &mut self,
        metric: &'static OwnMetric,
        reason: &'static str,
        amount: f64,
    ) -> bool {
        let counter = self.0.entry((metric.family_name(), reason)).or_default();
        counter.help = metric.help();
        match counter.cells {
            Some(cells) => cells.value.add(amount),
            None => counter.unwritten += amount,
        }
        counter.cells.is_some()
    }

    /// Returns the counters that are not in a file yet.
    pub(super) fn unwritten(&self) -> Vec<UnwrittenCounter> {
        let counters = self.0.iter().filter(|(_, counter)| counter.cells.is_none());
        let unwritten = |(&id, counter): (&CounterId, &OwnCounter)| UnwrittenCounter {
            id,
            key: encode_key(id, counter.help),
            value: counter.unwritten,
        };
        counters.map(unwritten).collect()
    }

    /// Called when the entry of a counter was written, with the cells of the entry.
    pub(super) fn set_written(&mut self, id: CounterId, cells: Option<SampleCells>) {
        if let Some(counter) = self.0.get_mut(&id) {
            counter.cells = cells;
            counter.unwritten = 0.0;
        }
    }

    /// Forgets the counters that are in a file, because their entries are copied to another file.
    pub(super) fn forget_written(&mut self) {
        self.0.retain(|_, counter| counter.cells.is_none());
    }
}

/// Encodes the key of a counter.
fn encode_key((name, reason): CounterId, help: &str) -> Vec<u8> {
    let mut key = Vec::new();
    let sample = [name, "_total"].concat();
    let label = (!reason.is_empty()).then_some(("reason", reason));
    key::encode(&mut key, name, &sample, label.into_iter(), help);
    key
}

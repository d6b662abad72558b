//! Recording in multiprom and in other clients.
//!
//! Every contestant accesses its metric through `black_box`, so that none keeps an address or a value in a
//! register between operations. If operations differ in the series or the value, a batch performs all of them
//! in turn, the same for every contestant.

mod counters;
mod families;
mod gauges;
mod histograms;

use std::sync::atomic::AtomicU64;

use multiprom::{Backend, Registry};
use prometheus_client::metrics::counter::Counter as ClientCounter;

use crate::rounds::Contestant;

/// The contestants of other clients, in the order of the columns. An operation may lack some of them.
pub const PEERS: [&str; 8] = [
    "prometheus f64",
    "prometheus-client f64",
    "fastmetrics f64",
    "prometheus u64",
    "prometheus-client u64",
    "fastmetrics u64",
    "metrics u64",
    "measured u64",
];

type ClientFloatCounter = ClientCounter<f64, AtomicU64>;

/// One operation: the contestants of multiprom and those of other clients.
pub struct Row {
    pub operation: &'static str,
    pub own: Vec<Contestant>,
    pub peers: Vec<Contestant>,
}

impl Row {
    /// All contestants, those of multiprom first.
    pub fn contestants(&self) -> impl Iterator<Item = &Contestant> {
        self.own.iter().chain(&self.peers)
    }
}

/// The registries that multiprom's contestants record into.
pub struct Registries {
    mapped: Registry,
    heap: Registry,
}

impl Registries {
    /// Also sets the backend of the default registry to `dir`.
    pub fn new(dir: &std::path::Path) -> multiprom::Result<Registries> {
        let mapped = Backend::directory(dir)?;
        multiprom::set_default_backend(mapped)?;
        Ok(Registries {
            mapped: Registry::builder().backend(mapped).build()?,
            heap: Registry::builder().backend(Backend::in_memory()).build()?,
        })
    }
}

/// Creates the contestants of one operation.
pub type MakeRow = fn(&Registries) -> Row;

/// All operations.
pub const ROWS: [MakeRow; 11] = [
    counters::held_counter,
    counters::counters_in_turn,
    counters::counters_with_stride,
    counters::second_user,
    counters::shared_counter,
    gauges::gauge,
    gauges::gauge_add,
    histograms::histogram,
    histograms::shared_histogram,
    families::labelled,
    families::shared_labelled,
];

/// The operations that start no thread before they are measured: the instructions of other threads would be counted too.
pub const QUIET_ROWS: [MakeRow; 7] = [
    counters::held_counter,
    counters::counters_in_turn,
    counters::counters_with_stride,
    gauges::gauge,
    gauges::gauge_add,
    histograms::histogram,
    families::labelled,
];

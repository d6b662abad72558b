//! Metrics of a process, read from procfs.

mod collector;
#[cfg(target_os = "linux")]
pub(crate) mod procfs;

pub use collector::ProcessCollector;

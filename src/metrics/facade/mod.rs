//! A recorder for the crate `metrics`: its macros record into metrics of this crate.

mod pattern;
mod recorder;

pub use recorder::{Recorder, RecorderBuilder, install};

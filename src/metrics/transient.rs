//! What of a series may be in memory that is given back.
//!
//! Of a series whose memory is zeros a recording finds no storage; then, under the lock or before it, that the series is
//! removed: its flags are 0, so it is not `LIVE`. A recording that was interrupted after it has found the storage records
//! into the sink.
#![expect(unsafe_code, reason = "what may be in memory that is given back")]

use super::children::Entry;
use super::core::{Child, Typed};
use super::counter::CounterCells;
use super::gauge_cells::GaugeCells;
use super::histogram::HistogramCells;
use super::summary::SummaryCells;
use crate::store::fork::Transient;

// SAFETY: a hash and lengths that no lookup finds, and what is `Transient`.
unsafe impl<C: Transient> Transient for Entry<C> {}
// SAFETY: zeros are no family, for which the ignored one stands, no storage and empty labels. They are a shortcut to the sink, and a series that
// is removed.
unsafe impl<M: Typed> Transient for Child<M> {}
// SAFETY: numbers, and addresses of the sink.
unsafe impl Transient for CounterCells {}
// SAFETY: addresses of the sink.
unsafe impl Transient for SummaryCells {}
// SAFETY: addresses of the sink, and slices. An index beyond a slice gets another word, whose value is not exported.
unsafe impl Transient for HistogramCells {}
// SAFETY: addresses of the sink, a flag, no gate, and a number. The flag is only read.
unsafe impl Transient for GaugeCells {}

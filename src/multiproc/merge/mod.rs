//! Merges the values of many series files into families.
//!
//! `apply` adds the entries of one file to the sums and gauges of `state`. It finds out by `key_table` and `catalog`
//! what each entry is added to, and records that in a `plan` for later scrapes. `add_values` adds by a plan, and by those of
//! several files of a `batch` at once. `conflict` then selects the families to
//! export, and `emit` writes them to a sink.

mod add_values;
mod apply;
pub(super) mod attributes;
pub(super) mod batch;
pub(super) mod catalog;
pub(super) mod conflict;
pub(super) mod created;
pub(super) mod emit;
pub(super) mod exact_sum;
pub(super) mod exported_type;
pub(super) mod gauge;
mod gauge_samples;
pub(super) mod key_table;
pub(super) mod plan;
pub(super) mod process_labels;
mod removal;
pub(super) mod sample_part;
pub(super) mod settings;
pub(super) mod source;
pub(super) mod state;
mod value_refs;

//! Merges the values of many series files into families.

pub(super) mod catalog;
pub(super) mod conflict;
pub(super) mod emit;
pub(super) mod exact_sum;
pub(super) mod gauge;
mod hash_index;
pub(super) mod key_table;
pub(super) mod plan;
pub(super) mod process_labels;
pub(super) mod state;
mod value_refs;

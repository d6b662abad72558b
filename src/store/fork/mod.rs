//! Fork detection, and structures whose content belongs to one process.
//!
//! Each process has an *epoch*. What belongs to one process is stored together with its epoch and is valid only while that
//! is the current one. A child may be forked while other threads of the parent are in the middle of anything: all
//! structures here are changed by single atomic stores, so the child finds them whole, and locks are created anew for each
//! epoch, so the child finds them free.

mod bound;
mod epoch;
mod ownership;
mod per_process;
mod shortcut;
mod slow_path;
mod sync;
mod tag;
mod tagged;

pub(crate) use bound::{Bound, NO_EPOCH};
pub(crate) use epoch::epoch;
pub(super) use epoch::owner_word;
pub(crate) use epoch::seen_epoch;
pub(crate) use per_process::PerProcess;
pub(crate) use shortcut::Shortcut;
pub(crate) use slow_path::{Call, call_afterwards, enter, is_inside, lock};
pub use slow_path::{Inside, SlowPath};
pub(crate) use tag::{AtomicTag, Tag};
pub(crate) use tagged::Tagged;

pub(crate) use crate::fork_safe::{
    AppendList, Arena, MAX_SLICE_LEN, Removable, SortedList, StaticRef, TransientSlice,
    TransientStr, WordRef,
};
pub use crate::fork_safe::{Home, Release, Transient};

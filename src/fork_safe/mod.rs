//! Structures that a forked child finds whole, whatever the threads of its parent were doing.
//!
//! Each of them is changed by single atomic stores and has no lock. `std::sync::OnceLock` does not qualify: a child that is
//! forked while another thread sets one waits for that thread, which does not exist in the child.

mod append_list;
mod arena;
mod removable;
mod sorted_list;
mod static_ref;
mod transient;

pub(crate) use append_list::AppendList;
pub(crate) use arena::{Arena, WordLine};
pub use arena::{Home, Release};
pub(crate) use removable::Removable;
pub(crate) use sorted_list::SortedList;
pub(crate) use static_ref::StaticRef;
pub use transient::Transient;
pub(crate) use transient::{MAX_SLICE_LEN, TransientSlice, TransientStr, WordRef};

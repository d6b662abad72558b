//! Refreshes the values that a process computes, and which are in its files: results of functions and of custom
//! collectors.
//!
//! One thread in each process calls them, by default every five seconds, and at once when a scrape of this process or a
//! flush asks for it. It is started at the first recording of the process, when it registers something that is computed,
//! or by a flush, and only if something is computed; so a forked child calls nothing that it has inherited before its own
//! first recording. It is started after the lock of the slow path was released, and never by a fork handler.
//!
//! Values are computed under no lock, and then recorded under the lock of the slow path, if the files have not been closed
//! meanwhile. While a value is computed, forks wait, as they do while files are created: otherwise a child could inherit a
//! lock of the program that the refresher holds.

mod group;
mod slots;
#[cfg(target_os = "linux")]
mod thread;
#[cfg(not(target_os = "linux"))]
#[path = "no_thread.rs"]
mod thread;

pub(crate) use group::{Computed, Record, RefreshGroup};
pub(crate) use slots::Slots;
pub(crate) use thread::{add, finish, flush, refresh};
#[cfg(target_os = "linux")]
pub(crate) use thread::{close, note_recording};

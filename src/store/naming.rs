//! The name that [`process_id`](super::DirectoryOptions::process_id) returns for this process.

use std::sync::atomic::{AtomicBool, Ordering};

use super::fork::{self, PerProcess, StaticRef};
use super::options::DirectoryOptions;

/// Calls the function of `process_id` once in each process, never under a lock: it may record or wait for other threads.
pub(super) struct Naming(PerProcess<Name>);

struct Name {
    /// Whether a thread has begun to call the function.
    is_asked: AtomicBool,
    text: StaticRef<String>,
}

impl Naming {
    pub(super) const fn new() -> Naming {
        Naming(PerProcess::new())
    }

    fn name(&self) -> &'static Name {
        let unasked = || Name { is_asked: AtomicBool::new(false), text: StaticRef::empty() };
        self.0.get_or_create(unasked)
    }

    /// Calls the function unless a thread of this process has done so. Returns whether it was called.
    pub(super) fn ask(&self, options: &DirectoryOptions) -> bool {
        let name = self.name();
        // A signal handler or an allocator may have interrupted the slow path, which holds a lock.
        if name.is_asked.load(Ordering::Relaxed) || fork::is_inside() {
            return false;
        }
        if name.is_asked.swap(true, Ordering::Relaxed) {
            return false;
        }
        name.text.set(Box::leak(Box::new(options.process_name())));
        true
    }

    /// Returns the name; `None` until the function has returned.
    pub(super) fn get(&self) -> Option<&'static str> {
        self.name().text.get().map(String::as_str)
    }
}

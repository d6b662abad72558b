//! The name of this process, as returned by a function of the program.

use std::sync::atomic::{AtomicBool, Ordering};

use super::DirectoryOptions;
use super::fork::{self, PerProcess, StaticRef};

/// Calls the function once in each process, and never under a lock: it may record, or wait for other threads.
pub(super) struct Naming(PerProcess<Name>);

struct Name {
    /// Set by the thread that calls the function.
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

    /// Calls the function, unless a thread of this process has done so before. Returns whether it was called.
    pub(super) fn ask(&self, options: &DirectoryOptions) -> bool {
        let name = self.name();
        // Not from a signal handler or an allocator that interrupted the slow path, which holds a lock.
        if name.is_asked.load(Ordering::Relaxed) || fork::is_inside() {
            return false;
        }
        if name.is_asked.swap(true, Ordering::Relaxed) {
            return false;
        }
        name.text.set(Box::leak(Box::new(options.process_name())));
        true
    }

    /// The name; `None` until the function has returned.
    pub(super) fn get(&self) -> Option<&'static str> {
        self.name().text.get().map(String::as_str)
    }
}

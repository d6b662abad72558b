//! The name of this process, which a function of the program gives.

use std::sync::atomic::{AtomicBool, Ordering};

use super::DirectoryOptions;
use super::fork::{self, PerProcess, StaticRef};

/// Asks for the name once in each process, and never under a lock: the function may do anything, record too.
pub(super) struct Naming(PerProcess<Name>);

struct Name {
    /// Whether a thread asks or has asked.
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

    /// Asks for the name, unless that was done in this process, or is being done. Returns whether it was done now.
    pub(super) fn ask(&self, options: &DirectoryOptions) -> bool {
        let name = self.name();
        // A signal handler or an allocator that interrupts the library does not call the program.
        if name.is_asked.load(Ordering::Relaxed) || fork::is_inside() {
            return false;
        }
        if name.is_asked.swap(true, Ordering::Relaxed) {
            return false;
        }
        name.text.set(Box::leak(Box::new(options.process_name())));
        true
    }

    /// The name; `None` until the program has given it.
    pub(super) fn get(&self) -> Option<&'static str> {
        self.name().text.get().map(String::as_str)
    }
}

//! Background threads and descriptors in a host program.
//!
//! The threads block all signals, so the signal handlers of the host do not run on them. A forked child does not wait for
//! the threads of its parent, and closes its copies of the descriptors.

use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::{AsFd, AsRawFd as _};

    use crate::file::forks::{ForkWait, NoFork};
    use crate::file::inherited::{self, Slot};

    pub(super) use crate::file::forks::watch_forks;
    pub(super) use crate::file::process::instance_id;
    pub(super) use crate::file::sys::BlockedSignals;
    #[cfg(feature = "exporter")]
    pub(crate) use crate::file::sys::{
        bind_all_interfaces, bind_unix, descriptor_limit, set_backlog,
    };

    /// The listening sockets that systemd has passed to this process.
    #[cfg(feature = "exporter")]
    pub(crate) fn passed_sockets() -> std::io::Result<Vec<std::os::fd::OwnedFd>> {
        let count = crate::file::environment::passed_socket_count();
        crate::file::sys::passed_sockets(count)
    }

    /// A guard during which this process does not fork, as far as forks can be delayed.
    pub(crate) struct NoForks {
        _no_fork: Option<NoFork>,
    }

    /// Delays forks of this process, each for a quarter of a second at most.
    pub(crate) fn no_forks() -> NoForks {
        NoForks { _no_fork: NoFork::begin(ForkWait::Long) }
    }

    /// While it exists, forked children close a descriptor.
    #[derive(Debug)]
    pub(super) struct Registration(Option<Slot>);

    impl Registration {
        pub(super) fn new(file: &impl AsFd) -> Registration {
            Registration(inherited::close_in_children(file.as_fd().as_raw_fd()))
        }
    }

    impl Drop for Registration {
        fn drop(&mut self) {
            if let Some(slot) = &self.0 {
                inherited::forget_slot(slot);
            }
        }
    }
}

/// On other systems forks are not detected, and children keep the descriptors.
#[cfg(not(target_os = "linux"))]
mod system {
    pub(crate) struct NoForks;

    pub(crate) fn no_forks() -> NoForks {
        NoForks
    }

    pub(super) struct Registration;

    impl Registration {
        pub(super) fn new(_: &impl std::os::fd::AsFd) -> Registration {
            Registration
        }
    }

    pub(super) struct BlockedSignals;

    impl BlockedSignals {
        pub(super) fn new() -> std::io::Result<BlockedSignals> {
            Ok(BlockedSignals)
        }
    }

    pub(super) fn instance_id() -> u64 {
        0
    }

    #[cfg(feature = "exporter")]
    pub(crate) fn set_backlog(_: std::os::fd::BorrowedFd<'_>, _: i32) -> std::io::Result<()> {
        Ok(())
    }

    #[cfg(feature = "exporter")]
    pub(crate) fn descriptor_limit() -> usize {
        usize::MAX
    }

    /// Uses the default of the system for IPv4.
    #[cfg(feature = "exporter")]
    pub(crate) fn bind_all_interfaces(port: u16) -> std::io::Result<std::os::fd::OwnedFd> {
        let address = (std::net::Ipv6Addr::UNSPECIFIED, port);
        std::net::TcpListener::bind(address).map(Into::into)
    }

    /// Uses the default permissions.
    #[cfg(feature = "exporter")]
    pub(crate) fn bind_unix(
        path: &std::path::Path,
        _: u32,
    ) -> std::io::Result<std::os::fd::OwnedFd> {
        std::os::unix::net::UnixListener::bind(path).map(Into::into)
    }

    #[cfg(feature = "exporter")]
    pub(crate) fn passed_sockets() -> std::io::Result<Vec<std::os::fd::OwnedFd>> {
        Ok(Vec::new())
    }

    pub(super) fn watch_forks() {}
}

use system::{BlockedSignals, Registration};
pub(crate) use system::{NoForks, no_forks};
#[cfg(feature = "exporter")]
pub(crate) use system::{
    bind_all_interfaces, bind_unix, descriptor_limit, passed_sockets, set_backlog,
};

/// Identifies a process, also if a child has the same pid in another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    instance: u64,
}

impl Process {
    fn current() -> Process {
        system::watch_forks();
        Process { pid: std::process::id(), instance: system::instance_id() }
    }
}

/// A thread in which all signals are blocked but those that its own instructions raise, such as SIGSEGV.
///
/// Threads and commands that it starts inherit the mask. The thread continues when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    /// `None` after it was joined.
    handle: Option<JoinHandle<()>>,
    process: Process,
}

impl Thread {
    pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let process = Process::current();
        // The new thread inherits the mask. Signals that arrive meanwhile stay pending.
        let _blocked = BlockedSignals::new()?;
        let handle = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Thread { handle: Some(handle), process })
    }

    /// Whether it is a thread of this process, and not of a parent.
    pub(crate) fn is_here(&self) -> bool {
        self.process == Process::current()
    }

    /// Waits for the end of the thread, if it is one of this process.
    pub(crate) fn join(mut self) {
        if self.is_here()
            && let Some(handle) = self.handle.take()
        {
            // OK because the panic was printed by its hook.
            let _ = handle.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.is_here() {
            // The thread does not exist in a child.
            mem::forget(self.handle.take());
        }
    }
}

/// A file or socket whose copies forked children close.
pub(crate) struct ClosedInChildren<T>(Option<Open<T>>);

struct Open<T> {
    // Fields are dropped in this order: the file is closed before it leaves the table.
    file: T,
    registration: Registration,
}

impl<T: AsFd> ClosedInChildren<T> {
    /// Takes a file that was opened while the guard existed: a child that is forked between the opening and this call
    /// would keep a copy.
    pub(crate) fn new(file: T, _no_forks: &NoForks) -> ClosedInChildren<T> {
        let registration = Registration::new(&file);
        ClosedInChildren(Some(Open { file, registration }))
    }
}

impl<T> ClosedInChildren<T> {
    /// Wraps the file, which keeps its descriptor.
    #[cfg_attr(not(feature = "exporter"), allow(dead_code, reason = "used by exporters"))]
    pub(crate) fn try_map<U>(
        mut self,
        wrap: impl FnOnce(T) -> io::Result<U>,
    ) -> io::Result<ClosedInChildren<U>> {
        let Open { file, registration } = self.0.take().expect(IS_OPEN);
        Ok(ClosedInChildren(Some(Open { file: wrap(file)?, registration })))
    }
}

const IS_OPEN: &str = "the file is open until it is dropped";

impl<T> Drop for ClosedInChildren<T> {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let _no_forks = no_forks();
            drop(open);
        }
    }
}

impl<T> Deref for ClosedInChildren<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.as_ref().expect(IS_OPEN).file
    }
}

impl<T> DerefMut for ClosedInChildren<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.as_mut().expect(IS_OPEN).file
    }
}

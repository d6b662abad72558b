//! Process groups, and the foreground of the controlling terminal.
//!
//! A command in a group of its own gets the terminal's signals and may read from the terminal only if its group is in the
//! foreground. See: tcsetpgrp(3), setpgid(2).
#![expect(unsafe_code, reason = "system calls")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::signals::Signal;

/// The controlling terminal of this process.
///
/// SIGTTOU must be blocked: it would stop a process in the background that changes the foreground.
pub(super) struct Terminal(File);

impl Terminal {
    /// Opens the terminal; `None` without one.
    pub(super) fn open() -> Option<Terminal> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        options.open("/dev/tty").ok().map(Terminal)
    }

    /// Whether a group is in the foreground.
    pub(super) fn is_foreground(&self, group: u32) -> bool {
        // SAFETY: takes numbers only.
        let found = unsafe { libc::tcgetpgrp(self.0.as_raw_fd()) };
        found == group as libc::pid_t
    }

    /// Moves a group to the foreground. OK if it fails, because the group may have ended, or the terminal was closed.
    pub(super) fn set_foreground(&self, group: u32) {
        set_foreground(self.0.as_raw_fd(), group as libc::pid_t);
    }

    /// Makes a command that is started in a group of its own start in the foreground.
    pub(super) fn start_in_foreground(&self, command: &mut Command) {
        let terminal = self.0.as_raw_fd();
        let arrange = move || {
            // SAFETY: takes no argument.
            let group = unsafe { libc::getpgrp() };
            set_foreground(terminal, group);
            Ok(())
        };
        // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
        unsafe { command.pre_exec(arrange) };
    }
}

fn set_foreground(terminal: libc::c_int, group: libc::pid_t) {
    // SAFETY: takes numbers only.
    unsafe { libc::tcsetpgrp(terminal, group) };
}

/// The group of this process.
pub(super) fn own_group() -> u32 {
    // SAFETY: takes no argument.
    let group = unsafe { libc::getpgrp() };
    group as u32
}

/// The group of a process; `None` if it does not exist.
pub(super) fn group_of(pid: u32) -> Option<u32> {
    // SAFETY: takes numbers only.
    let group = unsafe { libc::getpgid(pid as libc::pid_t) };
    u32::try_from(group).ok()
}

/// Sends a signal to each process of a group. A group that does not exist any more is not an error.
pub(super) fn send_to_group(group: u32, signal: Signal) {
    // SAFETY: takes numbers only.
    unsafe { libc::killpg(group as libc::pid_t, signal.number()) };
}

/// Whether this process leads its session, as the first process of a container does: then no shell continues it after a
/// stop.
pub(super) fn is_session_leader() -> bool {
    // SAFETY: takes numbers only.
    let session = unsafe { libc::getsid(0) };
    session as u32 == std::process::id()
}

/// Makes the kernel send a signal to a command when the thread that starts it ends.
///
/// NOTE: the kernel forgets it when the command changes its user or starts a program with more privileges. See:
/// PR_SET_PDEATHSIG(2const).
pub(super) fn end_with_parent(command: &mut Command, signal: Signal) {
    let parent = std::process::id();
    let arrange = move || {
        // SAFETY: takes numbers only.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal.number(), 0, 0, 0) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: takes no argument.
        let found = unsafe { libc::getppid() };
        // The parent has ended before the call above.
        if found as u32 == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(arrange) };
}

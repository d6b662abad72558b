//! Signals, children and their ends.
//!
//! Signals are blocked in the whole process before any thread is started, and taken one by one by the
//! main thread: no handler runs, so nothing is interrupted.
#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// A signal by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signal(libc::c_int);

impl Signal {
    pub(super) const INT: Signal = Signal(libc::SIGINT);
    pub(super) const TERM: Signal = Signal(libc::SIGTERM);
    pub(super) const CHLD: Signal = Signal(libc::SIGCHLD);
    /// What a launcher passes on to its command.
    pub(super) const FORWARDED: [Signal; 10] = [
        Signal::INT,
        Signal::TERM,
        Signal(libc::SIGHUP),
        Signal(libc::SIGQUIT),
        Signal(libc::SIGUSR1),
        Signal(libc::SIGUSR2),
        Signal(libc::SIGWINCH),
        Signal(libc::SIGTTIN),
        Signal(libc::SIGTTOU),
        Signal(libc::SIGCONT),
    ];
}

/// Where a signal came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Process,
    /// The terminal, which tells the whole foreground group.
    Terminal,
}

/// Signals that are blocked and waited for.
pub(super) struct Signals {
    set: libc::sigset_t,
    /// What was blocked before.
    before: libc::sigset_t,
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{what}: {error}"))
}

impl Signals {
    /// Blocks signals in this thread and in all that it starts; in commands too, unless they go through
    /// [`restore_in`](Signals::restore_in).
    pub(super) fn block(signals: &[Signal]) -> Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset fills the set it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: filled in the line before.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: the set is valid, the number is that of a signal.
            unsafe { libc::sigaddset(&raw mut set, signal.0) };
        }
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is valid, and `before` has room for what is written.
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) };
        if error != 0 {
            return Err(failed("cannot block signals", &io::Error::from_raw_os_error(error)));
        }
        // SAFETY: filled by the call, which succeeded.
        let before = unsafe { before.assume_init() };
        Ok(Signals { set, before })
    }

    /// Has a command start with the signals blocked that were blocked before, and no others.
    ///
    /// NOTE: a command inherits the mask of the thread that starts it. See: sigprocmask(2), NOTES.
    pub(super) fn restore_in(&self, command: &mut Command) {
        let before = self.before;
        let restore = move || {
            // SAFETY: the set is valid; the mask before is not asked for.
            let error = unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut())
            };
            if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
        };
        // SAFETY: between fork and exec it makes one call, which is async-signal-safe, and allocates
        // nothing.
        unsafe { command.pre_exec(restore) };
    }

    /// Waits for one of the signals.
    pub(super) fn wait_for(&self, time: Duration) -> Option<(Signal, Sender)> {
        let time = libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(time.subsec_nanos()),
        };
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the set and the time are valid, and `info` has room for what is written.
        let number =
            unsafe { libc::sigtimedwait(&raw const self.set, info.as_mut_ptr(), &raw const time) };
        if number < 0 {
            return None;
        }
        // SAFETY: zeroed, which is a valid siginfo_t, and filled by the call.
        let info = unsafe { info.assume_init() };
        let from_kernel = info.si_code == libc::SI_KERNEL;
        Some((Signal(number), if from_kernel { Sender::Terminal } else { Sender::Process }))
    }
}

/// Starts something with all signals blocked: a thread inherits that, and never takes a signal.
pub(super) fn with_all_blocked<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset fills the set it is given.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: filled in the line before.
    let all = unsafe { all.assume_init() };
    let mut before = all;
    // OK because it does not fail with a valid operation. See: pthread_sigmask(3).
    // SAFETY: both sets are valid; only the mask of this thread changes.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    let started = start();
    // SAFETY: `before` is the mask that the call above stored; the mask before is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    started
}

/// Sends a signal to a process. One that is gone already is no failure.
pub(super) fn send(pid: u32, signal: Signal) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid as libc::pid_t, signal.0) };
}

/// Has a command killed when the thread that starts it ends, however it ends.
pub(super) fn end_with_parent(command: &mut Command) {
    let arrange = || {
        // SAFETY: takes numbers only.
        let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(arrange) };
}

/// Has orphans among the descendants of this process become its children.
pub(super) fn adopt_orphans() -> Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    match result {
        0 => Ok(()),
        _ => Err(failed("cannot adopt orphans", &io::Error::last_os_error())),
    }
}

/// What became of the children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// A child has ended, with this exit status as a shell shows it.
    Child { pid: u32, status: u8 },
    /// Children are left, and none has ended.
    Running,
    /// There are no children.
    None,
}

/// Takes the status of one child that has ended.
pub(super) fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: `status` is valid and writable.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match pid {
        0 => Reaped::Running,
        pid if pid > 0 => {
            let shown = if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                128 + libc::WTERMSIG(status)
            };
            Reaped::Child { pid: pid as u32, status: shown as u8 }
        }
        _ => Reaped::None,
    }
}

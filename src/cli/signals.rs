//! Signals and child processes.
//!
//! Signals are blocked in the whole process before a thread is started, and the main thread waits for them: no
//! handler runs, so no system call is interrupted.
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
    pub(super) const HUP: Signal = Signal(libc::SIGHUP);
    pub(super) const QUIT: Signal = Signal(libc::SIGQUIT);
    pub(super) const KILL: Signal = Signal(libc::SIGKILL);
    pub(super) const TSTP: Signal = Signal(libc::SIGTSTP);
    pub(super) const STOP: Signal = Signal(libc::SIGSTOP);
    pub(super) const CONT: Signal = Signal(libc::SIGCONT);
    pub(super) const CHLD: Signal = Signal(libc::SIGCHLD);
    /// Signals that a launcher forwards to its command.
    pub(super) const FORWARDED: [Signal; 10] = [
        Signal::INT,
        Signal::TERM,
        Signal::HUP,
        Signal::QUIT,
        Signal(libc::SIGUSR1),
        Signal(libc::SIGUSR2),
        Signal(libc::SIGWINCH),
        Signal(libc::SIGTTIN),
        Signal(libc::SIGTTOU),
        Signal::CONT,
    ];

    pub(super) fn number(self) -> libc::c_int {
        self.0
    }

    /// The exit status that a shell shows for a process that this signal has ended.
    pub(super) fn exit_status(self) -> u8 {
        128 + self.0 as u8
    }

    /// Whether the signal asks a program to end.
    pub(super) fn is_end(self) -> bool {
        [Signal::INT, Signal::TERM, Signal::QUIT].contains(&self)
    }

    /// Whether the terminal stops a process in the background that uses it by this signal.
    pub(super) fn is_background_stop(self) -> bool {
        [libc::SIGTTIN, libc::SIGTTOU].contains(&self.0)
    }
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Process,
    /// The terminal, which sends the signal to the whole foreground process group.
    Terminal,
}

/// Blocked signals to wait for.
pub(super) struct Signals {
    set: libc::sigset_t,
    /// The signal mask before.
    before: libc::sigset_t,
}

fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{what}: {error}"))
}

impl Signals {
    /// Blocks signals in this thread and in the threads and processes that it starts, except commands prepared by
    /// [`restore_in`](Signals::restore_in).
    pub(super) fn block(signals: &[Signal]) -> Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the set that it is passed.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: initialized in the line before.
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

    /// Makes a command start with the signal mask before.
    ///
    /// NOTE: a command inherits the mask of the thread that starts it. See: sigprocmask(2), NOTES.
    pub(super) fn restore_in(&self, command: &mut Command) {
        let before = self.before;
        let restore = move || {
            // SAFETY: the set is valid; the old mask is not requested.
            let error = unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut())
            };
            if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
        };
        // SAFETY: between fork and exec it makes one call, which is async-signal-safe, and allocates
        // nothing.
        unsafe { command.pre_exec(restore) };
    }

    /// Waits for one of the signals, for the given time at most.
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

/// Makes the next SIGINT or SIGTERM end this process at once, with this exit status or that of the signal. They must be
/// blocked.
pub(super) fn exit_on_next(status: Option<u8>) -> Result<()> {
    let signals = Signals::block(&[Signal::INT, Signal::TERM])?;
    let wait = move || loop {
        if let Some((signal, _)) = signals.wait_for(Duration::from_secs(3600)) {
            let status = i32::from(status.unwrap_or(signal.exit_status()));
            std::process::exit(status);
        }
    };
    let thread = std::thread::Builder::new().name("multiprom-signal".to_owned()).spawn(wait);
    thread.map(drop).map_err(|error| failed("cannot start a thread", &error))
}

/// Runs `start` with all signals blocked, which a thread that it starts inherits.
pub(super) fn with_all_blocked<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initializes the set that it is passed.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: initialized in the line before.
    let all = unsafe { all.assume_init() };
    let mut before = all;
    // OK because it does not fail with a valid operation. See: pthread_sigmask(3).
    // SAFETY: both sets are valid; only the mask of this thread changes.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    let started = start();
    // SAFETY: `before` is the mask that the call above stored; the old mask is not requested.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    started
}

/// Sends a signal to a process. A process that has already ended is not an error.
pub(super) fn send(pid: u32, signal: Signal) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid as libc::pid_t, signal.0) };
}

/// Makes orphaned descendants of this process its children.
pub(super) fn adopt_orphans() -> Result<()> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    match result {
        0 => Ok(()),
        _ => Err(failed("cannot adopt orphans", &io::Error::last_os_error())),
    }
}

/// The result of [`reap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaped {
    /// A child has ended, with this exit status as a shell shows it.
    Child { pid: u32, status: u8 },
    /// A child is stopped by this signal.
    Stopped { pid: u32, signal: Signal },
    /// There are children, and none of them has changed.
    Running,
    /// There are no children.
    None,
}

/// Reaps one child that has ended, or returns one that was stopped.
pub(super) fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: `status` is valid and writable.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
    match pid {
        0 => Reaped::Running,
        pid if pid > 0 && libc::WIFSTOPPED(status) => {
            Reaped::Stopped { pid: pid as u32, signal: Signal(libc::WSTOPSIG(status)) }
        }
        pid if pid > 0 => {
            let shown = if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status) as u8
            } else {
                Signal(libc::WTERMSIG(status)).exit_status()
            };
            Reaped::Child { pid: pid as u32, status: shown }
        }
        _ => Reaped::None,
    }
}

/// Reaps all children that have ended, such as orphans of other processes of a container.
pub(super) fn reap_orphans() {
    while !matches!(reap(), Reaped::Running | Reaped::None) {}
}

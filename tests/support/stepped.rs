//! A program that is stopped by ptrace before each system call that other processes can observe.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Calls that read or change files.
const VISIBLE: [libc::c_long; 15] = [
    libc::SYS_openat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fallocate,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_statx,
    libc::SYS_fsync,
    libc::SYS_close,
];

/// A system call before which the program is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub number: libc::c_long,
    argument: u64,
}

impl Call {
    /// The program waits for its next command.
    fn is_idle(self) -> bool {
        self.number == libc::SYS_read && self.argument == 0
    }
}

/// A program that reads commands from standard input, traced by the thread that started it.
pub struct Stepped(Child);

impl Stepped {
    pub fn start(command: &mut Command) -> Stepped {
        let trace_me = || {
            // SAFETY: takes no pointers.
            match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes one system call between fork and exec.
        unsafe { command.pre_exec(trace_me) };
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stepped = Stepped(child);
        stepped.wait();
        let (pid, options) = (stepped.pid(), libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL);
        // SAFETY: the options are numbers.
        let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
        assert_eq!(set, 0);
        while !stepped.next_call().is_idle() {}
        stepped
    }

    fn pid(&self) -> libc::pid_t {
        self.0.id() as libc::pid_t
    }

    /// Lets the program execute a command; calls `at_stop` before each visible call. Returns the number of stops.
    pub fn command(&mut self, dir: &Path, mut at_stop: impl FnMut(usize, Call)) -> usize {
        writeln!(self.0.stdin.as_ref().unwrap(), "{}", dir.display()).unwrap();
        let mut stops = 0;
        loop {
            let call = self.next_call();
            if call.is_idle() {
                return stops;
            }
            if VISIBLE.contains(&call.number) {
                at_stop(stops, call);
                stops += 1;
            }
        }
    }

    /// Runs to the beginning of the next system call.
    fn next_call(&mut self) -> Call {
        let mut signal = 0;
        loop {
            // SAFETY: takes numbers only.
            let run = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, self.pid(), 0, signal) };
            assert_eq!(run, 0, "{}", std::io::Error::last_os_error());
            signal = self.wait();
            if signal != libc::SIGTRAP | 0x80 {
                continue;
            }
            signal = 0;
            if let Some(call) = self.call() {
                return call;
            }
        }
    }

    /// The call that the program is about to make, or `None` if a call returns.
    fn call(&self) -> Option<Call> {
        // SAFETY: all bytes 0 are a value of this structure of numbers.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        let len = size_of::<libc::ptrace_syscall_info>();
        let request = libc::PTRACE_GET_SYSCALL_INFO;
        // SAFETY: the pointer is to memory of that length.
        let got = unsafe { libc::ptrace(request, self.pid(), len, &raw mut info) };
        assert!(got > 0, "{}", std::io::Error::last_os_error());
        if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
            return None;
        }
        // SAFETY: at the entry of a call, the kernel writes this member of the union.
        let entry = unsafe { info.u.entry };
        Some(Call { number: entry.nr as libc::c_long, argument: entry.args[0] })
    }

    /// Waits for the next stop; returns the signal that caused it.
    fn wait(&mut self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: the pointer is to a number that is written.
        let pid = unsafe { libc::waitpid(self.pid(), &raw mut status, libc::__WALL) };
        assert!(pid == self.pid() && libc::WIFSTOPPED(status), "the program ended: {status:#x}");
        libc::WSTOPSIG(status)
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

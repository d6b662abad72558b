//! Forked children. The programs in `tests/programs` and `compare` include this file by `#[path]`.
#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(unsafe_code, reason = "fork, wait and exit")]

/// Forks; returns 0 in the child.
pub fn fork() -> libc::pid_t {
    // SAFETY: the child records, writes and exits; the tests check that this works whatever other threads do.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    pid
}

/// Forks by the system call, so that no handler of `pthread_atfork` runs; returns 0 in the child.
pub fn raw_clone() -> libc::pid_t {
    // SAFETY: copies all memory, as fork does. The child makes system calls, or its parent has no other thread that
    // could hold a lock of the C library.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    pid as libc::pid_t
}

/// Forks a child that runs `work` and exits, with a failure if `work` panics.
pub fn in_child(work: impl FnOnce()) -> libc::pid_t {
    let pid = fork();
    if pid == 0 {
        let is_panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err();
        exit_with(i32::from(is_panicked));
    }
    pid
}

/// Exits a forked child without destructors and exit handlers.
pub fn exit() -> ! {
    exit_with(0)
}

fn exit_with(status: libc::c_int) -> ! {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(status) }
}

/// Kills this process.
pub fn kill_self() -> ! {
    // SAFETY: takes a number only.
    unsafe { libc::raise(libc::SIGKILL) };
    exit()
}

/// Waits for the end of a child; returns its wait status.
pub fn wait_status(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: `status` is valid and writable.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

/// Kills a child and waits for its end.
pub fn kill(pid: libc::pid_t) {
    // SAFETY: takes numbers only, and the child was not waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(wait_status(pid), libc::SIGKILL);
}

/// Waits for the end of a child, which must succeed.
pub fn wait(pid: libc::pid_t) {
    assert_eq!(wait_status(pid), 0, "a child failed");
}

/// Ends this process by SIGALRM after so many seconds, so that a process that hangs fails.
pub fn limit_time(seconds: libc::c_uint) {
    // SAFETY: takes a number only.
    unsafe { libc::alarm(seconds) };
}

//! Processor time, user and system, in seconds.

use std::io;
use std::time::Duration;

/// Of this thread.
pub fn own_thread() -> Duration {
    let seconds = read(libc::CLOCK_THREAD_CPUTIME_ID).expect("a thread can read its own clock");
    Duration::from_secs_f64(seconds)
}

/// Of this process.
pub fn own() -> io::Result<f64> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Of another running process, all threads.
pub fn of_process(pid: u32) -> io::Result<f64> {
    let mut clock = 0;
    // SAFETY: the pointer is to a number that is written.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    read(clock)
}

/// Of all children that have been waited for.
pub fn of_children() -> io::Result<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to memory of the size that the call writes.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded, so it has filled the structure.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

fn read(clock: libc::clockid_t) -> io::Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a structure that is written.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

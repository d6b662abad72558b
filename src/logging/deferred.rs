//! Passes log lines on, or keeps them while the thread holds a lock of this crate.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem::ManuallyDrop;

use super::hook::{LogLevel, LogLine, hook};
use super::line::one_line;
use super::loggers::forward;
use super::stderr;
use crate::panics::caught;

/// The most lines of one thread that wait for the release of a lock. Further lines are dropped.
const MAX_WAITING: usize = 16;

/// The logging state of a thread.
struct Thread {
    /// How many [`Deferred`] exist.
    deferrals: Cell<usize>,
    waiting: RefCell<Vec<(LogLevel, String)>>,
    is_in_hook: Cell<bool>,
}

thread_local! {
    // Never dropped, so that a thread that is ending can log. The list is empty after the last deferral.
    static THREAD: ManuallyDrop<Thread> = const {
        ManuallyDrop::new(Thread {
            deferrals: Cell::new(0),
            waiting: RefCell::new(Vec::new()),
            is_in_hook: Cell::new(false),
        })
    };
}

/// While one exists, lines of this thread wait. They are passed on when the last one is dropped. Declare it after the
/// guard of the lock, so that it is dropped after the release.
pub(crate) struct Deferred(());

impl Deferred {
    pub(crate) fn begin() -> Deferred {
        THREAD.with(|thread| thread.deferrals.set(thread.deferrals.get() + 1));
        Deferred(())
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        THREAD.with(|thread| {
            let left = thread.deferrals.get() - 1;
            thread.deferrals.set(left);
            if left == 0 && thread.waiting.try_borrow().is_ok_and(|waiting| !waiting.is_empty()) {
                let lines = thread.waiting.take();
                for (level, message) in &lines {
                    pass_on(thread, *level, message);
                }
            }
        });
    }
}

/// Logs a problem as one line. A failure to log does not affect the program.
pub(crate) fn log_line(message: &dyn fmt::Display) {
    log(LogLevel::Warn, message);
}

/// Logs one line that is not about a problem, such as that something works again.
pub(crate) fn log_info(message: &dyn fmt::Display) {
    log(LogLevel::Info, message);
}

fn log(level: LogLevel, message: &dyn fmt::Display) {
    let message = one_line(message);
    THREAD.with(|thread| {
        if thread.deferrals.get() == 0 {
            return pass_on(thread, level, &message);
        }
        // OK because only a signal handler that interrupts a change of the list loses its line.
        if let Ok(mut waiting) = thread.waiting.try_borrow_mut()
            && waiting.len() < MAX_WAITING
        {
            waiting.push((level, message));
        }
    });
}

/// Passes a line to the hook or the loggers, else to standard error.
fn pass_on(thread: &Thread, level: LogLevel, message: &str) {
    let is_taken = !thread.is_in_hook.replace(true) && {
        let line = LogLine { message, level };
        let called = caught(|| match hook() {
            Some(hook) => {
                hook(&line);
                true
            }
            None => stderr::is_first_process() && forward(&line),
        });
        thread.is_in_hook.set(false);
        called.unwrap_or(false)
    };
    if !is_taken {
        stderr::write_line(message);
    }
}

/// Writes one line to standard error, regardless of hooks and loggers. For the command.
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) fn write_line(message: &dyn fmt::Display) {
    stderr::write_line(&one_line(message));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::set_log_hook;
    use std::sync::{Arc, Mutex, OnceLock};

    /// Returns the lines that the hook has received. All tests share one hook, and use different messages.
    fn lines() -> Arc<Mutex<Vec<String>>> {
        static LINES: OnceLock<Arc<Mutex<Vec<String>>>> = OnceLock::new();
        let lines = LINES.get_or_init(|| {
            let lines: Arc<Mutex<Vec<String>>> = Arc::default();
            let taken = Arc::clone(&lines);
            set_log_hook(|_| panic!("a hook that was replaced is called"));
            set_log_hook(move |line| {
                taken.lock().unwrap().push(line.message.to_owned());
                assert_ne!(line.message, "panic", "the hook panics");
                if line.message == "again" {
                    log_line(&"logged by the hook");
                }
            });
            lines
        });
        Arc::clone(lines)
    }

    fn count(lines: &Mutex<Vec<String>>, message: &str) -> usize {
        lines.lock().unwrap().iter().filter(|line| *line == message).count()
    }

    #[test]
    fn lines_wait_for_the_end_of_the_last_deferral() {
        let lines = lines();
        let outer = Deferred::begin();
        let inner = Deferred::begin();
        for number in 0..=MAX_WAITING {
            log_line(&format_args!("waits {number}"));
        }
        drop(inner);
        assert_eq!(count(&lines, "waits 0"), 0);
        std::thread::spawn(|| log_line(&"of another thread")).join().unwrap();
        assert_eq!(count(&lines, "of another thread"), 1);
        drop(outer);
        assert_eq!(count(&lines, "waits 0"), 1);
        assert_eq!(count(&lines, &format!("waits {}", MAX_WAITING - 1)), 1);
        assert_eq!(count(&lines, &format!("waits {MAX_WAITING}")), 0);
    }

    #[test]
    fn a_hook_is_not_called_by_itself_and_may_panic() {
        let lines = lines();
        log_line(&"again");
        log_line(&"panic");
        log_line(&"after the panic");
        assert_eq!(count(&lines, "again"), 1);
        assert_eq!(count(&lines, "logged by the hook"), 0);
        assert_eq!(count(&lines, "after the panic"), 1);
    }

    #[test]
    fn a_thread_that_is_ending_logs() {
        struct AtTheEnd;
        impl Drop for AtTheEnd {
            fn drop(&mut self) {
                let deferred = Deferred::begin();
                log_line(&"at the end");
                drop(deferred);
            }
        }
        thread_local!(static LATE: AtTheEnd = const { AtTheEnd });
        let lines = lines();
        std::thread::spawn(|| LATE.with(|_| log_line(&"before the end"))).join().unwrap();
        assert_eq!((count(&lines, "before the end"), count(&lines, "at the end")), (1, 1));
    }
}

//! Tasks that run on a thread of their own, once in each interval.

use std::fmt;
use std::mem;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::background::Thread;
use crate::error::{Error, ErrorKind, Result};
use crate::logging::{log_info, log_line, note_standard_error};
use crate::panics::caught;

/// What happens at the end of a periodic task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The task runs once more.
    LastRun,
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "used by the command"))]
    AtOnce,
}

/// A push or a bridge that runs in the background, once in each interval, until it is stopped or dropped.
///
/// It runs for the first time when it is started. A run that takes longer than the interval delays the next one; runs that
/// are missed are not made up for. A run that fails is logged, and the next one is made at its time: the first failure is
/// logged, then each failure with another cause, then the first success. A run that panics counts as a failure.
///
/// [`stop`](Periodic::stop) and dropping wait until a last run has ended, so that the values at the end of the program
/// arrive: two runs at most, the one in progress and the last one. A push or a transfer to Graphite takes its timeout at most,
/// besides the time of gathering.
///
/// It belongs to the process that started it: in a forked child nothing runs, and dropping the child's copy does nothing.
/// All signals are blocked in its thread.
pub struct Periodic {
    stop: Option<Sender<End>>,
    thread: Option<Thread>,
}

impl fmt::Debug for Periodic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Periodic").finish_non_exhaustive()
    }
}

impl Periodic {
    /// Starts a task on a new thread with this name.
    pub(crate) fn start(
        name: &str,
        interval: Duration,
        mut task: impl FnMut() -> Result<()> + Send + 'static,
    ) -> Result<Periodic> {
        if interval.is_zero() {
            return Err(Error::new(ErrorKind::Usage, "the interval must be longer than 0 seconds"));
        }
        note_standard_error();
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            let mut failures = Failures::default();
            let start = Instant::now();
            loop {
                failures.add(run_once(&mut task));
                let end = match stopped.recv_timeout(until_next(start.elapsed(), interval)) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    Ok(end) => end,
                    Err(RecvTimeoutError::Disconnected) => End::LastRun,
                };
                if end == End::LastRun {
                    failures.add(run_once(&mut task));
                }
                return;
            }
        };
        let thread = Thread::spawn(name, run).map_err(|error| Error::new(ErrorKind::Io, error))?;
        Ok(Periodic { stop: Some(stop), thread: Some(thread) })
    }

    /// Runs once more, waits until that has ended, and ends the thread.
    pub fn stop(mut self) {
        self.end(End::LastRun);
    }

    /// Waits until a run in progress has ended, and ends the thread.
    #[cfg(feature = "cli")]
    pub(crate) fn cancel(mut self) {
        self.end(End::AtOnce);
    }

    fn end(&mut self, end: End) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !thread.is_here() {
            // The locks of the channel may be held by a thread that does not exist in a child.
            mem::forget(self.stop.take());
            return;
        }
        if let Some(stop) = self.stop.take() {
            // OK because sending fails only if the thread has ended.
            let _ = stop.send(end);
        }
        thread.join();
    }
}

impl Drop for Periodic {
    fn drop(&mut self) {
        self.end(End::LastRun);
    }
}

fn run_once(task: &mut impl FnMut() -> Result<()>) -> Result<()> {
    caught(task).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Push, "a collector or a transport has panicked"))
    })
}

/// The time until the next run: runs are at multiples of the interval after the start.
fn until_next(elapsed: Duration, interval: Duration) -> Duration {
    let behind = elapsed.as_nanos() % interval.as_nanos();
    // OK because the program does not run for the 584 years that fit.
    interval.saturating_sub(Duration::from_nanos(behind as u64))
}

/// Logs failures that differ from the one before, and the end of failures.
#[derive(Default)]
struct Failures {
    count: u64,
    last: String,
}

impl Failures {
    fn add(&mut self, result: Result<()>) {
        match result {
            Ok(()) if self.count == 0 => {}
            Ok(()) => {
                let (count, last) = (self.count, &self.last);
                log_info(&format_args!(
                    "succeeded after {count} failed attempts, the last one: {last}"
                ));
                *self = Failures::default();
            }
            Err(error) => {
                let text = format!("{error:#}");
                if text != self.last {
                    log_line(&text);
                    self.last = text;
                }
                self.count += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn runs_are_at_multiples_of_the_interval_and_missed_ones_are_left_out() {
        let next = |elapsed| until_next(Duration::from_secs(elapsed), Duration::from_secs(10));
        assert_eq!(next(0), Duration::from_secs(10));
        assert_eq!(next(3), Duration::from_secs(7));
        assert_eq!(next(25), Duration::from_secs(5));
        assert_eq!(until_next(Duration::from_secs(1), Duration::MAX).as_secs(), u64::MAX - 1);
    }

    #[test]
    fn the_first_run_is_at_the_start_and_the_last_one_at_the_end() {
        let runs = Arc::new(AtomicUsize::new(0));
        let start = || {
            let counted = Arc::clone(&runs);
            let (ran, has_run) = mpsc::channel();
            let task = move || {
                counted.fetch_add(1, Ordering::Relaxed);
                // OK because only the first run is waited for.
                let _ = ran.send(());
                Ok(())
            };
            let periodic = Periodic::start("test", Duration::from_secs(3600), task).unwrap();
            has_run.recv().unwrap();
            periodic
        };
        start().stop();
        assert_eq!(runs.load(Ordering::Relaxed), 2);
        drop(start());
        assert_eq!(runs.load(Ordering::Relaxed), 4);
        let error = Periodic::start("test", Duration::ZERO, || Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
    }

    #[test]
    fn a_task_that_panics_runs_again() {
        let (ran, has_run) = mpsc::channel();
        let task = move || {
            // OK because later runs are not waited for.
            let _ = ran.send(());
            panic!("this panic is part of the test")
        };
        let periodic = Periodic::start("test", Duration::from_millis(1), task).unwrap();
        for _ in 0..3 {
            has_run.recv().unwrap();
        }
        periodic.stop();
    }
}

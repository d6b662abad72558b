//! Guards that measure time, and futures that hold a guard.

use std::time::{Duration, Instant};

/// A value that a histogram or a summary can observe.
///
/// Implemented for `f64`, in the unit of the metric, and for [`Duration`], as seconds.
pub trait Observation {
    /// The value in the unit of the metric.
    fn value(self) -> f64;
}

impl Observation for f64 {
    #[inline]
    fn value(self) -> f64 {
        self
    }
}

impl Observation for Duration {
    #[inline]
    fn value(self) -> f64 {
        self.as_secs_f64()
    }
}

/// What a [`Timer`] records into: a [`Histogram`](super::Histogram), a [`Summary`](super::Summary), a
/// [`Gauge`](super::Gauge), or a function of the elapsed time.
///
/// ```
/// use std::time::Duration;
///
/// use multiprom::metrics::Observe;
/// use multiprom::{Static, Summary};
///
/// static WAITS: Static<Summary> = Summary::declare("wait_seconds", "Waits.");
///
/// fn wait(target: impl Observe) {
///     target.observe_elapsed(Duration::from_millis(500));
/// }
/// wait(*WAITS);
/// wait(|elapsed| WAITS.observe(elapsed));
/// assert_eq!(WAITS.get_sum(), 1.0);
/// ```
pub trait Observe {
    /// Records the elapsed time; a metric records it in seconds.
    fn observe_elapsed(self, elapsed: Duration);
}

impl<F: FnOnce(Duration)> Observe for F {
    fn observe_elapsed(self, elapsed: Duration) {
        self(elapsed);
    }
}

/// Records the time since its start when it is dropped, also by a panic.
///
/// ```
/// use std::time::Duration;
///
/// use multiprom::metrics::Timer;
/// use multiprom::{Static, Summary};
///
/// static QUERIES: Static<Summary> = Summary::declare("query_seconds", "Time of queries.");
///
/// let timer = QUERIES.start_timer();
/// let elapsed: Duration = timer.stop();
/// assert_eq!(QUERIES.get_sum(), elapsed.as_secs_f64());
///
/// // Into a function: here only slow queries are observed.
/// let timer = Timer::start(|elapsed: Duration| {
///     if elapsed > Duration::from_secs(1) {
///         QUERIES.observe(elapsed);
///     }
/// });
/// drop(timer);
/// assert_eq!(QUERIES.get_count(), 1);
/// ```
#[derive(Debug)]
#[must_use = "the timer stops when it is dropped"]
pub struct Timer<H: Observe> {
    target: Option<H>,
    start: Instant,
}

impl<H: Observe> Timer<H> {
    /// Starts a timer that records into `target`. A function that panics while the timer is dropped by another panic
    /// aborts the program.
    pub fn start(target: H) -> Timer<H> {
        Timer { target: Some(target), start: Instant::now() }
    }

    /// Stops the timer, records the elapsed time and returns it.
    pub fn stop(mut self) -> Duration {
        let elapsed = self.start.elapsed();
        if let Some(target) = self.target.take() {
            target.observe_elapsed(elapsed);
        }
        elapsed
    }

    /// Stops the timer without recording.
    pub fn discard(mut self) {
        self.target = None;
    }
}

impl<H: Observe> Drop for Timer<H> {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            target.observe_elapsed(self.start.elapsed());
        }
    }
}

/// Creates a guard when the future is first polled, and drops it when the future has completed or is dropped.
pub(super) async fn guarded<G, F: Future>(guard: impl FnOnce() -> G, future: F) -> F::Output {
    let _guard = guard();
    future.await
}

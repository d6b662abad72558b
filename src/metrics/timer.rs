//! Guards that measure time.

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

/// A metric that a [`Timer`] can record into: a [`Histogram`](super::Histogram), a [`Summary`](super::Summary) or a
/// [`Gauge`](super::Gauge).
pub trait Observe {
    /// Records a value; a timer records seconds.
    fn observe(&self, value: f64);
}

/// Observes the seconds since its start when it is dropped.
#[derive(Debug)]
#[must_use = "the timer stops when it is dropped"]
pub struct Timer<H: Observe> {
    target: Option<H>,
    start: Instant,
}

impl<H: Observe> Timer<H> {
    pub(super) fn start(target: H) -> Timer<H> {
        Timer { target: Some(target), start: Instant::now() }
    }

    /// Stops the timer, observes the elapsed time and returns it.
    pub fn stop(mut self) -> Duration {
        let elapsed = self.start.elapsed();
        if let Some(target) = self.target.take() {
            target.observe(elapsed.as_secs_f64());
        }
        elapsed
    }

    /// Stops the timer without observing.
    pub fn discard(mut self) {
        self.target = None;
    }
}

impl<H: Observe> Drop for Timer<H> {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            target.observe(self.start.elapsed().as_secs_f64());
        }
    }
}

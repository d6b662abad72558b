//! Guards that measure time.

use std::time::{Duration, Instant};

/// What can take an observation: handles of histograms, summaries and gauges.
pub trait Observe {
    /// Takes one value; a timer gives seconds.
    fn observe(&self, value: f64);
}

/// Observes the seconds since its start when it is dropped.
#[must_use = "the time ends when this is dropped"]
pub struct Timer<H: Observe> {
    target: Option<H>,
    start: Instant,
}

impl<H: Observe> Timer<H> {
    pub(super) fn start(target: H) -> Timer<H> {
        Timer { target: Some(target), start: Instant::now() }
    }

    /// Stops, observes and gives the time.
    pub fn stop(mut self) -> Duration {
        let elapsed = self.start.elapsed();
        if let Some(target) = self.target.take() {
            target.observe(elapsed.as_secs_f64());
        }
        elapsed
    }

    /// Stops without observing.
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

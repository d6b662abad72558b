//! Waits for a scrape that is served completely.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::panics::lock;

/// What an exporter has served completely: whole expositions of the telemetry path.
#[derive(Debug, Default)]
pub(super) struct Scrapes {
    served: Mutex<Served>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Served {
    /// The number of waits so far.
    waits: u64,
    /// The most waits that had begun when a request arrived whose response is completely written.
    last: u64,
}

impl Scrapes {
    /// A request for a whole exposition that arrives now. It is gathered later than now.
    pub(super) fn request(self: &Arc<Scrapes>) -> Scrape {
        Scrape { scrapes: Arc::clone(self), waits: lock(&self.served).waits }
    }

    /// The next scrape whose request arrives after this call.
    pub(super) fn next(self: &Arc<Scrapes>) -> NextScrape {
        let mut served = lock(&self.served);
        served.waits += 1;
        NextScrape { scrapes: Arc::clone(self), wait: served.waits }
    }
}

/// A request for a whole exposition.
#[derive(Debug)]
pub(super) struct Scrape {
    scrapes: Arc<Scrapes>,
    waits: u64,
}

impl Scrape {
    /// Records that the response is completely written.
    pub(super) fn end(self) {
        let mut served = lock(&self.scrapes.served);
        served.last = served.last.max(self.waits);
        drop(served);
        self.scrapes.changed.notify_all();
    }
}

/// The first complete scrape after a moment.
#[derive(Debug)]
pub(crate) struct NextScrape {
    scrapes: Arc<Scrapes>,
    wait: u64,
}

impl NextScrape {
    /// Whether it is completely written. Waits for it, for the given time at most.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let served = lock(&self.scrapes.served);
        let is_missing = |served: &mut Served| served.last < self.wait;
        let waited = self.scrapes.changed.wait_timeout_while(served, timeout, is_missing);
        waited.unwrap_or_else(PoisonError::into_inner).0.last >= self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scrape_that_is_requested_after_the_begin_of_the_wait_ends_it() {
        let scrapes = Arc::new(Scrapes::default());
        let early = scrapes.request();
        let next = scrapes.next();
        let late = scrapes.request();
        drop(scrapes.request());
        early.end();
        assert!(!next.wait(Duration::ZERO));
        late.end();
        assert!(next.wait(Duration::ZERO));
        assert!(!scrapes.next().wait(Duration::from_millis(1)));
    }
}

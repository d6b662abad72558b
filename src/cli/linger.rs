//! The wait for a last scrape after the end of a command.

use std::time::{Duration, Instant};

use super::log;
use super::run_endpoint::RunEndpoint;
use super::signals::{self, Signal, Signals};
use crate::http::{Exporter, NextScrape};

/// Interval at which the scrape is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Serves until a scrape that begins now is complete, a signal asks this process to end, or the limit has passed.
pub(super) fn wait_for_scrape(endpoint: &mut RunEndpoint, limit: Duration, signals: &Signals) {
    let end = Instant::now() + limit;
    log::info(&format_args!(
        "the command has ended: serving until the next scrape, {limit:?} at most"
    ));
    let mut next: Option<NextScrape> = None;
    loop {
        if next.is_none() {
            next = endpoint.exporter().map(Exporter::next_scrape);
        }
        if next.as_ref().is_some_and(|next| next.wait(Duration::ZERO)) {
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            log::warn(&format_args!("no scrape within {limit:?}: the last values may be missing"));
            return;
        }
        match signals.wait_for(left.min(POLL_INTERVAL)) {
            Some((signal, _)) if signal.is_end() => return,
            Some((Signal::CHLD, _)) => signals::reap_orphans(),
            _ => {}
        }
    }
}

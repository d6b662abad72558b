//! The status page: what an operator looks at in a browser.
//!
//! The server renders the whole page; a script refreshes its parts and searches. Nothing is loaded from other servers, and
//! the content security policy permits only the style sheet and the script of the page.
//!
//! The totals of families at the last 120 gatherings are kept for plots, which show at most ten minutes. Sources are gathered for
//! each page, and every fifteen seconds without one, or less often, so that this takes at most 1 % of the time. At most one
//! gathering for pages runs at a time. While it takes longer than a page waits, pages show what was gathered before.

mod families;
mod history;
mod page;
mod plot;
mod processes;
pub(super) mod source;
pub(super) mod text;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use self::families::Families;
use self::history::History;
use self::page::View;
use self::source::{Status, StatusSource};
use super::Source;
use super::filter::query_parameter;
use crate::panics::{caught, lock};

pub(super) const STYLE: &str = include_str!("status.css");
pub(super) const SCRIPT: &str = include_str!("status.js");
pub(super) const STYLE_PATH: &str = "/-/status.css";
pub(super) const SCRIPT_PATH: &str = "/-/status.js";

/// Permits the style sheet, the script, its requests and the search, all of this server.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page that is requested within this time after a gathering, or within the time that it took, shows the same values.
const MIN_AGE: Duration = Duration::from_secs(1);
/// The least pause between gatherings without a page, as between the scrapes of a usual Prometheus.
pub(super) const MIN_PAUSE: Duration = Duration::from_secs(15);
/// How much longer the pause between gatherings is than a gathering.
const PAUSE_FACTOR: u32 = 100;
/// Scrapes whose duration is kept.
const MAX_SCRAPES: usize = 200;

/// What the status page keeps.
pub(super) struct StatusPage {
    directories: Option<Box<dyn StatusSource>>,
    started: Instant,
    /// By the index of the source. Not locked while one is gathered.
    kept: Mutex<Vec<KeptSource>>,
    /// The directories as on the last page.
    status: Mutex<Arc<Status>>,
    /// The begin of the gathering that runs for pages.
    begun: Mutex<Option<Instant>>,
    /// When the last scrapes ended, and how long they took.
    scrapes: Mutex<VecDeque<(Instant, Duration)>>,
}

#[derive(Default)]
struct KeptSource {
    history: History,
    last: Option<Gathered>,
}

#[derive(Clone)]
struct Gathered {
    end: Instant,
    took: Duration,
    families: Arc<Families>,
}

/// A gathering that runs for pages. Its drop, also during unwinding, ends it.
struct RunningGathering<'a>(&'a Mutex<Option<Instant>>);

impl RunningGathering<'_> {
    fn begin(begun: &Mutex<Option<Instant>>) -> RunningGathering<'_> {
        *lock(begun) = Some(Instant::now());
        RunningGathering(begun)
    }
}

impl Drop for RunningGathering<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

impl StatusPage {
    pub(super) fn new(directories: Option<Box<dyn StatusSource>>) -> StatusPage {
        StatusPage {
            directories,
            started: Instant::now(),
            kept: Mutex::default(),
            status: Mutex::default(),
            begun: Mutex::default(),
            scrapes: Mutex::default(),
        }
    }

    /// When the gathering began that runs for pages, if one does.
    pub(super) fn begun(&self) -> Option<Instant> {
        *lock(&self.begun)
    }

    /// Notes a scrape that ends now.
    pub(super) fn note_scrape(&self, duration: Duration) {
        let mut scrapes = lock(&self.scrapes);
        scrapes.push_back((Instant::now(), duration));
        if scrapes.len() > MAX_SCRAPES {
            scrapes.pop_front();
        }
    }

    /// Gathers all sources for the plots. Returns when to do so again. Nothing else gathers for pages meanwhile.
    pub(super) fn sample(&self, sources: &[(String, Source)]) -> Duration {
        let begin = Instant::now();
        let running = RunningGathering::begin(&self.begun);
        // The first source has metrics about all of them, so it comes last.
        for index in (0..sources.len()).rev() {
            self.gather(sources, index);
        }
        drop(running);
        (begin.elapsed() * PAUSE_FACTOR).max(MIN_PAUSE)
    }

    /// The families of a source. They are gathered if the last ones are too old.
    fn gather(&self, sources: &[(String, Source)], index: usize) -> Gathered {
        let last = self.last(sources, index);
        if let Some(last) = last.filter(|last| last.end.elapsed() < last.took.max(MIN_AGE)) {
            return last;
        }
        let begin = Instant::now();
        let gathered = caught(|| Families::gather(sources[index].1.as_ref()));
        let families = gathered.unwrap_or_else(|_| Families {
            error: Some("gathering panicked".to_owned()),
            ..Families::default()
        });
        let end = Instant::now();
        let source = &mut lock(&self.kept)[index];
        if source.history.is_due(end) && families.error.is_none() {
            source.history.add(end, &families);
        }
        let families = Arc::new(families);
        source.last.insert(Gathered { end, took: end.duration_since(begin), families }).clone()
    }

    /// What was gathered last of a source.
    fn last(&self, sources: &[(String, Source)], index: usize) -> Option<Gathered> {
        let mut kept = lock(&self.kept);
        kept.resize_with(sources.len(), KeptSource::default);
        kept[index].last.clone()
    }

    /// The page. The query selects a source by its index, `at`, and families by a text, `q`. Nothing else gathers for pages
    /// meanwhile.
    pub(super) fn render(&self, sources: &[(String, Source)], query: Option<&str>) -> String {
        let running = RunningGathering::begin(&self.begun);
        let gathered = self.gather(sources, selected(sources, query));
        if let Some(directories) = &self.directories {
            let status = Arc::new(directories.status());
            *lock(&self.status) = status;
        }
        drop(running);
        self.page(sources, query, Some(&gathered), None)
    }

    /// The page with what was gathered before, while a gathering has run for this time.
    pub(super) fn render_late(
        &self,
        sources: &[(String, Source)],
        query: Option<&str>,
        running: Duration,
    ) -> String {
        let last = self.last(sources, selected(sources, query));
        let running = text::duration(running.as_secs_f64());
        let shown = last.as_ref().map_or("there are no values yet".to_owned(), |last| {
            let age = text::duration(last.end.elapsed().as_secs_f64());
            format!("the values were gathered {age} ago")
        });
        let late = format!("a gathering for this page has run for {running} and goes on: {shown}");
        self.page(sources, query, last.as_ref(), Some(&late))
    }

    fn page(
        &self,
        sources: &[(String, Source)],
        query: Option<&str>,
        gathered: Option<&Gathered>,
        late: Option<&str>,
    ) -> String {
        let selected = selected(sources, query);
        let search = query_parameter(query, "q").unwrap_or_default();
        let paths: Vec<&str> = sources.iter().map(|(path, _)| path.as_str()).collect();
        let now = Instant::now();
        let scrapes: Vec<(f64, f64)> = lock(&self.scrapes)
            .iter()
            .map(|(end, took)| (-now.duration_since(*end).as_secs_f64(), took.as_secs_f64()))
            .collect();
        let unix_time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (status, nothing) = (Arc::clone(&lock(&self.status)), Families::default());
        let kept = lock(&self.kept);
        page::render(&View {
            paths: &paths,
            selected,
            search: search.trim(),
            families: gathered.map_or(&nothing, |gathered| &gathered.families),
            history: &kept[selected].history,
            status: &status,
            late,
            scrapes: &scrapes,
            uptime: self.started.elapsed(),
            gathered: gathered.map_or(now, |gathered| gathered.end),
            unix_time: unix_time.unwrap_or_default().as_secs_f64(),
        })
    }
}

/// The index of the source that a query selects.
fn selected(sources: &[(String, Source)], query: Option<&str>) -> usize {
    let at = query_parameter(query, "at").and_then(|at| at.parse::<usize>().ok());
    at.filter(|at| *at < sources.len()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_values_of_a_long_gathering_are_shown_for_as_long_as_it_took() {
        let empty: Source = Box::new(crate::parse::Families(Vec::new()));
        let sources = [("/metrics".to_owned(), empty)];
        let page = StatusPage::new(None);
        let first = page.gather(&sources, 0);
        assert!(Arc::ptr_eq(&first.families, &page.gather(&sources, 0).families));
        let end = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        for (seconds, is_shown) in [(600, true), (30, false)] {
            let took = Duration::from_secs(seconds);
            let families = Arc::clone(&first.families);
            lock(&page.kept)[0].last = Some(Gathered { end, took, families });
            let shown = page.gather(&sources, 0).families;
            assert_eq!(Arc::ptr_eq(&first.families, &shown), is_shown, "{seconds}");
        }
    }

    #[test]
    fn a_gathering_ends_if_the_status_of_the_directories_panics() {
        struct Panicking;

        impl StatusSource for Panicking {
            fn status(&self) -> Status {
                panic!("no status");
            }
        }

        let empty: Source = Box::new(crate::parse::Families(Vec::new()));
        let sources = [("/metrics".to_owned(), empty)];
        let page = StatusPage::new(Some(Box::new(Panicking)));
        assert!(caught(|| page.render(&sources, None)).is_err());
        assert_eq!(page.begun(), None);
    }
}

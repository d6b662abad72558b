//! Logs what the scrapes of a collector skip, and when that ends.
//!
//! Nothing is logged for a scrape that finds what the one before has found. Problems that appear together are one line for
//! each reason, with their number and the first names. For each reason, the changes of 10 scrapes in succession are logged, then
//! those of one scrape per minute. The next line reports how many scrapes had changes that were not logged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::log;
use super::log_args::Level;
use super::log_record::Field;
use crate::multiproc::{CONFLICT, MAX_PROBLEMS, ScrapeProblem, ScrapeStats};
use crate::panics::lock;

/// The maximum number of problems with one reason that are logged one by one.
const MAX_SINGLE: usize = 3;
/// The changes of one reason are logged for this number of scrapes in succession.
const BURST: u32 = 10;
/// The interval at which the changes of one further scrape are logged.
const INTERVAL: Duration = Duration::from_secs(60);

/// The maximum number of stored problems with one reason. Those beyond it that a scrape does not list are forgotten, and logged again
/// if they return.
const MAX_STORED: usize = 2 * MAX_PROBLEMS;

/// The reason of a directory that cannot be read.
const DIRECTORY: &str = "directory";

/// The log of one collector.
#[derive(Default)]
pub(super) struct ScrapeLog(Mutex<BTreeMap<&'static str, ReportedReason>>);

/// What was logged about a reason.
struct ReportedReason {
    /// The problems that were logged and have not ended, with the number of scrapes that have found them.
    problems: HashMap<OsString, u64>,
    /// The number of scrapes whose changes may be logged now.
    scrapes_left: u32,
    /// When that number was last increased.
    since: Instant,
    /// How many scrapes have found changes that are not logged yet.
    held_back: u64,
}

impl ReportedReason {
    fn new(now: Instant) -> ReportedReason {
        ReportedReason { problems: HashMap::new(), scrapes_left: BURST, since: now, held_back: 0 }
    }

    /// Whether the changes of a scrape may be logged now. If so, the scrape is counted.
    fn take_scrape(&mut self, now: Instant) -> bool {
        let intervals = now.duration_since(self.since).as_secs() / INTERVAL.as_secs();
        if intervals > 0 {
            let gained = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.scrapes_left = self.scrapes_left.saturating_add(gained).min(BURST);
            self.since = now;
        }
        self.scrapes_left.checked_sub(1).map(|left| self.scrapes_left = left).is_some()
    }
}

/// A line to log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    level: Level,
    message: String,
    reason: &'static str,
    count: u64,
    path: Option<PathBuf>,
}

/// What identifies a problem with a reason from one scrape to the next: the message may contain numbers that change.
fn identity(problem: &ScrapeProblem) -> &OsStr {
    problem.path.as_ref().map_or(OsStr::new(&problem.message), |path| path.as_os_str())
}

impl ScrapeLog {
    /// Logs the differences to the scrapes before.
    pub(super) fn add(&self, stats: &ScrapeStats) {
        // OK because lines are written without waiting for a reader, and scrapes take turns anyway.
        let mut reported = lock(&self.0);
        for Line { level, message, reason, count, path } in
            lines(&mut reported, stats, Instant::now())
        {
            let path = path.map(|path| path.display().to_string());
            let mut fields = vec![("reason", Field::Text(reason)), ("count", Field::Number(count))];
            fields.extend(path.as_ref().map(|path| ("path", Field::Text(path))));
            log::log(level, &message, &fields);
        }
    }
}

fn lines(
    reported: &mut BTreeMap<&'static str, ReportedReason>,
    stats: &ScrapeStats,
    now: Instant,
) -> Vec<Line> {
    let mut lines = Vec::new();
    if stats.problems.is_empty() && reported.values().all(|it| it.problems.is_empty()) {
        return lines;
    }
    let mut current: BTreeMap<&'static str, Vec<&ScrapeProblem>> = BTreeMap::new();
    for problem in &stats.problems {
        current.entry(problem.reason).or_default().push(problem);
        reported.entry(problem.reason).or_insert_with(|| ReportedReason::new(now));
    }
    let all: HashSet<&OsStr> = stats.problems.iter().map(identity).collect();
    let unread: Vec<&Path> =
        current.get(DIRECTORY).into_iter().flatten().filter_map(|it| it.path.as_deref()).collect();
    // Of too many problems some are not in the list, and those in directories that cannot be read are unknown.
    let is_list_complete = stats.problem_count == stats.problems.len() as u64;
    let has_ended = |id: &OsStr| {
        is_list_complete
            && !all.contains(id)
            && !unread.iter().any(|dir| Path::new(id).starts_with(dir))
    };
    for (reason, reported) in reported.iter_mut() {
        let problems = current.get(reason).map_or(&[][..], |problems| problems);
        for problem in problems {
            if let Some(scrapes) = reported.problems.get_mut(identity(problem)) {
                *scrapes += 1;
            }
        }
        let is_new = |it: &&ScrapeProblem| !reported.problems.contains_key(identity(it));
        let new: Vec<&ScrapeProblem> = problems.iter().copied().filter(is_new).collect();
        let mut ended: Vec<(OsString, u64)> = reported
            .problems
            .iter()
            .filter(|(id, _)| has_ended(id))
            .map(|(id, scrapes)| (id.clone(), *scrapes))
            .collect();
        ended.sort();
        if new.is_empty() && ended.is_empty() {
            continue;
        }
        if !reported.take_scrape(now) {
            reported.held_back += 1;
            continue;
        }
        let held_back = std::mem::take(&mut reported.held_back);
        let before = lines.len();
        lines.extend(of_new(reason, &new, stats, is_list_complete));
        lines.extend(of_ended(reason, &ended));
        if held_back > 0
            && let Some(line) = lines.get_mut(before)
        {
            // OK because writing to a string does not fail.
            let _ =
                write!(line.message, " (changes in {held_back} scrapes before were not logged)");
        }
        for (id, _) in &ended {
            reported.problems.remove(id);
        }
        reported.problems.extend(new.iter().map(|it| (identity(it).to_owned(), 1)));
        if reported.problems.len() > MAX_STORED {
            reported.problems.retain(|id, _| all.contains(id.as_os_str()));
        }
    }
    lines
}

/// The lines about problems that the scrape before did not find.
fn of_new(
    reason: &'static str,
    new: &[&ScrapeProblem],
    stats: &ScrapeStats,
    is_list_complete: bool,
) -> Vec<Line> {
    let level = if reason == DIRECTORY { Level::Error } else { Level::Warn };
    if new.len() <= MAX_SINGLE {
        return new.iter().map(|problem| line_of(problem, level)).collect();
    }
    let count = new.len() as u64;
    let first = &new[0].message;
    let names: Vec<String> =
        new.iter().skip(1).take(MAX_SINGLE - 1).map(|it| shown(identity(it))).collect();
    let mut message = format!(
        "{count} problems with the reason `{reason}`: {first}; also {} and {} more",
        names.join(", "),
        count - MAX_SINGLE as u64
    );
    if !is_list_complete {
        // OK because writing to a string does not fail.
        let _ = write!(message, "; this scrape has {} problems in all", stats.problem_count);
    }
    let line = Line { level, message, reason, count, path: None };
    let further = new.iter().skip(1).map(|problem| line_of(problem, Level::Debug));
    std::iter::once(line).chain(further).collect()
}

/// The line about one problem.
fn line_of(problem: &ScrapeProblem, level: Level) -> Line {
    let ScrapeProblem { reason, path, message } = problem.clone();
    Line { level, message, reason, count: 1, path }
}

/// The line about problems that the scrape does not find any more.
fn of_ended(reason: &'static str, ended: &[(OsString, u64)]) -> Option<Line> {
    let (first, scrapes) = ended.first()?;
    let (level, count) = (Level::Info, ended.len() as u64);
    if let [_] = ended {
        let (name, path) = (shown(first), PathBuf::from(first));
        let after =
            if *scrapes == 1 { "1 scrape".to_owned() } else { format!("{scrapes} scrapes") };
        let message = if reason == CONFLICT {
            format!("conflict has ended after {after}: {}", first.display())
        } else if reason == DIRECTORY {
            format!("directory {name} is read again after {after}")
        } else if matches!(path.try_exists(), Ok(false)) {
            format!("{name} is removed; it had a problem with the reason `{reason}` in {after}")
        } else {
            format!("{name} has no problem with the reason `{reason}` any more, after {after}")
        };
        let path = (reason != CONFLICT).then_some(path);
        return Some(Line { level, message, reason, count, path });
    }
    let names: Vec<String> = ended.iter().take(MAX_SINGLE).map(|(id, _)| shown(id)).collect();
    let more = match ended.len().saturating_sub(MAX_SINGLE) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = names.join(", ");
    let message = format!("{count} problems with the reason `{reason}` have ended: {names}{more}");
    Some(Line { level, message, reason, count, path: None })
}

fn shown(id: &OsStr) -> String {
    format!("`{}`", id.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(reason: &'static str, path: &str) -> ScrapeProblem {
        let message = format!("series file `{path}`: skipped");
        ScrapeProblem { reason, path: Some(path.into()), message }
    }

    fn scrape(problems: Vec<ScrapeProblem>) -> ScrapeStats {
        let problem_count = problems.len() as u64;
        ScrapeStats { problems, problem_count, ..ScrapeStats::default() }
    }

    #[derive(Default)]
    struct Log(BTreeMap<&'static str, ReportedReason>);

    impl Log {
        /// The lines of level info or higher after a scrape.
        fn add(&mut self, problems: Vec<ScrapeProblem>, now: Instant) -> Vec<String> {
            let lines = lines(&mut self.0, &scrape(problems), now).into_iter();
            let shown = lines.filter(|line| line.level > Level::Debug);
            shown.map(|line| line.message).collect()
        }
    }

    #[test]
    fn a_problem_is_logged_when_it_appears_and_when_it_ends() {
        let (mut log, now) = (Log::default(), Instant::now());
        assert_eq!(log.add(vec![], now), [""; 0]);
        assert_eq!(log.add(vec![problem("header", "/d/a")], now), ["series file `/d/a`: skipped"]);
        for _ in 0..100 {
            assert_eq!(log.add(vec![problem("header", "/d/a")], now), [""; 0]);
        }
        let ended = log.add(vec![], now);
        assert_eq!(
            ended,
            ["`/d/a` is removed; it had a problem with the reason `header` in 101 scrapes"]
        );
        assert_eq!(log.add(vec![], now), [""; 0]);
    }

    #[test]
    fn many_problems_are_one_line_with_their_number_and_the_first_names() {
        let (mut log, now) = (Log::default(), Instant::now());
        let all: Vec<_> = (0..600).map(|at| problem("header", &format!("/d/{at:03}"))).collect();
        let logged = log.add(all.clone(), now);
        assert_eq!(
            logged,
            [
                "600 problems with the reason `header`: series file `/d/000`: skipped; also `/d/001`, `/d/002` and 597 more"
            ]
        );
        assert_eq!(log.add(all.clone(), now), [""; 0]);
        assert_eq!(
            log.add(all[..1].to_vec(), now),
            [
                "599 problems with the reason `header` have ended: `/d/001`, `/d/002`, `/d/003` and 596 more"
            ]
        );
        // The level debug has all of them. The first one is in the line above.
        let logged = lines(&mut BTreeMap::new(), &scrape(all), now);
        assert_eq!(logged.iter().filter(|line| line.level == Level::Debug).count(), 599);
    }

    #[test]
    fn problems_in_a_directory_that_cannot_be_read_have_not_ended() {
        let (mut log, now) = (Log::default(), Instant::now());
        let (file, dir) = (problem("header", "/d/a"), problem(DIRECTORY, "/d"));
        assert_eq!(log.add(vec![file.clone()], now).len(), 1);
        assert_eq!(log.add(vec![dir], now), ["series file `/d`: skipped"]);
        assert_eq!(log.add(vec![file], now), ["directory `/d` is read again after 1 scrape"]);
    }

    #[test]
    fn lines_about_one_reason_are_limited_and_the_next_one_counts_the_changes() {
        let (mut log, mut now) = (Log::default(), Instant::now());
        let mut count = 0;
        for at in 0..100 {
            count += log.add(vec![problem("header", &format!("/d/{at}"))], now).len();
        }
        assert_eq!(count, 2 * BURST as usize - 1);
        // Other reasons have lines of their own.
        let both = vec![problem("header", "/d/99"), problem("empty", "/d/b")];
        assert_eq!(log.add(both.clone(), now), ["series file `/d/b`: skipped"]);
        now += INTERVAL;
        let logged = log.add(both, now);
        assert_eq!(logged.len(), 2);
        let end = "`/d/99`: skipped (changes in 91 scrapes before were not logged)";
        assert!(logged[0].ends_with(end), "{logged:?}");
    }

    #[test]
    fn the_number_of_stored_problems_is_bounded_while_files_keep_changing() {
        let (mut log, mut now) = (Log::default(), Instant::now());
        for round in 0..20 {
            now += INTERVAL;
            let problems =
                (0..MAX_PROBLEMS).map(|at| problem("header", &format!("/d/{round}/{at}")));
            let mut many = scrape(problems.collect());
            many.problem_count += 1;
            assert_eq!(lines(&mut log.0, &many, now).len(), MAX_PROBLEMS);
        }
        assert!(log.0["header"].problems.len() <= 2 * MAX_PROBLEMS);
        // Those of the last scrape are known.
        let last = problem("header", "/d/19/7");
        assert!(log.0["header"].problems.contains_key(identity(&last)));
    }

    #[test]
    fn a_problem_beyond_the_list_has_not_ended() {
        let (mut log, now) = (Log::default(), Instant::now());
        assert_eq!(log.add(vec![problem("header", "/d/a")], now).len(), 1);
        let mut many = scrape(vec![problem("empty", "/d/b")]);
        many.problem_count = 2;
        let logged = lines(&mut log.0, &many, now);
        assert_eq!(logged.len(), 1);
        assert_eq!(logged[0].reason, "empty");
    }
}

//! A log of problems that writes each of them once.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::logging::log_line;

/// How many different problems are remembered. Messages name a file, so a directory in which files keep
/// changing produces new ones without end. At about 200 bytes each this is 200 KiB.
const MAX_PROBLEMS: usize = 1_000;

/// How long a problem is remembered after it occurred last.
const MEMORY: Duration = Duration::from_secs(3600);

/// How long to wait, at least, between two searches of a full log for problems that can be forgotten.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);

/// Remembers which problems were logged.
///
/// A problem is logged when it occurs for the first time, and again if it comes back after an hour. Of too many
/// different problems the later ones are not logged, which is logged once.
#[derive(Default)]
pub(crate) struct ProblemLog {
    /// When each problem occurred last.
    problems: HashMap<String, Instant>,
    searched: Option<Instant>,
    is_cut_off: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Logged,
    /// It was logged before.
    Repeated,
    /// It is the first that finds the log full.
    CutOff,
    Dropped,
}

impl ProblemLog {
    /// Logs a problem unless it is known.
    pub(crate) fn log(&mut self, problem: &dyn fmt::Display) {
        let message = format!("{problem:#}");
        match self.judge(&message, Instant::now()) {
            Verdict::Logged => log_line(&message),
            Verdict::CutOff => log_line(&format_args!(
                "more than {MAX_PROBLEMS} different problems: further ones are not logged, but counted"
            )),
            Verdict::Repeated | Verdict::Dropped => {}
        }
    }

    fn judge(&mut self, message: &str, now: Instant) -> Verdict {
        if let Some(last) = self.problems.get_mut(message) {
            let is_forgotten = now.duration_since(*last) > MEMORY;
            *last = now;
            return if is_forgotten { Verdict::Logged } else { Verdict::Repeated };
        }
        if self.problems.len() >= MAX_PROBLEMS {
            self.forget(now);
        }
        if self.problems.len() < MAX_PROBLEMS {
            self.is_cut_off = false;
            self.problems.insert(message.to_owned(), now);
            return Verdict::Logged;
        }
        if std::mem::replace(&mut self.is_cut_off, true) {
            Verdict::Dropped
        } else {
            Verdict::CutOff
        }
    }

    /// Forgets what has not occurred for long.
    fn forget(&mut self, now: Instant) {
        if self.searched.is_some_and(|last| now.duration_since(last) < SEARCH_INTERVAL) {
            return;
        }
        self.searched = Some(now);
        self.problems.retain(|_, last| now.duration_since(*last) <= MEMORY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_logged_once_until_it_has_been_away_for_an_hour() {
        let (mut log, start) = (ProblemLog::default(), Instant::now());
        assert_eq!(log.judge("a", start), Verdict::Logged);
        for second in 1..8000 {
            let now = start + Duration::from_secs(second);
            assert_eq!(log.judge("a", now), Verdict::Repeated);
        }
        assert_eq!(log.judge("b", start), Verdict::Logged);
        let later = start + Duration::from_secs(8000) + MEMORY;
        assert_eq!(log.judge("a", later), Verdict::Logged);
        assert_eq!(log.judge("a", later), Verdict::Repeated);
    }

    #[test]
    fn problems_without_end_take_bounded_memory_and_are_cut_off_once() {
        let (mut log, mut now) = (ProblemLog::default(), Instant::now());
        let mut verdicts = Vec::new();
        for number in 0..3 * MAX_PROBLEMS {
            verdicts.push(log.judge(&number.to_string(), now));
        }
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        assert_eq!((count(Verdict::Logged), count(Verdict::CutOff)), (MAX_PROBLEMS, 1));
        assert_eq!(log.problems.len(), MAX_PROBLEMS);
        // Those that are still there stay known; the others make room.
        now += MEMORY;
        assert_eq!(log.judge("7", now), Verdict::Repeated);
        now += SEARCH_INTERVAL;
        assert_eq!(log.judge("new", now), Verdict::Logged);
        assert_eq!(log.judge("7", now), Verdict::Repeated);
        assert_eq!(log.problems.len(), 2);
    }
}

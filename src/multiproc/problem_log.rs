//! A log that writes each problem once.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::logging::log_line;

/// The limit of stored problems. Messages name a file, so a directory in which files keep changing produces new ones
/// without end. At about 200 bytes each this is 200 KiB.
const MAX_PROBLEMS: usize = 1_000;

/// How long a problem is stored after it occurred last.
const RETENTION: Duration = Duration::from_secs(3600);

/// The minimum time between two searches of a full log for problems to remove.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);

/// Stores which problems were logged.
///
/// A problem is logged when it occurs for the first time, and again if it returns after an hour. Beyond the limit new
/// problems are not logged, which is logged once.
#[derive(Default)]
pub(super) struct ProblemLog {
    /// When each problem occurred last.
    problems: HashMap<String, Instant>,
    searched: Option<Instant>,
    is_limit_logged: bool,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogAction {
    Log,
    /// The message was logged before.
    IgnoreRepeated,
    /// The message is the first one beyond the limit.
    LogLimit,
    IgnoreBeyondLimit,
}

impl ProblemLog {
    /// Logs a problem unless it was logged before.
    pub(super) fn log(&mut self, problem: &dyn fmt::Display) {
        let message = format!("{problem:#}");
        match self.action(&message, Instant::now()) {
            LogAction::Log => log_line(&message),
            LogAction::LogLimit => log_line(&format_args!(
                "more than {MAX_PROBLEMS} different problems: further ones are not logged, but counted"
            )),
            LogAction::IgnoreRepeated | LogAction::IgnoreBeyondLimit => {}
        }
    }

    fn action(&mut self, message: &str, now: Instant) -> LogAction {
        if let Some(last) = self.problems.get_mut(message) {
            let is_expired = now.duration_since(*last) > RETENTION;
            *last = now;
            return if is_expired { LogAction::Log } else { LogAction::IgnoreRepeated };
        }
        if self.problems.len() >= MAX_PROBLEMS {
            self.remove_expired(now);
        }
        if self.problems.len() < MAX_PROBLEMS {
            self.is_limit_logged = false;
            self.problems.insert(message.to_owned(), now);
            return LogAction::Log;
        }
        if std::mem::replace(&mut self.is_limit_logged, true) {
            LogAction::IgnoreBeyondLimit
        } else {
            LogAction::LogLimit
        }
    }

    /// Removes problems that have not occurred for an hour.
    fn remove_expired(&mut self, now: Instant) {
        if self.searched.is_some_and(|last| now.duration_since(last) < SEARCH_INTERVAL) {
            return;
        }
        self.searched = Some(now);
        self.problems.retain(|_, last| now.duration_since(*last) <= RETENTION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_logged_again_only_after_an_hour_without_it() {
        let (mut log, start) = (ProblemLog::default(), Instant::now());
        assert_eq!(log.action("a", start), LogAction::Log);
        for second in 1..8000 {
            let now = start + Duration::from_secs(second);
            assert_eq!(log.action("a", now), LogAction::IgnoreRepeated);
        }
        assert_eq!(log.action("b", start), LogAction::Log);
        let later = start + Duration::from_secs(8000) + RETENTION;
        assert_eq!(log.action("a", later), LogAction::Log);
        assert_eq!(log.action("a", later), LogAction::IgnoreRepeated);
    }

    #[test]
    fn the_number_of_stored_problems_is_bounded_and_the_limit_is_logged_once() {
        let (mut log, mut now) = (ProblemLog::default(), Instant::now());
        let mut actions = Vec::new();
        for number in 0..3 * MAX_PROBLEMS {
            actions.push(log.action(&number.to_string(), now));
        }
        let count = |wanted| actions.iter().filter(|action| **action == wanted).count();
        assert_eq!((count(LogAction::Log), count(LogAction::LogLimit)), (MAX_PROBLEMS, 1));
        assert_eq!(log.problems.len(), MAX_PROBLEMS);
        // A problem that still occurs stays stored; the others are removed.
        now += RETENTION;
        assert_eq!(log.action("7", now), LogAction::IgnoreRepeated);
        now += SEARCH_INTERVAL;
        assert_eq!(log.action("new", now), LogAction::Log);
        assert_eq!(log.action("7", now), LogAction::IgnoreRepeated);
        assert_eq!(log.problems.len(), 2);
    }
}

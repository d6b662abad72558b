//! What a scrape of a collector has found, for logs and for pages about the exporter.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;

/// The maximum number of problems that are kept with their text. Further ones are only counted.
pub(crate) const MAX_PROBLEMS: usize = 1_000;

/// What one scrape has found. A scrape that several clients share is one scrape.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
pub(crate) struct ScrapeStats {
    /// How long reading the directories and merging their values took.
    pub(crate) read_time: Duration,
    /// How long writing the merged families took, which includes encoding and waiting for clients.
    pub(crate) write_time: Duration,
    /// The number of merged series that were written; multiprom's own metrics are not among them.
    pub(crate) series: u64,
    /// What was skipped, in the order of directories and file names, and the conflicts: [`MAX_PROBLEMS`] at most.
    pub(crate) problems: Vec<ScrapeProblem>,
    /// The number of all problems.
    pub(crate) problem_count: u64,
}

/// Something that the scrape has skipped, or a family on which processes disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
pub(crate) struct ScrapeProblem {
    /// The value of the label `reason` of `multiprom_file_errors_total`, or `conflict`.
    pub(crate) reason: &'static str,
    /// The file or directory.
    pub(crate) path: Option<PathBuf>,
    /// The whole message, with its causes.
    pub(crate) message: String,
}

/// The reason of a conflict between processes, which is about no file.
pub(crate) const CONFLICT: &str = "conflict";

impl ScrapeStats {
    pub(super) fn add_problem(&mut self, reason: &'static str, error: &Error) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            let path = error.path().map(PathBuf::from);
            self.problems.push(ScrapeProblem { reason, path, message: format!("{error:#}") });
        }
    }
}

//! The processes of writers, between scrapes.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::search::{Absent, Process, Writer, find_among_all, find_by_name};
use crate::multiproc::fast_map::FastMap;
use crate::multiproc::merge::source::Source;
use crate::process::procfs::{Limits, Stat, open_fds};

/// The least time between two searches of all processes.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);
/// The most time between two searches for writers that were not found.
const MAX_SEARCH_INTERVAL: Duration = Duration::from_secs(300);

/// What a collector keeps about the processes of writers.
#[derive(Default)]
pub(crate) struct WorkerTable {
    processes: FastMap<WriterKey, Process>,
    /// The writers without a process.
    missing: FastMap<WriterKey, Missing>,
    search: SearchSchedule,
    /// The CPU time, in clock ticks, of each process that was found and may still exist.
    cpu: FastMap<Process, u64>,
    /// The CPU time of all processes that have ended, as far as scrapes have seen it.
    ended_cpu: u64,
    is_reported: bool,
}

/// The directory and the id of a writer.
type WriterKey = (u32, Box<str>);

type FastSet<T> = HashSet<T, foldhash::fast::RandomState>;

/// A writer without a process.
#[derive(Debug)]
struct Missing {
    cause: Absent,
    /// Whether it was sought among all processes.
    is_searched: bool,
}

/// A writer of files of a scrape.
struct FileWriter<'a> {
    key: WriterKey,
    /// The index of its first file.
    first_file: usize,
    writer: Writer<'a>,
}

#[derive(Default)]
struct SearchSchedule {
    last: Option<Instant>,
    interval: Duration,
}

/// The workers of a scrape.
#[derive(Debug, Default)]
pub(super) struct Workers {
    /// The values of each process that was found, with the index of the source that names it.
    pub(super) found: Vec<(usize, WorkerValues)>,
    pub(super) unreadable: u64,
    pub(super) not_found: u64,
    /// The CPU time of all processes, in clock ticks, those that have ended included.
    pub(super) cpu: u64,
    /// A line to log.
    pub(super) report: Option<String>,
}

/// The values of a process. One is `None` if its file in procfs cannot be read.
#[derive(Debug)]
pub(super) struct WorkerValues {
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(super) pid: u32,
    pub(super) stat: Stat,
    pub(super) limits: Limits,
    pub(super) open_fds: Option<f64>,
}

impl WorkerTable {
    /// Finds the processes of the writers of some files, and reads their values.
    pub(super) fn read(&mut self, procfs: &Path, files: &[Source]) -> Workers {
        let writers = group(files);
        let keys: FastSet<&WriterKey> = writers.iter().map(|it| &it.key).collect();
        self.processes.retain(|key, _| keys.contains(key));
        self.missing.retain(|key, _| keys.contains(key));
        self.find(procfs, &writers);

        let mut workers = Workers::default();
        let mut seen: FastSet<Process> = FastSet::default();
        for FileWriter { key, first_file, .. } in &writers {
            let Some(process) = self.processes.get(key) else {
                match self.missing.get(key).map(|missing| &missing.cause) {
                    Some(Absent::Ended) => {}
                    Some(Absent::Unreadable(..)) => workers.unreadable += 1,
                    Some(Absent::NotFound) | None => workers.not_found += 1,
                }
                continue;
            };
            // A process may be the writer in several directories.
            if seen.insert(*process)
                && let Some(values) = WorkerValues::read(procfs, *process)
            {
                let cpu = self.cpu.entry(*process).or_default();
                *cpu = values.stat.cpu.max(*cpu);
                workers.found.push((*first_file, values));
            }
        }
        self.add_ended_cpu(procfs, &seen);
        workers.cpu = self.ended_cpu + self.cpu.values().sum::<u64>();
        workers.report = self.report();
        workers
    }

    /// Updates the processes of the writers, and those that are missing.
    fn find(&mut self, procfs: &Path, writers: &[FileWriter<'_>]) {
        for FileWriter { key, writer, .. } in writers {
            if self.processes.get(key).is_some_and(|process| process.exists(procfs)) {
                continue;
            }
            if self.processes.remove(key).is_some() {
                let missing = Missing { cause: Absent::Ended, is_searched: writer.is_unique };
                self.missing.insert(key.clone(), missing);
            }
            // The others wait for the next search. A process that has chosen its name may be followed by another one of
            // that name.
            let is_tried = match self.missing.get(key) {
                None => true,
                Some(missing) => missing.cause == Absent::Ended && !writer.is_unique,
            };
            if !is_tried {
                continue;
            }
            match find_by_name(procfs, writer) {
                Ok(process) => {
                    self.missing.remove(key);
                    self.processes.insert(key.clone(), process);
                }
                Err(cause) => {
                    let missing = || Missing { cause, is_searched: false };
                    self.missing.entry(key.clone()).or_insert_with(missing);
                }
            }
        }
        let has_new = self.missing.values().any(|missing| !missing.is_searched);
        if !self.missing.is_empty() && self.search.is_due(Instant::now(), has_new) {
            self.search_all(procfs, writers);
        }
    }

    fn search_all(&mut self, procfs: &Path, writers: &[FileWriter<'_>]) {
        let is_sought = |it: &&FileWriter<'_>| {
            self.missing
                .get(&it.key)
                .is_some_and(|missing| missing.cause != Absent::Ended || !it.writer.is_unique)
        };
        let sought: Vec<&FileWriter<'_>> = writers.iter().filter(is_sought).collect();
        if sought.is_empty() {
            return;
        }
        let sought_writers: Vec<&Writer<'_>> = sought.iter().map(|it| &it.writer).collect();
        let results = find_among_all(procfs, &sought_writers);
        self.search.note(Instant::now(), results.iter().any(Result::is_ok));
        for (FileWriter { key, .. }, result) in sought.into_iter().zip(results) {
            match (result, self.missing.get_mut(key)) {
                (Ok(process), _) => {
                    self.missing.remove(key);
                    self.processes.insert(key.clone(), process);
                }
                (Err(cause), Some(missing)) => {
                    missing.is_searched = true;
                    if missing.cause != Absent::Ended {
                        missing.cause = cause;
                    }
                }
                (Err(_), None) => {}
            }
        }
    }

    /// Adds up the CPU time of processes that do not exist any more. A zombie keeps its last value until its parent reaps it.
    fn add_ended_cpu(&mut self, procfs: &Path, seen: &FastSet<Process>) {
        let ended_cpu = &mut self.ended_cpu;
        self.cpu.retain(|process, cpu| {
            if seen.contains(process) {
                return true;
            }
            let stat = process.stat(procfs);
            match &stat {
                Some(stat) if stat.is_zombie => *cpu = stat.cpu.max(*cpu),
                Some(_) => {}
                None => *ended_cpu += *cpu,
            }
            stat.is_some()
        });
    }

    /// The line about a process that cannot be examined, once.
    fn report(&mut self) -> Option<String> {
        if self.is_reported {
            return None;
        }
        let ((_, id), process, error) =
            self.missing.iter().find_map(|(key, missing)| match &missing.cause {
                Absent::Unreadable(process, error) => Some((key, process, error)),
                Absent::NotFound | Absent::Ended => None,
            })?;
        self.is_reported = true;
        Some(format!(
            "worker `{id}`: metrics of its process are missing, because `{}` cannot be read: {error}: this needs the \
             user of the worker or CAP_SYS_PTRACE",
            process.display()
        ))
    }
}

/// Groups files by their writers.
fn group(files: &[Source]) -> Vec<FileWriter<'_>> {
    let mut writers: Vec<FileWriter<'_>> = Vec::new();
    let mut by_key: FastMap<(u32, &str), usize> = FastMap::default();
    for (first_file, file) in files.iter().enumerate() {
        let at = *by_key.entry((file.dir, &file.id)).or_insert_with(|| {
            let (name, is_unique) = (file.process(), file.process().len() < file.id.len());
            let writer = Writer { name, is_unique, files: Vec::new() };
            writers.push(FileWriter { key: (file.dir, file.id.clone()), first_file, writer });
            writers.len() - 1
        });
        writers[at].writer.files.extend(file.identity);
    }
    writers
}

impl SearchSchedule {
    fn is_due(&self, now: Instant, has_new: bool) -> bool {
        let interval = if has_new { SEARCH_INTERVAL } else { self.interval };
        self.last.is_none_or(|last| now.duration_since(last) >= interval)
    }

    /// Notes the result of a search.
    fn note(&mut self, now: Instant, has_found: bool) {
        self.last = Some(now);
        let next = if has_found { Duration::ZERO } else { self.interval * 2 };
        self.interval = next.clamp(SEARCH_INTERVAL, MAX_SEARCH_INTERVAL);
    }
}

impl Process {
    /// Its `stat`; `None` if it does not exist any more.
    fn stat(self, procfs: &Path) -> Option<Stat> {
        let stat = Stat::read(&procfs.join(self.pid.to_string()))?;
        (stat.start == self.start).then_some(stat)
    }

    /// Whether it exists and has not ended.
    fn exists(self, procfs: &Path) -> bool {
        self.stat(procfs).is_some_and(|stat| !stat.is_zombie)
    }
}

impl WorkerValues {
    /// The values of a process; `None` if it has ended.
    fn read(procfs: &Path, process: Process) -> Option<WorkerValues> {
        let path = procfs.join(process.pid.to_string());
        let limits = Limits::read(&path);
        let open_fds = open_fds(procfs, &path, process.pid);
        // Last, as another process may have got the pid meanwhile.
        let stat = process.stat(procfs).filter(|stat| !stat.is_zombie)?;
        Some(WorkerValues { pid: process.pid, stat, limits, open_fds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_without_a_result_become_rare_and_a_new_writer_is_sought_after_ten_seconds() {
        let (mut schedule, mut now) = (SearchSchedule::default(), Instant::now());
        assert!(schedule.is_due(now, false));
        let mut intervals = Vec::new();
        for _ in 0..7 {
            schedule.note(now, false);
            let begin = now;
            assert!(!schedule.is_due(now + Duration::from_secs(9), true));
            assert!(schedule.is_due(now + Duration::from_secs(10), true));
            while !schedule.is_due(now, false) {
                now += Duration::from_secs(1);
            }
            intervals.push((now - begin).as_secs());
        }
        assert_eq!(intervals, [10, 20, 40, 80, 160, 300, 300]);
        schedule.note(now, true);
        assert!(schedule.is_due(now + Duration::from_secs(10), false));
    }
}

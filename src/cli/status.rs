//! The state of directories for the status page.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::owner;
use crate::error::Result;
use crate::file::place;
use crate::http::{
    ArchiveStatus, DirectoryStatus, FamilyBytes, ProcessState, ProcessStatus, Status, StatusSource,
};
use crate::model::clock;
use crate::multiproc::{
    DirectoryUsage, FamilyUsage, Liveness, MultiProcessCollectorBuilder, Prober, ScrapeStats,
    WriterList, family_usage, inspect_archive, list_files_by,
};
use crate::panics::lock;

/// The least age at which the state is read again.
const MIN_AGE: Duration = Duration::from_secs(2);
/// The least age at which the bytes of families are measured again, for which all files are read.
const MIN_USAGE_AGE: Duration = Duration::from_secs(15);
/// How much older than the time for reading it the state must be.
const AGE_FACTOR: u32 = 50;

/// What the last scrape of each collector of an exporter has found.
#[derive(Clone, Default)]
pub(super) struct LastScrapes(Arc<Mutex<Vec<Option<Arc<ScrapeStats>>>>>);

impl LastScrapes {
    /// Notes the scrapes of a collector.
    pub(super) fn of(&self, builder: MultiProcessCollectorBuilder) -> MultiProcessCollectorBuilder {
        let index = {
            let mut scrapes = lock(&self.0);
            scrapes.push(None);
            scrapes.len() - 1
        };
        let last = self.clone();
        builder.on_scrape(move |stats| lock(&last.0)[index] = Some(Arc::clone(stats)))
    }

    /// The messages of all problems, each once, and how many were only counted.
    fn problems(&self) -> (Vec<String>, u64) {
        let (mut messages, mut more) = (Vec::new(), 0);
        let mut seen = HashSet::new();
        for stats in lock(&self.0).iter().flatten() {
            more += stats.problem_count.saturating_sub(stats.problems.len() as u64);
            // Two collectors may read the same directory.
            let new = stats.problems.iter().filter(|problem| seen.insert(problem.message.clone()));
            messages.extend(new.map(|problem| problem.message.clone()));
        }
        (messages, more)
    }

    /// Whether one of the problems is about this directory itself.
    fn has_problem_of(&self, directory: &Path) -> bool {
        let scrapes = lock(&self.0);
        let mut problems = scrapes.iter().flatten().flat_map(|stats| &stats.problems);
        problems.any(|problem| problem.path.as_deref() == Some(directory))
    }
}

/// The directories of an exporter.
pub(super) struct ServedDirectories {
    directories: Mutex<Vec<Directory>>,
    last: LastScrapes,
}

struct Directory {
    path: PathBuf,
    prober: Prober,
    writers: WriterList,
    seen: Seen,
    state: Aging<DirectoryStatus>,
    usage: Aging<Result<DirectoryUsage>>,
}

/// A value that is read again when it is old.
struct Aging<T>(Option<Aged<T>>);

struct Aged<T> {
    value: T,
    read: Instant,
    /// How long reading it took.
    took: Duration,
}

impl<T> Aging<T> {
    /// Reads the value if it has at least this age, and a multiple of the time for reading it.
    fn get(&mut self, min_age: Duration, read: impl FnOnce() -> T) -> &T {
        let is_new = |aged: &Aged<T>| aged.read.elapsed() < (aged.took * AGE_FACTOR).max(min_age);
        if !self.0.as_ref().is_some_and(is_new) {
            self.0 = None;
        }
        let aged = self.0.get_or_insert_with(|| {
            let begin = Instant::now();
            let value = read();
            Aged { value, read: Instant::now(), took: begin.elapsed() }
        });
        &aged.value
    }
}

impl ServedDirectories {
    pub(super) fn new(dirs: &[PathBuf], last: LastScrapes) -> ServedDirectories {
        let directory = |path: &Path| Directory {
            path: path.to_owned(),
            prober: owner::prober(),
            writers: WriterList::default(),
            seen: HashMap::new(),
            state: Aging(None),
            usage: Aging(None),
        };
        let directories = place::distinct(dirs).map(|(_, path)| directory(path)).collect();
        ServedDirectories { directories: Mutex::new(directories), last }
    }
}

impl StatusSource for ServedDirectories {
    fn status(&self) -> Status {
        let status = |directory: &mut Directory| {
            let status = directory.status();
            // The page lists it as a problem of the scrape.
            let error = status.error.filter(|_| !self.last.has_problem_of(&directory.path));
            DirectoryStatus { error, ..status }
        };
        let directories = lock(&self.directories).iter_mut().map(status).collect();
        let (problems, more_problems) = self.last.problems();
        Status { directories, problems, more_problems }
    }
}

impl Directory {
    fn status(&mut self) -> DirectoryStatus {
        let Directory { path, prober, writers, seen, state, usage } = self;
        let state = state.get(MIN_AGE, || {
            read(path, prober, writers, seen).unwrap_or_else(|error| DirectoryStatus {
                error: Some(format!("{error:#}")),
                ..DirectoryStatus::default()
            })
        });
        let mut status = DirectoryStatus { path: path.display().to_string(), ..state.clone() };
        if let Ok(usage) = usage.get(MIN_USAGE_AGE, || family_usage([&*path])) {
            status.reserved = usage.reserved;
            let bytes = |family: &FamilyUsage| FamilyBytes {
                name: family.name.clone(),
                series: family.series,
                bytes: family.bytes,
            };
            status.families = usage.families.iter().map(bytes).collect();
        }
        status
    }
}

/// Since when each writer has been seen in its state, by its id and whether its files are retired.
type Seen = HashMap<(String, bool), (ProcessState, f64)>;

/// Reads the state of a directory.
fn read(
    path: &Path,
    prober: &mut Prober,
    writers: &mut WriterList,
    seen: &mut Seen,
) -> Result<DirectoryStatus> {
    let files = list_files_by(path, prober)?;
    let archive = inspect_archive(path)?;
    let len = files.iter().map(|file| file.len).sum::<u64>()
        + archive.as_ref().map_or(0, |archive| archive.len);
    let now = clock::now();
    let writers = writers.read(Path::new("/proc"), &files);
    let mut now_seen = HashMap::new();
    let processes = writers
        .into_iter()
        .map(|writer| {
            let state = match (writer.is_retired, writer.liveness) {
                (true, _) => ProcessState::Retired,
                (false, Liveness::Alive) => ProcessState::Alive,
                (false, Liveness::Dead) => ProcessState::Dead,
                (false, _) => ProcessState::Unknown,
            };
            let key = (writer.id, writer.is_retired);
            let earlier = seen.get(&key).filter(|(earlier, _)| *earlier == state);
            let first = earlier.map_or(now, |(_, first)| *first);
            now_seen.insert(key, (state, first));
            let process = writer.process.as_ref();
            ProcessStatus {
                id: writer.name,
                command: process.and_then(|process| process.command.clone()),
                state,
                since: process.and_then(|process| process.started).unwrap_or(first),
                files: writer.files,
                entries: writer.entries,
                used: writer.used,
                resident: process.map(|process| process.resident_bytes),
            }
        })
        .collect();
    *seen = now_seen;
    Ok(DirectoryStatus {
        error: None,
        processes,
        files: files.len() + usize::from(archive.is_some()),
        len,
        free: fs2::available_space(path).ok(),
        // The last scrape has the problem of a damaged one.
        archive: archive.filter(|it| it.error.is_none()).map(|archive| ArchiveStatus {
            generation: archive.generation,
            written: archive.written,
            entries: archive.series,
            len: archive.len,
        }),
        ..DirectoryStatus::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::archive::ARCHIVE_NAME;
    use crate::test_dir::TestDir;

    #[test]
    fn a_damaged_archive_is_a_file_without_a_generation_and_hides_no_process() {
        let dir = TestDir::new();
        std::fs::write(dir.join(ARCHIVE_NAME), [9; 64]).unwrap();
        std::fs::write(dir.join("counter_1.db"), [9; 64]).unwrap();
        let served = ServedDirectories::new(&[dir.to_path_buf()], LastScrapes::default());
        let status = served.status();
        let [directory] = &status.directories[..] else { panic!("{status:?}") };
        assert_eq!((directory.files, directory.len), (2, 128));
        assert!(directory.archive.is_none() && directory.error.is_none(), "{directory:?}");
        assert_eq!(directory.processes.len(), 1);
    }
}

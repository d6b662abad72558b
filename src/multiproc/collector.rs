//! The collector that merges multiprocess directories.

use std::collections::HashMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::directory::FileSystems;
use super::figures;
use super::gauge::SourceState;
use super::known::{self, Access, Tools};
use super::lock::CompactorLock;
use super::merge::{Merge, Origin, Place};
use super::problem::{Cause, Reason};
use super::scan::{Attempt, Census, DeadGauges, KnownDirectory, read_directory};
use super::turns::Turns;
use super::{directory, emit};
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::ARCHIVE_NAME;
use crate::file::environment::{DIR_VARIABLE, OLD_DIR_VARIABLE, multiprocess_dir};
use crate::file::map::guard_mappings;
use crate::file::name::FileName;
use crate::file::reader::{self, Reader};
use crate::file::sys::descriptor_limit;
use crate::logging;
use crate::model::{Collector, FamilySink, GaugeMode, MetricType, name};

/// Merges the series files of all processes at each scrape.
///
/// Counters, summaries and histograms are summed over all processes that ever lived, gauges by their
/// [mode](GaugeMode); live gauges of processes that are proven dead are left out. What a
/// [`Compactor`](crate::Compactor) has archived counts as before. What cannot be read is skipped and counted in
/// `multiprom_file_errors_total{reason}`; everything else is given.
///
/// ```
/// use multiprom::{Backend, Counter, MultiProcessCollector, Registry};
///
/// # let dir = std::env::temp_dir().join(format!("multiprom-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// // In each worker:
/// let registry = Registry::builder().backend(Backend::directory(&dir)?).build()?;
/// let jobs = Counter::builder("jobs_total", "Jobs done.").register(&registry)?;
/// jobs.inc();
///
/// // In the exporter, or in any worker:
/// let merged = Registry::new();
/// merged.register(MultiProcessCollector::new(&dir)?)?;
/// assert!(merged.render(None).to_string().contains("\njobs_total 1\n"));
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), multiprom::Error>(())
/// ```
pub struct MultiProcessCollector {
    dirs: Vec<PathBuf>,
    files: Vec<PathBuf>,
    settings: Settings,
    access: Access,
    /// How many files may be kept open.
    max_open: usize,
    cache: Turns<Cache>,
    /// Histogram families whose processes had different bounds, counted at each scrape.
    bucket_conflicts: AtomicU64,
    /// Counted over the life of the collector, by [`Reason::ALL`].
    errors: [AtomicU64; Reason::ALL.len()],
}

/// How often a directory is read anew before compactors are locked out.
const PATIENT_ATTEMPTS: usize = 3;
/// How often it is read anew at all: where the lock cannot be had, what was read last is given.
const MAX_ATTEMPTS: usize = 20;

/// The part of all descriptors that files may be kept open with is one of so many.
const OPEN_SHARE: usize = 4;

/// Picks a mode for a gauge family by its name, or leaves the one that its files have.
type ModeRule = Box<dyn Fn(&str) -> Option<GaugeMode> + Send + Sync>;

/// Holds for the families that are kept.
type Filter = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Takes what a scrape skips.
type Listener = Box<dyn Fn(&Error) + Send + Sync>;

/// What is different from the defaults.
pub(super) struct Settings {
    pub(super) pid_label: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) filter: Option<Filter>,
    pub(super) gauge_mode: Option<ModeRule>,
    on_problem: Option<Listener>,
}

impl MultiProcessCollector {
    /// A collector for one directory, with the rules of the Python client.
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](ErrorKind::Directory) where the directory cannot be listed, and
    /// [`Unsupported`](ErrorKind::Unsupported) where it is on a file system on which what is promised was
    /// not tried.
    pub fn new(dir: impl AsRef<Path>) -> Result<MultiProcessCollector> {
        MultiProcessCollector::builder().directory(dir).build()
    }

    /// A collector for the directory that `PROMETHEUS_MULTIPROC_DIR` or `prometheus_multiproc_dir`
    /// names.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) where no variable is set, else as [`new`](Self::new).
    pub fn from_env() -> Result<MultiProcessCollector> {
        let dir = multiprocess_dir().ok_or_else(|| {
            let message = format!("neither {DIR_VARIABLE} nor {OLD_DIR_VARIABLE} is set");
            Error::new(ErrorKind::Usage, message)
        })?;
        MultiProcessCollector::new(dir)
    }

    /// A collector that is set up step by step.
    pub fn builder() -> CollectorBuilder {
        CollectorBuilder {
            dirs: Vec::new(),
            file_systems: FileSystems::Supported,
            files: Vec::new(),
            access: Access::Read,
            settings: Settings {
                pid_label: "pid".to_owned(),
                labels: Vec::new(),
                filter: None,
                gauge_mode: None,
                on_problem: None,
            },
        }
    }

    /// Reads everything, as it is at one moment.
    fn read(&self, cache: &mut Cache) -> Vec<Census> {
        let dead_gauges = match self.settings.gauge_mode {
            None => DeadGauges::Skipped,
            Some(_) => DeadGauges::Read,
        };
        if !cache.merge.begin() {
            cache.dirs.clear();
        }
        cache.dirs.resize_with(self.dirs.len(), KnownDirectory::default);
        let mut attempt = 0;
        loop {
            attempt += 1;
            // Where compactors are that busy, they are asked to wait.
            let _locks: Vec<Option<CompactorLock>> = match attempt {
                ..=PATIENT_ATTEMPTS => Vec::new(),
                _ => self.dirs.iter().map(|dir| CompactorLock::try_share(dir)).collect(),
            };
            let mut tools = Tools {
                merge: &mut cache.merge,
                reader: &mut cache.reader,
                access: self.access,
                dead_gauges,
                spare: self.max_open,
                writers: HashMap::default(),
                now: Instant::now(),
            };
            let mut has_moved = false;
            let mut censuses = Vec::with_capacity(self.dirs.len());
            for (dir, known) in self.dirs.iter().zip(&mut cache.dirs) {
                let (result, census) = read_directory(&mut tools, dir, known);
                has_moved |= result == Attempt::Moved;
                censuses.push(census);
            }
            if has_moved && attempt < MAX_ATTEMPTS {
                cache.merge.restart();
                continue;
            }
            if has_moved {
                let first = self.dirs.first().map(|dir| dir.join(ARCHIVE_NAME));
                cache.merge.problems.add(&first.unwrap_or_default(), Cause::ArchiveMoving);
            }
            self.files.iter().for_each(|file| add_named_file(cache, file));
            cache.merge.settle();
            if self.access == Access::Map {
                // Scrapes that follow read little.
                cache.reader.release();
            }
            return censuses;
        }
    }

    /// Reads everything and gives it to `out`.
    fn scrape(&self, cache: &mut Cache, out: &mut dyn FamilySink) -> Vec<Census> {
        let censuses = self.read(cache);
        let exported = cache.merge.exported();
        self.note(&mut cache.merge, &exported);
        emit::emit(&cache.merge, &exported, &self.settings, out);
        censuses
    }

    fn note(&self, merge: &mut Merge, exported: &[usize]) {
        let has_conflict = |at: &&usize| {
            let family = &merge.tables.families[**at];
            family.metric_type == MetricType::Histogram
                && family.groups().any(|group| merge.has_bucket_conflict(group))
        };
        let conflicts = exported.iter().filter(has_conflict).count();
        self.bucket_conflicts.fetch_add(conflicts as u64, Ordering::Relaxed);
        for (reason, error) in std::mem::take(&mut merge.problems).into_errors() {
            if let Some(at) = Reason::ALL.iter().position(|known| *known == reason) {
                self.errors[at].fetch_add(1, Ordering::Relaxed);
            }
            if let Some(on_problem) = &self.settings.on_problem {
                on_problem(&error);
            }
        }
    }
}

/// What scrapes have learnt.
#[derive(Default)]
struct Cache {
    merge: Merge,
    dirs: Vec<KnownDirectory>,
    reader: Reader,
}

impl Collector for MultiProcessCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        let censuses = match self.cache.take_turn() {
            Some(mut cache) => self.scrape(&mut cache, out),
            None => self.scrape(&mut Cache::default(), out),
        };
        let help = "Series files, or entries of them, that a scrape skipped.";
        let mut family = out.counter("multiprom_file_errors_total", help);
        for (reason, count) in Reason::ALL.iter().zip(&self.errors) {
            let count = count.load(Ordering::Relaxed);
            family.sample(&[("reason", reason.as_str())], count as f64);
        }
        let help = "Histogram families merged from processes with different bounds.";
        let conflicts = self.bucket_conflicts.load(Ordering::Relaxed);
        out.counter("multiprom_bucket_conflicts_total", help).sample(&[], conflicts as f64);
        figures::emit(&self.dirs, &censuses, out);
    }
}

/// Reads a file that was named by itself. Whoever names it wants what is in it: nobody asks whether its
/// writer lives.
fn add_named_file(cache: &mut Cache, path: &Path) {
    let file = path.file_name().and_then(|name| name.to_str());
    let Some((file, name)) = file.and_then(|file| Some((file, FileName::parse(file)?))) else {
        return cache.merge.problems.add(path, Cause::UnknownName);
    };
    let dir = path.parent().unwrap_or(path);
    let origin = Origin { dir, file, name, state: SourceState::Live, place: Place::File };
    match reader::open(path) {
        Ok(file) => known::learn(&mut cache.merge, &mut cache.reader, &origin, &file),
        Err(error) => cache.merge.problems.add(path, Cause::Read(error)),
    }
}

/// Sets up a [`MultiProcessCollector`].
#[must_use = "a collector is made by `build`"]
pub struct CollectorBuilder {
    dirs: Vec<PathBuf>,
    file_systems: FileSystems,
    files: Vec<PathBuf>,
    access: Access,
    settings: Settings,
}

impl CollectorBuilder {
    /// Reads values by mappings, which takes a guard that is the whole process's.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of exporters"))]
    pub(crate) fn map_files(mut self) -> Result<CollectorBuilder> {
        guard_mappings().map_err(|error| Error::new(ErrorKind::Io, error))?;
        self.access = Access::Map;
        Ok(self)
    }

    /// Adds a directory. Several are merged as if their files were in one.
    pub fn directory(mut self, dir: impl AsRef<Path>) -> CollectorBuilder {
        self.dirs.push(dir.as_ref().to_owned());
        self
    }

    /// Accepts directories on any file system. On one that is not tmpfs, ext4, xfs, btrfs or overlayfs,
    /// values that are being written may be seen late or torn.
    pub fn any_file_system(mut self) -> CollectorBuilder {
        self.file_systems = FileSystems::Any;
        self
    }

    /// Adds one series file, whose name tells what it holds.
    pub fn file(mut self, file: impl AsRef<Path>) -> CollectorBuilder {
        self.files.push(file.as_ref().to_owned());
        self
    }

    /// Names the label that tells processes apart in the modes `all` and `liveall`; `pid` by default.
    pub fn pid_label(mut self, name: impl Into<String>) -> CollectorBuilder {
        self.settings.pid_label = name.into();
        self
    }

    /// Adds a label to every merged series that does not have it.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> CollectorBuilder {
        self.settings.labels.push((name.into(), value.into()));
        self
    }

    /// Keeps only families for whose name this holds; of counters the name without `_total`.
    pub fn filter(mut self, keep: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.settings.filter = Some(Box::new(keep));
        self
    }

    /// Merges gauge families by another mode than that of their files, where this names one.
    ///
    /// What `mark_process_dead` or a compactor removed, and times that were not noted, cannot be had back.
    pub fn gauge_mode(
        mut self,
        rule: impl Fn(&str) -> Option<GaugeMode> + Send + Sync + 'static,
    ) -> Self {
        self.settings.gauge_mode = Some(Box::new(rule));
        self
    }

    /// Tells of everything that a scrape skips, at each scrape.
    pub fn on_problem(mut self, tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.settings.on_problem = Some(Box::new(tell));
        self
    }

    /// Makes the collector.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) without a directory, [`Directory`](ErrorKind::Directory) where
    /// one cannot be listed, and [`InvalidLabels`](ErrorKind::InvalidLabels) for a malformed label name.
    pub fn build(mut self) -> Result<MultiProcessCollector> {
        logging::note_standard_error();
        if self.dirs.is_empty() && self.files.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "no multiprocess directory is given"));
        }
        for dir in &self.dirs {
            directory::check(dir, self.file_systems)?;
        }
        self.settings.labels.sort();
        let settings = self.settings;
        let names = settings.labels.iter().map(|(name, _)| name.as_str());
        let names = names.chain(iter::once(settings.pid_label.as_str()));
        name::check_label_names(&names, Some("le"))
            .map_err(|error| Error::new(ErrorKind::InvalidLabels, error))?;
        let errors = [const { AtomicU64::new(0) }; Reason::ALL.len()];
        let (dirs, files, access) = (self.dirs, self.files, self.access);
        let max_open = match access {
            Access::Map => descriptor_limit() / OPEN_SHARE,
            Access::Read => 0,
        };
        let (bucket_conflicts, cache) = (AtomicU64::new(0), Turns::default());
        Ok(MultiProcessCollector {
            dirs,
            files,
            settings,
            access,
            max_open,
            cache,
            bucket_conflicts,
            errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::key;
    use crate::file::layout::{HEADER_LEN, Header, encode_entry};
    use crate::model::{FamilyHead, Sample};
    use std::fs;

    const SERIES: usize = 1_000;

    struct Count(usize);

    impl FamilySink for Count {
        fn family(&mut self, _: &FamilyHead<'_>) {}

        fn sample(&mut self, _: &Sample<'_>) {
            self.0 += 1;
        }
    }

    /// The file of a process whose series nobody else has.
    fn write(dir: &Path, process: usize) -> PathBuf {
        let (mut bytes, mut entry) = (vec![0; HEADER_LEN], Vec::new());
        for number in 0..SERIES {
            let (mut text, value) = (Vec::new(), format!("{process}-{number}"));
            key::encode(&mut text, "c", "c_total", [("label", &*value)].into_iter(), "Help.");
            encode_entry(&mut entry, &text, 1.0, 1.0);
            bytes.extend_from_slice(&entry);
        }
        let header = Header::new(bytes.len() as u32).encode();
        bytes[..HEADER_LEN].copy_from_slice(&header);
        let path = dir.join(format!("counter_{process}-0000000a.db"));
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn what_no_file_has_any_more_is_forgotten() {
        let dir = std::env::temp_dir().join(format!("multiprom-stale-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        let collector = MultiProcessCollector::new(&dir).unwrap();
        let mut most = 0;
        for process in 0..20 {
            let path = write(&dir, process);
            let mut count = Count(0);
            collector.collect(&mut count);
            assert!(count.0 >= SERIES);
            let cache = collector.cache.take_turn().unwrap();
            most = most.max(cache.merge.tables.lens().0);
            drop(cache);
            fs::remove_file(path).unwrap();
        }
        assert!(most > SERIES, "{most} sums");
        // As many as are in use, twice and some, and those of the last file.
        assert!(most <= 5 * SERIES, "{most} sums");
        fs::remove_dir_all(&dir).unwrap();
    }
}

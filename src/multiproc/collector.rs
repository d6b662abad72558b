//! The collector that merges multiprocess directories.

use std::collections::HashMap;
use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::conflicts::Conflict;
use super::directory::FileSystems;
use super::figures;
use super::known::{Access, Tools};
use super::lock::CompactorLock;
use super::merge::Merge;
use super::named::{NamedFiles, parent};
use super::prober::{OwnerLease, Prober};
use super::problem::{Cause, Reason};
use super::processes::{Absent, ProcessLabels};
use super::scan::{Attempt, Census, DeadGauges, KnownDirectory, read_directory};
use super::tables::Family;
use super::turns::Turns;
use super::{directory, emit};
use crate::error::{Error, ErrorKind, Result};
use crate::file::archive::ARCHIVE_NAME;
use crate::file::environment::{DIR_VARIABLE, OLD_DIR_VARIABLE, multiprocess_dir};
use crate::file::map::guard_mappings;
use crate::file::place;
use crate::file::reader::Reader;
use crate::file::sys::descriptor_limit;
use crate::logging::{self, log_line};
use crate::model::{Collector, FamilySink, FilteredSink, GaugeMode, MetricType, name};

/// Merges the series files of all processes at each scrape.
///
/// Counters, summaries and histograms are summed over all processes that ever lived, gauges by their
/// [mode](GaugeMode); live gauges of processes that are proven dead are left out. What a
/// [`Compactor`](crate::Compactor) has archived counts as before. What cannot be read is skipped and counted in
/// `multiprom_file_errors_total{reason}`; everything else is given. Where processes disagree on a family so that the page would
/// be invalid or ambiguous, a part of it is left out and counted in `multiprom_merge_conflicts_total{reason}`.
/// An archive that a newer release wrote fails the scrape ([`FamilySink::fail`]), because totals without it would fall.
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
    labels_of_dirs: DirectoryLabels,
    files: Vec<PathBuf>,
    /// The directories, and then those of the files. Their indices are the numbers of directories.
    places: Vec<PathBuf>,
    /// What they are called in labels, each in its own way.
    place_names: Vec<String>,
    settings: Settings,
    access: Access,
    owner_lease: Option<Arc<dyn OwnerLease>>,
    /// By what processes are shown: for longer than a scrape may have what the cache has.
    processes: Turns<ProcessLabels>,
    /// How many files may be kept open.
    max_open: usize,
    cache: Turns<Cache>,
    /// Histogram families whose processes had different bounds, counted at each scrape.
    bucket_conflicts: AtomicU64,
    /// Families on which processes disagree, counted at each scrape, by [`Conflict::REASONS`].
    conflicts: [AtomicU64; Conflict::REASONS.len()],
    /// Counted over the life of the collector, by [`Reason::ALL`].
    errors: [AtomicU64; Reason::ALL.len()],
}

impl fmt::Debug for MultiProcessCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiProcessCollector")
            .field("dirs", &self.dirs)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
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
type Filter = Box<dyn Fn(&str, MetricType) -> bool + Send + Sync>;

/// Takes what a scrape skips.
type Listener = Box<dyn Fn(&Error) + Send + Sync>;

/// The values of the label `directory` that are not the path: by path.
pub(super) type DirectoryLabels = HashMap<PathBuf, String>;

/// What is different from the defaults.
pub(super) struct Settings {
    pub(super) pid_label: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) filter: Option<Filter>,
    pub(super) gauge_mode: Option<ModeRule>,
    pub(super) default_gauge_mode: GaugeMode,
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
    pub fn builder() -> MultiProcessCollectorBuilder {
        MultiProcessCollectorBuilder {
            dirs: Vec::new(),
            labels_of_dirs: DirectoryLabels::default(),
            file_systems: FileSystems::Supported,
            files: Vec::new(),
            access: Access::Read,
            owner_lease: None,
            settings: Settings {
                pid_label: "pid".to_owned(),
                labels: Vec::new(),
                filter: None,
                gauge_mode: None,
                default_gauge_mode: GaugeMode::All,
                on_problem: None,
            },
        }
    }

    /// Reads everything, as it is at one moment. Directories that are another one by another name are not read, and
    /// not returned.
    fn read(&self, cache: &mut Cache) -> (Vec<PathBuf>, Vec<Census>) {
        let dead_gauges = match self.settings.gauge_mode {
            None => DeadGauges::Skipped,
            Some(_) => DeadGauges::Read,
        };
        if !cache.merge.begin() {
            cache.dirs.clear();
        }
        if let Some(lease) = &self.owner_lease {
            cache.prober.set_owner_lease(Arc::clone(lease));
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
                prober: &mut cache.prober,
                access: self.access,
                dead_gauges,
                spare: self.max_open,
                writers: HashMap::default(),
                now: Instant::now(),
            };
            let mut has_moved = false;
            let mut censuses = Vec::with_capacity(self.dirs.len());
            let mut dirs = Vec::with_capacity(self.dirs.len());
            for (at, dir) in place::distinct(&self.dirs) {
                tools.merge.dir = at as u32;
                let (result, census) = read_directory(&mut tools, dir, &mut cache.dirs[at]);
                has_moved |= result == Attempt::Moved;
                dirs.push(dir.clone());
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
            let mut named = NamedFiles::new(&dirs);
            for file in &self.files {
                let dir = self.places.iter().position(|place| place == parent(file));
                named.add(
                    &mut cache.merge,
                    &mut cache.reader,
                    file,
                    dir.unwrap_or_default() as u32,
                );
            }
            cache.merge.settle();
            if self.access == Access::Map {
                // Scrapes that follow read little.
                cache.reader.release();
            }
            return (dirs, censuses);
        }
    }

    /// Reads everything and gives it to `out`.
    fn scrape(
        &self,
        cache: &mut Cache,
        absent: Absent,
        out: &mut dyn FamilySink,
    ) -> (Vec<PathBuf>, Vec<Census>) {
        let read = self.read(cache);
        let filter = self.settings.filter.as_deref();
        let is_kept =
            |family: &Family| filter.is_none_or(|it| it(&family.name, family.metric_type));
        let rule = self.settings.gauge_mode.as_deref();
        let has_rule = |family: &Family| rule.is_some_and(|rule| rule(&family.name).is_some());
        let (exported, conflicts) = cache.merge.exported(is_kept, has_rule);
        let unsupported = cache.merge.problems.unsupported_archive();
        self.note(&mut cache.merge, &exported);
        if let Some(error) = unsupported {
            out.fail(error);
            return read;
        }
        let sources = &cache.merge.sources;
        let processes = match self.processes.take_turn() {
            Some(mut processes) => processes.assign(sources, &self.place_names, absent),
            None => ProcessLabels::default().assign(sources, &self.place_names, absent),
        };
        let in_values = emit::emit(&cache.merge, &exported, &self.settings, &processes, out);
        for conflict in conflicts.into_iter().chain(in_values) {
            self.conflicts[conflict.reason()].fetch_add(1, Ordering::Relaxed);
            self.report(&conflict.into_error());
        }
        read
    }

    fn note(&self, merge: &mut Merge, exported: &[usize]) {
        let has_conflict = |at: &&usize| {
            let family = &merge.tables.families[**at];
            family.metric_type == MetricType::Histogram
                && family.groups().any(|group| merge.has_bucket_conflict(group))
        };
        let of_buckets = exported.iter().filter(has_conflict).count();
        self.bucket_conflicts.fetch_add(of_buckets as u64, Ordering::Relaxed);
        for (reason, error) in std::mem::take(&mut merge.problems).into_errors() {
            if let Some(at) = Reason::ALL.iter().position(|known| *known == reason) {
                self.errors[at].fetch_add(1, Ordering::Relaxed);
            }
            self.report(&error);
        }
    }

    fn report(&self, error: &Error) {
        if let Some(on_problem) = &self.settings.on_problem {
            on_problem(error);
        }
    }
}

/// What scrapes have learnt.
#[derive(Default)]
struct Cache {
    merge: Merge,
    dirs: Vec<KnownDirectory>,
    reader: Reader,
    prober: Prober,
}

impl Collector for MultiProcessCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        let (dirs, censuses) = match self.cache.take_turn() {
            Some(mut cache) => {
                let read = self.scrape(&mut cache, Absent::Forgotten, out);
                let lines = cache.prober.unreported();
                // Other scrapes do not wait for the log.
                drop(cache);
                for line in &lines {
                    log_line(line);
                }
                read
            }
            None => self.scrape(&mut Cache::default(), Absent::Kept, out),
        };
        match &self.settings.filter {
            Some(filter) => {
                self.collect_own(
                    &dirs,
                    &censuses,
                    &mut FilteredSink::new(out, |head| filter(head.name, head.metric_type)),
                );
            }
            None => self.collect_own(&dirs, &censuses, out),
        }
    }
}

impl MultiProcessCollector {
    /// The metrics of the collector itself.
    fn collect_own(&self, dirs: &[PathBuf], censuses: &[Census], out: &mut dyn FamilySink) {
        let help = "Series files, or entries of them, that a scrape skipped.";
        let mut family = out.counter("multiprom_file_errors_total", help);
        for (reason, count) in Reason::ALL.iter().zip(&self.errors) {
            let count = count.load(Ordering::Relaxed);
            family.sample(&[("reason", reason.as_str())], count as f64);
        }
        let help = "Histogram families merged from processes with different bounds.";
        let conflicts = self.bucket_conflicts.load(Ordering::Relaxed);
        out.counter("multiprom_bucket_conflicts_total", help).sample(&[], conflicts as f64);
        let help = "Families that a scrape left out or changed because processes disagree on them.";
        let mut family = out.counter("multiprom_merge_conflicts_total", help);
        for (reason, count) in Conflict::REASONS.iter().zip(&self.conflicts) {
            family.sample(&[("reason", reason)], count.load(Ordering::Relaxed) as f64);
        }
        figures::emit(dirs, &self.labels_of_dirs, censuses, out);
    }
}

/// Sets up a [`MultiProcessCollector`].
#[must_use = "a collector is made by `build`"]
pub struct MultiProcessCollectorBuilder {
    dirs: Vec<PathBuf>,
    labels_of_dirs: DirectoryLabels,
    file_systems: FileSystems,
    files: Vec<PathBuf>,
    access: Access,
    owner_lease: Option<Arc<dyn OwnerLease>>,
    settings: Settings,
}

impl fmt::Debug for MultiProcessCollectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiProcessCollectorBuilder")
            .field("dirs", &self.dirs)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl MultiProcessCollectorBuilder {
    /// Reads values by mappings, which takes a guard that is the whole process's.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of exporters"))]
    pub(crate) fn map_files(mut self) -> Result<MultiProcessCollectorBuilder> {
        guard_mappings().map_err(|error| Error::new(ErrorKind::Io, error))?;
        self.access = Access::Map;
        Ok(self)
    }

    /// Has leases taken in the name of the owners of files too.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of the command"))]
    pub(crate) fn owner_lease(
        mut self,
        lease: Arc<dyn OwnerLease>,
    ) -> MultiProcessCollectorBuilder {
        self.owner_lease = Some(lease);
        self
    }

    /// Adds a directory. Several are merged as if their files were in one; one that is given twice, by whatever names,
    /// counts once.
    pub fn directory(mut self, dir: impl AsRef<Path>) -> MultiProcessCollectorBuilder {
        self.dirs.push(dir.as_ref().to_owned());
        self
    }

    /// Adds a directory that the label `directory` of its own metrics calls by another name than its path,
    /// which is a new one at each start.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "of the launcher"))]
    pub(crate) fn labelled_directory(
        mut self,
        dir: &Path,
        label: &str,
    ) -> MultiProcessCollectorBuilder {
        self.labels_of_dirs.insert(dir.to_owned(), label.to_owned());
        self.directory(dir)
    }

    /// Accepts directories on any file system. On one that is not tmpfs, ext4, xfs, btrfs or overlayfs,
    /// values that are being written may be seen late or torn.
    pub fn any_file_system(mut self) -> MultiProcessCollectorBuilder {
        self.file_systems = FileSystems::Any;
        self
    }

    /// Adds one series file, whose name tells what it holds. One that is given twice counts once.
    pub fn file(mut self, file: impl AsRef<Path>) -> MultiProcessCollectorBuilder {
        self.files.push(file.as_ref().to_owned());
        self
    }

    /// Names the label that tells processes apart in the modes `all` and `liveall`; `pid` by default. A label of that
    /// name that series have becomes `exported_<name>` there.
    pub fn pid_label(mut self, name: impl Into<String>) -> MultiProcessCollectorBuilder {
        self.settings.pid_label = name.into();
        self
    }

    /// Adds a label to every merged series that does not have it. Series that become equal are merged.
    pub fn label(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> MultiProcessCollectorBuilder {
        self.settings.labels.push((name.into(), value.into()));
        self
    }

    /// Keeps only families for whose name and type this holds; of counters the name without `_total`. The metrics of
    /// the collector itself, whose names begin with `multiprom_`, are asked for as well.
    pub fn filter(
        mut self,
        keep: impl Fn(&str, MetricType) -> bool + Send + Sync + 'static,
    ) -> Self {
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

    /// Merges gauge families whose files have the mode [`All`](GaugeMode::All) by another mode.
    ///
    /// That is the mode of gauges for which a program chose none, and gives one series for each process that
    /// ever lived. Families with any other mode keep it; [`gauge_mode`](Self::gauge_mode) takes precedence.
    ///
    /// A mode that is not live counts ended processes for as long as their gauges are kept, see
    /// [`CompactorBuilder::keep_dead`](super::CompactorBuilder::keep_dead). The modes mostrecent need times, which
    /// files of the mode `All` do not keep.
    pub fn default_gauge_mode(mut self, mode: GaugeMode) -> MultiProcessCollectorBuilder {
        self.settings.default_gauge_mode = mode;
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
        let labels_of_dirs = self.labels_of_dirs;
        let owner_lease = self.owner_lease;
        let mut places = dirs.clone();
        for file in &files {
            if !places.iter().any(|place| place == parent(file)) {
                places.push(parent(file).to_owned());
            }
        }
        let place_names = directory::names(&places);
        let max_open = match access {
            Access::Map => descriptor_limit() / OPEN_SHARE,
            Access::Read => 0,
        };
        let conflicts = [const { AtomicU64::new(0) }; Conflict::REASONS.len()];
        let (bucket_conflicts, cache) = (AtomicU64::new(0), Turns::default());
        Ok(MultiProcessCollector {
            dirs,
            labels_of_dirs,
            files,
            places,
            place_names,
            settings,
            access,
            owner_lease,
            processes: Turns::default(),
            max_open,
            cache,
            bucket_conflicts,
            conflicts,
            errors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::key;
    use crate::file::layout::{HEADER_LEN, Header, encode_entry};
    use crate::model::{FamilyMetadata, Sample};
    use std::fs;

    const SERIES: usize = 1_000;

    struct Count(usize);

    impl FamilySink for Count {
        fn family(&mut self, _: &FamilyMetadata<'_>) {}

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

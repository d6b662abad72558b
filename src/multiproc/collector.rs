//! The collector that merges multiprocess directories.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::dir_lock::CompactorLock;
use super::directory::{self, DirectoryLabels};
use super::merge::created::EntryTimes;
use super::merge::emit;
use super::merge::exported_type::ExportedFamily;
use super::merge::gauge::GaugeValues;
use super::merge::process_labels::{AbsentWriters, ProcessLabels};
use super::merge::settings::MergeSettings;
use super::merge::source::Source;
use super::merge::state::{CachedPlans, Merge};
use super::prober::{OwnerLease, Prober};
use super::read::context::{DeadGauges, ReadContext, ReadMethod, WriterVerdicts};
use super::read::dir_scan::{CachedDirectory, Consistency, read_directory};
use super::read::named_files::{NamedFiles, parent};
use super::read::stats::DirectoryStats;
use super::read::unwritten::{UnwrittenSeries, refresh_computed};
use super::scrape_stats::{CONFLICT, ScrapeStats};
use super::self_metrics::{self, ScrapeCounters};
use super::skipped::SkipCause;
use super::timed_lock::TimedLock;
use super::workers::{WorkerTable, write_workers};
use crate::error::Error;
use crate::file::archive::ARCHIVE_NAME;
use crate::file::place;
use crate::file::reader::Reader;
use crate::file::sys::descriptor_limit;
use crate::logging::log_line;
use crate::model::own_metrics::SERIES;
use crate::model::{Collector, DirectoryId, FamilySink, FilteredSink, MetricType};

/// Merges the series files of all processes at each scrape.
///
/// Counters, summaries and histograms are summed over all processes that ever lived. Gauges are merged by their
/// [mode](crate::GaugeMode); live gauges of processes that are proven dead are left out. Values that a
/// [`Compactor`](crate::compact::Compactor) has archived count as before. A damaged or invalid file is skipped, reported and
/// counted in `multiprom_file_errors_total{reason}`; everything else is exported. If processes disagree on a family so
/// that the exposition would be invalid or ambiguous, a part of it is left out and counted in
/// `multiprom_merge_conflicts_total{reason}`. An archive that a newer release wrote fails the scrape
/// ([`FamilySink::fail`]), because totals would fall without it.
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
    config: CollectorConfig,
    /// The directories, followed by those of the files. Sources and labels refer to a directory by its index here.
    all_dirs: Vec<PathBuf>,
    /// A distinct name for each of them.
    dir_names: Vec<String>,
    /// How many files may stay open between scrapes.
    max_open_files: usize,
    cache: TimedLock<Cache>,
    /// The labels of processes. They have a lock of their own, so that a scrape that cannot lock the cache can still
    /// use them.
    process_labels: TimedLock<ProcessLabels>,
    /// The processes of workers. Their lock is held while procfs is read.
    workers: TimedLock<WorkerTable>,
    counters: ScrapeCounters,
}

/// What a scrape has found besides samples.
struct Scraped {
    /// The directories; one that has several names is among them once.
    dirs: Vec<PathBuf>,
    /// Their stats, in the same order.
    stats: Vec<DirectoryStats>,
    /// The files of living writers; empty unless the metrics of workers are exported.
    live_files: Vec<Source>,
    /// The labels of their writers, in the same order.
    labels: Vec<Arc<str>>,
    /// What listeners receive.
    summary: ScrapeStats,
}

/// What a collector reads, and how it merges.
pub(super) struct CollectorConfig {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) directory_labels: DirectoryLabels,
    pub(super) files: Vec<PathBuf>,
    pub(super) method: ReadMethod,
    pub(super) owner_lease: Option<Arc<dyn OwnerLease>>,
    pub(super) settings: MergeSettings,
    pub(super) on_problem: Option<ProblemListener>,
    pub(super) on_scrape: Vec<ScrapeListener>,
    /// Where procfs is mounted, if the metrics of workers are exported.
    pub(super) worker_procfs: Option<PathBuf>,
}

/// Receives the errors of what a scrape skips.
pub(super) type ProblemListener = Box<dyn Fn(&Error) + Send + Sync>;

/// Receives what a scrape has found.
pub(super) type ScrapeListener = Box<dyn Fn(&Arc<ScrapeStats>) + Send + Sync>;

/// What scrapes keep for those that follow.
#[derive(Default)]
struct Cache {
    merge: Merge,
    dirs: Vec<CachedDirectory>,
    reader: Reader,
    prober: Prober,
    verdicts: WriterVerdicts,
}

/// How often a directory that compactors change is read before compactors are locked out.
const UNLOCKED_ATTEMPTS: usize = 3;
/// How often it is read in all. If the lock cannot be obtained, the result of the last attempt is exported.
const MAX_ATTEMPTS: usize = 20;

/// Cached files may stay open with this fraction of the descriptor limit.
const OPEN_FILES_DIVISOR: usize = 4;

impl MultiProcessCollector {
    pub(super) fn with_config(config: CollectorConfig) -> MultiProcessCollector {
        let mut all_dirs = config.dirs.clone();
        for file in &config.files {
            if !all_dirs.iter().any(|dir| dir == parent(file)) {
                all_dirs.push(parent(file).to_owned());
            }
        }
        MultiProcessCollector {
            dir_names: directory::names(&all_dirs),
            all_dirs,
            max_open_files: match config.method {
                ReadMethod::Mmap => descriptor_limit() / OPEN_FILES_DIVISOR,
                ReadMethod::Pread | ReadMethod::Once => 0,
            },
            config,
            cache: TimedLock::default(),
            process_labels: TimedLock::default(),
            workers: TimedLock::default(),
            counters: ScrapeCounters::new(),
        }
    }

    /// Reads all directories and files into the merge. The labels are not yet assigned.
    fn read(&self, cache: &mut Cache, times: EntryTimes) -> Scraped {
        let dead_gauges = match self.config.settings.gauge_mode {
            None => DeadGauges::Skipped,
            Some(_) => DeadGauges::Read,
        };
        let gauges = GaugeValues::needed_for(&self.config.settings);
        cache.merge.keep_plans(self.config.method != ReadMethod::Once);
        if cache.merge.begin_scrape(times, gauges) == CachedPlans::Invalid {
            cache.dirs.clear();
        }
        if let Some(lease) = &self.config.owner_lease {
            cache.prober.set_owner_lease(Arc::clone(lease));
        }
        cache.dirs.resize_with(self.config.dirs.len(), CachedDirectory::default);
        let unwritten = UnwrittenSeries::hold(&self.config.dirs);
        let mut attempt = 0;
        loop {
            attempt += 1;
            // Compactors that disturb several attempts are locked out.
            let _locks: Vec<Option<CompactorLock>> = match attempt {
                ..=UNLOCKED_ATTEMPTS => Vec::new(),
                _ => self.config.dirs.iter().map(|dir| CompactorLock::try_share(dir)).collect(),
            };
            let mut live_files = Vec::new();
            let mut context = ReadContext {
                merge: &mut cache.merge,
                reader: &mut cache.reader,
                prober: &mut cache.prober,
                method: self.config.method,
                dead_gauges,
                spare_descriptors: self.max_open_files,
                verdicts: cache.verdicts,
                writer_verdicts: HashMap::default(),
                now: Instant::now(),
                live_files: self.config.worker_procfs.is_some().then_some(&mut live_files),
            };
            let mut is_disturbed = false;
            let mut all_stats = Vec::with_capacity(self.config.dirs.len());
            let mut dirs = Vec::with_capacity(self.config.dirs.len());
            for (at, dir) in place::distinct(&self.config.dirs) {
                context.merge.dir = at as u32;
                let (result, stats) = read_directory(&mut context, dir, &mut cache.dirs[at]);
                is_disturbed |= result == Consistency::Disturbed;
                unwritten.add(context.merge, dir, at);
                dirs.push(dir.clone());
                all_stats.push(stats);
            }
            if is_disturbed && attempt < MAX_ATTEMPTS {
                cache.merge.restart_scrape();
                continue;
            }
            if is_disturbed {
                let first = self.config.dirs.first().map(|dir| dir.join(ARCHIVE_NAME));
                cache.merge.skipped.add(&first.unwrap_or_default(), SkipCause::ArchiveReplaced);
            }
            let mut named = NamedFiles::new(&dirs);
            for file in &self.config.files {
                let dir = self.all_dirs.iter().position(|dir| dir == parent(file));
                let dir_index = dir.unwrap_or_default() as u32;
                named.add(&mut cache.merge, &mut cache.reader, file, dir_index);
            }
            if cache.merge.has_reduced_mixed_modes() {
                cache.merge.restart_scrape();
                continue;
            }
            cache.merge.finish_adding();
            let verdicts = if cache.merge.has_removed_totals() {
                WriterVerdicts::Fresh
            } else {
                WriterVerdicts::Recent
            };
            if std::mem::replace(&mut cache.verdicts, verdicts) == WriterVerdicts::Recent
                && verdicts == WriterVerdicts::Fresh
            {
                // The first scrape that sees a removal.
                cache.merge.restart_scrape();
                continue;
            }
            if self.config.method == ReadMethod::Mmap {
                // The scrapes that follow read few bytes by `pread`.
                cache.reader.release();
            }
            let (labels, summary) = (Vec::new(), ScrapeStats::default());
            return Scraped { dirs, stats: all_stats, live_files, labels, summary };
        }
    }

    /// Reads everything and writes the merged families to `out`.
    fn scrape(
        &self,
        cache: &mut Cache,
        absent: AbsentWriters,
        out: &mut dyn FamilySink,
    ) -> Scraped {
        let begin = Instant::now();
        let mut scraped = self.read(cache, EntryTimes::wanted_by(out));
        let settings = &self.config.settings;
        let (exported, conflicts) = cache.merge.exported(settings);
        let unsupported = cache.merge.skipped.unsupported_archive();
        self.count_problems(&mut cache.merge, &exported, &mut scraped.summary);
        let read_time = begin.elapsed();
        scraped.summary.read_time = read_time;
        if let Some(error) = unsupported {
            out.fail(error);
            return scraped;
        }
        // The writers of counters have a label only if the metrics of workers are exported.
        let gauge_count = cache.merge.sources().len();
        // The sources of a scrape without a cache are not compared with those of others.
        let is_comparable = scraped.live_files.is_empty() && absent == AbsentWriters::Removed;
        let version = is_comparable.then(|| cache.merge.sources_version());
        cache.merge.append_sources(&mut scraped.live_files);
        let sources = cache.merge.sources();
        let labels = match self.process_labels.acquire() {
            Some(mut labels) => labels.assign_version(version, sources, &self.dir_names, absent),
            None => Arc::new(ProcessLabels::default().assign(sources, &self.dir_names, absent)),
        };
        let of_workers = &labels.by_source[gauge_count..];
        scraped.labels =
            of_workers.iter().map(|at| Arc::clone(&labels.labels[*at as usize])).collect();
        let emitted = emit::emit(&cache.merge, &exported, settings, &labels, out);
        scraped.live_files = cache.merge.split_off_sources(gauge_count);
        scraped.summary.series = emitted.series;
        scraped.summary.write_time = begin.elapsed().saturating_sub(read_time);
        for conflict in conflicts.into_iter().chain(emitted.conflicts) {
            self.counters.count_conflict(conflict.reason());
            self.report(CONFLICT, &conflict.into_error(), &mut scraped.summary);
        }
        scraped
    }

    /// Counts and reports what was skipped, and counts histograms with different bounds.
    fn count_problems(
        &self,
        merge: &mut Merge,
        exported: &[ExportedFamily],
        summary: &mut ScrapeStats,
    ) {
        let has_conflict = |it: &&ExportedFamily| {
            let family = &merge.catalog.families[it.at];
            family.metric_type == MetricType::Histogram
                && family.groups().any(|group| merge.has_bucket_conflict(group))
        };
        let families = exported.iter().filter(has_conflict).count();
        self.counters.count_bucket_conflicts(families as u64);
        for (reason, error) in std::mem::take(&mut merge.skipped).into_errors() {
            self.counters.count_skipped(reason);
            self.report(reason.as_str(), &error, summary);
        }
    }

    fn report(&self, reason: &'static str, error: &Error, summary: &mut ScrapeStats) {
        if let Some(on_problem) = &self.config.on_problem {
            on_problem(error);
        }
        if !self.config.on_scrape.is_empty() {
            summary.add_problem(reason, error);
        }
    }

    /// Passes what the scrape has found to the listeners.
    fn notify(&self, summary: ScrapeStats) {
        if self.config.on_scrape.is_empty() {
            return;
        }
        let summary = Arc::new(summary);
        self.config.on_scrape.iter().for_each(|listener| listener(&summary));
    }

    /// Writes the metrics of the collector itself, and those of the workers.
    fn write_own_metrics(&self, scraped: &Scraped, names: &[String], out: &mut dyn FamilySink) {
        self.counters.write(out);
        let Scraped { dirs, stats, live_files, labels, summary } = scraped;
        SERIES.write(out, summary.series as f64);
        self_metrics::write_directories(dirs, names, stats, out);
        // Without the table, the CPU time of ended workers is unknown, and a sum would fall.
        if let Some(procfs) = &self.config.worker_procfs
            && let Some(mut table) = self.workers.acquire()
        {
            let labels = (self.config.settings.pid_label.as_str(), labels.as_slice());
            let report = write_workers(&mut table, procfs, live_files, labels, out);
            drop(table);
            if let Some(line) = report {
                log_line(&line);
            }
        }
    }
}

impl Collector for MultiProcessCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        if !refresh_computed(&self.config.dirs) {
            return;
        }
        let scraped = match self.cache.acquire() {
            Some(mut cache) => {
                let scraped = self.scrape(&mut cache, AbsentWriters::Removed, out);
                let lines = cache.prober.unreported();
                // Other scrapes must not wait for the log.
                drop(cache);
                for line in &lines {
                    log_line(line);
                }
                scraped
            }
            None => self.scrape(&mut Cache::default(), AbsentWriters::Kept, out),
        };
        self.counters.count_times(scraped.summary.read_time, scraped.summary.write_time);
        let names = self_metrics::directory_labels(&scraped.dirs, &self.config.directory_labels);
        match &self.config.settings.filter {
            Some(filter) => {
                self.write_own_metrics(
                    &scraped,
                    &names,
                    &mut FilteredSink::new(out, |head| filter(head.name, head.metric_type)),
                );
            }
            None => self.write_own_metrics(&scraped, &names, out),
        }
        self.notify(scraped.summary);
    }

    fn is_sorted(&self) -> bool {
        true
    }

    fn directories(&self) -> Vec<DirectoryId> {
        self.config.dirs.iter().filter_map(|dir| DirectoryId::of(dir).ok()).collect()
    }

    fn is_merged(&self) -> bool {
        false
    }
}

impl fmt::Debug for MultiProcessCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiProcessCollector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CollectorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorConfig")
            .field("dirs", &self.dirs)
            .field("files", &self.files)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::entries::push_entry;
    use crate::file::key;
    use crate::file::layout::{EntryKind, HEADER_LEN, Header};
    use crate::file::name::{FileKind, WriterId};
    use crate::file::writer::{FileAccess, Room, SeriesWriter};
    use crate::model::{FamilyMetadata, GaugeMode, Sample};
    use crate::test_dir::TestDir;
    use std::fs;
    use std::path::Path;

    const SERIES: usize = 1_000;

    struct SampleCounter(usize);

    impl FamilySink for SampleCounter {
        fn family(&mut self, _: &FamilyMetadata<'_>) {}

        fn sample(&mut self, _: &Sample<'_>) {
            self.0 += 1;
        }
    }

    /// Writes the file of a process with series that no other process has.
    fn write(dir: &Path, process: usize) -> PathBuf {
        let mut bytes = vec![0; HEADER_LEN];
        for number in 0..SERIES {
            let (mut text, value) = (Vec::new(), format!("{process}-{number}"));
            key::encode(&mut text, "c", "c_total", [("label", &*value)].into_iter(), "Help.");
            push_entry(&mut bytes, EntryKind::Value, &text, 1.0, 1.0);
        }
        let header = Header::new(bytes.len() as u32).encode();
        bytes[..HEADER_LEN].copy_from_slice(&header);
        let path = dir.join(format!("counter_{process}-0000000a.db"));
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn sums_that_no_file_has_any_more_are_dropped() {
        let dir = TestDir::new();
        let collector = MultiProcessCollector::new(&dir).unwrap();
        let mut most = 0;
        for process in 0..20 {
            let path = write(&dir, process);
            let mut count = SampleCounter(0);
            collector.collect(&mut count);
            assert!(count.0 >= SERIES);
            let cache = collector.cache.acquire().unwrap();
            most = most.max(cache.merge.catalog.lens().0);
            drop(cache);
            fs::remove_file(path).unwrap();
        }
        assert!(most > SERIES, "{most} sums");
        // At most the sums in use, as many stale ones and `MAX_STALE`, and those of the last file.
        assert!(most <= 5 * SERIES, "{most} sums");
    }

    /// Writes files of two processes with a gauge of each mode; values repeat, and some were never set or are removed.
    fn write_gauges(dir: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for (process, mode) in (0..2).flat_map(|at| GaugeMode::ALL.iter().map(move |it| (at, it))) {
            let mut bytes = vec![0; HEADER_LEN];
            let values = [1.5, -0.0, 0.0, f64::NAN, 3.0, 1e300];
            for (at, value) in values.into_iter().enumerate() {
                let (mut text, name) = (Vec::new(), format!("g_{mode}"));
                let labels = [("label", &*format!("{at}"))];
                key::encode(&mut text, &name, &name, labels.into_iter(), "Help.");
                let value = if process == 0 { value } else { values[5 - at] };
                let time = [1.0, 2.0, 0.0, 4.0, -5.0, 1.0][(at + process) % 6];
                push_entry(&mut bytes, EntryKind::Value, &text, value, time);
            }
            let header = Header::new(bytes.len() as u32).encode();
            bytes[..HEADER_LEN].copy_from_slice(&header);
            let path = dir.join(format!("gauge_{mode}_{process}-0000000{process}.db"));
            fs::write(&path, bytes).unwrap();
            paths.push(path);
        }
        paths
    }

    /// The samples of gauges of a directory whose processes have ended, and of a living process.
    fn gauges_of(dead: &Path, named: &[PathBuf], added: &[(&str, &str)]) -> String {
        let mut builder = MultiProcessCollector::builder().directory(dead);
        for file in named {
            builder = builder.file(file);
        }
        for (name, value) in added {
            builder = builder.label(*name, *value);
        }
        let registry = crate::Registry::new();
        registry.register(builder.build().unwrap()).unwrap();
        // The second scrape applies plans.
        let first = registry.render(None).to_string();
        let text = registry.render(None).to_string();
        let gauges = |text: &str| -> String {
            text.split_inclusive('\n').filter(|line| line.contains("g_")).collect()
        };
        assert_eq!(gauges(&first), gauges(&text));
        gauges(&text)
    }

    #[test]
    fn gauges_that_are_reduced_while_files_are_added_have_the_values_of_those_that_are_kept() {
        let (dead, live) = (TestDir::new(), TestDir::new());
        write_gauges(&dead);
        let named = write_gauges(&live);
        let reduced = gauges_of(&dead, &named, &[]);
        assert!(reduced.lines().count() > 6 * GaugeMode::ALL.len(), "{reduced}");
        // All series have this label, so it is not added, but gauges are kept.
        assert_eq!(gauges_of(&dead, &named, &[("label", "x")]), reduced);
    }

    #[test]
    fn a_gauge_with_several_modes_is_merged_by_the_last_of_them() {
        let dir = TestDir::new();
        for path in write_gauges(&dir) {
            if !path.to_string_lossy().contains("gauge_min_") {
                fs::remove_file(path).unwrap();
            }
        }
        assert!(gauges_of(&dir, &[], &[]).contains("g_min{label=\"0\"} 1.5\n"));
        let file =
            |mode: &str, process| dir.join(format!("gauge_{mode}_{process}-0000000{process}.db"));
        fs::rename(file("min", 1), file("sum", 1)).unwrap();
        let text = gauges_of(&dir, &[], &[]);
        assert!(text.contains("g_min{label=\"0\"} 1e+300\n"), "{text}");
        assert_eq!(gauges_of(&dir, &[], &[("label", "x")]), text);
    }

    /// A writer holds the locks of all its files until it ends or closes them, so one of them is enough.
    #[test]
    fn a_writer_that_holds_the_lock_of_one_file_of_gauges_is_alive_for_all() {
        let dir = TestDir::new();
        let mut id = WriterId::new("7", 0xbeef);
        let mut create = |mode: GaugeMode| {
            let kind = FileKind::Gauge(mode);
            let mut writer = SeriesWriter::create(&dir, kind, &mut id, FileAccess::Owner).unwrap();
            let (mut text, name) = (Vec::new(), format!("g_{mode}"));
            key::encode(&mut text, &name, &name, std::iter::empty(), "Help.");
            writer.append(&text, 3.0, 1.0, Room::Ordinary).unwrap();
            writer
        };
        let modes = [GaugeMode::LiveMax, GaugeMode::LiveMin, GaugeMode::LiveSum];
        let [first, second, third] = modes.map(&mut create);
        second.close();
        let all = "g_livemax 3\ng_livemin 3\ng_livesum 3\n";
        let samples = |text: String| -> String {
            text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect()
        };
        assert_eq!(samples(gauges_of(&dir, &[], &[])), all);
        first.close();
        third.close();
        assert_eq!(gauges_of(&dir, &[], &[]), "");
    }

    /// Panics at the first sample, or notes the processes of all.
    struct Processes(Option<Vec<String>>);

    impl FamilySink for Processes {
        fn family(&mut self, _: &FamilyMetadata<'_>) {}

        fn sample(&mut self, sample: &Sample<'_>) {
            let processes = self.0.as_mut().expect("the sink of this scrape panics");
            processes.extend(sample.labels.get("pid").map(str::to_owned));
        }
    }

    #[test]
    fn labels_of_a_scrape_that_panicked_are_not_those_of_other_files() {
        let dir = TestDir::new();
        write_gauges(&dir);
        let collector = MultiProcessCollector::new(&dir).unwrap();
        let scrape = || collector.collect(&mut Processes(None));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(scrape)).unwrap_err();
        let file = |process| dir.join(format!("gauge_all_{process}-0000000{process}.db"));
        fs::rename(file(1), file(2)).unwrap();
        let mut shown = Processes(Some(Vec::new()));
        collector.collect(&mut shown);
        let mut expected = Processes(Some(Vec::new()));
        MultiProcessCollector::new(&dir).unwrap().collect(&mut expected);
        assert!(expected.0.as_ref().unwrap().contains(&"2".to_owned()));
        assert_eq!(shown.0, expected.0);
    }
}

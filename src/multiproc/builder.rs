//! The builder of the collector.

use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::collector::{CollectorConfig, MultiProcessCollector};
use super::directory::{self, DirectoryLabels, FileSystems};
use super::merge::settings::MergeSettings;
use super::prober::OwnerLease;
use super::read::context::ReadMethod;
use super::scrape_stats::ScrapeStats;
use crate::error::{Error, ErrorKind, Result};
use crate::file::environment::{DIR_VARIABLE, OLD_DIR_VARIABLE, multiprocess_dir};
use crate::file::fault_guard::guard_mappings;
use crate::logging;
use crate::model::{GaugeMode, MetricType, name};

impl MultiProcessCollector {
    /// A collector for one directory, with the rules of the Python client.
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](ErrorKind::Directory) if the directory cannot be listed, and of kind
    /// [`Unsupported`](ErrorKind::Unsupported) if it is on a file system on which multiprom is not tested.
    pub fn new(dir: impl AsRef<Path>) -> Result<MultiProcessCollector> {
        MultiProcessCollector::builder().directory(dir).build()
    }

    /// A collector for the directory in the variable `PROMETHEUS_MULTIPROC_DIR` or `prometheus_multiproc_dir`.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) if neither variable is set, else as [`new`](Self::new).
    pub fn from_env() -> Result<MultiProcessCollector> {
        let dir = multiprocess_dir().ok_or_else(|| {
            let message = format!("neither {DIR_VARIABLE} nor {OLD_DIR_VARIABLE} is set");
            Error::new(ErrorKind::Usage, message)
        })?;
        MultiProcessCollector::new(dir)
    }

    /// A builder for a collector.
    pub fn builder() -> MultiProcessCollectorBuilder {
        MultiProcessCollectorBuilder {
            file_systems: FileSystems::Supported,
            config: CollectorConfig {
                dirs: Vec::new(),
                directory_labels: DirectoryLabels::default(),
                files: Vec::new(),
                method: ReadMethod::Pread,
                owner_lease: None,
                settings: MergeSettings::default(),
                on_problem: None,
                on_scrape: Vec::new(),
                worker_procfs: None,
            },
        }
    }
}

/// Configures a [`MultiProcessCollector`].
///
/// ```
/// use multiprom::{Backend, Counter, Gauge, GaugeMode, MultiProcessCollector, Registry};
///
/// # let dir = std::env::temp_dir().join(format!("multiprom-builder-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// // Two workers. The gauge has no mode, so each worker has a series of its own.
/// for jobs in [2.0, 3.0] {
///     let worker = Registry::builder().backend(Backend::directory(&dir)?).build()?;
///     Counter::builder("jobs", "Jobs done.").register(&worker)?.inc_by(jobs);
///     Gauge::builder("busy", "Jobs in progress.").register(&worker)?.set(1.0);
/// }
///
/// let collector = MultiProcessCollector::builder()
///     .directory(&dir)
///     .label("service", "mail")
///     .default_gauge_mode(GaugeMode::LiveSum)
///     .filter(|name, _| !name.starts_with("multiprom_"))
///     .build()?;
/// let merged = Registry::builder().backend(Backend::in_memory()).build()?;
/// merged.register(collector)?;
/// assert_eq!(
///     merged.render(None).to_string(),
///     "# HELP busy Jobs in progress.\n\
///      ## TYPE busy gauge\n\
///      busy{service=\"mail\"} 2\n\
///      ## HELP jobs_total Jobs done.\n\
///      ## TYPE jobs_total counter\n\
///      jobs_total{service=\"mail\"} 5\n"
/// );
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), multiprom::Error>(())
/// ```
#[must_use = "`build` creates the collector"]
pub struct MultiProcessCollectorBuilder {
    file_systems: FileSystems,
    config: CollectorConfig,
}

impl MultiProcessCollectorBuilder {
    /// Reads values through mappings. This installs a guard against SIGBUS for the whole process.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for exporters"))]
    pub(crate) fn map_files(mut self) -> Result<MultiProcessCollectorBuilder> {
        guard_mappings().map_err(|error| Error::new(ErrorKind::Io, error))?;
        self.config.method = ReadMethod::Mmap;
        Ok(self)
    }

    /// Caches nothing, as the collector is scraped once.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn scraped_once(mut self) -> MultiProcessCollectorBuilder {
        self.config.method = ReadMethod::Once;
        self
    }

    /// Also takes leases under the user id of the owners of files.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn owner_lease(
        mut self,
        lease: Arc<dyn OwnerLease>,
    ) -> MultiProcessCollectorBuilder {
        self.config.owner_lease = Some(lease);
        self
    }

    /// Adds a directory. Several directories are merged as if their files were in one. A directory that is added twice,
    /// also by different names, counts once.
    pub fn directory(mut self, dir: impl AsRef<Path>) -> MultiProcessCollectorBuilder {
        self.config.dirs.push(dir.as_ref().to_owned());
        self
    }

    /// Adds a directory whose label `directory` in multiprom's own metrics is not its path, which differs after each
    /// start.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the launcher"))]
    pub(crate) fn labelled_directory(
        mut self,
        dir: &Path,
        label: &str,
    ) -> MultiProcessCollectorBuilder {
        self.config.directory_labels.insert(dir.to_owned(), label.to_owned());
        self.directory(dir)
    }

    /// Accepts directories on any file system. On one that is not tmpfs, ext4, xfs, btrfs or overlayfs, values that are
    /// being written may be seen late or torn.
    pub fn any_file_system(mut self) -> MultiProcessCollectorBuilder {
        self.file_systems = FileSystems::Any;
        self
    }

    /// Adds one series file. Its name determines what it holds. A file that is added twice counts once.
    pub fn file(mut self, file: impl AsRef<Path>) -> MultiProcessCollectorBuilder {
        self.config.files.push(file.as_ref().to_owned());
        self
    }

    /// Names the label that distinguishes processes in the modes `all` and `liveall`; `pid` by default. If series have
    /// a label of that name, it becomes `exported_<name>`.
    pub fn pid_label(mut self, name: impl Into<String>) -> MultiProcessCollectorBuilder {
        self.config.settings.pid_label = name.into();
        self
    }

    /// Adds a label to every merged series that does not have it. Series that become equal are merged.
    pub fn label(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> MultiProcessCollectorBuilder {
        self.config.settings.labels.push((name.into(), value.into()));
        self
    }

    /// Keeps only families for whose name and type `keep` returns `true`. The name of a counter is passed without
    /// `_total`. The collector's own metrics, whose names begin with `multiprom_`, are filtered as well.
    pub fn filter(
        mut self,
        keep: impl Fn(&str, MetricType) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.config.settings.filter = Some(Box::new(keep));
        self
    }

    /// Merges gauge families by another mode than that of their files, if `rule` returns one.
    ///
    /// Values that `mark_process_dead` or a compactor has removed, and times that were not recorded, cannot be
    /// recovered.
    pub fn gauge_mode(
        mut self,
        rule: impl Fn(&str) -> Option<GaugeMode> + Send + Sync + 'static,
    ) -> Self {
        self.config.settings.gauge_mode = Some(Box::new(rule));
        self
    }

    /// Merges gauge families whose files have the mode [`All`](GaugeMode::All) by another mode.
    ///
    /// `All` is the mode of gauges for which a program has chosen none. It exports one series for each process, and those of
    /// ended processes until a compactor removes them, by default after an hour. Families with any other mode keep it; [`gauge_mode`](Self::gauge_mode) takes precedence.
    ///
    /// A mode that is not live counts ended processes for as long as their gauges are kept, see
    /// [`CompactorBuilder::keep_dead`](super::CompactorBuilder::keep_dead). The modes mostrecent need times, which
    /// files of the mode `All` do not have.
    pub fn default_gauge_mode(mut self, mode: GaugeMode) -> MultiProcessCollectorBuilder {
        self.config.settings.default_gauge_mode = mode;
        self
    }

    /// Also exports metrics of each process that writes files in the directories, such as CPU time and memory, read from
    /// `/proc` at each scrape. The processes need no code for this.
    ///
    /// | family | type | about |
    /// |---|---|---|
    /// | `multiprom_worker_cpu_seconds_total` | counter | each worker |
    /// | `multiprom_worker_resident_memory_bytes`, `multiprom_worker_virtual_memory_bytes` | gauge | each worker |
    /// | `multiprom_worker_virtual_memory_max_bytes` | gauge | each worker |
    /// | `multiprom_worker_start_time_seconds`, `multiprom_worker_threads` | gauge | each worker |
    /// | `multiprom_worker_open_fds`, `multiprom_worker_max_fds` | gauge | each worker |
    /// | `multiprom_all_workers_cpu_seconds_total` | counter | the sum, ended workers included |
    /// | `multiprom_all_workers_resident_memory_bytes`, `multiprom_all_workers_virtual_memory_bytes` | gauge | the sum |
    /// | `multiprom_all_workers_threads`, `multiprom_all_workers_open_fds` | gauge | the sum |
    /// | `multiprom_workers{state}` | gauge | processes that were `found`, and living writers whose process is `unreadable` or `not_found` |
    ///
    /// The metrics of a worker have the same label as its gauges in the mode [`All`](GaugeMode::All): see
    /// [`pid_label`](Self::pid_label). The names begin with `multiprom_`, so they differ from all metrics of the workers and
    /// from the `process_` metrics of the process that exports.
    ///
    /// A process is a worker only if `/proc` shows that it has one of the files mapped or open for writing, so a pid that was reused, or
    /// that belongs to another pid namespace, is not mistaken for it. Workers in another pid namespace are found if `/proc`
    /// shows their processes at all. The metrics of workers of another user need CAP_SYS_PTRACE; without it they are missing,
    /// which is logged once and counted as `unreadable`.
    ///
    /// The sum of CPU times includes ended workers, as far as a scrape of this collector has seen them: what a worker used
    /// after the last scrape before its end is missing, and a worker that lives between two scrapes only is not counted.
    pub fn worker_metrics(mut self, is_enabled: bool) -> MultiProcessCollectorBuilder {
        self.config.worker_procfs = is_enabled.then(|| PathBuf::from("/proc"));
        self
    }

    /// The same as [`worker_metrics`](Self::worker_metrics), with another mount of procfs than `/proc`, such as that of the
    /// host in a container.
    pub fn worker_metrics_of(mut self, procfs: impl Into<PathBuf>) -> MultiProcessCollectorBuilder {
        self.config.worker_procfs = Some(procfs.into());
        self
    }

    /// Calls `listener` at each scrape with an error for everything that the scrape skips.
    pub fn on_problem(mut self, listener: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.config.on_problem = Some(Box::new(listener));
        self
    }

    /// Calls `listener` at the end of each scrape with what it has found.
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) fn on_scrape(
        mut self,
        listener: impl Fn(&Arc<ScrapeStats>) + Send + Sync + 'static,
    ) -> Self {
        self.config.on_scrape.push(Box::new(listener));
        self
    }

    /// Creates the collector.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](ErrorKind::Usage) without a directory or file, of kind [`Directory`](ErrorKind::Directory) if
    /// a directory cannot be listed, of kind [`Unsupported`](ErrorKind::Unsupported) if it is on a file system on which
    /// multiprom is not tested, and of kind [`InvalidLabels`](ErrorKind::InvalidLabels) for an invalid label name.
    pub fn build(self) -> Result<MultiProcessCollector> {
        logging::note_standard_error();
        let mut config = self.config;
        if config.dirs.is_empty() && config.files.is_empty() {
            return Err(Error::new(ErrorKind::Usage, "no multiprocess directory is given"));
        }
        for dir in &config.dirs {
            directory::check(dir, self.file_systems)?;
        }
        let settings = &mut config.settings;
        settings.labels.sort();
        let names = settings.labels.iter().map(|(name, _)| name.as_str());
        let names = names.chain(iter::once(settings.pid_label.as_str()));
        name::check_label_names(&names, Some("le"))
            .map_err(|error| Error::new(ErrorKind::InvalidLabels, error))?;
        Ok(MultiProcessCollector::with_config(config))
    }
}

impl fmt::Debug for MultiProcessCollectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiProcessCollectorBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

//! The metrics that multiprom exports about itself: one table with their names, help texts, types and labels.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{FamilySink, FamilyWriter, MetricType};

/// A metric that multiprom exports about itself.
#[derive(Debug)]
pub(crate) struct OwnMetric {
    /// The name of its samples: that of a counter ends in `_total`.
    name: &'static str,
    help: &'static str,
    metric_type: MetricType,
    /// The label with fixed values; empty if there is none.
    label: &'static str,
    /// The values of that label.
    values: &'static [&'static str],
}

pub(crate) static FILES: OwnMetric = gauge(
    "multiprom_files",
    "Series files, by whether their writer lives or a compactor has retired them.",
)
.by("state", &["alive", "dead", "unknown", "retired"]);
pub(crate) static FILES_BYTES: OwnMetric =
    gauge("multiprom_files_bytes", "Size of the series files that were read.");
pub(crate) static FILES_ENTRIES: OwnMetric =
    gauge("multiprom_files_entries", "Entries of the series files that were read.");
pub(crate) static SERIES: OwnMetric =
    gauge("multiprom_series", "Merged series, without those of multiprom itself.");
/// The values are the fields of `ScrapeCounters`.
pub(crate) static SCRAPE_DURATION: OwnMetric = summary(
    "multiprom_scrape_duration_seconds",
    "Time to read and merge all directories, and to write the merged series, waiting for clients included.",
)
.by("phase", &["read", "write"]);
pub(crate) static ARCHIVE_GENERATION: OwnMetric =
    gauge("multiprom_archive_generation", "How often the archive was written.");
pub(crate) static ARCHIVE_BYTES: OwnMetric =
    gauge("multiprom_archive_bytes", "Size of the archive.");
pub(crate) static ARCHIVE_SERIES: OwnMetric =
    gauge("multiprom_archive_series", "Entries of the archive.");
pub(crate) static ARCHIVE_AGE: OwnMetric =
    gauge("multiprom_archive_age_seconds", "Time since the archive was written.");
pub(crate) static DIRECTORY_FREE_BYTES: OwnMetric = gauge(
    "multiprom_directory_free_bytes",
    "Space that is left on the file system of the directory.",
);
pub(crate) static DIRECTORY_ON_DISK: OwnMetric = gauge(
    "multiprom_directory_on_disk",
    "Whether the directory is on a disk, where a snapshot with a full disk, a failing device or a frozen file system can \
     end or stop its writers.",
);
/// The values are the fields of `Workers`.
pub(crate) static WORKERS: OwnMetric =
    gauge("multiprom_workers", "Living writers of files, by whether their process was found.")
        .by("state", &["found", "unreadable", "not_found"]);
pub(crate) static WORKER_CPU: OwnMetric = counter(
    "multiprom_worker_cpu_seconds_total",
    "Total user and system CPU time spent by a worker in seconds.",
);
pub(crate) static WORKER_VIRTUAL_MEMORY: OwnMetric =
    gauge("multiprom_worker_virtual_memory_bytes", "Virtual memory size of a worker in bytes.");
pub(crate) static WORKER_MAX_VIRTUAL_MEMORY: OwnMetric = gauge(
    "multiprom_worker_virtual_memory_max_bytes",
    "Maximum amount of virtual memory available to a worker in bytes.",
);
pub(crate) static WORKER_RESIDENT_MEMORY: OwnMetric =
    gauge("multiprom_worker_resident_memory_bytes", "Resident memory size of a worker in bytes.");
pub(crate) static WORKER_START_TIME: OwnMetric = gauge(
    "multiprom_worker_start_time_seconds",
    "Start time of a worker since unix epoch in seconds.",
);
pub(crate) static WORKER_THREADS: OwnMetric =
    gauge("multiprom_worker_threads", "Number of OS threads in a worker.");
pub(crate) static WORKER_OPEN_FDS: OwnMetric =
    gauge("multiprom_worker_open_fds", "Number of open file descriptors of a worker.");
pub(crate) static WORKER_MAX_FDS: OwnMetric =
    gauge("multiprom_worker_max_fds", "Maximum number of open file descriptors of a worker.");
pub(crate) static WORKERS_CPU: OwnMetric = counter(
    "multiprom_all_workers_cpu_seconds_total",
    "Total user and system CPU time spent by all workers in seconds, ended ones included.",
);
pub(crate) static WORKERS_VIRTUAL_MEMORY: OwnMetric = gauge(
    "multiprom_all_workers_virtual_memory_bytes",
    "Virtual memory size of all workers in bytes.",
);
pub(crate) static WORKERS_RESIDENT_MEMORY: OwnMetric = gauge(
    "multiprom_all_workers_resident_memory_bytes",
    "Resident memory size of all workers in bytes; shared pages count for each of them.",
);
pub(crate) static WORKERS_THREADS: OwnMetric =
    gauge("multiprom_all_workers_threads", "Number of OS threads in all workers.");
pub(crate) static WORKERS_OPEN_FDS: OwnMetric =
    gauge("multiprom_all_workers_open_fds", "Number of open file descriptors of all workers.");
/// The values are those of `SkipReason`.
pub(crate) static FILE_ERRORS: OwnMetric = counter(
    "multiprom_file_errors_total",
    "Series files, or entries of them, that a scrape skipped.",
)
.by(
    "reason",
    &[
        "directory",
        "name",
        "open",
        "not_regular",
        "linked",
        "empty",
        "truncated",
        "header",
        "layout",
        "checksum",
        "key",
        "sample",
        "kind",
        "archive",
    ],
);
pub(crate) static BUCKET_CONFLICTS: OwnMetric = counter(
    "multiprom_bucket_conflicts_total",
    "Histogram families merged from processes with different bounds.",
);
/// The values are those of `ConflictReason`.
pub(crate) static MERGE_CONFLICTS: OwnMetric = counter(
    "multiprom_merge_conflicts_total",
    "Families that a scrape left out or changed because processes disagree on them.",
)
.by("reason", &["name", "mode", "series"]);
/// The values are those of `PassResult`.
pub(crate) static COMPACTIONS: OwnMetric = counter(
    "multiprom_compactions_total",
    "Passes over a directory that wrote an archive, failed, or met another compactor.",
)
.by("result", &["committed", "failed", "busy"]);
pub(crate) static COMPACTION_SUCCESS_TIME: OwnMetric = gauge(
    "multiprom_compaction_last_success_timestamp_seconds",
    "When a pass over all directories succeeded last, since unix epoch in seconds.",
);
pub(crate) static ARCHIVES_SET_ASIDE: OwnMetric = counter(
    "multiprom_archives_set_aside_total",
    "Damaged archives that were renamed to `archive.bad.`.",
);
/// The values are those of `WriteError::reason`; the last one counts any other reason.
pub(crate) static DROPPED_SERIES: OwnMetric = counter(
    "multiprom_dropped_series_total",
    "Series of this process that did not get into a series file when they were first recorded.",
)
.by("reason", DROP_REASONS);
pub(crate) static RECOVERED_SERIES: OwnMetric = counter(
    "multiprom_recovered_series_total",
    "Series of this process that were dropped and got into a series file later.",
)
.by("reason", DROP_REASONS);
const DROP_REASONS: &[&str] =
    &["directory", "create", "space", "map", "key_too_long", "file_full", "descriptor", "other"];
/// The values are names of families.
pub(crate) static SERIES_OVERFLOWS: OwnMetric = counter(
    "multiprom_series_overflows_total",
    "Lookups of label sets beyond the limit of a family, which returned its series `other`, by family.",
)
.by("family", &[]);
pub(crate) static FILES_LOST: OwnMetric = counter(
    "multiprom_files_lost_total",
    "Series files that were removed while their process was recording.",
);
pub(crate) static IGNORED_RECORDINGS: OwnMetric = counter(
    "multiprom_ignored_recordings_total",
    "Recordings that interrupted multiprom in the same thread and were ignored.",
);
/// The values are those of `IgnoredValue`.
pub(crate) static IGNORED_VALUES: OwnMetric = counter(
    "multiprom_ignored_values_total",
    "Values that were not recorded: increments that are negative or not finite, observations of NaN, labels of infos.",
)
.by("reason", &["negative", "not_finite", "nan", "label"]);
/// The values are those of `FailedRefresh`.
pub(crate) static FAILED_REFRESHES: OwnMetric = counter(
    "multiprom_failed_refreshes_total",
    "Functions and collectors of this process that failed to compute values, and values that could not be written.",
)
.by("reason", &["panic", "error", "sample"]);
pub(crate) static REPEATED_FAMILIES: OwnMetric = counter(
    "multiprom_repeated_families_total",
    "Families left out because an earlier one has one of their names.",
);
/// The values are those of `RegistrationFailure`.
pub(crate) static REGISTRATION_ERRORS: OwnMetric = counter(
    "multiprom_registration_errors_total",
    "Statics that could not be registered and are not exported.",
)
.by("reason", &["name", "labels", "collision", "backend"]);
/// The values are those of `http::counters::DropReason`.
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_CONNECTIONS_DROPPED: OwnMetric = counter(
    "multiprom_http_connections_dropped_total",
    "Connections that the exporter dropped, by reason.",
)
.by("reason", &["head", "limit", "memory", "slow", "time", "tls"]);
/// The first three are always exported. The last one counts any other code.
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_REQUESTS: OwnMetric = counter(
    "multiprom_http_requests_total",
    "HTTP requests, by the status code of the response, complete or not.",
)
.by(
    "code",
    &["200", "500", "503", "204", "304", "400", "401", "404", "405", "413", "429", "other"],
);
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_REQUESTS_IN_FLIGHT: OwnMetric = gauge(
    "multiprom_http_requests_in_flight",
    "HTTP requests whose response is not completely written; the scrape that exports this is one of them.",
);
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_RESPONSE_DURATION: OwnMetric = summary(
    "multiprom_http_response_duration_seconds",
    "Time from the head of a request to the end of its response, complete or not.",
);
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_CONNECTIONS: OwnMetric =
    counter("multiprom_http_connections_total", "Connections that the exporter accepted.");
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_CONNECTIONS_OPEN: OwnMetric =
    gauge("multiprom_http_connections_open", "Open connections of the exporter.");
/// The values are those of `http::counters::AuthenticationFailure`.
#[cfg(all(feature = "exporter", unix))]
pub(crate) static HTTP_AUTHENTICATION_FAILURES: OwnMetric = counter(
    "multiprom_http_authentication_failures_total",
    "Requests without credentials, with wrong ones, and beyond the number whose password is verified at a time.",
)
.by("reason", &["missing", "invalid", "busy"]);

impl OwnMetric {
    /// Adds a label with fixed values.
    const fn by(self, label: &'static str, values: &'static [&'static str]) -> OwnMetric {
        OwnMetric { label, values, ..self }
    }

    /// The fixed values of its label.
    pub(crate) const fn values(&self) -> &'static [&'static str] {
        self.values
    }

    /// The name of its samples.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// The name of its label; empty if there is none.
    pub(crate) const fn label(&self) -> &'static str {
        self.label
    }

    /// The name of the family: that of a counter does not end in `_total`.
    pub(crate) fn family_name(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }

    pub(crate) fn help(&self) -> &'static str {
        self.help
    }

    /// Begins the family.
    pub(crate) fn begin<'a, 's>(&self, out: &'a mut (dyn FamilySink + 's)) -> FamilyWriter<'a, 's> {
        match self.metric_type {
            MetricType::Counter => out.counter(self.name, self.help),
            _ => out.gauge(self.name, self.help),
        }
    }

    /// Writes the family with one sample without labels.
    pub(crate) fn write(&self, out: &mut dyn FamilySink, value: f64) {
        self.begin(out).sample(&[], value);
    }

    /// The same, unless the value is 0.
    pub(crate) fn write_nonzero(&self, out: &mut dyn FamilySink, count: u64) {
        if count > 0 {
            self.write(out, count as f64);
        }
    }

    /// Writes the family with one sample for each value of its label whose count is not 0. Writes nothing if all are.
    pub(crate) fn write_all_nonzero(
        &self,
        out: &mut dyn FamilySink,
        counts: impl Iterator<Item = u64>,
    ) {
        let mut counts = self.values.iter().zip(counts).filter(|(_, count)| *count > 0).peekable();
        if counts.peek().is_some() {
            let mut family = self.begin(out);
            for (value, count) in counts {
                family.sample(&[(self.label, value)], count as f64);
            }
        }
    }

    /// Writes the family with one sample for each of the first values of its label, and one for each other value whose
    /// count is not 0: the family always exists, without many samples that are 0.
    pub(crate) fn write_first_and_nonzero(
        &self,
        out: &mut dyn FamilySink,
        first: usize,
        counts: impl Iterator<Item = u64>,
    ) {
        let mut family = self.begin(out);
        for (at, (value, count)) in self.values.iter().zip(counts).enumerate() {
            if at < first || count > 0 {
                family.sample(&[(self.label, value)], count as f64);
            }
        }
    }

    /// Writes a family of summaries without quantiles, one for each value of its label.
    pub(crate) fn write_summaries(&self, out: &mut dyn FamilySink, sums: &[DurationSum]) {
        let mut family = out.summary(self.name, self.help);
        for (at, sum) in sums.iter().enumerate() {
            let (count, seconds) = sum.get();
            match self.values.get(at) {
                Some(value) => family.sample(&[(self.label, value)], &[], count, seconds),
                None => family.sample(&[], &[], count, seconds),
            };
        }
    }

    /// Writes the family with one sample for each value of its label, in the order of the table.
    pub(crate) fn write_all(&self, out: &mut dyn FamilySink, counts: impl Iterator<Item = u64>) {
        let mut family = self.begin(out);
        for (value, count) in self.values.iter().zip(counts) {
            family.sample(&[(self.label, value)], count as f64);
        }
    }
}

const fn counter(name: &'static str, help: &'static str) -> OwnMetric {
    OwnMetric { name, help, metric_type: MetricType::Counter, label: "", values: &[] }
}

const fn gauge(name: &'static str, help: &'static str) -> OwnMetric {
    OwnMetric { name, help, metric_type: MetricType::Gauge, label: "", values: &[] }
}

const fn summary(name: &'static str, help: &'static str) -> OwnMetric {
    OwnMetric { name, help, metric_type: MetricType::Summary, label: "", values: &[] }
}

/// The number of durations and their sum.
#[derive(Debug)]
pub(crate) struct DurationSum {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Default for DurationSum {
    fn default() -> DurationSum {
        DurationSum::new()
    }
}

impl DurationSum {
    pub(crate) const fn new() -> DurationSum {
        DurationSum { count: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) }
    }

    pub(crate) fn add(&self, duration: Duration) {
        // ORDERING: relaxed, a statistic.
        self.count.fetch_add(1, Ordering::Relaxed);
        // OK because 2^64 nanoseconds are 584 years.
        self.nanoseconds.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The number, and the sum in seconds.
    fn get(&self) -> (f64, f64) {
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        (self.count.load(Ordering::Relaxed) as f64, sum.as_secs_f64())
    }
}

/// One counter for each value of the label of an own metric.
#[derive(Debug)]
pub(crate) struct OwnCounters<const N: usize>([AtomicU64; N]);

impl<const N: usize> OwnCounters<N> {
    pub(crate) const fn new() -> OwnCounters<N> {
        OwnCounters([const { AtomicU64::new(0) }; N])
    }

    /// Adds to the counter of the value with this index; returns its former count.
    pub(crate) fn add(&self, index: usize, count: u64) -> u64 {
        // ORDERING: relaxed, a statistic.
        self.0[index].fetch_add(count, Ordering::Relaxed)
    }

    #[cfg(all(test, feature = "exporter"))]
    pub(crate) fn get(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Relaxed)
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

impl<const N: usize> Default for OwnCounters<N> {
    fn default() -> OwnCounters<N> {
        OwnCounters::new()
    }
}

//! A Prometheus client and merging exporter for services that run as many processes.
//!
//! Workers record into memory-mapped files of one directory, at the cost of an in-memory client; a
//! [`MultiProcessCollector`], or the `multiprom` command, merges the directory at scrape time. Set
//! `PROMETHEUS_MULTIPROC_DIR` to a directory and every static below is shared by all processes; leave
//! it unset and the same program keeps its metrics in memory.
//!
//! ```
//! use multiprom::{Counter, Family, Histogram, Static, buckets};
//!
//! static HITS: Static<Counter> = Counter::declare("hits_total", "Page hits.");
//! static LATENCY: Static<Family<Histogram>> = Histogram::declare("latency_seconds", "Latency by route.")
//!     .buckets(&buckets::GO_DEFAULT)
//!     .labels(["route"]);
//!
//! HITS.inc();
//! LATENCY.with(["/"]).observe(0.2);
//!
//! let page = multiprom::render(None).to_string();
//! assert!(page.contains(
//!     "# HELP hits_total Page hits.\n\
//!      ## TYPE hits_total counter\n\
//!      hits_total 1\n"
//! ));
//! ```
//!
//! # Types
//!
//! | type | purpose |
//! |---|---|
//! | [`Counter`], [`Gauge`], [`Histogram`], [`Summary`], [`Info`], [`Enum`] | handles of one series: `Copy`, `Send` and `Sync`; fields, arguments and return values have these types |
//! | [`Family`] | the series of one metric with labels; `Family<Counter, 2>` has two labels, `Family<Counter>` one |
//! | [`TypedFamily`](metrics::TypedFamily), [`LabelSet`] | the same with the fields of a struct as labels |
//! | [`OpenFamily`](metrics::OpenFamily) | the same with label names that are known at run time only |
//! | [`Static`] | a metric or family that is declared as a `static`; dereferences to it |
//! | [`MetricBuilder`](metrics::MetricBuilder), [`FamilyBuilder`](metrics::FamilyBuilder) | create metrics at run time, in a [`Registry`] |
//! | [`Registry`], [`RegistryBuilder`], [`default_registry`] | metrics and collectors that are exported together |
//! | [`Registration`](collector::Registration), [`Restricted`](collector::Restricted) | unregisters collectors; shows the families of a registry that have given names |
//! | [`Backend`], [`DirectoryOptions`] | where the values of a registry are: in memory or in a directory |
//! | [`render`], [`gatherer`], [`Exposition`] | what a program exposes |
//! | [`Collector`], [`FamilySink`] | metrics that are computed at each scrape, and in a directory every five seconds |
//! | [`MultiProcessCollector`], [`Compactor`](compact::Compactor) | merge the files of all processes; merge those of ended processes into an archive |
//! | [`ProcessCollector`], [`BuildInfo`](collector::BuildInfo), [`PlatformInfo`](collector::PlatformInfo) | metrics of a process, its build and its platform |
//! | [`GaugeMode`] | how the values of a gauge from several processes become one |
//! | [`Error`], [`ErrorKind`] | what construction and registration return |
//!
//! The modules: [`buckets`] and [`labels`] have bounds of histograms and label values, [`metrics`] builders and timers,
//! [`collector`] what custom collectors and sinks need, `compact` and `inspect` the files of a directory, [`exposition`] the
//! formats, [`parse`] their parsers, [`testing`] helpers for tests, `bridge` textfiles and Graphite, `http` (feature `exporter`)
//! an HTTP server, `push` (feature `push`) a client of the Pushgateway, `facade` (feature `metrics-facade`) a recorder for the
//! crate `metrics`, and `integrations` collectors of the registries of other crates.
//!
//! # In memory and in a directory
//!
//! | | in memory | in a directory |
//! |---|---|---|
//! | chosen by | default, or [`Backend::in_memory`] | `PROMETHEUS_MULTIPROC_DIR`, or [`Backend::directory`] |
//! | values | of one process | of all processes, each in files of its own |
//! | after the process | lost | kept; live gauges disappear |
//! | a forked child | continues with the inherited values | starts from zero |
//! | [`render`] | this process | the merge, and the collectors of this process |
//! | a handle's `get` | this process | this process |
//!
//! The backend of the default registry, which statics use, is chosen once: by [`set_default_backend`] before its first
//! use, else by the environment. The directory must exist before series are written; `multiprom run` creates one. It
//! may be on tmpfs, ext4, xfs, btrfs or overlayfs.
//!
//! # Recording
//!
//! Recording returns nothing, cannot fail and does not panic. Registration and construction return errors.
//!
//! Recording to a series that this process has used before takes no lock, allocates nothing and makes no system call.
//! The first use of a series, by the first thread and by a second one, may create a file and wait for a fork that is in
//! progress, for two seconds at most; so may a thread that gets cells of its own because it records there often.
//! Two cases take longer: gauges of the modes `mostrecent` and `livemostrecent` also read the clock; and while series cannot be
//! written to a file, because the disk is full for example, one of their recordings a second retries it.
//!
//! # Threads and processes
//!
//! Everything can be used from any thread. The first thread that records a counter, histogram or summary has cells of its own;
//! all others share cells by atomic additions, until threads disturb each other or a thread records there often. Up to 16
//! threads at a time then have cells of their own. All threads share the cell of a gauge.
//!
//! Handles and statics of a parent are valid in its forked children. A child that is forked while other threads record
//! does not hang. A child that shares the memory of its parent (`vfork`) must not record.
//!
//! # Limits
//!
//! | what | limit |
//! |---|---|
//! | name, help text and labels of a sample in a file | 64 KiB as JSON; a longer one stays in memory and is counted in `multiprom_dropped_series_total` |
//! | labels of a sample | 128, `le` and `quantile` included; registration returns an error for more |
//! | buckets of a histogram | 1,000 |
//! | series of a family in a process | none, unless [`max_series`](metrics::MetricBuilder::max_series) sets one; [`Family::remove`], [`remove_matching`](Family::remove_matching), [`remove_where`](Family::remove_where) and [`remove_idle`](Family::remove_idle) remove series |
//! | a series file | 256 MiB; then another file is created |
//! | memory of a counter | 64 bytes for its cells, and further ones if several threads record |
//! | disk or tmpfs | 16 KiB for each metric type and gauge mode of a process at least; a sample takes the length of its key and 24 bytes |
//! | an integer in a counter | exact below 2<sup>53</sup>: values are `f64` |
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | none | recording, registries, collectors, compaction, the text formats and their parsers |
//! | `exporter` | `http`: an exporter on threads of its own, with gzip |
//! | `push` | `push`: a client of the Pushgateway, with TLS by rustls, whose library ring is C and assembly |
//! | `zstd` | zstd responses, by the C library; includes `exporter` |
//! | `derive` | the derive macros `LabelSet` and `LabelValue` |
//! | `metrics-facade` | `facade`, a recorder for the crate `metrics` |
//! | `protobuf` | the protobuf format |
//! | `log`, `tracing` | log lines go to these crates |
//! | `prometheus`, `prometheus-client` | `integrations`: collectors of the registries of these crates |
//! | `cli` | the command `multiprom` |
//!
//! # Platforms
//!
//! Multiprocess directories need Linux 4.14 or later. On other systems the crate compiles and all metrics stay in memory:
//! a set `PROMETHEUS_MULTIPROC_DIR` is logged once, [`Backend::directory`] returns an error of kind
//! [`Unsupported`](ErrorKind::Unsupported), and [`MultiProcessCollector`] and [`Compactor`](compact::Compactor) do not exist. `http`, `push` and
//! `bridge` need Unix.
//!
//! # Where to go next
//!
//! - [`Static`] and [`MetricBuilder`](metrics::MetricBuilder): the two ways to create metrics.
//! - `examples/tour.rs`: most of the API in one program.
//! - `docs/coming-from.md`: for users of the Python client and of the crates `prometheus`, `prometheus-client` and
//!   `metrics`.
//! - `docs/push.md`: batch jobs, the Pushgateway, textfiles and Graphite.
//! - `docs/testing.md`: how to test a program that uses this crate.
//! - `docs/format.md`: the bytes of all files, for programs in any language.
//! - `docs/design.md`: rules of the merge, and what is assumed about kernel and file system.
//!
//! # Signal handlers and allocators
//!
//! The first recordings of a series in a process allocate and take a lock, and so does a recording by which a thread gets cells
//! of its own. A signal handler should use handles that have recorded before, in a registry whose directory has
//! `DirectoryOptions::max_owned_cells(1)`, and not call [`Family::with`] with new label values: if the signal interrupts the
//! allocator, such a recording can hang, as any allocation in a signal handler can. A handler
//! can also lose one increment of the thread that it interrupts. A value that is ignored, such as a negative increment, takes
//! the lock too, and the first one allocates.
//!
//! A signal handler, or an allocator that records, may interrupt this crate itself in the same thread. A recording that
//! needs the lock is then ignored and counted in `multiprom_ignored_recordings_total`, a handle for new label values
//! records nothing, and registration returns an error of kind [`Reentrant`](ErrorKind::Reentrant).

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, unused_imports, reason = "the directory backend and the command need Linux")
)]

#[cfg(unix)]
mod background;
#[cfg(unix)]
pub mod bridge;
mod computed;
mod error;
pub mod exposition;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
mod file;
mod fork_safe;
#[cfg(all(any(feature = "fuzzing", test), target_os = "linux"))]
#[doc(hidden)]
pub mod fuzzing;
mod info;
#[cfg(any(feature = "prometheus", feature = "prometheus-client"))]
pub mod integrations;
mod logging;
mod merged;
pub mod metrics;
mod model;
#[cfg(target_os = "linux")]
mod multiproc;
#[cfg(unix)]
mod outgoing;
mod panics;
pub mod parse;
mod prefetch;
mod process;
mod registry;
mod store;
#[cfg(test)]
mod test_dir;
pub mod testing;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub mod unstable;

#[cfg(all(feature = "cli", target_os = "linux"))]
pub mod cli;
#[cfg(all(feature = "exporter", unix))]
pub mod http;
#[cfg(all(feature = "push", unix))]
pub mod push;

/// Collectors: sources of metric families, the sinks that receive them, and what passes between the two.
///
/// A program implements [`Collector`] for values that are computed at each scrape, and
/// [`FamilySink`] for a filter or an output format of its own.
pub mod collector {
    pub use crate::info::{BuildInfo, PlatformInfo};
    pub use crate::model::{
        BucketSpan, Collector, DirectoryId, Exemplar, FamilyMetadata, FamilySink, FamilyWriter,
        Gatherer, HistogramPoint, HistogramWriter, InfoWriter, Labels, MergeRule, MergedBy,
        MetricType, NativeBuckets, NativeHistogram, Sample, SampleKind, StateSetWriter,
        SummaryWriter, WithUnit,
    };
    #[cfg(target_os = "linux")]
    pub use crate::multiproc::{MultiProcessCollector, MultiProcessCollectorBuilder};
    pub use crate::process::ProcessCollector;
    pub use crate::registry::{Collectors, Registration, Restricted};
}

/// A recorder for the crate `metrics`: its macros record into metrics of this crate, and so into multiprocess directories.
#[cfg(feature = "metrics-facade")]
pub mod facade {
    pub use crate::metrics::facade::{Recorder, RecorderBuilder, install};
}

/// Compaction: merges the files of ended processes of a directory into one archive.
#[cfg(target_os = "linux")]
pub mod compact {
    pub use crate::multiproc::{
        CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, clear_directory,
    };
}

/// Inspection: what is in the files of a directory, which families take its space, and which of its processes live.
#[cfg(target_os = "linux")]
pub mod inspect {
    pub use crate::multiproc::{
        ArchiveInfo, DirectoryUsage, FamilyUsage, FileInfo, FileLayout, Liveness, family_usage,
        inspect_archive, inspect_file, list_files,
    };
}

pub use error::{Error, ErrorKind, Result};
pub use exposition::Exposition;
pub use logging::{LogLevel, LogLine, set_log_hook};
pub use merged::{DefaultGatherer, gatherer, render, try_render};
pub use metrics::labels::LabelValue;
pub use metrics::{
    Counter, Enum, Family, Gauge, Histogram, Info, LabelSet, Static, Summary, buckets, labels,
    register_statics,
};
pub use model::{Collector, FamilySink, GaugeMode, Unit};
#[cfg(target_os = "linux")]
pub use multiproc::{MultiProcessCollector, mark_dead_processes, mark_process_dead};
#[cfg(feature = "derive")]
pub use multiprom_derive::{LabelSet, LabelValue};
pub use process::ProcessCollector;
pub use registry::{
    Backend, DirectoryOptions, Registry, RegistryBuilder, default_registry, set_default_backend,
};

/// Compiles and runs the examples of the pages in `docs`.
#[cfg(all(doctest, target_os = "linux"))]
mod pages {
    #[doc = include_str!("../docs/coming-from.md")]
    mod coming_from {}
    #[cfg(feature = "push")]
    #[doc = include_str!("../docs/push.md")]
    mod push {}
    #[doc = include_str!("../docs/testing.md")]
    mod testing {}

    /// Declarations that do not compile: a malformed name, a label that the type sets, and unsorted bounds.
    ///
    /// ```compile_fail,E0080
    /// use multiprom::{Counter, Static};
    /// static HITS: Static<Counter> = Counter::declare("page hits", "Page hits.");
    /// fn main() {
    ///     HITS.inc();
    /// }
    /// ```
    ///
    /// ```compile_fail,E0080
    /// use multiprom::{Family, Histogram, Static};
    /// static SIZES: Static<Family<Histogram>> = Histogram::declare("sizes", "Sizes.").labels(["le"]);
    /// fn main() {
    ///     SIZES.with(["1"]).observe(1.0);
    /// }
    /// ```
    ///
    /// ```compile_fail,E0080
    /// use multiprom::{Histogram, Static};
    /// static SIZES: Static<Histogram> = Histogram::declare("sizes", "Sizes.").buckets(&[2.0, 1.0]);
    /// fn main() {
    ///     SIZES.observe(1.0);
    /// }
    /// ```
    ///
    /// A wrong number of label values:
    ///
    /// ```compile_fail,E0277
    /// use multiprom::{Counter, Family, Static};
    /// static HITS: Static<Family<Counter>> = Counter::declare("hits", "Page hits.").labels(["page"]);
    /// fn main() {
    ///     HITS.with(("a", "b")).inc();
    /// }
    /// ```
    mod do_not_compile {}

    /// Derives that do not compile: a variant with fields, two labels of one name, an unknown attribute, an unknown rule, an
    /// enum as label set, and a field that is no label value.
    ///
    /// ```compile_fail
    /// #[derive(multiprom::LabelValue)]
    /// enum Method {
    ///     Get,
    ///     Other(String),
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// #[derive(multiprom::LabelSet)]
    /// struct Http {
    ///     method: u8,
    ///     #[label(name = "method")]
    ///     verb: u8,
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// #[derive(multiprom::LabelSet)]
    /// struct Http {
    ///     #[label(rename = "method")]
    ///     verb: u8,
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// #[derive(multiprom::LabelValue)]
    /// #[label(rename_all = "Snake")]
    /// enum Method {
    ///     Get,
    /// }
    /// ```
    ///
    /// ```compile_fail
    /// #[derive(multiprom::LabelSet)]
    /// enum Method {
    ///     Get,
    /// }
    /// ```
    ///
    /// ```compile_fail,E0277
    /// #[derive(multiprom::LabelSet)]
    /// struct Share {
    ///     share: f64,
    /// }
    /// ```
    ///
    /// A label name that a static cannot have, and a label set of another type:
    ///
    /// ```compile_fail,E0080
    /// use multiprom::metrics::TypedFamily;
    /// use multiprom::{Histogram, LabelSet, Static};
    ///
    /// #[derive(LabelSet)]
    /// struct Sizes {
    ///     le: u8,
    /// }
    ///
    /// static SIZES: Static<TypedFamily<Histogram, Sizes>> =
    ///     Histogram::declare("sizes", "Sizes.").label_set();
    /// fn main() {
    ///     SIZES.with(&Sizes { le: 1 }).observe(1.0);
    /// }
    /// ```
    ///
    /// ```compile_fail,E0271
    /// use multiprom::metrics::TypedFamily;
    /// use multiprom::{Counter, LabelSet};
    ///
    /// #[derive(LabelSet)]
    /// struct A {
    ///     a: u8,
    /// }
    ///
    /// #[derive(LabelSet)]
    /// struct B {
    ///     a: u8,
    /// }
    ///
    /// fn count(family: TypedFamily<Counter, A>) {
    ///     family.with(&B { a: 1 }).inc();
    /// }
    /// ```
    ///
    /// The same declarations without the faults compile:
    ///
    /// ```
    /// use multiprom::metrics::TypedFamily;
    /// use multiprom::{Counter, LabelSet, LabelValue};
    ///
    /// #[derive(LabelValue)]
    /// #[label(rename_all = "snake_case")]
    /// enum Method {
    ///     Get,
    ///     #[label(name = "other")]
    ///     Unknown,
    /// }
    ///
    /// #[derive(LabelSet)]
    /// struct Http {
    ///     method: Method,
    ///     #[label(name = "verb", display)]
    ///     share: f64,
    /// }
    ///
    /// fn count(family: TypedFamily<Counter, Http>) {
    ///     family.with(&Http { method: Method::Get, share: 0.5 }).inc();
    ///     family.with(&Http { method: Method::Unknown, share: 0.5 }).inc();
    /// }
    /// ```
    #[cfg(feature = "derive")]
    mod derives_that_do_not_compile {}
}

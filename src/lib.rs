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
//! let page = multiprom::default_registry().render(None).to_string();
//! assert!(page.starts_with(
//!     "# HELP hits_total Page hits.\n\
//!      ## TYPE hits_total counter\n\
//!      hits_total 1\n"
//! ));
//! ```
//!
//! Recording never fails, blocks or panics. Registration and construction return errors.
//!
//! # Signal handlers and allocators
//!
//! The first recording of a series in a thread allocates and takes a lock; later ones do neither. A signal handler
//! should use handles that its thread has recorded with before, and not call [`Family::with`] with new label values: if
//! the signal interrupts the allocator, a first recording can hang, as any allocation in a signal handler can. A handler
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
mod error;
pub mod exposition;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "files need Linux"))]
mod file;
mod fork_safe;
#[cfg(all(any(feature = "fuzzing", test), target_os = "linux"))]
#[doc(hidden)]
pub mod fuzzing;
mod logging;
mod merged;
mod metrics;
mod model;
#[cfg(target_os = "linux")]
mod multiproc;
pub mod parse;
mod prefetch;
mod process;
mod registry;
mod store;

#[cfg(all(feature = "cli", target_os = "linux"))]
pub mod cli;
#[cfg(all(feature = "exporter", unix))]
pub mod http;

pub use error::{Error, ErrorKind, Result};
pub use exposition::Exposition;
pub use logging::{LogLine, set_log_hook};
pub use merged::{DefaultGatherer, gatherer, render, try_render};
pub use metrics::{
    AnyStatic, Counter, Declared, Family, FamilyBuilder, Gauge, Histogram, InProgress, Metric,
    MetricBuilder, Observation, Observe, Static, Summary, Timer, buckets, labels, register_statics,
};
pub use model::{
    BucketSpan, Collector, DirectoryId, Exemplar, FamilyMetadata, FamilySink, FamilyWriter,
    Gatherer, GaugeMode, HistogramPoint, HistogramWriter, InfoWriter, Labels, MetricType,
    NativeBuckets, NativeHistogram, Sample, SampleKind, StateSetWriter, SummaryWriter, Unit,
    UnknownGaugeMode, WithUnit,
};
#[cfg(target_os = "linux")]
pub use multiproc::{
    ArchiveInfo, CompactFiles, Compaction, Compactor, CompactorBuilder, CompactorThread, FileInfo,
    FileLayout, Liveness, MultiProcessCollector, MultiProcessCollectorBuilder, clear_directory,
    inspect_archive, inspect_file, list_files, mark_dead_processes, mark_process_dead,
};
pub use process::ProcessCollector;
pub use registry::{
    Backend, DirectoryOptions, Registry, RegistryBuilder, default_registry, set_default_backend,
};

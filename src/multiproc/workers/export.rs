//! Writes the metrics of workers.

use std::path::Path;
use std::sync::Arc;

use super::table::{WorkerTable, WorkerValues, Workers};
use crate::model::FamilySink;
use crate::model::own_metrics::{
    OwnMetric, WORKER_CPU, WORKER_MAX_FDS, WORKER_MAX_VIRTUAL_MEMORY, WORKER_OPEN_FDS,
    WORKER_RESIDENT_MEMORY, WORKER_START_TIME, WORKER_THREADS, WORKER_VIRTUAL_MEMORY, WORKERS,
    WORKERS_CPU, WORKERS_OPEN_FDS, WORKERS_RESIDENT_MEMORY, WORKERS_THREADS,
    WORKERS_VIRTUAL_MEMORY,
};
use crate::multiproc::merge::source::Source;
use crate::process::procfs::{boot_time, seconds};

/// Reads and writes the metrics of the writers of some files, whose labels are given in the same order. Returns a line to
/// log.
pub(in crate::multiproc) fn write_workers(
    table: &mut WorkerTable,
    procfs: &Path,
    files: &[Source],
    (label_name, labels): (&str, &[Arc<str>]),
    out: &mut dyn FamilySink,
) -> Option<String> {
    let workers = table.read(procfs, files);
    let found = workers.found.len() as u64;
    WORKERS.write_all(out, [found, workers.unreadable, workers.not_found].into_iter());
    let boot = boot_time(procfs);
    let mut each = |metric: &OwnMetric, value: &dyn Fn(&WorkerValues) -> Option<f64>| {
        let mut values = workers
            .found
            .iter()
            .filter_map(|(file, values)| Some((labels.get(*file)?, value(values)?)))
            .peekable();
        if values.peek().is_some() {
            let mut family = metric.begin(out);
            for (label, value) in values {
                family.sample(&[(label_name, label)], value);
            }
        }
    };
    each(&WORKER_CPU, &|it| Some(seconds(it.stat.cpu)));
    each(&WORKER_VIRTUAL_MEMORY, &|it| Some(it.stat.virtual_bytes));
    each(&WORKER_MAX_VIRTUAL_MEMORY, &|it| it.limits.address_space);
    each(&WORKER_RESIDENT_MEMORY, &|it| Some(it.stat.resident_bytes()));
    each(&WORKER_START_TIME, &|it| Some(it.stat.start_seconds() + boot?));
    each(&WORKER_THREADS, &|it| Some(it.stat.threads));
    each(&WORKER_OPEN_FDS, &|it| it.open_fds);
    each(&WORKER_MAX_FDS, &|it| it.limits.open_files);
    write_sums(&workers, out);
    workers.report
}

/// Limits and start times have no useful sum.
fn write_sums(workers: &Workers, out: &mut dyn FamilySink) {
    let sum = |value: fn(&WorkerValues) -> f64| -> f64 {
        workers.found.iter().map(|(_, values)| value(values)).sum()
    };
    WORKERS_CPU.write(out, seconds(workers.cpu));
    WORKERS_VIRTUAL_MEMORY.write(out, sum(|it| it.stat.virtual_bytes));
    WORKERS_RESIDENT_MEMORY.write(out, sum(|it| it.stat.resident_bytes()));
    WORKERS_THREADS.write(out, sum(|it| it.stat.threads));
    WORKERS_OPEN_FDS.write(out, sum(|it| it.open_fds.unwrap_or_default()));
}

//! Metrics of a process, read from procfs.
//!
//! Names, help texts and types are those of client_golang, which include those of the Python client, and
//! `process_threads` of other Rust clients. Each scrape reads `stat`, `limits`, `fd` and `net/netstat` of the process. A
//! file that cannot be read or parsed omits only its own metrics. Only Linux has these files: elsewhere nothing is
//! exported.

use std::fmt;
use std::path::PathBuf;

#[cfg(target_os = "linux")]
use super::procfs::{Limits, Stat, Traffic, boot_time, open_fds, seconds};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Collector, FamilySink, name};

/// A collector of metrics about a process: CPU time, memory, descriptors, threads and start time.
///
/// | family | type | file |
/// |---|---|---|
/// | `process_cpu_seconds_total` | counter | `stat` |
/// | `process_virtual_memory_bytes` | gauge | `stat` |
/// | `process_resident_memory_bytes` | gauge | `stat` |
/// | `process_start_time_seconds` | gauge | `stat` |
/// | `process_threads` | gauge | `stat` |
/// | `process_max_fds` | gauge | `limits` |
/// | `process_virtual_memory_max_bytes` | gauge | `limits` |
/// | `process_open_fds` | gauge | `fd` |
/// | `process_network_receive_bytes_total` | counter | `net/netstat` |
/// | `process_network_transmit_bytes_total` | counter | `net/netstat` |
///
/// An unlimited maximum is 2^64 - 1. The kernel counts network traffic for each network namespace: the last two metrics
/// are about all processes in the namespace of the process, usually those of its container.
///
/// A file that cannot be read omits its metrics: `fd` needs the rights of the process's user. Only Linux has these files;
/// elsewhere nothing is exported.
///
/// ```
/// use multiprom::{Backend, ProcessCollector, Registry};
///
/// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
/// registry.register(ProcessCollector::current())?;
/// # if cfg!(target_os = "linux") {
/// assert!(registry.sample_value("process_resident_memory_bytes", &[]) > Some(0.0));
/// assert!(registry.sample_value("process_open_fds", &[]) > Some(2.0));
/// # }
/// # Ok::<(), multiprom::Error>(())
/// ```
///
/// In a registry that several processes export as one page, such as the merged page of a multiprocess directory, the
/// collector is about the process that renders the page.
#[derive(Clone, Debug)]
pub struct ProcessCollector {
    pid: Pid,
    procfs: PathBuf,
    prefix: String,
}

#[derive(Clone, Copy, Debug)]
enum Pid {
    Current,
    Fixed(u32),
}

impl ProcessCollector {
    /// A collector for the process that scrapes: after a fork, for the child in the child.
    pub fn current() -> ProcessCollector {
        ProcessCollector::new(Pid::Current)
    }

    /// A collector for the process that has this pid at the time of a scrape. It exports nothing while there is none.
    ///
    /// Pids are reused: a scrape after the process has ended can be about another process. All values of one scrape are about
    /// the same process: if that ends during the scrape, only the values of `stat` are exported.
    pub fn of_pid(pid: u32) -> ProcessCollector {
        ProcessCollector::new(Pid::Fixed(pid))
    }

    fn new(pid: Pid) -> ProcessCollector {
        ProcessCollector { pid, procfs: PathBuf::from("/proc"), prefix: String::new() }
    }

    /// Puts `<prefix>_` before the name of each family, as in `shop_process_cpu_seconds_total`.
    ///
    /// # Errors
    ///
    /// Of kind [`InvalidName`](ErrorKind::InvalidName) if the names are then invalid.
    pub fn prefix(self, prefix: &str) -> Result<ProcessCollector> {
        name::check_metric_name(prefix)
            .map_err(|error| Error::new(ErrorKind::InvalidName, error))?;
        Ok(ProcessCollector { prefix: format!("{prefix}_"), ..self })
    }

    /// Reads another mount of procfs than `/proc`, such as that of the host in a container. Pids are then those of that
    /// mount.
    pub fn procfs(self, path: impl Into<PathBuf>) -> ProcessCollector {
        ProcessCollector { procfs: path.into(), ..self }
    }
}

#[cfg(target_os = "linux")]
impl ProcessCollector {
    fn collect_from(&self, out: &mut dyn FamilySink) {
        let process = self.procfs.join(match self.pid {
            Pid::Current => "self".to_owned(),
            Pid::Fixed(pid) => pid.to_string(),
        });
        let stat = Stat::read(&process);
        let limits = Limits::read(&process);
        let pid = match self.pid {
            Pid::Current => std::process::id(),
            Pid::Fixed(pid) => pid,
        };
        let open_fds = open_fds(&self.procfs, &process, pid);
        let traffic = Traffic::read(&process);
        // The process of a fixed pid can end meanwhile, and another one can get the pid.
        let is_same = match (self.pid, &stat) {
            (Pid::Fixed(_), Some(stat)) => {
                Stat::read(&process).is_some_and(|now| now.start == stat.start)
            }
            _ => true,
        };
        let mut out = Families { out, prefix: &self.prefix };
        if let Some(stat) = stat {
            self.write_stat(&stat, &mut out);
        }
        if !is_same {
            return;
        }
        if let Some(limit) = limits.open_files {
            out.gauge("max_fds", "Maximum number of open file descriptors.", limit);
        }
        if let Some(limit) = limits.address_space {
            let help = "Maximum amount of virtual memory available in bytes.";
            out.gauge("virtual_memory_max_bytes", help, limit);
        }
        if let Some(count) = open_fds {
            out.gauge("open_fds", "Number of open file descriptors.", count);
        }
        if let Some(Traffic { received, sent }) = traffic {
            let help = "Number of bytes received by the process over the network.";
            out.counter("network_receive_bytes_total", help, received);
            let help = "Number of bytes sent by the process over the network.";
            out.counter("network_transmit_bytes_total", help, sent);
        }
    }

    fn write_stat(&self, stat: &Stat, out: &mut Families<'_, '_>) {
        let cpu = seconds(stat.cpu);
        out.counter("cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpu);
        out.gauge("virtual_memory_bytes", "Virtual memory size in bytes.", stat.virtual_bytes);
        let resident = stat.resident_bytes();
        out.gauge("resident_memory_bytes", "Resident memory size in bytes.", resident);
        if let Some(boot) = boot_time(&self.procfs) {
            let help = "Start time of the process since unix epoch in seconds.";
            out.gauge("start_time_seconds", help, stat.start_seconds() + boot);
        }
        out.gauge("threads", "Number of OS threads in the process.", stat.threads);
    }
}

impl Collector for ProcessCollector {
    fn collect(&self, out: &mut dyn FamilySink) {
        #[cfg(target_os = "linux")]
        self.collect_from(out);
        #[cfg(not(target_os = "linux"))]
        let _ = out;
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        let mut out = Families { out, prefix: &self.prefix };
        for name in ["cpu_seconds", "network_receive_bytes", "network_transmit_bytes"] {
            out.counter(name, "", 0.0);
        }
        for name in [
            "max_fds",
            "open_fds",
            "resident_memory_bytes",
            "start_time_seconds",
            "threads",
            "virtual_memory_bytes",
            "virtual_memory_max_bytes",
        ] {
            out.gauge(name, "", 0.0);
        }
    }

    fn is_merged(&self) -> bool {
        false
    }
}

/// Writes families of one sample with a prefix.
struct Families<'a, 's> {
    out: &'a mut (dyn FamilySink + 's),
    prefix: &'a str,
}

impl Families<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.out.counter(&self.name(name), help).sample(&[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.out.gauge(&self.name(name), help).sample(&[], value);
    }

    fn name(&self, name: impl fmt::Display) -> String {
        format!("{}process_{name}", self.prefix)
    }
}

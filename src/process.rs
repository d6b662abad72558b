//! Metrics of a process, read from procfs.
//!
//! Names, help texts and types are those of client_golang, which include those of the Python client, and
//! `process_threads` of other Rust clients. Each scrape reads `stat`, `limits`, `fd` and `net/netstat` of the process. A
//! file that cannot be read or parsed omits only its own metrics. Only Linux has these files: elsewhere nothing is
//! exported.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
#[cfg(target_os = "linux")]
use crate::file::sys;
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
        let open_fds = count_fds(&process);
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
            // The directory of descriptors was open when its own process listed it.
            let is_own = match self.pid {
                Pid::Current => true,
                Pid::Fixed(pid) => {
                    pid == std::process::id() && self.procfs.as_path() == Path::new("/proc")
                }
            };
            let count = count.saturating_sub(usize::from(is_own));
            out.gauge("open_fds", "Number of open file descriptors.", count as f64);
        }
        if let Some(Traffic { received, sent }) = traffic {
            let help = "Number of bytes received by the process over the network.";
            out.counter("network_receive_bytes_total", help, received);
            let help = "Number of bytes sent by the process over the network.";
            out.counter("network_transmit_bytes_total", help, sent);
        }
    }

    fn write_stat(&self, stat: &Stat, out: &mut Families<'_, '_>) {
        let ticks = sys::clock_ticks();
        let cpu = stat.cpu / ticks;
        out.counter("cpu_seconds_total", "Total user and system CPU time spent in seconds.", cpu);
        out.gauge("virtual_memory_bytes", "Virtual memory size in bytes.", stat.virtual_bytes);
        let resident = stat.resident_pages * sys::page_len() as f64;
        out.gauge("resident_memory_bytes", "Resident memory size in bytes.", resident);
        if let Some(boot) = boot_time(&self.procfs) {
            let help = "Start time of the process since unix epoch in seconds.";
            out.gauge("start_time_seconds", help, stat.start / ticks + boot);
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

/// The values of `stat`. See: proc_pid_stat(5).
struct Stat {
    /// User and system time, in clock ticks.
    cpu: f64,
    threads: f64,
    /// In clock ticks since the boot.
    start: f64,
    virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    fn read(process: &Path) -> Option<Stat> {
        Stat::parse(&fs::read(process.join("stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Stat> {
        // The name of the program, in parentheses, may contain any bytes, blanks and parentheses too.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = str::from_utf8(stat.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first field behind the name is the third in the manual page.
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let (user, system) = (field(14)?, field(15)?);
        Some(Stat {
            cpu: (user + system) as f64,
            threads: field(20)? as f64,
            start: field(22)? as f64,
            virtual_bytes: fields.get(20)?.parse::<u64>().ok()? as f64,
            resident_pages: field(24)?.max(0) as f64,
        })
    }
}

/// The soft limits. See: proc_pid_limits(5).
#[derive(Default)]
struct Limits {
    open_files: Option<f64>,
    address_space: Option<f64>,
}

impl Limits {
    fn read(process: &Path) -> Limits {
        let text = fs::read_to_string(process.join("limits")).unwrap_or_default();
        let limit = |name| {
            let soft = text.lines().find_map(|line| line.strip_prefix(name))?;
            match soft.split_ascii_whitespace().next()? {
                "unlimited" => Some(u64::MAX as f64),
                number => number.parse::<u64>().ok().map(|limit| limit as f64),
            }
        };
        Limits { open_files: limit("Max open files "), address_space: limit("Max address space ") }
    }
}

/// Counts the open descriptors, including that of the directory if a process lists its own.
fn count_fds(process: &Path) -> Option<usize> {
    let mut count = 0;
    for entry in fs::read_dir(process.join("fd")).ok()? {
        entry.ok()?;
        count += 1;
    }
    Some(count)
}

/// Bytes of IP packets in the network namespace of a process.
struct Traffic {
    received: f64,
    sent: f64,
}

impl Traffic {
    fn read(process: &Path) -> Option<Traffic> {
        Traffic::parse(&fs::read_to_string(process.join("net/netstat")).ok()?)
    }

    /// A line with the names of the values precedes the line with the values.
    fn parse(netstat: &str) -> Option<Traffic> {
        let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
        let (names, values) = (lines.next()?, lines.next()?);
        let names = names.split_ascii_whitespace();
        let pairs: Vec<_> = names.zip(values.split_ascii_whitespace()).collect();
        let value = |name| {
            let (_, value) = pairs.iter().find(|(other, _)| *other == name)?;
            value.parse::<u64>().ok().map(|value| value as f64)
        };
        Some(Traffic { received: value("InOctets")?, sent: value("OutOctets")? })
    }
}

/// The time of the boot, in whole seconds since the Unix epoch, as other clients read it. See: proc_stat(5).
fn boot_time(procfs: &Path) -> Option<f64> {
    let text = fs::read_to_string(procfs.join("stat")).ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse::<u64>().ok().map(|seconds| seconds as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_files_give_no_values_and_no_panic() {
        let stat = "1 (a) b ( c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22";
        let parsed = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((parsed.cpu, parsed.threads, parsed.start), (23.0, 17.0, 19.0));
        assert_eq!((parsed.virtual_bytes, parsed.resident_pages), (20.0, 21.0));
        for end in 0..stat.len() - 4 {
            assert!(Stat::parse(&stat.as_bytes()[..end]).is_none(), "{end}");
        }
        assert!(Stat::parse(b"1 (\xff) S 1 2 3").is_none());
        let netstat = "TcpExt: A\nTcpExt: 1\nIpExt: A InOctets OutOctets\nIpExt: 1 2 3\n";
        let traffic = Traffic::parse(netstat).unwrap();
        assert_eq!((traffic.received, traffic.sent), (2.0, 3.0));
        for end in 0..netstat.len() - 2 {
            assert!(Traffic::parse(&netstat[..end]).is_none(), "{end}");
        }
    }
}

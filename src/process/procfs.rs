//! Readers of procfs: each value, or `None` if it cannot be read or parsed.

use std::fs;
use std::path::Path;

use crate::file::{place, sys};

/// The type of procfs in `statfs`.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The values of `stat`. See: proc_pid_stat(5).
#[derive(Debug)]
pub(crate) struct Stat {
    /// Whether the process is a zombie: it has ended and was not reaped.
    pub(crate) is_zombie: bool,
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
    pub(crate) parent: u32,
    /// User and system time, in clock ticks.
    pub(crate) cpu: u64,
    pub(crate) threads: f64,
    /// The start of the process, in clock ticks since the boot: with the pid it identifies the process until the next boot.
    pub(crate) start: u64,
    pub(crate) virtual_bytes: f64,
    resident_pages: f64,
}

impl Stat {
    /// Reads `stat` in the directory of a process.
    pub(crate) fn read(process: &Path) -> Option<Stat> {
        Stat::parse(&fs::read(process.join("stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Stat> {
        // The name of the program, in parentheses, may contain any bytes, blanks and parentheses too.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = str::from_utf8(stat.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The first field behind the name is the third in the manual page.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            is_zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
            parent: field(4)?.try_into().ok()?,
            cpu: field(14)?.saturating_add(field(15)?),
            threads: field(20)? as f64,
            start: field(22)?,
            virtual_bytes: field(23)? as f64,
            resident_pages: fields.get(21)?.parse::<i64>().ok()?.max(0) as f64,
        })
    }

    /// The start of the process, in seconds since the boot.
    pub(crate) fn start_seconds(&self) -> f64 {
        seconds(self.start)
    }

    pub(crate) fn resident_bytes(&self) -> f64 {
        self.resident_pages * sys::page_len() as f64
    }
}

/// The pids of all processes that this mount of procfs shows.
pub(crate) fn all_pids(procfs: &Path) -> Vec<u32> {
    let entries = fs::read_dir(procfs).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The seconds of a number of clock ticks.
pub(crate) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / sys::clock_ticks()
}

/// The soft limits. See: proc_pid_limits(5).
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) open_files: Option<f64>,
    pub(crate) address_space: Option<f64>,
}

impl Limits {
    pub(crate) fn read(process: &Path) -> Limits {
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

/// Counts the open descriptors of a process.
pub(crate) fn open_fds(procfs: &Path, process: &Path, pid: u32) -> Option<f64> {
    let path = process.join("fd");
    let dir = place::open(&path).ok()?;
    // NOTE: since Linux 6.2 the size of this directory is the number of descriptors; before, it is 0. A listing takes time for
    // each of them. See: Documentation/filesystems/proc.rst.
    let is_procfs = sys::file_system(&dir).is_ok_and(|kind| kind == PROC_SUPER_MAGIC);
    let mut count = if is_procfs { dir.metadata().ok()?.len() } else { 0 };
    if count == 0 {
        // Before the listing opens the directory a second time.
        drop(dir);
        for entry in fs::read_dir(path).ok()? {
            entry.ok()?;
            count += 1;
        }
    }
    // The directory of descriptors is open while its own process counts them.
    let is_own = pid == std::process::id() && procfs == Path::new("/proc");
    Some((count - u64::from(is_own && count > 0)) as f64)
}

/// Bytes of IP packets in the network namespace of a process.
pub(super) struct Traffic {
    pub(super) received: f64,
    pub(super) sent: f64,
}

impl Traffic {
    pub(super) fn read(process: &Path) -> Option<Traffic> {
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

/// The maximum length of a command, in characters. A process may set a title of any length.
const MAX_COMMAND_LEN: usize = 200;

/// The program of a process and its first argument, without their directories; a title that the process has set as it is.
/// The argument is left out if it is an option. Further arguments may be secret.
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "for the command"))]
pub(crate) fn command(process: &Path) -> Option<String> {
    command_of(&fs::read(process.join("cmdline")).ok()?)
}

fn command_of(cmdline: &[u8]) -> Option<String> {
    let mut arguments = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = arguments.next().filter(|program| !program.is_empty())?;
    // Titles have blanks; the end of the memory of a longer command line is filled with NUL bytes.
    let text = if program.contains(' ') {
        program.trim_end().to_owned()
    } else {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let script = arguments.next().filter(|it| !it.is_empty() && !it.starts_with('-'));
        let script = script.map(|script| format!(" {}", name(&script))).unwrap_or_default();
        format!("{}{script}", name(&program))
    };
    Some(text.chars().take(MAX_COMMAND_LEN).collect())
}

/// The time of the boot, in whole seconds since the Unix epoch, as other clients read it. See: proc_stat(5).
pub(crate) fn boot_time(procfs: &Path) -> Option<f64> {
    let text = fs::read_to_string(procfs.join("stat")).ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse::<u64>().ok().map(|seconds| seconds as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_program_and_its_script_without_further_arguments() {
        let cases: [(&[u8], Option<&str>); 6] = [
            (b"", None),
            (b"\0\0", None),
            (b"/usr/bin/python3\0/srv/app.py\0--password\0x\0", Some("python3 app.py")),
            (b"/bin/sh\0-c\0secret\0", Some("sh")),
            (b"gunicorn: worker [app]\0\0\0", Some("gunicorn: worker [app]")),
            (b"\xff", Some("\u{fffd}")),
        ];
        for (cmdline, expected) in cases {
            assert_eq!(command_of(cmdline).as_deref(), expected);
        }
        for title in ["a long title ", "program"] {
            let shown = command_of(title.repeat(100).as_bytes()).unwrap();
            assert_eq!(shown, title.repeat(100)[..MAX_COMMAND_LEN]);
        }
    }

    #[test]
    fn malformed_files_give_no_values_and_no_panic() {
        let stat = "1 (a) b ( c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22";
        let parsed = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((parsed.is_zombie, parsed.parent), (false, 1));
        assert_eq!((parsed.cpu, parsed.threads, parsed.start), (23, 17.0, 19));
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

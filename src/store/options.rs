//! Options of a multiprocess directory.

use std::fmt;
use std::time::Duration;

use super::owners::MAX_OWNERS;
use crate::error::{Error, ErrorKind, Result};
#[cfg(target_os = "linux")]
use crate::file::writer::FileAccess;
use crate::logging::log_line;
use crate::panics::caught;

/// Returns the name of this process.
type ProcessName = Box<dyn Fn() -> String + Send + Sync>;

/// How the series files of a directory are written.
///
/// ```
/// use multiprom::{Backend, DirectoryOptions};
///
/// # let dir = std::env::temp_dir();
/// let options = DirectoryOptions::new().process_id(|| "worker-3".to_owned()).group_readable();
/// let backend = Backend::directory_with(dir, options)?;
/// # Ok::<(), multiprom::Error>(())
/// ```
pub struct DirectoryOptions {
    process_id: Option<ProcessName>,
    is_group_readable: bool,
    max_owned: usize,
    refresh_interval: Duration,
}

impl Default for DirectoryOptions {
    /// Those of [`new`](DirectoryOptions::new).
    fn default() -> Self {
        DirectoryOptions {
            process_id: None,
            is_group_readable: false,
            max_owned: MAX_OWNERS,
            refresh_interval: REFRESH_INTERVAL,
        }
    }
}

/// How often computed values are refreshed, if the program does not say.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// The least interval.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(1);

/// The greatest interval. It can be added to any time.
const MAX_REFRESH_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

impl DirectoryOptions {
    /// Files are named by the pid, and only their owner may read them.
    pub fn new() -> DirectoryOptions {
        DirectoryOptions::default()
    }

    /// Sets the name of a process in file names and in the label `pid`, in place of the pid.
    ///
    /// A name such as the index of a worker keeps the number of series small when processes come and go.
    ///
    /// The function is called when the backend is created, and once in each process that records. It is called without a
    /// lock, so it may record and may wait for threads that record; new series are exported after it has returned. The pid
    /// is used if the function panics or returns a name that cannot be part of a file name. Several processes may have the
    /// same name, also at the same time: their files never collide.
    pub fn process_id(
        mut self,
        name: impl Fn() -> String + Send + Sync + 'static,
    ) -> DirectoryOptions {
        self.process_id = Some(Box::new(name));
        self
    }

    /// Creates files with mode 0640 instead of 0600, for an exporter that runs as another user.
    ///
    /// Such an exporter detects by the lock of a file that its writer has ended. To compact files it needs write access
    /// to the directory; without that access, start it with `--compact off`.
    pub fn group_readable(mut self) -> DirectoryOptions {
        self.is_group_readable = true;
        self
    }

    /// Sets how many threads of a process may have cells of their own in each counter, histogram and summary: 0 to 16, by
    /// default 16, to which larger numbers are lowered.
    ///
    /// A thread adds to its own cells by plain loads and stores, and to those that threads share by compare-and-swap, which
    /// takes two to three times as long and longer if threads disturb each other. Each set of cells takes the
    /// space of the series once more. The first thread that records a series owns cells there; all others share a second set,
    /// until they disturb each other or record often there.
    ///
    /// With 1, a series takes at most twice the space of one thread, whatever threads do. With 0, all threads share one set
    /// of cells, so each series takes its space once; each recording then costs a compare-and-swap.
    pub fn max_owned_cells(mut self, threads: usize) -> DirectoryOptions {
        self.max_owned = threads.min(MAX_OWNERS);
        self
    }

    /// Sets how often each process refreshes what it computes: the functions of
    /// [`Gauge::set_function`](crate::Gauge::set_function) and [`Counter::set_function`](crate::Counter::set_function), and
    /// [custom collectors](crate::Collector). The default is five seconds, the minimum a millisecond, the maximum
    /// a day; other intervals are raised or lowered to these.
    ///
    /// Other processes export values that are as old as this at most, while the functions return in time. A scrape in the
    /// process itself refreshes them first.
    pub fn refresh_interval(mut self, interval: Duration) -> DirectoryOptions {
        self.refresh_interval = interval.clamp(MIN_REFRESH_INTERVAL, MAX_REFRESH_INTERVAL);
        self
    }

    #[cfg(target_os = "linux")]
    pub(super) fn max_owned(&self) -> usize {
        self.max_owned
    }

    #[cfg(target_os = "linux")]
    pub(super) fn chosen_refresh_interval(&self) -> Duration {
        self.refresh_interval
    }

    #[cfg(target_os = "linux")]
    pub(super) fn access(&self) -> FileAccess {
        if self.is_group_readable { FileAccess::Group } else { FileAccess::Owner }
    }

    /// Whether the program sets the name of the process.
    #[cfg(target_os = "linux")]
    pub(super) fn has_process_id(&self) -> bool {
        self.process_id.is_some()
    }

    /// Checks the name that the function returns in this process.
    pub(super) fn check(&self) -> Result<()> {
        self.chosen_name().map(drop)
    }

    /// Returns the name of this process: the chosen one if it is valid, else the pid. Calls the function.
    pub(super) fn process_name(&self) -> String {
        let chosen = caught(|| self.chosen_name());
        let panicked = |_| {
            Err(Error::new(ErrorKind::Usage, "the function that returns the process id panicked"))
        };
        match chosen.unwrap_or_else(panicked) {
            Ok(Some(name)) => return name,
            Ok(None) => {}
            Err(error) => log_line(&error),
        }
        std::process::id().to_string()
    }

    /// Calls the function and checks the name that it returns.
    fn chosen_name(&self) -> Result<Option<String>> {
        let Some(name) = self.process_id.as_ref().map(|name| name()) else {
            return Ok(None);
        };
        if crate::file::name::is_process_name(&name) {
            return Ok(Some(name));
        }
        let message =
            format!("process id `{name}` is not 1 to 64 letters, digits, points and dashes");
        Err(Error::new(ErrorKind::Usage, message))
    }
}

impl fmt::Debug for DirectoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryOptions")
            .field("process_id", &self.process_id.as_ref().map(|_| ".."))
            .field("is_group_readable", &self.is_group_readable)
            .field("max_owned_cells", &self.max_owned)
            .field("refresh_interval", &self.refresh_interval)
            .finish()
    }
}

//! Backends: memory or a multiprocess directory, chosen by the program or by the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Result;
#[cfg(not(target_os = "linux"))]
use crate::logging::log_line;
use crate::store::fork::StaticRef;
use crate::store::{DirectoryOptions, Store, environment_dir};

/// Where the values of a registry's families are stored.
#[derive(Clone, Copy, Debug)]
pub struct Backend(Choice);

#[derive(Clone, Copy, Debug)]
enum Choice {
    Fixed(Store),
    /// Looked up when the first family is registered.
    Environment,
}

impl Backend {
    /// Values in memory: one process, no files.
    ///
    /// ```
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    /// Counter::builder("rows", "Rows read.").register(&registry)?.inc();
    /// assert_eq!(registry.sample_value("rows_total", &[]), Some(1.0));
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    pub fn in_memory() -> Backend {
        Backend(Choice::Fixed(Store::Heap))
    }

    /// Values in series files of a directory, which must exist.
    ///
    /// A file is created with the first sample of a type.
    ///
    /// ```no_run
    /// use multiprom::{Backend, Counter, Registry};
    ///
    /// let registry = Registry::builder().backend(Backend::directory("/dev/shm/app")?).build()?;
    /// Counter::builder("rows", "Rows read.").register(&registry)?.inc();
    /// # Ok::<(), multiprom::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](crate::ErrorKind::Directory) if there is no such directory or it is not writable, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) on other systems than Linux, and on file systems that are not
    /// tested: the supported ones are tmpfs, ext4, xfs, btrfs and overlayfs.
    pub fn directory(path: impl AsRef<Path>) -> Result<Backend> {
        Backend::directory_with(path, DirectoryOptions::new())
    }

    /// As [`directory`](Backend::directory), with options.
    ///
    /// # Errors
    ///
    /// Those of [`directory`](Backend::directory), and of kind [`Usage`](crate::ErrorKind::Usage) for a
    /// process id that cannot be part of a file name.
    pub fn directory_with(path: impl AsRef<Path>, options: DirectoryOptions) -> Result<Backend> {
        Store::directory(path.as_ref(), options).map(|store| Backend(Choice::Fixed(store)))
    }

    /// The directory that `PROMETHEUS_MULTIPROC_DIR` or `prometheus_multiproc_dir` names, or memory if neither is set.
    ///
    /// Only Linux has multiprocess directories: elsewhere a set variable is logged, and values stay in memory.
    ///
    /// # Errors
    ///
    /// Those of [`directory`](Backend::directory), if a variable is set.
    pub fn from_env() -> Result<Backend> {
        environment_store().map(|store| Backend(Choice::Fixed(store)))
    }

    pub(crate) const fn environment() -> Backend {
        Backend(Choice::Environment)
    }

    pub(crate) fn store(self) -> Result<Store> {
        match self.0 {
            Choice::Fixed(store) => Ok(store),
            Choice::Environment => environment_store(),
        }
    }

    /// As [`store`](Backend::store), but accepts a directory that cannot be used yet.
    pub(crate) fn store_or_later(self) -> Result<Store> {
        match self.0 {
            Choice::Fixed(store) => Ok(store),
            Choice::Environment => environment_store_or_later(),
        }
    }
}

/// The store that the environment names. The environment is read once, and all registries that use it share the store.
static CHOSEN: StaticRef<Store> = StaticRef::empty();

fn choose(store: Store) -> Store {
    *CHOSEN.set_once(Box::leak(Box::new(store)))
}

fn environment_store() -> Result<Store> {
    if let Some(chosen) = CHOSEN.get() {
        return chosen.check().map(|()| *chosen);
    }
    let options = DirectoryOptions::new();
    match named_directory(environment_dir()) {
        Some(dir) => Store::directory(&dir, options).map(choose),
        None => Ok(choose(Store::Heap)),
    }
}

#[cfg(target_os = "linux")]
fn environment_store_or_later() -> Result<Store> {
    if let Some(chosen) = CHOSEN.get() {
        return Ok(*chosen);
    }
    environment_store().or_else(|error| match named_directory(environment_dir()) {
        Some(dir) => Ok(choose(Store::directory_later(&dir, DirectoryOptions::new()))),
        None => Err(error),
    })
}

#[cfg(not(target_os = "linux"))]
fn environment_store_or_later() -> Result<Store> {
    environment_store()
}

/// The directory that the environment names, on systems that have directories of series files. Elsewhere a set variable
/// is logged, and metrics stay in memory.
#[cfg(target_os = "linux")]
fn named_directory(dir: Option<OsString>) -> Option<PathBuf> {
    dir.map(PathBuf::from)
}

#[cfg(not(target_os = "linux"))]
fn named_directory(dir: Option<OsString>) -> Option<PathBuf> {
    if let Some(dir) = dir {
        // OK because the environment is looked up once.
        log_line(&format_args!(
            "PROMETHEUS_MULTIPROC_DIR is `{}`, but only Linux has multiprocess directories: metrics stay in memory, \
             and each process exports its own",
            Path::new(&dir).display()
        ));
    }
    None
}

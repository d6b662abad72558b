//! Backends: the heap or a multiprocess directory, chosen by code or by the environment.

use std::path::Path;

use crate::error::Result;
use crate::store::fork::StaticRef;
use crate::store::{DirectoryOptions, Store, environment_dir};

/// Where the values of a registry's families live.
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
    pub fn in_memory() -> Backend {
        Backend(Choice::Fixed(Store::Heap))
    }

    /// Values in series files of a directory, which exists.
    ///
    /// No file is created before the first sample of a type.
    ///
    /// # Errors
    ///
    /// Of kind [`Directory`](crate::ErrorKind::Directory) where there is no such directory, and
    /// [`Unsupported`](crate::ErrorKind::Unsupported) on other systems than Linux, and on file systems on
    /// which what is promised was not tried.
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

    /// The directory that `PROMETHEUS_MULTIPROC_DIR` or `prometheus_multiproc_dir` names, else the
    /// heap.
    ///
    /// # Errors
    ///
    /// Those of [`directory`](Backend::directory), where a variable is set.
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
    Ok(choose(match environment_dir() {
        Some(dir) => Store::directory(Path::new(&dir), DirectoryOptions::new())?,
        None => Store::Heap,
    }))
}

#[cfg(target_os = "linux")]
fn environment_store_or_later() -> Result<Store> {
    if let Some(chosen) = CHOSEN.get() {
        return Ok(*chosen);
    }
    environment_store().or_else(|error| match environment_dir() {
        Some(dir) => Ok(choose(Store::directory_later(Path::new(&dir), DirectoryOptions::new()))),
        None => Err(error),
    })
}

#[cfg(not(target_os = "linux"))]
fn environment_store_or_later() -> Result<Store> {
    environment_store()
}

//! Temporary directories of tests and benchmarks. Benchmarks include this file by `#[path]`.
#![allow(dead_code, reason = "each program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory, removed on drop.
pub struct TestDir(PathBuf);

impl TestDir {
    /// Creates a directory in the temporary directory of the system.
    pub fn new(name: &str) -> TestDir {
        TestDir::in_dir(&std::env::temp_dir(), name)
    }

    /// Creates a directory on a tmpfs, or where [`new`](Self::new) does if there is no `/dev/shm`.
    pub fn in_memory(name: &str) -> TestDir {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { TestDir::in_dir(memory, name) } else { TestDir::new(name) }
    }

    fn in_dir(parent: &Path, name: &str) -> TestDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = format!("multiprom-test-{}-{number}-{name}", std::process::id());
        let path = parent.join(dir);
        fs::create_dir_all(&path).unwrap();
        TestDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for TestDir {
    fn as_ref(&self) -> &Path {
        self.path()
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! Temporary directories of unit tests.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new directory, removed on drop.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    /// A new directory in the temporary directory of the system.
    pub(crate) fn new() -> TestDir {
        TestDir::new_in(&std::env::temp_dir())
    }

    /// A new directory on tmpfs; `None` if the machine has none.
    pub(crate) fn in_memory() -> Option<TestDir> {
        let memory = Path::new("/dev/shm");
        memory.is_dir().then(|| TestDir::new_in(memory))
    }

    fn new_in(parent: &Path) -> TestDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("multiprom-unit-{}-{number}", std::process::id());
        let path = parent.join(name);
        // OK because only a process that was killed and had the same pid leaves one.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        TestDir(path)
    }
}

impl Deref for TestDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for TestDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! A directory for the files of a fuzz target, on a tmpfs if there is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The directory of this process. It stays when the process ends.
pub fn dir() -> &'static Path {
    static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = parent.join(format!("multiprom-fuzz-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the parent is writable");
        dir
    });
    &DIR
}

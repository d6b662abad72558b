//! Small file systems, mounted for one test.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TestDir;

/// Whether this process may mount and change users.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whether a command ends well. What it says is dropped.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A mounted file system, which is unmounted when this is dropped.
pub struct Mount {
    point: PathBuf,
    // Removed after the file system, whose image is in it.
    _dir: TestDir,
}

impl Mount {
    /// `None` where this process may not mount.
    pub fn tmpfs(options: &str) -> Option<Mount> {
        Mount::new("tmpfs", |point, _| {
            succeeds("mount", &["-t", "tmpfs", "-o", options, "tmpfs", point])
        })
    }

    /// An ext4 file system in a file of this length.
    pub fn ext4(len: u64) -> Option<Mount> {
        Mount::new("ext4", |point, image| {
            std::fs::File::create(image).unwrap().set_len(len).unwrap();
            succeeds("mkfs.ext4", &["-q", "-F", "-m", "0", image])
                && succeeds("mount", &["-o", "loop", image, point])
        })
    }

    fn new(name: &str, mount: impl Fn(&str, &str) -> bool) -> Option<Mount> {
        let dir = TestDir::new(name);
        let (point, image) = (dir.path().join("mounted"), dir.path().join("image"));
        std::fs::create_dir(&point).unwrap();
        let is_mounted = is_root() && mount(point.to_str().unwrap(), image.to_str().unwrap());
        is_mounted.then(|| Mount { point, _dir: dir })
    }

    /// A new directory in it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.point.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily where somebody is still in it.
        let point = self.point.to_str().unwrap();
        let _ = succeeds("umount", &[point]) || succeeds("umount", &["-l", point]);
    }
}

//! Small file systems, mounted for one test.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{TestDir, skip};

pub const MIB: u64 = 1024 * 1024;

/// Whether this process may mount and change users.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Whether a command succeeds. Its output is discarded.
pub fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A mounted file system, unmounted on drop.
pub struct Mount {
    name: &'static str,
    point: PathBuf,
    // Unmounted after this one, which is mounted on it.
    _below: Option<Box<Mount>>,
    // Removed after the file system is unmounted, as it contains its image.
    _dir: TestDir,
}

/// The kinds of file system that series files may be on.
const KINDS: [&str; 8] = [
    "tmpfs",
    "ext4",
    "ext4-without-extents",
    "xfs",
    "btrfs",
    "overlayfs-on-tmpfs",
    "overlayfs-on-ext4",
    "overlayfs-on-btrfs",
];

/// Mounts a small file system of each kind, one after the other. Kinds that cannot be mounted here are reported and
/// skipped.
pub fn each() -> impl Iterator<Item = Mount> {
    KINDS.into_iter().filter_map(|name| {
        let mount = Mount::small(name);
        if mount.is_none() {
            skip(&format!("a small {name} cannot be mounted here"));
        }
        mount
    })
}

impl Mount {
    /// Returns `None` if this process cannot mount it, like the other constructors.
    pub fn tmpfs(options: &str) -> Option<Mount> {
        Mount::new("tmpfs", None, |point, _| {
            succeeds("mount", &["-t", "tmpfs", "-o", options, "tmpfs", point])
        })
    }

    /// A file system in memory that is not supported.
    pub fn ramfs() -> Option<Mount> {
        Mount::new("ramfs", None, |point, _| succeeds("mount", &["-t", "ramfs", "ramfs", point]))
    }

    /// An ext2 or ext3, mounted by the driver of that name.
    pub fn old_ext(name: &'static str) -> Option<Mount> {
        let make = format!("mkfs.{name}");
        Mount::new(name, None, |point, image| {
            File::create(image).unwrap().set_len(32 * MIB).unwrap();
            succeeds(&make, &["-q", "-F", image])
                && succeeds("mount", &["-t", name, "-o", "loop", image, point])
        })
    }

    /// One of [`KINDS`]; xfs and btrfs have the smallest size that their tools accept.
    fn small(name: &'static str) -> Option<Mount> {
        match name {
            "tmpfs" => Mount::tmpfs("size=24m"),
            "ext4" => Mount::image(name, 32 * MIB, &["mkfs.ext4", "-q", "-F", "-m", "0"]),
            // The layout of ext3, which has no fallocate, mounted by the driver of ext4.
            "ext4-without-extents" => {
                let make = ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^extent,^64bit"];
                Mount::image(name, 32 * MIB, &make)
            }
            "xfs" => Mount::image(name, 300 * MIB, &["mkfs.xfs", "-q"]),
            "btrfs" => Mount::image(name, 110 * MIB, &["mkfs.btrfs", "-q"]),
            "overlayfs-on-tmpfs" => Mount::overlay(name, Mount::small("tmpfs")?),
            "overlayfs-on-ext4" => Mount::overlay(name, Mount::small("ext4")?),
            "overlayfs-on-btrfs" => Mount::overlay(name, Mount::small("btrfs")?),
            _ => panic!("unknown kind {name}"),
        }
    }

    /// A tmpfs on which each user but root has a quota of `limit` bytes.
    pub fn tmpfs_with_quota(limit: u64) -> Option<Mount> {
        Mount::tmpfs(&format!("size=24m,usrquota,usrquota_block_hardlimit={limit}"))
    }

    /// A btrfs on which the directory `limited` has a quota of `limit` bytes.
    pub fn btrfs_with_quota(limit: u64) -> Option<Mount> {
        let mount = Mount::small("btrfs")?;
        let (point, limited) = (mount.path().to_str()?, mount.path().join("limited"));
        let limited = limited.to_str()?;
        let is_limited = succeeds("btrfs", &["quota", "enable", point])
            && succeeds("btrfs", &["subvolume", "create", limited])
            && succeeds("btrfs", &["qgroup", "limit", &limit.to_string(), limited]);
        is_limited.then_some(mount)
    }

    /// An overlayfs whose upper directory is on another file system.
    fn overlay(name: &'static str, below: Mount) -> Option<Mount> {
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| below.directory(name));
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        Mount::new(name, Some(below), |point, _| {
            succeeds("mount", &["-t", "overlay", "-o", &options, "overlay", point])
        })
    }

    /// A file system in a sparse file, created by the command `make`.
    fn image(name: &'static str, len: u64, make: &[&str]) -> Option<Mount> {
        Mount::new(name, None, |point, image| {
            File::create(image).unwrap().set_len(len).unwrap();
            succeeds(make[0], &[&make[1..], &[image]].concat())
                && succeeds("mount", &["-o", "loop", image, point])
        })
    }

    fn new(
        name: &'static str,
        below: Option<Mount>,
        mount: impl Fn(&str, &str) -> bool,
    ) -> Option<Mount> {
        let dir = TestDir::new(name);
        let (point, image) = (dir.path().join("mounted"), dir.path().join("image"));
        fs::create_dir(&point).unwrap();
        let is_mounted = is_root() && mount(point.to_str().unwrap(), image.to_str().unwrap());
        is_mounted.then(|| Mount { name, point, _below: below.map(Box::new), _dir: dir })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Creates a directory in the file system.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.point.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Fills the file system.
    pub fn fill_up(&self) {
        let path = self.point.join("full");
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        let mut step = 64 * MIB;
        while step >= 4096 {
            if reserve(&file, step).is_err() {
                step /= 2;
            }
        }
        for len in [512, 1] {
            while file.write_all(&vec![1; len]).is_ok() {}
        }
        self.sync();
    }

    /// Fills the file system except for about `free` bytes.
    pub fn fill_up_to(&self, free: u64) {
        let spare = self.point.join("spare");
        fs::write(&spare, vec![1; free as usize]).unwrap();
        self.sync();
        self.fill_up();
        fs::remove_file(spare).unwrap();
        self.sync();
    }

    /// Writes back all dirty pages.
    pub fn sync(&self) {
        let dir = File::open(&self.point).unwrap();
        // SAFETY: takes a number only.
        assert_eq!(unsafe { libc::syncfs(dir.as_raw_fd()) }, 0, "{}", self.name);
    }
}

/// Extends a file by `len` reserved bytes.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    let end = file.metadata()?.len();
    // SAFETY: takes numbers only.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, end as _, len as _) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily if a process still uses it.
        let point = self.point.to_str().unwrap();
        let _ = succeeds("umount", &[point]) || succeeds("umount", &["-l", point]);
    }
}

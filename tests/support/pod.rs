//! Containers made of namespaces, as a runtime creates them: a pod shares network and volumes; each container has its own
//! pid namespace, user and capabilities.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::mount::{is_root, succeeds};
use super::process::{Running, children};
use super::sites::{multiprom_dir, path_behind};
use super::{root, skip};

/// Brings up the network of a pod, mounts its volume and `/dev/shm`, and makes the Python interpreter
/// accessible to every user: that of a test machine may be below a private home directory.
const SETUP: &str = r#"set -e
mount_point=$1 options=$2 python=$3 private=$4
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$mount_point" /run/python
mount -t tmpfs -o "$options" tmpfs "$mount_point"
mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm
if [ -n "$private" ]; then
    mount --bind "$python" /run/python
    mount -t tmpfs -o mode=755 tmpfs "$private"
    mkdir -p "$python"
    mount --bind /run/python "$python"
fi
echo ready
exec sleep 600"#;

/// The user of a container.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The argument of `setpriv --bounding-set`; `-all` for no capability.
    pub capabilities: &'static str,
}

/// The capabilities that container runtimes grant to root by default.
pub const DEFAULT_CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,\
                                        +setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,\
                                        +audit_write,+setfcap";

/// A network namespace and a mount namespace, removed on drop.
pub struct Pod {
    sandbox: Running,
    programs: PathBuf,
}

impl Pod {
    /// Creates the namespaces and mounts a tmpfs with `options` as the volume. `programs` is the directory with the
    /// programs of a Python environment.
    ///
    /// Returns `None` if namespaces cannot be created: the test is then counted as skipped.
    pub fn start(mount_point: &str, options: &str, programs: &Path) -> Option<Pod> {
        let namespaces = ["--net", "--mount", "--propagation", "private"];
        let probe = [&namespaces[..], &["--pid", "--fork", "ip", "link"]].concat();
        if !is_root() || !succeeds("unshare", &probe) || !succeeds("setpriv", &["--version"]) {
            skip("containers need root, namespaces, ip and setpriv");
            return None;
        }
        let python = programs.join("python").canonicalize().unwrap();
        let home = python.parent().and_then(Path::parent).unwrap();
        let is_private = |dir: &&Path| {
            fs::metadata(dir).is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
        };
        // The outermost directory that other users cannot enter.
        let private = home.ancestors().filter(is_private).last();
        if private.is_some_and(|dir| root().starts_with(dir) || home == dir) {
            skip("another user can run neither Python nor the programs under test");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-c", SETUP, "sh", mount_point, options]);
        command.arg(home).arg(private.unwrap_or(Path::new("")));
        let mut sandbox = Running::start(&mut command);
        sandbox.line_after("ready");
        let pod = Pod { sandbox, programs: programs.to_owned() };
        let nobody = User { uid: 65534, gid: 65534, capabilities: "-all" };
        for program in ["multiprom", "python"] {
            let mut command = pod.container(nobody, &[program, "--version"], &[]);
            if !command.stdout(Stdio::null()).status().unwrap().success() {
                skip(&format!("another user cannot run {program} here"));
                return None;
            }
        }
        Some(pod)
    }

    /// A container with its own pid namespace. Its working directory is that of the test applications.
    pub fn container(
        &self,
        user: User,
        command: &[impl AsRef<str>],
        environment: &[(String, String)],
    ) -> Command {
        let mut container = Command::new("nsenter");
        let sandbox = self.sandbox.id();
        container.args(["--net", "--mount", "--target", &sandbox.to_string(), "unshare"]);
        container.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "setpriv"]);
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        container.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "--inh-caps=-all"]);
        container.args(["--bounding-set", user.capabilities, "--no-new-privs"]);
        container.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]);
        container.arg(root().join("tests/python"));
        container.args(command.iter().map(AsRef::as_ref));
        container.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        container.env("PATH", path_behind(&[&multiprom_dir(), &self.programs]));
        container.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        container
    }

    /// A container of root that runs a command line in `dir`.
    pub fn shell(&self, dir: &Path, line: &str) -> Command {
        let user = User { uid: 0, gid: 0, capabilities: DEFAULT_CAPABILITIES };
        let script = format!("cd '{}' && exec env {line}", dir.display());
        self.container(user, &["sh", "-c", &script], &[])
    }

    /// The path of a file of the pod, outside of the pod.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.sandbox.id()))
    }

    /// Runs `work` in the network namespace of the pod.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.sandbox.id())).unwrap();
        std::thread::scope(|scope| {
            let enter = || {
                // SAFETY: takes numbers only; it changes the namespace of this thread, which ends below.
                let result = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
                work()
            };
            scope.spawn(enter).join().unwrap()
        })
    }
}

/// Process 1 of a container that was created by [`Pod::container`].
pub fn process_1(container: &Running) -> u32 {
    children(container.id())[0]
}

//! Helpers of the integration tests: temporary directories, programs, Python, waiting, skipping.
#![expect(unsafe_code, reason = "signals of commands, and programs that are stopped")]

pub mod browser;
pub mod certs;
pub mod http;
pub mod mount;
pub mod pod;
pub mod process;
pub mod prometheus;
pub mod random;
pub mod registries;
pub mod removal;
pub mod samples;
pub mod services;
pub mod sites;
pub mod stepped;
pub mod survivor;
mod temp_dir;
pub mod zoo;

pub use temp_dir::TestDir;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use multiprom::inspect::{FileInfo, Liveness, list_files};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `multiprom` command.
pub fn multiprom() -> Command {
    fresh(Command::new(env!("CARGO_BIN_EXE_multiprom")))
}

/// Removes multiprom's variables from the environment of a command, and restores the default action of signals. A shell
/// that runs the tests in the background ignores interrupts, which children inherit.
pub fn fresh(mut command: Command) -> Command {
    command.env_remove("PROMETHEUS_MULTIPROC_DIR").env_remove("prometheus_multiproc_dir");
    let restore = || {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            // SAFETY: the default action is a valid one for each of these signals.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: the closure only makes async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(restore) };
    command
}

/// Starts a command as on a kernel without IPv6: a seccomp filter makes socket(2) fail with EAFNOSUPPORT.
pub fn without_ipv6(command: &mut Command) {
    const SYSTEM_CALL: u32 = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    // On little-endian machines, the lower half of the first argument: the address family.
    const FAMILY: u32 = std::mem::offset_of!(libc::seccomp_data, args) as u32;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const JUMP: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jf, k| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let denied = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32;
    let mut filter = [
        step(LOAD, 0, SYSTEM_CALL),
        step(JUMP, 3, libc::SYS_socket as u32),
        step(LOAD, 0, FAMILY),
        step(JUMP, 1, libc::AF_INET6 as u32),
        step(RETURN, 0, denied),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program =
            libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
        // SAFETY: takes numbers only.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if result != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: `program` points to a valid filter, which the kernel copies.
        let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
        if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure only makes async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Runs `work` in a thread with a new network namespace, of which only the loopback interface is up. The programs that the
/// thread starts are in the same namespace. Returns `None` if the namespace cannot be created: the test is then counted as
/// skipped.
pub fn in_network_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    let in_namespace = || {
        // SAFETY: takes a number only, and changes the namespace of the new thread alone.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        (result == 0 && mount::succeeds("ip", &["link", "set", "lo", "up"])).then(work)
    };
    let result = std::thread::scope(|scope| scope.spawn(in_namespace).join());
    let result = result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if result.is_none() {
        skip("no network namespace can be created here");
    }
    result
}

/// Test programs with an allocator of their own, which are binaries of their own.
const WITH_ALLOCATOR: [&str; 2] = ["test-label-sets", "test-reentrant"];

/// An example program, from the target directory of the tests. One whose name begins with `test-` is in `tests/programs`:
/// a link to the binary that contains it, which selects it by the name of the link.
pub fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().and_then(Path::parent).unwrap().join("examples");
    let built = |name: &str| {
        let path = examples.join(name);
        assert!(path.exists(), "{} is not built", path.display());
        path
    };
    if !name.starts_with("test-") || WITH_ALLOCATOR.contains(&name) {
        return fresh(Command::new(built(name)));
    }
    built("test-programs");
    let links = examples.join("programs");
    fs::create_dir_all(&links).unwrap();
    let link = links.join(name);
    // Another test may have made it.
    if let Err(error) = symlink("../test-programs", &link) {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}: {error}", link.display());
    }
    fresh(Command::new(link))
}

/// The target directory, where `scripts/test` puts what tests need.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from)
}

/// The interpreter with a release of the Python client, as `scripts/python-env` installs it.
///
/// Returns `None` if it is missing: the test is then counted as skipped.
pub fn python(release: &str) -> Option<Command> {
    let path = target().join("python").join(release).join("bin/python");
    if !path.exists() {
        skip(&format!("no Python client {release}: run scripts/python-env"));
        return None;
    }
    let mut command = Command::new(path);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    Some(fresh(command))
}

/// Reports that a test, or a part of it, was skipped; `scripts/test` counts these lines.
#[allow(clippy::print_stderr, reason = "a test reports")]
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {reason}\n", thread.name().unwrap_or("test"));
    eprint!("{line}");
    if let Some(path) = std::env::var_os("MULTIPROM_SKIPPED") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Waits until `poll` returns a value; panics after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(start.elapsed() < limit, "no {what} after {limit:?}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Creates an executable file, written by another process. A file that this process has written may be open in a child of
/// another test that has not yet executed its program; the kernel then refuses to execute it (ETXTBSY).
pub fn write_program(path: &Path, text: &str) {
    let source = path.with_extension("source");
    fs::write(&source, text).unwrap();
    copy_program(&source, path);
    fs::remove_file(source).unwrap();
}

/// Copies a file to an executable one: see [`write_program`].
pub fn copy_program(from: &Path, to: &Path) {
    let [from, to] = [from, to].map(|path| path.to_str().unwrap());
    assert!(mount::succeeds("install", &["-m", "755", from, to]), "{from} to {to}");
}

/// Waits until no file in a directory has a living writer. If this process has written or closed a file, a child of another
/// test may have a copy of the descriptor until it has run its fork handlers, or executes its program.
pub fn wait_for_deaths(dir: &Path) {
    wait_for("end of all writers", process::PATIENCE, || {
        let is_alive = |file: &FileInfo| file.liveness == Liveness::Alive;
        (!list_files(dir).unwrap().iter().any(is_alive)).then_some(())
    });
}

/// Like [`wait_for_deaths`], for one file.
pub fn wait_for_death(path: &Path) {
    wait_for("end of the writer", process::PATIENCE, || {
        let files = list_files(path.parent().unwrap()).unwrap();
        let is_it_alive = |file: &FileInfo| file.path == path && file.liveness == Liveness::Alive;
        (!files.iter().any(is_it_alive)).then_some(())
    });
}

/// Sets a flag on drop, also during a panic, so that threads that run until the flag is set end in any case.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The standard output of a command that must succeed.
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_success(command, &output);
    String::from_utf8(output.stdout).unwrap()
}

pub fn assert_success(command: &Command, output: &Output) {
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

//! A host program that checks what the library does to its memory, its descriptors and its standard error.
//!
//! usage: `test-host SCENARIO DIR [ARGUMENT]...`. Each scenario is documented at its function. It prints `NAME VALUE`
//! lines, and fails if the process itself observes an error.
#![expect(unsafe_code, reason = "limits and descriptors")]
#![allow(clippy::print_stdout, reason = "a program")]

use std::cell::Cell;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use multiprom::{Backend, Counter, Family, Gauge, Histogram, Registry, Result, set_log_hook};

use super::fork;
use super::fork::{in_child, limit_time, wait};
use super::seccomp::deny;

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, dir, rest @ ..] = &arguments[..] else { panic!("usage: SCENARIO DIR ...") };
    match &**scenario {
        "get-or-register" => get_or_register(),
        "locked-close" => locked_close(dir, &rest[0]),
        "no-fallocate" => no_fallocate(dir, &rest[0]),
        "standard-error" => standard_error(dir, &rest[0], &rest[1]),
        "full" => full(dir, &rest[0], &rest[1]),
        "busy-forks" => busy_forks(dir),
        "hook" => hook(dir),
        other => panic!("unknown scenario {other}"),
    }
}

fn check(result: libc::c_int) {
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn registry(dir: &str) -> Result<Registry> {
    Registry::builder().backend(Backend::directory(dir)?).build()
}

/// Resident memory of this process, in KiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Prints by how many KiB the resident memory grows during 100,000 calls, after 1,000 calls.
fn print_growth(name: &str, mut call: impl FnMut()) {
    (0..1_000).for_each(|_| call());
    let before = resident();
    (0..100_000).for_each(|_| call());
    println!("{name} {}", resident() - before);
}

/// Requests families that are registered, and names that are taken.
fn get_or_register() -> Result<()> {
    let registry = Registry::builder().backend(Backend::in_memory()).build()?;
    let bounds = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    let builder = || Histogram::builder("h_seconds", "H.").buckets(bounds.to_vec());
    let family = || builder().labels(["method", "route"]);
    print_growth("found", || {
        let found = family().get_or_register(&registry).expect("the family is registered");
        found.with(["GET", "/"]).observe(0.1);
    });
    print_growth("taken", || {
        let other = builder().labels(["path"]);
        other.get_or_register(&registry).expect_err("the name is taken");
        family().register(&registry).expect_err("the name is taken");
    });
    Ok(())
}

/// Releases files repeatedly, with `lock` in a process that locks all its memory.
fn locked_close(dir: &str, lock: &str) -> Result<()> {
    if lock == "lock" {
        // SAFETY: takes a number only.
        check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) });
    }
    let registry = registry(dir)?;
    let counter = Counter::builder("jobs_total", "Jobs.").register(&registry)?;
    let gauge = Gauge::builder("level", "Level.").register(&registry)?;
    let record = || {
        counter.inc();
        gauge.set(1.0);
    };
    record();
    let before = resident();
    for _ in 0..5 {
        record();
        registry.close();
    }
    println!("grown {}", resident() - before);
    assert_eq!((counter.get(), gauge.get()), (6.0, 1.0));
    Ok(())
}

/// Creates many series while `fallocate` fails, with `file-size` under a limit on the size of files.
fn no_fallocate(dir: &str, limit: &str) -> Result<()> {
    deny(libc::SYS_fallocate, libc::EOPNOTSUPP);
    if limit == "file-size" {
        let limit = libc::rlimit { rlim_cur: 100 * 1024, rlim_max: 100 * 1024 };
        // SAFETY: the structure is valid.
        check(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) });
    }
    let registry = registry(dir)?;
    let filling = Counter::builder("filling_total", "Filling.").labels(["number"]);
    let filling = filling.register(&registry)?;
    let count = 10_000;
    for number in 0..count {
        filling.with([&format!("{number:0200}")]).inc();
    }
    println!("made {count}");
    Ok(())
}

const STANDARD_ERROR: RawFd = 2;

/// Limit for the run time of a scenario that could hang, in seconds.
const TIME_LIMIT: libc::c_uint = 300;

fn owned(fd: libc::c_int) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just created for this program.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Opens a file without `O_CLOEXEC`, as programs in C do.
fn open(path: &str, flags: libc::c_int) -> OwnedFd {
    let path = CString::new(path).expect("a path");
    // SAFETY: the path is a C string that lives through the call.
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CREAT, 0o600) })
}

fn replace_standard_error(fd: RawFd) {
    // SAFETY: takes numbers only; nothing in this program relies on standard error.
    assert_eq!(unsafe { libc::dup2(fd, STANDARD_ERROR) }, STANDARD_ERROR);
}

fn close_standard_error() {
    // SAFETY: takes a number only; nothing in this program relies on standard error.
    check(unsafe { libc::close(STANDARD_ERROR) });
}

/// Reads what a descriptor has now, without waiting.
fn available(fd: RawFd) -> String {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) });
    let mut bytes = [0; 4096];
    // SAFETY: the pointer and the length are those of `bytes`.
    let len = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
    String::from_utf8_lossy(&bytes[..len.max(0) as usize]).into_owned()
}

/// A family whose first series logs a line, as its directory has been removed.
fn family_without_directory(dir: &str) -> Result<Family<Counter>> {
    let family = Counter::builder("jobs_total", "Jobs.").labels(["n"]).register(&registry(dir)?)?;
    fs::remove_dir_all(dir).expect("remove");
    Ok(family)
}

/// Logs one line after descriptor 2 has been replaced; some cases open FILE. Prints `got` if the replacement is not a
/// file and receives the line.
fn standard_error(dir: &str, case: &str, file: &str) -> Result<()> {
    limit_time(TIME_LIMIT);
    let takes_number = |fd: RawFd| assert_eq!(fd, STANDARD_ERROR, "the lowest free number");
    if case == "rust-file-at-first" {
        close_standard_error();
        let data = File::create(file).expect("create");
        takes_number(data.as_raw_fd());
        family_without_directory(dir)?.with(["a"]).inc();
        return Ok(());
    }
    let family = family_without_directory(dir)?;
    let log = || family.with(["a"]).inc();
    let got = match case {
        "as-is" => {
            log();
            String::new()
        }
        "rust-file" => {
            close_standard_error();
            let data = File::create(file).expect("create");
            takes_number(data.as_raw_fd());
            log();
            String::new()
        }
        "c-file" | "c-file-for-writing" => {
            close_standard_error();
            let flags =
                if case == "c-file" { libc::O_RDWR } else { libc::O_WRONLY | libc::O_TRUNC };
            let data = open(file, flags);
            takes_number(data.as_raw_fd());
            log();
            String::new()
        }
        "log-file" => {
            let opened = open(file, libc::O_WRONLY | libc::O_APPEND);
            replace_standard_error(opened.as_raw_fd());
            log();
            String::new()
        }
        "rust-socket" => {
            close_standard_error();
            let (socket, peer) = UnixStream::pair().expect("sockets");
            takes_number(socket.as_raw_fd());
            log();
            available(peer.as_raw_fd())
        }
        "log-socket" => {
            let (socket, peer) = UnixStream::pair().expect("sockets");
            replace_standard_error(socket.as_raw_fd());
            log();
            available(peer.as_raw_fd())
        }
        "eventfd" => {
            close_standard_error();
            // SAFETY: takes numbers only.
            let event = owned(unsafe { libc::eventfd(0, 0) });
            takes_number(event.as_raw_fd());
            log();
            available(event.as_raw_fd())
        }
        "closed" => {
            close_standard_error();
            log();
            String::new()
        }
        other => panic!("unknown case {other}"),
    };
    if !got.is_empty() {
        println!("got {got}");
    }
    Ok(())
}

/// A descriptor whose buffer is full, and the other end, which must stay open.
fn full_descriptor(kind: &str) -> (OwnedFd, OwnedFd) {
    let (full, other): (OwnedFd, OwnedFd) = match kind {
        "pipe" => {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            (writer.into(), reader.into())
        }
        "socket" => {
            let (socket, peer) = UnixStream::pair().expect("sockets");
            (socket.into(), peer.into())
        }
        "terminal" => terminal(),
        other => panic!("unknown kind {other}"),
    };
    let fd = full.as_raw_fd();
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) });
    let mut file = File::from(full.try_clone().expect("a copy"));
    for len in [4096, 1] {
        while file.write(&vec![b'x'; len]).is_ok() {}
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, 0) });
    (full, other)
}

/// A terminal, and its master side, which nothing reads.
fn terminal() -> (OwnedFd, OwnedFd) {
    // SAFETY: takes a number only.
    let master = owned(unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) });
    // SAFETY: takes a number only.
    check(unsafe { libc::unlockpt(master.as_raw_fd()) });
    let mut name: [libc::c_char; 64] = [0; 64];
    // SAFETY: the pointer and the length are those of `name`.
    check(unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) });
    // SAFETY: `ptsname_r` has written a C string.
    let terminal = owned(unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY) });
    (terminal, master)
}

/// Logs one line while standard error is full and not read, or as it is and as an empty terminal for comparison. With
/// `old-kernel` there is no call that writes without waiting; with `no-descriptors` the pipe cannot be reopened either.
fn full(dir: &str, kind: &str, kernel: &str) -> Result<()> {
    limit_time(TIME_LIMIT);
    let family = family_without_directory(dir)?;
    let other = match kind {
        "as-is" => None,
        "empty-terminal" => Some(terminal()),
        kind => Some(full_descriptor(kind)),
    };
    if let Some((descriptor, _)) = &other {
        replace_standard_error(descriptor.as_raw_fd());
    }
    if kernel != "new-kernel" {
        deny(libc::SYS_pwritev2, libc::ENOSYS);
    }
    if kernel == "no-descriptors" {
        // NOTE: `poll` takes no more descriptors than this. See: poll(2), EINVAL.
        let limit = libc::rlimit { rlim_cur: 3, rlim_max: 3 };
        // SAFETY: the structure is valid.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) });
    }
    family.with(["a"]).inc();
    println!("recorded {}", family.with(["a"]).get());
    if let Some((_, master)) = other.filter(|_| kind == "empty-terminal") {
        println!("got {}", available(master.as_raw_fd()));
    }
    Ok(())
}

/// Forks children that log one line each, while threads write to standard error all the time. Prints the number of children.
fn busy_forks(dir: &str) -> Result<()> {
    const CHILDREN: u32 = 40;
    limit_time(TIME_LIMIT);
    let family = family_without_directory(dir)?;
    for _ in 0..2 {
        std::thread::spawn(|| {
            loop {
                // OK because the scenario is about the lock that the standard library takes, not about the line.
                let _ = std::io::stderr().write_all(b"a busy program logs\n");
            }
        });
    }
    for _ in 0..CHILDREN {
        wait(in_child(|| {
            limit_time(60);
            family.with(["a"]).inc();
        }));
    }
    println!("children {CHILDREN}");
    std::io::stdout().flush().expect("flush");
    // The other threads still run.
    fork::exit()
}

/// Sets a hook that records new series, which takes the locks that are held when lines are created, and that logs.
fn hook(dir: &str) -> Result<()> {
    limit_time(TIME_LIMIT);
    thread_local!(static IS_CALLED: Cell<bool> = const { Cell::new(false) });
    let opened = Path::new(dir).with_extension("open");
    fs::create_dir(&opened).expect("create");
    fs::set_permissions(&opened, fs::Permissions::from_mode(0o777)).expect("permissions");
    let family = family_without_directory(dir)?;
    let lines = Counter::builder("lines_total", "Lines.").labels(["message"]);
    let lines = lines.register(&registry(opened.to_str().expect("a path"))?)?;
    let (also, jobs) = (opened.clone(), family);
    set_log_hook(move |line| {
        assert!(!IS_CALLED.replace(true), "the hook is called by itself");
        lines.with([line.message]).inc();
        jobs.with([line.message]).inc();
        // Logs a line, which goes to standard error.
        Backend::directory(&also).expect("the directory exists");
        println!("hooked {}", line.message);
        IS_CALLED.set(false);
    });
    family.with(["a"]).inc();
    wait(in_child(|| {
        Backend::directory(&opened).expect("the directory exists");
        set_log_hook(|line| println!("child {}", line.message));
        Backend::directory(&opened).expect("the directory exists");
        std::io::stdout().flush().expect("flush");
    }));
    fs::remove_dir_all(&opened).expect("remove");
    Ok(())
}

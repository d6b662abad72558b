//! A host program, for the tests of what the library does to its memory, its descriptors and its standard error.
//!
//! usage: `test-host SCENARIO DIR [ARGUMENT]...`. What a scenario does is said at its function. It prints
//! `NAME VALUE` lines, and ends with a failure where the process itself saw something wrong.
#![expect(unsafe_code, reason = "limits, descriptors and forks")]
#![allow(clippy::print_stdout, reason = "a program")]

use std::fs;

use multiprom::{Backend, Counter, Gauge, Histogram, Registry, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, dir, rest @ ..] = &arguments[..] else { panic!("usage: SCENARIO DIR ...") };
    match &**scenario {
        "get-or-register" => get_or_register(),
        "locked-close" => locked_close(dir, &rest[0]),
        "no-fallocate" => no_fallocate(dir, &rest[0]),
        other => panic!("unknown scenario {other}"),
    }
}

fn check(result: libc::c_int) {
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Has a system call fail in this process from now on.
fn deny(call: libc::c_long, errno: libc::c_int) {
    const LOAD_CALL: libc::sock_filter = libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 };
    const ALLOW: libc::sock_filter =
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let is_call = libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: call as u32 };
    let k = libc::SECCOMP_RET_ERRNO | errno as u32;
    let fail = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let mut filter = [LOAD_CALL, is_call, fail, ALLOW];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) });
    // SAFETY: the program is valid and lives through the call.
    check(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    });
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

/// Prints by how many KiB the resident memory grows in many calls, after a few.
fn print_growth(name: &str, mut call: impl FnMut()) {
    (0..1_000).for_each(|_| call());
    let before = resident();
    (0..100_000).for_each(|_| call());
    println!("{name} {}", resident() - before);
}

/// Asks for families that are registered, and for names that are taken.
fn get_or_register() -> Result<()> {
    let registry = Registry::builder().backend(Backend::heap()).build()?;
    let bounds = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    let builder = || Histogram::builder("h_seconds", "H.").buckets(bounds.to_vec());
    let family = || builder().labels(["method", "route"]);
    print_growth("found", || {
        let found = family().get_or_register(&registry).expect("the family is there");
        found.with(["GET", "/"]).observe(0.1);
    });
    print_growth("taken", || {
        let other = builder().labels(["path"]);
        other.get_or_register(&registry).err().expect("the name is taken");
        family().register(&registry).err().expect("the name is taken");
    });
    Ok(())
}

/// Lets go of files again and again, with `lock` in a process that locks all its memory.
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

/// Makes many series where space cannot be reserved by `fallocate`, with `file-size` under a limit on the size of
/// files.
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

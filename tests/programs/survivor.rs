//! A worker under failures: full disks, limits, lost descriptors, lost directories.
//!
//! usage: `test-survivor SCENARIO DIR [ARGUMENT]...`. Each scenario is documented at its function. It prints
//! `NAME VALUE` lines, and fails if the process itself observes an error.
#![expect(unsafe_code, reason = "limits, descriptors and signals")]
#![allow(clippy::print_stdout, reason = "a program")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use multiprom::{
    Backend, Counter, DirectoryOptions, Family, Gauge, GaugeMode, Histogram, Registry, Result,
    Summary,
};

use super::fork::{in_child, raw_clone, wait};
use super::seccomp::deny;

/// Length of label values, so that few series fill a file.
const LONG: usize = 200;

pub fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, dir, rest @ ..] = &arguments[..] else { panic!("usage: SCENARIO DIR ...") };
    let count = || rest[0].parse::<u32>().expect("a number");
    match &**scenario {
        "fill" => fill(dir, count()),
        "grow" => grow(dir),
        "file-size" => limit_file_size(dir, &rest[0]),
        "address-space" => limit_address_space(dir),
        "locked-memory" => limit_locked_memory(dir),
        "open-files" => limit_open_files(dir),
        "close-all" => close_all(dir, Path::new(&rest[0])),
        "dup-over" => dup_over(dir, Path::new(&rest[0])),
        "commands" => commands(dir, rest),
        "reuse" => reuse(dir),
        "creations" => creations(dir, count()),
        "denied" => denied(dir, count(), &rest[1..]),
        other => panic!("unknown scenario {other}"),
    }
}

fn registry(dir: &str) -> Result<Registry> {
    Registry::builder().backend(Backend::directory(dir)?).build()
}

fn long(number: u32) -> String {
    format!("{number:0LONG$}")
}

fn check(result: libc::c_int) {
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn set_limit(resource: libc::__rlimit_resource_t, limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the structure is valid.
    check(unsafe { libc::setrlimit(resource, &raw const limit) });
}

/// Metrics of every type, and the number of calls of `record`.
struct Metrics {
    plain: Counter,
    labelled: Family<Counter>,
    sizes: Histogram,
    times: Summary,
    gauges: Vec<Gauge>,
    recorded: u32,
}

const MODES: [GaugeMode; 5] =
    [GaugeMode::All, GaugeMode::LiveAll, GaugeMode::Min, GaugeMode::Sum, GaugeMode::MostRecent];

impl Metrics {
    fn register(registry: &Registry) -> Result<Metrics> {
        let plain = Counter::builder("plain_total", "Plain.").register(registry)?;
        let labelled =
            Counter::builder("labelled_total", "By label.").labels(["label"]).register(registry)?;
        let sizes = Histogram::builder("sizes", "Sizes.").buckets([10.0]).register(registry)?;
        let times = Summary::builder("times", "Times.").register(registry)?;
        let gauges = MODES.map(|mode| {
            let name = format!("level_{}", mode.as_str());
            Gauge::builder(name, "Level.").mode(mode).register(registry)
        });
        let gauges = gauges.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Metrics { plain, labelled, sizes, times, gauges, recorded: 0 })
    }

    /// Increments every counter, observes 1, and sets the gauges to the number of calls.
    fn record(&mut self) {
        self.recorded += 1;
        self.plain.inc();
        self.labelled.with(["old"]).inc();
        self.sizes.observe(1.0);
        self.times.observe(1.0);
        self.gauges.iter().for_each(|gauge| gauge.set(f64::from(self.recorded)));
    }

    /// Checks the values that this process reads after `count` calls of `record`.
    fn check(&self, count: u32) {
        let sum = f64::from(count);
        assert_eq!(self.plain.get(), sum);
        assert_eq!(self.labelled.with(["old"]).get(), sum);
        assert_eq!((self.sizes.get_count(), self.sizes.get_sum()), (u64::from(count), sum));
        assert_eq!((self.times.get_count(), self.times.get_sum()), (u64::from(count), sum));
    }
}

/// Records, and creates COUNT series while it continues to record. All values must be correct in this process,
/// wherever they are stored.
fn fill(dir: &str, count: u32) -> Result<()> {
    let registry = registry(dir)?;
    let filling =
        Counter::builder("filling_total", "Filling.").labels(["number"]).register(&registry)?;
    assert_eq!(fs::read_dir(dir).expect("list").count(), 0, "no file before the first sample");
    let mut metrics = Metrics::register(&registry)?;
    metrics.record();
    for number in 0..count {
        filling.with([&long(number)]).inc();
        metrics.record();
    }
    for number in 0..count {
        assert_eq!(filling.with([&long(number)]).get(), 1.0);
    }
    println!("recorded {}", metrics.recorded);
    Ok(())
}

/// Creates series in one counter file up to 3 MiB; prints length and reserved bytes whenever the file grows.
fn grow(dir: &str) -> Result<()> {
    let registry = registry(dir)?;
    let family = Counter::builder("grow_total", "Grow.").labels(["number"]).register(&registry)?;
    assert_eq!(fs::read_dir(dir).expect("list").count(), 0, "no file before the first sample");
    let mut path = None;
    let mut last = 0;
    for number in 0..20_000 {
        family.with([&long(number)]).inc();
        let path = path.get_or_insert_with(|| {
            let mut files = fs::read_dir(dir).expect("list");
            files.next().expect("a file").expect("an entry").path()
        });
        let metadata = path.metadata().expect("metadata");
        if metadata.len() != last {
            last = metadata.len();
            println!("length {last} {}", metadata.blocks() * 512);
        }
        if last > 3 * 1024 * 1024 {
            break;
        }
    }
    Ok(())
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Creates series under a limit on file sizes. With `handler` SIGXFSZ is counted, otherwise it ends the process.
fn limit_file_size(dir: &str, action: &str) -> Result<()> {
    let action = if action == "handler" {
        count_signal as extern "C" fn(libc::c_int) as libc::sighandler_t
    } else {
        libc::SIG_DFL
    };
    // SAFETY: the handler only adds to an atomic.
    unsafe { libc::signal(libc::SIGXFSZ, action) };
    set_limit(libc::RLIMIT_FSIZE, 100 * 1024);
    fill(dir, 1_000)?;
    assert_eq!(SIGNALS.load(Ordering::Relaxed), 0, "the host received a signal");
    // The host's own handler is still installed.
    if action != libc::SIG_DFL {
        let file = File::create(Path::new(dir).join("host")).expect("create");
        file.set_len(1024 * 1024).expect_err("the limit holds");
        assert_eq!(SIGNALS.load(Ordering::Relaxed), 1);
    }
    Ok(())
}

/// The size of this process's address space, in bytes.
fn address_space() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("statm");
    let pages: u64 = text.split(' ').next().expect("a field").parse().expect("a number");
    pages * 4096
}

/// Leaves less address space than one full segment of a mapping takes.
fn limit_address_space(dir: &str) -> Result<()> {
    set_limit(libc::RLIMIT_AS, address_space() + 12 * 1024 * 1024);
    fill(dir, 500)
}

fn limit_locked_memory(dir: &str) -> Result<()> {
    set_limit(libc::RLIMIT_MEMLOCK, 6 * 1024 * 1024);
    // SAFETY: takes a number only.
    check(unsafe { libc::mlockall(libc::MCL_FUTURE) });
    fill(dir, 500)?;
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("VmLck");
    println!("locked {}", locked.trim().trim_end_matches(" kB"));
    Ok(())
}

/// Opens files until no descriptor is free, records, and records into new series when descriptors are free again.
fn limit_open_files(dir: &str) -> Result<()> {
    let registry = registry(dir)?;
    let early = Counter::builder("early_total", "Early.").register(&registry)?;
    early.inc();
    set_limit(libc::RLIMIT_NOFILE, 64);
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let mut metrics = Metrics::register(&registry)?;
    metrics.record();
    early.inc();
    let histogram = Histogram::builder("without", "Without a file.").register(&registry)?;
    histogram.observe(1.0);
    assert_eq!((metrics.sizes.get_count(), histogram.get_count()), (1, 1));
    drop(taken);
    Histogram::builder("later", "Later.").register(&registry)?.observe(1.0);
    // Counters, histograms, summaries, five gauge modes.
    let start = Instant::now();
    while fs::read_dir(dir).expect("list").count() < 8 {
        assert!(start.elapsed() < Duration::from_secs(60), "the creation of files is not retried");
        std::thread::sleep(Duration::from_millis(20));
        metrics.record();
    }
    metrics.check(metrics.recorded);
    println!("recorded {}", metrics.recorded);
    Ok(())
}

/// Creates files of the host, each with the content `mine`.
fn own_files(own: &Path, count: u32) -> Vec<File> {
    let create = |number: u32| {
        let path = own.join(number.to_string());
        fs::write(&path, "mine").expect("write");
        File::options().read(true).write(true).open(path).expect("open")
    };
    (0..count).map(create).collect()
}

/// Creates more series than are reserved, in this process and in a child.
fn go_on(registry: &Registry, metrics: &mut Metrics) -> Result<()> {
    metrics.record();
    let late = Counter::builder("late_total", "Late.").labels(["number"]).register(registry)?;
    let sizes = Histogram::builder("late_sizes", "Late.").labels(["number"]).register(registry)?;
    let make = |from: u32| {
        for number in from..from + 500 {
            late.with([&long(number)]).inc();
            sizes.with([&long(number)]).observe(1.0);
        }
    };
    make(0);
    wait(in_child(|| {
        metrics.record();
        make(1_000);
    }));
    make(500);
    metrics.record();
    Ok(())
}

/// Forks a child without handlers of `pthread_atfork`, which lives until it is killed.
fn clone_idle(how: &str) {
    let pid = if how == "_Fork" {
        type Fork = extern "C" fn() -> libc::pid_t;
        // SAFETY: the name is a C string. See: _Fork(3), which is fork without handlers.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_Fork".as_ptr()) };
        if address.is_null() {
            return println!("cloned none");
        }
        // SAFETY: the symbol is that function of the C library.
        let fork = unsafe { std::mem::transmute::<*mut libc::c_void, Fork>(address) };
        fork()
    } else {
        raw_clone()
    };
    if pid == 0 {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    println!("cloned {pid}");
}

fn close_descriptors() {
    // SAFETY: only series files have descriptors above 2 in this program, and the library must tolerate their closing.
    check(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } as libc::c_int);
}

/// A host that closes all descriptors that it did not open, as daemons do.
fn close_all(dir: &str, own: &Path) -> Result<()> {
    let registry = registry(dir)?;
    let mut metrics = Metrics::register(&registry)?;
    metrics.record();
    close_descriptors();
    let files = own_files(own, 20);
    go_on(&registry, &mut metrics)?;
    registry.close();
    metrics.record();
    for file in &files {
        let is_open = file.metadata().is_ok_and(|metadata| metadata.len() == 4);
        assert!(is_open, "{file:?} was closed or changed");
    }
    println!("recorded {}", metrics.recorded);
    Ok(())
}

/// A host that replaces the descriptors of series files with its own file by `dup2`.
fn dup_over(dir: &str, own: &Path) -> Result<()> {
    let registry = registry(dir)?;
    let mut metrics = Metrics::register(&registry)?;
    metrics.record();
    let listed = fs::read_dir(dir).expect("list");
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let inodes: BTreeSet<(u64, u64)> = listed
        .map(|entry| identity(entry.expect("an entry").metadata().expect("metadata")))
        .collect();
    let numbers: Vec<RawFd> = (3..64)
        .filter(|fd| {
            let metadata = fs::metadata(format!("/proc/self/fd/{fd}"));
            metadata.is_ok_and(|metadata| inodes.contains(&identity(metadata)))
        })
        .collect();
    assert_eq!(numbers.len(), inodes.len(), "one descriptor for each file");
    let file = own_files(own, 1).remove(0);
    for number in numbers {
        // SAFETY: the descriptor is that of a series file, and the library must tolerate its replacement.
        let result = unsafe { libc::dup2(file.as_raw_fd(), number) };
        assert_eq!(result, number);
    }
    go_on(&registry, &mut metrics)?;
    println!("recorded {}", metrics.recorded);
    Ok(())
}

/// Executes the command in each line of its input, and prints `did NUMBER`. Arguments are a process id, or `-`, and
/// `group`.
fn commands(dir: &str, arguments: &[String]) -> Result<()> {
    let mut options = DirectoryOptions::new();
    if let Some(name) = arguments.first().filter(|name| *name != "-") {
        let name = name.clone();
        options = options.process_id(move || name.clone());
    }
    if arguments.get(1).is_some_and(|word| word == "group") {
        options = options.group_readable();
    }
    let backend = Backend::directory_with(dir, options)?;
    let registry = Registry::builder().backend(backend).build()?;
    let mut metrics = None;
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.expect("a line");
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if metrics.is_none() && word != "summary" {
            metrics = Some(Metrics::register(&registry)?);
        }
        match (word, metrics.as_mut()) {
            ("summary", _) => Summary::builder(rest, "New.").register(&registry)?.observe(1.0),
            ("close", _) => registry.close(),
            ("record", Some(metrics)) => metrics.record(),
            ("recent", Some(metrics)) => metrics.gauges[4].set(rest.parse().expect("a number")),
            ("series", Some(metrics)) => metrics.labelled.with([rest]).inc(),
            ("many", Some(metrics)) => {
                let count = rest.parse().expect("a number");
                (0..count).for_each(|number| metrics.labelled.with([&long(number)]).inc());
            }
            ("levels", _) => {
                let family = Gauge::builder("levels", "Levels.").labels(["number"]);
                let family = family.get_or_register(&registry)?;
                let count = rest.parse().expect("a number");
                (0..count).for_each(|number| family.with([&long(number)]).set(f64::from(number)));
            }
            ("lose", _) => close_descriptors(),
            ("exec", _) => panic!("{}", Command::new("cat").exec()),
            ("clone", _) => clone_idle(rest),
            ("check", Some(metrics)) => metrics.check(rest.parse().expect("a number")),
            (other, _) => panic!("unknown command {other}"),
        }
        println!("did {number}");
        std::io::stdout().flush().expect("the test reads");
    }
    Ok(())
}

/// Forks three children with the same pid, one after the other. Runs as the first process of a pid namespace.
fn reuse(dir: &str) -> Result<()> {
    let registry = registry(dir)?;
    for round in 1..=3u32 {
        if let Err(error) = fs::write("/proc/sys/kernel/ns_last_pid", "99") {
            println!("refused {error}");
            return Ok(());
        }
        let pid = in_child(|| {
            let gauge = Gauge::builder("level", "Level.").mode(GaugeMode::LiveAll);
            let gauge = gauge.register(&registry).expect("the name is free");
            assert_eq!(gauge.get(), 0.0, "a gauge of an earlier process");
            // The second process never sets the gauge, so that a stale value would be exported.
            if round != 2 {
                gauge.set(f64::from(round));
            }
            let rounds = Counter::builder("rounds_total", "Rounds.").register(&registry);
            rounds.expect("the name is free").inc();
        });
        wait(pid);
        println!("pid {pid}");
    }
    Ok(())
}

/// The number of mappings of this process.
fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").expect("maps").lines().count()
}

/// Starts to watch which names are created in a directory.
fn watch(dir: &str) -> File {
    // SAFETY: takes a number only.
    let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
    assert!(fd >= 0);
    let path = std::ffi::CString::new(dir).expect("a path");
    // SAFETY: the path is a C string that lives through the call.
    let added = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_CREATE) };
    assert!(added >= 0);
    // SAFETY: the descriptor is new, and nothing else owns it.
    unsafe { File::from_raw_fd(fd) }
}

/// Counts the names that were created since then, including names that were removed again.
#[expect(clippy::host_endian_bytes, reason = "events of this kernel")]
fn created(mut watch: File) -> usize {
    let (mut count, mut events) = (0, vec![0; 64 * 1024]);
    while let Ok(len) = watch.read(&mut events) {
        let mut at = 0;
        while at < len {
            // An event has four words, the last of which is the length of the name that follows.
            let name = u32::from_ne_bytes(events[at + 12..at + 16].try_into().expect("4 bytes"));
            at += 16 + name as usize;
            count += 1;
        }
    }
    count
}

/// Records into COUNT series while the calls that link or rename a file fail with ERROR.
fn denied(dir: &str, count: u32, arguments: &[String]) -> Result<()> {
    let [error, calls @ ..] = arguments else { panic!("usage: ERROR CALL...") };
    let registry = registry(dir)?;
    for call in calls {
        let number = match &**call {
            "linkat" => libc::SYS_linkat,
            "renameat2" => libc::SYS_renameat2,
            other => panic!("unknown call {other}"),
        };
        deny(number, error.parse().expect("a number"));
    }
    let (before, watch, start) = (mappings(), watch(dir), Instant::now());
    let mut metrics = Metrics::register(&registry)?;
    for number in 0..count {
        metrics.record();
        metrics.labelled.with([&long(number)]).inc();
    }
    metrics.check(count);
    println!("recorded {}", metrics.recorded);
    println!("mappings {}", mappings() - before);
    println!("created {}", created(watch));
    println!("seconds {}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs slowly, as handlers of allocators and of other libraries do, after the handler of multiprom and before the fork.
extern "C" fn prepare_slowly() {
    (0..5).for_each(|_| std::thread::yield_now());
}

/// Creates COUNT directories below DIR with three files each, while another thread forks children that live as long as
/// the standard input is open, and that could inherit descriptors of files that are just being created.
fn creations(dir: &str, count: u32) -> Result<()> {
    // SAFETY: the handler may run at any fork, and is never unloaded.
    check(unsafe { libc::pthread_atfork(Some(prepare_slowly), None, None) });
    // The first backend installs the fork handlers.
    let _first = registry(dir)?;
    let forks_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut children = 0;
            while forks_on.load(Ordering::Relaxed) && children < 60 {
                in_child(|| {
                    // SAFETY: the buffer has one byte; the call returns at the end of the input.
                    unsafe { libc::read(0, [0u8; 1].as_mut_ptr().cast(), 1) };
                });
                children += 1;
                std::thread::yield_now();
            }
            println!("children {children}");
        });
        let result: Result<()> = (0..count).try_for_each(|number| {
            let path = format!("{dir}/{number:04}");
            fs::create_dir(&path).expect("create");
            let registry = registry(&path)?;
            Counter::builder("created_total", "Created.").register(&registry)?.inc();
            Summary::builder("created_size", "Created.").register(&registry)?.observe(1.0);
            Gauge::builder("created_level", "Created.").register(&registry)?.set(1.0);
            Ok(())
        });
        forks_on.store(false, Ordering::Relaxed);
        result
    })?;
    println!("finished {count}");
    std::io::stdout().flush().expect("the test reads");
    // The children read the same input.
    let _ = std::io::stdin().lock().lines().next();
    Ok(())
}

//! Workers with functions and custom collectors, which fork and are killed.
//!
//! usage: `test-computed CASE [DIR]`. Fails, or is ended by a signal after a time, if the case does not hold.
#![expect(unsafe_code, reason = "memory that processes share, and signals")]
#![allow(clippy::print_stdout, reason = "a program")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use multiprom::collector::{HistogramPoint, MergeRule};
use multiprom::{
    Backend, Collector, Counter, DirectoryOptions, FamilySink, Gauge, GaugeMode,
    MultiProcessCollector, Registry, Static, default_registry,
};

use super::fork::{fork, in_child, kill, limit_time, wait};

static DEPTH: Static<Gauge> = Gauge::declare("depth", "Depth.").mode(GaugeMode::LiveSum);
static SENT: Static<Counter> = Counter::declare("sent_total", "Sent.");
static JOBS: Static<Counter> = Counter::declare("jobs_total", "Jobs.");

/// Limit for what must happen in the end, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Words that a process and its children share.
fn shared(count: usize) -> &'static [AtomicU64] {
    let len = count * size_of::<AtomicU64>();
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: asks for new memory.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
    assert_ne!(address, libc::MAP_FAILED);
    // SAFETY: the mapping is aligned, zeroed, never unmapped, and only accessed by atomic operations.
    unsafe { std::slice::from_raw_parts(address.cast(), count) }
}

fn worker(dir: &Path, interval: Duration) -> Registry {
    let options = DirectoryOptions::new().refresh_interval(interval);
    let backend = Backend::directory_with(dir, options).expect("a directory");
    Registry::builder().backend(backend).build().expect("a registry")
}

fn merge(dir: &Path) -> Registry {
    let merged = Registry::builder().backend(Backend::in_memory()).build().expect("a registry");
    let collector = MultiProcessCollector::new(dir).expect("a collector");
    merged.register(collector).expect("registered");
    merged
}

/// The values of all samples with this name.
fn values(page: &str, name: &str) -> Vec<f64> {
    let lines = page.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number")).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Counts its calls in its process, whose children continue the count, and those of all processes in shared memory.
struct Calls {
    calls: AtomicU64,
    all: &'static AtomicU64,
}

impl Calls {
    fn new(all: &'static AtomicU64) -> Calls {
        Calls { calls: AtomicU64::new(0), all }
    }
}

impl Collector for Calls {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.all.fetch_add(1, Ordering::Relaxed);
        let calls = (self.calls.fetch_add(1, Ordering::Relaxed) + 1) as f64;
        out.counter("calls_total", "Calls.").sample(&[], calls);
        out.summary("times", "Calls.").sample(&[], &[], calls, 2.0 * calls);
        out.gauge("alive", "One for each process.").sample(&[], 1.0);
        out.gauge("last_call", "Calls.").sample(&[], calls);
    }

    fn merge_rule(&self, family: &str) -> MergeRule {
        match family {
            "last_call" => MergeRule::Mode(GaugeMode::LiveMax),
            _ => MergeRule::ByType,
        }
    }
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

/// A worker that refreshes all the time, and forks another one.
fn start_worker(dir: &Path, all: &'static AtomicU64, child: &'static AtomicU64) -> libc::pid_t {
    let pid = fork();
    if pid != 0 {
        return pid;
    }
    let registry = worker(dir, Duration::from_millis(1));
    let jobs = Counter::builder("jobs", "Jobs.").register(&registry).expect("registered");
    registry.register(Calls::new(all)).expect("registered");
    registry.flush();
    let pid = fork();
    if pid == 0 {
        jobs.inc();
    } else {
        child.store(pid as u64, Ordering::Relaxed);
    }
    park()
}

/// Workers are killed while they refresh, and replaced. Each has written its last call, or the one before.
fn killed(dir: &Path) {
    const WORKERS: usize = 3;
    const GENERATIONS: usize = 8;
    // SAFETY: takes numbers only. Children of workers that have ended become children of this process.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    let words = shared(1 + WORKERS);
    let (all, children) = (&words[0], &words[1..]);
    let merged = merge(dir);
    let (mut last, mut ended) = (0.0, 0);
    for _ in 0..GENERATIONS {
        for child in children {
            child.store(0, Ordering::Relaxed);
        }
        let pids: Vec<_> = children.iter().map(|child| start_worker(dir, all, child)).collect();
        let begun = all.load(Ordering::Relaxed);
        wait_until("calls of all processes", || {
            let page = merged.render(None).to_string();
            let total = values(&page, "calls_total").first().copied().unwrap_or(0.0);
            assert!(total >= last, "{total} after {last}");
            last = total;
            let calls = all.load(Ordering::Relaxed) - begun;
            values(&page, "alive").len() == 2 * WORKERS && calls > 30 * WORKERS as u64
        });
        let children = children.iter().map(|child| child.load(Ordering::Relaxed) as libc::pid_t);
        for pid in pids.into_iter().chain(children) {
            kill(pid);
            ended += 1;
        }
        let page = merged.render(None).to_string();
        assert_eq!(values(&page, "alive"), [0.0; 0], "{page}");
        assert_eq!(values(&page, "last_call"), [0.0; 0], "{page}");
        let total = values(&page, "calls_total")[0];
        let made = all.load(Ordering::Relaxed);
        // Each process that was killed has made one call at most that it has not written.
        assert!(
            total <= made as f64 && total + f64::from(ended) >= made as f64,
            "{total} of {made}"
        );
        assert!(total >= last, "{total} after {last}");
        last = total;
    }
    // A process that ends writes its last values.
    let own = shared(1);
    let registry = worker(dir, Duration::from_secs(3600));
    registry.register(Calls::new(&own[0])).expect("registered");
    registry.flush();
    registry.close();
    let page = merged.render(None).to_string();
    let calls = own[0].load(Ordering::Relaxed) as f64;
    assert!(calls > 1.0);
    assert_eq!(values(&page, "calls_total"), [last + calls], "{page}");
    assert_eq!(values(&page, "alive"), [0.0; 0], "{page}");
    assert_eq!(values(&page, "jobs_total"), [(WORKERS * GENERATIONS) as f64], "{page}");
}

/// Calls a function when it is collected.
struct Counting<F>(F);

impl<F: Fn() + Send + Sync> Collector for Counting<F> {
    fn collect(&self, out: &mut dyn FamilySink) {
        (self.0)();
        out.gauge("inherited", "Inherited.").sample(&[], 1.0);
    }
}

/// A child calls what it inherits after its own first recording, registration or flush, and not for a scrape.
fn inherited(dir: &Path) {
    let registry = worker(dir, Duration::from_millis(2));
    let jobs = Counter::builder("jobs", "Jobs.").register(&registry).expect("registered");
    let depth = Gauge::builder("depth", "Depth.")
        .mode(GaugeMode::LiveAll)
        .register(&registry)
        .expect("registered");
    let parent = std::process::id();
    let calls = &shared(1)[0];
    let count = move || {
        if std::process::id() != parent {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    depth.set_function(move || {
        count();
        1.0
    });
    registry.register(Counting(count)).expect("registered");
    registry.flush();
    let merged = merge(dir);
    for begin in 0..3 {
        calls.store(0, Ordering::Relaxed);
        let (registry, merged) = (registry.clone(), merged.clone());
        wait(in_child(move || {
            for _ in 0..5 {
                merged.render(None);
                std::thread::park_timeout(Duration::from_millis(3));
            }
            assert_eq!(calls.load(Ordering::Relaxed), 0, "a child calls what it inherits");
            match begin {
                0 => jobs.inc(),
                1 => registry.flush(),
                _ => _ = Gauge::builder("own", "Own.").register(&registry).expect("registered"),
            }
            wait_until("calls in the child", || calls.load(Ordering::Relaxed) > 4);
            let page = merged.render(None).to_string();
            assert_eq!(values(&page, "depth").len(), 2, "{page}");
            assert_eq!(values(&page, "inherited").len(), 2, "{page}");
        }));
    }
}

/// A fork waits for a function that holds a lock, so the child does not inherit the lock.
fn held(dir: &Path) {
    let registry = worker(dir, Duration::from_millis(1));
    let depth = Gauge::builder("depth", "Depth.").register(&registry).expect("registered");
    let state = Arc::new(Mutex::new(0_u64));
    let locked = Arc::clone(&state);
    depth.set_function(move || {
        let mut state = locked.lock().expect("no panic");
        *state += 1;
        std::thread::park_timeout(Duration::from_millis(3));
        *state as f64
    });
    let calls = || *state.lock().expect("no panic");
    wait_until("calls", || calls() > 2);
    // A fork waits for a limited time, and not for a function that was slow the last time: on a busy machine, a child may
    // inherit the lock. If forks did not wait, most children would, as the function holds the lock most of the time.
    let free = &shared(1)[0];
    wait_until("40 children in turn without the lock", || {
        let state = Arc::clone(&state);
        wait(in_child(move || {
            limit_time(60);
            match state.try_lock() {
                Ok(_) => free.fetch_add(1, Ordering::Relaxed),
                Err(_) => free.swap(0, Ordering::Relaxed),
            };
        }));
        free.load(Ordering::Relaxed) >= 40
    });
    let before = calls();
    wait_until("further calls", || calls() > before + 2);
}

struct Total(Arc<AtomicU64>);
impl Collector for Total {
    fn collect(&self, out: &mut dyn FamilySink) {
        let total = self.0.load(Ordering::Relaxed) as f64;
        out.counter("total", "Total.").sample(&[], total);
        out.summary("sizes", "Sizes.").sample(&[], &[], total, 2.0 * total);
    }
}

/// A child adds what a mirrored total grows there, exactly if the parent flushes before it forks.
fn mirrored(dir: &Path) {
    let registry = worker(dir, Duration::from_secs(3600));
    let sent = Counter::builder("sent", "Sent.").register(&registry).expect("registered");
    let total = Arc::new(AtomicU64::new(100));
    let read = Arc::clone(&total);
    sent.set_function(move || read.load(Ordering::Relaxed) as f64);
    registry.register(Total(Arc::clone(&total))).expect("registered");
    registry.flush();
    let merged = merge(dir);
    let mut expected = 100.0;
    for growth in [1, 7, 30] {
        let (registry, total) = (registry.clone(), Arc::clone(&total));
        wait(in_child(move || {
            total.fetch_add(growth, Ordering::Relaxed);
            registry.flush();
            total.fetch_add(growth, Ordering::Relaxed);
            registry.close();
        }));
        expected += 2.0 * growth as f64;
        let page = merged.render(None).to_string();
        assert_eq!(values(&page, "sent_total"), [expected], "{page}");
        assert_eq!(values(&page, "total_total"), [expected], "{page}");
        assert_eq!(values(&page, "sizes_count"), [expected], "{page}");
        assert_eq!(values(&page, "sizes_sum"), [2.0 * expected], "{page}");
    }
    // A source that begins anew in the child.
    let (other, total) = (registry.clone(), Arc::clone(&total));
    wait(in_child(move || {
        total.store(4, Ordering::Relaxed);
        other.close();
        other.flush();
        total.store(5, Ordering::Relaxed);
        other.close();
    }));
    expected += 5.0;
    let page = merged.render(None).to_string();
    assert_eq!(values(&page, "sent_total"), [expected], "{page}");
    assert_eq!(values(&page, "total_total"), [expected], "{page}");
}

/// The threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("procfs").count()
}

/// There is no thread where nothing is computed, and one where something is; it blocks all signals.
fn single(dir: &Path) {
    let registry = worker(dir, Duration::from_millis(1));
    let depth = Gauge::builder("depth", "Depth.").register(&registry).expect("registered");
    depth.set(1.0);
    registry.flush();
    assert_eq!(threads(), 1, "a thread although nothing is computed");
    depth.set_function(|| 1.0);
    registry.flush();
    let other = worker(dir, Duration::from_millis(1));
    other.register(Calls::new(&shared(1)[0])).expect("registered");
    other.flush();
    assert_eq!(threads(), 2);
    let own = format!("{}", std::process::id());
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    for task in tasks.map(|task| task.expect("a task")).filter(|task| *task.file_name() != *own) {
        let status = std::fs::read_to_string(task.path().join("status")).expect("a status");
        let blocked =
            status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).expect("a mask");
        let blocked = u64::from_str_radix(blocked, 16).expect("a mask");
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGALRM, libc::SIGUSR1, libc::SIGCHLD] {
            assert_ne!(blocked & 1 << (signal - 1), 0, "signal {signal} is not blocked");
        }
    }
    // A function that hangs does not keep the process from ending.
    let hangs = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&hangs);
    depth.set_function(move || {
        set.store(true, Ordering::Relaxed);
        loop {
            std::thread::park();
        }
    });
    wait_until("the call", || hangs.load(Ordering::Relaxed));
}

/// What all workers read from one database, and what each of them says about itself.
struct Database(&'static [AtomicU64]);

impl Collector for Database {
    fn collect(&self, out: &mut dyn FamilySink) {
        let value = |at: usize| self.0[at].load(Ordering::Relaxed) as f64;
        out.counter("restarts_total", "Restarts.").sample(&[("db", "a")], value(0));
        out.gauge("backlog", "Jobs in the database.").sample(&[], value(1));
        out.info("database", "Version.").sample(&[("version", "16")]);
        out.state_set("role", "Role.")
            .sample(&[], &[("primary", value(1) > 5.0), ("replica", false)]);
        out.unknown("lag", "Lag.").sample(&[], 2.0);
    }

    fn merge_rule(&self, family: &str) -> MergeRule {
        match family {
            "restarts" | "backlog" => MergeRule::SharedSource,
            "role" => MergeRule::Mode(GaugeMode::LiveMax),
            _ => MergeRule::ByType,
        }
    }
}

/// A source that processes share is not added up, and each family keeps its type.
fn typed(dir: &Path) {
    let words = shared(3);
    let (source, ends) = (&words[..2], &words[2]);
    let merged = merge(dir);
    let start = || {
        let dir = dir.to_owned();
        in_child(move || {
            let registry = worker(&dir, Duration::from_millis(1));
            registry.register(Database(source)).expect("registered");
            wait_until("the end", || ends.load(Ordering::Relaxed) > 0);
            registry.close();
        })
    };
    let workers = [start(), start(), start()];
    for (restarts, backlog, shown) in [(3, 9, 3.0), (5, 2, 5.0), (4, 7, 5.0)] {
        source[0].store(restarts, Ordering::Relaxed);
        source[1].store(backlog, Ordering::Relaxed);
        let text =
            || merged.render(Some("application/openmetrics-text; version=1.0.0")).to_string();
        let expected = [
            "# TYPE restarts counter\n".to_owned(),
            format!("restarts_total{{db=\"a\"}} {shown:?}\n"),
            "# TYPE backlog gauge\n".to_owned(),
            format!("backlog {:?}\n", f64::from(backlog as u32)),
            "# TYPE database info\n".to_owned(),
            "database_info{version=\"16\"} 1.0\n".to_owned(),
            "# TYPE role stateset\n".to_owned(),
            format!("role{{role=\"primary\"}} {:?}\n", f64::from(u8::from(backlog > 5))),
            "role{role=\"replica\"} 0.0\n".to_owned(),
            "# TYPE lag unknown\n".to_owned(),
        ];
        let mut page = String::new();
        let deadline = Instant::now() + PATIENCE;
        while !expected.iter().all(|text| page.contains(text)) || values(&page, "lag").len() != 3 {
            let missing = expected.iter().find(|text| !page.contains(*text));
            assert!(Instant::now() < deadline, "{missing:?} is not in\n{page}");
            page = text();
        }
    }
    ends.store(1, Ordering::Relaxed);
    workers.into_iter().for_each(wait);
    let page = merged.render(None).to_string();
    // The counter of an ended process stays.
    assert_eq!(values(&page, "restarts_total"), [5.0], "{page}");
    assert_eq!(values(&page, "backlog"), [0.0; 0], "{page}");
    assert_eq!(values(&page, "database_info"), [0.0; 0], "{page}");
}

struct Faulty(Arc<AtomicU64>);

impl Collector for Faulty {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.counter("faulty_total", "Faulty.").sample(&[], 5.0);
        match self.0.load(Ordering::Relaxed) {
            1 => panic!("the collector is broken"),
            2 => out.fail(MultiProcessCollector::new("/nowhere").expect_err("no directory")),
            3 => _ = out.gauge("", "Invalid.").sample(&[], 1.0),
            4 => _ = out.counter("other_total", "Invalid.").sample(&[], -1.0),
            5 => _ = out.counter("jobs", "Registered.").sample(&[], 1.0),
            6 => _ = out.gauge("per_process", "Two labels.").sample(&[("pid", "1")], 1.0),
            _ => {}
        }
    }
}

/// A collector that fails keeps its values, and its failures are counted by reason.
fn faulty(dir: &Path) {
    let (registry, state) = (worker(dir, Duration::from_secs(3600)), Arc::new(AtomicU64::new(0)));
    Counter::builder("jobs", "Jobs.").register(&registry).expect("registered").inc_by(2.0);
    registry.register(Faulty(Arc::clone(&state))).expect("registered");
    registry.flush();
    let merged = merge(dir);
    let mut samples = 0;
    for (at, reason) in
        [(1, "panic"), (2, "error"), (3, "sample"), (4, "sample"), (5, "sample"), (6, "sample")]
    {
        state.store(at, Ordering::Relaxed);
        registry.flush();
        // The count of samples is written by the next refresh.
        state.store(0, Ordering::Relaxed);
        registry.flush();
        let page = merged.render(None).to_string();
        assert_eq!(values(&page, "faulty_total"), [5.0], "{page}");
        assert_eq!(values(&page, "jobs_total"), [2.0], "{page}");
        samples += i32::from(reason == "sample");
        let count = if reason == "sample" { samples } else { 1 };
        let failed = format!("multiprom_failed_refreshes_total{{reason=\"{reason}\"}} {count}\n");
        assert!(page.contains(&failed), "{at}: {page}");
    }
}

/// The default registry, in the directory of the environment.
fn render() {
    struct Queue;
    impl Collector for Queue {
        fn collect(&self, out: &mut dyn FamilySink) {
            out.gauge("queue", "Queue.").sample(&[], 4.0);
            out.gauge_histogram("ages", "Ages.").sample(&[], &HistogramPoint::new(&[], 2.0, 3.0));
        }
    }
    default_registry().register(Queue).expect("registered");
    DEPTH.set_function(|| 3.0);
    SENT.set_function(|| 9.0);
    JOBS.inc();
    let check = || {
        let page = multiprom::render(None).to_string();
        for (name, value) in [("depth", 3.0), ("sent_total", 9.0), ("jobs_total", 1.0)] {
            assert_eq!(values(&page, name), [value], "{page}");
        }
        assert_eq!(values(&page, "queue"), [4.0], "{page}");
        assert_eq!(values(&page, "ages_gcount").len(), 1, "{page}");
        assert!(!page.contains("multiprom_repeated_families_total"), "{page}");
        assert!(!page.contains("multiprom_failed_refreshes_total"), "{page}");
    };
    default_registry().flush();
    check();
    check();
    let own = default_registry().render(None).to_string();
    assert_eq!(values(&own, "depth"), [3.0], "{own}");
    assert_eq!(values(&own, "queue"), [4.0], "{own}");
}

pub fn main() {
    limit_time(300);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = arguments.get(1).map_or(Path::new(""), Path::new);
    match arguments[0].as_str() {
        "killed" => killed(dir),
        "inherited" => inherited(dir),
        "held" => held(dir),
        "faulty" => faulty(dir),
        "typed" => typed(dir),
        "mirrored" => mirrored(dir),
        "single" => single(dir),
        "render" => render(),
        other => panic!("no case {other}"),
    }
    println!("done");
}

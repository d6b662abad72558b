//! Forks in several ways and records in parent and children.
//!
//! usage: `test-forks DIR SCENARIO`. The scenarios are listed in `main`; some print lines that their test reads.
#![expect(unsafe_code, reason = "handlers of forks")]

use std::io::{Read as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use multiprom::collector::MergeRule;
use multiprom::{
    Backend, Collector, Counter, Family, FamilySink, Gauge, GaugeMode, Registry, Summary,
};

use super::fork::{exit, fork, in_child, limit_time, raw_clone, wait, wait_status};

/// What the parent adds before and after the fork, and what each child adds.
const PARENT: f64 = 1.0;
const CHILD: f64 = 100.0;

/// Forks while another thread scrapes; each child scrapes once.
fn scrape(dir: &str) -> multiprom::Result<()> {
    let merged = Registry::new();
    merged.register(multiprom::MultiProcessCollector::new(dir)?)?;
    let is_over = AtomicBool::new(false);
    limit_time(300);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(merged.render(None).to_string().contains("counted_total"));
            }
        });
        for _ in 0..200 {
            wait(in_child(|| {
                limit_time(60);
                assert!(merged.render(None).to_string().contains("counted_total"));
            }));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Forks while another thread adds the series that makes the table of a family in memory grow. Each child also
/// records that series, and prints its lines if it is exported several times.
fn growing() -> multiprom::Result<()> {
    const SERIES: usize = 16_384;
    limit_time(300);
    for round in 0..24 {
        let registry = Registry::builder().backend(Backend::in_memory()).build()?;
        let family = Counter::builder("grown", "By label.").labels(["n"]).register(&registry)?;
        (0..SERIES).for_each(|at| _ = family.with([&at.to_string()]));
        let last = SERIES.to_string();
        let begins = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begins.wait();
                family.with([&last]).inc();
            });
            begins.wait();
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(100 * round) {
                std::hint::spin_loop();
            }
            wait(in_child(|| {
                (0..2).for_each(|_| family.with([&last]).inc());
                let text = registry.render(None).to_string();
                let lines = text.lines().filter(|line| line.contains(&last)).collect::<Vec<_>>();
                if lines.len() > 1 {
                    println!("{lines:?}");
                    std::io::stdout().flush().expect("the test reads");
                }
            }));
        });
    }
    Ok(())
}

/// A collector with one gauge of this name.
struct Named(String);

impl Collector for Named {
    fn collect(&self, out: &mut dyn FamilySink) {
        out.gauge(&self.0, "").sample(&[], 1.0);
    }

    fn describe(&self, out: &mut dyn FamilySink) {
        self.collect(out);
    }

    fn merge_rule(&self, _: &str) -> MergeRule {
        MergeRule::Mode(GaugeMode::Sum)
    }
}

/// Forks while another thread registers and unregisters metrics and collectors. Each child finds the families of a whole,
/// sorted registry, and registers and unregisters as well.
fn registering(dir: &str) -> multiprom::Result<()> {
    limit_time(300);
    // In a directory, a child shows what it has recorded itself.
    for (backend, inherited) in [(Backend::in_memory(), 20), (Backend::directory(dir)?, 0)] {
        let registry = Registry::builder().backend(backend).build()?;
        let counter = |name: &str| Counter::builder(name, "C.").register(&registry);
        for at in 0..20 {
            counter(&format!("kept_{at}"))?.inc();
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rounds = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let (new, again) = (format!("new_{rounds}"), format!("again_{}", rounds % 7));
                    // The list of names grows, but not so much that pages take long.
                    if rounds < 300 {
                        counter(&new).expect("the name is free").inc();
                    }
                    counter(&again).expect("the name is free").inc();
                    let collector = registry.register(Named(format!("named_{}", rounds % 5)));
                    collector.expect("the name is free").unregister();
                    registry.unregister(&again).expect("it is registered");
                    rounds += 1;
                }
            });
            let run_child = |_| wait_status(in_child(|| change_in_child(&registry, inherited)));
            let failed = (0..40).map(run_child).find(|status| *status != 0);
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(failed, None, "a child failed");
        });
    }
    Ok(())
}

fn change_in_child(registry: &Registry, inherited: usize) {
    limit_time(60);
    let families = || {
        let page = registry.render(None).to_string();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = types.filter_map(|line| line.split(' ').next());
        let names = names.map(|name| name.trim_end_matches("_total").to_owned());
        names.filter(|name| !name.starts_with("multiprom_")).collect::<Vec<_>>()
    };
    let counter = |name: &str| Counter::builder(name, "C.").register(registry);
    let is_counted = |name: &str| registry.sample_value(name, &[]);
    let kept = |names: &[String]| names.iter().filter(|name| name.starts_with("kept_")).count();
    let names = families();
    assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    assert_eq!(kept(&names), inherited);

    counter("by_child").expect("the name is free").inc();
    let collector = registry.register(Named("of_child".to_owned())).expect("the name is free");
    assert_eq!((is_counted("by_child_total"), is_counted("of_child")), (Some(1.0), Some(1.0)));
    counter("kept_3").expect_err("the name is taken");
    registry.unregister("kept_3").expect("it is registered");
    collector.unregister();
    // The names with which the other thread was busy are registered or free.
    for at in 0..7 {
        let _ = registry.unregister(&format!("again_{at}"));
        counter(&format!("again_{at}")).expect("the name is free").inc();
    }
    for at in 0..5 {
        let name = format!("named_{at}");
        let _ = registry.unregister(&name);
        registry.register(Named(name)).expect("the name is free");
    }
    let names = families();
    assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
    let kept = kept(&names);
    assert_eq!((kept, count("again_"), count("named_")), (inherited.saturating_sub(1), 7, 5));
}

/// The family that fork handlers record into, in processes without a file of its type.
static HANDLED: OnceLock<Family<Summary>> = OnceLock::new();

fn record_in_handler(handler: &str) {
    if let Some(handled) = HANDLED.get() {
        let begin = Instant::now();
        handled.with([handler]).observe(1.0);
        let took = begin.elapsed();
        assert!(took < Duration::from_millis(200), "recording in {handler} took {took:?}");
    }
}

extern "C" fn record_before() {
    record_in_handler("before");
}

extern "C" fn record_in_parent() {
    record_in_handler("parent");
}

extern "C" fn record_in_child() {
    record_in_handler("child");
}

/// Registers handlers that record. As they are registered first, they run before those of the library in parent and
/// child, and after it in the preparation of a fork.
fn register_handlers() {
    let (before, parent, child) = (record_before, record_in_parent, record_in_child);
    // SAFETY: the handlers are never unloaded. They allocate, which the C library allows in a process with one thread.
    let result = unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) };
    assert_eq!(result, 0);
}

/// Forks while handlers record; the child records ten more times and lives until its standard input ends.
fn handlers(registry: &Registry) {
    let handled = Summary::builder("handled", "By handler.").labels(["handler"]);
    let handled = HANDLED.get_or_init(|| handled.register(registry).expect("the name is free"));
    if fork() == 0 {
        (0..10).for_each(|_| handled.with(["child"]).observe(1.0));
        println!("child {}", std::process::id());
        std::io::stdout().flush().expect("the test reads");
        let _ = std::io::stdin().read(&mut [0]);
        exit();
    }
    let _ = std::io::stdin().read(&mut [0]);
}

/// Drops guards in a child, after the files were released, and after they were lost.
fn guards(dir: &str, registry: &Registry) -> multiprom::Result<()> {
    let busy = Gauge::builder("busy", "In progress.").mode(GaugeMode::Sum);
    let in_memory = Registry::builder().backend(Backend::in_memory()).build()?;
    let busy_in_memory = busy.register(&in_memory)?;
    let busy = Gauge::builder("busy", "In progress.").mode(GaugeMode::Sum).register(registry)?;
    let files = || std::fs::read_dir(dir).expect("list").count();

    let (guard, guard_in_memory) = (busy.track_inprogress(), busy_in_memory.track_inprogress());
    let before = files();
    let pid = fork();
    if pid == 0 {
        drop((guard, guard_in_memory));
        // On the heap the child has a copy of the value, including the increment of the guard.
        assert_eq!((busy.get(), busy_in_memory.get()), (0.0, 0.0));
        assert_eq!(files(), before, "a child that records nothing leaves no file");
        drop(busy.track_inprogress());
        assert_eq!((busy.get(), files()), (0.0, before + 1));
        exit();
    }
    wait(pid);
    assert_eq!((busy.get(), busy_in_memory.get()), (1.0, 1.0));

    let before = files();
    registry.close();
    assert_eq!(busy.get(), 1.0);
    drop(guard);
    assert_eq!((busy.get(), files()), (0.0, before), "nothing is recorded in new files");
    let early = busy.track_inprogress();
    registry.close();
    let late = busy.track_inprogress();
    drop(early);
    assert_eq!(busy.get(), 1.0);

    std::fs::remove_dir_all(dir).expect("the directory exists");
    std::fs::create_dir(dir).expect("the name is free");
    let other = Gauge::builder("other", "Another one.").register(registry)?;
    other.set(1.0);
    drop(late);
    assert_eq!(busy.get(), 0.0);
    Ok(())
}

/// Whether a file is being closed.
static IS_CLOSING: AtomicBool = AtomicBool::new(false);
/// The child that was forked meanwhile.
static FORKED: AtomicI32 = AtomicI32::new(0);

/// Stops the thread that closes files at a system call in the middle, until another thread has forked or waits to fork.
extern "C" fn on_trap(_: libc::c_int) {
    IS_CLOSING.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        if FORKED.load(Ordering::SeqCst) != 0 {
            return;
        }
        let pause = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: the time is valid; no rest is asked for.
        unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
    }
}

/// Makes a system call of this thread run [`on_trap`] instead.
fn trap(call: libc::c_long) {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, call as u32),
        step(0x06, 0, 0, libc::SECCOMP_RET_TRAP),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let handler: extern "C" fn(libc::c_int) = on_trap;
    // SAFETY: the handler calls async-signal-safe functions only.
    unsafe { libc::signal(libc::SIGSYS, handler as libc::sighandler_t) };
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program is valid and lives through the call.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Closes the files while another thread forks a child that lives until its standard input ends.
fn closing(registry: &Registry) {
    let forks = std::thread::spawn(|| {
        while !IS_CLOSING.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let pid = fork();
        if pid == 0 {
            let _ = std::io::stdin().read(&mut [0]);
            exit();
        }
        FORKED.store(pid, Ordering::SeqCst);
        pid
    });
    // The file is closed after its mapping is replaced, which includes this call. Nothing depends on the call.
    trap(libc::SYS_munlock);
    registry.close();
    let child = forks.join().expect("it does not panic");
    println!("{} {child}", std::process::id());
    std::io::stdout().flush().expect("the test reads");
    let _ = std::io::stdin().read(&mut [0]);
    wait(child);
}

/// Forks a child before each instruction of a function.
#[cfg(target_arch = "x86_64")]
mod steps {
    use std::arch::asm;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// How many children have been forked.
    static CHILDREN: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }

    /// Sets a log hook, as each child does too, and prints how many children there were.
    pub(super) fn set_log_hook() {
        let handler: extern "C" fn(_, _, *mut libc::ucontext_t) = on_step;
        // SAFETY: all bits zero are a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the action is valid.
        unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()) };
        // SAFETY: sets the trap flag: each instruction raises SIGTRAP from now on.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
        multiprom::set_log_hook(|_| {});
        // SAFETY: clears the trap flag.
        unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
        println!("children {}", CHILDREN.load(Ordering::Relaxed));
    }

    extern "C" fn on_step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::ucontext_t) {
        // SAFETY: the kernel passes a valid context to a handler with SA_SIGINFO.
        let at = unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] } as usize;
        // Not within the allocator or another function of the C library, which a child could not call then.
        if !((&raw const __executable_start).addr()..(&raw const etext).addr()).contains(&at) {
            return;
        }
        let child = super::fork();
        if child == 0 {
            // SAFETY: takes a number only. A child that waits for ever is ended, and has failed.
            unsafe { libc::alarm(60) };
            multiprom::set_log_hook(|_| {});
            super::exit();
        }
        super::wait(child);
        CHILDREN.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn main() -> multiprom::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, scenario] = &arguments[..] else { panic!("usage: test-forks DIR SCENARIO") };
    if scenario == "handlers" {
        register_handlers();
    }
    let registry = Registry::builder().backend(Backend::directory(dir)?).build()?;
    let counter = Counter::builder("counted", "Counted.").register(&registry)?;
    let family = Counter::builder("labelled", "By label.").labels(["who"]).register(&registry)?;
    counter.inc_by(PARENT);
    match &**scenario {
        "fork" => child(fork(), counter, family),
        "clone" => child(raw_clone(), counter, family),
        "nested" => nested(counter, family),
        "threads" => threads(&registry, counter),
        "outlive" => outlive(counter),
        "inherited" => inherited(counter),
        "scrape" => scrape(dir)?,
        "growing" => growing()?,
        "registering" => registering(dir)?,
        "handlers" => handlers(&registry),
        "guards" => guards(dir, &registry)?,
        "closing" => closing(&registry),
        #[cfg(target_arch = "x86_64")]
        "steps" => steps::set_log_hook(),
        "idle" => wait(in_child(|| {})),
        other => panic!("unknown scenario {other}"),
    }
    counter.inc_by(PARENT);
    family.with(["parent"]).inc();
    Ok(())
}

fn child(pid: libc::pid_t, counter: Counter, family: Family<Counter>) {
    if pid == 0 {
        assert_eq!(counter.get(), 0.0, "a child starts from zero");
        counter.inc_by(CHILD);
        assert_eq!(counter.get(), CHILD);
        family.with(["child"]).inc();
        exit();
    }
    wait(pid);
    assert_eq!(counter.get(), PARENT, "a child does not write its parent's cells");
}

fn nested(counter: Counter, family: Family<Counter>) {
    wait(in_child(|| {
        counter.inc_by(CHILD);
        wait(in_child(|| {
            counter.inc_by(CHILD);
            family.with(["grandchild"]).inc();
        }));
        counter.inc_by(CHILD);
    }));
}

/// Forks while other threads register families, create series and record.
fn threads(registry: &Registry, counter: Counter) {
    let stop = AtomicBool::new(false);
    let is_stopped = || stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let is_stopped = &is_stopped;
            scope.spawn(move || {
                let family = Counter::builder(format!("thread_{thread}"), "Of a thread.")
                    .labels(["turn"])
                    .register(registry)
                    .expect("the name is free");
                for turn in (0..2_000).cycle() {
                    if is_stopped() {
                        break;
                    }
                    family.with([&turn.to_string()]).inc();
                }
            });
        }
        for _ in 0..100 {
            wait(in_child(|| {
                counter.inc_by(CHILD);
                let _ = Counter::builder("of_child", "New.").register(registry).map(|c| c.inc());
            }));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// Forks a child that outlives this process; prints both pids. Each process lives until its standard input ends.
fn outlive(counter: Counter) {
    let forked = fork();
    if forked != 0 {
        println!("{} {forked}", std::process::id());
        std::io::stdout().flush().expect("the test reads");
    } else {
        counter.inc_by(CHILD);
    }
    let _ = std::io::stdin().read(&mut [0]);
    if forked == 0 {
        exit();
    }
}

/// Forks from a thread that has recorded. The child records in that thread and in new threads at once, in the new ones
/// first.
fn inherited(counter: Counter) {
    const TURNS: u32 = 200_000;
    let fork_and_record = || {
        counter.inc_by(0.0);
        let pid = fork();
        if pid != 0 {
            return wait(pid);
        }
        let began = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    counter.inc();
                    began.wait();
                    (1..TURNS).for_each(|_| counter.inc());
                });
            }
            began.wait();
            (0..TURNS).for_each(|_| counter.inc());
        });
        exit();
    };
    // In a second thread, as the main thread has the first index of cells.
    std::thread::scope(|scope| {
        scope.spawn(fork_and_record).join().expect("it does not panic");
    });
}

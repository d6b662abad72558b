//! Records in a signal handler that runs at every allocation of the library.
//!
//! usage: `test-reentrant DIR`. The allocator raises a signal before each allocation, so the handler interrupts every
//! registration and every first recording, but never the C library's allocator. Fails if a recording is neither counted
//! nor ignored.
#![expect(unsafe_code, reason = "an allocator and a signal handler")]

#[path = "../support/fork.rs"]
mod fork;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use multiprom::{
    Backend, Counter, Family, Gauge, GaugeMode, Histogram, Result, Static, Summary,
    default_registry, set_default_backend,
};

struct Raising;

/// Whether allocations raise the signal.
static IS_ARMED: AtomicBool = AtomicBool::new(false);
static IS_IN_HANDLER: AtomicBool = AtomicBool::new(false);

// SAFETY: forwards all calls to the allocator of the system.
unsafe impl GlobalAlloc for Raising {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_ARMED.load(Ordering::Relaxed) && !IS_IN_HANDLER.load(Ordering::Relaxed) {
            // SAFETY: takes a number only.
            unsafe { libc::raise(libc::SIGUSR1) };
        }
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Raising = Raising;

/// The number of runs of the handler.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);
/// Handles that have not been used.
static HANDLES: OnceLock<Vec<Counter>> = OnceLock::new();

static BY_SIGNAL: Static<Family<Counter>> =
    Counter::declare("by_signal", "By number.").labels(["n"]);
static LEVEL: Static<Family<Gauge>> =
    Gauge::declare("level", "By number.").mode(GaugeMode::Sum).labels(["n"]);
static SIZES: Static<Histogram> = Histogram::declare("sizes", "Of signals.");
static TIMES: Static<Summary> = Summary::declare("times", "Of signals.");

const NUMBERS: [&str; 4] = ["0", "1", "2", "3"];

extern "C" fn record(_: libc::c_int) {
    IS_IN_HANDLER.store(true, Ordering::Relaxed);
    let signal = SIGNALS.fetch_add(1, Ordering::Relaxed);
    let number = NUMBERS[signal / 16 % NUMBERS.len()];
    if let Some(handles) = HANDLES.get() {
        handles[signal % handles.len()].inc();
    }
    BY_SIGNAL.with([number]).inc();
    LEVEL.with([number]).inc();
    SIZES.observe(1.0);
    TIMES.observe(1.0);
    // Fails if the signal interrupts the library, or if the name is taken.
    let _ = Counter::builder("registered", "By a signal.").register(default_registry());
    IS_IN_HANDLER.store(false, Ordering::Relaxed);
}

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).expect("usage: DIR");
    fork::limit_time(300);
    let handler = record as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler interrupts allocations of this program only, before they begin.
    unsafe { libc::signal(libc::SIGUSR1, handler) };

    set_default_backend(Backend::directory(dir)?)?;
    let registry = default_registry();
    let handled = Counter::builder("handled", "By handle.").labels(["n"]).register(registry)?;
    let handles = (0..1_000).map(|number| handled.with([&number.to_string()])).collect();
    HANDLES.get_or_init(|| handles);

    IS_ARMED.store(true, Ordering::Relaxed);
    let counted = Counter::builder("counted", "By number.").labels(["n"]).register(registry)?;
    let seen = Histogram::builder("seen", "By number.").labels(["n"]).register(registry)?;
    let set = Gauge::builder("set", "By number.").mode(GaugeMode::Sum).labels(["n"]);
    let set = set.register(registry)?;
    for number in 0..100 {
        let number = number.to_string();
        for _ in 0..2 {
            counted.with([&number]).inc();
            seen.with([&number]).observe(1.0);
            set.with([&number]).inc();
        }
    }
    // In a thread without cells.
    std::thread::spawn(move || counted.with(["0"]).inc()).join().expect("it does not panic");
    IS_ARMED.store(false, Ordering::Relaxed);
    // A new series, so that the number of ignored recordings is written to the files.
    set.with(["last"]).set(0.0);

    let signals = SIGNALS.load(Ordering::Relaxed) as f64;
    let text = registry.render(None).to_string();
    let sum = |name: &str| -> f64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = lines.filter(|rest| rest.starts_with(['{', ' ']));
        values
            .map(|rest| rest.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok()))
            .sum::<Option<_>>()
            .expect("numbers")
    };
    let recorded = ["handled_total", "by_signal_total", "level", "sizes_count", "times_count"];
    let counted: f64 = recorded.into_iter().map(sum).sum();
    let ignored = sum("multiprom_ignored_recordings_total");
    println!("signals {signals}");
    println!("ignored {ignored}");
    assert!(counted > 0.0 && ignored > 0.0);
    assert_eq!(counted + ignored, signals * recorded.len() as f64);
    Ok(())
}

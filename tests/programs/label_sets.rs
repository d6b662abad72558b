//! Registers families with every kind of labels, and records into them if asked to.
//!
//! usage: `test-label-sets register|record|limit`. The environment names the directory. With `record`, fails if a lookup of
//! series that exist allocates; with `limit`, if lookups beyond a limit do. Then prints the page.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use multiprom::labels::Displayed;
use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::{
    Counter, Family, Gauge, GaugeMode, Histogram, LabelSet, LabelValue, Static, Summary, Unit,
};

#[derive(LabelValue)]
#[label(rename_all = "lowercase")]
enum Method {
    Get,
    Post,
}

#[derive(LabelSet)]
struct Listed {
    method: Method,
    cached: bool,
}

#[derive(LabelSet)]
struct Request<'a> {
    method: Method,
    #[label(name = "handler")]
    route: &'a str,
    code: u16,
    #[label(display)]
    share: f64,
}

static LISTED: Static<TypedFamily<Counter, Listed>> =
    Counter::declare("listed", "Enumerable labels.").label_set();
static SIZES: Static<TypedFamily<Histogram, Listed>> =
    Histogram::declare("sizes", "Enumerable labels.").buckets(&[1.0]).label_set();
static REQUESTS: Static<TypedFamily<Counter, Request>> = Counter::declare("requests", "Borrowed.")
    .namespace("shop")
    .subsystem("http")
    .unit(Unit::Bytes)
    .const_labels(&[("tier", "gold")])
    .label_set();
static UPLOADS: Static<OpenFamily<Counter>> =
    Counter::declare("uploads", "Open labels.").const_labels(&[("tier", "gold")]).open_labels();
static WAITS: Static<Family<Summary>> =
    Summary::declare("waits", "Made on purpose.").labels(["kind"]);

static BUSY: Static<Gauge> = Gauge::declare("busy", "Without labels of its own.")
    .mode(GaugeMode::Sum)
    .namespace("shop")
    .subsystem("http")
    .unit(Unit::Seconds)
    .const_labels(&[("tier", "gold")]);
static BY_PID: Static<Family<Gauge>> =
    Gauge::declare("by_pid", "A label `pid`.").mode(GaugeMode::Sum).labels(["pid"]);
static BY_ROUTE: Static<Family<Counter, 2>> =
    Counter::declare_utf8("http.requests.\u{e9}", "UTF-8 names.").labels(["http.route", "\"\n"]);

static LIMITED: Static<Family<Counter>> =
    Counter::declare("limited", "Limited.").max_series(3).labels(["at"]);

/// How often memory was allocated.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: passes everything on to the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller fulfils the conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller fulfils the conditions.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn record(route: &str) -> multiprom::Result<()> {
    LISTED.with(&Listed { method: Method::Post, cached: true }).inc();
    SIZES.with(&Listed { method: Method::Get, cached: false }).observe(0.5);
    REQUESTS.with(&Request { method: Method::Get, route, code: 200, share: 0.5 }).inc();
    UPLOADS.with(&[("user", "a"), ("type", "png")])?.inc();
    UPLOADS.with(&[])?.inc();
    BY_ROUTE.with([route, "x"]).inc();
    BUSY.inc();
    BY_PID.with(["a"]).inc();
    WAITS.with([Displayed("disk")]).observe(1.5);
    WAITS.with_slice(&["net"])?.observe(1.0);
    Ok(())
}

/// Looks up label sets beyond the limit of a family.
#[expect(clippy::print_stdout, reason = "the page")]
fn exceed_limit() {
    let labels: Vec<String> = (0..1_004).map(|at| at.to_string()).collect();
    let (first, others) = labels.split_at(4);
    for at in first {
        LIMITED.with([at]).inc();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for at in others {
        LIMITED.with([at]).inc();
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "lookups allocate");
    println!("{}", multiprom::render(None));
}

fn main() -> multiprom::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("limit") {
        exceed_limit();
        return Ok(());
    }
    multiprom::register_statics(&[&LISTED, &SIZES, &REQUESTS, &UPLOADS, &BY_ROUTE, &WAITS])?;
    multiprom::register_statics(&[&BUSY, &BY_PID])?;
    WAITS.create(["disk"]);
    UPLOADS.create(&[("type", "none")])?;
    if std::env::args().nth(1).as_deref() == Some("record") {
        let route = String::from("/without \u{e9}");
        record(&route)?;
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        record(&route)?;
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "lookups allocate");
        // A value with quotes is not kept in rendered form.
        let request = Request { method: Method::Get, route: "/\"quoted\"", code: 200, share: 0.5 };
        REQUESTS.with(&request).inc_by(2.0);
    }
    Ok(())
}

//! The library as programs use it: statics, builders, label values and operations of the metric types.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use multiprom::labels::Displayed;
use multiprom::{
    Backend, Counter, ErrorKind, Family, Gauge, GaugeMode, Histogram, Registry, Static, Summary,
    Unit, default_registry,
};

use crate::support::TestDir;
use crate::support::registries::{in_memory, merged};

// The tests of this binary share the default registry, so each name is used by one test.
static HANDLED: Static<Counter> = Counter::declare("api_handled_total", "Handled.");
static BY_ROUTE: Static<Family<Counter>> =
    Counter::declare("api_by_route", "Handled.").labels(["route"]);
static PREPARED: Static<Summary> = Summary::declare("api_prepared", "Prepared.");
static TAKEN: Static<Gauge> = Gauge::declare("api_handled", "A gauge.");

#[expect(clippy::trivially_copy_pass_by_ref, reason = "`&HANDLED` is a reference")]
fn add_two(counter: &Counter) {
    counter.inc_by(2.0);
}

#[test]
fn statics_and_handles_are_passed_to_the_same_functions() {
    let handle = Counter::builder("handled", "Handled.").register(&in_memory()).unwrap();
    add_two(&handle);
    assert_eq!(handle.get(), 2.0);
    add_two(&HANDLED);
    let copy: Counter = *HANDLED;
    add_two(&copy);
    assert_eq!(default_registry().sample_value("api_handled_total", &[]), Some(4.0));
    // A name that is taken: an error for who asks, and a gauge that records in memory.
    let error = multiprom::register_statics(&[&TAKEN]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyRegistered);
    TAKEN.set(5.0);
    assert_eq!(TAKEN.get(), 5.0);
    assert_eq!(default_registry().sample_value("api_handled", &[]), None);
}

#[test]
fn a_static_family_exports_the_series_that_are_used() {
    multiprom::register_statics(&[&BY_ROUTE, &PREPARED]).unwrap();
    let value = |route| default_registry().sample_value("api_by_route_total", &[("route", route)]);
    assert_eq!(default_registry().sample_value("api_prepared_count", &[]), Some(0.0));
    assert_eq!(value("/"), None);
    BY_ROUTE.with(["/"]).inc();
    assert_eq!((value("/"), value("/other")), (Some(1.0), None));
}

#[test]
#[expect(clippy::needless_borrows_for_generic_args, reason = "a reference is tested")]
fn label_values_of_any_type_select_the_series_of_their_text() {
    let family: Family<Counter, 3> = Counter::builder("calls", "Calls.")
        .labels(["method", "code", "cached"])
        .register(&in_memory())
        .unwrap();
    let handle = family.with(["GET", "200", "true"]);
    family.with(("GET", 200, true)).inc();
    family.with((String::from("GET"), 200_u16, Displayed(true))).inc();
    family.with(&("GET", 200_i64, &true)).inc();
    let names = [("cached", "true"), ("method", "GET"), ("code", "200")];
    family.with_names(&names).unwrap().inc();
    assert_eq!(handle.get(), 4.0);
}

#[test]
fn a_lookup_by_get_creates_no_series() {
    let registry = in_memory();
    let family = Counter::builder("calls", "Calls.").labels(["code"]).register(&registry).unwrap();
    assert!(family.get([200]).is_none());
    family.with([500]).inc();
    assert_eq!(family.get(["500"]).unwrap().get(), 1.0);
    assert_eq!(
        registry.render(None).to_string(),
        "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{code=\"500\"} 1\n"
    );
}

#[test]
fn wrong_label_names_are_errors_that_name_the_metric_and_the_labels() {
    let family = Counter::builder("calls", "Calls.")
        .labels(["method", "code"])
        .register(&in_memory())
        .unwrap();
    for (labels, message) in [
        (&[("status", "1")][..], "it has no label `status`; its labels are `method`, `code`"),
        (&[("method", "GET")], "the label `code` is missing"),
        (&[("method", "a"), ("method", "b"), ("code", "1")], "the label `method` is given twice"),
    ] {
        let error = family.with_names(labels).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidLabels);
        assert_eq!(error.to_string(), format!("metric `calls`: {message}"));
    }
}

#[test]
fn prefix_subsystem_unit_and_constant_labels_are_in_the_exposition() {
    let dir = TestDir::new("api-prefix");
    let directory = Backend::directory(dir.path()).unwrap();
    for (backend, is_in_files) in [(Backend::in_memory(), false), (directory, true)] {
        let registry = Registry::builder().prefix("shop").const_label("zone", "eu");
        let registry = registry.backend(backend).build().unwrap();
        let builder = || {
            Counter::builder("read", "Bytes read.")
                .namespace("web")
                .subsystem("upload")
                .unit(Unit::Bytes)
                .const_label("tier", "gold")
        };
        builder().register(&registry).unwrap().inc();
        builder().get_or_register(&registry).unwrap().inc();
        // The unit is in the name already.
        let age = Gauge::builder("age_seconds", "Age.").unit(Unit::Seconds);
        age.mode(GaugeMode::Sum).register(&registry).unwrap();
        let page = if is_in_files { merged(&dir) } else { registry };
        let text = page.render(Some("application/openmetrics-text")).to_string();
        let expected = "# TYPE shop_age_seconds gauge\n\
             # UNIT shop_age_seconds seconds\n\
             # HELP shop_age_seconds Age.\n\
             shop_age_seconds{zone=\"eu\"} 0.0\n\
             # TYPE shop_web_upload_read_bytes counter\n\
             # UNIT shop_web_upload_read_bytes bytes\n\
             # HELP shop_web_upload_read_bytes Bytes read.\n\
             shop_web_upload_read_bytes_total{tier=\"gold\",zone=\"eu\"} 2.0\n";
        let rest = text.strip_prefix(expected).unwrap_or_else(|| panic!("{text}"));
        let is_own = |line: &str| line.contains("multiprom_") || line == "# EOF";
        assert!(rest.lines().all(is_own), "{text}");
    }
}

#[test]
fn a_sample_is_found_by_its_name_and_all_its_labels() {
    let registry = in_memory();
    let sizes = Histogram::builder("sizes", "Sizes.").labels(["kind"]);
    let sizes = sizes.register(&registry).unwrap();
    sizes.with(["a"]).observe(3.0);
    let value = |name, labels: &[(&str, &str)]| registry.sample_value(name, labels);
    assert_eq!(value("sizes_sum", &[("kind", "a")]), Some(3.0));
    assert_eq!(value("sizes_bucket", &[("le", "+Inf"), ("kind", "a")]), Some(1.0));
    assert_eq!(value("sizes_bucket", &[("kind", "a"), ("le", "2.5")]), Some(0.0));
    for (name, labels) in [
        ("sizes", &[("kind", "a")][..]),
        ("sizes_sum", &[]),
        ("sizes_sum", &[("kind", "b")]),
        ("sizes_sum", &[("kind", "a"), ("other", "")]),
    ] {
        assert_eq!(value(name, labels), None, "{name} {labels:?}");
    }
}

#[test]
fn each_operation_of_a_gauge_changes_its_value() {
    let gauge = Gauge::builder("level", "Level.").register(&in_memory()).unwrap();
    gauge.set(5.0);
    gauge.inc();
    gauge.add(2.5);
    gauge.dec();
    gauge.sub(1.5);
    assert_eq!(gauge.get(), 6.0);
    {
        let _in_progress = gauge.track_inprogress();
        assert_eq!(gauge.get(), 7.0);
    }
    assert_eq!(gauge.get(), 6.0);
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let before = seconds();
    gauge.set_to_current_time();
    assert!((before..=seconds()).contains(&gauge.get()));
    let timer = gauge.start_timer();
    let elapsed = timer.stop();
    assert_eq!(gauge.get(), elapsed.as_secs_f64());
    gauge.start_timer().discard();
    assert_eq!(gauge.get(), elapsed.as_secs_f64());
}

#[test]
fn timers_and_durations_are_observed_in_seconds() {
    let registry = in_memory();
    let histogram = Histogram::builder("waits", "Waits.").register(&registry).unwrap();
    let summary = Summary::builder("works", "Works.").register(&registry).unwrap();
    histogram.observe(Duration::from_millis(1500));
    summary.observe(Duration::from_millis(250));
    assert_eq!((histogram.get_sum(), summary.get_sum()), (1.5, 0.25));
    let elapsed = histogram.start_timer().stop() + summary.start_timer().stop();
    drop(histogram.start_timer());
    histogram.start_timer().discard();
    summary.start_timer().discard();
    assert_eq!((histogram.get_count(), summary.get_count()), (3, 2));
    assert!(histogram.get_sum() + summary.get_sum() >= 1.75 + elapsed.as_secs_f64() - 1e-9);
}

//! Statics: declarations, handles and errors of registration.

use std::sync::Mutex;

use multiprom::{
    Counter, Enum, ErrorKind, Family, Gauge, Histogram, Static, Summary, default_registry,
    register_statics,
};

static FIRST: Static<Counter> = Counter::declare("statics_first_total", "First.");
static SECOND: Static<Counter> = Counter::declare("statics_first_total", "First.");
static OTHER: Static<Gauge> = Gauge::declare("statics_first_total", "Other.");
static BY_CODE: Static<Family<Counter>> =
    Counter::declare("statics_codes_total", "By code.").labels(["code"]);
static SIZES: Static<Histogram> = Histogram::declare("statics_sizes", "Sizes.").buckets(&[1.0]);
static TIMES: Static<Summary> = Summary::declare("statics_times", "Times.");

/// A declaration that is a new one at each use.
#[expect(clippy::declare_interior_mutable_const, reason = "the mistake under test")]
const MISTAKE: Static<Counter> = Counter::declare("statics_mistake_total", "A `const`.");

/// Held by tests that cause collisions, which all tests of this process count together.
static COLLIDING: Mutex<()> = Mutex::new(());

fn collisions() -> f64 {
    let name = "multiprom_registration_errors_total";
    default_registry().sample_value(name, &[("reason", "collision")]).unwrap_or(0.0)
}

#[test]
fn a_second_declaration_of_a_name_is_an_error_that_says_what_differs() {
    register_statics(&[&FIRST]).unwrap();
    // Again, as a forked child does.
    register_statics(&[&FIRST]).unwrap();
    let same = register_statics(&[&SECOND]).unwrap_err();
    assert_eq!(same.kind(), ErrorKind::AlreadyRegistered);
    assert!(
        same.to_string().contains("declared once, as a `static` and not as a `const`"),
        "{same}"
    );
    let other = register_statics(&[&OTHER]).unwrap_err();
    assert!(other.to_string().contains("by the counter `statics_first`"), "{other}");
    let _colliding = COLLIDING.lock();
    // Recordings of a static that cannot be registered are not exported.
    SECOND.inc();
    assert_eq!((FIRST.get(), SECOND.get()), (0.0, 1.0));
}

#[test]
#[expect(clippy::borrow_interior_mutable_const, reason = "the mistake under test")]
fn a_const_in_place_of_a_static_fails_to_register_but_once_and_leaks_nothing_more() {
    let _colliding = COLLIDING.lock();
    MISTAKE.inc();
    let before = collisions();
    for _ in 0..1_000 {
        MISTAKE.inc();
    }
    assert_eq!(collisions() - before, 1.0);
    assert_eq!(MISTAKE.get(), 1_000.0, "all uses but the first share one series in memory");
    let exported = default_registry().sample_value("statics_mistake_total", &[]);
    assert_eq!(exported, Some(1.0));
}

#[test]
#[expect(
    clippy::needless_borrows_for_generic_args,
    clippy::trivially_copy_pass_by_ref,
    reason = "references are tested"
)]
fn a_function_takes_a_handle_and_a_static_and_a_static_is_copied_as_a_handle() {
    fn count(counter: Counter, family: &Family<Counter>) {
        counter.inc();
        family.with(["1"]).inc();
    }
    let family: Family<Counter> = *BY_CODE;
    let one = family.with(["1"]);
    count(one, &BY_CODE);
    count(one, &family);
    // The same label set, given as a number, in a tuple, by reference and by name.
    family.with([1]).inc();
    family.with((1_u8,)).inc();
    family.with(&["1"]).inc();
    family.with_names(&[("code", "1")]).unwrap().inc();
    assert_eq!(one.get(), 8.0);
    assert!(family.get(["2"]).is_none());
    assert_eq!(family.get([1]).map(|counter| counter.get()), Some(8.0));
    SIZES.observe(0.5);
    TIMES.observe(std::time::Duration::from_millis(1_500));
    assert_eq!((SIZES.get_count(), TIMES.get_sum()), (1, 1.5));
    assert_eq!(format!("{one:?}"), "counter `statics_codes` {\"code\": \"1\"}");
    assert_eq!(format!("{family:?}"), "counter family `statics_codes` [\"code\"]");
    assert!(format!("{SIZES:?}").contains("statics_sizes"));
}

#[test]
fn a_label_may_have_the_name_of_an_enum_without_its_namespace() {
    let state = Enum::declare("state", "State.", &["idle", "busy"]).namespace("statics");
    let state: Static<Family<Enum>> = state.labels(["state"]);
    state.with(["a"]).set("busy").unwrap();
    let labels = [("state", "a"), ("statics_state", "busy")];
    assert_eq!(default_registry().sample_value("statics_state", &labels), Some(1.0));
}

#[test]
fn a_family_with_more_labels_than_a_file_can_have_is_an_error() {
    let registry = multiprom::Registry::new();
    let names: [String; 129] = std::array::from_fn(|at| format!("label_{at}"));
    let names = names.each_ref().map(String::as_str);
    let counter = Counter::builder("statics_many", "Many.").labels(names).register(&registry);
    let error = counter.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidLabels);
    assert_eq!(error.to_string(), "metric `statics_many`: it has 129 labels, the limit is 128");
    // A histogram sets `le`.
    let names: [&str; 128] = std::array::from_fn(|at| names[at]);
    let histogram = Histogram::builder("statics_many", "Many.").labels(names);
    assert!(histogram.register(&registry).unwrap_err().to_string().contains("129 labels"));
    Counter::builder("statics_many", "Many.").labels(names).register(&registry).unwrap();
}

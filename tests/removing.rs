//! Removal of many series at once: by labels, by a function, and of idle series.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::{
    Backend, Counter, Enum, Family, Gauge, Histogram, Info, LabelSet, LabelValue, Registry, Summary,
};

use crate::support::process::PATIENCE;
use crate::support::registries::{self, in_memory};
use crate::support::{TestDir, example, output_of};

#[derive(LabelValue)]
enum Kind {
    Mail,
    Print,
}

#[derive(LabelSet)]
struct Job<'a> {
    kind: Kind,
    tenant: &'a str,
}

/// A registry in memory, and one whose values are in a directory.
fn registries(dir: &TestDir) -> [Registry; 2] {
    let backend = Backend::directory(dir.path()).unwrap();
    [in_memory(), Registry::builder().backend(backend).build().unwrap()]
}

/// The lines of a family in the merge of a directory.
fn merged(dir: &TestDir, family: &str) -> Vec<String> {
    lines(&registries::merged(dir), family)
}

fn lines(registry: &Registry, family: &str) -> Vec<String> {
    let text = registry.render(None).to_string();
    text.lines().filter(|line| line.starts_with(family)).map(str::to_owned).collect()
}

#[test]
fn families_of_every_kind_remove_the_series_that_have_given_labels() {
    let dir = TestDir::new("removing-kinds");
    for registry in registries(&dir) {
        let jobs = Counter::builder("jobs", "Jobs.").const_label("zone", "eu");
        let jobs = jobs.labels(["tenant", "kind"]).register(&registry).unwrap();
        let typed = Summary::builder("typed", "Typed.").label_set::<Job>();
        let typed: TypedFamily<Summary, Job> = typed.register(&registry).unwrap();
        let open: OpenFamily<Gauge> =
            Gauge::builder("open", "Open.").open_labels().register(&registry).unwrap();
        for tenant in ["a", "b", "\"c\""] {
            jobs.with([tenant, "mail"]).inc();
            jobs.with([tenant, "print"]).inc();
            typed.with(&Job { kind: Kind::Mail, tenant }).observe(1.0);
            typed.with(&Job { kind: Kind::Print, tenant }).observe(1.0);
            open.with(&[("tenant", tenant), ("x", "1")]).unwrap().set(1.0);
            open.with(&[("tenant", tenant)]).unwrap().set(1.0);
        }
        assert_eq!(jobs.remove_matching(&[("tenant", "\"c\"")]), 2);
        assert_eq!(jobs.remove_matching(&[("tenant", "b"), ("kind", "mail"), ("zone", "eu")]), 1);
        assert_eq!(
            jobs.remove_matching(&[("tenant", "b"), ("kind", "mail")]),
            0,
            "removed already"
        );
        assert_eq!(jobs.remove_matching(&[("tenant", "x")]), 0);
        assert_eq!(jobs.remove_matching(&[("other", "a")]), 0, "no series has such a label");
        assert!(jobs.get(["b", "mail"]).is_none() && jobs.get(["b", "print"]).is_some());
        assert_eq!(typed.remove_matching(&[("kind", "Mail")]), 3);
        assert_eq!(typed.remove_where(|labels| labels.get("tenant") == Some("a")), 1);
        assert_eq!(open.remove_where(|labels| labels.iter().count() == 1), 3);
        assert_eq!(open.remove_matching(&[("x", "1"), ("tenant", "b")]), 1);
        assert_eq!(lines(&registry, "jobs_total").len(), 3);
        assert_eq!(lines(&registry, "typed_count").len(), 2);
        assert_eq!(lines(&registry, "open{").len(), 2);
        assert_eq!(jobs.remove_matching(&[]), 3, "every series has all of no labels");
        assert!(lines(&registry, "jobs").is_empty());
    }
    assert_eq!(merged(&dir, "jobs_total"), Vec::<String>::new());
    assert_eq!(merged(&dir, "typed_count").len(), 2);
    assert_eq!(merged(&dir, "open{").len(), 2);
}

#[test]
fn infos_and_enums_are_removed_by_labels_too() {
    let dir = TestDir::new("removing-states");
    for registry in registries(&dir) {
        let builds: Family<Info> =
            Info::builder("build", "Build.").labels(["part"]).register(&registry).unwrap();
        let states: Family<Enum> = Enum::builder("state", "State.", ["idle", "busy"])
            .labels(["part"])
            .register(&registry)
            .unwrap();
        for part in ["a", "b"] {
            builds.with([part]).set(&[("version", "1")]);
            states.with([part]).set("busy").unwrap();
        }
        assert_eq!(builds.remove_matching(&[("part", "a")]), 1);
        assert_eq!(states.remove_where(|labels| labels.get("part") == Some("a")), 1);
        assert_eq!(
            (lines(&registry, "build_info{").len(), lines(&registry, "state{").len()),
            (1, 2)
        );
    }
    assert_eq!((merged(&dir, "build_info{").len(), merged(&dir, "state{").len()), (1, 2));
}

#[test]
fn the_function_of_a_removed_series_does_not_come_back_with_it() {
    let registry = in_memory();
    let queues: OpenFamily<Gauge> =
        Gauge::builder("queue", "Jobs.").open_labels().register(&registry).unwrap();
    let remove = [
        |queues: &OpenFamily<Gauge>| queues.remove(&[("at", "a")]),
        |queues: &OpenFamily<Gauge>| queues.remove_matching(&[("at", "a")]) == 1,
        |queues: &OpenFamily<Gauge>| queues.remove_where(|_| true) == 1,
    ];
    for remove in remove {
        queues.with(&[("at", "a")]).unwrap().set_function(|| 7.0);
        assert_eq!(lines(&registry, "queue{"), ["queue{at=\"a\"} 7"]);
        assert!(remove(&queues));
        queues.with(&[("at", "a")]).unwrap().set(1.0);
        assert_eq!(lines(&registry, "queue{"), ["queue{at=\"a\"} 1"]);
        queues.clear();
    }
}

#[test]
fn a_function_that_selects_series_may_record_and_look_up() {
    let registry = in_memory();
    let jobs = Counter::builder("jobs", "Jobs.").labels(["at"]).register(&registry).unwrap();
    jobs.with(["a"]).inc();
    let removed = jobs.remove_where(|labels| {
        jobs.with(["seen"]).inc();
        labels.get("at") == Some("a")
    });
    assert_eq!(removed, 1);
    assert_eq!(lines(&registry, "jobs_total").len(), 1);
}

#[test]
fn series_are_idle_that_have_not_changed_since_a_sweep_found_their_value() {
    let dir = TestDir::new("removing-idle");
    for registry in registries(&dir) {
        let label = ["at"];
        let jobs: Family<Counter> =
            Counter::builder("jobs", "Jobs.").labels(label).register(&registry).unwrap();
        let sizes: Family<Histogram> =
            Histogram::builder("size", "Size.").labels(label).register(&registry).unwrap();
        let times: Family<Summary> =
            Summary::builder("time", "Time.").labels(label).register(&registry).unwrap();
        let record = |at: &str| {
            jobs.with([at]).inc();
            sizes.with([at]).observe(0.0);
            times.with([at]).observe(0.0);
        };
        let sweep =
            |idle| [jobs.remove_idle(idle), sizes.remove_idle(idle), times.remove_idle(idle)];
        record("a");
        record("b");
        jobs.create(["zero"]);
        assert_eq!(sweep(Duration::ZERO), [0; 3], "the first sweep knows of no other");
        record("a");
        assert_eq!(sweep(Duration::from_secs(60)), [0; 3], "not idle for long enough");
        record("a");
        assert_eq!(sweep(Duration::ZERO), [2, 1, 1]);
        assert_eq!(lines(&registry, "jobs_total"), ["jobs_total{at=\"a\"} 3"]);
        assert_eq!(sweep(Duration::ZERO), [1; 3]);
        // A series that has come back with the same value is another one.
        (0..3).for_each(|_| record("a"));
        assert_eq!(sweep(Duration::ZERO), [0; 3]);
        assert_eq!(sweep(Duration::ZERO), [1; 3]);
        // A series that was looked up and never recorded is not exported, and stays usable.
        let unused = jobs.with(["unused"]);
        assert_eq!((sweep(Duration::ZERO), sweep(Duration::ZERO)), ([0; 3], [0; 3]));
        unused.inc();
        assert_eq!(lines(&registry, "jobs_total"), ["jobs_total{at=\"unused\"} 1"]);
    }
    assert_eq!(merged(&dir, "jobs_total"), ["jobs_total{at=\"unused\"} 1"]);
}

#[test]
fn a_series_that_is_recorded_into_at_a_low_rate_is_removed_after_the_idle_time_only() {
    let registry = in_memory();
    let jobs: Family<Counter> =
        Counter::builder("jobs", "Jobs.").labels(["at"]).register(&registry).unwrap();
    let idle = Duration::from_millis(200);
    jobs.with(["a"]).inc();
    let start = std::time::Instant::now();
    while jobs.remove_idle(idle) == 0 {
        assert!(start.elapsed() < PATIENCE);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(start.elapsed() >= idle);
}

#[test]
fn a_counter_whose_function_returns_one_total_is_not_idle() {
    let dir = TestDir::new("removing-function");
    for registry in registries(&dir) {
        let sent: Family<Counter> =
            Counter::builder("sent", "Sent.").labels(["at"]).register(&registry).unwrap();
        let total = Arc::new(AtomicU64::new(7));
        let source = Arc::clone(&total);
        sent.with(["a"]).set_function(move || source.load(Ordering::Relaxed) as f64);
        registry.flush();
        assert_eq!(lines(&registry, "sent_total"), ["sent_total{at=\"a\"} 7"]);
        assert_eq!((sent.remove_idle(Duration::ZERO), sent.remove_idle(Duration::ZERO)), (0, 0));
        total.store(8, Ordering::Relaxed);
        registry.flush();
        assert_eq!(lines(&registry, "sent_total"), ["sent_total{at=\"a\"} 8"]);
    }
}

/// The growth of memory for each removed series, and the bytes in the directory at the end, of 20,000 series of which 1,000
/// exist at a time.
fn turnover(dir: &str, kind: &str) -> (f64, u64) {
    let output = output_of(example("test-turnover").args([dir, "20", kind]));
    let number = |name: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |number| number.parse::<f64>().unwrap())
    };
    (number("memory: "), number("files: ") as u64)
}

#[test]
fn removed_series_take_the_memory_and_the_space_that_the_documents_state() {
    for kind in ["clear", "oldest"] {
        let (memory, _) = turnover("-", kind);
        assert!(memory < 600.0, "{kind}: {memory} bytes for each removed series");
        let dir = TestDir::in_memory("removing-turnover");
        let (memory, bytes) = turnover(dir.path().to_str().unwrap(), kind);
        assert!(memory < 900.0, "{kind}: {memory} bytes for each removed series, beside the file");
        // An entry and a removal record of 80 bytes each, and space that is reserved.
        assert!(bytes < 20_000 * 160 + (2 << 20), "{kind}: {bytes} bytes");
    }
}

#[test]
fn a_process_that_closes_its_files_now_and_then_leaves_nothing_of_removed_series_after_compaction()
{
    let dir = TestDir::in_memory("removing-close");
    let (_, bytes) = turnover(dir.path().to_str().unwrap(), "close");
    assert!(bytes < 1_000, "{bytes} bytes");
}

#[test]
fn the_example_with_tenants_removes_idle_series_and_those_of_a_tenant() {
    let shown = output_of(&mut example("tenants"));
    let (first, others) = shown.split_once("idle series").unwrap();
    assert_eq!(
        first,
        "five tenants, a limit of three:
  jobs_total{tenant=\"ann\"} 1
  jobs_total{tenant=\"bob\"} 1
  jobs_total{tenant=\"cid\"} 1
  jobs_total{tenant=\"other\"} 2
  waiting{tenant=\"ann\"} 1
  waiting{tenant=\"bob\"} 1
  waiting{tenant=\"cid\"} 1
  waiting{tenant=\"other\"} 1
"
    );
    let (second, third) = others.split_once("a tenant has left:\n").unwrap();
    let samples =
        |text: &str| text.lines().map(str::trim).filter(|line| line.contains('{')).count();
    assert!(second.contains("jobs_total{tenant=\"ann\"} 2\n"), "{second}");
    assert!(second.contains("jobs_total{tenant=\"dee\"} 1\n"), "{second}");
    assert!(!second.contains("cid") && !second.contains("other"), "{second}");
    assert!(!third.contains("bob"), "{third}");
    assert_eq!((samples(second), samples(third)), (6, 4), "{shown}");
}

#[test]
fn a_series_that_one_registry_has_removed_is_shown_when_another_creates_it_in_the_same_files() {
    let dir = TestDir::new("removing-shared");
    let backend = Backend::directory(dir.path()).unwrap();
    let families = || {
        let registry = Registry::builder().backend(backend).build().unwrap();
        let jobs = Counter::builder("jobs", "Jobs.").labels(["at"]).register(&registry).unwrap();
        let level =
            Gauge::builder("level", "Level.").mode(multiprom::GaugeMode::Sum).labels(["at"]);
        let level: Family<Gauge> = level.register(&registry).unwrap();
        (jobs, level, registry)
    };
    let ((jobs, level, _), (other_jobs, other_level, registry)) = (families(), families());
    jobs.with(["a"]).inc_by(2.0);
    level.with(["a"]).set(2.0);
    assert!(jobs.remove(["a"]) && level.remove(["a"]));
    let (of_jobs, of_level) = (other_jobs.with(["a"]), other_level.with(["a"]));
    of_jobs.inc();
    of_level.set(5.0);
    assert_eq!(merged(&dir, "jobs_total"), ["jobs_total{at=\"a\"} 3"]);
    assert_eq!(merged(&dir, "level{"), ["level{at=\"a\"} 5"]);
    // A series that the other registry has already stays hidden until its key is looked up again after its removal.
    jobs.with(["a"]).inc();
    level.with(["a"]).set(6.0);
    assert!(jobs.remove(["a"]) && level.remove(["a"]));
    of_jobs.inc();
    of_level.set(7.0);
    assert!(merged(&dir, "jobs_total").is_empty() && merged(&dir, "level{").is_empty());
    jobs.with(["a"]).inc();
    level.with(["a"]).set(8.0);
    assert_eq!(merged(&dir, "jobs_total"), ["jobs_total{at=\"a\"} 6"]);
    assert_eq!(merged(&dir, "level{"), ["level{at=\"a\"} 8"]);
    // Or until it is recorded after the files were closed.
    assert!(jobs.remove(["a"]) && level.remove(["a"]));
    registry.close();
    of_jobs.inc();
    of_level.set(9.0);
    assert_eq!(merged(&dir, "jobs_total"), ["jobs_total{at=\"a\"} 7"]);
    assert_eq!(merged(&dir, "level{"), ["level{at=\"a\"} 9"]);
}

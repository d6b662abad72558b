//! Families with a limit of series.

use std::collections::BTreeMap;
use std::fs;

use metrics::{Key, Label, Metadata, Recorder as _};
use multiprom::facade::Recorder;
use multiprom::metrics::{OpenFamily, TypedFamily};
use multiprom::{Backend, Counter, Family, Gauge, Histogram, LabelSet, Registry, Static, Summary};

use crate::support::registries::{in_memory, merged};
use crate::support::{TestDir, example};

#[derive(LabelSet)]
struct Place<'a> {
    at: &'a str,
    code: u32,
}

fn in_directory(dir: &TestDir) -> Registry {
    let backend = Backend::directory(dir.path()).unwrap();
    Registry::builder().backend(backend).build().unwrap()
}

/// The samples of a family, by their names and labels.
fn samples(registry: &Registry, name: &str) -> BTreeMap<String, f64> {
    let text = registry.render(None).to_string();
    let of_family = text.lines().filter(|line| line.starts_with(name));
    let parse = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    of_family.map(parse).collect()
}

#[test]
fn ten_thousand_label_sets_make_as_many_series_as_the_limit_and_one_more() {
    let dir = TestDir::new("limits-many");
    for registry in [in_memory(), in_directory(&dir)] {
        let label = ["at"];
        let jobs = Counter::builder("jobs", "Jobs.").max_series(1_000).labels(label);
        let jobs: Family<Counter> = jobs.register(&registry).unwrap();
        let sizes = Histogram::builder("size", "Size.").buckets([1.0]).max_series(1_000);
        let sizes: Family<Histogram> = sizes.labels(label).register(&registry).unwrap();
        let times = Summary::builder("time", "Time.").max_series(1_000).labels(label);
        let times: Family<Summary> = times.register(&registry).unwrap();
        let level = Gauge::builder("level", "Level.").max_series(1_000).labels(label);
        let level: Family<Gauge> = level.register(&registry).unwrap();
        for round in 0..2 {
            for at in 0..10_000 {
                let at = at.to_string();
                jobs.with([&at]).inc();
                sizes.with([&at]).observe(1.0);
                times.with([&at]).observe(1.0);
                level.with([&at]).inc();
            }
            for name in ["jobs_total{", "size_count{", "time_count{", "level{"] {
                let samples = samples(&registry, name);
                assert_eq!(samples.len(), 1_001, "{name}");
                let rounds = f64::from(round + 1);
                assert_eq!(samples[&format!("{name}at=\"other\"}}")], 9_000.0 * rounds, "{name}");
                assert_eq!(samples[&format!("{name}at=\"999\"}}")], rounds, "{name}");
            }
        }
        assert!(jobs.get(["1000"]).is_none() && jobs.get(["999"]).is_some());
    }
    let merged = merged(&dir);
    assert_eq!(samples(&merged, "jobs_total{").values().sum::<f64>(), 20_000.0);
    let overflows = samples(&merged, "multiprom_series_overflows_total");
    assert_eq!(overflows.len(), 4);
    assert_eq!(overflows["multiprom_series_overflows_total{family=\"size\"}"], 18_000.0);
    // A file has as many entries as there are series.
    let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let counters = files.filter(|path| path.to_string_lossy().contains("/counter_"));
    let text = fs::read(counters.last().unwrap()).unwrap();
    let needle = b"\"jobs_total\"";
    assert_eq!(text.windows(needle.len()).filter(|window| window == needle).count(), 1_001);
}

#[test]
fn removed_series_free_places_and_the_overflow_series_is_removed_like_any_other() {
    let registry = in_memory();
    let jobs = Counter::builder("jobs", "Jobs.").max_series(2).labels(["at"]);
    let jobs: Family<Counter> = jobs.register(&registry).unwrap();
    let record = |labels: &[&str]| labels.iter().for_each(|at| jobs.with([*at]).inc());
    let shown = || -> Vec<String> {
        let samples = samples(&registry, "jobs_total{at=").into_iter();
        samples.map(|(series, value)| format!("{} {value}", &series[14..])).collect()
    };
    record(&["a", "b", "c", "d"]);
    assert_eq!(shown(), ["\"a\"} 1", "\"b\"} 1", "\"other\"} 2"]);
    assert!(jobs.remove(["a"]));
    record(&["c", "d", "a"]);
    assert_eq!(shown(), ["\"b\"} 1", "\"c\"} 1", "\"other\"} 4"]);
    // A handle of the overflow series records nothing after its removal, until a lookup returns it again.
    let handle = jobs.with(["e"]);
    assert!(jobs.remove(["other"]));
    handle.inc();
    assert_eq!(shown(), ["\"b\"} 1", "\"c\"} 1"]);
    record(&["f"]);
    handle.inc();
    assert_eq!(shown(), ["\"b\"} 1", "\"c\"} 1", "\"other\"} 2"]);
    jobs.clear();
    record(&["x", "y", "z"]);
    assert_eq!(shown(), ["\"other\"} 1", "\"x\"} 1", "\"y\"} 1"]);
    // The series may have been used before.
    jobs.clear();
    record(&["other", "x", "y", "z"]);
    assert_eq!(shown(), ["\"other\"} 2", "\"x\"} 1", "\"y\"} 1"]);
}

#[test]
fn with_a_limit_of_zero_only_the_overflow_series_exists() {
    let registry = Registry::builder().backend(Backend::in_memory()).max_series(0).build().unwrap();
    let jobs = Counter::builder("jobs", "Jobs.").labels(["at"]).register(&registry).unwrap();
    jobs.with(["a"]).inc();
    assert_eq!(samples(&registry, "jobs_total").len(), 1);
    // A metric without labels has one series in any case.
    Counter::builder("hits", "Hits.").register(&registry).unwrap().inc();
    assert_eq!(registry.sample_value("hits_total", &[]), Some(1.0));
}

static LIMITED: Static<Family<Counter>> =
    Counter::declare("limits_limited", "Limited.").max_series(1).labels(["at"]);

#[test]
fn every_kind_of_family_has_the_limit_of_its_own_or_that_of_its_registry() {
    let registry = Registry::builder().backend(Backend::in_memory()).max_series(2).build().unwrap();
    let typed = Summary::builder("typed", "Typed.").label_set::<Place>();
    let typed: TypedFamily<Summary, Place> = typed.register(&registry).unwrap();
    let open = Counter::builder("open", "Open.").const_label("zone", "eu").open_labels();
    let open: OpenFamily<Counter> = open.register(&registry).unwrap();
    let own = Counter::builder("own", "Own.").max_series(3).labels(["at"]);
    let own: Family<Counter> = own.get_or_register(&registry).unwrap();
    for (at, code) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("a", 1)] {
        typed.with(&Place { at, code }).observe(1.0);
        open.with(&[("at", at), ("code", &code.to_string())]).unwrap().inc();
        own.with([at]).inc();
        LIMITED.with([at]).inc();
    }
    assert_eq!(samples(&registry, "typed_count").len(), 3);
    let other = [("at", "other"), ("code", "other")];
    assert_eq!(registry.sample_value("typed_count", &other), Some(2.0));
    assert_eq!(samples(&registry, "open_total").len(), 3);
    let other = [("series", "other"), ("zone", "eu")];
    assert_eq!(registry.sample_value("open_total", &other), Some(2.0));
    assert_eq!(samples(&registry, "own_total").len(), 4);
    assert_eq!(LIMITED.get(["other"]).unwrap().get(), 3.0);
    // `create` is subject to the limit, too.
    assert_eq!(own.create(["e"]).get(), 1.0);
    assert_eq!(samples(&registry, "own_total").len(), 4);
}

#[test]
fn a_recorder_of_the_facade_keeps_nothing_of_label_sets_beyond_the_limit() {
    let registry = in_memory();
    let recorder = Recorder::builder().registry(&registry).max_series(10).build().unwrap();
    let metadata = Metadata::new("", metrics::Level::INFO, None);
    for _ in 0..2 {
        for at in 0..100 {
            let key = Key::from_parts("jobs", vec![Label::new("at", at.to_string())]);
            recorder.register_counter(&key, &metadata).increment(1);
        }
    }
    assert_eq!(samples(&registry, "jobs_total").len(), 11);
    assert_eq!(registry.sample_value("jobs_total", &[("series", "other")]), Some(180.0));
}

#[test]
fn lookups_beyond_a_limit_do_not_allocate_and_are_counted_and_reported_once() {
    let mut program = example("test-label-sets");
    let output = program.arg("limit").output().unwrap();
    let (page, log) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{log}");
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("\nmultiprom_series_overflows_total{family=\"limited\"} 1001\n"),
        "{page}"
    );
    assert!(page.contains("\nlimited_total{at=\"other\"} 1001\n"), "{page}");
    assert_eq!(
        log.matches("family `limited` has reached its limit of 3 series").count(),
        1,
        "{log}"
    );
}

#[test]
fn lookups_in_an_unregistered_family_are_not_beyond_its_limit() {
    let registry = in_memory();
    let jobs = || Counter::builder("unregistered_jobs", "Jobs.").max_series(0).labels(["at"]);
    let family: Family<Counter> = jobs().register(&registry).unwrap();
    let overflows = || {
        let labels = [("family", "unregistered_jobs")];
        multiprom::default_registry().sample_value("multiprom_series_overflows_total", &labels)
    };
    family.with(["a"]).inc();
    registry.unregister("unregistered_jobs").unwrap();
    family.with(["b"]).inc();
    let _: Family<Counter> = jobs().register(&registry).unwrap();
    family.with(["c"]).inc();
    let shown = samples(&registry, "unregistered_jobs_total").into_iter().collect::<Vec<_>>();
    assert_eq!(shown, [("unregistered_jobs_total{at=\"other\"}".to_owned(), 1.0)]);
    assert_eq!(overflows(), Some(2.0));
}

//! A process that writes series files and merges their directory.

use multiprom::collector::Registration;
use multiprom::{
    Backend, Collector, Counter, ErrorKind, FamilySink, Gauge, GaugeMode, MultiProcessCollector,
    Registry,
};

use crate::support::mount::Mount;
use crate::support::registries::{self, in_memory};
use crate::support::{TestDir, example, skip};

/// Sorted lines without comments and without the metrics of multiprom itself.
fn samples(registry: &Registry) -> Vec<String> {
    let mut lines = registries::samples(registry);
    lines.sort_unstable();
    lines
}

/// Registries of one directory, with a counter of 2 and a gauge of 5.
fn recorded(dir: &TestDir) -> Registry {
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    Counter::builder("jobs", "Jobs.").register(&registry).unwrap().inc_by(2.0);
    let level = Gauge::builder("level", "Level.").mode(GaugeMode::Sum);
    level.register(&registry).unwrap().set(5.0);
    registry
}

#[test]
fn a_collector_registered_on_its_own_directory_shows_each_series_once() {
    let dir = TestDir::new("own-directory");
    let registry = recorded(&dir);
    // Another process's share, as another store of this process writes it.
    recorded(&dir);
    assert_eq!(samples(&registry), ["jobs_total 2", "level 5"]);
    registry.register(MultiProcessCollector::new(dir.path()).unwrap()).unwrap();
    assert_eq!(samples(&registry), ["jobs_total 4", "level 10"]);
    assert_eq!(registry.sample_value("multiprom_repeated_families_total", &[]), None);
}

#[test]
fn nested_registries_leave_out_the_families_of_a_directory_that_any_collector_reads() {
    let dir = TestDir::new("own-directory-nested");
    let link = TestDir::new("own-directory-link");
    let link = link.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    let library = recorded(&dir);
    let middle = in_memory();
    middle.register(library.clone()).unwrap();
    let application = in_memory();
    application.register(middle).unwrap();
    Counter::builder("hits", "Hits.").register(&application).unwrap().inc();
    assert_eq!(samples(&application), ["hits_total 1", "jobs_total 2", "level 5"]);
    recorded(&dir);
    application.register(MultiProcessCollector::new(&link).unwrap()).unwrap();
    assert_eq!(samples(&application), ["hits_total 1", "jobs_total 4", "level 10"]);
    assert_eq!(application.sample_value("multiprom_repeated_families_total", &[]), None);
    // By itself the library shows what this process has.
    assert_eq!(samples(&library), ["jobs_total 2", "level 5"]);
}

#[test]
fn a_collector_of_another_directory_hides_nothing() {
    let (dir, other) = (TestDir::new("own-directory-a"), TestDir::new("own-directory-b"));
    let registry = recorded(&dir);
    registry.register(MultiProcessCollector::new(other.path()).unwrap()).unwrap();
    assert_eq!(samples(&registry), ["jobs_total 2", "level 5"]);
}

#[test]
fn a_registry_that_would_contain_itself_is_an_error() {
    let (first, second) = (in_memory(), in_memory());
    let kind = |result: multiprom::Result<Registration>| result.unwrap_err().kind();
    assert_eq!(kind(first.register(first.clone())), ErrorKind::Usage);
    first.register(second.clone()).unwrap();
    assert_eq!(kind(second.register(first.clone())), ErrorKind::Usage);
    let third = in_memory();
    second.register(third.clone()).unwrap();
    assert_eq!(kind(third.register(first)), ErrorKind::Usage);
}

/// Wraps a registry, so that registration cannot see it.
struct Wrapped(Registry);

impl Collector for Wrapped {
    fn collect(&self, out: &mut dyn FamilySink) {
        self.0.collect(out);
    }
}

#[test]
fn a_registry_that_contains_itself_behind_another_collector_is_exported_once() {
    let registry = in_memory();
    Counter::builder("hits", "Hits.").register(&registry).unwrap().inc();
    registry.register(Wrapped(registry.clone())).unwrap();
    assert_eq!(samples(&registry), ["hits_total 1"]);
}

#[test]
fn a_page_has_each_series_once_while_series_wait_and_are_written() {
    let dir = TestDir::new("merged");
    let output =
        example("test-merged").env("PROMETHEUS_MULTIPROC_DIR", dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_tour_prints_the_same_in_memory_and_in_a_directory() {
    let dir = TestDir::new("tour");
    let in_memory = example("tour").output().unwrap();
    let in_directory =
        example("tour").env("PROMETHEUS_MULTIPROC_DIR", dir.path()).output().unwrap();
    for output in [&in_memory, &in_directory] {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(in_memory.stdout).unwrap();
    assert_eq!(text, String::from_utf8(in_directory.stdout).unwrap());
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 0);
    let error = "metric `shop_requests`: it has no label `status`; its labels are `method`, `code`";
    assert!(text.lines().any(|line| line == error), "{text}");
    for sample in [
        "busy 1",
        "hits_total 2",
        "latency_seconds_sum{route=\"/\"} 0.5",
        "queue_depth{queue=\"mail\"} 3",
        "shop_requests_total{code=\"200\",method=\"GET\",zone=\"eu\"} 3",
        "shop_rows_total{zone=\"eu\"} 4",
        "shop_upload_size_bytes_bucket{tier=\"gold\",zone=\"eu\",le=\"1024.0\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}: {text}");
    }
}

#[test]
fn registering_statics_reports_a_directory_that_is_missing_or_not_writable() {
    let dir = TestDir::new("unusable");
    let error = |path: &std::path::Path| {
        let output = example("tour").env("PROMETHEUS_MULTIPROC_DIR", path).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = dir.path().join("missing");
    let text = error(&missing);
    assert!(text.contains(&missing.display().to_string()), "{text}");
    assert!(text.contains("No such file or directory"), "{text}");
    // Also for root.
    let Some(mount) = Mount::tmpfs("ro") else {
        return skip("a read-only tmpfs cannot be mounted here");
    };
    let text = error(mount.path());
    assert!(text.contains("Read-only file system"), "{text}");
}

#[test]
fn a_name_is_registered_once_in_a_registry_and_those_in_it() {
    let (application, library) = (in_memory(), in_memory());
    let calls = || Counter::builder("calls", "Calls.");
    calls().register(&library).unwrap();
    application.register(library.clone()).unwrap();
    let error = calls().register(&application).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyRegistered);
    let other = in_memory();
    calls().register(&other).unwrap();
    assert_eq!(application.register(other).unwrap_err().kind(), ErrorKind::AlreadyRegistered);
    // The same registry again.
    assert_eq!(application.register(library).unwrap_err().kind(), ErrorKind::AlreadyRegistered);
    assert_eq!(samples(&application), ["calls_total 0"]);
}

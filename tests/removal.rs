//! Series that a program removes, in memory and in multiprocess directories.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use multiprom::{Backend, Counter, Family, Gauge, GaugeMode, Histogram, Registry, Summary};

use crate::support::mount::Mount;
use crate::support::process::{PATIENCE, Running};
use crate::support::registries::{in_memory, merged, process};
use crate::support::{TestDir, example, output_of, python, skip, wait_for};

fn requests(registry: &Registry) -> Family<Counter> {
    Counter::builder("requests", "Requests.").labels(["code"]).register(registry).unwrap()
}

fn value(registry: &Registry, code: &str) -> Option<f64> {
    registry.sample_value("requests_total", &[("code", code)])
}

/// What a collector shows that has read the directory before, and one that has not.
struct Merged<'a> {
    dir: &'a TestDir,
    warm: Registry,
}

impl Merged<'_> {
    fn of(dir: &TestDir) -> Merged<'_> {
        Merged { dir, warm: merged(dir) }
    }

    /// All samples, when both collectors agree: the kernel is asked every five seconds only whether a writer lives.
    fn samples(&self) -> Vec<String> {
        let lines = wait_for("collectors that agree", PATIENCE, || {
            let cold = merged(self.dir);
            let [warm, cold] = [&self.warm, &cold].map(|registry| {
                let text = registry.render(None).to_string();
                let is_own = |line: &&str| !line.contains("multiprom_");
                text.lines().filter(is_own).map(str::to_owned).collect::<Vec<_>>()
            });
            (warm == cold).then_some(warm)
        });
        lines.into_iter().filter(|line| !line.starts_with('#')).collect()
    }

    /// Whether not even the names of families are exported.
    fn is_empty(&self) -> bool {
        let text = self.warm.render(None).to_string();
        text.lines().all(|line| line.contains("multiprom_"))
    }

    fn requests(&self, code: &str) -> Option<f64> {
        self.sample(&format!("requests_total{{code=\"{code}\"}} "))
    }

    fn jobs(&self, at: &str) -> Option<f64> {
        self.sample(&format!("jobs_total{{at=\"{at}\"}} "))
    }

    fn sample(&self, line: &str) -> Option<f64> {
        let samples = self.samples();
        let found = samples.iter().find_map(|sample| sample.strip_prefix(line));
        found.map(|value| value.parse().unwrap())
    }
}

#[test]
fn a_series_in_memory_is_removed_and_begins_at_zero_when_it_comes_back() {
    let registry = in_memory();
    let requests = requests(&registry);
    let ok = requests.with(["200"]);
    ok.inc_by(2.5);
    requests.with(["500"]).inc();
    assert!(requests.remove(["200"]));
    assert!(!requests.remove(["200"]), "it is removed already");
    assert!(!requests.remove(["404"]), "there is no such series");
    assert_eq!((value(&registry, "200"), value(&registry, "500")), (None, Some(1.0)));
    assert!(requests.get(["200"]).is_none());

    ok.inc();
    assert_eq!((value(&registry, "200"), ok.get()), (None, 0.0));
    let again = requests.with(["200"]);
    assert_eq!(value(&registry, "200"), None, "nothing was recorded since");
    again.inc();
    ok.inc();
    assert_eq!((value(&registry, "200"), again.get()), (Some(2.0), 2.0));

    requests.clear();
    assert_eq!((value(&registry, "200"), value(&registry, "500")), (None, None));
    assert!(!registry.render(None).to_string().contains("requests"), "no family without series");
    requests.with(["500"]).inc_by(3.0);
    assert_eq!(value(&registry, "500"), Some(3.0));
}

#[test]
fn each_type_begins_at_zero_when_its_series_comes_back() {
    let dir = TestDir::new("removal-types");
    for registry in [in_memory(), process(&dir)] {
        let labels = ["kind"];
        let gauges = Gauge::builder("level", "Level.").mode(GaugeMode::Sum).labels(labels);
        let gauges: Family<Gauge> = gauges.register(&registry).unwrap();
        let sizes = Histogram::builder("size", "Size.").buckets([1.0, 2.0]).labels(labels);
        let sizes: Family<Histogram> = sizes.register(&registry).unwrap();
        let times = Summary::builder("time", "Time.").labels(labels);
        let times: Family<Summary> = times.register(&registry).unwrap();
        for round in [1.0, 2.0, 3.0] {
            gauges.with(["a"]).add(round);
            sizes.with(["a"]).observe(0.5);
            sizes.with(["a"]).observe(round + 1.0);
            times.with(["a"]).observe(round);
            assert_eq!(gauges.with(["a"]).get(), round);
            assert_eq!(sizes.with(["a"]).get_count(), 2);
            assert_eq!(sizes.with(["a"]).get_sum(), round + 1.5);
            assert_eq!((times.with(["a"]).get_count(), times.with(["a"]).get_sum()), (1, round));
            let bucket = registry.sample_value("size_bucket", &[("kind", "a"), ("le", "1")]);
            assert_eq!(bucket.or(Some(1.0)), Some(1.0), "buckets begin at zero too");
            gauges.clear();
            assert!(sizes.remove(["a"]) && times.remove(["a"]));
            assert_eq!(gauges.with(["a"]).get(), 0.0);
            assert_eq!((sizes.with(["a"]).get_count(), times.with(["a"]).get_count()), (0, 0));
        }
    }
}

#[test]
fn a_guard_that_outlives_the_removal_of_its_gauge_changes_nothing() {
    let dir = TestDir::new("removal-guard");
    for registry in [in_memory(), process(&dir)] {
        let busy: Family<Gauge> =
            Gauge::builder("busy", "Busy.").labels(["pool"]).register(&registry).unwrap();
        let gauge = busy.with(["a"]);
        let (first, second) = (gauge.track_inprogress(), gauge.track_inprogress());
        busy.remove(["a"]);
        drop(first);
        assert_eq!(busy.with(["a"]).get(), 0.0);
        let third = gauge.track_inprogress();
        drop(second);
        assert_eq!(gauge.get(), 1.0);
        drop(third);
        assert_eq!(gauge.get(), 0.0);
    }
}

#[test]
fn a_total_stays_while_another_living_process_exports_the_series() {
    let dir = TestDir::new("removal-total");
    let merged = Merged::of(&dir);
    let (one, two) = (process(&dir), process(&dir));
    requests(&one).with(["200"]).inc_by(2.0);
    requests(&two).with(["200"]).inc_by(3.0);
    requests_of(&two).with(["500"]).inc();
    assert_eq!(merged.requests("200"), Some(5.0));
    requests_of(&one).remove(["200"]);
    assert_eq!(merged.requests("200"), Some(5.0), "the other process exports it");
    requests_of(&two).remove(["200"]);
    assert_eq!((merged.requests("200"), merged.requests("500")), (None, Some(1.0)));
    requests_of(&one).with(["200"]).inc();
    assert_eq!(merged.requests("200"), Some(6.0), "the total continues");
    requests_of(&one).remove(["200"]);
    requests_of(&two).remove(["500"]);
    assert!(merged.samples().is_empty() && merged.is_empty());
}

/// The family that is registered already.
fn requests_of(registry: &Registry) -> Family<Counter> {
    let builder = Counter::builder("requests", "Requests.").labels(["code"]);
    builder.get_or_register(registry).unwrap()
}

#[test]
fn a_removed_series_does_not_come_back_when_processes_end() {
    let dir = TestDir::new("removal-ends");
    let merged = Merged::of(&dir);
    let (one, two, three) = (process(&dir), process(&dir), process(&dir));
    for registry in [&one, &two, &three] {
        requests(registry).with(["200"]).inc();
    }
    two.close();
    assert_eq!(merged.requests("200"), Some(3.0));
    requests_of(&one).remove(["200"]);
    assert_eq!(merged.requests("200"), Some(3.0), "the third process exports it");
    three.close();
    // The files of this process look dead when no child of another test has a copy of their descriptors.
    wait_for("end of the series: no living process exports it", PATIENCE, || {
        merged.requests("200").is_none().then_some(())
    });
    one.close();
    assert_eq!(merged.requests("200"), None, "the remover has ended");
    requests_of(&one).with(["200"]).inc();
    assert_eq!(merged.requests("200"), Some(4.0), "a process exports it again");
    assert_eq!(requests_of(&one).with(["200"]).get(), 1.0);
}

#[test]
fn a_removed_gauge_leaves_each_mode_at_once() {
    let dir = TestDir::new("removal-gauges");
    let merged = Merged::of(&dir);
    let (one, two) = (process(&dir), process(&dir));
    for mode in GaugeMode::ALL {
        let name = format!("level_{mode}");
        let family = |registry: &Registry| -> Family<Gauge> {
            let builder = Gauge::builder(&name, "Level.").mode(*mode).labels(["at"]);
            builder.register(registry).unwrap()
        };
        let (first, second) = (family(&one), family(&two));
        second.with(["x"]).set(7.0);
        let alone = merged.samples();
        first.with(["x"]).set(3.0);
        assert!(first.remove(["x"]));
        assert_eq!(merged.samples(), alone, "mode {mode}");
        // It comes back as a gauge that was never set, and not with its former value.
        first.with(["x"]).inc();
        let with_one = merged.samples();
        if mode.as_str().ends_with("sum") {
            assert_eq!(with_one, [format!("{name}{{at=\"x\"}} 8")]);
        }
        assert!(!with_one.iter().any(|sample| sample.ends_with(" 3")));
        assert!(first.remove(["x"]) && second.remove(["x"]));
        assert!(merged.samples().is_empty() && merged.is_empty(), "mode {mode}");
        first.clear();
    }
}

#[test]
fn removing_and_recording_again_and_again_does_not_make_files_longer() {
    let dir = TestDir::new("removal-bounded");
    let (registry, merged) = (process(&dir), Merged::of(&dir));
    let used = || -> Vec<u32> {
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let used = files.map(|path| fs::read(path).unwrap()[..4].try_into().unwrap());
        used.map(u32::from_le_bytes).collect()
    };
    let sizes: Family<Histogram> =
        Histogram::builder("size", "Size.").labels(["kind"]).register(&registry).unwrap();
    let requests = requests(&registry);
    let mut after_first = None;
    for round in 1..=100 {
        requests.with(["200"]).inc();
        sizes.with(["a"]).observe(1.0);
        assert_eq!(merged.requests("200"), Some(f64::from(round)));
        requests.remove(["200"]);
        sizes.remove(["a"]);
        assert!(merged.is_empty());
        assert_eq!(*after_first.get_or_insert_with(used), used());
    }
}

#[test]
fn all_threads_of_a_process_lose_a_series_that_one_removes() {
    let dir = TestDir::new("removal-threads");
    let (registry, merged) = (process(&dir), Merged::of(&dir));
    let requests = requests(&registry);
    let record = || {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| requests.with(["200"]).inc());
            }
        });
    };
    record();
    assert_eq!(merged.requests("200"), Some(4.0));
    requests.remove(["200"]);
    assert_eq!(merged.requests("200"), None);
    record();
    assert_eq!(merged.requests("200"), Some(8.0));
    assert_eq!(requests.with(["200"]).get(), 4.0);
}

#[test]
fn no_shown_total_falls_while_threads_record_and_remove() {
    let dir = TestDir::new("removal-race");
    let (registry, other, merged) = (process(&dir), process(&dir), Merged::of(&dir));
    let family = requests(&registry);
    // Always exported by a living process, so the total is always shown.
    requests(&other).with(["200"]).inc();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    family.with(["200"]).inc();
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                family.remove(["200"]);
            }
        });
        let mut last = 0.0;
        for _ in 0..200 {
            let total = merged.warm.sample_value("requests_total", &[("code", "200")]);
            let total = total.expect("the total is shown");
            assert!(total >= last, "{total} after {last}");
            last = total;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_forked_child_exports_a_series_that_its_parent_has_removed_only_after_it_records() {
    let dir = TestDir::new("removal-fork");
    let (other, merged) = (process(&dir), Merged::of(&dir));
    output_of(example("test-removing").arg(dir.path()).arg("fork"));
    assert_eq!(merged.jobs("a"), None, "both have ended");
    let jobs: Family<Counter> =
        Counter::builder("jobs", "Jobs.").labels(["at"]).register(&other).unwrap();
    jobs.with(["a"]).inc();
    assert_eq!(merged.jobs("a"), Some(7.0));
}

#[test]
fn processes_that_are_killed_while_they_remove_leave_files_that_every_reader_can_read() {
    let dir = TestDir::new("removal-killed");
    let merged = Merged::of(&dir);
    let other = process(&dir);
    let jobs: Family<Counter> =
        Counter::builder("jobs", "Jobs.").labels(["at"]).register(&other).unwrap();
    // Always exported by a living process, so this total is always shown.
    jobs.with(["a"]).inc();
    let mut last = 0.0;
    for round in 0..40 {
        let mut workers: Vec<Running> = (0..2)
            .map(|_| Running::start(example("test-removing").arg(dir.path()).arg("loop")))
            .collect();
        let files = 4 * 2 * (round + 1);
        wait_for("files of the workers", PATIENCE, || {
            let total = merged.warm.sample_value("jobs_total", &[("at", "a")]);
            let total = total.expect("the total is shown");
            assert!(total >= last, "{total} after {last}");
            last = total;
            (fs::read_dir(dir.path()).unwrap().count() > files).then_some(())
        });
        for worker in &mut workers {
            worker.signal("KILL");
            worker.wait();
        }
    }
    let samples = merged.samples();
    assert!(samples.iter().all(|sample| !sample.starts_with("level")), "{samples:?}");
    assert!(samples.iter().all(|sample| sample.contains("at=\"a\"")
        || sample.contains("at=\"b\"")
        || sample.contains("at=\"c\"")));
    assert_eq!(merged.jobs("a"), Some(last.max(merged.jobs("a").unwrap())));
    let errors = merged.warm.render(None).to_string();
    let errors = errors.lines().filter(|line| line.starts_with("multiprom_file_errors_total"));
    assert!(errors.clone().all(|line| line.ends_with(" 0")), "{:?}", errors.collect::<Vec<_>>());
}

#[test]
fn a_removed_series_stays_removed_when_its_directory_is_replaced() {
    let dir = TestDir::new("removal-lost");
    let (registry, merged) = (process(&dir), Merged::of(&dir));
    let family = requests(&registry);
    let levels: Family<Gauge> = Gauge::builder("level", "Level.")
        .mode(GaugeMode::Sum)
        .labels(["at"])
        .register(&registry)
        .unwrap();
    family.with(["200"]).inc_by(5.0);
    levels.with(["a"]).set(5.0);
    family.remove(["200"]);
    levels.remove(["a"]);
    fs::remove_dir_all(dir.path()).unwrap();
    fs::create_dir(dir.path()).unwrap();
    family.with(["500"]).inc();
    assert_eq!((merged.requests("200"), merged.requests("500")), (None, Some(1.0)));
    assert!(!merged.samples().iter().any(|sample| sample.starts_with("level")));
    family.with(["200"]).inc();
    levels.with(["a"]).inc();
    assert_eq!(merged.requests("200"), Some(6.0));
    assert!(merged.samples().contains(&"level{at=\"a\"} 1".to_owned()));
    family.remove(["200"]);
    assert_eq!(merged.requests("200"), None);
}

#[test]
fn a_series_that_could_not_be_written_can_be_removed() {
    let Some(mount) = Mount::tmpfs("size=256k") else {
        return skip("no mount of a file system");
    };
    let dir = mount.directory("waiting");
    let backend = Backend::directory(&dir).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let merged = merged(&dir);
    let family = requests(&registry);
    mount.fill_up();
    family.with(["200"]).inc_by(5.0);
    assert_eq!(value(&merged, "200"), Some(5.0), "of this process, in memory");
    family.remove(["200"]);
    assert_eq!(value(&merged, "200"), None);
    fs::remove_file(mount.path().join("full")).unwrap();
    wait_for("a retry", PATIENCE, || {
        family.with(["500"]).inc();
        value(&registry, "500").filter(|_| fs::read_dir(&dir).unwrap().next().is_some())
    });
    assert_eq!(value(&merged, "200"), None, "its entry was written with a record");
    family.with(["200"]).inc();
    assert_eq!(value(&merged, "200"), Some(6.0));
}

#[test]
fn the_python_client_reads_removed_series_as_if_they_were_not_removed() {
    let Some(mut command) = python("newest") else {
        return;
    };
    let dir = TestDir::new("removal-python");
    let registry = process(&dir);
    let family = requests(&registry);
    let levels: Family<Gauge> = Gauge::builder("level", "Level.")
        .mode(GaugeMode::Sum)
        .labels(["at"])
        .register(&registry)
        .unwrap();
    family.with(["200"]).inc_by(5.0);
    levels.with(["a"]).set(5.0);
    levels.with(["b"]).set(1.0);
    family.remove(["200"]);
    levels.remove(["a"]);
    let output =
        command.arg("tests/python/collect.py").arg(dir.path()).arg("text").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("requests_total{code=\"200\"} 5.0"), "{text}");
    assert!(text.contains("level{at=\"a\"} 0.0") && text.contains("level{at=\"b\"} 1.0"), "{text}");
}

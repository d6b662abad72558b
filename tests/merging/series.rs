//! Files and series that occur more than once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use multiprom::MultiProcessCollector;
use multiprom::compact::{CompactFiles, Compactor};

use super::{assert_no_series_is_repeated, dump, dump_checked, record, samples};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{Running, run};
use crate::support::samples::{Line, samples_of};
use crate::support::{TestDir, example, multiprom, output_of};

const JOBS: &str = "Counter('jobs', 'J.', registry=None).inc(5)
Gauge('level', 'L.', multiprocess_mode='sum', registry=None).set(2)";

#[test]
fn a_directory_that_is_listed_twice_under_any_names_counts_once() {
    let base = TestDir::in_memory("twice");
    let dir = base.path().join("d1");
    fs::create_dir(&dir).unwrap();
    let Some(()) = record(&dir, &[("7", JOBS)]) else { return };
    let link = base.path().join("link");
    symlink(&dir, &link).unwrap();
    let slash = Path::new(&format!("{}/", dir.display())).to_owned();
    let up = base.path().join("link/../d1/.");
    let (all, some) = (base.path().join("*"), base.path().join("d?"));
    let wanted = ["jobs_total 5", "level 2"];
    let dirs = [&dir, &dir, &slash, &link, &up, &all, &some].map(|dir| &**dir);
    assert_eq!(samples(&dump_checked(&dirs, "").stdout), wanted);
    let checked = |dirs: &[&Path]| {
        let mut check = multiprom();
        check.arg("check");
        for dir in dirs {
            check.arg("--dir").arg(dir);
        }
        output_of(&mut check)
    };
    assert_eq!(checked(&dirs), checked(&[&dir]));

    // An exporter resolves links at each scrape.
    let other = TestDir::in_memory("twice");
    record(other.path(), &[("8", "Counter('jobs', 'J.', registry=None).inc(30)")]).unwrap();
    let mut server = multiprom();
    server.args(["serve", "--compact", "off", "--listen", "127.0.0.1:0"]);
    for dir in [&dir, &dir, &link] {
        server.arg("--dir").arg(dir);
    }
    let mut server = Running::start(&mut server);
    let url = server.url();
    let page = scrape(&url);
    assert_no_series_is_repeated(&page);
    assert_eq!(samples(&page), wanted);
    fs::remove_file(&link).unwrap();
    symlink(other.path(), &link).unwrap();
    let page = scrape(&url);
    assert_no_series_is_repeated(&page);
    assert_eq!(samples(&page), ["jobs_total 35", "level 2"]);
}

#[test]
fn a_file_that_is_listed_twice_counts_once() {
    let dir = TestDir::in_memory("twice");
    let Some(()) = record(dir.path(), &[("7", JOBS)]) else { return };
    let file = dir.path().join("counter_7.db");
    let here = dir.path().join(".").join("counter_7.db");
    let mut dump = multiprom();
    dump.current_dir(dir.path());
    let outcome = run(dump.arg("dump").args([&*file, &*here, &*file, Path::new("counter_7.db")]));
    assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (vec!["jobs_total 5"], ""));
    let builder = MultiProcessCollector::builder().directory(dir.path()).file(&file).file(&here);
    let (lines, _) = samples_of(&builder.build().unwrap());
    assert_eq!(lines.iter().map(Line::value).collect::<Vec<_>>(), [5.0, 2.0]);
}

#[test]
fn totals_are_exact_if_a_compactor_lists_a_directory_twice() {
    let base = TestDir::in_memory("twice");
    let (dir, link) = (base.path().join("d"), base.path().join("link"));
    fs::create_dir(&dir).unwrap();
    symlink(&dir, &link).unwrap();
    output_of(example("test-counting").arg(&dir).arg("3"));
    let Some(()) = record(&dir, &[("7", JOBS)]) else { return };
    let totals = || samples(&dump(&[&dir], "").stdout).join("\n");
    let before = totals();
    let builder = Compactor::builder().files(CompactFiles::All);
    let compactor = builder.directory(&dir).directory(&link).directory(&dir).build().unwrap();
    let done = compactor.run_to_end().unwrap();
    assert_eq!((done.retired, done.waiting, done.busy, done.damaged), (2, 0, 0, 0));
    assert_eq!(totals(), before);
    assert!(dir.join("archive.multiprom").exists());
    assert!(
        !fs::read_dir(&dir).unwrap().any(|it| it
            .unwrap()
            .path()
            .extension()
            .is_some_and(|it| it == "db"))
    );
}

/// The number of conflicts that a page reports for a reason.
fn conflicts(page: &str, reason: &str) -> f64 {
    sum_of(page, &format!("multiprom_merge_conflicts_total{{reason=\"{reason}\"}}"))
}

#[test]
fn equal_pids_in_two_directories_are_exported_with_their_directories() {
    let [a, b] = [TestDir::in_memory("pids"), TestDir::in_memory("pids")];
    let set = |value| {
        format!(
            "Gauge('g', 'G.', ['l'], multiprocess_mode='all', registry=None).labels('x').set({value})"
        )
    };
    let Some(()) = record(a.path(), &[("7", &set(1)), ("8", &set(2))]) else { return };
    record(b.path(), &[("7", &set(3))]).unwrap();
    let in_dir = |dir: &TestDir| format!("{}/7", dir.path().display());
    let outcome = dump_checked(&[a.path(), b.path()], "");
    let wanted = [
        format!("g{{l=\"x\",pid=\"{}\"}} 1", in_dir(&a)),
        "g{l=\"x\",pid=\"8\"} 2".to_owned(),
        format!("g{{l=\"x\",pid=\"{}\"}} 3", in_dir(&b)),
    ];
    assert_eq!(
        (samples(&outcome.stdout), &*outcome.stderr),
        (wanted.iter().map(|it| &**it).collect(), "")
    );
    // Also if the files are passed one by one, by different paths.
    let mut dump = multiprom();
    dump.current_dir(a.path()).args(["dump", "./gauge_all_7.db", "gauge_all_8.db"]);
    let outcome = run(dump.arg(b.path().join("gauge_all_7.db")));
    let pids = ["./7".to_owned(), "8".to_owned(), in_dir(&b)];
    let wanted = pids.iter().zip(1..).map(|(pid, n)| format!("g{{l=\"x\",pid=\"{pid}\"}} {n}"));
    let wanted: Vec<String> = wanted.collect();
    assert_eq!(samples(&outcome.stdout), wanted);
}

#[test]
fn several_values_of_one_process_in_a_series_are_reported_and_the_last_is_exported() {
    let dir = TestDir::in_memory("modes");
    let statements = "Gauge('g', 'G.', multiprocess_mode='all', registry=None).set(1)
Gauge('g', 'G.', multiprocess_mode='sum', registry=None).set(2)
Gauge('h', 'H.', multiprocess_mode='all', registry=None).set(4)";
    let Some(()) = record(dir.path(), &[("7", statements)]) else { return };
    let wanted = ["g{pid=\"7\"} 2", "h{pid=\"7\"} 4"];
    let shown = |dir: &Path| {
        let outcome = dump_checked(&[dir], "--gauge-mode g=all");
        assert_eq!(samples(&outcome.stdout), wanted, "{}", outcome.stderr);
        let report =
            "multiprom: gauge `g` has several values of one process in a series: the last is shown";
        assert_eq!((outcome.stderr.trim(), conflicts(&outcome.stdout, "series")), (report, 1.0));
    };
    shown(dir.path());
    // Also while the files are retired, each under a name of its own.
    let compactor = Compactor::builder().directory(dir.path()).files(CompactFiles::All);
    assert_eq!(compactor.build().unwrap().run().unwrap().retired, 2);
    shown(dir.path());
}

#[test]
fn series_that_an_added_label_makes_equal_are_merged() {
    let dir = TestDir::in_memory("label");
    let all = |labels: &str, child: &str, n: u32| {
        format!(
            "C, G, H, S = Counter, Gauge, Histogram, Summary
C('c', 'C.', [{labels}], registry=None){child}.inc({n})
S('s', 'S.', [{labels}], registry=None){child}.observe({n})
H('h', 'H.', [{labels}], buckets=[{n}, 8], registry=None){child}.observe({n})
for mode in 'sum', 'min', 'max', 'mostrecent', 'all':
    G('g_' + mode, 'G.', [{labels}], multiprocess_mode=mode, registry=None){child}.set({n})"
        )
    };
    let without = all("", "", 1);
    let with = all("'env'", ".labels('x')", 2);
    let other = all("'env'", ".labels('y')", 4);
    let Some(()) = record(dir.path(), &[("1", &without), ("2", &with), ("3", &other)]) else {
        return;
    };
    let outcome = dump_checked(&[dir.path()], "--label env=x");
    assert_eq!(outcome.stderr, "");
    let of_x = |name: &str| -> Vec<String> {
        let lines = samples(&outcome.stdout).into_iter();
        let lines = lines.filter(|line| line.starts_with(name) && line.contains("env=\"x\""));
        lines.map(|line| line.replace("env=\"x\"", "")).collect()
    };
    assert_eq!(of_x("c_"), ["c_total{} 3"]);
    assert_eq!(of_x("s_"), ["s_sum{} 3", "s_count{} 2"]);
    let buckets = ["1.0\"} 1", "2.0\"} 2", "8.0\"} 2", "+Inf\"} 2"];
    let buckets = buckets.map(|bucket| format!("h_bucket{{,le=\"{bucket}"));
    assert_eq!(of_x("h_bucket"), buckets);
    assert_eq!(
        (of_x("h_sum"), of_x("h_count")),
        (vec!["h_sum{} 3".into()], vec!["h_count{} 2".into()])
    );
    for (mode, value) in [("sum", 3), ("min", 1), ("max", 2), ("mostrecent", 2)] {
        assert_eq!(of_x(&format!("g_{mode}")), [format!("g_{mode}{{}} {value}")]);
    }
    assert_eq!(of_x("g_all"), ["g_all{,pid=\"1\"} 1", "g_all{,pid=\"2\"} 2"]);
    // No value is lost, and series with another value of the label are separate.
    let total = sum_of(&outcome.stdout, "c_total") + sum_of(&outcome.stdout, "g_all");
    assert_eq!(total, 14.0);
}

#[test]
fn one_process_with_and_without_the_added_label_exports_one_value_and_is_reported() {
    let dir = TestDir::in_memory("label");
    let statements = "Gauge('g', 'G.', multiprocess_mode='all', registry=None).set(1)
Gauge('g', 'G.', ['env'], multiprocess_mode='all', registry=None).labels('x').set(2)";
    let Some(()) = record(dir.path(), &[("7", statements)]) else { return };
    assert_eq!(samples(&dump_checked(&[dir.path()], "").stdout).len(), 2);
    let outcome = dump_checked(&[dir.path()], "--label env=x");
    assert_eq!(samples(&outcome.stdout), ["g{env=\"x\",pid=\"7\"} 2"]);
    assert_eq!(conflicts(&outcome.stdout, "series"), 1.0);
    assert!(outcome.stderr.contains("several values of one process"), "{}", outcome.stderr);
}

#[test]
fn a_label_with_the_name_of_the_process_label_is_kept_under_another_name() {
    let dir = TestDir::in_memory("pid");
    let set = |mode: &str, label: &str| {
        format!(
            "g = Gauge('{mode}_{label}', 'G.', ['{label}'], multiprocess_mode='{mode}', registry=None)
g.labels('a').set(1)
g.labels('b').set(2)"
        )
    };
    let statements = ["all", "sum"].map(|mode| ["pid", "worker"].map(|label| set(mode, label)));
    let statements = statements.concat().join("\n");
    let Some(()) = record(dir.path(), &[("7", &statements)]) else { return };
    let outcome = dump_checked(&[dir.path()], "");
    let wanted = [
        "all_pid{exported_pid=\"a\",pid=\"7\"} 1",
        "all_pid{exported_pid=\"b\",pid=\"7\"} 2",
        "all_worker{pid=\"7\",worker=\"a\"} 1",
        "all_worker{pid=\"7\",worker=\"b\"} 2",
        "sum_pid{pid=\"a\"} 1",
        "sum_pid{pid=\"b\"} 2",
        "sum_worker{worker=\"a\"} 1",
        "sum_worker{worker=\"b\"} 2",
    ];
    assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (wanted.to_vec(), ""));
    let outcome = dump_checked(&[dir.path()], "--pid-label worker --include all_.*");
    let wanted = [
        "all_pid{pid=\"a\",worker=\"7\"} 1",
        "all_pid{pid=\"b\",worker=\"7\"} 2",
        "all_worker{exported_worker=\"a\",worker=\"7\"} 1",
        "all_worker{exported_worker=\"b\",worker=\"7\"} 2",
    ];
    assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (wanted.to_vec(), ""));
    // The other name may be in use as well.
    let dir = TestDir::in_memory("pid");
    let both =
        "g = Gauge('g', 'G.', ['pid'], multiprocess_mode='all', registry=None).labels('a').set(1)
g = Gauge('g', 'G.', ['exported_pid'], multiprocess_mode='all', registry=None).labels('a').set(2)";
    record(dir.path(), &[("7", both)]).unwrap();
    let outcome = dump_checked(&[dir.path()], "--label exported_exported_pid=z");
    let wanted = [
        "g{exported_exported_pid=\"z\",exported_pid=\"a\",pid=\"7\"} 2",
        "g{exported_exported_exported_pid=\"a\",exported_exported_pid=\"z\",pid=\"7\"} 1",
    ];
    assert_eq!((samples(&outcome.stdout), &*outcome.stderr), (wanted.to_vec(), ""));
}

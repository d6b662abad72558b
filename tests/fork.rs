//! Workers that fork: sums are exact, and a parent's end is seen although its children live.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use multiprom::{Liveness, MetricType, list_files};

use crate::support::mount;
use crate::support::process::Running;
use crate::support::samples::ours;
use crate::support::{TestDir, example, output_of, wait_for};

fn totals(dir: &Path) -> BTreeMap<String, f64> {
    let (lines, _) = ours(dir);
    lines
        .into_iter()
        .map(|line| {
            let labels: Vec<&str> = line.labels.values().map(String::as_str).collect();
            (format!("{} {}", line.name, labels.join(" ")).trim().to_owned(), line.value())
        })
        .collect()
}

fn counters(dir: &Path) -> usize {
    let files = list_files(dir).unwrap();
    files.iter().filter(|file| file.metric_type == Some(MetricType::Counter)).count()
}

#[test]
fn the_pre_fork_example_counts_every_job_of_parent_and_children_once() {
    let dir = TestDir::new("prefork");
    let mut prefork = example("prefork");
    let said = output_of(prefork.env("PROMETHEUS_MULTIPROC_DIR", dir.path()));
    assert_eq!(said, "1000 jobs in this process, 5000 in all\n");
    let totals = totals(dir.path());
    assert_eq!(totals["jobs_total"], 5000.0);
    assert_eq!(totals["job_seconds_count mail"], 5000.0);
    assert_eq!(totals["job_seconds_bucket mail inf"], 5000.0);
    assert_eq!(totals["busy"], 0.0);
    assert_eq!(counters(dir.path()), 5);
}

#[test]
fn the_lower_case_variable_is_honoured_and_an_empty_one_counts_as_unset() {
    let dir = TestDir::new("lower");
    let mut prefork = example("prefork");
    prefork.env("prometheus_multiproc_dir", dir.path()).env("PROMETHEUS_MULTIPROC_DIR", "");
    output_of(&mut prefork);
    assert_eq!(totals(dir.path())["jobs_total"], 5000.0);
}

#[test]
fn without_a_variable_no_file_is_written() {
    let dir = TestDir::new("unset");
    let said = output_of(example("prefork").current_dir(dir.path()));
    assert!(said.starts_with("1000 jobs"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn forked_children_start_from_zero_in_files_of_their_own() {
    for scenario in ["fork", "clone"] {
        let dir = TestDir::new(scenario);
        output_of(example("test-forks").arg(dir.path()).arg(scenario));
        let totals = totals(dir.path());
        assert_eq!(totals["counted_total"], 102.0, "{scenario}");
        assert_eq!(totals["labelled_total child"], 1.0);
        assert_eq!(totals["labelled_total parent"], 1.0);
        assert_eq!(counters(dir.path()), 2, "{scenario}");
    }
}

#[test]
fn grandchildren_have_files_of_their_own_too() {
    let dir = TestDir::new("nested");
    output_of(example("test-forks").arg(dir.path()).arg("nested"));
    assert_eq!(totals(dir.path())["counted_total"], 302.0);
    assert_eq!(counters(dir.path()), 3);
}

#[test]
fn a_child_that_records_nothing_leaves_no_file() {
    let dir = TestDir::new("idle");
    output_of(example("test-forks").arg(dir.path()).arg("idle"));
    assert_eq!(totals(dir.path())["counted_total"], 2.0);
    assert_eq!(counters(dir.path()), 1);
}

#[test]
fn a_fork_in_the_middle_of_other_threads_work_neither_hangs_nor_miscounts() {
    let dir = TestDir::new("threads");
    output_of(example("test-forks").arg(dir.path()).arg("threads"));
    let totals = totals(dir.path());
    assert_eq!(totals["counted_total"], 10_002.0);
}

#[test]
fn a_child_that_is_forked_during_a_scrape_scrapes_without_waiting_for_it() {
    let dir = TestDir::new("scrape");
    output_of(example("test-forks").arg(dir.path()).arg("scrape"));
    assert_eq!(totals(dir.path())["counted_total"], 2.0);
}

#[test]
fn a_child_that_is_forked_while_a_table_grows_has_each_series_once() {
    let dir = TestDir::new("growing");
    assert_eq!(output_of(example("test-forks").arg(dir.path()).arg("growing")), "");
}

#[test]
fn a_forked_thread_shares_no_cells_with_the_threads_that_its_process_starts() {
    let dir = TestDir::new("inherited");
    output_of(example("test-forks").arg(dir.path()).arg("inherited"));
    assert_eq!(totals(dir.path())["counted_total"], 600_002.0);
}

#[test]
fn a_guard_ends_what_it_began_and_nothing_in_children_or_new_files() {
    let dir = TestDir::new("guards");
    output_of(example("test-forks").arg(dir.path()).arg("guards"));
    // Written anew with what was in progress then, which ended since.
    assert_eq!(totals(dir.path())["busy"], 0.0);
}

#[test]
fn handlers_of_forks_may_record() {
    let dir = TestDir::new("handlers");
    let mut program = Running::start(example("test-forks").arg(dir.path()).arg("handlers"));
    let child = program.line_after("child ");
    assert_eq!(totals(dir.path())["handled_count child"], 11.0);
    let files = list_files(dir.path()).unwrap();
    let file = files.iter().find(|file| file.metric_type == Some(MetricType::Summary)).unwrap();
    assert!(file.id.starts_with(&format!("{child}-")), "{file:?}");
    assert_eq!((file.liveness, file.entries), (Liveness::Alive, 2));
    // The handlers of the library left its descriptor open.
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.ino());
    let mut open = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap();
    assert!(open.any(|fd| inode(&fd.unwrap().path()) == inode(&file.path)));
    drop(program.stdin());
    let output = program.end();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_end_of_a_parent_is_seen_although_its_child_lives() {
    assert_end_is_seen(TestDir::new("outlive").path());
    mount::each().for_each(|mount| assert_end_is_seen(&mount.directory("app")));
}

#[track_caller]
fn assert_end_is_seen(dir: &Path) {
    let mut forks = example("test-forks");
    forks.arg(dir).arg("outlive").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parent = forks.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let (pid, child) = said.trim().split_once(' ').unwrap();
    let state = |pid: &str| {
        let files = list_files(dir).unwrap();
        let file = files.iter().find(|file| file.id.starts_with(&format!("{pid}-")))?;
        Some(file.liveness)
    };
    let limit = Duration::from_secs(10);
    wait_for("file of the child", limit, || state(child));
    assert_eq!((state(pid), state(child)), (Some(Liveness::Alive), Some(Liveness::Alive)));
    parent.kill().unwrap();
    // Not reaped yet: a zombie is as dead.
    wait_for("death of the parent", limit, || (state(pid) == Some(Liveness::Dead)).then_some(()));
    assert_eq!(state(child), Some(Liveness::Alive));
    drop(parent.stdin.take());
    wait_for("end of the child", limit, || (state(child) == Some(Liveness::Dead)).then_some(()));
    parent.wait().unwrap();
}

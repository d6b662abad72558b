//! Workers that fork: sums are exact, and the end of a parent is detected although its children live.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use multiprom::collector::MetricType;
use multiprom::inspect::{Liveness, list_files};

use crate::support::mount;
use crate::support::process::{PATIENCE, Running};
use crate::support::samples::own_samples;
use crate::support::{TestDir, example, output_of, skip, wait_for};

fn totals(dir: &Path) -> BTreeMap<String, f64> {
    let (lines, _) = own_samples(dir);
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
    let output = output_of(prefork.env("PROMETHEUS_MULTIPROC_DIR", dir.path()));
    assert_eq!(output, "1000 jobs in this process, 5000 in all\n");
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
    let output = output_of(example("prefork").current_dir(dir.path()));
    assert!(output.starts_with("1000 jobs"), "{output}");
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
fn forks_while_other_threads_record_neither_hang_nor_miscount() {
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
fn a_guard_subtracts_only_from_the_value_that_it_was_added_to() {
    let dir = TestDir::new("guards");
    output_of(example("test-forks").arg(dir.path()).arg("guards"));
    // The file was rewritten with the guard's increment, which has been subtracted since.
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
    // The fork handlers of the library have not closed its descriptor.
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.ino());
    let mut open = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap();
    assert!(open.any(|fd| inode(&fd.unwrap().path()) == inode(&file.path)));
    drop(program.stdin());
    let output = program.end();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_child_that_is_forked_while_a_log_hook_is_set_can_set_one() {
    if cfg!(not(target_arch = "x86_64")) {
        return skip("single steps need x86-64");
    }
    let dir = TestDir::new("steps");
    let said = output_of(example("test-forks").arg(dir.path()).arg("steps"));
    let children: u32 = said.trim().strip_prefix("children ").unwrap().parse().unwrap();
    assert!(children > 10, "{children} children");
}

#[test]
fn a_file_that_is_closed_during_a_fork_is_dead_although_the_child_lives() {
    let dir = TestDir::new("closing");
    let mut program = Running::start(example("test-forks").arg(dir.path()).arg("closing"));
    let said = wait_for("the child", PATIENCE, || {
        assert!(program.is_running(), "{}", program.stderr());
        program.stdout().lines().next().map(str::to_owned)
    });
    let (pid, child) = said.split_once(' ').unwrap();
    let files = list_files(dir.path()).unwrap();
    assert!(files.len() == 1 && files[0].id.starts_with(&format!("{pid}-")), "{files:?}");
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.ino());
    let mut open = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap();
    assert!(!open.any(|fd| inode(&fd.unwrap().path()) == inode(&files[0].path)), "it is open");
    assert_eq!(files[0].liveness, Liveness::Dead);
    drop(program.stdin());
    let output = program.end();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_dead_parent_is_detected_although_its_child_lives() {
    assert_end_is_detected(TestDir::new("outlive").path());
    mount::each().for_each(|mount| assert_end_is_detected(&mount.directory("app")));
}

#[track_caller]
fn assert_end_is_detected(dir: &Path) {
    let mut forks = example("test-forks");
    forks.arg(dir).arg("outlive").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parent = forks.spawn().unwrap();
    let mut output = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut output).unwrap();
    let (pid, child) = output.trim().split_once(' ').unwrap();
    let state = |pid: &str| {
        let files = list_files(dir).unwrap();
        let file = files.iter().find(|file| file.id.starts_with(&format!("{pid}-")))?;
        Some(file.liveness)
    };
    wait_for("file of the child", PATIENCE, || state(child));
    assert_eq!((state(pid), state(child)), (Some(Liveness::Alive), Some(Liveness::Alive)));
    parent.kill().unwrap();
    // The parent is not reaped yet: a zombie counts as dead.
    wait_for("death of the parent", PATIENCE, || {
        (state(pid) == Some(Liveness::Dead)).then_some(())
    });
    assert_eq!(state(child), Some(Liveness::Alive));
    drop(parent.stdin.take());
    wait_for("end of the child", PATIENCE, || (state(child) == Some(Liveness::Dead)).then_some(()));
    parent.wait().unwrap();
}

//! Series that cannot be written at their first recording: they are written later, exactly once.

use std::fs;

use crate::support::mount::Mount;
use crate::support::process::PATIENCE;
use crate::support::survivor::{ControlledWorker, log_lines, merged, printed, value};
use crate::support::{TestDir, assert_success, example, skip, wait_for};

/// Runs a scenario to its end; asserts the number of log lines.
#[track_caller]
fn run(scenario: &str, dir: &std::path::Path, lines: usize) -> std::process::Output {
    let mut command = example("test-waiting");
    let command = command.arg(scenario).arg(dir).env("PROMETHEUS_MULTIPROC_DIR", dir);
    let output = command.output().unwrap();
    assert_success(command, &output);
    assert_eq!(log_lines(&output).len(), lines, "{output:?}");
    output
}

#[test]
fn series_created_during_a_long_fork_are_written_after_it() {
    let dir = TestDir::new("slow-fork");
    let output = run("slow-fork", dir.path(), 1);
    // In milliseconds. Only one recording waits for the fork.
    assert!(printed(&output, "longest") < 2_500.0, "{output:?}");
}

#[test]
fn statics_used_before_their_directory_exists_are_written_when_it_does() {
    let parent = TestDir::new("late-directory");
    run("late-directory", &parent.path().join("app"), 1);
}

#[test]
fn recordings_made_while_no_file_can_be_opened_are_written_exactly_once() {
    let dir = TestDir::new("no-descriptors");
    let output = run("no-descriptors", dir.path(), 1);
    assert_eq!(printed(&output, "dropped"), 5.0);
}

#[test]
fn close_writes_waiting_series() {
    let dir = TestDir::new("close-waiting");
    run("close", dir.path(), 1);
}

#[test]
fn series_created_on_a_full_disk_are_written_when_space_is_free() {
    let Some(mount) = Mount::tmpfs("size=8m") else {
        return skip("a small tmpfs cannot be mounted here");
    };
    let dir = mount.directory("app");
    mount.fill_up();
    let mut worker = ControlledWorker::new(&dir);
    (0..3).for_each(|_| worker.execute("record"));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::remove_file(mount.path().join("full")).unwrap();
    let mut count = 3;
    wait_for("files", PATIENCE, || {
        worker.execute("record");
        count += 1;
        (fs::read_dir(&dir).unwrap().count() > 0).then_some(())
    });
    worker.execute(&format!("check {count}"));
    let merged = merged(&dir);
    for series in ["plain_total", "labelled_total{label=\"old\"}", "sizes_count", "times_sum"] {
        assert_eq!(value(&merged, series), f64::from(count), "{series}");
    }
    for series in ["level_min", "level_sum", "level_mostrecent"] {
        assert_eq!(value(&merged, series), f64::from(count), "{series}");
    }
    let series =
        |what: &str| value(&merged, &format!("multiprom_{what}_series_total{{reason=\"space\"}}"));
    assert_eq!((series("dropped"), series("recovered")), (9.0, 9.0));
    worker.execute("record");
    worker.execute(&format!("check {}", count + 1));
    assert_eq!(log_lines(&worker.end()).len(), 1);
}

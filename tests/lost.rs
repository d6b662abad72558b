//! Directories and files that are removed while a worker uses them, and workers that release their files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use multiprom::inspect::{Liveness, list_files};

use crate::support::TestDir;
use crate::support::mount;
use crate::support::process::PATIENCE;
use crate::support::survivor::{ControlledWorker, log_lines, merged, value};
use crate::support::wait_for;

/// Asserts the merged values after `count` calls of `record`; `gauge` is the last value of the gauges.
#[track_caller]
fn assert_recorded(dir: &Path, count: u32, gauge: u32, recent: f64) {
    assert_merged(&merged(dir), count, gauge, recent, &["level_all", "level_liveall"]);
}

#[track_caller]
fn assert_merged(merged: &str, count: u32, gauge: u32, recent: f64, per_process: &[&str]) {
    let count = f64::from(count);
    for series in [
        "plain_total",
        "labelled_total{label=\"old\"}",
        "sizes_count",
        "sizes_sum",
        "sizes_bucket{le=\"10.0\"}",
        "times_count",
        "times_sum",
    ] {
        assert_eq!(value(merged, series), count, "{series}\n{merged}");
    }
    for series in ["level_min", "level_sum"] {
        assert_eq!(value(merged, series), f64::from(gauge), "{series}");
    }
    assert_eq!(value(merged, "level_mostrecent"), recent);
    for name in per_process {
        let values: Vec<&str> = merged
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{pid=")))
            .map(|line| line.rsplit_once(' ').unwrap().1)
            .collect();
        assert_eq!(values, [gauge.to_string()], "{name}");
    }
}

#[track_caller]
fn assert_files(dir: &Path, count: usize) {
    let files = list_files(dir).unwrap();
    let is_well = |file: &multiprom::inspect::FileInfo| {
        file.error.is_none()
            && file.liveness == Liveness::Alive
            && file.path.metadata().unwrap().nlink() == 1
    };
    assert!(files.len() == count && files.iter().all(is_well), "{files:#?}");
}

/// Counter, histogram, summary and five gauge modes.
const FILES: usize = 8;

fn files_in(dir: &Path) -> Vec<PathBuf> {
    list_files(dir).unwrap().into_iter().map(|file| file.path).collect()
}

/// A worker that has recorded five times into `app` in the directory.
fn started(parent: &Path) -> (PathBuf, ControlledWorker) {
    let dir = parent.join("app");
    fs::create_dir(&dir).unwrap();
    let mut worker = ControlledWorker::new(&dir);
    (0..5).for_each(|_| worker.execute("record"));
    assert_recorded(&dir, 5, 5, 5.0);
    assert_files(&dir, FILES);
    (dir, worker)
}

fn end(worker: ControlledWorker, lines: usize) {
    let output = worker.end();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(log_lines(&output).len(), lines, "{:#?}", log_lines(&output));
}

#[test]
fn all_files_are_rewritten_when_their_directory_is_removed_and_recreated() {
    assert_rewritten(TestDir::new("recreated").path());
    mount::each().for_each(|mount| assert_rewritten(mount.path()));
}

#[track_caller]
fn assert_rewritten(parent: &Path) {
    let (dir, mut worker) = started(parent);
    fs::remove_dir_all(&dir).unwrap();
    worker.execute("record");
    fs::create_dir(&dir).unwrap();
    worker.execute("record");
    worker.execute("series new");
    assert_recorded(&dir, 7, 7, 7.0);
    assert_files(&dir, FILES);
    worker.execute("record");
    assert_recorded(&dir, 8, 8, 8.0);
    let merged = merged(&dir);
    assert_eq!(value(&merged, "labelled_total{label=\"new\"}"), 1.0);
    assert_eq!(value(&merged, "multiprom_files_lost_total"), FILES as f64);
    end(worker, 1);
}

#[test]
fn all_files_are_rewritten_each_time_their_directory_is_lost() {
    let parent = TestDir::new("twice");
    let (dir, mut worker) = started(parent.path());
    for round in 1..=2u32 {
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        worker.execute(&format!("series new{round}"));
        assert_files(&dir, FILES);
        worker.execute("record");
        worker.execute(&format!("check {}", 5 + round));
        assert_recorded(&dir, 5 + round, 5 + round, f64::from(5 + round));
    }
    let merged = merged(&dir);
    assert_eq!(value(&merged, "labelled_total{label=\"new1\"}"), 1.0);
    assert_eq!(value(&merged, "multiprom_files_lost_total"), 2.0 * FILES as f64);
    end(worker, 1);
}

#[test]
fn a_loss_within_a_burst_of_new_series_is_noticed_in_the_next_ticks() {
    let parent = TestDir::new("burst");
    let (dir, mut worker) = started(parent.path());
    worker.execute("many 500");
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    let mut late = 0;
    wait_for("new files", PATIENCE, || {
        late += 1;
        worker.execute(&format!("series late{late}"));
        (files_in(&dir).len() == FILES).then_some(())
    });
    // Attempts are 10 ms apart, which is the longest tick.
    assert!(late <= 3, "{late} series");
    worker.execute("record");
    assert_recorded(&dir, 6, 6, 6.0);
    let merged = merged(&dir);
    for at in 1..=late {
        assert_eq!(value(&merged, &format!("labelled_total{{label=\"late{at}\"}}")), 1.0);
    }
    assert_eq!(value(&merged, "multiprom_files_lost_total"), FILES as f64);
    end(worker, 1);
}

#[test]
fn all_files_are_rewritten_in_a_replaced_directory_and_the_old_ones_look_dead() {
    let parent = TestDir::new("replaced");
    let (dir, mut worker) = started(parent.path());
    let old = parent.path().join("old");
    fs::rename(&dir, &old).unwrap();
    fs::create_dir(&dir).unwrap();
    worker.execute("series new");
    worker.execute("record");
    assert_recorded(&dir, 6, 6, 6.0);
    assert_files(&dir, FILES);
    for file in list_files(&old).unwrap() {
        assert_eq!(file.liveness, Liveness::Dead, "{file:?}");
    }
    assert_merged(&merged(&old), 5, 5, 5.0, &["level_all"]);
    assert!(!merged(&old).contains("level_liveall{"));
    end(worker, 1);
}

#[test]
fn a_removed_file_is_rewritten() {
    for kind in ["counter_", "histogram_", "summary_", "gauge_sum_", "gauge_mostrecent_"] {
        let parent = TestDir::new("single");
        let (dir, mut worker) = started(parent.path());
        let files = files_in(&dir);
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        fs::remove_file(files.iter().find(|path| name(path).starts_with(kind)).unwrap()).unwrap();
        worker.execute("record");
        worker.execute("series new");
        worker.execute("record");
        assert_recorded(&dir, 7, 7, 7.0);
        assert_files(&dir, FILES);
        let merged = merged(&dir);
        assert_eq!(value(&merged, "multiprom_files_lost_total"), 1.0, "{kind}");
        end(worker, 1);
    }
}

#[test]
fn the_time_of_a_most_recent_gauge_survives_the_loss_of_its_file() {
    let parent = TestDir::new("time");
    let (dir, mut worker) = started(parent.path());
    let mut other = ControlledWorker::new(&dir);
    // The other worker registers first and sets its gauge last.
    other.execute("record");
    worker.execute("recent 40");
    let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    wait_for("another time", PATIENCE, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (now > later).then_some(())
    });
    other.execute("recent 50");
    assert_eq!(value(&merged(&dir), "level_mostrecent"), 50.0);
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    // The older value is rewritten after the newer one, and keeps its older time.
    other.execute("series a");
    worker.execute("series b");
    assert_eq!(value(&merged(&dir), "level_mostrecent"), 50.0);
    end(worker, 1);
    end(other, 1);
}

#[test]
fn a_missing_directory_causes_no_error_and_is_used_when_it_reappears() {
    let parent = TestDir::new("away");
    let (dir, mut worker) = started(parent.path());
    fs::remove_dir_all(&dir).unwrap();
    worker.execute("record");
    worker.execute("series meanwhile");
    worker.execute("record");
    assert!(!dir.exists());
    fs::create_dir(&dir).unwrap();
    worker.execute("series back");
    worker.execute("record");
    assert_recorded(&dir, 8, 8, 8.0);
    assert_files(&dir, FILES);
    assert_eq!(value(&merged(&dir), "labelled_total{label=\"meanwhile\"}"), 1.0);
    assert_eq!(value(&merged(&dir), "labelled_total{label=\"back\"}"), 1.0);
    end(worker, 1);
}

#[test]
fn series_created_while_the_directory_is_missing_are_written_when_it_reappears() {
    let parent = TestDir::new("heap");
    let dir = parent.path().join("app");
    fs::create_dir(&dir).unwrap();
    let mut worker = ControlledWorker::new(&dir);
    worker.execute("record");
    fs::remove_dir_all(&dir).unwrap();
    // It is written to the file of summaries, which has no name any more.
    worker.execute("summary unseen");
    fs::create_dir(&dir).unwrap();
    worker.execute("series back");
    assert_recorded(&dir, 1, 1, 1.0);
    assert_eq!(value(&merged(&dir), "unseen_count"), 1.0);
    end(worker, 1);
}

#[test]
fn values_recorded_while_the_directory_is_missing_are_written_when_it_reappears() {
    let parent = TestDir::new("late");
    let dir = parent.path().join("app");
    fs::create_dir(&dir).unwrap();
    let mut worker = ControlledWorker::new(&dir);
    worker.execute("close");
    fs::remove_dir_all(&dir).unwrap();
    (0..3).for_each(|_| worker.execute("record"));
    fs::create_dir(&dir).unwrap();
    worker.execute("series back");
    assert_recorded(&dir, 3, 3, 3.0);
    worker.execute("check 3");
    worker.execute("record");
    worker.execute("check 4");
    assert_recorded(&dir, 4, 4, 4.0);
    assert_files(&dir, FILES);
    end(worker, 1);
}

#[test]
fn files_whose_descriptors_the_host_closed_are_rewritten_and_released() {
    let parent = TestDir::new("closed");
    let (dir, mut worker) = started(parent.path());
    worker.execute("lose");
    worker.execute("many 500");
    assert_files(&dir, FILES + 1);
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    worker.execute("series new");
    worker.execute("record");
    assert_recorded(&dir, 6, 6, 6.0);
    assert_eq!(crate::support::survivor::sum(&dir, "labelled_total"), 6.0 + 500.0 + 1.0);
    assert_files(&dir, FILES);
    // `close` must also release a file whose descriptor the host has closed.
    worker.execute("lose");
    worker.execute("many 500");
    assert_files(&dir, FILES + 1);
    worker.execute("close");
    let files = list_files(&dir).unwrap();
    assert!(files.iter().all(|file| file.liveness == Liveness::Dead), "{files:#?}");
    end(worker, 1);
}

#[test]
fn files_look_dead_after_close_and_keep_their_values() {
    let dir = TestDir::new("close");
    let mut worker = ControlledWorker::new(dir.path());
    (0..5).for_each(|_| worker.execute("record"));
    let before = files_in(dir.path());
    worker.execute("close");
    let dead = |paths: &[PathBuf]| {
        let files = list_files(dir.path()).unwrap();
        let dead = files.iter().filter(|file| file.liveness == Liveness::Dead);
        dead.filter(|file| paths.contains(&file.path)).count()
    };
    assert_eq!(dead(&before), FILES, "{:#?}", list_files(dir.path()));
    let of = |name| value(&merged(dir.path()), name);
    assert_eq!((of("plain_total"), of("sizes_count"), of("times_sum")), (5.0, 5.0, 5.0));
    // A second close is no error.
    worker.execute("close");
    worker.execute("record");
    let after = list_files(dir.path()).unwrap();
    let alive: Vec<_> = after.iter().filter(|file| file.liveness == Liveness::Alive).collect();
    assert_eq!((after.len(), alive.len(), dead(&before)), (2 * FILES, FILES, FILES));
    assert!(alive.iter().all(|file| !before.contains(&file.path)));
    assert_eq!((of("plain_total"), of("sizes_count"), of("times_sum")), (6.0, 6.0, 6.0));
    assert_eq!(of("labelled_total{label=\"old\"}"), 6.0);
    worker.execute("check 6");
    worker.execute("close");
    worker.execute("check 6");
    end(worker, 0);
}

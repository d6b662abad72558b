//! A reset removes the values of all dead processes in one step.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use multiprom::compact::clear_directory;

use super::{compact_with, copy_of, count, count_in_python, merge, merged, names_in, value};
use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running};
use crate::support::samples::Line;
use crate::support::{SetOnDrop, TestDir, example, multiprom, wait_for};

const RESETS: usize = 12;
/// Jobs of ended processes.
const DEAD: f64 = 3.0 + 4.0 + 5.0;

/// A directory with an archive, files of multiprom, files of the Python client, and a living process.
fn scene() -> (TestDir, Running) {
    let dir = TestDir::new("reset");
    count(dir.path(), 3);
    assert_eq!(compact_with("--own", dir.path()).status, 0);
    count(dir.path(), 4);
    count(dir.path(), 5);
    count_in_python(dir.path(), 6);
    fs::write(dir.path().join("notes"), "mine").unwrap();
    let mut command = example("test-counting");
    let mut living = Running::start(command.arg(dir.path()).args(["2", "hold"]));
    living.line_after("ready");
    (dir, living)
}

fn totals(dir: &Path) -> [f64; 2] {
    let (lines, problems) = merge(dir);
    assert!(problems.is_empty(), "{problems:#?}");
    ["jobs_total", "py_jobs_total"]
        .map(|name| lines.iter().find(|line| line.name == name).map_or(0.0, Line::value))
}

#[test]
fn a_reader_sees_a_reset_as_one_step() {
    let (dir, living) = scene();
    // The copies of its files have no writer.
    drop(living);
    for _ in 0..RESETS {
        let (_parent, copy) = copy_of(dir.path(), "reset-copy");
        let before = totals(&copy);
        assert_eq!(before[0], DEAD + 2.0);
        let is_over = AtomicBool::new(false);
        let seen = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    seen.push(totals(&copy));
                }
                seen
            });
            let ending = SetOnDrop(&is_over);
            clear_directory(&copy).unwrap();
            drop(ending);
            reader.join().unwrap()
        });
        assert!(seen.iter().all(|seen| *seen == before || *seen == [0.0, 0.0]), "{seen:?}");
        assert!(seen.is_sorted_by(|a, b| a >= b), "{seen:?}");
        assert_eq!(totals(&copy), [0.0, 0.0]);
        assert_eq!(names_in(&copy), ["notes"]);
    }
}

#[test]
fn a_reset_keeps_files_of_living_processes_and_unrelated_files() {
    let (dir, mut living) = scene();
    clear_directory(dir.path()).unwrap();
    let lines = merged(dir.path());
    assert_eq!(value(&lines, "jobs_total"), 2.0);
    assert_eq!(value(&lines, "queue_livesum_ratio"), 2.0);
    let names = names_in(dir.path());
    // Series files, their companion, and a note.
    assert_eq!(names.len(), 13 + 1 + 1, "{names:?}");
    assert!(names.contains(&"notes".to_owned()));
    // A second reset has nothing to do.
    clear_directory(dir.path()).unwrap();
    assert_eq!(names_in(dir.path()), names);
    drop(living.stdin());
    assert!(living.end().status.success());
}

#[test]
fn the_exporter_and_the_launcher_reset_when_they_start() {
    for arguments in ["serve --reset", "serve", "run", "run --keep-files"] {
        let (dir, living) = scene();
        drop(living);
        let mut command = multiprom();
        let mut words = arguments.split(' ');
        command.arg(words.next().unwrap()).args(["--listen", "127.0.0.1:0", "--dir"]);
        command.arg(dir.path()).args(words);
        if arguments.starts_with("run") {
            command.args(["--", "cat"]);
        }
        let mut server = Running::start(&mut command);
        let url = server.url();
        let is_kept = matches!(arguments, "serve" | "run --keep-files");
        let wanted = if is_kept { DEAD + 2.0 } else { 0.0 };
        wait_for(arguments, PATIENCE, || {
            (sum_of(&scrape(&url), "jobs_total") == wanted).then_some(())
        });
        assert!(dir.path().join("notes").exists(), "{arguments}");
        drop(server);
    }
}

//! Companion files are compacted together with the series files of their writer.

use std::fs;
use std::path::{Path, PathBuf};

use multiprom::compact::{Compactor, clear_directory};
use multiprom::inspect::list_files;
use multiprom::mark_process_dead;
use multiprom::unstable::Companion;

use super::{
    ARCHIVE, UNITS, assert_only_archive, compact, compact_with, count, merge, merged, names_in,
    units, value,
};
use crate::support::process::{PATIENCE, run};
use crate::support::stepped::Stepped;
use crate::support::survivor::ControlledWorker;
use crate::support::{TestDir, example, multiprom, wait_for, wait_for_deaths};

fn companion(dir: &Path) -> PathBuf {
    let files = list_files(dir).unwrap();
    let mut companions = files.into_iter().filter(|file| file.is_companion);
    let found = companions.next().unwrap();
    assert!(companions.next().is_none());
    found.path
}

#[test]
fn units_survive_compaction_and_merge_with_those_of_later_writers() {
    let dir = TestDir::new("units");
    let dir = dir.path();
    for jobs in [3, 4] {
        count(dir, jobs);
        assert_eq!(units(dir), UNITS);
        compact(dir);
        assert_only_archive(dir);
        assert_eq!(units(dir), UNITS);
    }
    assert_eq!(value(&merged(dir), "jobs_total"), 7.0);
    assert_eq!(run(multiprom().args(["check", "--dir"]).arg(dir)).status, 0);
}

#[test]
fn a_damaged_companion_stays_and_the_series_of_its_writer_are_compacted() {
    let dir = TestDir::new("damaged");
    let dir = dir.path();
    count(dir, 3);
    let path = companion(dir);
    let mut bytes = fs::read(&path).unwrap();
    // The second entry: the first one still counts.
    let first = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let second = 8 + 16 + first + 8;
    bytes[second + 5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    wait_for_deaths(dir);
    let name = path.display().to_string();
    for _ in 0..2 {
        let outcome = compact_with("", dir);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let (lines, problems) = merge(dir);
        assert_eq!(value(&lines, "jobs_total"), 3.0);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.contains(&name) && problem.contains("does not match its checksum"));
        assert_eq!(units(dir).len(), 1);
        let left = [ARCHIVE, path.file_name().unwrap().to_str().unwrap()];
        assert_eq!(names_in(dir), left);
        let check = run(multiprom().args(["check", "--dir"]).arg(dir));
        assert!(check.status == 1 && check.stderr.contains(&name), "{}", check.stderr);
    }
    let compactor = Compactor::builder().directory(dir).build().unwrap();
    assert_eq!(compactor.run().unwrap().damaged, 1);
    // A reset removes it.
    clear_directory(dir).unwrap();
    assert_eq!(names_in(dir), Vec::<String>::new());
}

/// An entry that a later release could write, appended to a valid companion.
#[test]
fn entries_of_unknown_kinds_are_skipped_counted_and_left_to_a_later_release() {
    let dir = TestDir::new("later");
    let dir = dir.path();
    count(dir, 3);
    let path = companion(dir);
    let mut bytes = fs::read(&path).unwrap();
    let used = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let (key_len, payload_len, kind) =
        (0u32.to_le_bytes(), 8u32.to_le_bytes(), 77u32.to_le_bytes());
    let check = crc32fast::hash(&[key_len, payload_len, kind].concat()).to_le_bytes();
    let entry = [key_len, check, payload_len, kind, [1; 4], [2; 4]].concat();
    bytes[used..used + entry.len()].copy_from_slice(&entry);
    bytes[..4].copy_from_slice(&((used + entry.len()) as u32).to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    wait_for_deaths(dir);
    for _ in 0..2 {
        let (_, problems) = merge(dir);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.contains("77"), "{problem}");
        assert_eq!(units(dir), UNITS);
        assert_eq!(compact_with("", dir).status, 0);
        assert!(path.exists());
        assert_eq!(value(&merge(dir).0, "jobs_total"), 3.0);
    }
    let dump = run(multiprom().args(["dump", "--dir"]).arg(dir)).stdout;
    assert!(dump.contains("multiprom_file_errors_total{reason=\"kind\"} 1"), "{dump}");
    let check = run(multiprom().args(["check", "--dir"]).arg(dir));
    assert!(check.status == 1 && check.stderr.contains("kind is 77"), "{}", check.stderr);
}

/// The companion of a writer that has only just ended may be created after the directory was listed.
#[test]
fn a_companion_that_is_created_after_the_listing_is_absorbed_together_with_the_series() {
    let dir = TestDir::new("late");
    let dir = dir.path();
    count(dir, 3);
    let path = companion(dir);
    let hidden = dir.with_extension("hidden");
    fs::rename(&path, &hidden).unwrap();
    let mut compactor = Stepped::start(&mut example("test-compacting"));
    // The directory is listed for staging files, then for files of writers, by two calls each.
    let (mut listings, mut is_hidden) = (0, true);
    compactor.command(dir, |_, call| {
        listings += usize::from(call.number == libc::SYS_getdents64);
        if listings == 4 && call.number == libc::SYS_openat && std::mem::take(&mut is_hidden) {
            fs::rename(&hidden, &path).unwrap();
        }
    });
    assert!(!is_hidden);
    assert_only_archive(dir);
    assert_eq!(units(dir), UNITS);
}

#[test]
fn the_files_of_a_writer_wait_for_each_other() {
    let dir = TestDir::new("together");
    let dir = dir.path();
    count(dir, 3);
    let before = list_files(dir).unwrap().len();
    // A companion that this process holds, under the id of the dead writer.
    let id = list_files(dir).unwrap()[0].id.clone();
    fs::remove_file(companion(dir)).unwrap();
    let _held = Companion::create(dir).unwrap();
    fs::rename(held_companion(dir), dir.join(format!("companion_{id}.mpx"))).unwrap();
    let compactor = Compactor::builder().directory(dir).build().unwrap();
    let compaction = compactor.run().unwrap();
    assert_eq!((compaction.files, compaction.waiting), (0, before as u64 - 1));
    assert_eq!(list_files(dir).unwrap().len(), before);
    // Another writer does not wait for this one.
    count(dir, 4);
    assert!(compactor.run().unwrap().files > 0);
    assert_eq!(list_files(dir).unwrap().len(), before);
    assert_eq!(value(&merged(dir), "jobs_total"), 7.0);
}

fn held_companion(dir: &Path) -> PathBuf {
    let files = list_files(dir).unwrap();
    files.into_iter().find(|file| file.is_companion).unwrap().path
}

#[test]
fn a_companion_of_a_living_process_stays_and_marking_it_dead_removes_none() {
    let dir = TestDir::new("alive");
    let dir = dir.path();
    let mut command = example("test-counting");
    let worker = ControlledWorker::start(command.arg(dir).arg("3").arg("hold"));
    wait_for("a companion", PATIENCE, || (units(dir) == UNITS).then_some(()));
    compact(dir);
    let path = companion(dir);
    let pid = worker.program.id();
    worker.end();
    mark_process_dead(dir, pid).unwrap();
    assert!(path.exists());
    compact(dir);
    assert_only_archive(dir);
    assert_eq!(units(dir), UNITS);
}

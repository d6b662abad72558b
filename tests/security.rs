//! Directories that other users can write to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use multiprom::collector::MetricType;
use multiprom::inspect::list_files;

use crate::support::mount::{is_root, succeeds};
use crate::support::survivor::{ControlledWorker, log_lines, merged, value};
use crate::support::{TestDir, copy_program, example, output_of, skip};

#[test]
fn a_program_with_raised_privileges_ignores_the_variable() {
    if !is_root() {
        return skip("only root can make a program setuid");
    }
    let dir = TestDir::new("secure");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let (copy, files) = (dir.path().join("prefork"), dir.path().join("files"));
    copy_program(Path::new(example("prefork").get_program()), &copy);
    fs::create_dir(&files).unwrap();
    fs::set_permissions(&files, Permissions::from_mode(0o777)).unwrap();
    let run = |mode: u32| {
        fs::set_permissions(&copy, Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&copy);
        command.env("PROMETHEUS_MULTIPROC_DIR", &files).uid(65534).gid(65534);
        output_of(&mut command);
        fs::read_dir(&files).unwrap().count()
    };
    assert_eq!(run(0o4755), 0, "a file was written");
    // The same program without the setuid bit uses the variable.
    assert!(run(0o755) > 0);
}

#[test]
fn files_that_are_not_regular_are_rejected_without_following_or_blocking() {
    let dir = TestDir::new("refused");
    let elsewhere = TestDir::new("elsewhere");
    let mut worker = ControlledWorker::new(dir.path());
    worker.execute("record");
    let mut other = ControlledWorker::new(elsewhere.path());
    other.execute("record");
    let files = list_files(elsewhere.path()).unwrap();
    let target =
        &files.iter().find(|file| file.metric_type == Some(MetricType::Counter)).unwrap().path;
    let at = |number: u32| dir.path().join(format!("counter_{number}-0000000a.db"));
    symlink(target, at(1)).unwrap();
    fs::hard_link(target, at(2)).unwrap();
    fs::create_dir(at(3)).unwrap();
    assert!(succeeds("mkfifo", &[at(4).to_str().unwrap()]));
    let mut count = 4;
    // Reading from this device returns zeros without end.
    if is_root() && succeeds("mknod", &[at(5).to_str().unwrap(), "c", "1", "5"]) {
        count = 5;
    } else {
        skip("a device file needs root");
    }
    let bad: Vec<String> = list_files(dir.path())
        .unwrap()
        .into_iter()
        .filter_map(|file| file.error.map(|error| format!("{error:#}")))
        .collect();
    assert_eq!(bad.len(), count, "{bad:#?}");
    assert!(bad[0].contains("symbolic link"), "{}", bad[0]);
    assert!(bad[1].contains("more than one name"), "{}", bad[1]);
    assert!(bad[2..].iter().all(|text| text.contains("not a regular file")), "{bad:#?}");
    let text = merged(dir.path());
    assert_eq!(value(&text, "plain_total"), 1.0);
    let skipped =
        |reason| value(&text, &format!("multiprom_file_errors_total{{reason=\"{reason}\"}}"));
    assert_eq!((skipped("open"), skipped("linked")), (1.0, 1.0));
    assert_eq!(skipped("not_regular"), count as f64 - 2.0);
    // The writer is not affected.
    worker.execute("record");
    assert_eq!(value(&merged(dir.path()), "plain_total"), 2.0);
    worker.end();
    other.end();
}

#[test]
fn thousands_of_unrelated_files_do_not_affect_a_writer() {
    let dir = TestDir::new("foreign");
    let mut worker = ControlledWorker::new(dir.path());
    let pid = worker.program.id();
    for number in 0..2_000 {
        fs::write(dir.path().join(format!("foreign{number}")), "x").unwrap();
        let target = dir.path().join("nowhere");
        symlink(target, dir.path().join(format!("counter_{pid}-{number:08x}.db.old"))).unwrap();
    }
    worker.execute("record");
    worker.execute("series a");
    assert_eq!(value(&merged(dir.path()), "plain_total"), 1.0);
    assert_eq!(list_files(dir.path()).unwrap().len(), 8);
    assert!(!dir.path().join("nowhere").exists());
    worker.end();
}

#[test]
fn a_directory_that_others_can_write_is_warned_about_once() {
    for (mode, lines) in [(0o777, 1), (0o1777, 1), (0o770, 1), (0o755, 0)] {
        let dir = TestDir::new("open");
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        let mut worker = ControlledWorker::new(dir.path());
        worker.execute("record");
        worker.execute("series a");
        let log = log_lines(&worker.end());
        assert_eq!(log.len(), lines, "{mode:o}: {log:#?}");
        assert!(log.iter().all(|line| line.contains("other users may create files")), "{log:#?}");
    }
}

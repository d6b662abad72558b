//! Full disks and limits: series that do not fit are kept in memory and counted, and everything else is stored.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use multiprom::compact::Compactor;
use multiprom::inspect::list_files;
use multiprom::{Backend, Counter, ErrorKind, MultiProcessCollector, Registry};

use crate::support::http::sum_of;
use crate::support::mount::{self, MIB, Mount, is_root};
use crate::support::process::NOBODY;
use crate::support::survivor::{ControlledWorker, log_lines, merged, printed, survivor, value};
use crate::support::{TestDir, assert_success, example, skip};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert_success(command, &output);
    output
}

/// Asserts that values recorded before the failure are exact, and that each series that did not fit is counted once.
#[track_caller]
fn assert_survived(dir: &Path, output: &Output, reason: &str) {
    let lines = log_lines(output);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for file in list_files(dir).unwrap() {
        assert!(file.error.is_none() && file.len >= 16 * 1024, "{file:?}");
    }
    let merged = merged(dir);
    let recorded = printed(output, "recorded");
    for series in [
        "plain_total",
        "labelled_total{label=\"old\"}",
        "sizes_count",
        "sizes_bucket{le=\"10.0\"}",
        "times_sum",
        "level_sum",
        "level_mostrecent",
    ] {
        assert_eq!(value(&merged, series), recorded, "{series}");
    }
    let kept = merged.lines().filter(|line| line.starts_with("filling_total{")).count();
    let dropped = format!("multiprom_dropped_series_total{{reason=\"{reason}\"}}");
    assert!(kept > 0, "nothing was kept");
    // The first recording was before the first series.
    assert_eq!(kept as f64 + value(&merged, &dropped), recorded - 1.0);
}

#[test]
fn a_disk_that_fills_up_drops_new_series_and_keeps_every_recorded_value() {
    for mount in mount::each() {
        let dir = mount.directory("app");
        mount.fill_up_to(MIB / 4);
        let output = run(survivor("fill", &dir).arg("800"));
        assert_survived(&dir, &output, "space");
    }
}

#[test]
fn values_are_stored_on_a_full_disk_also_after_writeback() {
    for mount in mount::each() {
        let dir = mount.directory("app");
        mount.fill_up_to(MIB / 3);
        if mount.name().ends_with("btrfs") && kernel() < (6, 17) {
            skip("before Linux 6.17 a full btrfs raises a signal");
            continue;
        }
        let mut worker = ControlledWorker::new(&dir);
        worker.execute("many 800");
        // Fill the space that the last growth of the files has left.
        mount.fill_up();
        assert_stored(&mount, &dir, worker);
    }
}

/// The release of the kernel.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Records into all 800 series of a worker, some of which are in files. Asserts that values in files are stored also after
/// their pages were written back.
fn assert_stored(mount: &Mount, dir: &Path, mut worker: ControlledWorker) {
    for _ in 0..3 {
        mount.sync();
        worker.execute("many 800");
    }
    let merged = merged(dir);
    let values: Vec<&str> = merged
        .lines()
        .filter(|line| line.starts_with("labelled_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1)
        .collect();
    let name = mount.name();
    assert!(values.len() > 300 && values.iter().all(|value| *value == "4"), "{name}");
    let dropped = value(&merged, "multiprom_dropped_series_total{reason=\"space\"}");
    let recovered = sum_of(&merged, "multiprom_recovered_series_total");
    assert_eq!(values.len() as f64 + dropped - recovered, 800.0, "{name}");
    let output = worker.end();
    assert!(output.status.success() && log_lines(&output).len() == 1, "{name}: {output:?}");
}

#[test]
fn a_disk_that_is_full_before_the_first_sample_gets_no_file() {
    for mount in mount::each() {
        let dir = mount.directory("app");
        mount.fill_up();
        let output = run(survivor("fill", &dir).arg("100"));
        let lines = log_lines(&output);
        assert_eq!(lines.len(), 1, "{}: {lines:#?}", mount.name());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "{}", mount.name());
    }
}

/// Uses the quotas that need no package: user quotas on a tmpfs, and quotas of btrfs.
#[test]
fn an_exhausted_quota_is_handled_like_a_full_disk() {
    let mounts = [Mount::tmpfs_with_quota(320 * 1024), Mount::btrfs_with_quota(320 * 1024)];
    if mounts.iter().all(Option::is_none) {
        return skip("no file system with quotas can be mounted here");
    }
    for mount in mounts.into_iter().flatten() {
        let dir = mount.path().join("limited");
        fs::create_dir_all(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        let mut worker =
            ControlledWorker::start(survivor("commands", &dir).uid(NOBODY).gid(NOBODY));
        worker.execute("many 800");
        let line = worker.program.line_after("multiprom: ");
        assert!(line.contains("Disk quota exceeded"), "{}: {line}", mount.name());
        assert_stored(&mount, &dir, worker);
    }
}

#[test]
fn files_are_reserved_at_every_step_of_their_growth() {
    assert_growth_is_reserved(TestDir::new("grow").path());
    mount::each().for_each(|mount| assert_growth_is_reserved(&mount.directory("app")));
}

#[track_caller]
fn assert_growth_is_reserved(dir: &Path) {
    let output = run(&mut survivor("grow", dir));
    let text = String::from_utf8(output.stdout).unwrap();
    let steps: Vec<Vec<u64>> = text
        .lines()
        .map(|line| line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect())
        .collect();
    let lengths: Vec<u64> = steps.iter().map(|step| step[0] / 1024).collect();
    assert_eq!(lengths, [16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096], "{}", dir.display());
    assert!(steps.iter().all(|step| step[1] >= step[0]), "{}: {steps:?}", dir.display());
}

#[test]
fn a_limit_on_file_sizes_raises_no_signal_in_the_host() {
    for action in ["default", "handler"] {
        let dir = TestDir::new(action);
        let output = run(survivor("file-size", dir.path()).arg(action));
        let _ = fs::remove_file(dir.path().join("host"));
        assert_survived(dir.path(), &output, "space");
    }
}

#[test]
fn mappings_are_smaller_if_address_space_is_limited() {
    let dir = TestDir::new("address-space");
    let output = run(&mut survivor("address-space", dir.path()));
    assert_or_dropped_as(dir.path(), &output, "map");
}

#[test]
fn mappings_are_smaller_if_memory_is_locked() {
    if !is_root() {
        return skip("only root can give up the right to lock all memory");
    }
    // Root can lock more memory than the limit, so that every segment fits.
    for user in [NOBODY, 0] {
        let dir = TestDir::new("locked-memory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(user), Some(user)).unwrap();
        let mut program = survivor("locked-memory", dir.path());
        let output = run(program.uid(user).gid(user));
        assert_or_dropped_as(dir.path(), &output, "map");
        // In KiB; a single segment has 16 MiB of addresses.
        assert!(printed(&output, "locked") < 16.0 * 1024.0, "{output:?}");
    }
}

/// Asserts that the process has continued, that the values in files are correct, and that missing series are counted for
/// `reason`.
#[track_caller]
fn assert_or_dropped_as(dir: &Path, output: &Output, reason: &str) {
    let merged = merged(dir);
    let recorded = printed(output, "recorded");
    assert!(value(&merged, "plain_total") == recorded, "{merged}");
    assert!(list_files(dir).unwrap().iter().all(|file| file.error.is_none()));
    let lines = log_lines(output);
    assert!(lines.len() <= 1, "{lines:#?}");
    let kept = merged.lines().filter(|line| line.starts_with("filling_total{")).count() as f64;
    if kept < recorded - 1.0 {
        assert!(merged.contains(&format!("_series_total{{reason=\"{reason}\"}}")), "{merged}");
    }
}

#[test]
fn a_process_without_free_descriptors_records_and_uses_files_again_later() {
    let dir = TestDir::new("open-files");
    let output = run(&mut survivor("open-files", dir.path()));
    let merged = merged(dir.path());
    let recorded = printed(&output, "recorded");
    assert_eq!(value(&merged, "early_total"), 2.0);
    for series in ["plain_total", "sizes_count", "times_sum", "level_sum"] {
        assert_eq!(value(&merged, series), recorded, "{series}");
    }
    // These series waited on the heap.
    assert_eq!(value(&merged, "without_count"), 1.0);
    assert_eq!(value(&merged, "later_count"), 1.0);
    for what in ["dropped", "recovered"] {
        let series = format!("multiprom_{what}_series_total{{reason=\"directory\"}}");
        assert!(value(&merged, &series) >= 8.0, "{merged}");
    }
    assert_eq!(log_lines(&output).len(), 1, "{:#?}", log_lines(&output));
}

#[test]
fn an_unwritable_directory_is_logged_in_one_line() {
    if !is_root() {
        return skip("only root can become another user");
    }
    let dir = TestDir::new("unwritable");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let variable = ("PROMETHEUS_MULTIPROC_DIR", dir.path());
    let mut command = example("quickstart");
    let output = run(command.env(variable.0, variable.1).uid(NOBODY).gid(NOBODY));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let lines = log_lines(&output);
    assert!(lines.len() == 1 && lines[0].contains("Permission denied"), "{lines:#?}");
    // The page has the series all the same.
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("\nhits_total 1\n"), "{page}");
}

#[test]
fn an_unsupported_file_system_is_rejected_unless_it_is_allowed() {
    let dir = "/proc/self/fdinfo";
    assert_eq!(Backend::directory(dir).unwrap_err().kind(), ErrorKind::Unsupported);
    let refused = MultiProcessCollector::new(dir).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("tmpfs, ext4"), "{refused}");
    MultiProcessCollector::builder().directory(dir).any_file_system().build().unwrap();
}

#[test]
fn ext2_and_ext3_are_rejected_although_they_look_like_ext4() {
    for name in ["ext2", "ext3"] {
        let Some(mount) = Mount::old_ext(name) else {
            skip(&format!("an {name} cannot be mounted here"));
            continue;
        };
        let dir = mount.directory("app");
        let refused = [
            Backend::directory(&dir).unwrap_err(),
            MultiProcessCollector::new(&dir).err().unwrap(),
            Compactor::builder().directory(&dir).build().unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let expected = format!("file system type {name} is none of tmpfs, ext4,");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        MultiProcessCollector::builder().directory(&dir).any_file_system().build().unwrap();
    }
}

#[test]
fn without_fallocate_space_is_reserved_by_writing_zeros() {
    for limit in ["none", "file-size"] {
        let dir = TestDir::in_memory("zeros");
        let output = run(example("test-host").arg("no-fallocate").arg(dir.path()).arg(limit));
        assert_zeros_reserved(dir.path(), &output);
    }
    let Some(mount) = Mount::tmpfs("size=24m") else {
        return skip("a small tmpfs cannot be mounted here");
    };
    let dir = mount.directory("app");
    mount.fill_up_to(MIB / 4);
    let output = run(example("test-host").arg("no-fallocate").arg(&dir).arg("none"));
    assert_zeros_reserved(&dir, &output);
    assert!(merged(&dir).contains("multiprom_dropped_series_total{reason=\"space\"}"));
}

/// Asserts that only series that did not fit are missing, and that all files are reserved to their length.
#[track_caller]
fn assert_zeros_reserved(dir: &Path, output: &Output) {
    let merged = merged(dir);
    let of = |name: &str| merged.lines().filter(|line| line.starts_with(name)).count() as f64;
    let dropped = "multiprom_dropped_series_total{reason=\"space\"}";
    let dropped = if merged.contains(dropped) { value(&merged, dropped) } else { 0.0 };
    assert!(of("filling_total{") > 10.0, "{merged}");
    assert_eq!(of("filling_total{") + dropped, printed(output, "made"));
    for file in list_files(dir).unwrap() {
        let metadata = file.path.metadata().unwrap();
        assert!(file.error.is_none() && metadata.blocks() * 512 >= file.len, "{file:?}");
        assert!(file.len.is_power_of_two() || file.len % MIB == 0, "{file:?}");
    }
}

#[test]
fn a_file_appears_with_the_first_sample_of_its_type() {
    let dir = TestDir::new("first");
    let names = || {
        let names = fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let backend = Backend::directory(dir.path()).unwrap();
    let registry = Registry::builder().backend(backend).build().unwrap();
    let family = Counter::builder("first_total", "First.").labels(["label"]);
    let family = family.register(&registry).unwrap();
    assert!(names().is_empty());
    let series = family.with(["a"]);
    assert!(names().iter().all(|name| name.starts_with("counter_")));
    series.inc();
    assert_eq!(names().len(), 1);
    multiprom::Summary::builder("second", "Second.").register(&registry).unwrap().observe(1.0);
    assert_eq!(names().len(), 2);
    assert!(names()[1].starts_with("summary_"));
}

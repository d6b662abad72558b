//! Hosts that close descriptors that they did not open, or replace descriptors of series files by their own files.

use std::fs;
use std::path::Path;

use crate::support::mount;
use crate::support::survivor::{merged, printed, sum, survivor, value};
use crate::support::{TestDir, assert_success};

/// Runs a scenario; asserts that the host's files are unchanged and that no value is lost.
fn check(scenario: &str, dir: &Path) {
    let own = TestDir::new("own");
    let mut command = survivor(scenario, dir);
    let output = command.arg(own.path()).output().unwrap();
    assert_success(&command, &output);
    for entry in fs::read_dir(own.path()).unwrap() {
        assert_eq!(fs::read(entry.unwrap().path()).unwrap(), b"mine", "{scenario}");
    }
    let merged = merged(dir);
    // The child also records once.
    let recorded = printed(&output, "recorded") + 1.0;
    for series in ["plain_total", "labelled_total{label=\"old\"}", "sizes_count", "times_sum"] {
        assert_eq!(value(&merged, series), recorded, "{scenario}: {series}");
    }
    assert_eq!(sum(dir, "late_total"), 1500.0, "{scenario}");
    assert_eq!(sum(dir, "late_sizes_count"), 1500.0, "{scenario}");
    assert!(!merged.contains("multiprom_dropped_series"), "{merged}");
}

fn check_everywhere(scenario: &str) {
    let disk = TestDir::new(scenario);
    check(scenario, disk.path());
    let kinds = ["tmpfs", "ext4", "overlayfs-on-ext4"];
    let mounts = mount::each().filter(|mount| kinds.contains(&mount.name()));
    mounts.for_each(|mount| check(scenario, &mount.directory("files")));
}

#[test]
fn a_host_that_closes_all_descriptors_loses_no_values_and_keeps_its_files() {
    check_everywhere("close-all");
}

#[test]
fn a_host_file_that_replaces_a_descriptor_of_multiprom_is_not_changed() {
    check_everywhere("dup-over");
}

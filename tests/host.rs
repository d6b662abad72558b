//! What the library may do to its host: to its memory, its descriptors and its standard error.

use std::process::{Command, Output};

use crate::support::survivor::said;
use crate::support::{TestDir, assert_success, example};

fn host(scenario: &str, dir: &TestDir) -> Command {
    let mut command = example("test-host");
    command.arg(scenario).arg(dir.path());
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert_success(command, &output);
    output
}

#[test]
fn asking_for_a_family_that_is_registered_or_a_name_that_is_taken_leaks_nothing() {
    let output = run(&mut host("get-or-register", &TestDir::in_memory("leak")));
    // In KiB. A leak of the bounds alone would be 5 MiB in as many calls.
    for name in ["found", "taken"] {
        assert!(said(&output, name) < 512.0, "{name}: {output:?}");
    }
}

#[test]
fn letting_go_of_files_costs_no_more_memory_than_was_used_of_them() {
    for lock in ["no", "lock"] {
        let output = run(host("locked-close", &TestDir::in_memory("locked-close")).arg(lock));
        // In KiB, for ten files of 16 KiB each. The address space of one is 16 MiB.
        assert!(said(&output, "grown") < 1024.0, "{lock}: {output:?}");
    }
}

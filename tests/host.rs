//! Effects of the library on its host: memory, descriptors and standard error.

use std::fs::{self, File};
use std::process::{Command, Output, Stdio};

use crate::support::survivor::{log_lines, printed};
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
fn registering_existing_families_and_taken_names_leaks_no_memory() {
    let output = run(&mut host("get-or-register", &TestDir::in_memory("leak")));
    // In KiB. A leak of the bounds alone would take 5 MiB.
    for name in ["found", "taken"] {
        assert!(printed(&output, name) < 512.0, "{name}: {output:?}");
    }
}

#[test]
fn releasing_files_keeps_only_the_memory_of_their_values() {
    for lock in ["no", "lock"] {
        let output = run(host("locked-close", &TestDir::in_memory("locked-close")).arg(lock));
        // In KiB, for ten files of 16 KiB each. The address space of one is 16 MiB.
        assert!(printed(&output, "grown") < 1024.0, "{lock}: {output:?}");
    }
}

/// The line that is logged in the tests of standard error.
const LINE: &str = "cannot open the directory: No such file or directory";

#[test]
fn log_lines_reach_a_replaced_standard_error_but_no_file_that_reuses_its_descriptor() {
    for (case, gets_line) in [
        ("as-is", true),
        ("rust-file", false),
        ("rust-file-at-first", false),
        ("c-file", false),
        ("c-file-for-writing", false),
        ("log-file", true),
        ("rust-socket", false),
        ("log-socket", true),
        ("eventfd", false),
        ("closed", false),
    ] {
        let dir = TestDir::in_memory("standard-error");
        let (app, file) = (dir.path().join("app"), dir.path().join("file"));
        fs::create_dir(&app).unwrap();
        fs::write(&file, "").unwrap();
        let mut command = example("test-host");
        let output = run(command.arg("standard-error").arg(app).arg(case).arg(&file));
        let mut places = [output.stdout, output.stderr, fs::read(&file).unwrap()].concat();
        places.retain(|byte| *byte != 0);
        let text = String::from_utf8(places).unwrap();
        let count = text.matches(LINE).count();
        assert_eq!(
            (count, text.is_empty()),
            (usize::from(gets_line), !gets_line),
            "{case}: {text}"
        );
    }
}

#[test]
fn log_lines_reach_a_file_that_standard_error_is_redirected_to() {
    for is_appended in [false, true] {
        let dir = TestDir::in_memory("redirected");
        let (app, file) = (dir.path().join("app"), dir.path().join("file"));
        fs::create_dir(&app).unwrap();
        let log = if is_appended {
            File::options().append(true).create(true).open(&file).unwrap()
        } else {
            File::create(&file).unwrap()
        };
        let mut command = example("test-host");
        command.arg("standard-error").arg(app).args(["as-is", "-"]).stderr(Stdio::from(log));
        assert!(command.status().unwrap().success());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("multiprom: ") && text.matches(LINE).count() == 1, "{text}");
    }
}

#[test]
fn recording_does_not_block_on_a_full_standard_error() {
    for kind in ["pipe", "socket", "terminal"] {
        for kernel in ["new-kernel", "old-kernel", "no-descriptors"] {
            let output = run(host("full", &TestDir::in_memory("full")).args([kind, kernel]));
            assert_eq!(printed(&output, "recorded"), 1.0, "{kind} {kernel}");
        }
    }
    // In the same cases, the line is written if there is room.
    for kernel in ["new-kernel", "old-kernel", "no-descriptors"] {
        let full = |kind| run(host("full", &TestDir::in_memory("room")).args([kind, kernel]));
        assert_eq!(log_lines(&full("as-is")).len(), 1, "{kernel}");
        let stdout = String::from_utf8(full("empty-terminal").stdout).unwrap();
        assert!(stdout.contains("\ngot multiprom: directory "), "{kernel}: {stdout}");
    }
}

#[test]
fn children_forked_while_the_parent_writes_to_standard_error_do_not_hang() {
    let dir = TestDir::in_memory("busy-forks");
    let (app, file) = (dir.path().join("app"), dir.path().join("file"));
    let busy = |output: &str| assert!(output.contains("a busy program logs\n"));
    // The program may fill the pipe, so lines of the children may be dropped.
    fs::create_dir(&app).unwrap();
    let output = run(example("test-host").arg("busy-forks").arg(&app));
    busy(&String::from_utf8_lossy(&output.stderr));
    // A file has room for all lines.
    fs::create_dir(&app).unwrap();
    let log = File::options().append(true).create(true).open(&file).unwrap();
    let output = run(example("test-host").arg("busy-forks").arg(&app).stderr(Stdio::from(log)));
    let text = fs::read_to_string(&file).unwrap();
    busy(&text);
    let children = printed(&output, "children") as usize;
    assert!(children > 0);
    assert_eq!(text.matches(LINE).count(), children);
}

#[test]
fn a_log_hook_may_record_is_not_reentered_and_is_not_called_in_children() {
    let output = run(&mut host("hook", &TestDir::in_memory("hook")));
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<&str> = stdout.lines().collect();
    let [hooked, child] = &lines[..] else { panic!("{stdout}") };
    assert!(hooked.starts_with("hooked ") && hooked.contains(LINE), "{stdout}");
    let open = "other users may create files in it";
    assert!(child.starts_with("child ") && child.ends_with(open), "{stdout}");
    // By `registry`, by the hook, and by the child before it sets a hook.
    let lines = log_lines(&output);
    assert!(lines.len() == 3 && lines.iter().all(|line| line.ends_with(open)), "{lines:#?}");
}

//! The directory of `run`: its choice, its reset, its lock, and the log lines about it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::http::{scrape, sum_of};
use crate::support::mount::is_root;
use crate::support::process::{
    Outcome, Running, can_unshare_pids, is_alive, run, signal, unshare_pids,
};
use crate::support::{TestDir, example, multiprom, output_of, python, root, skip};

const VARIABLES: [&str; 2] = ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"];

/// A shell command that waits for the end of standard input.
const STAY: &str = "{ read line; true; }";

/// The lock file of launchers.
const LOCK_NAME: &str = ".multiprom-run.lock";

/// A launcher with flags that runs a shell script.
fn launcher(flags: &[&str], script: &str) -> Command {
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).args(["--", "sh", "-c", script]);
    command
}

/// A shell script in which a worker counts `jobs`, followed by the commands `then`.
fn counting(jobs: u32, then: &str) -> String {
    let worker = example("test-counting").get_program().to_str().unwrap().to_owned();
    format!("'{worker}' \"$PROMETHEUS_MULTIPROC_DIR\" {jobs} && echo counted && {then}")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The log line of a launcher about its directory.
fn directory_line(log: &str) -> &str {
    let line = log.lines().find_map(|line| line.strip_prefix("multiprom: directory "));
    line.unwrap_or_else(|| panic!("no line about the directory: {log}"))
}

/// The merged number of jobs in a directory.
fn jobs_in(dir: &Path) -> f64 {
    sum_of(&output_of(multiprom().args(["dump", "--dir"]).arg(dir)), "jobs_total")
}

#[test]
fn the_directory_of_the_environment_is_the_default_and_is_not_reset() {
    for variable in VARIABLES {
        let base = TestDir::new("environment");
        let dir = base.path().join("made");
        let start = |flags: &[&str], script: &str| -> Outcome {
            run(launcher(flags, script).env(variable, &dir))
        };
        let outcome = start(
            &[],
            &counting(5, "echo $PROMETHEUS_MULTIPROC_DIR; stat -c %a $prometheus_multiproc_dir"),
        );
        assert_eq!(
            outcome.stdout,
            format!("counted\n{}\n700\n", dir.display()),
            "{}",
            outcome.stderr
        );
        let line = directory_line(&outcome.stderr);
        let path = dir.display();
        assert!(line.starts_with(&format!("`{path}`: from $PROMETHEUS_MULTIPROC_DIR, ")), "{line}");
        assert!(line.contains("not reset (--reset "), "{line}");
        // The Python client's own collector may read the directory too.
        let is_own =
            "multiprom: compacting files of ended processes, except those of the Python client";
        assert!(outcome.stderr.lines().any(|line| line.starts_with(is_own)), "{}", outcome.stderr);
        assert_eq!(jobs_in(&dir), 5.0);

        start(&[], &counting(2, "true"));
        start(&["--keep-files"], "true");
        assert_eq!(jobs_in(&dir), 7.0);
        // If a flag names another directory, this one is not used.
        let other = base.path().join("other");
        assert_eq!(start(&["--dir", text(&other)], &counting(1, "true")).status, 0);
        assert_eq!((jobs_in(&dir), jobs_in(&other)), (7.0, 1.0));
        let outcome = start(&["--reset"], &counting(3, "true"));
        assert!(directory_line(&outcome.stderr).ends_with(", reset"), "{}", outcome.stderr);
        assert_eq!(jobs_in(&dir), 3.0);
    }
}

#[test]
fn an_unusable_directory_of_the_environment_is_reported_with_the_variable() {
    let base = TestDir::new("file");
    fs::write(base.path().join("file"), "").unwrap();
    let dir = base.path().join("file/below");
    let outcome = run(launcher(&[], "true").env(VARIABLES[0], &dir));
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (1, 1), "{}", outcome.stderr);
    for named in [text(&dir), VARIABLES[0], "--dir"] {
        assert!(outcome.stderr.contains(named), "{}", outcome.stderr);
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let outcome = run(launcher(&[], "echo $PROMETHEUS_MULTIPROC_DIR").env(VARIABLES[0], ""));
    let line = directory_line(&outcome.stderr);
    assert_eq!(
        line,
        format!("`{}`: private, in memory", outcome.stdout.trim()),
        "{}",
        outcome.stderr
    );
}

#[test]
fn reset_and_compaction_are_logged_at_the_start() {
    let dir = TestDir::in_memory("logged");
    let path = text(dir.path());
    let all = "compacting files of all ended processes (";
    let own = "compacting files of ended processes, except those of the Python client (";
    let cases: [(&[&str], &str, &str); 4] = [
        (&[], "from --dir, in memory, reset (--keep-files ", all),
        (&["--compact", "own"], "from --dir, in memory, reset (--keep-files ", own),
        (
            &["--compact", "off", "--reset"],
            "from --dir, in memory, reset (--keep-files ",
            "compacting nothing",
        ),
        (&["--compact", "all", "--keep-files"], "from --dir, in memory, not reset", all),
    ];
    for (flags, directory, compaction) in cases {
        let outcome = run(&mut launcher(&[&["--dir", path], flags].concat(), "true"));
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!((outcome.status, lines.len()), (0, 3), "{}", outcome.stderr);
        let start = format!("multiprom: directory `{path}`: {directory}");
        assert!(lines[0].starts_with(&start), "{}", outcome.stderr);
        assert!(lines[1].starts_with(&format!("multiprom: {compaction}")), "{}", outcome.stderr);
    }
    let outcome = run(&mut launcher(&["--dir", path, "--keep-files", "--reset"], "true"));
    assert_eq!((outcome.status, outcome.stderr.lines().count()), (2, 1), "{}", outcome.stderr);
}

#[test]
fn a_private_directory_on_disk_is_reported_with_the_reason() {
    if !is_root() {
        return skip("only root can mount");
    }
    let dir = TestDir::new("no-memory");
    let script =
        "mount -t tmpfs -o ro none /dev/shm && exec \"$0\" run --listen 127.0.0.1:0 -- true";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(multiprom().get_program());
    command.env_remove(VARIABLES[0]).env_remove(VARIABLES[1]).env("TMPDIR", dir.path());
    let outcome = run(&mut command);
    if outcome.stderr.contains("unshare") || outcome.stderr.contains("mount:") {
        return skip(&format!("nothing can be mounted here: {}", outcome.stderr.trim()));
    }
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let line = directory_line(&outcome.stderr);
    assert!(line.starts_with(&format!("`{}/multiprom-", dir.path().display())), "{line}");
    assert!(line.contains("`: private, on disk ("), "{line}");
    let reason = "because memory cannot be used: cannot use directory `/dev/shm/multiprom-";
    assert!(line.contains(reason) && line.contains("Read-only file system"), "{line}");
}

/// The values of the label `directory` in an exposition.
fn labels(text: &str) -> Vec<&str> {
    let values = text.lines().filter_map(|line| line.split_once("directory=\""));
    let mut values: Vec<&str> = values.filter_map(|(_, rest)| rest.split('"').next()).collect();
    values.dedup();
    values
}

#[test]
fn the_label_directory_is_the_same_after_a_restart() {
    let base = TestDir::new("label");
    fs::create_dir(base.path().join("release-1")).unwrap();
    let link = base.path().join("current");
    std::os::unix::fs::symlink("release-1", &link).unwrap();
    let cases: [(Vec<String>, String); 2] = [
        (vec![], "private".to_owned()),
        (vec!["--dir".to_owned(), text(&link).to_owned()], text(&link).to_owned()),
    ];
    for (flags, wanted) in cases {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut launcher = Running::start(&mut launcher(&flags, &counting(5, STAY)));
        let url = launcher.url();
        launcher.line_after("counted");
        let body = scrape(&url);
        assert_eq!(labels(&body), [wanted.as_str()], "{body}");
        drop(launcher.stdin());
        launcher.end();
    }
}

/// A launcher without compaction, in which a worker has counted 5 jobs, and which runs until its standard input ends.
fn staying(dir: &Path, flags: &[&str]) -> (Running, String) {
    let flags = [&["--dir", text(dir), "--compact", "off"], flags].concat();
    let mut running = Running::start(&mut launcher(&flags, &counting(5, STAY)));
    let url = running.url();
    running.line_after("counted");
    (running, url)
}

fn end(mut running: Running) {
    drop(running.stdin());
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn a_run_that_would_reset_the_directory_of_another_run_fails() {
    let dir = TestDir::new("second");
    let (first, url) = staying(dir.path(), &[]);
    for (flags, variable) in [(&["--dir", text(dir.path())][..], false), (&["--reset"], true)] {
        let mut second = launcher(flags, "echo started");
        if variable {
            second.env(VARIABLES[0], dir.path());
        }
        let outcome = run(&mut second);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        let remedy = if variable { "omit --reset" } else { "--keep-files" };
        for named in [text(dir.path()), "another `multiprom run` uses it", remedy] {
            assert!(outcome.stderr.contains(named), "{}", outcome.stderr);
        }
        assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    }
    end(first);
    let outcome = run(&mut launcher(&["--dir", text(dir.path())], "true"));
    assert_eq!((outcome.status, jobs_in(dir.path())), (0, 0.0), "{}", outcome.stderr);
}

#[test]
fn a_run_without_reset_shares_the_directory_and_prevents_resets() {
    let dir = TestDir::new("shared");
    let (first, url) = staying(dir.path(), &[]);
    let (second, second_url) = staying(dir.path(), &["--keep-files"]);
    let line = second.stderr();
    assert!(directory_line(&line).ends_with(", not reset, shared with another `multiprom run`"));
    for url in [&url, &second_url] {
        assert_eq!(sum_of(&scrape(url), "jobs_total"), 10.0);
    }
    end(first);
    let reset = || run(&mut launcher(&["--dir", text(dir.path())], "true"));
    assert_eq!((reset().status, jobs_in(dir.path())), (1, 10.0));
    end(second);
    assert_eq!((reset().status, jobs_in(dir.path())), (0, 0.0));
}

#[test]
fn a_run_inside_a_run_records_into_the_directory_of_the_outer_one() {
    let inner = "\"$0\" run --listen 127.0.0.1:0 -- ";
    let worker = example("test-counting").get_program().to_str().unwrap().to_owned();
    let script = format!(
        "{inner} sh -c '\"{worker}\" \"$PROMETHEUS_MULTIPROC_DIR\" 5'; echo counted $?; {STAY}"
    );
    let mut command = launcher(&[], &script);
    let mut outer = Running::start(command.arg(multiprom().get_program()));
    let url = outer.url();
    assert_eq!(outer.line_after("counted "), "0");
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    let log = outer.stderr();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("directory `")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[1].ends_with(", shared with another `multiprom run`"), "{log}");
    end(outer);
}

#[test]
fn the_lock_is_free_after_a_run_is_killed_although_its_command_lives() {
    let dir = TestDir::new("killed");
    let script = counting(5, "echo pid $$ && exec sleep 600");
    let mut killed = Running::start(&mut launcher(&["--dir", text(dir.path())], &script));
    let orphan: u32 = killed.line_after("pid ").parse().unwrap();
    killed.signal("KILL");
    killed.wait();
    assert!(is_alive(orphan));
    let outcome = run(&mut launcher(&["--dir", text(dir.path())], "true"));
    signal(orphan, "KILL");
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
}

#[test]
fn the_lock_file_is_not_read_as_a_series_file() {
    let dir = TestDir::new("hidden");
    let (running, url) = staying(dir.path(), &[]);
    assert!(dir.path().join(LOCK_NAME).exists());
    let body = scrape(&url);
    assert_eq!(sum_of(&body, "multiprom_file_errors_total"), 0.0, "{body}");
    for command in ["ls", "check"] {
        let listed = output_of(multiprom().args([command, "--dir"]).arg(dir.path()));
        assert!(!listed.contains("multiprom-run"), "{listed}");
    }
    let mode = fs::metadata(dir.path().join(LOCK_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    if let Some(mut python) = python("newest") {
        python.arg(root().join("tests/python/collect.py")).arg(dir.path()).arg("text");
        assert_eq!(sum_of(&output_of(&mut python), "jobs_total"), 5.0);
    }
    end(running);
    assert!(dir.path().join(LOCK_NAME).exists());
}

#[test]
fn a_directory_that_cannot_be_locked_is_used_but_not_reset() {
    let dir = TestDir::new("unlocked");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    // The lock file must be a regular file.
    fs::create_dir(dir.path().join(LOCK_NAME)).unwrap();
    let start = |flags: &[&str]| {
        run(&mut launcher(&[&["--dir", text(dir.path())], flags].concat(), "echo started"))
    };
    let outcome = start(&[]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(text(dir.path())) && outcome.stderr.contains(LOCK_NAME));
    let outcome = start(&["--keep-files"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (0, "started\n"), "{}", outcome.stderr);
    let line = outcome.stderr.lines().find(|line| line.contains("cannot be locked")).unwrap();
    assert!(line.contains(text(dir.path())), "{line}");
    assert_eq!(jobs_in(dir.path()), 5.0);
}

#[test]
fn process_1_of_a_container_serves_a_directory_of_its_own() {
    let unshare = || {
        let mut command = unshare_pids();
        command.env_remove(VARIABLES[0]).env_remove(VARIABLES[1]);
        command
    };
    if !can_unshare_pids() {
        return skip("no pid namespace can be created here");
    }
    // Both launchers have pid 1, and share `/dev/shm`.
    let mut containers: Vec<Running> = (0..2)
        .map(|_| {
            let then =
                format!("echo $PPID $PROMETHEUS_MULTIPROC_DIR; (sleep 0.1 &); {STAY}; exit 5");
            let mut command = unshare();
            command.arg(multiprom().get_program()).args(["run", "--listen", "127.0.0.1:0", "--"]);
            Running::start(command.args(["sh", "-c", &counting(5, &then)]))
        })
        .collect();
    for container in &mut containers {
        let url = container.url();
        let dir = container.line_after("1 /dev/shm/multiprom-1-");
        assert!(Path::new(&format!("/dev/shm/multiprom-1-{dir}")).join(LOCK_NAME).exists());
        assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    }
    for mut container in containers {
        let dir = container.line_after("1 /dev/shm/multiprom-1-");
        drop(container.stdin());
        assert_eq!(container.end().status.code(), Some(5));
        assert!(!Path::new(&format!("/dev/shm/multiprom-1-{dir}")).exists());
    }
}

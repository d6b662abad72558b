//! The directory of `run`: which one it is, and what is logged about it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::http::{scrape, sum_of};
use crate::support::mount::is_root;
use crate::support::process::{Running, Said, run};
use crate::support::{TestDir, example, multiprom, output_of, skip};

const VARIABLES: [&str; 2] = ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"];

/// A launcher with flags, of a shell script.
fn launcher(flags: &[&str], script: &str) -> Command {
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0"]).args(flags).args(["--", "sh", "-c", script]);
    command
}

/// A shell script of a launcher: a worker counts some jobs in the directory.
fn counting(jobs: u32, then: &str) -> String {
    let worker = example("test-counting").get_program().to_str().unwrap().to_owned();
    format!("'{worker}' \"$PROMETHEUS_MULTIPROC_DIR\" {jobs} && echo counted && {then}")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The line of a launcher about its directory.
fn directory_line(said: &str) -> &str {
    let line = said.lines().find_map(|line| line.strip_prefix("multiprom: directory "));
    line.unwrap_or_else(|| panic!("no line about the directory: {said}"))
}

/// What `dump` sums up in a directory.
fn jobs_in(dir: &Path) -> f64 {
    sum_of(&output_of(multiprom().args(["dump", "--dir"]).arg(dir)), "jobs_total")
}

#[test]
fn the_directory_of_the_environment_is_the_default_and_is_not_reset() {
    for variable in VARIABLES {
        let base = TestDir::new("environment");
        let dir = base.path().join("made");
        let start = |flags: &[&str], script: &str| -> Said {
            run(launcher(flags, script).env(variable, &dir))
        };
        let said = start(
            &[],
            &counting(5, "echo $PROMETHEUS_MULTIPROC_DIR; stat -c %a $prometheus_multiproc_dir"),
        );
        assert_eq!(said.stdout, format!("counted\n{}\n700\n", dir.display()), "{}", said.stderr);
        let line = directory_line(&said.stderr);
        let path = dir.display();
        assert!(line.starts_with(&format!("`{path}`: from $PROMETHEUS_MULTIPROC_DIR, ")), "{line}");
        assert!(line.contains("not reset (--reset "), "{line}");
        // The Python client's own collector may read the directory too.
        let is_own =
            "multiprom: compacting files of ended processes, except those of the Python client";
        assert!(said.stderr.lines().any(|line| line.starts_with(is_own)), "{}", said.stderr);
        assert_eq!(jobs_in(&dir), 5.0);

        start(&[], &counting(2, "true"));
        start(&["--keep-files"], "true");
        assert_eq!(jobs_in(&dir), 7.0);
        // A flag that names another directory leaves this one alone.
        let other = base.path().join("other");
        assert_eq!(start(&["--dir", text(&other)], &counting(1, "true")).status, 0);
        assert_eq!((jobs_in(&dir), jobs_in(&other)), (7.0, 1.0));
        let said = start(&["--reset"], &counting(3, "true"));
        assert!(directory_line(&said.stderr).ends_with(", reset"), "{}", said.stderr);
        assert_eq!(jobs_in(&dir), 3.0);
    }
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let said = run(launcher(&[], "echo $PROMETHEUS_MULTIPROC_DIR").env(VARIABLES[0], ""));
    let line = directory_line(&said.stderr);
    assert_eq!(line, format!("`{}`: private, in memory", said.stdout.trim()), "{}", said.stderr);
}

#[test]
fn what_is_kept_and_what_is_compacted_is_logged() {
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
        let said = run(&mut launcher(&[&["--dir", path], flags].concat(), "true"));
        let lines: Vec<&str> = said.stderr.lines().collect();
        assert_eq!((said.status, lines.len()), (0, 3), "{}", said.stderr);
        let start = format!("multiprom: directory `{path}`: {directory}");
        assert!(lines[0].starts_with(&start), "{}", said.stderr);
        assert!(lines[1].starts_with(&format!("multiprom: {compaction}")), "{}", said.stderr);
    }
    let said = run(&mut launcher(&["--dir", path, "--keep-files", "--reset"], "true"));
    assert_eq!((said.status, said.stderr.lines().count()), (2, 1), "{}", said.stderr);
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
    let said = run(&mut command);
    if said.stderr.contains("unshare") || said.stderr.contains("mount:") {
        return skip(&format!("nothing can be mounted here: {}", said.stderr.trim()));
    }
    assert_eq!(said.status, 0, "{}", said.stderr);
    let line = directory_line(&said.stderr);
    assert!(line.starts_with(&format!("`{}/multiprom-", dir.path().display())), "{line}");
    assert!(line.contains("`: private, on disk ("), "{line}");
    let reason = "because memory cannot be used: directory `/dev/shm/multiprom-";
    assert!(line.contains(reason) && line.contains("Read-only file system"), "{line}");
}

/// The labels `directory` of an exposition.
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
        let mut launcher = Running::start(&mut launcher(&flags, &counting(5, "read line")));
        let url = launcher.url();
        launcher.line_after("counted");
        let body = scrape(&url);
        assert_eq!(labels(&body), [wanted.as_str()], "{body}");
        drop(launcher.stdin());
        launcher.end();
    }
}

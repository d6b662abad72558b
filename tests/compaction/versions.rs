//! An archive of another version is not changed, and nothing is served or compacted without it.

use std::fs;
use std::path::Path;

use multiprom::compact::{Compactor, clear_directory};
use multiprom::{ErrorKind, MultiProcessCollector, Registry};

use super::{ARCHIVE, compact, count, merged, names_in, value};
use crate::support::http::{Connection, sum_of};
use crate::support::process::{PATIENCE, Running, run};
use crate::support::{TestDir, multiprom, wait_for};

/// The part of the message that names the versions.
const MESSAGE: &str = "archive version is 02, this release of multiprom reads 01";

/// The contents of all files in a directory, without the lock file of launchers.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), fs::read(dir.join(name)).unwrap());
    names_in(dir).into_iter().filter(|name| name != ".multiprom-run.lock").map(read).collect()
}

/// A directory with 3 jobs in an archive of version 02, which has only the magic in common with version 01, and 4 jobs in
/// files. Also returns the archive in version 01.
fn newer_archive() -> (TestDir, Vec<u8>) {
    let dir = TestDir::new("version");
    count(dir.path(), 3);
    compact(dir.path());
    let path = dir.path().join(ARCHIVE);
    let original = fs::read(&path).unwrap();
    fs::write(&path, b"MPARCH02 and a layout of its own").unwrap();
    count(dir.path(), 4);
    (dir, original)
}

#[test]
fn every_command_reports_a_newer_archive_and_changes_nothing() {
    let (dir, original) = newer_archive();
    let path = dir.path();
    let before = contents(path);
    let commands: [&[&str]; 5] = [
        &["dump", "--dir"],
        &["compact", "--dir"],
        &["serve", "--reset", "--listen", "127.0.0.1:0", "--dir"],
        &["run", "--listen", "127.0.0.1:0", "--dir"],
        &["check", "--dir"],
    ];
    for arguments in commands {
        let mut command = multiprom();
        command.args(arguments).arg(path);
        if arguments[0] == "run" {
            command.args(["--", "true"]);
        }
        let outcome = run(&mut command);
        assert_eq!(outcome.status, 1, "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(MESSAGE), "{arguments:?}: {}", outcome.stderr);
        assert!(!outcome.stdout.contains("jobs_total"), "{arguments:?}: {}", outcome.stdout);
        assert!(contents(path) == before, "{arguments:?} changed {:?}", names_in(path));
    }
    fs::write(path.join(ARCHIVE), original).unwrap();
    assert_eq!(value(&merged(path), "jobs_total"), 7.0);
}

#[test]
fn scrapes_return_500_with_the_reason_until_the_archive_can_be_read() {
    let (dir, original) = newer_archive();
    let path = dir.path();
    let before = contents(path);
    let mut command = multiprom();
    command.args(["serve", "--compact", "own", "--listen", "127.0.0.1:0", "--dir"]).arg(path);
    let mut server = Running::start(&mut command);
    let url = server.url();
    wait_for("the log line of the compactor", PATIENCE, || {
        let line = format!("cannot compact: {}", path.join(ARCHIVE).display());
        server.stderr().replace('`', "").contains(&line).then_some(())
    });
    let mut connection = Connection::open(&url).unwrap();
    for accept in ["", "Accept: application/openmetrics-text\r\n", "Accept-Encoding: gzip\r\n"] {
        let response = connection.request("GET", "/metrics", accept);
        assert_eq!(response.status, 500, "{accept}");
        assert!(response.body.contains(MESSAGE), "{accept}: {}", response.body);
    }
    assert_eq!(connection.request("GET", "/-/healthy", "").status, 200);
    assert!(contents(path) == before, "{:?}", names_in(path));

    fs::write(path.join(".restored"), original).unwrap();
    fs::rename(path.join(".restored"), path.join(ARCHIVE)).unwrap();
    let response = connection.request("GET", "/metrics", "");
    assert_eq!((response.status, sum_of(&response.body, "jobs_total")), (200, 7.0));
}

#[test]
fn the_library_returns_an_error_instead_of_decreased_totals() {
    let (dir, _) = newer_archive();
    let path = dir.path();
    let before = contents(path);
    let registry = Registry::new();
    registry.register(MultiProcessCollector::new(path).unwrap()).unwrap();
    let error = registry.try_render(None).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Unsupported, Some(&*path.join(ARCHIVE))));
    // `render` cannot return an error: it exports no family rather than a wrong total.
    let text = registry.render(None).to_string();
    assert!(!text.contains("jobs_total"), "{text}");
    assert_eq!(sum_of(&text, "multiprom_file_errors_total{reason=\"archive\"}"), 2.0);

    let compactor = Compactor::builder().directory(path).build().unwrap();
    assert_eq!(compactor.run().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(clear_directory(path).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(contents(path) == before, "{:?}", names_in(path));
}

//! The directories of `serve`: changes while they are served, and what is logged about them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::{Served, stop};
use crate::support::http::{Connection, scrape, sum_of};
use crate::support::process::{PATIENCE, Running, Unread, run, signal};
use crate::support::{TestDir, example, multiprom, output_of, root, wait_for};

#[test]
fn an_unread_standard_error_does_not_delay_scrapes() {
    let dir = TestDir::new("full");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    for number in 0..3 {
        fs::write(dir.path().join(format!("counter_{number}.db")), "damaged").unwrap();
    }
    let socket = dir.path().join("metrics.sock");
    let listen = format!("unix:{}", socket.display());
    let mut command = multiprom();
    command.args(["serve", "--listen", &listen, "--dir"]).arg(dir.path());
    let mut server = Unread::start(&mut command);
    let mut connection = wait_for("the server", PATIENCE, || Connection::open(&listen).ok());
    for _ in 0..3 {
        let body = connection.request("GET", "/metrics", "").body;
        assert_eq!(sum_of(&body, "jobs_total"), 5.0);
    }
    signal(server.id(), "TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn repeated_truncation_of_a_file_does_not_end_the_exporter() {
    let served = Served::start("cut", &["--compact", "off"]);
    let fixture = root().join("multiproc-fixtures/0.26.0/counter_99.db");
    let whole = fs::read(fixture).unwrap();
    let path = served.dir.path().join("counter_99.db");
    let start = Instant::now();
    let mut scrapes = 0;
    while start.elapsed().as_millis() < 1500 || scrapes <= 20 {
        assert!(start.elapsed() < PATIENCE, "{scrapes} scrapes");
        fs::write(&path, &whole).unwrap();
        // Files are mapped when they have not been changed for a while.
        let written = Instant::now();
        while written.elapsed().as_millis() < 60 {
            assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
            scrapes += 1;
        }
        std::thread::scope(|scope| {
            let cut = scope.spawn(|| {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
            });
            while !cut.is_finished() {
                assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
                scrapes += 1;
            }
        });
        assert_eq!(sum_of(&scrape(&served.url), "jobs_total"), 5.0);
    }
    served.server.signal("TERM");
    assert_eq!(served.server.end().status.code(), Some(0));
}

#[test]
fn a_directory_that_is_recreated_is_served_again() {
    let served = Served::start("returns", &["--compact", "off"]);
    fs::remove_dir_all(served.dir.path()).unwrap();
    let body = scrape(&served.url);
    assert_eq!(sum_of(&body, "multiprom_file_errors_total{reason=\"directory\"}"), 1.0);
    assert_eq!(sum_of(&body, "jobs_total"), 0.0);
    fs::create_dir(served.dir.path()).unwrap();
    output_of(example("test-counting").arg(served.dir.path()).arg("3"));
    wait_for("the new directory", PATIENCE, || {
        (sum_of(&scrape(&served.url), "jobs_total") == 3.0).then_some(())
    });
    served.server.signal("INT");
    assert_eq!(served.server.end().status.code(), Some(0));
}

#[test]
fn a_server_waits_for_directories_that_do_not_exist_yet() {
    let base = TestDir::new("wait");
    let serve = |dir: &str| {
        let mut command = multiprom();
        command.args(["serve", "--wait", "--listen", "127.0.0.1:0", "--dir"]);
        Running::start(command.arg(base.path().join(dir)))
    };
    let assert_is_waiting = |server: &Running, dir: &str| {
        wait_for("a line", PATIENCE, || (!server.stderr().is_empty()).then_some(()));
        let dir = base.path().join(dir).display().to_string();
        let line = format!("multiprom: directory `{dir}` does not exist yet: waiting for it\n");
        assert_eq!(server.stderr(), line);
    };
    // A server that does not have to wait logs nothing about it.
    fs::create_dir(base.path().join("there")).unwrap();
    let mut server = serve("there");
    server.url();
    stop(server);

    let mut server = serve("later");
    assert_is_waiting(&server, "later");
    fs::create_dir(base.path().join("later")).unwrap();
    let url = server.url();
    output_of(example("test-counting").arg(base.path().join("later")).arg("5"));
    assert_eq!(sum_of(&scrape(&url), "jobs_total"), 5.0);
    server.signal("TERM");
    assert_eq!(server.end().status.code(), Some(0));

    let mut server = serve("app-*");
    assert_is_waiting(&server, "app-*");
    fs::create_dir(base.path().join("app-1")).unwrap();
    output_of(example("test-counting").arg(base.path().join("app-1")).arg("3"));
    assert_eq!(sum_of(&scrape(&server.url()), "jobs_total"), 3.0);

    for signal in ["TERM", "INT"] {
        let server = serve("never");
        assert_is_waiting(&server, "never");
        server.signal(signal);
        assert_eq!(server.end().status.code(), Some(0), "{signal}");
    }
    // A path that can never become a directory is an error.
    fs::write(base.path().join("file"), "").unwrap();
    for dir in ["file", "file/below", "a***"] {
        let output = serve(dir).end();
        assert!(!output.status.success(), "{dir}: {output:?}");
    }
}

/// Writes the files of Python processes that have ended without recording anything.
fn write_files_of_ended_processes(dir: &Path, pids: std::ops::Range<u32>) {
    for pid in pids {
        fs::write(dir.join(format!("counter_{pid}.db")), [8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    }
}

#[test]
fn accumulated_files_of_the_python_client_are_reported_once() {
    let dir = TestDir::new("pile");
    let start = |flags: &[&str]| {
        let mut command = multiprom();
        command.args(["serve", "--listen", "127.0.0.1:0", "--dir"]).arg(dir.path());
        let mut server = Running::start(command.args(flags));
        server.url();
        server
    };
    let path = dir.path().display();
    let hint = format!("multiprom: directory `{path}`: every scrape reads 100 or more files of ");
    write_files_of_ended_processes(dir.path(), 1..100);
    let server = start(&[]);
    // A file of a living process does not count, nor does one of multiprom.
    write_files_of_ended_processes(dir.path(), 100..101);
    let living = fs::OpenOptions::new().append(true).open(dir.path().join("counter_100.db"));
    let living = living.unwrap();
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let seen = Instant::now();
    wait_for("two counts", PATIENCE, || (seen.elapsed().as_secs_f64() > 6.0).then_some(()));
    assert!(!server.stderr().contains("files of"), "{}", server.stderr());
    drop(living);
    wait_for("a hint", PATIENCE, || server.stderr().contains(&hint).then_some(()));
    write_files_of_ended_processes(dir.path(), 101..200);
    server.signal("TERM");
    let stderr = String::from_utf8(server.end().stderr).unwrap();
    assert!(stderr.lines().count() == 2 && stderr.contains("--compact=all"), "{stderr}");

    // With the flag there is no hint.
    for flags in [["--compact", "own"], ["--compact", "off"], ["--compact", "all"]] {
        stop(start(&flags));
    }
    let mut command = multiprom();
    command.args(["run", "--listen", "127.0.0.1:0", "--", "true"]);
    write_files_of_ended_processes(dir.path(), 1..200);
    let stderr = run(command.env("PROMETHEUS_MULTIPROC_DIR", dir.path())).stderr;
    assert!(stderr.contains(&hint), "{stderr}");
}

//! `--linger`: the exporter outlives the command until a scrape.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::launcher;
use crate::support::http::{Connection, get, scrape, sum_of};
use crate::support::process::{Running, run};
use crate::support::{TestDir, example, multiprom, output_of};

const MESSAGE: &str = "serving until the next scrape";

#[test]
fn the_last_values_of_a_crashed_command_are_scraped_before_the_launcher_ends() {
    let script = "\"$0\" \"$PROMETHEUS_MULTIPROC_DIR\" 5; read line; kill -s KILL $$";
    let mut launcher = Running::start(&mut launcher(&["--linger", "600s"], script));
    let url = launcher.url();
    // A scrape before the end of the command does not count.
    scrape(&url);
    drop(launcher.stdin());
    launcher.line_after(MESSAGE);
    // Neither do responses without the whole exposition.
    assert_eq!(Connection::open(&url).unwrap().request("HEAD", "/metrics", "").status, 200);
    for target in ["?name[]=jobs_total", "x"] {
        get(&format!("{url}{target}")).unwrap();
    }
    std::thread::park_timeout(Duration::from_millis(200));
    assert!(launcher.is_running(), "{}", launcher.stderr());
    let text = scrape(&url);
    assert_eq!(sum_of(&text, "jobs_total"), 5.0);
    assert_eq!(launcher.end().status.code(), Some(137));
}

#[test]
fn lingering_ends_at_a_signal_and_after_its_time() {
    let script = "echo dir $PROMETHEUS_MULTIPROC_DIR; exit 3";
    for signal in ["TERM", "INT"] {
        let mut launcher = Running::start(&mut launcher(&["--linger", "600s"], script));
        launcher.line_after(MESSAGE);
        let dir = launcher.line_after("dir ");
        launcher.signal(signal);
        let output = launcher.end();
        assert_eq!(output.status.code(), Some(3), "{signal}");
        assert!(!Path::new(&dir).exists(), "{dir} is left");
    }
    let outcome = run(&mut launcher(&["--linger", "200ms"], script));
    assert_eq!(outcome.status, 3);
    assert!(outcome.stderr.contains("no scrape within 200ms"), "{}", outcome.stderr);
}

#[test]
fn lingering_without_an_endpoint_is_refused_and_nothing_is_reset() {
    let dir = TestDir::new("linger-refused");
    output_of(example("test-counting").arg(dir.path()).arg("5"));
    let files = || -> BTreeSet<OsString> {
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = files();
    assert!(!before.is_empty());
    let flags = ["run", "--linger", "1s", "--push", "localhost:9", "--job", "a", "--dir"];
    let outcome = run(multiprom().args(flags).arg(dir.path()).args(["--", "true"]));
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
    let message =
        "--linger waits for a scrape, but nothing is served with --push: give --web.listen-address";
    assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    assert_eq!(files(), before);
}

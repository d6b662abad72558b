//! The command `demo`.

use std::collections::HashSet;
use std::path::Path;

use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, processes_with_argument};
use crate::support::{multiprom, wait_for};

struct Demo {
    running: Running,
    url: String,
    dir: String,
}

impl Demo {
    fn start(flags: &[&str]) -> Demo {
        let mut command = multiprom();
        command.args(["demo", "--listen", "127.0.0.1:0"]).args(flags);
        let mut running = Running::start(&mut command);
        let url = running.line_after("merged metrics: ");
        let dir = running.line_after(" and record into ");
        Demo { running, url, dir }
    }

    fn workers(&self) -> HashSet<u32> {
        processes_with_argument(&self.dir).into_iter().collect()
    }

    /// Waits for its end; returns the last line of its output.
    fn end(self) -> String {
        let output = self.running.end();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
        assert_eq!(processes_with_argument(&self.dir).len(), 0, "workers are left");
        assert!(!Path::new(&self.dir).exists(), "{} is left", self.dir);
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
    }
}

/// The numbers in a line.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|char: char| !char.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_demo_counts_all_responses_although_a_worker_is_killed() {
    let demo = Demo::start(&["--workers", "3"]);
    let text = wait_for("requests of three workers", PATIENCE, || {
        let text = scrape(&demo.url);
        let workers = text.matches("\ndemo_worker_start_time_seconds{pid=").count();
        (sum_of(&text, "demo_requests_total") > 50.0 && workers == 3).then_some(text)
    });
    let observed = sum_of(&text, "demo_request_seconds_count");
    assert!(observed >= sum_of(&text, "demo_requests_total") && observed > 50.0, "{text}");
    // Directly before the wait: a worker is killed every 5 s.
    let first = wait_for("three workers", PATIENCE, || {
        let workers = demo.workers();
        (workers.len() == 3).then_some(workers)
    });
    let later = wait_for("the replacement of a worker", PATIENCE, || {
        let later = demo.workers();
        (later.len() == 3 && later != first).then_some(later)
    });
    assert_eq!(later.intersection(&first).count(), 2);
    assert!(
        sum_of(&scrape(&demo.url), "demo_requests_total") > sum_of(&text, "demo_requests_total")
    );

    demo.running.signal("INT");
    let last = demo.end();
    let [answered, counted, killed] = numbers(&last)[..] else { panic!("{last}") };
    // On a busy machine there is time for a second kill.
    assert!(killed >= 1, "{last}");
    assert!(answered > 100 && counted >= answered, "{last}");
    // Each worker has two threads, and each thread may have counted a request without sending its response.
    assert!(counted - answered <= killed * 2, "{last}");
}

#[test]
fn the_demo_ends_after_its_duration() {
    let last = Demo::start(&["--workers", "1", "--duration", "1"]).end();
    assert!(last.starts_with("stopped: ") && last.ends_with(" 0 workers killed"), "{last}");
}

#[test]
fn an_interrupt_ends_the_demo() {
    for signal in ["INT", "TERM"] {
        let demo = Demo::start(&["--workers", "2"]);
        wait_for("a request", PATIENCE, || {
            (sum_of(&scrape(&demo.url), "demo_requests_total") > 0.0).then_some(())
        });
        demo.running.signal(signal);
        let last = demo.end();
        assert!(last.starts_with("stopped: ") && last.ends_with(" 0 workers killed"), "{last}");
    }
}

//! Python sites as operators run them, with unmodified servers and the unmodified Python client.
//!
//! Clients send requests while processes are killed, reloaded and replaced. The merged counters must equal the number of
//! acknowledged requests. `scripts/test` runs one scenario of each kind, `scripts/soak` runs all of them.

mod celery;
mod containers;
mod django;
mod frameworks;
mod gunicorn;
mod recipes;
mod uvicorn;
mod uwsgi;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::http::{scrape, sum_of};
use crate::support::process::{PATIENCE, Running, children, is_alive, signal};
use crate::support::sites::{Load, Requests, python_environment};
use crate::support::{multiprom, root, wait_for};

/// Number of worker processes of each site.
const WORKERS: usize = 2;

/// Whether all scenarios of a kind run.
fn is_whole_matrix() -> bool {
    std::env::var_os("MULTIPROM_SITES").is_some_and(|value| value == "all")
}

/// `multiprom run`, in the directory of the applications. The caller appends the command.
fn launcher(programs: &Path) -> Command {
    let mut command = multiprom();
    python_environment(&mut command, &[programs]).current_dir(root().join("tests/python"));
    command.args(["run", "--listen", "127.0.0.1:0", "--"]);
    command
}

/// What happens to the workers of a site while clients send requests.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// One worker is killed.
    Kill,
    /// Workers exit after some requests.
    MaxRequests,
    /// The server replaces all workers.
    Reload,
}

/// Waits until the event has happened to the workers in `before`. `reload` asks the server to replace its workers.
fn replace_workers(event: Event, load: &Load, before: &BTreeSet<u32>, reload: impl FnOnce()) {
    match event {
        Event::Kill => {
            signal(*before.first().unwrap(), "KILL");
            load.wait_for_new(1, before);
        }
        Event::MaxRequests => load.wait_for_new(2 * WORKERS, before),
        Event::Reload => {
            reload();
            load.wait_for_new(WORKERS, before);
            wait_for_end_of(before);
        }
    }
}

/// A site with the metrics of app.py, under `multiprom run`.
struct Site {
    launcher: Running,
    url: String,
    metrics: String,
    requests: Requests,
}

impl Site {
    /// `mark` is the text that the server prints before its address.
    fn start(command: &mut Command, mark: &str) -> Site {
        let mut launcher = Running::start(command);
        let metrics = launcher.url();
        let line = launcher.line_after(mark);
        let address = line.split(' ').next().unwrap();
        let url = format!("http://{}", address.trim_start_matches("http://"));
        Site { launcher, url, metrics, requests: Requests::default() }
    }

    /// Runs `event` while clients send requests, passing it the pids that have responded so far. Then checks counters
    /// and live gauges, and ends the site.
    fn check(mut self, event: impl FnOnce(&mut Site, &Load, &BTreeSet<u32>)) {
        let load = Load::start(&self.url, 4);
        load.wait_for_new(WORKERS, &BTreeSet::new());
        let before = load.seen();
        event(&mut self, &load, &before);
        self.requests.add(load.stop());
        self.assert_exact();
        self.assert_live_gauges();
        self.end(0);
    }

    /// The child of `multiprom run`.
    fn server(&self) -> u32 {
        children(self.launcher.id())[0]
    }

    /// Asserts that each acknowledged request is counted once. A request whose connection broke may have been counted. Each
    /// later request, without concurrent events, is counted once.
    fn assert_exact(&mut self) {
        let counted = || {
            let text = scrape(&self.metrics);
            assert_eq!(sum_of(&text, "multiprom_file_errors_total"), 0.0, "{text}");
            let counted = sum_of(&text, "app_requests_total") as u32;
            assert_eq!(sum_of(&text, "app_latency_seconds_count") as u32, counted, "{text}");
            counted
        };
        let (before, requests) = (counted(), &mut self.requests);
        let possible = requests.acknowledged..=requests.acknowledged + requests.failed;
        assert!(possible.contains(&before), "{before} requests are counted, not {possible:?}");
        for _ in 0..20 {
            requests.send(&self.url);
        }
        let possible = requests.acknowledged..=requests.acknowledged + requests.failed;
        let after = counted();
        assert!(
            after == before + 20 && possible.contains(&after),
            "{before}, {after}: {requests:?}"
        );
    }

    /// Asserts that the live gauges show the living workers that have responded, and no request in progress.
    fn assert_live_gauges(&self) {
        wait_for("live gauges of the living workers", PATIENCE, || {
            let text = scrape(&self.metrics);
            let living = self.requests.pids.iter().filter(|pid| is_alive(**pid)).count();
            let shown = ["app_alive", "app_inprogress"].map(|name| sum_of(&text, name));
            (shown == [living as f64, 0.0]).then_some(())
        });
    }

    /// Terminates the site, which must exit with `status`.
    fn end(self, status: i32) {
        let pids = self.requests.pids;
        self.launcher.signal("TERM");
        let output = self.launcher.end();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(!stderr.contains("series file"), "{stderr}");
        assert!(!pids.into_iter().any(is_alive), "workers are left");
    }
}

/// Waits until all these processes have ended.
fn wait_for_end_of(pids: &BTreeSet<u32>) {
    wait_for("end of the processes", PATIENCE, || {
        (!pids.iter().any(|pid| is_alive(*pid))).then_some(())
    });
}
